"""Commands for looking at what was found: the contact sheet."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anabatch.compute import limit_threads_of_this_process
from anabatch.config import load_config
from anabatch.errors import ConfigurationError
from anabatch.named_places import reading

from .options import (
    ConfigOption,
    LogFormat,
    LogOption,
    NameOption,
    StoreOption,
    config_here,
    make_config,
)
from .reporter import Reporter

if TYPE_CHECKING:
    from anabatch.config import Config

app = typer.Typer()

_LIMIT = 200
_SHEET = Path("contact-sheet.html")

FoldersArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Folders of images, to be segmented now; without one, the store's images."),
]
ArchiveNameOption = Annotated[
    str | None, typer.Option("--archive", help="Only this archive: its name, or its folder.")
]
OnDateOption = Annotated[
    dt.datetime | None,
    typer.Option(
        "--date", "--only-date", formats=["%Y-%m-%d", "%Y%m%d"], help="Only this date's images."
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="The HTML file to write.")]
LimitOption = Annotated[
    int, typer.Option("--limit", min=0, help="At most so many fields, the newest; 0 for all.")
]
SampleOption = Annotated[
    bool, typer.Option("--sample", help="A fixed sample of all, and not the newest.")
]
PagesOption = Annotated[
    bool, typer.Option("--pages", help="Also PNG pages, in a folder beside the HTML file.")
]
PerPageOption = Annotated[int, typer.Option("--per-page", min=1, help="Fields on a PNG page.")]


@app.command("contact-sheet")
def contact_sheet(  # noqa: PLR0913 (one argument an option)
    folders: FoldersArgument = None,
    config: ConfigOption = None,
    store: StoreOption = None,
    archive: ArchiveNameOption = None,
    archive_name: NameOption = None,
    date: OnDateOption = None,
    out: OutOption = _SHEET,
    limit: LimitOption = _LIMIT,
    per_page: PerPageOption = 4,
    log_format: LogOption = LogFormat.auto,
    *,
    sample: SampleOption = False,
    pages: PagesOption = False,
) -> None:
    """Draw the outlines of nuclei and cells over fields, one card a field, to look at each.

    Of a store it shows what was segmented; folders of images it segments on the way, and keeps
    nothing of them.
    """
    from anabatch.report.contact_store import Wanted

    from .contact_sheet import Output, of_folders, of_store

    output, reporter = Output(out, per_page if pages else 0), Reporter(log_format.value)
    if folders:
        if store or archive or date:
            message = "--store, --archive and --date are of a store, and folders need none"
            raise typer.BadParameter(message)
        settings = load_config(config) if config else None
        limit_threads_of_this_process(settings.compute.threads if settings else 1)
        of_folders(settings, folders, Wanted(limit=limit, sample=sample), output, reporter)
        return
    found, name = _archive(config, store, archive, archive_name)
    wanted = Wanted(name, date.date() if date else None, limit, sample)
    of_store(found, wanted, output, reporter)


def _archive(
    config: Path | None, store: Path | None, archive: str | None, name: str | None
) -> tuple[Config, str | None]:
    """Return the configuration, and the name of the archive that was asked for.

    Raises
    ------
    ConfigurationError
        It is neither the name of an archive nor a folder, or a folder that this user may not read.
    """
    if archive is None:
        return make_config(config, None, None, name, store), None
    if config is None and store is None:
        config = config_here()  # whose archive the name is of
    if config is not None and name is None:
        found = make_config(config, None, None, None, store)
        if archive in {item.name for item in found.archives}:
            return found, archive
    with reading(Path(archive)):
        is_folder = Path(archive).is_dir()
    if is_folder:
        found = make_config(config, Path(archive), None, name, store)
        return found, found.archives[0].name
    what = f"{archive} is neither an archive of the configuration nor a folder"
    raise ConfigurationError(what, "`anabatch status` lists a store's archives.")
