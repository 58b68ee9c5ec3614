"""Where the work runs changes no result."""

import numpy as np
import pytest
from running import make_config, run_jobs

import anabatch
from anabatch.store.live import CELLS

pytestmark = pytest.mark.cluster


def run_in_small_batches(archive, store, **compute):
    """Run all jobs with one image a batch, so that parts are several and trees have levels."""
    config = make_config(archive / "DATA", store, compute={"batch_megapixels": 0.1, **compute})
    return config, run_jobs(config)


@pytest.fixture(scope="module")
def here(archive_of_six, tmp_path_factory):
    """A store that this process made alone."""
    config, events = run_in_small_batches(archive_of_six, tmp_path_factory.mktemp("here") / "store")
    assert "dashboard" not in {event["event"] for event in events}
    store = anabatch.open_store(config.store)
    assert len({action.part for action in store.state.stage(CELLS)}) == 6
    return store


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_one_process_give_the_same_store(here, archive_of_six, tmp_path, workers):
    config, events = run_in_small_batches(
        archive_of_six, tmp_path / "store", scheduler="local", workers=workers
    )
    assert "dashboard" in {event["event"] for event in events}
    there = anabatch.open_store(config.store)
    for name in ("acquisitions", "annotations", "cells", "clusters"):
        ours, theirs = (
            store.table(name).to_pandas().drop(columns="part", errors="ignore")
            for store in (here, there)
        )
        assert ours.equals(theirs), name
    for name in ("crops", "masks", "features", "embedding"):
        ours, theirs = (store.array(name).compute(scheduler="sync") for store in (here, there))
        assert np.array_equal(ours, theirs), name
