"""The listing of an archive: images, exports, and what cannot be read. It opens no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anabatch.archive.walk import ListedFile, Problem, is_image, walk
from anabatch.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from anabatch.archive.layout import Layout

__all__ = ["ListedFile", "Listing", "list_archive"]


@dataclass(frozen=True)
class Listing:
    """What an archive holds, all sorted by path.

    Attributes
    ----------
    images, exports : tuple of ListedFile
        Files at the layout's places.
    others : int
        Files that are neither.
    problems : tuple of (str, str)
        Relative path and reason of everything that should have been read and cannot.
    """

    images: tuple[ListedFile, ...]
    exports: tuple[ListedFile, ...]
    others: int
    problems: tuple[tuple[str, str], ...]


def list_archive(root: Path, layout: Layout) -> Listing:
    """List an archive.

    Parameters
    ----------
    root : Path
        The archive's root. Nothing in it is opened or written.
    layout : Layout

    Returns
    -------
    Listing
        Images and exports that lie where the layout has none, folders without permission and
        links out of the archive are problems.

    Raises
    ------
    ConfigurationError
        The root is no folder.
    """
    if not root.is_dir():
        what = f"there is no folder at {root}"
        raise ConfigurationError(what, "Is the drive mounted? Give the archive's root.")
    images: list[ListedFile] = []
    exports: list[ListedFile] = []
    problems: list[Problem] = []
    others = 0
    for item in walk(root, layout.ignored):
        if isinstance(item, Problem):
            problems.append(item)
        elif not (image := is_image(item.name)) and not layout.is_export(item.name):
            others += 1
        elif layout.parse_path(item.relative_path) is None:
            kind = "an image" if image else "an export"
            reason = f"{kind} at a place where the layout {layout.name} has none"
            problems.append(Problem(item.relative_path, reason))
        else:
            (images if image else exports).append(item)
    return Listing(
        images=tuple(sorted(images)),
        exports=tuple(sorted(exports)),
        others=others,
        problems=tuple((problem.relative_path, problem.reason) for problem in sorted(problems)),
    )
