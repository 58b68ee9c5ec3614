import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anabatch.cells import cell_id, cut_cells, pad_square, resize_cubic, resize_nearest

Array = np.ndarray[Any, Any]
IMAGE = "0123456789abcdef0123456789abcdef"
COLUMNS = (
    "cell_id image_id label_id y0 x0 y1 x1 centroid_y centroid_x area_px nucleus_area_px "
    "nucleus_count scale black_fraction mean_intensity touches_border source_dtype "
    "saturated_fraction major_px minor_px nucleus_major_px nucleus_minor_px nucleus_solidity "
    "nucleus_mean_intensity cytoplasm_mean_intensity nucleus_cytoplasm_ratio mitotic flags "
    "nucleus_touches_border"
)


def field(dtype: Any = np.uint8) -> tuple[Array, Array, Array]:
    """Two cells of 4 x 8 and 8 x 8 pixels; label 2 is not used; a nucleus straddles both."""
    signal = np.full((20, 24), 7, dtype=dtype)
    cells = np.zeros((20, 24), dtype=np.int32)
    cells[2:6, 0:8] = 3
    cells[6:14, 0:8] = 1
    cells[6, 0] = 0
    nuclei = np.zeros_like(cells)
    nuclei[3:5, 2:4] = 5  # whole in cell 3
    nuclei[5:9, 5:7] = 9  # one row of four in cell 3, the rest in cell 1
    nuclei[16:18, 16:18] = 2  # in no cell
    signal[3, 2] = 0
    signal[8, 4] = 107
    return signal, nuclei, cells


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rows_of_a_hand_made_field(dtype: Any) -> None:
    first, second = cut_cells(*field(dtype), image_id=IMAGE, crop=16).rows
    assert " ".join(sorted(first)) == " ".join(sorted(COLUMNS.split()))

    assert (first["label_id"], second["label_id"]) == (1, 3)
    assert [first[edge] for edge in ("y0", "x0", "y1", "x1")] == [6, 0, 14, 8]
    assert [second[edge] for edge in ("y0", "x0", "y1", "x1")] == [2, 0, 6, 8]
    assert (first["area_px"], second["area_px"]) == (63, 32)
    assert (first["nucleus_area_px"], second["nucleus_area_px"]) == (6, 6)
    assert (first["nucleus_count"], second["nucleus_count"]) == (1, 1)
    assert (first["scale"], second["scale"]) == (2.0, 2.0)
    assert first["black_fraction"] == 1 / 64  # the pixel outside the mask
    assert second["black_fraction"] == 1 / 32  # the dark pixel inside it
    assert first["mean_intensity"] == pytest.approx(7 + 100 / 63)
    assert second["mean_intensity"] == pytest.approx(7 * 31 / 32)
    assert (second["centroid_y"], second["centroid_x"]) == (3.5, 3.5)
    assert first["centroid_y"] == pytest.approx((9.5 * 64 - 6) / 63)
    assert first["touches_border"] is True
    assert first["nucleus_touches_border"] is False
    assert first["nucleus_mean_intensity"] == 7
    assert first["cytoplasm_mean_intensity"] == pytest.approx(7 + 100 / 57)
    assert second["nucleus_mean_intensity"] == pytest.approx(7 * 5 / 6)
    assert second["nucleus_cytoplasm_ratio"] == pytest.approx(5 / 6)
    assert second["nucleus_solidity"] == 1
    assert second["nucleus_major_px"] == pytest.approx(2 * 2 / 3**0.5)  # a square of 2 x 2
    assert (second["major_px"], second["minor_px"]) == pytest.approx((16 / 3**0.5, 8 / 3**0.5))
    assert first["flags"] == ["little_black", "touches_border"]
    assert second["flags"] == ["touches_border"]
    assert first["mitotic"] is None  # two nuclei say nothing
    assert first["source_dtype"] == np.dtype(dtype).name


def test_a_nucleus_halved_between_two_cells_counts_for_neither() -> None:
    signal, nuclei, cells = field()
    nuclei[:] = 0
    nuclei[4:8, 2:4] = 1
    rows = cut_cells(signal, nuclei, cells, image_id=IMAGE).rows
    assert [row["nucleus_count"] for row in rows] == [0, 0]
    assert [row["nucleus_area_px"] for row in rows] == [4, 4]
    assert {row["nucleus_mean_intensity"] for row in rows} == {None}
    assert all("no_nucleus" in row["flags"] for row in rows)


