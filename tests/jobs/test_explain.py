"""Explaining images that are gone, that wait, and that never were."""

import pytest
import tiny
from anabatch.jobs.explain import explain
from cheap import cheap_networks
from running import run_jobs
from tiny import add_images, tiny_config

from anabatch.errors import ConfigurationError
from anabatch.store.root import open_store


@pytest.fixture(scope="module", autouse=True)
def _cheap():
    with cheap_networks():
        yield


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Four images, one of which is gone, one waits since it was touched, and a fifth that waits."""
    folder = tmp_path_factory.mktemp("explained")
    paths = add_images(folder / "DATA", range(4))
    config = tiny_config(folder / "DATA", folder / "store")
    run_jobs(config, tiny)
    ids = {
        str(a.components["relative_path"]).rpartition("/")[2]: a.components["image_id"]
        for a in open_store(config.store).state.stage("scan")
    }
    paths[0].unlink()
    run_jobs(config, tiny)
    paths += add_images(folder / "DATA", range(4, 5))
    paths[1].touch()
    waiting = tiny_config(folder / "DATA", folder / "store", scan={"settle_seconds": 600.0})
    run_jobs(waiting, tiny)
    return config, paths, ids


def test_a_gone_image_is_told_of_with_all_that_it_was(nights):
    config, paths, ids = nights
    store = open_store(config.store)
    by_path = explain(store, paths[0].name)
    assert [(step.stage, step.outcome) for step in by_path] == [
        ("scan", "gone"),
        ("segment", "gone"),
        ("cells", "gone"),
    ]
    assert by_path[0].why == "its file is no longer in the archive"
    assert by_path[0].unit.endswith(paths[0].name)
    assert all(step.when and "NEW" in step.past[0] for step in by_path)
    assert explain(store, ids[paths[0].name][:8]) == by_path


def test_a_file_that_waits_is_told_of_though_it_was_never_read(nights):
    config, paths, _ = nights
    (step,) = explain(open_store(config.store), paths[4].name)
    assert (step.stage, step.outcome) == ("list", "deferred")
    assert step.why
    assert step.unit.endswith(paths[4].name)


def test_a_known_image_whose_file_waits_shows_both(nights):
    config, paths, ids = nights
    for name in (paths[1].name, ids[paths[1].name]):
        steps = explain(open_store(config.store), name)
        assert [(step.stage, step.outcome) for step in steps[:2]] == [
            ("list", "deferred"),
            ("scan", "ok"),
        ]
        assert {"segment", "cells", "featurize", "embed"} <= {step.stage for step in steps}


def test_what_was_put_back_was_found_again(tmp_path):
    (path, *_) = add_images(tmp_path / "DATA", range(4))
    config = tiny_config(tmp_path / "DATA", tmp_path / "store")
    run_jobs(config, tiny)
    data = path.read_bytes()
    path.unlink()
    run_jobs(config, tiny)
    path.write_bytes(data)
    run_jobs(config, tiny)
    steps = explain(open_store(config.store), path.name)
    again = [step.stage for step in steps if step.why.endswith("found again")]
    assert {"segment", "cells"} <= set(again)
    assert all(step.why for step in steps)


def test_names_of_none_and_of_several_are_refused(nights):
    config, paths, _ = nights
    store = open_store(config.store)
    with pytest.raises(ConfigurationError, match="no image of the store"):
        explain(store, "nobody.jpg")
    gone = paths[0].relative_to(config.archives[0].path).as_posix()
    assert len({step.unit for step in explain(store, gone) if step.stage == "scan"}) == 1


def test_a_fold_forgets_what_is_gone(nights):
    config, paths, _ = nights
    store = open_store(config.store)
    assert explain(store, paths[0].name)
    store.fold("a run")
    with pytest.raises(ConfigurationError, match="not known any more"):
        explain(store, paths[0].name)
