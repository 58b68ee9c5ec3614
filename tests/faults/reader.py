"""Reads a store over and over, as somebody does who works while the night's run goes on.

Writes a JSON line for every reading on standard output: the version and a fingerprint of all that is
in it, or what was torn. Ends when its standard input does.
"""

import json
import select
import sys
from pathlib import Path

from contents import cell_ids, fingerprint, label_images

import anabatch
from anabatch.errors import MissingRowsError, StoreNotFoundError
from anabatch.store.root import Store


def check(store: Store) -> None:
    """Check what must hold in every version.

    Raises
    ------
    AssertionError
        It does not.
    """
    images = set(store.table("acquisitions").to_pandas().image_id)
    cells = store.table("cells").to_pandas()
    assert set(cells.image_id) <= images, "cells without their image"
    for name in ("crops", "masks", "features", "embedding"):
        try:
            array = store.array(name)
        except MissingRowsError:
            continue  # it says so, and hands out nothing short
        assert array.shape[0] == len(cells), f"{array.shape[0]} {name} of {len(cells)} cells"
    assert len(set(cell_ids(store))) == len(cells), "a cell stands twice"
    assert set(label_images(store)) >= set(cells.image_id), "cells without their label image"


def read(folder: Path) -> dict[str, object]:
    """Read the newest version in full."""
    try:
        store = anabatch.open_store(folder)
    except StoreNotFoundError:
        return {}
    try:
        check(store)
        return {"version": store.version, "fingerprint": fingerprint(store)}
    except Exception as error:  # noqa: BLE001 (whatever it is, a reader should not meet it)
        return {"version": store.version, "torn": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    while not select.select([sys.stdin], [], [], 0)[0]:
        try:
            found = read(Path(sys.argv[1]))
        except Exception as error:  # noqa: BLE001 (opening failed)
            found = {"torn": f"opening: {type(error).__name__}: {error}"}
        if found:
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()
