"""The small networks that are shipped: their files, digests and origin.

`manifest.json` beside this file has one entry a network: `file` and its `digest`, the `command` that
reproduces it, the `data` it was trained on with their digests or public source, the `seed`, and the
measured `quality`. Nothing here imports a network library: the planner of a run needs the digests of
weights, and no network.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anabatch.errors import WeightsError

FOLDER = Path(__file__).resolve().parent
"""The folder of the shipped files and their manifest."""


@dataclass(frozen=True)
class WeightsFile:
    """The weights of one network, as a file.

    Attributes
    ----------
    name : str
        What the network is called in a configuration.
    path : Path
        The file.
    digest : str
        32 hex digits: BLAKE2b-128 of the file's bytes.
    record : dict
        The manifest's entry; empty for weights that are not shipped.
    """

    name: str
    path: Path
    digest: str
    record: dict[str, Any] = field(default_factory=dict, compare=False)


def file_digest(path: Path) -> str:
    """Return 32 hex digits: BLAKE2b-128 of the file's bytes.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def manifest(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return the manifest: the network's name to its entry.

    Raises
    ------
    WeightsError
        The manifest is missing or is not JSON.
    """
    path = folder / "manifest.json"
    try:
        entries: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = f"the manifest of the shipped networks is missing: {path}"
        raise WeightsError(what, "Install the package again.") from error
    except ValueError as error:
        what = f"the manifest of the shipped networks is not JSON: {path}: {error}"
        raise WeightsError(what, "Install the package again.") from error
    return entries


def shipped(name: str, folder: Path = FOLDER) -> WeightsFile:
    """Return a shipped network's file, its digest checked.

    Parameters
    ----------
    name : str
        A name of the manifest, such as `anabatch-nuclei`.
    folder : Path
        Where the files and the manifest are.

    Returns
    -------
    WeightsFile

    Raises
    ------
    WeightsError
        No such network is shipped, its file is missing, or the file is not the one that was shipped.
    """
    entries = manifest(folder)
    if name not in entries:
        what = f"no network named {name!r} is shipped"
        raise WeightsError(what, f"There are: {', '.join(sorted(entries)) or 'none'}.")
    entry = entries[name]
    path = folder / entry["file"]
    remedy = f"Put the shipped file at {path}, or make it again: {entry['command']}"
    try:
        digest = file_digest(path)
    except OSError as error:
        what = f"the weights of {name} are missing: {path}"
        raise WeightsError(what, remedy) from error
    if digest != entry["digest"]:
        what = f"{path} has digest {digest}, and the manifest says {entry['digest']}"
        raise WeightsError(what, remedy)
    return WeightsFile(name=name, path=path, digest=digest, record=entry)
