"""What `anabatch cluster` does with its options: the archive's clusters, or those of a part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.store.live import CLUSTER_MODEL

from . import choose_k, cluster, cluster_part, cluster_remove
from .cluster_fit import Subject
from .cluster_options import Asked, check
from .cluster_part import Request
from .generations import sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context


def job_of(asked: Asked) -> Callable[[Context], None]:
    """Return the job that was asked for.

    Raises
    ------
    typer.BadParameter
        The options do not go together.
    """
    check(asked)
    ks = choose_k.parse_range(asked.choose_k) if asked.choose_k is not None else ()
    if asked.name is None:
        return lambda context: _archive(context, asked, ks)
    name = asked.name
    if asked.remove:
        return lambda context: cluster_remove.run(context, name)
    return lambda context: _part(context, asked, name, ks)


def _archive(context: Context, asked: Asked, ks: tuple[int, ...]) -> None:
    cluster.run(context, refit=asked.refit, add_new=asked.add_new)
    if ks:
        found = sources(context.store.state, "embedding")
        subject = Subject(CLUSTER_MODEL, context.config.cluster, found)
        choose_k.run(context, subject, ks)
        context.commit()


def _part(context: Context, asked: Asked, name: str, ks: tuple[int, ...]) -> None:
    request = Request(name, asked.where, asked.k, asked.method)
    subject = cluster_part.subject_of(context, request)
    if ks:
        if asked.k is not None:  # whatever is suggested
            cluster_part.refuse_too_few(context, subject, refit=asked.refit)
        suggested = choose_k.run(context, subject, ks)
        subject = cluster_part.with_k(subject, asked.k or suggested)
    cluster_part.run(context, subject, refit=asked.refit)
    cluster_part.report(context, name)
