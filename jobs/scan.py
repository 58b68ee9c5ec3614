"""Scan: archives → acquisitions."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from anabatch.compute import task
from anabatch.report.text import plural
from anabatch.stages.scan import ScanBatch, ScanResult, give_up, look, scan
from anabatch.store.actions import DEFERRED, FAILED, OK, Action
from anabatch.store.live import SCAN
from anabatch.store.statcache import CTIME, INODE

from .batches import Apart, Blame
from .guards import refuse_recompute
from .images import drop_unshown
from .job import Job
from .places import gone, keep_listed, list_action, refuse_bad_images, whole_images
from .stale import SHARE, ArchiveFiles, ToRead

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Sequence

    from anabatch.store.recipes import Reason

    from .context import Context

JOB = Job("scan", reads=("archive",), writes=("acquisitions",), parameters=("archives", "scan"))

_FILES_PER_BATCH = 40
_FILES_IN_THIS_PROCESS = 400
"""So many files that are probably what they were are read without starting a cluster."""
_SAVE_SECONDS = 30.0


@dataclass(frozen=True)
class ScanPlan:
    """What a scan has to do.

    Attributes
    ----------
    files : tuple of ArchiveFiles
        What is known of every archive's files.
    batches : tuple of ScanBatch
        Files to be read by tasks: new ones, changed ones, and those that may have changed if they
        are many.
    looks : tuple of ScanBatch
        Files to be read in this process: few that may have changed, and the share whose turn it is.
    adopted : tuple of Action
        Finished rows of runs that were killed.
    gone : tuple of Action
        Acquisitions whose file is no longer there.
    problems : tuple of Action
        Places of the archives that could not be read, as failures.
    young : tuple of Action
        Files that changed too shortly ago, as deferred.
    unchanged : int
        Files that are as they were, as far as their names, sizes and times tell.
    reasons : tuple of (archive, date, relative path, Reason)
        Why files are read; of a file that may have changed, it is what speaks for it. The share
        whose turn it is has none.
    """

    files: tuple[ArchiveFiles, ...]
    batches: tuple[ScanBatch, ...]
    looks: tuple[ScanBatch, ...]
    adopted: tuple[Action, ...]
    gone: tuple[Action, ...]
    problems: tuple[Action, ...]
    young: tuple[Action, ...]
    unchanged: int
    reasons: tuple[tuple[str, dt.date | None, str, Reason], ...]


def plan(context: Context) -> ScanPlan:
    """Compare every archive with the ledger, by name, size and times of its files."""
    every = tuple(ArchiveFiles(context, archive) for archive in context.config.archives)
    for files in every:
        _tell(context, files)
    batches: list[ScanBatch] = []
    looks: list[ScanBatch] = []
    for files in every:
        found = files.found
        many = len(found.doubtful) > _FILES_IN_THIS_PROCESS
        batches += _batches(context, files, found.fresh + (found.doubtful if many else []))
        here = found.share + ([] if many else found.doubtful)
        looks += [_batch(context, files, here)] if here else []
    return ScanPlan(
        files=every,
        batches=tuple(batches),
        looks=tuple(looks),
        adopted=tuple(action for files in every for action in files.found.adopted),
        gone=tuple(action for files in every for action in gone(context, files)),
        problems=tuple(
            list_action(context, files, path, FAILED, reason)
            for files in every
            for path, reason in files.listing.problems
        ),
        young=tuple(
            list_action(context, files, path, DEFERRED, reason)
            for files in every
            for path, reason in files.found.young.items()
        ),
        unchanged=sum(len(files.found.unchanged) + len(files.found.share) for files in every),
        reasons=tuple(
            (files.archive.name, files.listing.dates[path], path, item.reason)
            for files in every
            for item in (*files.found.fresh, *files.found.doubtful)
            for path in (item.file.relative_path,)
        ),
    )


def graphs(batches: Iterable[ScanBatch], threads: int) -> Iterator[tuple[ScanBatch, Any]]:
    """Yield one graph a batch; nothing is computed."""
    for batch in batches:
        yield batch, task(scan, batch, threads=threads)


def run(context: Context) -> None:
    """Bring `acquisitions` up to date."""
    found = plan(context)
    refuse_recompute(context, {(SCAN, f"{a}/{path}"): why for a, _, path, why in found.reasons})
    taking = _Taking(context, found)
    whole = whole_images(context)
    for action in found.adopted:
        context.adopt(action)
    try:
        changed = [batch for looked in found.looks for batch in taking.look(looked)]
        every = (*found.batches, *changed)
        threads = context.config.compute.threads
        context.execute(
            "scan", graphs(every, threads), len(every), taking.take, apart=taking.apart(threads)
        )
    finally:
        taking.save()
    refuse_bad_images(context, whole, found.gone)
    context.store.state.delete(found.gone)
    listed = (*found.problems, *found.young, *taking.deferred, *taking.unread)
    keep_listed(context, found.files, listed)
    drop_unshown(context.store.state)
    _say(context, found, taking)
    _warn_of_sizes(context, taking.made)
    if context.commits:
        context.commit()


class _Taking:
    """Takes over what became of the files that were read.

    Attributes
    ----------
    made : list of Action
        Rows that were made.
    deferred : list of Action
        Files that did not hold still.
    unread : list of Action
        Files that cannot be read now, and whose rows stand.
    """

    def __init__(self, context: Context, found: ScanPlan) -> None:
        self.made: list[Action] = []
        self.deferred: list[Action] = []
        self.unread: list[Action] = []
        self._context = context
        self._files = {files.archive.name: files for files in found.files}
        self._saved = time.monotonic()

    def look(self, batch: ScanBatch) -> list[ScanBatch]:
        """Read files that are probably what they were; return batches of those that are not."""
        result, other = look(batch)
        self.take(batch, result)
        files = self._files[batch.archive]
        asked = {i.file.relative_path: i for i in (*files.found.share, *files.found.doubtful)}
        changed = [asked[file.relative_path] for file in other]
        readable = {seen.file.relative_path for seen in result.seen}
        for item in changed:
            path = item.file.relative_path
            if item.reason == SHARE and path in readable:
                text = (
                    f"archive {batch.archive}: {path!r} has other bytes although its size and "
                    "times are those of before: a failing disk, or a program that sets times back"
                )
                self._context.reporter.warn("rot", text, archive=batch.archive, path=path)
        return _batches(self._context, files, [replace(i, expected=frozenset()) for i in changed])

    def take(self, batch: ScanBatch, result: ScanResult) -> None:
        """Take a batch's rows over, and note which bytes were seen."""
        files = self._files[batch.archive]
        self._context.store.state.put(result.actions)
        self.made += result.actions
        for file, sha256, hashed_ns in result.seen:
            path = file.relative_path
            files.cache.put(file, sha256, hashed_ns)
            if not files.stands(path, sha256) and (row := files.finished(path, sha256)):
                self._context.adopt(row)
        self.deferred += [
            list_action(self._context, files, path, DEFERRED, reason)
            for path, reason in result.deferred
        ]
        self.unread += [
            list_action(self._context, files, path, FAILED, reason, unread=True)
            for path, reason in result.unread
        ]
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def apart(self, threads: int) -> Apart:
        """Return how a batch that fails is taken apart, so that only the guilty file is given up."""

        def split(batch: ScanBatch) -> list[tuple[ScanBatch, Any]]:
            singles = [replace(batch, files=(file,)) for file in batch.files]
            return list(graphs(singles, threads))

        def give_up_one(batch: ScanBatch, blame: Blame) -> None:
            result = give_up(batch, blame.reason)
            marked = [
                replace(a, components=a.components | blame.components) for a in result.actions
            ]
            self.take(batch, replace(result, part=replace(result.part, actions=tuple(marked))))

        return Apart(split, give_up_one)

    def save(self) -> None:
        """Save what was seen, for the archives' next scan, whatever becomes of this one."""
        for files in self._files.values():
            files.forget_what_is_gone()
            files.cache.save()
        self._saved = time.monotonic()


