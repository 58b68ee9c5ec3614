"""Digests: of actions' inputs, of batches, of files."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_BLOCK = 1 << 20  # bytes
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def canonical_json(value: Mapping[str, Any]) -> str:
    """Return one text for equal values: sorted keys, no spaces.

    Raises
    ------
    ValueError
        A value is NaN or infinite, for which JSON has no text.
    """
    return _ENCODER.encode(value)


def action_key(**components: Any) -> str:
    """Return the key of an action: a digest of all that determines its result.

    Parameters
    ----------
    **components
        Input digests, the stage's parameters, its version, digests of weights: anything that JSON
        can hold.

    Returns
    -------
    str
        32 hex digits.
    """
    return hashlib.blake2b(canonical_json(components).encode(), digest_size=16).hexdigest()


def batch_name(keys: Iterable[str]) -> str:
    """Return 12 hex digits that name a batch by the keys of its actions, in any order."""
    return hashlib.blake2b("\n".join(sorted(keys)).encode(), digest_size=6).hexdigest()


def bytes_digest(data: bytes) -> str:
    """Return the BLAKE2b-128 digest of bytes, as 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """Return the BLAKE2b-128 digest of a file's bytes, as 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
