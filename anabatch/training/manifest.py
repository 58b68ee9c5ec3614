"""Writing the manifest of the shipped networks: the training commands' last act."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from anabatch.weights import FOLDER, file_digest, manifest


def update_entry(name: str, changes: dict[str, Any], folder: Path = FOLDER) -> dict[str, Any]:
    """Change one network's entry and leave the others as they are.

    Parameters
    ----------
    name : str
        The network.
    changes : dict
        Keys to set. With `file` among them, the digest is taken anew.
    folder : Path
        The folder of the manifest and the files.

    Returns
    -------
    dict
        The whole entry, as it was written.

    Raises
    ------
    WeightsError
        There is no manifest in the folder.
    """
    path = folder / "manifest.json"
    with FileLock(Path(tempfile.gettempdir()) / "anabatch-manifest.lock"):
        entries = manifest(folder)
        entry = {**entries.get(name, {}), **changes}
        if "file" in changes:
            entry["digest"] = file_digest(folder / changes["file"])
        entries[name] = entry
        text = json.dumps(entries, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        draft = path.with_suffix(".json.new")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    return entry
