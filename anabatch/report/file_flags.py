"""What is odd about files that are used all the same: a part of the section on what came in."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from anabatch import imaging
from anabatch.archive.acquisition import EXTENSION_DIFFERS

if TYPE_CHECKING:
    from anabatch.report.source import Source

MEANINGS = {
    **imaging.FLAGS,
    EXTENSION_DIFFERS: "the content is an image of another format than the file's name says",
}
_COLUMNS = ["acquisition_id", "archive", "relative_path", "flags"]
_EXAMPLES = 3


def file_flags(source: Source) -> list[dict[str, Any]]:
    """Return the flags of acquisitions that occur, the most frequent first.

    Returns
    -------
    list of dict
        `flag`, `meaning`, `files`, `added` (files that this run read), and `examples`.
    """
    files: Counter[str] = Counter()
    added: Counter[str] = Counter()
    examples: dict[str, list[str]] = defaultdict(list)
    news = {a.unit for a in source.scans if source.run and a.run == source.run}
    several = len(source.archives) > 1
    for table in source.store.table("acquisitions").batches():
        for row in table.select(_COLUMNS).to_pylist():
            for flag in row["flags"]:
                files[flag] += 1
                added[flag] += row["acquisition_id"] in news
                if len(examples[flag]) < _EXAMPLES:
                    path = row["relative_path"]
                    examples[flag].append(f"{row['archive']}: {path}" if several else path)
    order = sorted(files, key=lambda flag: (-files[flag], flag))
    return [
        {
            "flag": flag,
            "meaning": MEANINGS.get(flag, ""),
            "files": files[flag],
            "added": added[flag],
            "examples": examples[flag],
        }
        for flag in order
    ]
