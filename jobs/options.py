"""The options that commands share, and the configuration that they make."""

from __future__ import annotations

import datetime as dt
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from anabatch.config import Config, load_config, parse_config, resolve_paths
from anabatch.errors import ConfigurationError


class LogFormat(StrEnum):
    """How a run speaks."""

    auto = "auto"
    text = "text"
    json = "json"


CONFIGURATION = Path("anabatch.toml")
"""The configuration of the folder that a command is given in, as `anabatch init` writes it."""


def config_here() -> Path | None:
    """Return the configuration of the folder that this process is in; None where there is none."""
    return CONFIGURATION if os.path.lexists(CONFIGURATION) else None


def _config_or_here(context: typer.Context, named: Path | None) -> Path | None:
    """Return the configuration that was named, or this folder's where nothing else says what is meant."""
    # what was given stands in the parameters already: Click asks it before what was not
    others = [context.params.get(name) for name in ("store", "archive", "folders")]
    return config_here() if named is None and not any(others) else named


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        callback=_config_or_here,
        help="A configuration file (TOML). By default anabatch.toml of this folder, "
        "unless --store or --archive is given.",
    ),
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
GpusOption = Annotated[
    str | None,
    typer.Option("--gpus", help="GPUs for the networks: a number, all, or 0 for the CPU."),
]
DateOption = Annotated[
    dt.datetime | None,
    typer.Option(
        "--only-date",
        formats=["%Y-%m-%d", "%Y%m%d"],
        help="Scan, annotate and segment only this date's images; a run does the rest for all cells.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, for another program.")]
RecomputeOption = Annotated[
    bool,
    typer.Option("--accept-recompute", help="Compute again more than guards.recompute_share."),
]
VanishedOption = Annotated[
    bool,
    typer.Option("--accept-vanished", help="Let more images go than guards.vanished_share."),
]
RefitOption = Annotated[
    bool, typer.Option("--refit", help="Fit it again, also where that is not due.")
]
LogOption = Annotated[
    LogFormat, typer.Option("--log-format", help="auto: text on a terminal, else JSON lines.")
]


def make_config(
    config: Path | None,
    archive: Path | None,
    layout: str | None,
    name: str | None,
    store: Path | None,
    **compute: Any,
) -> Config:
    """Make the configuration of a file and of options, which go before it.

    Raises
    ------
    ConfigurationError
        Neither a file nor a store is given, or what they say cannot be used.
    """
    for option, value in (("--layout", layout), ("--name", name)):
        if archive is None and value is not None:
            message = f"{option} says something of --archive, which is not given"
            raise typer.BadParameter(message)
    if config is None and store is None:
        raise _nothing_named()
    base = load_config(config) if config else parse_config({"store": str(store)}, "--store")
    raw = base.model_dump(mode="json")
    if store is not None:
        raw["store"] = str(store.absolute())
    if archive is not None:
        found = {"name": name or _folder_name(archive), "path": str(archive)}
        raw["archives"] = [found | ({"layout": layout} if layout else {})]
    given = {key: value for key, value in compute.items() if value is not None}
    if "gpus" in given:
        given["gpus"] = _gpus(given["gpus"])
    raw["compute"] |= given
    _place_networks(raw, given.get("gpus"))
    if "workers" in given and raw["compute"]["scheduler"] != "local":
        message = f"--workers is of a local cluster, and not of {raw['compute']['scheduler']}"
        raise typer.BadParameter(message)
    if given.get("gpus") and raw["compute"]["scheduler"] == "sync":
        message = "--gpus needs workers, and --scheduler sync has none"
        raise typer.BadParameter(message)
    return resolve_paths(parse_config(raw, "the options"), Path.cwd())


def _place_networks(raw: dict[str, Any], asked: int | str | None) -> None:
    """Set the networks' devices by the GPUs of a configuration, and by those that an option asks for."""
    if raw["compute"]["gpus"]:
        if raw["segment"]["recipe"] != "watershed":  # which has none
            raw["segment"]["device"] = "cuda"
    elif asked == 0:
        raw["segment"]["device"] = raw["featurize"]["device"] = "cpu"


def _gpus(text: str) -> int | str:
    """Return the number of GPUs that an option names, or `all`."""
    if text == "all":
        return text
    if not text.isdecimal():
        message = f"--gpus {text}: give a number, or all"
        raise typer.BadParameter(message)
    return int(text)


def _folder_name(archive: Path) -> str:
    """Return a name for an archive: its folder's, or for `DATA` the folder that holds it."""
    folder = archive.resolve()
    name = folder.parent.name if folder.name == "DATA" else folder.name
    return name.replace(" ", "-") or "archive"


def store_path(config: Path | None, store: Path | None) -> Path:
    """Return the store that options or a configuration name."""
    if store is not None:
        return store
    if config is not None:
        return load_config(config).store
    raise _nothing_named()


def _nothing_named() -> ConfigurationError:
    what = "neither a configuration file nor a store was named"
    if config_here():
        return ConfigurationError(what, "Beside --archive, give -c FILE or --store DIR.")
    what += f", and there is no {CONFIGURATION.absolute()}"
    remedy = "Write one with `anabatch init`, or give -c FILE, or --store DIR."
    return ConfigurationError(what, remedy)
