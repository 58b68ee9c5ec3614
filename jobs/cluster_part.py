"""Cluster a part of the archive: the cells that a condition selects, under a name of their own.

Such a model is made and brought up to date by this command alone; nights leave it as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from anabatch.config import parse_config
from anabatch.errors import ConfigurationError, PopulationError
from anabatch.report.build import build_part_report
from anabatch.stages.cluster import KIND
from anabatch.stages.embed import KIND as KPCA
from anabatch.stages.population import Source
from anabatch.store.conditions import alone, parsed
from anabatch.store.each_label import joins_labels
from anabatch.store.generations import cells_of, current
from anabatch.store.live import CELLS, CLUSTER, CLUSTER_MODEL, cluster_unit
from anabatch.store.selection import select_cells

from .cluster import fit_and_assign, kind_of
from .cluster_fit import Subject
from .generations import rows_of, sources, usable

if TYPE_CHECKING:
    from pathlib import Path

    from anabatch.config import ClusterConfig
    from anabatch.store.actions import Action

    from .context import Context

_LONGEST = 64


@dataclass(frozen=True)
class Request:
    """What was asked for; what is None stays as the model's last generation has it.

    Attributes
    ----------
    name : str
        The model's.
    where : str or None
        The condition that selects the cells.
    k : int or None
    method : str or None
    """

    name: str
    where: str | None = None
    k: int | None = None
    method: str | None = None


def subject_of(context: Context, request: Request) -> Subject:
    """Return what a request means: which cells, and how they are clustered.

    Raises
    ------
    ConfigurationError
        The name cannot be used, nothing says which cells it is of, or the condition selects none.
    MissingRowsError
        Some cells are not embedded yet.
    """
    _refuse_name(request.name)
    before = current(context.store.state, KIND, request.name)
    recipe = context.recipe(before.components["settings"]) if before else None
    known = dict(recipe.parameters) if recipe else {}
    where = request.where if request.where is not None else str(known.get("where", ""))
    if not where.strip():
        what = f"there are no clusters named {request.name} yet, and nothing says of which cells"
        raise ConfigurationError(what, "Give --where, as \"label = 'homogeneous'\".")
    config = _config(context, request, known)
    selected = select_cells(context.store.collections, where)
    cells = sum(live.rows for live in selected)
    if not cells:
        remedy = f"Labels are {', '.join(_labels(context)) or 'not there yet'}."
        if before is not None and request.where is None:
            command = f"anabatch cluster --name {request.name} --remove"
            remedy += f" Give --where, or take these clusters out: `{command}`."
        what = f"no cell is selected by {where!r}"
        raise ConfigurationError(what, remedy)
    text = f"cluster: {request.name} is of {counted(cells)} where {where}"
    context.reporter.say("selected", text, model=request.name, cells=cells)
    everything = {source.live.path: source for source in sources(context.store.state, "embedding")}
    found = tuple(
        Source(live, everything[live.path].part, everything[live.path].array) for live in selected
    )
    return Subject(request.name, config, found, where)


def _refuse_name(name: str) -> None:
    """Refuse names that no folder and no unit of the ledger can have, or that mean something else."""
    if name == CLUSTER_MODEL:
        remedy = "It is that of the whole archive's clusters, which `anabatch cluster` makes."
    elif not re.match(r"[A-Za-z0-9]", name):
        remedy = "Begin with a letter from a to z or a digit."
    elif strange := re.findall(r"[^A-Za-z0-9._-]", name):
        remedy = f"Take letters from a to z, digits, '.', '_' and '-', and no {strange[0]!r}."
    elif len(name) > _LONGEST:
        remedy = f"It has {len(name)} characters: {_LONGEST} are the most."
    else:
        return
    what = f"{name!r} cannot be the name of clusters of a part of the archive"
    raise ConfigurationError(what, remedy)


def counted(number: int) -> str:
    """Return a number of cells in words."""
    return "1 cell" if number == 1 else f"{number} cells"


def _config(context: Context, request: Request, known: dict[str, Any]) -> ClusterConfig:
    """Return the configuration's clusters, with what the model is known by and was asked for."""
    base = context.config.cluster
    kept: dict[str, Any] = {name: known[name] for name in ("k", "components") if name in known}
    if known:
        kept["method"] = known.get("method", "kmeans")
    given = {"k": request.k, "method": request.method}
    changed = kept | {name: value for name, value in given.items() if value is not None}
    raw = context.config.model_dump(mode="json")
    raw["cluster"] = base.model_dump(mode="json") | changed
    return parse_config(raw, "the options").cluster


def _labels(context: Context) -> list[str]:
    found = set()
    for table in context.store.table("annotations").batches():
        found |= {label for label in table.column("label").to_pylist() if label}
    return sorted(found)


