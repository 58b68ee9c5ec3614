"""Generations that parameters which were put back bring back, with their numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from anabatch.errors import PartCorruptError
from anabatch.store.generations import generations, last_number

from .generations import changed_settings, moved_share

if TYPE_CHECKING:
    from anabatch.stages.population import Source
    from anabatch.store.actions import Action

    from .context import Context
    from .generations import Kind


def restorable(context: Context, kind: Kind, found: tuple[Source, ...]) -> Action | None:
    """Return the generation that a run takes up again; None if it has to fit another, or none is due.

    It is the last one of these parameters, if the cells are still much the same.

    Parameters
    ----------
    context : Context
    kind : Kind
    found : tuple of Source
        What it would be fitted on now.
    """
    every = generations(context.store.state, kind.kind, kind.name)
    if not every or not changed_settings(context, every[-1], kind):
        return None
    mine = (model for model in reversed(every) if not changed_settings(context, model, kind))
    return next((model for model in mine if _holds(context, model, kind, found)), None)


def take_up(context: Context, job: str, kind: Kind, found: tuple[Source, ...]) -> bool:
    """Make an earlier generation the current one where parameters were put back.

    Its numbers stand again, and what it made of cell parts is found where it still lies.

    Parameters
    ----------
    context : Context
    job : str
        The job that asks for it.
    kind : Kind
    found : tuple of Source
        What it would be fitted on now.

    Returns
    -------
    bool
        Whether there is one.
    """
    model = restorable(context, kind, found)
    if model is None:
        return False
    every = generations(context.store.state, kind.kind, kind.name)
    facts = model.components
    # no number is given twice, whichever of the others are taken out
    facts["last"] = last_number(every)
    if "used" in facts:
        facts["used"] = max(int(other.fact("used", 0)) for other in every)
    context.store.state.put([replace(model, sequence=context.next_sequence(), components=facts)])
    number = int(facts["generation"])
    text = f"{job}: taking up generation {number} of {kind.name} again: parameters were put back"
    context.reporter.say("take_up", text, job=job, generation=number, model=kind.name)
    return True


def _holds(context: Context, model: Action, kind: Kind, found: tuple[Source, ...]) -> bool:
    """Tell whether a generation is whole, and was fitted on much the same cells."""
    if context.damage(model.part):
        return False
    try:
        return moved_share(context, model, found) <= kind.refit_share
    except PartCorruptError:  # `verify` tells of it; another is fitted
        return False
