"""Commands before a night and after it: plan and explain."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .counting import counted
from .options import (
    ArchiveOption,
    ConfigOption,
    JsonOption,
    LayoutOption,
    NameOption,
    StoreOption,
    make_config,
)
from .screen import screen

if TYPE_CHECKING:
    from .explain import Step
    from .plan import Survey

app = typer.Typer()


@app.command()
def plan(
    config: ConfigOption = None,
    archive: ArchiveOption = None,
    layout: LayoutOption = None,
    archive_name: NameOption = None,
    store: StoreOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what the next run would do, and why. Nothing is computed or written."""
    from .looking import looking
    from .plan import survey

    with looking(make_config(config, archive, layout, archive_name, store)) as context:
        found = survey(context)
    if as_json:
        typer.echo(json.dumps(_plain(found), indent=1))
    else:
        _print_survey(found)


@app.command()
def explain(
    image: Annotated[str, typer.Argument(help="An image id, or a file's path or its end.")],
    config: ConfigOption = None,
    store: StoreOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say for one image and every stage what was done, when and why."""
    from anabatch.store.root import open_store

    from .explain import explain as steps_of
    from .looking import looking
    from .options import store_path
    from .plan import survey

    if config is not None:
        with looking(make_config(config, None, None, None, store)) as context:
            steps = steps_of(open_store(context.store.root), image, survey(context))
    else:
        steps = steps_of(open_store(store_path(config, store)), image)
    if as_json:
        typer.echo(json.dumps([asdict(step) for step in steps], indent=1))
    else:
        _print_steps(steps, with_next=config is not None)


def _plain(found: Survey) -> dict[str, object]:
    from .plan import UNITS

    return {
        "counts": [
            {
                "stage": stage,
                "cause": reason.cause.value,
                "detail": reason.detail,
                "actions": number,
                "unit": UNITS[stage][1],
            }
            for stage, reason, number in found.counts()
        ],
        "gone": found.gone,
        "adopted_parts": found.adopted,
        "notes": list(found.notes),
    }


def _print_survey(found: Survey) -> None:
    console = screen()
    if not found.items and not found.gone and not found.adopted:
        console.print("nothing to do")
    else:
        _print_actions(found)
    for note in found.notes:
        console.print(note, markup=False)


def _print_actions(found: Survey) -> None:
    from .plan import UNITS

    console = screen()
    table = Table("stage", "why", "detail", "actions", title="what the next run would do")
    table.columns[-1].justify = "right"
    for stage, reason, number in found.counts():
        many = counted(number, *UNITS[stage])
        table.add_row(stage, reason.cause.value, reason.detail, many)
    if found.items:
        console.print(table, markup=False)
    if found.gone:
        text = f"{counted(found.gone, 'image is', 'images are')} no longer there"
        console.print(text, markup=False)
    if found.adopted:
        many = counted(found.adopted, "finished part", "finished parts")
        console.print(f"{many} of an earlier run would be taken over", markup=False)


def _print_steps(steps: list[Step], *, with_next: bool) -> None:
    console = screen()
    for step in steps:
        console.print(f"{step.stage}  {step.unit}", style="bold", markup=False)
        console.print(f"  {step.outcome}  {step.when}  run {step.run}", markup=False)
        for name, text in (
            ("why", step.why),
            ("key", step.key),
            ("part", step.part),
            ("next run", step.next or ("stands" if with_next else "")),
        ):
            if text:
                console.print(f"  {name}: {text}", markup=False)
        for line in step.past:
            console.print(f"  before: {line}", markup=False)