def _say(context: Context, found: ScanPlan, taking: _Taking) -> None:
    waiting = (*found.young, *taking.deferred)
    for action in waiting:
        path = action.components["relative_path"]
        text = f"archive {action.archive}: {path!r} waits: {action.reason}"
        context.reporter.warn("deferred", text, archive=action.archive, path=path)
    for action in taking.unread:
        path = action.components["relative_path"]
        text = f"archive {action.archive}: {path!r}: {action.reason}: what is known of it stands"
        context.reporter.warn("problem", text, archive=action.archive, path=path)
    made, gone = len(taking.made), len(found.gone)
    total = sum(files.wanted_images for files in found.files)
    unchanged = total - made - len(waiting) - len(taking.unread)
    notes = f", {len(waiting)} left for the next run" if waiting else ""
    notes += f", {len(taking.unread)} that cannot be read now" if taking.unread else ""
    context.reporter.say(
        "scanned",
        f"scan: {plural(made, 'new or changed image')}, {gone} gone, {unchanged} unchanged{notes}",
        read=made,
        gone=gone,
        unchanged=unchanged,
        deferred=len(waiting),
        unread=len(taking.unread),
        looked=sum(len(batch.files) for batch in found.looks),
    )


def _warn_of_sizes(context: Context, made: Iterable[Action]) -> None:
    """Name the image sizes for which nobody said how many pixels make a reference pixel."""
    archives = {archive.name: archive for archive in context.config.archives}
    unknown: Counter[tuple[str, int, int]] = Counter()
    for action in made:
        if action.outcome != OK:
            continue
        archive = archives[action.archive]
        own = archive.pixels_per_reference_pixel
        size = (int(action.components["width"]), int(action.components["height"]))
        if not context.layout(archive).reference_pixels(*size, own)[1]:
            unknown[action.archive, *size] += 1
    for (name, width, height), images in sorted(unknown.items()):
        text = (
            f"archive {name}: {plural(images, 'image')} of {width} x {height}: size unknown, one pixel is "
            "taken for one reference pixel; name it in pixels_per_reference_pixel if not"
        )
        context.reporter.warn("size", text, archive=name, width=width, height=height, images=images)


