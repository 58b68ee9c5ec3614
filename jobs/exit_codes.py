"""Errors to exit codes."""

from __future__ import annotations

from anabatch.errors import (
    ConfigurationError,
    DeviceError,
    GuardError,
    MissingRowsError,
    PopulationError,
    StoreLockedError,
    StoreNotFoundError,
)
from anabatch.store.disk import disk_error

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
"""Exit codes; the large ones are those of sysexits.h and of shells.

What the user named and what is not there, as a version, an image or an item of the quarantine, is a
matter of the configuration: 78.
"""


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
        (DeviceError, CONFIGURATION),  # asked for, and not there
        # a store mistyped, or a job before the one that it needs: the user's to put right
        (StoreNotFoundError, CONFIGURATION),
        (MissingRowsError, CONFIGURATION),
        (PopulationError, CONFIGURATION),  # more clusters than cells
        (GuardError, GUARD),
    )
    for kind, code in codes:
        if isinstance(error, kind):
            return code
    return DISK if disk_error(error) else BUG