def test_only_the_edge_of_the_image_is_the_border() -> None:
    cells = np.zeros((9, 9), dtype=np.int32)
    cells[1:8, 1:8] = 1
    cells[2:4, 8] = 2
    cells[8, 2:4] = 3
    signal = np.ones((9, 9), dtype=np.uint8)
    rows = cut_cells(signal, np.zeros_like(cells), cells, image_id=IMAGE).rows
    assert [row["touches_border"] for row in rows] == [False, True, True]


def test_crops_show_the_cell_alone_without_resizing() -> None:
    signal, nuclei, cells = field()
    cut = cut_cells(signal, nuclei, cells, image_id=IMAGE, crop=8)
    expected = np.where(cells[6:14, 0:8] == 1, signal[6:14, 0:8], 0)
    np.testing.assert_array_equal(cut.crops[0], expected)
    wide = np.zeros((8, 8), dtype=np.uint8)
    wide[2:6] = signal[2:6, 0:8]
    np.testing.assert_array_equal(cut.crops[1], wide)
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[2:6] = 1
    mask[3:5, 2:4] = 2
    mask[5, 5:7] = 2
    np.testing.assert_array_equal(cut.masks[1], mask)


def test_sixteen_bit_signal_keeps_its_range() -> None:
    signal, nuclei, cells = field(np.uint16)
    signal[:] = 65_535
    cut = cut_cells(signal, nuclei, cells, image_id=IMAGE, crop=33)
    assert cut.crops.dtype == np.uint16
    # Cubic convolution overshoots beside the black outside; it must be clipped, not wrapped.
    assert np.all(cut.crops[0, 7:, 1:3] == 65_535)


def test_an_image_without_cells_gives_empty_arrays() -> None:
    empty = np.zeros((5, 6), dtype=np.int32)
    cut = cut_cells(np.ones((5, 6), dtype=np.uint16), empty, empty, image_id=IMAGE)
    assert cut.crops.shape == cut.masks.shape == (0, 96, 96)
    assert cut.crops.dtype == np.uint16
    assert cut.rows == []


@pytest.mark.parametrize(
    ("signal", "cells"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.int32)),
        (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)),
        (np.zeros((4, 4), np.uint8), np.full((4, 4), -1, np.int32)),
        (np.zeros((4, 4), np.uint8), np.full((4, 4), 17, np.int32)),
    ],
)
def test_what_cannot_be_cut_is_refused(signal: Array, cells: Array) -> None:
    with pytest.raises(ValueError, match=r"must be|has labels"):
        cut_cells(signal, np.zeros(signal.shape, np.int32), cells, image_id=IMAGE)


def test_cell_id_is_the_digest_of_image_box_and_packed_bits() -> None:
    mask = np.zeros((3, 3), dtype=bool)
    mask[0, 0] = mask[2, 2] = True
    content = f"{IMAGE}|4,5,7,8|".encode() + bytes([0b10000000, 0b10000000])
    expected = hashlib.blake2b(content, digest_size=16).hexdigest()
    assert cell_id(IMAGE, (4, 5, 7, 8), mask) == expected


def test_cell_id_depends_on_image_box_and_mask() -> None:
    mask = np.ones((2, 3), dtype=bool)
    other = mask.copy()
    other[1, 1] = False
    ids = {
        cell_id(IMAGE, (0, 0, 2, 3), mask),
        cell_id(IMAGE[::-1], (0, 0, 2, 3), mask),
        cell_id(IMAGE, (0, 1, 2, 4), mask),
        cell_id(IMAGE, (0, 0, 2, 3), other),
        cell_id(IMAGE, (0, 0, 3, 2), mask.reshape(3, 2)),
    }
    assert len(ids) == 5


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_cell_id_ignores_memory_layout(mask: Array) -> None:
    box = (0, 0, mask.shape[0], mask.shape[1])
    assert cell_id(IMAGE, box, np.asfortranarray(mask)) == cell_id(IMAGE, box, mask.copy())


