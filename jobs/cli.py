"""The command line: commands to jobs, errors to exit codes."""

from __future__ import annotations

import errno
import gc
import inspect
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from anabatch.compute import limit_threads_of_this_process
from anabatch.errors import AnabatchError
from anabatch.gpus import NETWORKS, for_job, without_gpus
from anabatch.report.text import plural
from anabatch.store.disk import disk_error

from . import commands_layout, commands_look, commands_nights, commands_store, commands_watch
from .cluster_options import (
    AddOption,
    Asked,
    ChooseOption,
    KOption,
    MethodOption,
    ModelNameOption,
    RemoveOption,
    WhereOption,
)
from .exit_codes import INTERRUPTED, exit_code
from .options import (
    CONFIGURATION,
    ArchiveOption,
    ConfigOption,
    DateOption,
    GpusOption,
    LayoutOption,
    LogFormat,
    LogOption,
    NameOption,
    RecomputeOption,
    RefitOption,
    SchedulerOption,
    StoreOption,
    VanishedOption,
    WorkersOption,
    make_config,
)
from .reporter import Reporter

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from anabatch.config import Config

    from .context import Context

app = typer.Typer(
    name="anabatch",
    help="Batch processing of HEp-2 immunofluorescence archives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _perform(
    job: Callable[[Context], Any],
    config: Config,
    log_format: LogFormat,
    date: dt.datetime | None,
    *,
    create: bool,
    command: str,
) -> None:
    """Run a job in a session, and end the process with its exit code."""
    from .session import session

    reporter = Reporter(log_format.value)
    only_date = date.date() if date else None
    with session(config, reporter, create=create, only_date=only_date, command=command) as context:
        job(context)
        if only_date and not any(a.date == only_date for a in context.store.state.actions()):
            text = f"--only-date {only_date}: no image has this date, and nothing was done for it"
            reporter.warn("date", text, date=str(only_date))
        quarantined = len(context.store.state.failures())
        if not context.did_something:
            text = f"nothing to do: store version {context.store.version} is up to date"
            reporter.say("nothing", text, version=context.store.version)
        if quarantined:
            text = (
                f"{plural(quarantined, 'item is', 'items are')} in quarantine; the report says why"
            )
            reporter.warn("quarantine", text, items=quarantined)
    raise typer.Exit(exit_code(None, quarantined))


_EXTRAS = ("only_date", "accept_recompute", "accept_vanished", "refit")
"""Options that some jobs have, beside `gpus`."""


def _make_command(
    name: str,
    description: str,
    *extras: str,
    networks: tuple[str, ...] = (),
    creates: bool = False,
) -> None:
    """Register the command of one job.

    Parameters
    ----------
    name, description : str
    *extras : str
        Those of the options in `_EXTRAS` that it has.
    networks : tuple of str
        Sections of the configuration whose networks it runs. With them it has `gpus`.
    creates : bool
        Whether it makes the store where there is none.
    """

    def command(  # noqa: PLR0913 (one argument an option)
        config: ConfigOption = None,
        archive: ArchiveOption = None,
        layout: LayoutOption = None,
        archive_name: NameOption = None,
        store: StoreOption = None,
        scheduler: SchedulerOption = None,
        workers: WorkersOption = None,
        gpus: GpusOption = None,
        only_date: DateOption = None,
        log_format: LogOption = LogFormat.auto,
        *,
        accept_recompute: RecomputeOption = False,
        accept_vanished: VanishedOption = False,
        refit: RefitOption = False,
    ) -> None:
        from importlib import import_module

        computing = {"scheduler": scheduler, "workers": workers, "gpus": gpus}
        found = make_config(config, archive, layout, archive_name, store, **computing)
        found = for_job(found, networks, asked=gpus is not None)
        limit_threads_of_this_process(found.compute.threads)

        def job(context: Context) -> None:
            context.accept_recompute = accept_recompute
            context.accept_vanished = accept_vanished
            options = {"refit": refit} if "refit" in extras else {}
            import_module(f".{name}", __package__).run(context, **options)

        _perform(job, found, log_format, only_date, create=creates, command=name)

    # Typer makes an option of every parameter of the signature
    unused = set(_EXTRAS) - set(extras) | (set() if networks else {"gpus"})
    signature = inspect.signature(command, eval_str=True)
    kept = [p for p in signature.parameters.values() if p.name not in unused]
    command.__dict__["__signature__"] = signature.replace(parameters=kept)
    app.command(name, help=description)(command)


