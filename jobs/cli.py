"""The command line: options to configuration, commands to jobs, errors to exit codes."""

from __future__ import annotations

import datetime as dt
import inspect
import signal
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from anabatch.compute import limit_threads_of_this_process
from anabatch.config import Config, load_config, parse_config, resolve_paths
from anabatch.errors import AnabatchError, ConfigurationError

from .exit_codes import INTERRUPTED, exit_code
from .reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context

app = typer.Typer(
    name="anabatch",
    help="Batch processing of HEp-2 immunofluorescence archives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class LogFormat(StrEnum):
    """How a run speaks."""

    auto = "auto"
    text = "text"
    json = "json"


ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="A configuration file (TOML).")
]
ArchiveOption = Annotated[Path | None, typer.Option("--archive", help="An archive's folder.")]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout", help="--archive's: dated, by-class, unlabelled, a TOML file, or auto (default)."
    ),
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="--archive's name; by default its folder's.")
]
StoreOption = Annotated[Path | None, typer.Option("--store", help="The store's folder.")]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", help="local, sync, or a Dask scheduler's address.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes of a local cluster.")
]
DateOption = Annotated[
    dt.datetime | None,
    typer.Option("--only-date", formats=["%Y-%m-%d", "%Y%m%d"], help="Only this date's images."),
]
RefitOption = Annotated[
    bool, typer.Option("--refit", help="Fit it again, also where that is not due.")
]
LogOption = Annotated[
    LogFormat, typer.Option("--log-format", help="auto: text on a terminal, else JSON lines.")
]


def _config(
    config: Path | None,
    archive: Path | None,
    layout: str | None,
    name: str | None,
    store: Path | None,
    **compute: Any,
) -> Config:
    """Make the configuration of a file and of options, which go before it."""
    for option, value in (("--layout", layout), ("--name", name)):
        if archive is None and value is not None:
            message = f"{option} says something of --archive, which is not given"
            raise typer.BadParameter(message)
    if config is None and store is None:
        what = "neither a configuration file nor a store was named"
        raise ConfigurationError(what, "Give -c anabatch.toml, or --archive and --store.")
    base = load_config(config) if config else parse_config({"store": str(store)}, "--store")
    raw = base.model_dump(mode="json")
    if store is not None:
        raw["store"] = str(store.absolute())
    if archive is not None:
        found = {"name": name or _folder_name(archive), "path": str(archive)}
        raw["archives"] = [found | ({"layout": layout} if layout else {})]
    given = {key: value for key, value in compute.items() if value is not None}
    raw["compute"] |= given
    if "workers" in given and raw["compute"]["scheduler"] != "local":
        message = f"--workers is of a local cluster, and not of {raw['compute']['scheduler']}"
        raise typer.BadParameter(message)
    return resolve_paths(parse_config(raw, "the options"), Path.cwd())


def _folder_name(archive: Path) -> str:
    """Return a name for an archive: its folder's, or for `DATA` the folder that holds it."""
    folder = archive.resolve()
    name = folder.parent.name if folder.name == "DATA" else folder.name
    return name.replace(" ", "-") or "archive"


def _perform(
    job: Callable[[Context], Any],
    config: Config,
    log_format: LogFormat,
    date: dt.datetime | None,
    *,
    create: bool,
) -> None:
    """Run a job in a session, and end the process with its exit code."""
    from .session import session

    reporter = Reporter(log_format.value)
    only_date = date.date() if date else None
    with session(config, reporter, create=create, only_date=only_date) as context:
        job(context)
        quarantined = len(context.store.state.failures())
        if not context.did_something:
            text = f"nothing to do: store version {context.store.version} is up to date"
            reporter.say("nothing", text, version=context.store.version)
        if quarantined:
            text = f"{quarantined} items are in quarantine; the report says why"
            reporter.warn("quarantine", text, items=quarantined)
    raise typer.Exit(exit_code(None, quarantined))


