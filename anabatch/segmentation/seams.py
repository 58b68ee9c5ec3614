"""Masks that neighbouring blocks of one image found, brought together.

Blocks overlap, so a cell on a seam is found by every block that it reaches into, whole or cut by
the end of what the block saw. Masks of two blocks are one cell if they agree where both blocks
looked; what agrees is joined by union-find, best agreement first, and never two masks of one block.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from anabatch.segmentation.scratch import DiskImage

Box: TypeAlias = tuple[int, int, int, int]
"""First row, first column, and the row and the column after the last."""

AGREEMENT = 0.5
"""Least intersection over union, where both blocks looked, of masks that are one cell."""

# Side of the buckets in which neighbours are looked for, in pixels. It decides no result.
_BUCKET = 128


@dataclass(frozen=True)
class Block:
    """A part of an image that is worked on by itself.

    Attributes
    ----------
    core : Box
        What it answers for; the cores of all blocks tile the image.
    seen : Box
        What it looks at: the core, and what lies around it.
    """

    core: Box
    seen: Box


@dataclass(frozen=True, slots=True)
class Piece:
    """A mask as one block found it.

    Attributes
    ----------
    block : int
        The block's number.
    box : Box
        Where it lies in the image.
    bits : bytes
        The mask in its box, a bit a pixel.
    area : int
        Pixels.
    central : int
        Pixels in the block's core.
    cut : bool
        It reaches the end of what the block saw, within the image.
    """

    block: int
    box: Box
    bits: bytes
    area: int
    central: int
    cut: bool

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask in its box, shape (rows, columns)."""
        top, left, bottom, right = self.box
        shape = bottom - top, right - left
        bits = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=shape[0] * shape[1])
        return bits.reshape(shape).astype(np.bool_)

    @classmethod
    def of(cls, mask: NDArray[np.bool_], box: Box, *, block: int, central: int, cut: bool) -> Piece:
        """Pack a mask."""
        return cls(
            block, box, np.packbits(mask).tobytes(), int(np.count_nonzero(mask)), central, cut
        )


def plan_blocks(shape: tuple[int, ...], side: int, halo: int) -> list[Block]:
    """Cut an image into blocks, row by row.

    Parameters
    ----------
    shape : tuple of int
        (h, w).
    side : int
        Side of the cores, in pixels; the last ones may be smaller.
    halo : int
        Pixels that a block sees around its core, where the image goes on.
    """
    blocks = []
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            bottom, right = min(top + side, shape[0]), min(left + side, shape[1])
            seen = (
                max(0, top - halo),
                max(0, left - halo),
                min(shape[0], bottom + halo),
                min(shape[1], right + halo),
            )
            blocks.append(Block((top, left, bottom, right), seen))
    return blocks


def take_pieces(
    labels: NDArray[np.int32], block: Block, number: int, shape: tuple[int, ...]
) -> Iterator[Piece]:
    """Yield the masks of a block that reach into its core.

    Parameters
    ----------
    labels : ndarray of int32
        Label image of what the block saw.
    block : Block
    number : int
        The block's number.
    shape : tuple of int
        (h, w) of the image, at whose own border no mask is cut.
    """
    top, left = block.seen[:2]
    for label, found in enumerate(ndimage.find_objects(labels), start=1):
        if found is None:
            continue
        rows, columns = found
        box = (top + rows.start, left + columns.start, top + rows.stop, left + columns.stop)
        core = _common(box, block.core)
        if core is None:
            continue
        mask = labels[found] == label
        central = int(np.count_nonzero(_within(mask, box, core)))
        if central:
            cut = _is_cut(box, block.seen, shape)
            yield Piece.of(mask, box, block=number, central=central, cut=cut)


def _is_cut(box: Box, seen: Box, shape: tuple[int, ...]) -> bool:
    ends = 0, 0, *shape
    return any(mine == end != last for mine, end, last in zip(box, seen, ends, strict=True))


