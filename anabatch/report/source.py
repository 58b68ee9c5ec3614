"""What all sections read: the store at one version, and what they ask of it more than once."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from anabatch.stages.population import read_model
from anabatch.store.generations import current
from anabatch.store.live import ANNOTATE, SCAN, live_parts

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


@dataclass(frozen=True, slots=True)
class Since:
    """The report before this one: the run that wrote it, and the version that it told of."""

    run: str
    version: int


@dataclass(frozen=True)
class News:
    """What a report is to tell beside the store's state.

    Attributes
    ----------
    run : str or None
        The run whose news are told.
    events : sequence of mapping
        What that run said: `timestamp`, `level`, `event`, `message`, and an event's own facts.
    since : Since or None
        The report before this one, with which the store is compared.
    """

    run: str | None = None
    events: Sequence[Mapping[str, Any]] = ()
    since: Since | None = None


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
    since : Since or None
        The report before this one.
    """

    store: Store
    config: ReportConfig
    run: str | None
    events: Sequence[Mapping[str, Any]]
    archive_roots: Mapping[str, Path]
    since: Since | None = None

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
    def groups(self) -> dict[str, str]:
        """The group of every image: images of other groups share no serum and no picture with it."""
        table = self.store.table("acquisitions").to_arrow().select(["image_id", "group"])
        return {row["image_id"]: row["group"] for row in table.to_pylist() if row["image_id"]}

    @cached_property
    def is_annotated(self) -> bool:
        """Whether anything was annotated yet."""
        return bool(self.store.state.stage(ANNOTATE))

    @cached_property
    def labels(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Labels of every image that has some, as (axis, label), in the axes' order."""
        return self._annotations[0]

    @cached_property
    def terms(self) -> dict[str, frozenset[tuple[str, str]]]:
        """The labels that stand in every part of the annotations, as (axis, label)."""
        return self._annotations[1]

    @cached_property
    def _annotations(
        self,
    ) -> tuple[dict[str, tuple[tuple[str, str], ...]], dict[str, frozenset[tuple[str, str]]]]:
        found: dict[str, set[tuple[str, str]]] = defaultdict(set)
        terms: dict[str, frozenset[tuple[str, str]]] = {}
        parts = live_parts(self.store.state, ANNOTATE)
        batches = self.store.table("annotations").batches()
        for live, table in zip(parts, batches, strict=True):
            here = set()
            for row in table.select(["image_id", "axis", "label"]).to_pylist():
                if row["label"]:
                    here.add((row["axis"], row["label"]))
                    if row["image_id"]:
                        found[row["image_id"]].add((row["axis"], row["label"]))
            terms[live.path] = frozenset(here)
        labels = {
            image: tuple(sorted(labels, key=lambda pair: (AXES.index(pair[0]), pair[1])))
            for image, labels in found.items()
        }
        return labels, terms

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

    def place(self, action: Action) -> str:
        """Return the path of the file that an action was about, or else its unit."""
        if "relative_path" in action.components:
            return str(action.components["relative_path"])
        image = self.images.get(action.unit)
        return image.relative_path if image else action.unit

    def generation(self, kind: str, name: str = "archive") -> Action | None:
        """Return the current generation of a population model, or None."""
        return current(self.store.state, kind, name)

    def model(self, action: Action) -> dict[str, NDArray[Any]]:
        """Read the arrays of a generation."""
        return read_model(self.store.root, str(action.part))


def _age(action: Action) -> tuple[bool, str, str, str]:
    date = action.date
    return date is None, str(date), action.archive, str(action.components["relative_path"])
