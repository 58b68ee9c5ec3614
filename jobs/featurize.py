"""Featurize: cells → features, one part for every cell part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.compute import task
from anabatch.errors import ConfigurationError, MissingRowsError
from anabatch.features.vgg16 import SIDE, features_digest
from anabatch.gpus import describer
from anabatch.stages.featurize import FeaturizeBatch, featurize, featurize_key, featurize_recipe
from anabatch.store.attempts import Place
from anabatch.store.live import CELLS, FEATURIZE
from anabatch.store.parts import WrittenPart
from anabatch.store.recipes import Cause, Reason, Recipe

from . import standing
from .guards import refuse_recompute
from .job import Job

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from anabatch.config import Config
    from anabatch.store.actions import Action

    from .context import Context

JOB = Job("featurize", reads=("cells",), writes=("features",), parameters=("featurize",))


@dataclass(frozen=True)
class Extractor:
    """The features' network as a plan knows it; its weights are read for it, so once a plan.

    Attributes
    ----------
    digest : str
        What workers check theirs against.
    recipe : Recipe
    """

    digest: str
    recipe: Recipe

    @classmethod
    def of(cls, context: Context) -> Extractor:
        """Return that of a configuration, whose recipe the ledger then keeps.

        Raises
        ------
        ConfigurationError
            The crops are not of the size that the network takes.
        """
        crop = context.config.cells.crop
        if crop != SIDE:
            what = f"cells.crop is {crop}, and VGG16 describes crops of {SIDE} pixels"
            remedy = f"Set cells.crop to {SIDE}, or stop at `anabatch segment`."
            raise ConfigurationError(what, remedy)
        config = context.config.featurize
        found = cls(features_digest(config), featurize_recipe(config))
        context.use(found.recipe)
        return found


def featurize_batch(
    context: Context, archive: str, date: dt.date | None, sequence: int, extractor: Extractor
) -> FeaturizeBatch:
    """Return the parameters of describing a cell part."""
    return FeaturizeBatch(
        store=context.store.root,
        archive=archive,
        date=date,
        config=context.config.featurize,
        extractor=extractor.digest,
        recipe=extractor.recipe.digest,
        threads=context.config.compute.threads,
        sequence=sequence,
        run=context.run,
    )


@dataclass(frozen=True)
class FeaturizePlan:
    """What has to be described.

    Attributes
    ----------
    batches : list of (FeaturizeBatch, WrittenPart)
        Live cell parts whose features are missing or of another recipe.
    reasons : dict
        Why, by stage and unit.
    other_sizes : int
        Live cells whose crops are of another size than the network takes: they are cut anew first.
    """

    batches: list[tuple[FeaturizeBatch, WrittenPart]]
    reasons: dict[tuple[str, str], Reason]
    other_sizes: int


def plan(context: Context) -> FeaturizePlan:
    """Compare the live cell parts with the ledger, by action keys, and adopt what is finished."""
    extractor = Extractor.of(context)
    recipe = extractor.recipe
    live = [action for action in context.store.state.stage(CELLS) if action.part]
    fit = [action for action in live if action.fact("crop", None) == SIDE]
    parts: dict[str, Action] = {str(action.part): action for action in fit}
    other_sizes = sum(action.rows for action in live) - sum(action.rows for action in fit)
    found = FeaturizePlan([], {}, other_sizes)
    for path, cells in parts.items():
        key = featurize_key(str(cells.part_digest), recipe.digest)
        upstream = Reason(Cause.UPSTREAM)
        place = Place(cells.archive, cells.date)
        anew = standing.reason(context, FEATURIZE, path, key, recipe, otherwise=upstream)
        if anew and not standing.adopt(context, FEATURIZE, path, key, place):
            number = context.next_sequence()
            batch = featurize_batch(context, cells.archive, cells.date, number, extractor)
            found.batches.append((batch, WrittenPart(path, str(cells.part_digest), ())))
            found.reasons[FEATURIZE, path] = anew
    return found


def graphs(found: FeaturizePlan, config: Config) -> Iterator[tuple[FeaturizeBatch, Any]]:
    """Yield one graph a cell part; nothing is computed."""
    threads, on = config.compute.threads, describer(config)
    for batch, cells in found.batches:
        yield batch, task(featurize, batch, cells, threads=threads, on=on)


def run(context: Context) -> None:
    """Bring the features up to date.

    Raises
    ------
    MissingRowsError
        Some cells have no crops of the size that the network takes; all others are done.
    """
    found = plan(context)
    refuse_recompute(context, found.reasons)

    def done(_: FeaturizeBatch, part: WrittenPart) -> None:
        context.store.state.put(standing.with_reasons(part.actions, found.reasons))
        if context.commit_is_due:
            context.commit()

    context.execute("featurize", graphs(found, context.config), len(found.batches), done)
    context.commit()
    if found.other_sizes:
        what = f"{found.other_sizes} live cells have crops of another size than {SIDE} pixels"
        raise MissingRowsError(what, "Run `anabatch segment`, for all dates.")