def merge(pieces: Sequence[Piece], blocks: Sequence[Block]) -> list[Piece]:
    """Return every cell once.

    Parameters
    ----------
    pieces : sequence of Piece
    blocks : sequence of Block
        By their numbers.

    Returns
    -------
    list of Piece
        Of masks that are one cell the one that no end cuts, and of several the one of which most
        lies in its block's core; where all are cut, all of them together. The largest come first;
        they may still overlap in some pixels.
    """
    parent = list(range(len(pieces)))
    members = [frozenset((piece.block,)) for piece in pieces]
    for _, one, other in sorted(_agreeing(pieces, blocks)):
        first, second = sorted((_root(parent, one), _root(parent, other)))
        if first != second and not members[first] & members[second]:
            parent[second] = first
            members[first] |= members[second]
    cells = defaultdict(list)
    for index, piece in enumerate(pieces):
        cells[_root(parent, index)].append(piece)
    whole = [_best(found) for found in cells.values()]
    return sorted(whole, key=lambda piece: (-piece.area, piece.box, piece.block))


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


def _agreeing(pieces: Sequence[Piece], blocks: Sequence[Block]) -> Iterator[tuple[float, int, int]]:
    """Yield disagreement and numbers of pairs of pieces that are one cell."""
    for one, other in _neighbours(pieces):
        first, second = pieces[one], pieces[other]
        both = _common(blocks[first.block].seen, blocks[second.block].seen)
        touching = _common(first.box, second.box)
        if both is None or touching is None:
            continue
        mine, theirs = _within(first.mask, first.box, both), _within(second.mask, second.box, both)
        shared = np.count_nonzero(
            _within(first.mask, first.box, touching) & _within(second.mask, second.box, touching)
        )
        union = int(np.count_nonzero(mine)) + int(np.count_nonzero(theirs)) - int(shared)
        if shared and shared >= AGREEMENT * union:
            yield 1 - shared / union, one, other


def _neighbours(pieces: Sequence[Piece]) -> set[tuple[int, int]]:
    """Return pairs of pieces of different blocks that may touch."""
    buckets = defaultdict(list)
    for index, (top, left, bottom, right) in enumerate(piece.box for piece in pieces):
        for row in range(top // _BUCKET, (bottom - 1) // _BUCKET + 1):
            for column in range(left // _BUCKET, (right - 1) // _BUCKET + 1):
                buckets[row, column].append(index)
    return {
        pair
        for inside in buckets.values()
        for pair in combinations(inside, 2)
        if pieces[pair[0]].block != pieces[pair[1]].block
    }


def _best(found: list[Piece]) -> Piece:
    whole = [piece for piece in found if not piece.cut]
    if whole:
        return min(whole, key=lambda piece: (-piece.central, piece.block))
    if len(found) == 1:
        return found[0]
    return _together(found)


def _together(found: list[Piece]) -> Piece:
    boxes = np.array([piece.box for piece in found])
    top, left = (int(edge) for edge in boxes[:, :2].min(axis=0))
    bottom, right = (int(edge) for edge in boxes[:, 2:].max(axis=0))
    mask = np.zeros((bottom - top, right - left), np.bool_)
    for piece in found:
        y0, x0, y1, x1 = piece.box
        mask[y0 - top : y1 - top, x0 - left : x1 - left] |= piece.mask
    central = sum(piece.central for piece in found)
    box = top, left, bottom, right
    return Piece.of(mask, box, block=found[0].block, central=central, cut=True)


def _common(one: Box, other: Box) -> Box | None:
    top, left = max(one[0], other[0]), max(one[1], other[1])
    bottom, right = min(one[2], other[2]), min(one[3], other[3])
    return (top, left, bottom, right) if top < bottom and left < right else None


def _within(mask: NDArray[np.bool_], box: Box, part: Box) -> NDArray[np.bool_]:
    """Return what of a mask in a box lies in a part of the image."""
    top, left = box[:2]
    rows = slice(max(0, part[0] - top), max(0, part[2] - top))
    columns = slice(max(0, part[1] - left), max(0, part[3] - left))
    return mask[rows, columns]


def lay_out(cells: Sequence[Piece], image: DiskImage, smallest: int) -> int:
    """Write cells into an empty label image, under 1 to n.

    What two cover goes to the first. A cell of which others leave less than half, or fewer than
    `smallest` pixels, is left out.

    Parameters
    ----------
    cells : sequence of Piece
    image : DiskImage of int32
    smallest : int
        In pixels.

    Returns
    -------
    int
        Cells that were written.
    """
    written = 0
    for cell in cells:
        top, left, bottom, right = cell.box
        window = slice(top, bottom), slice(left, right)
        there = image[window]
        free = cell.mask & (there == 0)
        left_over = int(np.count_nonzero(free))
        if 2 * left_over < cell.area or left_over < smallest:
            continue
        written += 1
        there[free] = written
        image[window] = there
    return written