def with_k(subject: Subject, k: int) -> Subject:
    """Return a subject with another number of clusters."""
    return replace(subject, config=subject.config.model_copy(update={"k": k}))


def embedding_of(context: Context) -> Action:
    """Return the kernel PCA that all clusters stand on.

    Raises
    ------
    ConfigurationError
        There is none yet.
    """
    embedding = current(context.store.state, KPCA, CLUSTER_MODEL)
    if embedding is None:
        what = "there is no embedding yet"
        raise ConfigurationError(what, "Run `anabatch embed`.")
    return embedding


def refuse_too_few(context: Context, subject: Subject, *, refit: bool = False) -> None:
    """Refuse clusters that have to be fitted, and on fewer cells than they are.

    Parameters
    ----------
    context : Context
    subject : Subject
    refit : bool
        Whether to fit them was asked for.

    Raises
    ------
    PopulationError
        Nothing was changed.
    """
    cells, k = rows_of(subject.found), subject.config.k
    # with the same condition and parameters, the cells that are left keep their generation
    kept = not refit and usable(context, kind_of(subject, embedding_of(context))) is not None
    if cells < k and not kept:
        what = (
            f"{subject.name}: {k} clusters cannot be made of {counted(cells)} where {subject.where}"
        )
        smaller = f"--k {cells} at most, or " if cells > 1 else ""
        raise PopulationError(what, f"Give {smaller}a --where that selects more cells.")


def run(context: Context, subject: Subject, *, refit: bool = False) -> None:
    """Fit the clusters of a part if that is due, assign its cells, and commit both.

    Raises
    ------
    PopulationError
        They cannot be fitted on these cells. Nothing is committed.
    """
    refuse_too_few(context, subject, refit=refit)
    before = current(context.store.state, KIND, subject.name)
    if before is not None:
        _warn_of_another_condition(context, subject, before)
    model = fit_and_assign(context, subject, embedding_of(context), refit=refit)
    if model is None or (refit and before is not None and model.unit == before.unit):
        what = f"{subject.name}: {subject.config.k} clusters cannot be fitted on these cells"
        raise PopulationError(what, "What was told before says why. Nothing was changed.")
    _forget_the_rest(context, subject)
    context.commit()


def _warn_of_another_condition(context: Context, subject: Subject, before: Action) -> None:
    """Say what is under the name, where clusters of other cells are about to take its place."""
    recipe = context.recipe(before.components["settings"])
    where = str(recipe.parameters.get("where", "")) if recipe else ""
    same = where == subject.where
    if same and not _means_other_cells(context, subject, before):
        return
    cells = cells_of(context.store.state, subject.name)
    why = (
        " The same words select more of the cells that were there: labels have changed since, or "
        "comparisons joined by AND were of one label then."
    )
    text = (
        f"cluster: under the name {subject.name} are {before.components['k']} clusters of "
        f"{counted(cells)} where {where or 'nobody knows any more what'}, which these replace."
        f"{why if same else ''} Another --name keeps both; "
        f"{in_version(context.store.version, subject.name)}"
    )
    context.reporter.warn("replaces", text, model=subject.name, before=where, cells=cells)


def in_version(version: int, name: str) -> str:
    """Return where clusters can be seen when they are not in the store's last version any more.

    Parameters
    ----------
    version : int
        The last one of the store that has them.
    name : str
    """
    return (
        f"they stay in version {version} of the store "
        f"(`anabatch show clusters --model {name} --at {version}`)"
    )


def _means_other_cells(context: Context, subject: Subject, before: Action) -> bool:
    """Whether a condition that joins comparisons of `label` selects more than when clusters were fitted.

    One label had to meet all of them once. Cells that came later are no sign of that.
    """
    with alone() as connection:
        if not joins_labels(parsed(connection, subject.where)):
            return False
    state = context.store.state
    there = {action.part for action in state.stage(CELLS) if action.sequence < before.sequence}
    for live in (source.live for source in subject.found):
        then = state.get(CLUSTER, cluster_unit(live.path, subject.name))
        known = int(then.fact("selected", 0)) if then else 0
        if live.path in there and live.rows > known:
            return True
    return False


def report(context: Context, name: str) -> Path:
    """Write the report of a part's clusters into the run's folder, and say where it lies."""
    out = context.folder / f"report-{name}.html"
    config = context.config.report
    build_part_report(context.store, out, name=name, config=config, run=context.run)
    context.did_something = True
    context.reporter.say("report", f"report: {out}", path=str(out))
    return out


def _forget_the_rest(context: Context, subject: Subject) -> None:
    """Take out the clusters of parts of which no cell is selected any more."""
    state = context.store.state
    mine = {source.live.path for source in subject.found}
    for action in state.stage(CLUSTER):
        name, _, path = action.unit.rpartition(":")
        if name == subject.name and path not in mine:
            state.delete([action])
