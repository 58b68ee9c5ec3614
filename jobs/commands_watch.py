"""Commands for whoever looks after the nights: status, and what is in quarantine."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from anabatch.report.text import printable
from anabatch.store.live import ANNOTATE, CELLS, CLUSTER, EMBED, FEATURIZE, LIST, SCAN, SEGMENT

from .counting import counted
from .options import ConfigOption, JsonOption, LogFormat, LogOption, StoreOption, store_path
from .screen import screen

if TYPE_CHECKING:
    from .quarantine import Item
    from .record import Ended
    from .status import Counts, Day, Status

app = typer.Typer()
quarantine = typer.Typer(help="What failed, and trying it again.", no_args_is_help=True)
app.add_typer(quarantine, name="quarantine")

_DATES = 40
"""Dates that are listed; what is all done stands behind what is not."""

_UNITS = {
    "files and folders": (LIST,),
    "images": (SCAN, SEGMENT, CELLS),
    "dates": (ANNOTATE,),
    "parts of cells": (FEATURIZE, EMBED, CLUSTER),
}
"""What is counted, by stage."""

_ITEMS_HELP = "Paths in the archive, with * and ?; all without one."


@app.command()
def status(
    config: ConfigOption = None,
    store: StoreOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All dates, also those all done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show by date and stage what is done, pending, failed, and how the last runs ended."""
    from .options import make_config
    from .status import status as look

    place = store_path(config, store)
    found = look(place, make_config(config, None, None, None, store) if config else None)
    if as_json:
        typer.echo(json.dumps(found.plain(), indent=1))
    else:
        _print_status(found, None if every else _DATES)


@quarantine.command("ls")
def list_items(
    config: ConfigOption = None, store: StoreOption = None, *, as_json: JsonOption = False
) -> None:
    """List what failed and what is put off, with the reason and what to do."""
    from anabatch.store.root import open_store

    from .quarantine import items

    with open_store(store_path(config, store)) as opened:
        found = items(opened.state)
    if as_json:
        typer.echo(json.dumps([asdict(item) for item in found], indent=1))
    else:
        _print_items(found)


@quarantine.command("retry")
def retry_items(
    patterns: Annotated[list[str] | None, typer.Argument(help=_ITEMS_HELP)] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    log_format: LogOption = LogFormat.auto,
) -> None:
    """Have the next run try again what failed, although nothing has changed."""
    from .options import make_config
    from .quarantine import retry
    from .reporter import Reporter
    from .session import session

    found = make_config(config, None, None, None, store)
    reporter = Reporter(log_format.value)
    with session(found, reporter, create=False, command="quarantine retry") as context:
        number = retry(context, patterns or [])
        items = counted(number, "item", "items")
        text = f"the next run tries {items} again" if number else "nothing is in quarantine"
        reporter.say("retry", text, items=number)


def _print_status(found: Status, limit: int | None) -> None:
    console = screen()

    def say(text: str) -> None:
        console.print(printable(text), markup=False)

    say(f"store {found.store}, version {found.version}")
    say(f"now: {found.holder} holds it" if found.holder else "now: nobody holds it")
    say(f"last run: {_ended(found.last.last)}")
    say(f"last success: {_ended(found.last.success)}")
    if found.unfinished and found.unfinished not in (found.holder or ""):
        say(f"run {found.unfinished} was cut short: the next run takes over what it had finished")
    if found.unknown is not None:
        say(f"what is pending is not known: {found.unknown}")
    for model in found.models:
        say(f"the next run fits a new generation of {model}")
    console.print(_table(found, limit))
    more = len(found.days) - (limit or len(found.days))
    if more > 0:
        say(f"and {counted(more, 'more date', 'more dates')}; --all lists them")
    for line in _legend(found):
        say(line)


def _legend(found: Status) -> list[str]:
    """Return what the numbers of the table are of, as far as there are any."""
    stages = found.totals
    units = (", ".join(name for name in names if name in stages) for names in _UNITS.values())
    counted = [f"{names} in {unit}" for unit, names in zip(_UNITS, units, strict=True) if names]
    lines = [f"counted: {'; '.join(counted)}"] if counted else []
    if any(day.elsewhere for day in found.days):
        text = "elsewhere: the same picture stands under another date or archive, and is segmented there"
        lines.append(text)
    return lines


def _ended(run: Ended | None) -> str:
    if run is None:
        return "none yet"
    text = f"{run.ended}, {run.command} {run.run}, exit code {run.exit_code}"
    if run.error:
        return f"{text}: {run.error}"
    return text if run.did_something else f"{text}, nothing to do"


def _table(found: Status, limit: int | None) -> Table:
    table = Table(title="done, and what is not")
    totals = found.totals
    for name in ("date", "archive", *totals):
        table.add_column(name)
    days = sorted(found.days, key=lambda day: day.is_done)  # stable: the newest stay first
    for day in days[:limit]:
        table.add_row(*_row(day, list(totals)))
    if found.days:
        table.add_section()
        table.add_row("all", "", *(_cell(counts) for counts in totals.values()))
    return table


def _row(day: Day, stages: list[str]) -> list[str]:
    cells = [_cell(day.stages[stage]) if stage in day.stages else "" for stage in stages]
    if day.elsewhere and SEGMENT in stages:
        place = stages.index(SEGMENT)
        cells[place] = ", ".join(filter(None, (cells[place], f"{day.elsewhere:,} elsewhere")))
    return [str(day.date) if day.date else "undated", printable(day.archive), *cells]


def _cell(counts: Counts) -> str:
    parts = [f"{counts.done:,}"] if counts.done else []
    for name in ("pending", "pending_images", "failed", "deferred"):
        number = getattr(counts, name)
        if number:
            words = "images pending" if name == "pending_images" else name
            parts.append(f"{number:,} {words}")
    return ", ".join(parts)


def _print_items(found: list[Item]) -> None:
    console = screen()
    if not found:
        console.print("nothing is in quarantine")
        return
    for item in found:
        place = f"{item.archive}: {item.path}" if item.archive else item.path
        console.print(printable(place), style="bold", markup=False)
        told = "put off" if item.outcome == "deferred" else "failed"
        since = item.since or "a time that is not known"
        console.print(printable(f"  {item.stage} {told}: {item.reason}"), markup=False)
        console.print(printable(f"  since {since}, run {item.run}"), markup=False)
        console.print(f"  {item.remedy}", markup=False)
