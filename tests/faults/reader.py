"""Reads a store over and over, as somebody does who works while the night's run goes on.

Writes a JSON line for every reading on standard output: the version and a fingerprint of all that is
in it, or what was torn. Ends when its standard input does.
"""

import json
import select
import sys
from pathlib import Path

from tiny import expect_whole, seen_in

import anabatch
from anabatch.errors import StoreNotFoundError


def read(folder: Path) -> dict[str, object]:
    """Read the newest version in full."""
    try:
        store = anabatch.open_store(folder)
    except StoreNotFoundError:
        return {}
    try:
        expect_whole(store)
        return {"version": store.version, "fingerprint": seen_in(store)}
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
