"""Run: the whole way of the data, from the archives to the report, doing only what is not done yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import annotate, cluster, embed, featurize, report, scan, segment
from .guards import refuse_recompute

if TYPE_CHECKING:
    from .context import Context

JOBS = (scan.JOB, annotate.JOB, segment.JOB, featurize.JOB, embed.JOB, cluster.JOB, report.JOB)
"""All jobs, in the order of the data's way."""


def run(context: Context) -> None:
    """Bring the whole store up to date.

    Dates are committed whole: their acquisitions, annotations, label images, cells and features
    in one version of the ledger. Population models, and what hangs on them, come last.
    """
    context.commits = False
    scan.run(context)
    annotate.run(context)
    images = segment.plan(context)
    # of all stages at once, before the first computes anything
    refuse_recompute(context, images.reasons | featurize.plan(context).reasons)
    segment.run(context, images, with_features=True)
    featurize.run(context)
    if embed.run(context):
        cluster.run(context)
    if context.did_something or report.is_due(context):
        report.run(context)
