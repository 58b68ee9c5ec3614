"""Digests of an archive's exports, of which only those are read that may have changed."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from anabatch.stages.exports import PlannedExport, look_at
from anabatch.store.actions import DEFERRED
from anabatch.store.statcache import Comparison, StatCache

from .stale import YOUNG

if TYPE_CHECKING:
    from collections.abc import Collection

    from anabatch.archive.walk import ListedFile
    from anabatch.config import ArchiveConfig

    from .context import Context

_NAME = "{}@exports"  # no archive can have this name


class ExportDigests:
    """What every export of an archive holds.

    Parameters
    ----------
    context : Context
    archive : ArchiveConfig
    awaited : collection of str
        Relative paths of exports for which labels wait: they are read, whatever is known of them.
    """

    def __init__(
        self, context: Context, archive: ArchiveConfig, awaited: Collection[str] = ()
    ) -> None:
        settings = context.config.scan
        listing = context.listing(archive)
        self._root = archive.path
        self._settings = settings
        self._listed_ns = listing.listed_ns
        self._files = {file.relative_path: file for file in listing.exports}
        self._found: dict[str, PlannedExport] = {}
        self._cache = StatCache.load(context.store.root, _NAME.format(archive.name))
        self._comparison = Comparison(settings.ignore_inode, settings.ignore_ctime)
        known = [path for path in self._files if self._is_known(path)]
        count = math.ceil(settings.rehash_share * len(known))
        self._unchanged = set(known)
        self._believed = set(known) - set(self._cache.oldest(known, count)) - set(awaited)

    def of(self, path: str) -> PlannedExport:
        """Return what a listed export holds, or why that is not known; it is read once a run."""
        if path not in self._found:
            self._found[path] = self._look(path)
        return self._found[path]

    def forget(self, path: str) -> None:
        """Believe no longer what was seen of an export: it turned out to hold other bytes."""
        self._cache.keep(lambda other: other != path)

    def _look(self, path: str) -> PlannedExport:
        listed = self._files[path]
        file = listed._replace(inode=0) if self._settings.ignore_inode else listed
        if path in self._believed:
            return PlannedExport(file, self._cache.entries[path].sha256)
        if path not in self._unchanged and self._is_young(listed):
            why = YOUNG.format(self._settings.settle_seconds)
            return PlannedExport(file, why_not=why, outcome=DEFERRED)
        began = time.time_ns()
        _, found = look_at(self._root, file)
        if found.sha256:
            self._cache.put(listed, found.sha256, began)
        return found

    def _is_young(self, file: ListedFile) -> bool:
        seconds = self._settings.settle_seconds
        return self._comparison.is_younger(file, self._listed_ns, seconds)

    def save(self) -> None:
        """Save what was read, for the next run, and forget what is no longer listed."""
        self._cache.keep(self._files.__contains__)
        self._cache.save()

    def _is_known(self, path: str) -> bool:
        entry = self._cache.entries.get(path)
        return (
            entry is not None
            and not self._comparison.difference(entry, self._files[path])
            and not self._comparison.is_racy(entry)
        )