def _tell(context: Context, files: ArchiveFiles) -> None:
    name, layout, listing = files.archive.name, files.layout, files.listing
    context.reporter.say(
        "listed",
        f"archive {name} ({layout.name}): {plural(len(listing.images), 'image')}, "
        f"{plural(len(listing.exports), 'export')}, {plural(listing.others, 'other file')}",
        archive=name,
        layout=layout.name,
        images=len(listing.images),
        exports=len(listing.exports),
        others=listing.others,
    )
    for path, reason in listing.problems:
        text = f"archive {name}: {path!r}: {reason}"
        context.reporter.warn("problem", text, archive=name, path=path, reason=reason)
    if files.cache.lost and files.known:
        text = f"archive {name}: its stat cache {files.cache.lost}: every file is read once more"
        context.reporter.warn("stat_cache", text, archive=name)
    made_up = {kind: files.found.differences[kind] for kind in (INODE, CTIME)}
    kind = max(made_up, key=lambda kind: made_up[kind])
    if made_up[kind] > max(_FILES_IN_THIS_PROCESS, len(listing.images) // 2):
        option = "ignore_inode" if kind == INODE else "ignore_ctime"
        text = (
            f"archive {name}: {made_up[kind]} files differ from before in nothing else: {kind}; if "
            f"the drive makes that up at every mount, set scan.{option}, and they need not be read"
        )
        context.reporter.warn("made_up", text, archive=name, files=made_up[kind])


def _batches(context: Context, files: ArchiveFiles, items: Sequence[ToRead]) -> list[ScanBatch]:
    by_date: dict[dt.date | None, list[ToRead]] = defaultdict(list)
    for item in items:
        by_date[files.listing.dates[item.file.relative_path]].append(item)
    return [
        replace(
            _batch(context, files, chunk),
            date=date,
            known=files.images_of(item.file.size for item in chunk),
            sequence=context.next_sequence(),
        )
        for date, found in sorted(by_date.items(), key=lambda item: (item[0] is None, str(item[0])))
        for chunk in (
            found[i : i + _FILES_PER_BATCH] for i in range(0, len(found), _FILES_PER_BATCH)
        )
    ]


def _batch(context: Context, files: ArchiveFiles, items: Sequence[ToRead]) -> ScanBatch:
    """Return files to be looked at; what only a row needs is left out."""
    return ScanBatch(
        store=context.store.root,
        root=files.archive.path,
        archive=files.archive.name,
        layout=files.layout,
        date=None,
        files=tuple(files.as_read(item.file) for item in items),
        max_pixels=context.config.scan.max_pixels,
        pixels_per_reference_pixel=files.archive.pixels_per_reference_pixel,
        recipe=files.digest,
        expected={item.file.relative_path: item.expected for item in items},
        whole=frozenset(filter(files.is_whole, (item.file.relative_path for item in items))),
        why={item.file.relative_path: str(item.reason) for item in items},
        run=context.run,
    )
