"""The list of parts that are known to be damaged: verifications write it, plans read it."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING

from anabatch.errors import PartCorruptError
from anabatch.store.durable import replace_text, sync_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Set
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
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"the list of damaged parts {path} cannot be read: {error}"
        raise PartCorruptError(what, "Delete it and run `anabatch verify --full`.") from error


def note_damage(root: Path, damaged: Mapping[str, str], whole: Set[str], sized: Set[str]) -> None:
    """Write down which parts are damaged, for the next run to compute them again.

    What was known stays known until the part is found whole, or nothing is left of it: also a part
    that no version names any more, which would else be adopted.

    Parameters
    ----------
    root : Path
        The store's folder.
    damaged : mapping
        What was found now, as :func:`read_damage` returns it.
    whole : set of str
        Parts of which every byte was found to be what was written.
    sized : set of str
        Parts of which every file was found, in its size.

    Raises
    ------
    OSError
        The store cannot be written to.
    """
    known = read_damage(root)
    noted = dict(damaged)
    for part, kind in known.items():
        healed = part in whole or (kind == Damage.MISSING and part in sized)
        if not healed and (root / part).exists():
            noted.setdefault(part, kind)
    if noted and noted != known:
        replace_text(root / DAMAGE, json.dumps({"parts": dict(sorted(noted.items()))}))
    elif known and not noted:
        (root / DAMAGE).unlink(missing_ok=True)
        sync_folder(root)
