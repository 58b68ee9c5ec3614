"""Errors to exit codes."""

import errno

import pytest
from anabatch.jobs.exit_codes import exit_code

from anabatch.errors import (
    AmbiguousLayoutError,
    ConfigurationError,
    DeviceError,
    GuardError,
    MissingRowsError,
    PartCorruptError,
    PopulationError,
    StoreLockedError,
    StoreNotFoundError,
    UnreadableImageError,
    WeightsError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (StoreLockedError("held"), 75),
        (ConfigurationError("bad value"), 78),
        (AmbiguousLayoutError("two fit"), 78),
        (DeviceError("no GPU"), 78),
        (WeightsError("no file"), 78),
        (GuardError("too much"), 4),
        (OSError(errno.ENOSPC, "No space left on device"), 74),
        (OSError(errno.EIO, "Input/output error"), 74),
        (FileNotFoundError(errno.ENOENT, "gone"), 1),
        (PartCorruptError("flipped"), 1),
        (StoreNotFoundError("no store"), 78),
        (MissingRowsError("no features"), 78),
        (PopulationError("41 clusters of 40 cells"), 78),
        (UnreadableImageError("broken"), 1),
        (ZeroDivisionError(), 1),
    ],
)
def test_every_kind_of_end_has_its_code(error, code):
    assert exit_code(error) == code
    assert exit_code(error, quarantined=3) == code


@pytest.mark.parametrize(("number", "code"), [(errno.EIO, 74), (errno.ENOENT, 1)])
def test_damage_that_the_disk_caused_is_the_disks(number, code):
    error = PartCorruptError("cannot be read")
    error.__cause__ = OSError(number, "as the system puts it")
    assert exit_code(error) == code


def test_a_good_end_depends_on_the_quarantine():
    assert exit_code(None) == 0
    assert exit_code(None, quarantined=1) == 3
