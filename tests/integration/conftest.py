"""A small simulated archive, and a finished store over it."""

import shutil

import pytest
from running import SIZE, make_config, run_jobs

from anabatch.simulate.archive import simulate_archive


@pytest.fixture(scope="session")
def archive_of_six(tmp_path_factory):
    """Six small images over one date, drawn once; tests copy it before they change it."""
    out = tmp_path_factory.mktemp("archive")
    simulate_archive(out, images=6, seed=11, layout="dated", size=SIZE)
    return out


@pytest.fixture(scope="session")
def finished(archive_of_six, tmp_path_factory):
    """A store over the six images after one run: (config, events). Not to be changed."""
    store = tmp_path_factory.mktemp("finished") / "store"
    config = make_config(archive_of_six / "DATA", store)
    return config, run_jobs(config)


@pytest.fixture
def own_copy(finished, archive_of_six, tmp_path):
    """The finished store and its archive, copied, for a test that changes them."""
    shutil.copytree(archive_of_six / "DATA", tmp_path / "DATA")
    shutil.copytree(finished[0].store, tmp_path / "store")
    return make_config(tmp_path / "DATA", tmp_path / "store")
