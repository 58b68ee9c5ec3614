"""Digests of an archive's exports, of which only those are read that may have changed."""

from __future__ import annotations

import hashlib
import math
import time
from typing import TYPE_CHECKING

from anabatch.store.statcache import Comparison, StatCache

if TYPE_CHECKING:
    from anabatch.config import ArchiveConfig

    from .context import Context

_NAME = "{}@exports"  # no archive can have this name


class ExportDigests:
    """What every export of an archive holds.

    Parameters
    ----------
    context : Context
    archive : ArchiveConfig
    """

    def __init__(self, context: Context, archive: ArchiveConfig) -> None:
        settings = context.config.scan
        self._root = archive.path
        self._files = {file.relative_path: file for file in context.listing(archive).exports}
        self._cache = StatCache.load(context.store.root, _NAME.format(archive.name))
        self._comparison = Comparison(settings.ignore_inode, settings.ignore_ctime)
        known = [path for path in self._files if self._is_known(path)]
        count = math.ceil(settings.rehash_share * len(known))
        self._known = set(known) - set(self._cache.oldest(known, count))

    def of(self, path: str) -> str:
        """Return the SHA-256 of a listed export, or why it cannot be read."""
        if path not in self._known:
            began = time.time_ns()
            try:
                data = (self._root / path).read_bytes()
            except OSError as error:
                return f"unreadable: {error.strerror}"
            self._cache.put(self._files[path], hashlib.sha256(data).hexdigest(), began)
            self._known.add(path)
        return self._cache.entries[path].sha256

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
