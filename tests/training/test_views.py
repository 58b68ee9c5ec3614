"""Views of cells, drawn on the device that trains."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from anabatch.features.inputs import preprocess
from anabatch.training.pattern_cells import PatternCells
from anabatch.training.views import Strength, Viewer

CPU = torch.device("cpu")
STILL = Strength(**{field.name: 0.0 for field in fields(Strength)} | {"scale": 1, "stretch": 1})


@pytest.fixture(scope="module")
def cells():
    crops = np.zeros((4, 96, 96), np.uint8)
    rows, columns = np.mgrid[:96, :96]
    inside = (rows - 47.5) ** 2 + (columns - 47.5) ** 2 < 30**2
    for index in range(4):
        crops[index][inside] = 60 + 20 * index
    crops[0, 47:49, 50:70] = 250
    masks = np.tile(inside, (4, 1, 1)).astype(np.uint8)
    masks[:, 20:48, 30:60] *= 2  # nuclei, off the centre
    return PatternCells(crops, masks, np.eye(4, dtype=bool), np.arange(4))


def views(cells, strength=None, seed=0, count=64):
    viewer = Viewer(cells, seed, CPU, strength)
    return viewer.view(torch.arange(4).repeat(count // 4))


def test_views_are_crops_again(cells):
    images, inside, masks = views(cells)
    assert images.shape == inside.shape == (64, 1, 96, 96)
    assert images.dtype == torch.float32
    assert set(inside.unique().tolist()) == {0.0, 1.0}
    assert masks.dtype == torch.uint8
    assert not masks[inside == 0].any()
    assert images.min() >= 0
    assert images.max() <= 1
    assert not images[inside == 0].any()
    levels = images * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
    assert len({image.numpy().tobytes() for image in images}) == 64


def test_views_repeat_by_seed(cells):
    first, again, other = (views(cells, seed=seed).images for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_cell_is_turned_by_any_angle_and_flipped_and_nothing_else(cells):
    images, inside, masks = views(cells, STILL, count=400)
    bar = images[::4, 0] > 0.7
    y, x = np.mgrid[:96, :96] - 47.5
    where = [(float(x[b].mean()), float(y[b].mean())) for b in bar.numpy()]
    assert {(a > 0, b > 0) for a, b in where} == {
        (p, q) for p in (False, True) for q in (False, True)
    }
    assert np.hypot(*np.array(where).T) == pytest.approx(12, abs=1.5)
    area = inside.sum(dim=(1, 2, 3))
    assert area.numpy() == pytest.approx(np.pi * 30**2, rel=0.02)
    nuclei = (masks == 2).sum(dim=(1, 2, 3)).float()
    assert nuclei.numpy() == pytest.approx((cells.masks[0] == 2).sum(), rel=0.03)
    assert images[3::4].amax(dim=(1, 2, 3)).numpy() == pytest.approx(120 / 255, abs=1e-6)


@pytest.mark.parametrize("kind", ["grey", "nucleus-cytoplasm-mask"])
def test_channels_are_those_that_features_are_made_of(cells, kind):
    found = views(cells, count=8)
    crops = (found.images[:, 0] * 255).round().numpy().astype(np.uint8)
    masks = found.masks[:, 0].numpy() if kind != "grey" else None
    expected = preprocess(crops, "unit", masks).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found.channels(kind).numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("field", fields(Strength), ids=lambda field: field.name)
def test_every_strength_changes_something(cells, field):
    # What is sharpened is what the blur takes away.
    base = {**vars(STILL), "blur": 1.5} if field.name == "sharpening" else vars(STILL)
    moved = Strength(**{**base, field.name: field.default})
    still, changed = (views(cells, strength).images for strength in (Strength(**base), moved))
    assert not torch.equal(still, changed)


def test_rows_are_drawn_evenly(cells):
    rows = Viewer(cells, 0, CPU).draw_rows(4000)
    counts = torch.bincount(rows, minlength=4)
    assert counts.min() > 850
