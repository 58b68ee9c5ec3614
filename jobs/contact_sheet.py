"""Contact sheet: a store's images, or folders of images → one HTML file, and pages as PNG files.

Nothing is written to the store, and archives are only read.
"""

from __future__ import annotations

import errno
import os
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from anabatch.archive.layout import detect_layout, load_layout
from anabatch.errors import AmbiguousLayoutError, ConfigurationError
from anabatch.named_places import reading, writing
from anabatch.report.contact import Sheet
from anabatch.report.contact_images import How, cards, choose_images
from anabatch.report.contact_pages import Pages
from anabatch.report.contact_store import Chosen, Wanted, card, choose
from anabatch.report.source import Source
from anabatch.report.text import plural
from anabatch.store.root import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anabatch.archive.layout import Layout
    from anabatch.config import ArchiveConfig, Config
    from anabatch.report.contact import Card
    from anabatch.store.root import Store

    from .reporter import Reporter


@dataclass(frozen=True)
class Output:
    """Where the sheet goes.

    Attributes
    ----------
    sheet : Path
        The HTML file.
    per_page : int
        Fields on a PNG page, in a folder beside it; 0 for no pages.
    """

    sheet: Path
    per_page: int = 0

    @property
    def pages(self) -> Path:
        """The folder of the pages."""
        return self.sheet.with_name(f"{self.sheet.stem}-pages")


def of_store(config: Config, wanted: Wanted, output: Output, reporter: Reporter) -> Path:
    """Write the contact sheet of a store.

    Parameters
    ----------
    config : Config
        With the archives, from which pictures are read.
    wanted : Wanted
    output : Output
    reporter : Reporter

    Raises
    ------
    ConfigurationError
        Nothing that was asked for is in the store, no archive of it is named, or the sheet would be
        written into an archive.
    PlaceError
        The sheet cannot be written there.
    StoreNotFoundError
        There is no store.
    """
    _refuse_archives(output.sheet, [archive.path for archive in config.archives])
    roots = {archive.name: archive.path for archive in config.archives}
    with reading(*roots.values()), closing(open_store(config.store)) as store:
        source = Source(store, config.report, None, (), roots)
        chosen = choose(source, wanted)
        _check(store, chosen, wanted, roots)
        shown = (
            card(source, action, max_pixels=config.scan.max_pixels)
            for action in chosen.acquisitions
        )
        limits = [wanted.archive, str(wanted.date) if wanted.date else None]
        title = ", ".join(
            ["Contact sheet", *filter(None, limits), f"store version {store.version}"]
        )
        return _write(
            shown, len(chosen.acquisitions), _notes(chosen, wanted), title, output, reporter
        )


def _check(store: Store, chosen: Chosen, wanted: Wanted, roots: dict[str, Path]) -> None:
    """Refuse what would be a sheet without pictures, before any work."""
    if not chosen.acquisitions:
        asked = [f"of {wanted.archive}" if wanted.archive else "", str(wanted.date or "")]
        what = " ".join(
            ["no segmented image", *filter(None, asked), f"is in the store {store.root}"]
        )
        waiting = f"{plural(chosen.waiting, 'image waits', 'images wait')} for `anabatch segment`."
        raise ConfigurationError(
            what, waiting if chosen.waiting else "`anabatch status` lists dates."
        )
    archives = {action.archive for action in chosen.acquisitions}
    if not archives & roots.keys():
        what = f"the store does not hold the images of {', '.join(sorted(archives))} themselves"
        raise ConfigurationError(what, "Give -c anabatch.toml, or --archive with their folder.")


def _notes(chosen: Chosen, wanted: Wanted) -> list[str]:
    notes = []
    if chosen.left_out:
        which = "a fixed sample is" if wanted.sample else "the newest are"
        notes.append(
            f"{plural(chosen.left_out, 'image')} left out: {which} shown. --limit 0 shows all."
        )
    if chosen.waiting:
        notes.append(f"{plural(chosen.waiting, 'image')} not segmented yet: `anabatch segment`.")
    if chosen.failed:
        text = f"{plural(chosen.failed, 'file')} in quarantine: `anabatch quarantine ls` says why."
        notes.append(text)
    return notes


