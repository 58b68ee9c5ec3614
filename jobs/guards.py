"""Guards: what a run does not do without being asked to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from anabatch.errors import GuardError
from anabatch.store.actions import NO_CELLS, OK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anabatch.store.recipes import Reason

    from .context import Context

_FEW = 10
"""Fewer results than this are no mass change, unless they are all that there are."""

_REASONS_SHOWN = 3


def refuse_recompute(context: Context, reasons: Mapping[tuple[str, str], Reason]) -> None:
    """Stop a run that would compute more of a stage's results again than is allowed.

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
    again, standing = _again(stage, reasons), _standing(context, stage)
    return again > allowed * standing and (again >= _FEW or again >= standing)


def _again(stage: str, reasons: Mapping[tuple[str, str], Reason]) -> int:
    return sum(reason.again for (other, _), reason in reasons.items() if other == stage)


def _standing(context: Context, stage: str) -> int:
    return sum(action.outcome in (OK, NO_CELLS) for action in context.store.state.stage(stage))


def _describe(
    context: Context, stage: str, reasons: Mapping[tuple[str, str], Reason], allowed: float
) -> str:
    why = Counter(str(r) for (other, _), r in reasons.items() if other == stage and r.again)
    named = "; ".join(f"{text} ({n})" for text, n in why.most_common(_REASONS_SHOWN))
    return (
        f"{stage}: {_again(stage, reasons)} of {_standing(context, stage)} results would be "
        f"computed again, more than guards.recompute_share = {allowed} allows: {named}"
    )
