"""Whether a store still is what was written: every part, every file, every byte of it."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING

from anabatch.errors import PartCorruptError

if TYPE_CHECKING:
    from pathlib import Path

DAMAGE = "damage.json"


class Damage(StrEnum):
    """What keeps a part from being read."""

    MISSING = "MISSING"
    CORRUPT = "CORRUPT"


def read_damage(root: Path) -> dict[str, str]:
    """Return the parts that the last verifications found damaged.

    Parameters
    ----------
    root : Path
        The store's folder.

    Returns
    -------
    dict
        Path of the part, relative to the store, to `MISSING` or `CORRUPT`. Empty if none is known.

    Raises
    ------
    PartCorruptError
        The list itself cannot be read.
    """
    path = root / DAMAGE
    try:
        parts = json.loads(path.read_bytes())["parts"]
        return {str(part): Damage(kind).value for part, kind in parts.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"the list of damaged parts {path} cannot be read: {error}"
        raise PartCorruptError(what, "Delete it and run `anabatch verify --full`.") from error
