"""Scan: archives → acquisitions."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.archive.acquisition import acquisition_id
from anabatch.archive.layout import file_date
from anabatch.archive.walk import is_below
from anabatch.compute import task
from anabatch.errors import GuardError
from anabatch.stages.scan import ScanBatch, scan, settings_digest
from anabatch.store.actions import FAILED, OK, Action
from anabatch.store.keys import action_key
from anabatch.store.live import LIST, SCAN

from .images import drop_unshown
from .job import Job

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from anabatch.archive.layout import Layout
    from anabatch.archive.listing import ListedFile, Listing
    from anabatch.config import ArchiveConfig
    from anabatch.store.parts import WrittenPart

    from .context import Context

JOB = Job("scan", reads=("archive",), writes=("acquisitions",), parameters=("archives", "scan"))

_FILES_PER_BATCH = 40


@dataclass(frozen=True)
class ScanPlan:
    """What a scan has to do.

    Attributes
    ----------
    batches : tuple of ScanBatch
        New and changed files.
    gone : tuple of Action
        Acquisitions whose file is no longer there, and problems that are solved.
    problems : tuple of Action
        Places of the archives that could not be read, as failures.
    unchanged : int
        Files that are as they were.
    """

    batches: tuple[ScanBatch, ...]
    gone: tuple[Action, ...]
    problems: tuple[Action, ...]
    unchanged: int


def plan(context: Context) -> ScanPlan:
    """Compare every archive with the ledger, by name, size and time of its files."""
    batches: list[ScanBatch] = []
    gone: list[Action] = []
    problems: list[Action] = []
    unchanged = 0
    for archive in context.config.archives:
        layout = context.layout(archive)
        listing = context.listing(archive)
        _tell(context, archive, layout, listing)
        wanted = [f for f in listing.images if context.wanted(file_date(f.relative_path, layout))]
        stale = _stale(context, archive, layout, wanted)
        unchanged += len(wanted) - len(stale)
        batches += _batches(context, archive, layout, stale)
        gone += _gone(context, archive, listing)
        met = [_problem(context, archive, path, reason) for path, reason in listing.problems]
        standing = {a.unit: a for a in context.store.state.stage(LIST) if a.archive == archive.name}
        problems += [a for a in met if a.unit not in standing or standing[a.unit].key != a.key]
        gone += [standing[unit] for unit in standing.keys() - {a.unit for a in met}]
    return ScanPlan(tuple(batches), tuple(gone), tuple(problems), unchanged)


def graphs(plan: ScanPlan, threads: int) -> Iterator[tuple[ScanBatch, Any]]:
    """Yield one graph a batch; nothing is computed."""
    for batch in plan.batches:
        yield batch, task(scan, batch, threads=threads)


def run(context: Context) -> None:
    """Bring `acquisitions` up to date."""
    found = plan(context)
    state = context.store.state

    def done(_: ScanBatch, part: WrittenPart) -> None:
        state.put(part.actions)

    threads = context.config.compute.threads
    context.execute("scan", graphs(found, threads), len(found.batches), done)
    state.delete(found.gone)
    state.put(found.problems)
    drop_unshown(state)
    files = sum(len(batch.files) for batch in found.batches)
    gone = sum(action.stage == SCAN for action in found.gone)
    context.reporter.say(
        "scanned",
        f"scan: {files} new or changed images, {gone} gone, {found.unchanged} unchanged",
        read=files,
        gone=gone,
        unchanged=found.unchanged,
    )
    _warn_of_sizes(context, found)
    if context.commits:
        context.commit()


def _warn_of_sizes(context: Context, found: ScanPlan) -> None:
    """Name the image sizes for which nobody said how many pixels make a reference pixel."""
    archives = {archive.name: archive for archive in context.config.archives}
    unknown: Counter[tuple[str, int, int]] = Counter()
    read = {(batch.archive, file.relative_path) for batch in found.batches for file in batch.files}
    for action in context.store.state.stage(SCAN):
        facts = action.components
        if action.outcome != OK or (action.archive, facts["relative_path"]) not in read:
            continue
        archive = archives[action.archive]
        own = archive.pixels_per_reference_pixel
        size = (int(facts["width"]), int(facts["height"]))
        if not context.layout(archive).reference_pixels(*size, own)[1]:
            unknown[action.archive, *size] += 1
    for (name, width, height), images in sorted(unknown.items()):
        text = (
            f"archive {name}: {images} images of {width} x {height}: size unknown, one pixel is "
            "taken for one reference pixel; name it in pixels_per_reference_pixel if not"
        )
        context.reporter.warn("size", text, archive=name, width=width, height=height, images=images)


def _tell(context: Context, archive: ArchiveConfig, layout: Layout, listing: Listing) -> None:
    context.reporter.say(
        "listed",
        f"archive {archive.name} ({layout.name}): {len(listing.images)} images, "
        f"{len(listing.exports)} exports, {listing.others} other files",
        archive=archive.name,
        layout=layout.name,
        images=len(listing.images),
        exports=len(listing.exports),
        others=listing.others,
    )
    for path, reason in listing.problems:
        text = f"archive {archive.name}: {path!r}: {reason}"
        context.reporter.warn("problem", text, archive=archive.name, path=path, reason=reason)


def _settings(context: Context, archive: ArchiveConfig, layout: Layout) -> str:
    max_pixels = context.config.scan.max_pixels
    return settings_digest(layout, max_pixels, archive.pixels_per_reference_pixel)


def _stale(
    context: Context, archive: ArchiveConfig, layout: Layout, files: list[ListedFile]
) -> list[ListedFile]:
    """Return the files that are new, or differ from what the ledger knows of them."""
    settings = _settings(context, archive, layout)
    stale = []
    for file in files:
        action = context.store.state.get(SCAN, acquisition_id(archive.name, file.relative_path))
        seen = {"size": file.size, "mtime_ns": file.mtime_ns, "settings": settings}
        if action is None or seen != {name: action.components[name] for name in seen}:
            stale.append(file)
        elif action.components["file_sha256"] is None:
            stale.append(file)  # it could not be read; whether it can be now, only reading tells
    return stale


def _batches(
    context: Context, archive: ArchiveConfig, layout: Layout, files: list[ListedFile]
) -> list[ScanBatch]:
    by_date: dict[dt.date | None, list[ListedFile]] = defaultdict(list)
    for file in files:
        by_date[file_date(file.relative_path, layout)].append(file)
    known = _known(context)
    return [
        ScanBatch(
            store=context.store.root,
            root=archive.path,
            archive=archive.name,
            layout=layout,
            date=date,
            files=tuple(chunk),
            max_pixels=context.config.scan.max_pixels,
            pixels_per_reference_pixel=archive.pixels_per_reference_pixel,
            settings=_settings(context, archive, layout),
            known={k: v for file in chunk for k, v in known.get(file.size, {}).items()},
            sequence=context.next_sequence(),
            run=context.run,
        )
        for date, found in sorted(by_date.items(), key=lambda item: (item[0] is None, str(item[0])))
        for chunk in (
            found[i : i + _FILES_PER_BATCH] for i in range(0, len(found), _FILES_PER_BATCH)
        )
    ]


def _known(context: Context) -> dict[int, dict[str, str]]:
    """Return the image ids of all bytes that the store has seen: by file size, by SHA-256."""
    known: dict[int, dict[str, str]] = defaultdict(dict)
    for action in context.store.state.stage(SCAN):
        facts = action.components
        if facts["image_id"]:
            known[int(facts["size"])][str(facts["file_sha256"])] = str(facts["image_id"])
    return known


def _problem(context: Context, archive: ArchiveConfig, path: str, reason: str) -> Action:
    """Return the failure that keeps a place of an archive in quarantine until it can be read."""
    place = path.encode("utf-8", "backslashreplace").decode()
    return Action(
        stage=LIST,
        unit=f"{archive.name}/{place}",
        key=action_key(reason=reason),
        archive=archive.name,
        outcome=FAILED,
        reason=reason,
        components={"relative_path": place},
        run=context.run,
    )


def _gone(context: Context, archive: ArchiveConfig, listing: Listing) -> list[Action]:
    """Return the archive's acquisitions whose file is no longer there.

    Absence is judged only where the listing met no problem: what cannot be looked at is not gone.

    Raises
    ------
    GuardError
        All are gone at once: an empty mount point, or another folder under a known name.
    """
    here = {acquisition_id(archive.name, file.relative_path) for file in listing.images}
    known = [a for a in context.store.state.stage(SCAN) if a.archive == archive.name]
    if known and all(action.unit not in here for action in known):
        what = f"none of the {len(known)} known images of archive {archive.name} is there"
        remedy = "Is the disk mounted? If this is another archive, give it another name."
        raise GuardError(what, remedy)
    blind = tuple(path for path, _ in listing.problems)
    return [
        action
        for action in known
        if action.unit not in here
        and context.wanted(action.date)
        and not is_below(str(action.components["relative_path"]), blind)
    ]
