"""Errors to exit codes."""

from __future__ import annotations

import errno

from anabatch.errors import AnabatchError, ConfigurationError, GuardError, StoreLockedError

DONE, BUG, USAGE, QUARANTINE, GUARD, DISK, LOCKED, CONFIGURATION, INTERRUPTED = (
    0,
    1,
    2,
    3,
    4,
    74,
    75,
    78,
    130,
)
"""Exit codes; the large ones are those of sysexits.h and of shells."""

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})


def exit_code(error: BaseException | None, quarantined: int = 0) -> int:
    """Return the exit code of a run that ended so.

    Parameters
    ----------
    error : BaseException or None
        What ended it.
    quarantined : int
        Items in the store's quarantine.
    """
    if error is None:
        return QUARANTINE if quarantined else DONE
    codes: tuple[tuple[type[BaseException], int], ...] = (
        (KeyboardInterrupt, INTERRUPTED),
        (StoreLockedError, LOCKED),
        (ConfigurationError, CONFIGURATION),
        (GuardError, GUARD),
    )
    for kind, code in codes:
        if isinstance(error, kind):
            return code
    if isinstance(error, OSError) and not isinstance(error, AnabatchError):
        return DISK if error.errno in _DISK_ERRORS else BUG
    return BUG
