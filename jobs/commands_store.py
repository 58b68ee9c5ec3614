"""Commands over the store itself: what it holds, whether it is whole, its past, its upkeep."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.table import Table

from anabatch.report.text import plural, printable
from anabatch.store.live import CLUSTER_MODEL

from .exit_codes import DISK
from .options import (
    ConfigOption,
    JsonOption,
    LogFormat,
    LogOption,
    StoreOption,
    make_config,
    store_path,
)
from .reporter import Reporter
from .screen import screen

if TYPE_CHECKING:
    from anabatch.store.past import Version
    from anabatch.store.retention import Collection
    from anabatch.store.verification import Verification

app = typer.Typer()

_VERSIONS = 20
"""Versions that are listed without --all."""

_TABLES = "acquisitions, annotations, annotations_history, cells or clusters."

OutOption = Annotated[Path | None, typer.Option("--out", help="A .csv or .parquet file.")]
AtOption = Annotated[int | None, typer.Option("--at", help="Version of the store.")]


@app.command()
def tables(config: ConfigOption = None, store: StoreOption = None, at: AtOption = None) -> None:
    """List what the store holds, with rows, parts and bytes."""
    from .show import list_tables

    list_tables(store_path(config, store), at)


@app.command()
def show(  # noqa: PLR0913 (one argument an option)
    table: Annotated[str, typer.Argument(help=_TABLES)],
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            help="A condition in SQL; of cells also over label and labels, as of `anabatch cluster`.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="At most N rows.")] = None,
    out: OutOption = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    at: AtOption = None,
    model: Annotated[
        str, typer.Option("--model", help="Whose clusters: archive, or a name given to a part.")
    ] = CLUSTER_MODEL,
) -> None:
    """Read a table of the store."""
    from .show import show_table

    place = store_path(config, store)
    show_table(place, at, table, where=where, limit=limit, out=out, model=model)


@app.command()
def verify(
    config: ConfigOption = None,
    store: StoreOption = None,
    subset: Annotated[
        str | None,
        typer.Option("--read-data-subset", help="Read this share of the bytes, such as 2%."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Read the files that a seed draws, as told before.")
    ] = None,
    *,
    full: Annotated[bool, typer.Option("--full", help="Read every byte.")] = False,
    all_versions: Annotated[
        bool,
        typer.Option("--all-versions", help="All versions that are kept, not the newest alone."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the store with what was written; the next run computes damaged parts anew.

    Without --full or --read-data-subset it reads the ledger, and looks whether all files of the
    parts are there in their size. Code 74: something is damaged.
    """
    from .verify import verify as look

    if full and subset is not None:
        message = "--full reads it all, and --read-data-subset a share"
        raise typer.BadParameter(message)
    share = 1.0 if full else _share(subset)
    workers = make_config(config, None, None, None, store).compute.workers
    place = store_path(config, store)
    found = look(place, share=share, seed=seed, all_versions=all_versions, workers=workers)
    if as_json:
        plain = {k: v for k, v in asdict(found).items() if k not in ("whole", "sized")}
        typer.echo(json.dumps(plain, indent=1))
    else:
        _print_verification(found)
    raise typer.Exit(DISK if found.problems else 0)


