"""Cards of a contact sheet off a store: which images, and what the store knows of each."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 (dataclass fields are read at run time)
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from anabatch.archive.acquisition import read_signal
from anabatch.config import SegmentConfig
from anabatch.errors import InputError
from anabatch.report.contact import Card, Found, draw
from anabatch.segmentation.models import segmentation_parameters
from anabatch.store.actions import FAILED
from anabatch.store.live import CELLS, SEGMENT
from anabatch.store.parts import Part
from anabatch.store.recipes import RECIPE, Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.report.source import Source
    from anabatch.store.actions import Action

_SHOWN_DIGITS = 8


@dataclass(frozen=True)
class Wanted:
    """Which images to show.

    Attributes
    ----------
    archive : str or None
        Of this archive alone.
    date : datetime.date or None
        Of this date alone.
    limit : int
        At most so many; 0 for all.
    sample : bool
        Draw them from all dates, by the digests that are their ids: the choice is arbitrary, and the
        same every time. Otherwise the newest are taken.
    """

    archive: str | None = None
    date: dt.date | None = None
    limit: int = 200
    sample: bool = False

    def fits(self, action: Action) -> bool:
        """Tell whether an acquisition is within what was asked for."""
        return self.archive in (None, action.archive) and self.date in (None, action.date)


@dataclass(frozen=True)
class Chosen:
    """What the sheet shows, and what it does not.

    Attributes
    ----------
    acquisitions : tuple of Action
        One for every image, the newest date first, undated last, then by path.
    left_out : int
        Images that the limit leaves out.
    waiting : int
        Images that are not segmented yet.
    failed : int
        Files in quarantine, which have no image.
    """

    acquisitions: tuple[Action, ...]
    left_out: int
    waiting: int
    failed: int


def choose(source: Source, wanted: Wanted) -> Chosen:
    """Choose the images to show: the same of the same store, every time."""
    fitting = sorted((a for a in source.scans if wanted.fits(a)), key=_newest_first)
    images: dict[str, Action] = {}
    for action in fitting:
        if action.components["image_id"]:
            images.setdefault(str(action.components["image_id"]), action)
    state = source.store.state
    segmented = {image: a for image, a in images.items() if state.get(SEGMENT, image)}
    order = sorted(segmented) if wanted.sample else list(segmented)
    kept = set(order[: wanted.limit] if wanted.limit else order)
    return Chosen(
        tuple(action for image, action in segmented.items() if image in kept),
        left_out=len(segmented) - len(kept),
        waiting=len(images) - len(segmented),
        failed=sum(action.outcome == FAILED for action in fitting),
    )


def _newest_first(action: Action) -> tuple[int, str, str]:
    age = -action.date.toordinal() if action.date else 0
    return age, action.archive, str(action.components["relative_path"])


def card(source: Source, acquisition: Action, *, max_pixels: int) -> Card:
    """Make the card of an image.

    Parameters
    ----------
    source : Source
    acquisition : Action
        One of those that :func:`choose` chose.
    max_pixels : int
        Larger images are not shown.
    """
    image = str(acquisition.components["image_id"])
    segmented = source.store.state.get(SEGMENT, image)
    known: dict[str, Any] = {
        "path": str(acquisition.components["relative_path"]),
        "place": f"{acquisition.archive}, {acquisition.date or 'undated'}",
        "labels": source.label_text(image),
        "flags": _flags(source.store.root, acquisition),
    }
    if segmented is None or segmented.part is None:
        why = segmented.reason if segmented else "It is not segmented."
        return Card(**known, missing=str(why))
    recipe = _recipe(source, segmented)
    known["found"] = Found.of(segmented.components, recipe_line(recipe) if recipe else "not known")
    try:
        signal = _signal(source, acquisition, max_pixels)
    except InputError as error:
        return Card(**known, missing=str(error))
    known["missing"] = segmented.reason or ""
    nuclei, cells = source.store.label_image(image)
    drawing, marks = draw(
        signal, nuclei, cells, _cell_rows(source, image), pairs=not recipe or has_nuclei(recipe)
    )
    return Card(**known, drawing=drawing, marks=marks)


def _signal(source: Source, acquisition: Action, max_pixels: int) -> NDArray[Any]:
    root = source.archive_roots.get(acquisition.archive)
    if root is None:
        what = f"the folder of the archive {acquisition.archive} was not given"
        raise InputError(what, "Name it in the configuration.")
    if not root.is_dir():
        what = f"the archive {acquisition.archive} is not at {root}"
        raise InputError(what, "Is the disk mounted?")
    facts = acquisition.components
    path, digest = str(facts["relative_path"]), str(facts["file_sha256"])
    return read_signal(root, path, expected_sha256=digest, max_pixels=max_pixels)


def _flags(root: Path, acquisition: Action) -> tuple[str, ...]:
    flags = _column(root, str(acquisition.part), "acquisitions", "flags")
    return tuple(flags[acquisition.first_row])


def _cell_rows(source: Source, image: str) -> list[dict[str, Any]]:
    """Return the rows of an image's cells; none where they are not cut yet."""
    action = source.store.state.get(CELLS, image)
    if action is None or action.part is None:
        return []
    rows = _rows(source.store.root, action.part)
    return rows[action.first_row : action.first_row + action.rows]


# Images of one part stand beside each other on the sheet, more or less.
@lru_cache(maxsize=4)
def _rows(root: Path, part: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Part(root, part).rows("cells").to_pylist()
    return rows


@lru_cache(maxsize=4)
def _column(root: Path, part: str, table: str, name: str) -> list[Any]:
    values: list[Any] = Part(root, part).rows(table, [name]).column(name).to_pylist()
    return values


def _recipe(source: Source, segmented: Action) -> Recipe | None:
    kept = source.store.state.get(RECIPE, str(segmented.components.get("recipe")))
    return Recipe.from_action(kept) if kept else None


def has_nuclei(recipe: Recipe) -> bool:
    """Tell whether a recipe of the segmentation looks for nuclei."""
    return recipe.parameters.get("recipe") != "one-pass"


def recipe_line(recipe: Recipe) -> str:
    """Return a recipe of the segmentation in a line: what is not as by default, and the weights."""
    usual = segmentation_parameters(SegmentConfig())
    own = [
        f"{name} {value}"
        for name, value in recipe.parameters.items()
        if name != "recipe" and value != usual.get(name)
    ]
    weights = [f"{name} {digest[:_SHOWN_DIGITS]}" for name, digest in recipe.models.items()]
    name = recipe.parameters.get("recipe", "")
    return ", ".join([f"{name} version {recipe.version}", *(own or ["default values"]), *weights])
