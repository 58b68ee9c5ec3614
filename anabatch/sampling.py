"""Drawing rows by their identity.

Pilots, landmarks and seeds are drawn by the digest of (seed, id), never by position: the draw does not
depend on the order of the rows or on the parts that they lie in, and new rows displace few old ones.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_DIGEST_BYTES = 16


def draw(ids: Sequence[str] | NDArray[Any], n: int, seed: int) -> NDArray[np.intp]:
    """Draw rows without replacement: those with the smallest digests of (seed, id).

    This is bottom-k sampling: a uniform sample, and the sample of a union is found among the samples
    of its parts.

    Parameters
    ----------
    ids : sequence of str, length N
        The rows' identities. Rows with equal ids are drawn together, in the order of their positions.
    n : int
        Rows to draw; all, when there are fewer.
    seed : int
        Another seed draws another sample.

    Returns
    -------
    ndarray of intp, shape (min(n, N),)
        Positions in `ids`, sorted by digest.

    References
    ----------
    Cohen, E. and Kaplan, H. (2007). Summarizing data using bottom-k sketches. PODC '07, 225-234.

    Examples
    --------
    >>> ids = ["a", "b", "c", "d", "e"]
    >>> drawn = [ids[i] for i in draw(ids, 2, seed=0)]
    >>> ids.reverse()
    >>> drawn == [ids[i] for i in draw(ids, 2, seed=0)]
    True
    """
    return in_order(digests(ids, seed))[: max(n, 0)]


def digests(ids: Iterable[str], seed: int) -> NDArray[np.uint64]:
    """Return the digests of (seed, id).

    Parameters
    ----------
    ids : iterable of str, length N
    seed : int

    Returns
    -------
    ndarray of uint64, shape (N, 2)
        The higher half first.
    """
    seeded = hashlib.blake2b(f"{seed}|".encode(), digest_size=_DIGEST_BYTES)
    every = b"".join(_digest(seeded, str(identity)) for identity in ids)
    words = np.frombuffer(every, dtype=">u8").reshape(-1, _DIGEST_BYTES // 8)
    return words.astype(np.uint64)


def in_order(words: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Return the positions of digests, shape (N, 2), from the smallest on; of equal ones the first first."""
    # lexsort is stable, and its last key is the first to count
    order: NDArray[np.intp] = np.lexsort((words[:, 1], words[:, 0]))
    return order


def _digest(seeded: hashlib.blake2b, identity: str) -> bytes:
    digest = seeded.copy()
    digest.update(identity.encode())
    return digest.digest()
