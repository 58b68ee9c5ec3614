"""A contact sheet: field after field with what was found in it, for people to look at.

The sheet is one HTML file that holds its pictures, in the style of the report. Cards are drawn and
written one by one, so that memory does not grow with their number; what is said of all of them stands
above them all the same.
"""

from __future__ import annotations

import tempfile
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from markupsafe import Markup

from anabatch.report.outlines import (
    CELL_COLOUR,
    MARKS,
    NUCLEUS_COLOUR,
    Mark,
    mitotic,
    outlined_field,
    unpaired,
)
from anabatch.report.pictures import field_uri
from anabatch.report.templating import environment
from anabatch.report.text import number, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from anabatch.report.outlines import Drawing

_SIDE = 900  # pixels: large enough to judge outlines by
_LARGEST_ZOOM = 4.0
_PIECE = 1 << 20  # bytes


@dataclass(frozen=True)
class Found:
    """What a segmentation says of an image beside its masks.

    Attributes
    ----------
    nuclei, cells : int
    diameter : float or None
        Mean nucleus diameter in reference pixels.
    pixels : float
        Source pixels that make one reference pixel.
    dropped : mapping of str to int
        Masks that were given up, by reason.
    recipe : str
        How it was done, in a line.
    facts : mapping of str to str
        What else there is to say, by name.
    """

    nuclei: int
    cells: int
    diameter: float | None
    pixels: float
    dropped: Mapping[str, int]
    recipe: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, components: Mapping[str, Any], recipe: str) -> Found:
        """Read it off the components of a segmentation's action."""
        return cls(
            int(components["nuclei"]),
            int(components["cells"]),
            components["mean_nucleus_diameter"],
            float(components.get("pixels", 1.0)),
            components.get("dropped", {}),
            recipe,
            _recorded(components),
        )


def _recorded(components: Mapping[str, Any]) -> dict[str, str]:
    """Return what not every segmentation has recorded, of one that has."""
    said = {}
    sought = [
        f"{kind} of {number(components[name], 1)} ({components.get(source, 'configured')})"
        for kind, name, source in _SOUGHT
        if components.get(name)
    ]
    if sought:
        said["looked for"] = ", ".join(sought)
    if components.get("scale_bar"):
        said["scale bar"] = "left out"
    return said


_SOUGHT = (
    ("nuclei", "nucleus_diameter", "nucleus_diameter_from"),
    ("cells", "cell_diameter", "diameter_from"),
)
"""What was looked for, the component with its diameter, and that which says where this came from."""


@dataclass(frozen=True)
class Card:
    """One field on the sheet.

    Attributes
    ----------
    path : str
        The image's file.
    place : str
        Where it is from: archive and date, or folder.
    labels : str
        Empty where nothing is known of labels.
    found : Found or None
        None if the image is not segmented.
    flags : tuple of str
        What is odd about the file.
    drawing : Drawing or None
    marks : mapping of str to int
        How many of :data:`~anabatch.report.outlines.MARKS` it bears.
    missing : str
        Why there is no picture, or no segmentation.
    """

    path: str
    place: str
    labels: str = ""
    found: Found | None = None
    flags: tuple[str, ...] = ()
    drawing: Drawing | None = None
    marks: Mapping[str, int] = field(default_factory=dict)
    missing: str = ""

    @property
    def counts(self) -> str:
        """How much was found, in a line."""
        if self.found is None:
            return "not segmented"
        cells = plural(self.found.cells, "cell") if self.found.cells else "NO CELLS"
        return f"{plural(self.found.nuclei, 'nucleus', 'nuclei')}, {cells}"

    @property
    def facts(self) -> dict[str, str]:
        """Everything else that is known of it, by name."""
        said: dict[str, str] = {}
        if self.found is not None:
            said |= _described(self.found)
        said |= {kind: number(count) for kind, count in self.marks.items()}
        if self.flags:
            said["flags"] = ", ".join(self.flags)
        if self.drawing is not None:
            black, white = number(self.drawing.black), number(self.drawing.white)
            said["contrast of this image alone"] = f"black {black}, white {white}"
            said["shown at"] = f"{self.drawing.zoom:.0%}"
        return said


