"""What all sections read: the store at one version, and what they ask of it more than once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from anabatch.stages.population import MODEL, read_model
from anabatch.store.live import ANNOTATE, SCAN

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import ReportConfig
    from anabatch.store.actions import Action
    from anabatch.store.root import Store

AXES = ("pattern", "antigen", "class", "status")
"""The vocabulary's axes, those first that a physician looks at first."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image and the file that it was first read from.

    Attributes
    ----------
    image_id : str
    archive : str
    date : datetime.date or None
    relative_path : str
    sha256 : str
    pixels : int
        Width times height.
    """

    image_id: str
    archive: str
    date: dt.date | None
    relative_path: str
    sha256: str
    pixels: int

    @property
    def name(self) -> str:
        """The file's name."""
        return self.relative_path.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """The store, and what the report is to say about it.

    Attributes
    ----------
    store : Store
    config : ReportConfig
    run : str or None
        The run whose news are told.
    events : sequence of mapping
        What that run said, in order.
    archive_roots : mapping
        Archive name to its folder, as far as they can be reached.
    """

    store: Store
    config: ReportConfig
    run: str | None
    events: Sequence[Mapping[str, Any]]
    archive_roots: Mapping[str, Path]

    @cached_property
    def scans(self) -> list[Action]:
        """The actions of all acquisitions, in the store's order."""
        return self.store.state.stage(SCAN)

    @cached_property
    def archives(self) -> frozenset[str]:
        """Names of the archives that files were read from."""
        return frozenset(action.archive for action in self.scans)

    @cached_property
    def images(self) -> dict[str, ImageFile]:
        """All images by id, with the first acquisition of each: undated last, then by path."""
        found: dict[str, ImageFile] = {}
        for action in sorted(self.scans, key=_age):
            facts = action.components
            if facts["image_id"]:
                image = ImageFile(
                    facts["image_id"],
                    action.archive,
                    action.date,
                    facts["relative_path"],
                    facts["file_sha256"],
                    int(facts["width"]) * int(facts["height"]),
                )
                found.setdefault(image.image_id, image)
        return found

    @cached_property
    def is_annotated(self) -> bool:
        """Whether anything was annotated yet."""
        return bool(self.store.state.stage(ANNOTATE))

    @cached_property
    def labels(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Labels of every image that has some, as (axis, label), in the axes' order."""
        found: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for table in self.store.table("annotations").batches():
            for row in table.select(["image_id", "axis", "label"]).to_pylist():
                if row["image_id"] and row["label"]:
                    found[row["image_id"]].add((row["axis"], row["label"]))
        return {
            image: tuple(sorted(labels, key=lambda pair: (AXES.index(pair[0]), pair[1])))
            for image, labels in found.items()
        }

    def label_text(self, image_id: str) -> str:
        """Return an image's labels in one line."""
        names = dict.fromkeys(label for _, label in self.labels.get(image_id, ()))
        return ", ".join(names) or "no label"

    def file_name(self, image_id: str) -> str:
        """Return where an image's file lies, or the image's id if no file has it any more."""
        image = self.images.get(image_id)
        if image is None:
            return image_id
        several = len(self.archives) > 1
        return f"{image.archive}: {image.relative_path}" if several else image.relative_path

    def generation(self, kind: str, name: str = "archive") -> Action | None:
        """Return the newest generation of a population model, or None."""
        prefix = f"{kind}/{name}/"
        found = [a for a in self.store.state.stage(MODEL) if a.unit.startswith(prefix)]
        return max(found, key=lambda action: action.unit, default=None)

    def model(self, action: Action) -> dict[str, NDArray[Any]]:
        """Read the arrays of a generation."""
        return read_model(self.store.root, str(action.part))


def _age(action: Action) -> tuple[bool, str, str, str]:
    date = action.date
    return date is None, str(date), action.archive, str(action.components["relative_path"])
