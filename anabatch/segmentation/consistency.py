"""Nuclei and cells of one image made to fit: a nucleus lies in one cell, or in none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anabatch.segmentation.scratch import bands, largest

if TYPE_CHECKING:
    from numpy.typing import NDArray


def consistent(
    nuclei: NDArray[np.int32], cells: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Give every nucleus to one cell, or to none, and settle the pixels that say otherwise.

    A nucleus belongs to the cell that holds most of its pixels (of equals, the one with the lowest
    label), if half of its pixels or more lie in cells. Its pixels that are in no cell become the
    cell's; those in other cells are the nucleus's no more. A nucleus that lies outside of cells for
    the most part belongs to none, and loses what of it lies in any.

    Parameters
    ----------
    nuclei, cells : ndarray of int32, one shape
        Label images, masks 1 to n; 0 is no mask.

    Returns
    -------
    nuclei, cells : ndarray of int32, the same shape
        The same masks under the same labels; none is lost. :func:`cells_of_nuclei` finds which
        belong together.
    """
    return settle(nuclei, cells, _owners(nuclei, cells))


def settle(
    nuclei: NDArray[np.int32], cells: NDArray[np.int32], owners: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Settle the pixels of nuclei and cells, given the cell of every nucleus by its label."""
    within = nuclei > 0
    own = owners[nuclei[within]]
    held = cells[within]
    settled_cells, settled_nuclei = cells.copy(), nuclei.copy()
    settled_cells[within] = np.where(held == 0, own, held)
    settled_nuclei[within] = np.where((held == 0) | (held == own), nuclei[within], 0)
    return settled_nuclei, settled_cells


def cells_of_nuclei(nuclei: NDArray[np.int32], cells: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return which cell every nucleus belongs to.

    Parameters
    ----------
    nuclei, cells : ndarray of int32, one shape
        Label images, as the segmentation stores them: a nucleus lies in one cell, or in none.

    Returns
    -------
    ndarray of int32, shape (nuclei,)
        The cell of nucleus i + 1; 0 is none. A cell may have several.
    """
    return _owners(nuclei, cells)[1:]


def without_partner(nuclei: NDArray[np.int32], cells: NDArray[np.int32]) -> tuple[int, int]:
    """Return how many nuclei have no cell, and how many cells have no nucleus."""
    owners = cells_of_nuclei(nuclei, cells)
    alone = int(np.count_nonzero(owners == 0))
    return alone, largest(cells) - np.unique(owners[owners > 0]).size


def _owners(nuclei: NDArray[np.int32], cells: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the cell of every nucleus by its label, shape (nuclei + 1,); 0 is none."""
    return choose_owners(*shared_pixels(nuclei, cells), largest(nuclei))


def shared_pixels(
    nuclei: NDArray[np.int32], cells: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return nuclei, cells (0 is none) and the number of pixels that they share, pair by pair.

    The label images may be maps of files: some rows of them are looked at together.
    """
    stride = 1 << 31  # labels are of 32 bits
    found, shares = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for own, other in zip(bands(nuclei), bands(cells), strict=True):
        within = own > 0
        pairs, pixels = np.unique(
            own[within].astype(np.int64) * stride + other[within], return_counts=True
        )
        found.append(pairs)
        shares.append(pixels)
    pairs, at = np.unique(np.concatenate(found), return_inverse=True)
    shared = np.zeros(pairs.size, np.int64)
    np.add.at(shared, at, np.concatenate(shares))
    nucleus, cell = np.divmod(pairs, stride)
    return nucleus, cell, shared


def choose_owners(
    nucleus: NDArray[np.int64], cell: NDArray[np.int64], pixels: NDArray[np.int64], nuclei: int
) -> NDArray[np.int32]:
    """Return the cell of every nucleus by its label, shape (nuclei + 1,); 0 is none.

    Parameters
    ----------
    nucleus, cell, pixels : ndarray of int64, shape (pairs,)
        As :func:`shared_pixels` returns them; every pair once.
    nuclei : int
        Number of nuclei.
    """
    owners = np.zeros(nuclei + 1, np.int32)
    outside = np.zeros(owners.size, np.int64)
    outside[nucleus[cell == 0]] = pixels[cell == 0]
    inside = cell > 0
    nucleus, cell, pixels = nucleus[inside], cell[inside], pixels[inside]
    total = np.bincount(nucleus, weights=pixels, minlength=owners.size)
    # The last of a nucleus's lines wins: most pixels, and of equals the lowest label.
    order = np.lexsort((-cell, pixels, nucleus))
    owners[nucleus[order]] = cell[order]
    owners[total < outside] = 0
    return owners
