"""Errors of the disk, told from all others, however a library puts them."""

import errno

import pytest

from anabatch.errors import PartCorruptError
from anabatch.store.disk import disk_error


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), errno.ENOSPC),
        (RuntimeError("Generic error: Input/output error (os error 5)"), errno.EIO),
        (RuntimeError('Error: Os { code: 28, kind: StorageFull, message: "No space"}'), 28),
        (RuntimeError('Error: Os { code: 13, kind: PermissionDenied, message: ""}'), None),
        (PermissionError(errno.EACCES, "Permission denied"), None),
        (PartCorruptError("5 rows are missing"), None),
        (ValueError("error 28"), None),
    ],
)
def test_the_number_is_found_in_all_wordings(error, number):
    found = disk_error(error)
    assert (found.errno if found else None) == number
    assert disk_error(None) is None


def test_what_the_disk_caused_is_the_disks():
    cause = OSError(errno.EIO, "Input/output error")
    error = PartCorruptError("cannot be read")
    error.__cause__ = RuntimeError("zarr")
    error.__cause__.__cause__ = cause
    assert disk_error(error) is cause