def of_folders(
    config: Config | None,
    folders: Sequence[Path],
    wanted: Wanted,
    output: Output,
    reporter: Reporter,
) -> Path:
    """Segment the images of some folders, and write their contact sheet.

    Parameters
    ----------
    config : Config or None
        How to segment, and the archives whose tables say how many pixels make a reference pixel.
        None for the defaults.
    folders : sequence of Path
    wanted : Wanted
        Its limit counts.
    output : Output
    reporter : Reporter

    Raises
    ------
    ConfigurationError
        A folder is not there, there are no images, or the sheet would be written into a folder of
        them.
    PlaceError
        A folder cannot be read, or the sheet cannot be written there.
    """
    from anabatch.config import ScanConfig, SegmentConfig

    scan, segment = (config.scan, config.segment) if config else (ScanConfig(), SegmentConfig())
    archives = config.archives if config else ()
    _refuse_archives(output.sheet, [*folders, *(archive.path for archive in archives)])
    with reading(*folders):
        chosen = choose_images(folders, limit=wanted.limit, sample=wanted.sample)
    notes = []
    if chosen.left_out:
        which = "a fixed sample is" if wanted.sample else "the files that changed last are"
        notes.append(
            f"{plural(chosen.left_out, 'image')} left out: {which} shown. --limit 0 shows all."
        )
    notes += [f"{problem.relative_path}: {problem.reason}" for problem in chosen.problems]
    threads = config.compute.threads if config else 1
    how = How(segment, threads, scan.max_pixels, partial(_scale, _tables(archives)))
    title = f"Contact sheet, {', '.join(str(folder) for folder in folders)}"
    return _write(cards(chosen.images, how), len(chosen.images), notes, title, output, reporter)


_Table = tuple[Path, "Layout | None", dict[str, float]]


def _tables(archives: Iterable[ArchiveConfig]) -> list[_Table]:
    """Return the archives' folders with what says how many pixels make a reference pixel."""
    return [(a.path.resolve(), _layout(a), a.pixels_per_reference_pixel) for a in archives]


def _layout(archive: ArchiveConfig) -> Layout | None:
    if archive.layout != "auto":
        return load_layout(archive.layout)
    try:
        return detect_layout(archive.path)
    except AmbiguousLayoutError:
        return None  # the user's own table is what is left


def _scale(tables: list[_Table], path: Path, width: int, height: int) -> tuple[float, bool]:
    for root, layout, own in tables:
        if path.resolve().is_relative_to(root):
            if layout is not None:
                return layout.reference_pixels(width, height, own)
            size = f"{width}x{height}"
            return own.get(size, 1.0), size in own
    return 1.0, False


def _refuse_archives(sheet: Path, folders: Iterable[Path]) -> None:
    """Refuse to write where images are only ever read."""
    for folder in folders:
        if sheet.absolute().is_relative_to(folder.absolute()):
            what = f"the sheet {sheet} would lie in {folder}, which is only read"
            raise ConfigurationError(what, "Name another place with --out.")


def _opened(output: Output, title: str) -> Sheet:
    """Return a sheet that can be written where it is to lie: drawing it takes long."""
    with writing(output.sheet):
        if output.sheet.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output.sheet))
    with writing(output.sheet.parent):  # where a draft lies until it is done
        return Sheet(output.sheet, title=title)


def _write(
    shown: Iterator[Card],
    total: int,
    notes: Sequence[str],
    title: str,
    output: Output,
    reporter: Reporter,
) -> Path:
    """Write cards as they come, and say where they went."""
    for note in notes:
        reporter.warn("contact-sheet", note)
    with _opened(output, title) as sheet, reporter.progress("contact sheet", total) as advance:
        with writing(output.pages):
            pages = Pages(output.pages, output.per_page) if output.per_page else None
        for one in shown:
            sheet.add(one)
            if pages:
                pages.add(one)
            advance()
        if pages:
            pages.finish()
        sheet.finish(notes)
    text = f"contact sheet of {plural(total, 'field')}: {output.sheet}"
    reporter.say("contact-sheet", text, path=str(output.sheet), fields=total)
    if pages:
        text = f"{plural(pages.written, 'page')} in {output.pages}"
        reporter.say("pages", text, path=str(output.pages), pages=pages.written)
    return output.sheet
