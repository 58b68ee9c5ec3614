"""Which image a row of an export names, and which export speaks last of it."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from anabatch.archive.exports import Export, ExportRow

Mention = tuple[str, str, str, str]
"""Of what a row speaks: folder, kind, and a file by its name or a sample without one."""


class ImageNames:
    """Acquisitions by folder and file name; like Windows, it does not mind the name's case.

    Parameters
    ----------
    acquisitions : iterable of mapping
        Of each, relative_path is read.
    """

    def __init__(self, acquisitions: Iterable[Mapping[str, Any]]) -> None:
        self._exact: dict[str, Mapping[str, Any]] = {}
        self._folded: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for acquisition in acquisitions:
            path = acquisition["relative_path"]
            self._exact[path] = acquisition
            folder, _, name = path.rpartition("/")
            self._folded[f"{folder}/{_fold(name)}"].append(acquisition)

    def find(self, folder: str, file_name: str) -> Mapping[str, Any] | None:
        """Return the acquisition of that name, or the only one whose name differs by case."""
        path = f"{folder}/{file_name}"
        if path in self._exact:
            return self._exact[path]
        alike = self._folded.get(f"{folder}/{_fold(file_name)}", [])
        return alike[0] if len(alike) == 1 else None

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Iterate over the acquisitions, by path."""
        return iter(self._exact[path] for path in sorted(self._exact))


class History:
    """Which of several exports of one folder and kind is the last that names an image.

    Parameters
    ----------
    exports : sequence of Export
    images : ImageNames
    """

    def __init__(self, exports: Sequence[Export], images: ImageNames) -> None:
        self._images = images
        self._latest: dict[Mention, str] = {}
        for export in sorted(exports, key=lambda export: export.made):
            for row in export.rows:
                mention = self._mention(export, row)
                if mention is not None:
                    self._latest[mention] = export.relative_path

    def successor(self, export: Export, row: ExportRow) -> str | None:
        """Return the path of a later export that names the row's image again, or None."""
        mention = self._mention(export, row)
        latest = self._latest[mention] if mention is not None else export.relative_path
        return None if latest == export.relative_path else latest

    def _mention(self, export: Export, row: ExportRow) -> Mention | None:
        folder = export.relative_path.rpartition("/")[0]
        if is_bare(row.file_name):  # a well without an image: only its sample tells it from others
            return (folder, export.kind, "sample", row.sample) if row.sample else None
        found = self._images.find(folder, row.file_name)
        name = found["relative_path"].rpartition("/")[2] if found else _fold(row.file_name)
        return folder, export.kind, "file" if found else "missing file", name


def is_bare(file_name: str) -> bool:
    """Whether a row names no image: its name is empty, or an extension alone."""
    return not file_name or file_name.startswith(".")


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