def _share(subset: str | None) -> float:
    """Return the share that a text such as `2%` names."""
    if subset is None:
        return 0.0
    try:
        percent = float(subset.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not subset.endswith("%") or not 0 < percent <= 100:
        message = f"{subset!r} is no share: name one as 2%"
        raise typer.BadParameter(message)
    return percent / 100


@app.command()
def versions(
    config: ConfigOption = None,
    store: StoreOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All, not the newest alone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the store's versions: when, by which run, what it did, and how long it is kept."""
    from datetime import UTC, datetime

    from anabatch.store.past import past

    keep = make_config(config, None, None, None, store).keep
    root = store_path(config, store).resolve()
    found = past(root, keep, datetime.now(UTC), None if every else _VERSIONS)
    if as_json:
        plain = [asdict(item) | {"time": item.time.isoformat()} for item in found]
        typer.echo(json.dumps(plain, indent=1))
    else:
        _print_versions(found)


@app.command()
def rollback(
    to: Annotated[int, typer.Option("--to", min=0, help="The version to bring back.")],
    config: ConfigOption = None,
    store: StoreOption = None,
    log_format: LogOption = LogFormat.auto,
) -> None:
    """Bring an older version back, as the newest. Nothing is deleted, and readers go on."""
    from .rollback import rollback as bring_back

    found = make_config(config, None, None, None, store)
    bring_back(found, Reporter(log_format.value), to=to)


@app.command()
def gc(
    config: ConfigOption = None,
    store: StoreOption = None,
    log_format: LogOption = LogFormat.auto,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    empty_trash: Annotated[
        bool,
        typer.Option("--empty-trash", help="Delete the trash now, and with it what goes now."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take away what no kept version and no reader needs: to the trash first.

    The configuration's section `keep` says which versions are kept, and how long the trash.
    """
    from .gc import gc as collect

    settings = make_config(config, None, None, None, store)
    reporter = Reporter(log_format.value, sys.stderr if as_json else None)
    found = collect(settings, reporter, dry_run=dry_run, empty_trash=empty_trash)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
    else:
        _tell_collection(reporter, found, dry_run=dry_run, empty_trash=empty_trash)


@app.command()
def compact(
    config: ConfigOption = None, store: StoreOption = None, log_format: LogOption = LogFormat.auto
) -> None:
    """Write small and mostly dead parts anew, and the ledger as one file."""
    from .compact import compact as rewrite

    rewrite(make_config(config, None, None, None, store), Reporter(log_format.value))


def _print_verification(found: Verification) -> None:
    console = screen()

    def say(text: str, **style: Any) -> None:
        console.print(printable(text), markup=False, **style)

    if found.version is not None:
        say(
            f"version {found.version}: {plural(found.parts, 'part')}, {plural(found.files, 'file')}, "
            f"{decimal(found.size)}, of which {decimal(found.read)} were read"
        )
    if 0 < found.share < 1:
        say(f"--seed {found.seed} reads the same files again")
    for problem in found.problems:
        say(f"{problem.part}/{problem.file}".rstrip("/"), style="bold")
        say(f"  {problem.fault}: {problem.detail}")
        say(f"  needed by: {problem.depends}")
        say(f"  {problem.remedy}")
    if found.leftovers:
        parts = plural(len(found.leftovers), "part is", "parts are")
        say(
            f"{parts} named by no version: unfinished, or for the next run to adopt; "
            "`anabatch gc` takes away in time what is not needed"
        )
    problems = plural(len(found.problems), "problem")
    say(problems if found.problems else "all is as it was written")


def _print_versions(found: list[Version]) -> None:
    listing = Table("version", "time (UTC)", "run", "what it did", "kept")
    listing.columns[0].justify = "right"
    for item in found:
        done = [f"{stage} {number:,}" for stage, number in item.done.items()]
        gone = [f"{stage} {number:,} gone" for stage, number in item.gone.items()]
        what = ", ".join([*done, *gone]) if item.operation == "commit" else item.operation
        readers = {f"{reader.host}, process {reader.pid}" for reader in item.readers}
        kept = "; ".join([item.kept.value, *(f"read by {name}" for name in sorted(readers))])
        when = f"{item.time:%Y-%m-%d %H:%M:%S}"
        listing.add_row(str(item.version), when, item.run, what, kept)
    screen().print(listing)
    if found and found[-1].version:
        screen().print(f"and {found[-1].version} older; --all lists them")


def _tell_collection(
    reporter: Reporter, found: Collection, *, dry_run: bool, empty_trash: bool
) -> None:
    sizes: dict[str, list[int]] = defaultdict(list)
    for item in found.items:
        sizes[item.kind.value].append(item.size)
    for kind, each in sizes.items():
        number, size = len(each), sum(each)
        way = "is deleted" if empty_trash or kind == "trash" else "goes to the trash"
        text = f"{kind}: {number:,} with {decimal(size)} {way}"
        reporter.say("collected", text, kind=kind, items=number, bytes=size, dry_run=dry_run)
    if empty_trash:
        size = sum(size for each in sizes.values() for size in each)
        text = f"{decimal(size)} {'would be' if dry_run else 'were'} freed"
        reporter.say("freed", text, bytes=size, dry_run=dry_run)
    text = f"versions from {found.oldest} on are kept"
    if not found.items:
        text += ": there is nothing to take away"
    reporter.say("kept", text, oldest=found.oldest, versions=len(found.kept), dry_run=dry_run)
