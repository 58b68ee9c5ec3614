import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.segmentation.scratch import DiskImage
from anabatch.segmentation.seams import Block, Piece, lay_out, merge, plan_blocks, take_pieces

SHAPE = (60, 80)


def scene(discs, shape=SHAPE):
    """Draw discs (y, x, radius), the first on top."""
    labels = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for label, (row, column, radius) in reversed(list(enumerate(discs, 1))):
        labels[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = label
    return labels


def looked_at(labels, blocks):
    """What blocks find that see the truth: pieces under names of their own."""
    pieces: list[Piece] = []
    for number, block in enumerate(blocks):
        top, left, bottom, right = block.seen
        seen = labels[top:bottom, left:right]
        names = np.random.default_rng(number).permutation(int(labels.max())) + 1
        seen = np.where(seen > 0, np.append(0, names)[seen], 0).astype(np.int32)
        pieces += take_pieces(seen, block, number, labels.shape)
    return pieces


def assembled(labels, blocks):
    image = DiskImage(labels.shape, np.int32)
    count = lay_out(merge(looked_at(labels, blocks), blocks), image, 1)
    return image[:], count


def same_partition(one, two):
    pairs = np.unique(np.stack([one.ravel(), two.ravel()]), axis=1)
    return all(np.unique(names).size == names.size for names in pairs)


@given(st.integers(1, 50), st.integers(1, 90), st.integers(0, 30))
def test_blocks_tile_the_image_and_see_what_is_around(height, side, halo):
    covered = np.zeros((height, 33), int)
    for block in plan_blocks(covered.shape, side, halo):
        top, left, bottom, right = block.core
        covered[top:bottom, left:right] += 1
        expected = [max(0, top - halo), max(0, left - halo)]
        expected += [min(height, bottom + halo), min(33, right + halo)]
        assert list(block.seen) == expected
    assert (covered == 1).all()


discs = st.lists(
    st.tuples(st.integers(0, SHAPE[0]), st.integers(0, SHAPE[1]), st.integers(2, 9)), max_size=14
)


@given(discs, st.integers(7, 90), st.integers(20, 40))
def test_every_cell_is_one_cell_wherever_the_seams_are(drawn, side, halo):
    """With a halo that no cell is larger than, whole images and blocks give the same masks."""
    labels = scene(drawn)
    found, count = assembled(labels, plan_blocks(SHAPE, side, halo))
    assert same_partition(found, labels)
    assert count == np.unique(labels[labels > 0]).size


@pytest.mark.parametrize("halo", [6, 10, 25])
def test_a_cell_larger_than_any_block_is_put_together(halo):
    labels = scene([(30, 40, 28), (3, 3, 3)])
    found, count = assembled(labels, plan_blocks(SHAPE, 12, halo))
    assert count == 2
    assert same_partition(found, labels)


def disc(box, *, block, central=None, cut=False, mask=None):
    mask = np.ones((box[2] - box[0], box[3] - box[1]), bool) if mask is None else mask
    central = int(mask.sum()) if central is None else central
    return Piece.of(mask, box, block=block, central=central, cut=cut)


BLOCKS = [Block((0, 0, 20, 20), (0, 0, 20, 30)), Block((0, 20, 20, 40), (0, 10, 20, 40))]


def test_masks_come_back_from_their_bits():
    mask = np.random.default_rng(0).random((7, 5)) > 0.5
    piece = disc((3, 4, 10, 9), block=0, mask=mask)
    np.testing.assert_array_equal(piece.mask, mask)
    assert piece.area == mask.sum()


def test_of_two_masks_the_one_is_kept_that_lies_deeper_in_its_block():
    one = disc((2, 14, 8, 22), block=0, central=36)
    other = disc((2, 14, 8, 23), block=1, central=18)
    assert merge([other, one], BLOCKS) == [one]


def test_a_whole_mask_goes_before_a_cut_one():
    cut = disc((2, 10, 8, 18), block=1, central=40, cut=True)
    whole = disc((2, 8, 8, 18), block=0, central=30)
    assert merge([cut, whole], BLOCKS) == [whole]


def test_cut_masks_agree_where_both_blocks_looked():
    left = disc((2, 0, 8, 30), block=0, cut=True)
    right = disc((2, 10, 8, 40), block=1, cut=True)
    (found,) = merge([left, right], BLOCKS)
    assert found.box == (2, 0, 8, 40)
    assert found.area == 6 * 40


def test_masks_that_hardly_touch_stay_two():
    one, other = disc((2, 12, 8, 20), block=0), disc((2, 18, 8, 26), block=1)
    assert len(merge([one, other], BLOCKS)) == 2


def test_two_masks_of_one_block_never_become_one():
    """Where one block sees one cell and its neighbour two, one answer is taken, not their mixture."""
    both = disc((2, 12, 8, 26), block=0)
    left, right = disc((2, 12, 8, 19), block=1), disc((2, 19, 8, 26), block=1)
    found = merge([both, left, right], BLOCKS)
    assert len(found) == 2
    image = DiskImage((20, 40), np.int32)
    assert lay_out(found, image, 1) == 1  # the other lies under it
    assert np.count_nonzero(image[:]) == both.area


def test_the_order_of_the_pieces_decides_nothing():
    labels = scene([(10, 12, 6), (20, 40, 9), (33, 41, 8), (50, 60, 9), (28, 70, 4)])
    blocks = plan_blocks(SHAPE, 16, 12)
    pieces = looked_at(labels, blocks)
    expected = [(piece.box, piece.block) for piece in merge(pieces, blocks)]
    turned = merge(pieces[::-1], blocks)
    assert [(piece.box, piece.block) for piece in turned] == expected


def test_small_and_covered_cells_are_left_out():
    cells = [
        disc((0, 0, 6, 6), block=0),
        disc((3, 0, 8, 6), block=1),
        disc((10, 10, 12, 12), block=0),
    ]
    image = DiskImage((20, 20), np.int32)
    assert lay_out(cells, image, 5) == 1
    assert np.unique(image[:]).tolist() == [0, 1]
