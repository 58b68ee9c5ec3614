"""Guards: what a run does not do without being asked to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from anabatch.errors import GuardError
from anabatch.store.actions import NO_CELLS, OK
from anabatch.store.live import ANNOTATE, CELLS, FEATURIZE, SCAN
from anabatch.store.recipes import Cause

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabatch.store.recipes import Reason

    from .context import Context

_FEW = 3
"""Fewer results than this are no mass change, unless they are all that there are."""

_OF_SETTINGS = frozenset({Cause.PARAM, Cause.CODE, Cause.MODEL, Cause.MISSING, Cause.CORRUPT})
"""Causes that count where a changed input is no recomputation: files and exports change every day."""

_REASONS_SHOWN = 3


def refuse_recompute(context: Context, reasons: Mapping[tuple[str, str], Reason]) -> None:
    """Stop a run that would compute more of a stage's results again than is allowed.

    Results of scan, segment, cells and features are counted in images, those of annotate in dates.
    Population models are fitted again by a policy of their own.

    Parameters
    ----------
    context : Context
    reasons : mapping
        Why actions are to be done, by stage and unit.

    Raises
    ------
    GuardError
        It would; the message says how many, of what, and why.
    """
    allowed = context.config.guards.recompute_share
    for stage in dict.fromkeys(stage for stage, _ in reasons):
        if too_many(context, stage, reasons, allowed) and not context.accept_recompute:
            raise GuardError(_describe(context, stage, reasons, allowed), _REMEDY)


_REMEDY = (
    "`anabatch plan` shows it. If it is meant: `anabatch run --accept-recompute`. If not: put the "
    "configuration, the weights or the program back."
)


def too_many(
    context: Context, stage: str, reasons: Mapping[tuple[str, str], Reason], allowed: float
) -> bool:
    """Whether a stage would do more again than a share of what stands, and more than a few."""
    again, standing = _again(context, stage, reasons), _standing(context, stage)
    return again > allowed * standing and (again >= _FEW or again >= standing) and again > 0


def _counts(stage: str, reason: Reason) -> bool:
    return reason.cause in _OF_SETTINGS if stage in (SCAN, ANNOTATE) else reason.again


def _again(context: Context, stage: str, reasons: Mapping[tuple[str, str], Reason]) -> int:
    return _by_reason(context, stage, reasons).total()


def _by_reason(
    context: Context, stage: str, reasons: Mapping[tuple[str, str], Reason]
) -> Counter[str]:
    """Return how many results would be computed again, by why."""
    images = _images_of_parts(context) if stage == FEATURIZE else {}
    found: Counter[str] = Counter()
    for (other, unit), reason in reasons.items():
        if other == stage and _counts(stage, reason):
            found[str(reason)] += images.get(unit, 1)
    return found


def _standing(context: Context, stage: str) -> int:
    done = [a for a in context.store.state.stage(stage) if a.outcome in (OK, NO_CELLS)]
    images = _images_of_parts(context) if stage == FEATURIZE else {}
    return sum(images.get(action.unit, 1) for action in done)


def _images_of_parts(context: Context) -> Counter[str]:
    """Return the number of images in every cell part: features are described part by part."""
    return Counter(action.part for action in context.store.state.stage(CELLS) if action.part)


def _describe(
    context: Context, stage: str, reasons: Mapping[tuple[str, str], Reason], allowed: float
) -> str:
    why = _by_reason(context, stage, reasons)
    named = "; ".join(f"{text} ({n})" for text, n in why.most_common(_REASONS_SHOWN))
    return (
        f"{stage}: {why.total()} of {_standing(context, stage)} results would be "
        f"computed again, more than guards.recompute_share = {allowed} allows: {named}"
    )
