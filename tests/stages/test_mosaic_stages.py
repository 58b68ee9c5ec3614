import numpy as np
import pytest
from making import image_batch

from anabatch.config import SegmentConfig
from anabatch.metrics import score
from anabatch.segmentation import mosaic
from anabatch.simulate.field import simulate_field
from anabatch.stages.cells import cut
from anabatch.stages.segment import segment
from anabatch.store import formats
from anabatch.store.parts import Part

CONFIG = SegmentConfig()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mosaic")


@pytest.fixture(scope="module")
def batch(folder):
    pictures = {
        str(number): simulate_field(2_000_400 + number, ["centromere"], size=size).signal
        for number, size in enumerate([(460, 400), (300, 330)])
    }
    return image_batch(folder, pictures, CONFIG)


def stored(batch):
    """Segment, cut, and read all back."""
    segmented = segment(batch)
    cells = cut(batch, segmented)
    actions = {action.unit: action for action in segmented.actions}
    part = Part(batch.store, str(cells.path))
    rows = part.rows("cells")
    count = rows.num_rows
    return (
        {
            unit: Part(batch.store, str(action.part)).label_images(
                action.components["array"], action.first_row
            )
            for unit, action in actions.items()
        },
        {unit: action.components["cells"] for unit, action in actions.items()},
        dict(zip(rows["cell_id"].to_pylist(), rows.to_pylist(), strict=True)),
        dict(zip(rows["cell_id"].to_pylist(), part.array("crops", 0, count), strict=True)),
    )


def test_mosaics_pass_through_the_stages_as_fields_do(batch, monkeypatch):
    """The larger image as a mosaic, its label images in squares on disk; the smaller as a field."""
    images, counts, rows, crops = stored(batch)
    monkeypatch.setattr(mosaic, "LARGEST_FIELD", 0.15)
    monkeypatch.setattr(formats, "LARGEST_CHUNK", 150_000)
    monkeypatch.setattr(formats, "_SQUARE", (64, 64))
    monkeypatch.setattr(formats, "_SHARD_SQUARE", (256, 256))
    found_images, found_counts, found_rows, found_crops = stored(batch)
    assert found_counts == counts
    assert isinstance(found_images["0"][0], np.memmap)
    assert not isinstance(found_images["1"][0], np.memmap)
    for unit, pair in images.items():
        for one, other in zip(pair, found_images[unit], strict=True):
            assert score(one, other, [0.9]).average_precision[0] >= 0.99
    # Cells are known by their masks: the same ones, measured and cut alike.
    assert set(found_rows) == set(rows)
    for name, row in rows.items():
        assert found_rows[name] | {"label_id": 0} == row | {"label_id": 0}
        np.testing.assert_array_equal(found_crops[name], crops[name])
