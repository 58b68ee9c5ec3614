"""Building the report: all sections in order, one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.report import (
    cell_ledger,
    cluster_labels,
    components,
    delta,
    fields,
    flagged_cells,
    gallery,
    image_labels,
    incoming,
    log,
    overview,
    proposals,
    quarantine,
)
from anabatch.report.population import read_population
from anabatch.report.source import News, Source
from anabatch.report.templating import environment
from anabatch.store.durable import replace_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anabatch.config import ReportConfig
    from anabatch.report.section import Section
    from anabatch.store.root import Store


_NO_NEWS = News()


def build_report(
    store: Store,
    out: Path,
    *,
    config: ReportConfig,
    title: str = "anabatch report",
    news: News = _NO_NEWS,
    archive_roots: Mapping[str, Path] | None = None,
) -> Path:
    """Write the report of a store as one HTML file.

    The file holds its pictures, needs no network, runs no script, and is replaced in one step.
    Which images and cells are shown follows from their ids: the same store gives the same choice.
    Memory grows with the number of images, not with the number of cells.

    Parameters
    ----------
    store : Store
        At the version to report. Whatever it does not hold yet is named with the command that
        makes it.
    out : Path
        The file to write; its folder is made where it is missing.
    config : ReportConfig
    title : str
    news : News
        The run whose news are told, what it said, and the report before it.
    archive_roots : mapping of str to Path, optional
        Archive name to its folder, from which the pictures of fields are read. Where one cannot be
        reached the report says so in the picture's place.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    PartCorruptError
        A part of the store is damaged.
    """
    source = Source(store, config, news.run, news.events, archive_roots or {}, news.since)
    page = environment().get_template("report.html")
    html = page.render(title=title, sections=_sections(source))
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_text(out, html)
    return out


def _sections(source: Source) -> list[Section]:
    model = source.generation("kmeans")
    population = read_population(source, model) if model else None
    return [
        overview.section(source),
        delta.section(source),
        incoming.section(source),
        image_labels.section(source),
        quarantine.section(source),
        fields.section(source),
        proposals.section(source),
        cell_ledger.section(source),
        flagged_cells.section(source),
        gallery.section(source, population),
        components.section(source, population),
        cluster_labels.section(source, population, model),
        log.section(source),
    ]
