"""A small store with everything in it."""

import shutil

import pytest
from making import Maker, acquisition_row

from anabatch.store.live import CELLS


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path / "store")


@pytest.fixture(scope="session")
def _original(tmp_path_factory):
    """Four images in two cell parts; of the first part the middle image is dead."""
    maker = Maker(tmp_path_factory.mktemp("filled") / "store")
    maker.acquisitions([acquisition_row(f"image{i}") for i in range(4)])
    first = maker.cells({"image0": 3, "image1": 2, "image2": 4}, sequence=3)
    second = maker.cells({"image3": 5}, sequence=2)
    for cells, sequence in ((first, 4), (second, 5)):
        maker.features(cells, sequence)
        maker.embedding(cells, sequence, model="m1")
        maker.clusters(cells, sequence)
    dead = maker.store.state.get(CELLS, "image1")
    maker.store.state.delete([dead])
    maker.labels(["image0", "image1", "image2"])
    maker.commit()
    return maker.root


@pytest.fixture
def filled(_original, tmp_path):
    """A copy of the store with everything in it."""
    shutil.copytree(_original, tmp_path / "filled")
    return Maker(tmp_path / "filled")
