"""Errors of the disk itself: no part is to blame for them, and no code."""

from __future__ import annotations

import errno
import os

from anabatch.named_places import error_number

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
"""Full, over quota, failing, read-only."""


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
        found = error_number(error)
        if found in DISK_ERRORS:
            if isinstance(error, OSError) and error.errno == found:
                return error
            return OSError(found, os.strerror(found), str(error))
        error = error.__cause__
    return None
