"""Features of two makes lie in two spaces: a reader gets one of them, or none."""

import io

import numpy as np
import pytest
from anabatch.jobs import featurize, scan, segment
from anabatch.jobs.reporter import Reporter
from anabatch.jobs.session import session
from PIL import Image
from running import make_config

import anabatch
from anabatch.errors import MissingRowsError
from anabatch.store.live import FEATURIZE


def add_image(config):
    """Put the mirror image of an image beside it: other pixels, as many cells."""
    first = min(config.archives[0].path.rglob("*.jpg"))
    new = first.with_name("099_0ae00000001_1_299999999_3_14_11.jpg")
    with Image.open(first) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(new, quality=95)


def test_features_of_two_makes_are_never_read_as_one_array(own_copy):
    config = own_copy
    before = anabatch.open_store(config.store).array("features").compute(scheduler="sync")
    add_image(config)
    other = make_config(config.archives[0].path, config.store, featurize={"preprocessing": "keras"})

    # the run is cut off between the new image's chain and the old parts' features
    with session(other, Reporter("json", io.StringIO())) as context:
        scan.run(context)
        segment.run(context, with_features=True)
    store = anabatch.open_store(config.store)
    assert len({action.components["extractor"] for action in store.state.stage(FEATURIZE)}) == 2
    with pytest.raises(MissingRowsError, match=f"{len(before)} of .* have no features"):
        store.array("features")

    with session(other, Reporter("json", io.StringIO())) as context:
        context.accept_recompute = True
        featurize.run(context)
    store = anabatch.open_store(config.store)
    after = store.array("features").compute(scheduler="sync")
    assert len(after) == len(store.table("cells").to_pandas()) > len(before)
    assert not np.array_equal(after[: len(before)], before)