_make_command(
    "run",
    "Do everything that is not done yet, and write the report.",
    "only_date",
    "accept_recompute",
    "accept_vanished",
    networks=NETWORKS,
    creates=True,
)
_make_command(
    "scan",
    "Look for new, changed and gone images.",
    "only_date",
    "accept_recompute",
    "accept_vanished",
    creates=True,
)
_make_command(
    "annotate",
    "Bring the labels of exports and class folders into the vocabulary.",
    "only_date",
    "accept_recompute",
    "accept_vanished",
)
_make_command(
    "segment",
    "Find nuclei and cells, and cut the cells out.",
    "only_date",
    "accept_recompute",
    networks=("segment",),
)
_make_command(
    "featurize", "Describe every cell by VGG16.", "accept_recompute", networks=("featurize",)
)
_make_command("embed", "Embed all cells by kernel PCA.", "refit")
_make_command("report", "Write the report of the store as it is.")
app.add_typer(commands_nights.app)
app.add_typer(commands_layout.app, name="layout")
app.add_typer(commands_watch.app)
app.add_typer(commands_store.app)
app.add_typer(commands_look.app)


@app.command()
def cluster(  # noqa: PLR0913 (one argument an option)
    config: ConfigOption = None,
    store: StoreOption = None,
    name: ModelNameOption = None,
    where: WhereOption = None,
    k: KOption = None,
    method: MethodOption = None,
    choose_k: ChooseOption = None,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    log_format: LogOption = LogFormat.auto,
    *,
    refit: RefitOption = False,
    add_new: AddOption = False,
    remove: RemoveOption = False,
) -> None:
    """Group all cells, or by --name and --where a part of them, into clusters."""
    from .cluster_command import job_of

    found = make_config(config, None, None, None, store, scheduler=scheduler, workers=workers)
    found = without_gpus(found)
    how = method and method.value
    job = job_of(Asked(name, where, k, how, choose_k, refit=refit, add_new=add_new, remove=remove))
    limit_threads_of_this_process(found.compute.threads)
    _perform(job, found, log_format, None, create=False, command="cluster")


InitArgument = Annotated[Path, typer.Argument(help="Where to write it.")]


@app.command()
def init(path: InitArgument = CONFIGURATION) -> None:
    """Write a commented configuration file."""
    from .init import write_template

    write_template(path)
    named = "" if path == CONFIGURATION else f" -c {path}"
    typer.echo(f"wrote {path}: name your archive in it, then: anabatch run{named}")


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="A folder for DATA/ and truth/.")],
    images: Annotated[int, typer.Option("--images", min=1, help="Images to draw.")] = 24,
    seed: Annotated[int, typer.Option("--seed", help="Another seed draws another archive.")] = 0,
    layout: Annotated[str, typer.Option("--layout", help="dated, by-class, unlabelled.")] = "dated",
    size: Annotated[str, typer.Option("--size", help="WIDTHxHEIGHT in pixels.")] = "1388x1040",
    atypical: Annotated[
        float,
        typer.Option(
            "--atypical", help="by-class: a class with this share of bright cells, as 0.04."
        ),
    ] = 0.0,
) -> None:
    """Draw an archive whose truth is known."""
    from .simulate import simulate as draw

    drawn = draw(out, images=images, seed=seed, layout=layout, size=size, atypical=atypical)
    typer.echo(f"drew {drawn}")


_GARBAGE = 100_000
"""New objects between two looks for garbage. By Python's default, of 700, a night over a large archive
spends a third of its time looking at the state again and again."""

_INTERRUPTED = "interrupted; what was committed stays, and the next run goes on from there"


def main() -> None:
    """Run the command line, and end the process with the exit code of what happened.

    A request to terminate, as of systemd or of a batch system, is an interrupt.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.set_threshold(_GARBAGE, 20, 100)
    try:
        app()
    except KeyboardInterrupt as error:
        _end(error, _INTERRUPTED)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # so Typer ends what was interrupted inside of it
            sys.stderr.write(f"{_INTERRUPTED}\n")
        raise
    except AnabatchError as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
        _end(error, f"anabatch: {error}{notes}")
    except Exception as error:  # noqa: BLE001 (the last resort: a bug, or a full disk)
        if disk := disk_error(error):
            notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
            _end(error, f"anabatch: {_of_the_disk(disk)}{notes}")
        traceback.print_exc()
        _end(error, f"anabatch: {type(error).__name__}: {error}")


_DISK_REMEDIES = {
    errno.ENOSPC: "The disk is full: make room, as with `anabatch gc --empty-trash`.",
    errno.EDQUOT: "Your share of the disk is full: make room, as with `anabatch gc --empty-trash`.",
    errno.EROFS: "The disk is read-only: mount it so that it can be written to.",
    errno.EIO: "The disk is failing: save what is on it, and restore the store on another.",
}

_FULL_OF_TEMPORARY_FILES = "Temporary files of large images lie there: make room, or name a folder on another disk in TMPDIR."


def _of_the_disk(error: OSError) -> str:
    """Return a disk's error as a sentence, with its place and what to do about it."""
    number = error.errno or 0
    place = f": {error.filename}" if error.filename else ""
    full = number in (errno.ENOSPC, errno.EDQUOT)
    if full and error.filename == tempfile.gettempdir():
        return f"{os.strerror(number)}{place}. {_FULL_OF_TEMPORARY_FILES}"
    return f"{os.strerror(number)}{place}. {_DISK_REMEDIES.get(number, '')}".rstrip()


def _end(error: BaseException, text: str) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(exit_code(error))
