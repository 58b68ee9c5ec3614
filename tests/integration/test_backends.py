"""Where the work runs changes no result."""

import numpy as np
import pytest
from running import make_config, run_jobs

import anabatch

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_one_process_give_the_same_store(finished, archive_of_six, tmp_path, workers):
    config = make_config(
        archive_of_six / "DATA",
        tmp_path / "store",
        compute={"scheduler": "local", "workers": workers},
    )
    events = run_jobs(config)
    assert "dashboard" in {event["event"] for event in events}
    here, there = (anabatch.open_store(c.store) for c in (finished[0], config))
    for name in ("acquisitions", "annotations", "cells", "clusters"):
        ours = here.table(name).to_pandas().drop(columns="part", errors="ignore")
        assert ours.equals(there.table(name).to_pandas().drop(columns="part", errors="ignore"))
    for name in ("crops", "masks", "features", "embedding"):
        ours, theirs = (store.array(name).compute(scheduler="sync") for store in (here, there))
        assert np.array_equal(ours, theirs), name