def _described(found: Found) -> dict[str, str]:
    dropped = [
        f"{name.replace('_', ' ')} {number(count)}"
        for name, count in found.dropped.items()
        if count
    ]
    diameter = "no nuclei"
    if found.diameter is not None:
        source = number(found.diameter * found.pixels, 1)
        diameter = f"{number(found.diameter, 1)} reference pixels, {source} of this image"
    return {
        "mean nucleus diameter": diameter,
        "dropped": ", ".join(dropped) or "nothing",
        "recipe": found.recipe,
        **found.facts,
    }


def draw(
    signal: NDArray[Any],
    nuclei: NDArray[Any],
    cells: NDArray[Any],
    rows: Iterable[Mapping[str, Any]],
    *,
    pairs: bool = True,
) -> tuple[Drawing, dict[str, int]]:
    """Draw a card's picture.

    Parameters
    ----------
    signal : ndarray, shape (H, W), uint8 or uint16
    nuclei, cells : ndarray of int32, shape (H, W)
    rows : iterable of mapping
        The cells' rows, as far as they are known.
    pairs : bool
        Whether to mark what has no partner: a recipe without nuclei has none to be paired.

    Returns
    -------
    drawing : Drawing
    marks : dict of str to int
        How many of each kind were drawn.
    """
    marks: list[Mark] = [*(unpaired(nuclei, cells) if pairs else ()), *mitotic(rows)]
    drawing = outlined_field(
        signal, nuclei, cells, side=_SIDE, largest_zoom=_LARGEST_ZOOM, marks=marks
    )
    return drawing, dict(Counter(mark.kind for mark in marks))


class Sheet:
    """A contact sheet that is being written; a context manager, which leaves no draft behind.

    Parameters
    ----------
    out : Path
        The file to write, in one step when it is finished. Its folder is made where it is missing.
    title : str
    """

    def __init__(self, out: Path, *, title: str) -> None:
        self._out = out
        self._title = title
        self._totals = Counter(fields=0, not_drawn=0, nuclei=0, cells=0)
        self._dropped: Counter[str] = Counter()
        self._without_cells: list[str] = []
        self._templates = environment()
        self._card = self._templates.get_template("contact_card.html")
        out.parent.mkdir(parents=True, exist_ok=True)
        self._cards = tempfile.TemporaryFile("w+", encoding="utf-8", dir=out.parent)  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cards.close()

    def add(self, card: Card) -> None:
        """Write a card; nothing of it is kept in memory but what is counted."""
        self._totals["fields"] += 1
        self._totals["not_drawn"] += card.drawing is None
        if card.found:
            self._totals.update(nuclei=card.found.nuclei, cells=card.found.cells)
            self._dropped.update(card.found.dropped)
            if not card.found.cells:
                self._without_cells.append(card.path)
        uri = field_uri(card.drawing.picture) if card.drawing else ""
        self._cards.write(self._card.render(card=card, number=self._totals["fields"], uri=uri))

    def finish(self, notes: Sequence[str]) -> Path:
        """Write the sheet.

        Parameters
        ----------
        notes : sequence of str
            What to say before the cards: what was left out, and why.
        """
        self._cards.seek(0)
        page = self._templates.get_template("contact_sheet.html")
        pieces = page.generate(
            title=self._title,
            totals=dict(self._totals),
            dropped={k.replace("_", " "): n for k, n in sorted(self._dropped.items()) if n},
            without_cells=self._without_cells,
            notes=notes,
            nucleus_colour=NUCLEUS_COLOUR,
            cell_colour=CELL_COLOUR,
            marks={kind: (colour, form) for kind, (colour, form, _) in MARKS.items()},
            cards=map(
                Markup, iter(lambda: self._cards.read(_PIECE), "")
            ),  # escaped when they were made
        )
        draft = self._out.with_name(f".{self._out.name}.{uuid.uuid4().hex[:8]}")
        try:
            with draft.open("w", encoding="utf-8") as file:
                file.writelines(pieces)
            draft.replace(self._out)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return self._out
