"""Section: a ledger of cells, image by image: proposed = stored + dropped, and what state an image is in.

Stored are the rows of the cells table, not the masks that the segmentation says it kept: the two are
counted apart, so that a cell that got lost between them shows. Whatever an older segmentation did not
record is said to be not recorded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from anabatch.report.dropped import REASONS, in_words
from anabatch.report.section import Section
from anabatch.store.actions import NO_CELLS, OK
from anabatch.store.live import CELLS, SEGMENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anabatch.report.source import Source
    from anabatch.store.actions import Action

UNBALANCED = "does_not_balance"
NOT_CUT = "not_cut"
EMPTY = NO_CELLS
DEFAULT_DIAMETER = "default_diameter"
SCALE_BAR = "scale_bar"
LONE_NUCLEI = "nuclei_without_cell"
LONE_CELLS = "cells_without_nucleus"

STATES = {
    UNBALANCED: "proposed cells are not the stored and the dropped ones: please report this",
    NOT_CUT: "segmented, but its cells are not in the store yet",
    EMPTY: "no cell was found: a state of the image, not an error",
    DEFAULT_DIAMETER: "cells were looked for at the configured diameter: the image has too few "
    "nuclei to measure, or the recipe measures none",
    SCALE_BAR: "a burnt-in scale bar was found and left out",
    LONE_NUCLEI: "has nuclei that lie in no cell; they are kept in the label image",
    LONE_CELLS: "has cells without a nucleus; they are stored and flagged",
}
"""All states of an image, those first that ask for a look; an image can be in several."""

_RECORDED = {
    DEFAULT_DIAMETER: "diameter_from",
    SCALE_BAR: "scale_bar",
    LONE_NUCLEI: "nuclei_without_cell",
    LONE_CELLS: "cells_without_nucleus",
}
"""States that the segmentation's record alone can tell, by the component that tells."""

_PREFIX, _OTHER = "cells_", "nuclei_"
_ROWS = 200
_EXAMPLES = 3


@dataclass(frozen=True)
class ImageLedger:
    """What became of the cells that were proposed in one image.

    Attributes
    ----------
    segmented : Action
    cut : Action or None
        None while the image's cells are not cut.
    """

    segmented: Action
    cut: Action | None

    @cached_property
    def proposed(self) -> int | None:
        """Cells that the network proposed; None if that was not recorded."""
        found = self.segmented.components.get("proposed") or {}
        return None if found.get("cells") is None else int(found["cells"])

    @property
    def stored(self) -> int | None:
        """Rows of the cells table; None while they are not cut."""
        return None if self.cut is None else self.cut.rows

    @cached_property
    def dropped(self) -> Counter[str]:
        """Cells that were given up, by reason."""
        counts = self.segmented.components["dropped"].items()
        return Counter(
            {
                reason.removeprefix(_PREFIX): int(count)
                for reason, count in counts
                if not reason.startswith(_OTHER)
            }
        )

    @cached_property
    def states(self) -> tuple[str, ...]:
        """States out of :data:`STATES`, in their order."""
        facts = self.segmented.components
        kept, stored = int(facts["cells"]), self.stored
        found = {
            UNBALANCED: stored is not None
            and (kept != stored or self.proposed not in (None, stored + self.dropped.total())),
            NOT_CUT: stored is None,
            EMPTY: stored == 0,
            DEFAULT_DIAMETER: facts.get("diameter_from") == "default",
            SCALE_BAR: bool(facts.get("scale_bar")),
            LONE_NUCLEI: bool(facts.get("nuclei_without_cell")),
            LONE_CELLS: bool(facts.get("cells_without_nucleus")),
        }
        return tuple(state for state in STATES if found[state])


def section(source: Source) -> Section:
    """Gather the ledger."""
    segmented = [a for a in source.store.state.stage(SEGMENT) if a.part is not None]
    base = ("ledger", "Ledger of cells", "cell_ledger.html")
    if not segmented:
        absent, command = "No image is segmented yet.", "anabatch segment"
        return Section(*base, absent=absent, command=command)
    cut = {a.unit: a for a in source.store.state.stage(CELLS) if a.outcome in (OK, NO_CELLS)}
    images = [ImageLedger(action, cut.get(action.unit)) for action in segmented]
    shown = sorted(images, key=lambda image: _order(source, image))[:_ROWS]
    facts = {
        "total": _total(images),
        "states": _states(source, images),
        "rows": [_row(source, image) for image in shown],
        "more": len(images) - len(shown),
    }
    return Section(*base, facts)


def _order(source: Source, image: ImageLedger) -> tuple[int, bool, float, str]:
    """Order images: those that ask for a look, then this run's, then those that lost most."""
    looks = [number for number, state in enumerate(STATES) if state in image.states]
    first = looks[0] if looks and looks[0] <= 1 else 2
    dropped = image.dropped.total()
    share = dropped / max(dropped + (image.stored or 0), 1)
    return first, image.segmented.run != source.run, -share, image.segmented.unit


def _in_words(dropped: Counter[str]) -> list[tuple[str, int]]:
    """Return reasons in words with their cells, without those that no cell was dropped for."""
    order = [*REASONS, *sorted(dropped.keys() - REASONS.keys())]
    return [(in_words(reason), dropped[reason]) for reason in order if dropped[reason]]


def _total(images: Sequence[ImageLedger]) -> dict[str, Any]:
    recorded = [image for image in images if image.proposed is not None]
    return {
        "images": len(images),
        "recorded": len(recorded),
        "proposed": sum(image.proposed or 0 for image in recorded) if recorded else None,
        "stored": sum(image.stored or 0 for image in images),
        "dropped": _in_words(sum((image.dropped for image in images), Counter())),
        "unbalanced": sum(UNBALANCED in image.states for image in images),
    }


def _states(source: Source, images: Sequence[ImageLedger]) -> list[dict[str, Any]]:
    """Return every state with its images; how many were asked, where not all were."""
    rows = []
    for state, meaning in STATES.items():
        inside = [image for image in images if state in image.states]
        component = _RECORDED.get(state)
        asked = [i for i in images if component is None or component in i.segmented.components]
        rows.append(
            {
                "state": state,
                "meaning": meaning,
                "images": len(inside) if asked else None,
                "unrecorded": len(images) - len(asked),
                "examples": [
                    source.file_name(image.segmented.unit) for image in inside[:_EXAMPLES]
                ],
            }
        )
    return rows


def _row(source: Source, image: ImageLedger) -> dict[str, Any]:
    facts = image.segmented.components
    return {
        "file": source.file_name(image.segmented.unit),
        "labels": source.label_text(image.segmented.unit),
        "proposed": image.proposed,
        "stored": image.stored,
        "dropped": _in_words(image.dropped),
        "diameter": facts.get("cell_diameter"),
        "diameter_from": facts.get("diameter_from", ""),
        "states": image.states,
        "reason": image.segmented.reason,
        "warn": bool({UNBALANCED, NOT_CUT} & set(image.states)),
    }