def _make_command(
    name: str, description: str, *, creates: bool = False, refits: bool = False
) -> None:
    """Register the command of one job.

    Parameters
    ----------
    name, description : str
    creates : bool
        Whether it makes the store where there is none.
    refits : bool
        Whether it can be asked to fit a model that is not due.
    """

    def command(  # noqa: PLR0913 (one argument an option)
        config: ConfigOption = None,
        archive: ArchiveOption = None,
        layout: LayoutOption = None,
        archive_name: NameOption = None,
        store: StoreOption = None,
        scheduler: SchedulerOption = None,
        workers: WorkersOption = None,
        only_date: DateOption = None,
        log_format: LogOption = LogFormat.auto,
        *,
        refit: RefitOption = False,
    ) -> None:
        from functools import partial
        from importlib import import_module

        found = _config(
            config, archive, layout, archive_name, store, scheduler=scheduler, workers=workers
        )
        limit_threads_of_this_process(found.compute.threads)
        run = import_module(f".{name}", __package__).run
        job = partial(run, refit=refit) if refits else run
        _perform(job, found, log_format, only_date, create=creates)

    if not refits:  # Typer makes an option of every parameter of the signature
        signature = inspect.signature(command, eval_str=True)
        kept = [p for p in signature.parameters.values() if p.name != "refit"]
        command.__dict__["__signature__"] = signature.replace(parameters=kept)
    app.command(name, help=description)(command)


_make_command("run", "Do everything that is not done yet, and write the report.", creates=True)
_make_command("scan", "Look for new, changed and gone images.", creates=True)
_make_command("annotate", "Bring the labels of exports and class folders into the vocabulary.")
_make_command("segment", "Find nuclei and cells, and cut the cells out.")
_make_command("featurize", "Describe every cell by VGG16.")
_make_command("embed", "Embed all cells by kernel PCA.", refits=True)
_make_command("cluster", "Group all cells by k-means.", refits=True)
_make_command("report", "Write the report of the store as it is.")


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("anabatch.toml"),
) -> None:
    """Write a commented configuration file."""
    from .init import write_template

    write_template(path)
    typer.echo(f"wrote {path}: name your archive in it, then: anabatch run -c {path}")


@app.command()
def tables(
    config: ConfigOption = None,
    store: StoreOption = None,
    at: Annotated[int | None, typer.Option("--at", help="Version of the store.")] = None,
) -> None:
    """List what the store holds, with rows, parts and bytes."""
    from .show import list_tables

    list_tables(_store_path(config, store), at)


@app.command()
def show(
    table: Annotated[str, typer.Argument(help="acquisitions, annotations, cells or clusters.")],
    where: Annotated[str | None, typer.Option("--where", help="A condition in SQL.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="At most N rows.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="A .csv or .parquet file.")] = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    at: Annotated[int | None, typer.Option("--at", help="Version of the store.")] = None,
) -> None:
    """Read a table of the store."""
    from .show import show_table

    show_table(_store_path(config, store), at, table, where=where, limit=limit, out=out)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="A folder for DATA/ and truth/.")],
    images: Annotated[int, typer.Option("--images", min=1, help="Images to draw.")] = 24,
    seed: Annotated[int, typer.Option("--seed", help="Another seed draws another archive.")] = 0,
    layout: Annotated[str, typer.Option("--layout", help="dated, by-class, unlabelled.")] = "dated",
    size: Annotated[str, typer.Option("--size", help="WIDTHxHEIGHT in pixels.")] = "1388x1040",
) -> None:
    """Draw an archive whose truth is known."""
    from .simulate import simulate as draw

    typer.echo(f"drew {draw(out, images=images, seed=seed, layout=layout, size=size)}")


def _store_path(config: Path | None, store: Path | None) -> Path:
    if store is not None:
        return store
    if config is not None:
        return load_config(config).store
    what = "no store was named"
    raise ConfigurationError(what, "Give --store DIR or -c anabatch.toml.")


_INTERRUPTED = "interrupted; what was committed stays, and the next run goes on from there"


def main() -> None:
    """Run the command line, and end the process with the exit code of what happened.

    A request to terminate, as of systemd or of a batch system, is an interrupt.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
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
        traceback.print_exc()
        _end(error, f"anabatch: {type(error).__name__}: {error}")


def _end(error: BaseException, text: str) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(exit_code(error))
