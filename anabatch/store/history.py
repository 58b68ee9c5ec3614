"""Reading annotations: what holds, or what later exports have said anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from anabatch.schema import table_schema, validate
from anabatch.store.live import read_live_rows

if TYPE_CHECKING:
    from pathlib import Path

    from anabatch.store.live import LivePart

# What the first stores did not write, and what it is there.
_LATER_COLUMNS = {"reason": None, "repeats": 0, "superseded_by": None}


def read_annotations(root: Path, live: LivePart, *, history: bool = False) -> pa.Table:
    """Read the live annotations of a part.

    Parameters
    ----------
    root : Path
        The store's folder.
    live : LivePart
    history : bool
        Only the rows that later exports have replaced; without it only those that hold.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    PartCorruptError
        The part is not what was written.
    SchemaError
        It has other columns.
    """
    rows = read_live_rows(root, live, "annotations")
    schema = table_schema("annotations")
    for name, value in _LATER_COLUMNS.items():
        if name not in rows.schema.names:
            field = schema.field(name)
            rows = rows.append_column(field, pa.array([value] * rows.num_rows, field.type))
    superseded = pc.is_valid(validate("annotations", rows, derived=True)["superseded_by"])
    return rows.filter(superseded if history else pc.invert(superseded))