label_images = hnp.arrays(
    np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1)
).map(lambda cells: cells * (1 + np.arange(cells.shape[1], dtype=np.int32) // 4))


@given(label_images, st.integers(16, 40), st.randoms(use_true_random=False))
def test_areas_masks_and_order(cells: Array, crop: int, random) -> None:
    rng = np.random.default_rng(random.randrange(2**32))
    signal = rng.integers(1, 255, cells.shape, dtype=np.uint8)
    nuclei = np.asarray(rng.integers(0, 2, cells.shape), dtype=np.int32)
    cut = cut_cells(signal, nuclei, cells, image_id=IMAGE, crop=crop)

    labels = [row["label_id"] for row in cut.rows]
    assert labels == [int(label) for label in np.unique(cells) if label]
    assert len({row["cell_id"] for row in cut.rows}) == len(labels)
    for row, mask in zip(cut.rows, cut.masks, strict=True):
        member = cells == row["label_id"]
        assert row["area_px"] == member.sum()
        assert row["nucleus_area_px"] == (member & (nuclei > 0)).sum()
        assert row["mean_intensity"] == pytest.approx(signal[member].mean())
        assert row["centroid_y"] == pytest.approx(np.argwhere(member).mean(axis=0)[0])
        assert row["centroid_x"] == pytest.approx(np.argwhere(member).mean(axis=0)[1])
        box_area = (row["y1"] - row["y0"]) * (row["x1"] - row["x0"])
        assert row["black_fraction"] == pytest.approx(1 - member.sum() / box_area)
        # Crops are at least as fine as these boxes: nearest resizing keeps every value.
        assert (mask == 2).any() == (row["nucleus_area_px"] > 0)
        assert (mask == 1).any() == (row["area_px"] > row["nucleus_area_px"])


@given(label_images)
def test_cell_ids_do_not_depend_on_labels(cells: Array) -> None:
    signal = np.ones(cells.shape, dtype=np.uint8)
    nuclei = np.zeros_like(cells)
    highest = int(cells.max())
    relabelled = np.where(cells > 0, highest + 1 - cells, 0)
    here = cut_cells(signal, nuclei, cells, image_id=IMAGE, crop=16).rows
    there = cut_cells(signal, nuclei, relabelled, image_id=IMAGE, crop=16).rows
    assert [row["cell_id"] for row in here] == [row["cell_id"] for row in reversed(there)]


@given(st.integers(1, 9), st.integers(1, 9))
def test_padding_is_centred_with_the_odd_pixel_at_the_end(height: int, width: int) -> None:
    square = pad_square(np.ones((height, width), dtype=np.uint8))
    side = max(height, width)
    assert square.shape == (side, side)
    assert square.sum() == height * width
    for axis, length in enumerate((height, width)):
        used = np.flatnonzero(square.any(axis=1 - axis))
        before, after = used[0], side - 1 - used[-1]
        assert before + after == side - length
        assert after - before in (0, 1)


@given(st.sampled_from([np.uint8, np.uint16]), st.integers(1, 40), st.integers(1, 40))
def test_resizing_keeps_a_constant(dtype: Any, source: int, side: int) -> None:
    value = np.iinfo(dtype).max - 3
    image = np.full((source, source), value, dtype=dtype)
    for resize in (resize_cubic, resize_nearest):
        result = resize(image, side)
        assert result.dtype == dtype
        assert result.shape == (side, side)
        assert np.all(result == value)


def test_cubic_resizing_reproduces_a_straight_ramp() -> None:
    ramp = np.tile(np.arange(0, 192, 12, dtype=np.uint8), (16, 1))
    finer = resize_cubic(ramp, 32)
    inner = np.arange(8, 24)
    np.testing.assert_array_equal(finer[0, inner], (inner + 0.5) * 6 - 6)


def test_a_field_twice_as_fine_gives_the_same_crop() -> None:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 255, (64, 64), dtype=np.uint8)
    noise = np.indices((128, 128)).sum(axis=0) % 2 * 60  # a chequerboard of the finest grain
    fine = np.kron(coarse // 2, np.ones((2, 2), dtype=np.uint8)) + noise.astype(np.uint8)
    difference = resize_cubic(fine, 32).astype(float) - (
        resize_cubic(coarse // 2, 32).astype(float) + 30
    )
    assert np.abs(difference).max() <= 4


def test_nearest_resizing_matches_pixel_centres() -> None:
    image = np.arange(9, dtype=np.uint8).reshape(3, 3)
    np.testing.assert_array_equal(resize_nearest(image, 1), [[4]])
    np.testing.assert_array_equal(resize_nearest(image, 6), np.kron(image, np.ones((2, 2))))
