"""Building the report: all sections in order, one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anabatch.errors import ConfigurationError
from anabatch.report import (
    cell_ledger,
    cell_map,
    cluster_labels,
    cluster_parts,
    cluster_profiles,
    components,
    delta,
    drift,
    fields,
    flagged_cells,
    gallery,
    image_labels,
    incoming,
    log,
    new_kind,
    number_of_clusters,
    overview,
    part_overview,
    proposals,
    quarantine,
)
from anabatch.report.footing import warned
from anabatch.report.population import locate, read_population
from anabatch.report.source import News, Source
from anabatch.report.templating import environment
from anabatch.store.durable import replace_text
from anabatch.store.live import CLUSTER_MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anabatch.config import ReportConfig
    from anabatch.report.population import Located, Population
    from anabatch.report.section import Section
    from anabatch.store.actions import Action
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

    The file holds its pictures, needs no network, runs no script but that of its map of cells, and is
    replaced in one step.
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
    return _write(out, title, _sections(source))


def build_part_report(
    store: Store, out: Path, *, name: str, config: ReportConfig, run: str | None = None
) -> Path:
    """Write the report of the clusters of a part of the archive as one HTML file.

    Parameters
    ----------
    store : Store
    out : Path
        The file to write.
    name : str
        The name that the part's clusters were given.
    config : ReportConfig
    run : str, optional
        The run that asks for it.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ConfigurationError
        There are no clusters of this name.
    PartCorruptError
        A part of the store is damaged.
    """
    source = Source(store, config, run, (), {})
    model = source.generation("kmeans", name)
    if model is None:
        what = f"there are no clusters named {name!r}"
        raise ConfigurationError(what, f"Run `anabatch cluster --name {name} --where SQL`.")
    population = read_population(source, model)
    located = locate(source, population)
    title = f"{name}: cells where {model.components.get('where', '')}"
    sections = [
        part_overview.section(source, population, model),
        *_of_clusters(source, population, model, located),
        _of_numbers(source, name),
        warned(source, model, drift.section(source, population, model)),
    ]
    return _write(out, title, sections)


def _write(out: Path, title: str, sections: list[Section]) -> Path:
    scripted = any("script" in section.facts for section in sections)
    digest = cell_map.script_digest() if scripted else ""
    page = environment().get_template("report.html")
    html = page.render(title=title, sections=sections, script_digest=digest)
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_text(out, html)
    return out


def _sections(source: Source) -> list[Section]:
    model = source.generation("kmeans")
    population = read_population(source, model) if model else None
    located = locate(source, population)
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
        *_of_clusters(source, population, model, located),
        _of_numbers(source, CLUSTER_MODEL),
        warned(source, model, drift.section(source, population, model)),
        warned(source, model, new_kind.section(source)),
        cluster_parts.section(source),
        log.section(source),
    ]


def _of_clusters(
    source: Source, population: Population | None, model: Action | None, located: Located | None
) -> list[Section]:
    """Return the sections that show clusters, and on which embedding they stand if it is not this one."""
    told = [
        gallery.section(source, population),
        cluster_profiles.section(source, population),
        cluster_labels.section(source, population, model),
    ]
    mapped = [cell_map.section(source, located), components.section(source, located)]
    of_map = model if located else None  # without cells on them, maps show no clusters
    places = " Cells lie where the current one has them."
    return [
        *(warned(source, model, section) for section in told),
        *(warned(source, of_map, section, places) for section in mapped),
    ]


def _of_numbers(source: Source, name: str) -> Section:
    section = number_of_clusters.section(source, name)
    return warned(source, source.generation("choice", name), section)
