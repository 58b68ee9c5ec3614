"""Errors of the disk itself: no part is to blame for them, and no code."""

from __future__ import annotations

import errno
import os
import re

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
"""Full, over quota, failing, read-only."""

# How Rust's libraries (deltalake) put it: they raise errors without a number.
_IN_WORDS = re.compile(r"\(os error (\d+)\)|\bOs \{ code: (\d+)")


def disk_error(error: BaseException | None) -> OSError | None:
    """Return the error of the disk that an error is, tells of, or was caused by.

    Parameters
    ----------
    error : BaseException or None

    Returns
    -------
    OSError or None
        With its number; None if the disk has nothing to do with it.
    """
    while error is not None:
        found = _number(error)
        if found in DISK_ERRORS:
            if isinstance(error, OSError) and error.errno == found:
                return error
            return OSError(found, os.strerror(found), str(error))
        error = error.__cause__
    return None


def _number(error: BaseException) -> int | None:
    # Errors of ours that are builtins too have their sentence for a number.
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return error.errno
    named = _IN_WORDS.search(str(error))
    return int(named[1] or named[2]) if named else None
