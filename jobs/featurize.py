"""Featurize: cells → features, one part for every cell part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anabatch.compute import task
from anabatch.errors import ConfigurationError
from anabatch.features.vgg16 import SIDE, features_digest
from anabatch.stages.featurize import FeaturizeBatch, featurize, featurize_key
from anabatch.store.live import CELLS, FEATURIZE
from anabatch.store.parts import WrittenPart

from .job import Job

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from anabatch.store.actions import Action

    from .context import Context

JOB = Job("featurize", reads=("cells",), writes=("features",), parameters=("featurize",))


def extractor_digest(context: Context) -> str:
    """Return the digest of the extractor; its weights are read for it, so once a plan.

    Raises
    ------
    ConfigurationError
        The crops are not of the size that the network takes.
    """
    crop = context.config.cells.crop
    if crop != SIDE:
        what = f"cells.crop is {crop}, and VGG16 describes crops of {SIDE} pixels"
        raise ConfigurationError(what, f"Set cells.crop to {SIDE}, or stop at `anabatch segment`.")
    return features_digest(context.config.featurize)


def featurize_batch(
    context: Context, archive: str, date: dt.date | None, sequence: int, extractor: str
) -> FeaturizeBatch:
    """Return the parameters of describing a cell part."""
    return FeaturizeBatch(
        store=context.store.root,
        archive=archive,
        date=date,
        config=context.config.featurize,
        extractor=extractor,
        threads=context.config.compute.threads,
        sequence=sequence,
        run=context.run,
    )


def plan(context: Context) -> list[tuple[FeaturizeBatch, WrittenPart]]:
    """Return the live cell parts whose features are missing or of other parameters."""
    extractor = extractor_digest(context)
    state = context.store.state
    parts: dict[str, Action] = {a.part: a for a in state.stage(CELLS) if a.part}
    stale = []
    for path, cells in parts.items():
        digest = str(cells.part_digest)
        standing = state.get(FEATURIZE, path)
        if standing is None or standing.key != featurize_key(digest, extractor):
            number = context.next_sequence()
            batch = featurize_batch(context, cells.archive, cells.date, number, extractor)
            stale.append((batch, WrittenPart(path, digest, ())))
    return stale


def graphs(
    found: list[tuple[FeaturizeBatch, WrittenPart]], threads: int
) -> Iterator[tuple[FeaturizeBatch, Any]]:
    """Yield one graph a cell part; nothing is computed."""
    for batch, cells in found:
        yield batch, task(featurize, batch, cells, threads=threads)


def run(context: Context) -> None:
    """Bring the features up to date."""
    found = plan(context)

    def done(_: FeaturizeBatch, part: WrittenPart) -> None:
        context.store.state.put(part.actions)
        if context.commit_is_due:
            context.commit()

    threads = context.config.compute.threads
    context.execute("featurize", graphs(found, threads), len(found), done)
    context.commit()
