"""The exceptions of anabatch.

Every one is an :class:`AnabatchError` and, where a caller would catch a builtin, that builtin too::

    AnabatchError
    ├── ConfigurationError (ValueError)          the user's configuration cannot be used
    │   ├── AmbiguousLayoutError                 an archive fits several layouts, or none
    │   ├── PlaceError (OSError)                 a place that the user named cannot be written to, or read
    │   └── WeightsError (FileNotFoundError)     network weights are missing or not the ones named
    ├── InputError                               a file of the archive is bad: quarantined, never fatal
    │   ├── UnreadableImageError (OSError)       cannot be opened, truncated, not an image
    │   ├── UnsupportedImageError (ValueError)   decodes, but to something that no stage can use
    │   ├── UnsettledFileError                   still changing, or gone since it was listed: left for the next run
    │   └── ExportError (ValueError)             a laboratory export that cannot be understood
    ├── PopulationError (ValueError)             rows that no population model can be fitted on
    ├── LandmarksError (ValueError)              sums in the coordinates of other landmarks than the model's
    ├── SchemaError (ValueError)                 a table does not have the columns that it promises
    ├── StoreError
    │   ├── StoreNotFoundError (FileNotFoundError)
    │   ├── StoreLockedError (BlockingIOError)   another run holds the store
    │   ├── PartCorruptError (OSError)           bytes of a part are not those that were written
    │   ├── MissingRowsError (LookupError)       live rows lack their array
    │   └── InconsistentError (ValueError)       tables of one commit contradict each other
    ├── GuardError (RuntimeError)                refused: the run would do more than was allowed
    ├── DeviceError (RuntimeError)               a device was asked for and is not there
    └── WorkerError (RuntimeError)               a task failed for reasons that are not its input's

Exceptions cross process borders. All arguments go to ``super().__init__`` and the sentence is made in
``__str__``, so that pickling keeps them; where it happened is added with ``add_note``.
"""

from __future__ import annotations

from typing import Any


class AnabatchError(Exception):
    """Base of all errors that anabatch raises on purpose.

    Parameters
    ----------
    what : str
        What is wrong, with the file and the value.
    remedy : str, optional
        What the reader can do about it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        # Some builtins reduce in their own ways, which do not agree where a leaf has two of them.
        return type(self), self.args, self.__dict__

    @property
    def what(self) -> str:
        """What is wrong."""
        return str(self.args[0])

    @property
    def remedy(self) -> str:
        """What to do about it; empty when there is nothing to say."""
        return str(self.args[1])

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}" if self.remedy else self.what


class ConfigurationError(AnabatchError, ValueError):
    """The configuration cannot be used as it stands."""


class AmbiguousLayoutError(ConfigurationError):
    """An archive fits several layouts, or none."""


class PlaceError(ConfigurationError, OSError):
    """A place that the user named cannot be written to, or read."""


class WeightsError(ConfigurationError, FileNotFoundError):
    """Network weights are missing, or are not the ones that were named."""


class InputError(AnabatchError):
    """A file of the archive is bad. It is quarantined with this reason, and the run goes on."""


class UnreadableImageError(InputError, OSError):
    """An image file cannot be opened or decoded."""


class UnsupportedImageError(InputError, ValueError):
    """An image decodes to something that no stage can use."""


class UnsettledFileError(InputError):
    """A file is still changing, or gone since it was listed. It is left for the next run."""


class ExportError(InputError, ValueError):
    """An export of the laboratory information system cannot be understood."""


class PopulationError(AnabatchError, ValueError):
    """A population model (embedding, clusters) cannot be fitted on, or applied to, these rows."""


class LandmarksError(AnabatchError, ValueError):
    """Sums of rows are in the coordinates of other landmarks than those that they meet. This is a bug."""


class SchemaError(AnabatchError, ValueError):
    """A table does not have the columns and types that its schema promises."""


class StoreError(AnabatchError):
    """The store is not in a state that allows the request."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """There is no store at this place."""


class StoreLockedError(StoreError, BlockingIOError):
    """Another run holds the store."""


class PartCorruptError(StoreError, OSError):
    """Bytes of a part are not those that were written."""


class MissingRowsError(StoreError, LookupError):
    """Live rows lack the array that belongs to them."""


class InconsistentError(StoreError, ValueError):
    """Tables of one commit contradict each other. It is not committed; this is a bug."""


class GuardError(AnabatchError, RuntimeError):
    """A guard refused the run."""


class DeviceError(AnabatchError, RuntimeError):
    """A device was asked for and is not there."""


class WorkerError(AnabatchError, RuntimeError):
    """A task failed for reasons that are not its input's."""
