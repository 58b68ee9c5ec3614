"""Which files of an archive have to be read, and why."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

from anabatch.archive.acquisition import acquisition_id
from anabatch.archive.walk import is_below
from anabatch.stages.scan import scan_recipe
from anabatch.store.actions import FAILED, OK, Action
from anabatch.store.attempts import Place
from anabatch.store.live import LIST, SCAN
from anabatch.store.recipes import Cause, Reason, difference
from anabatch.store.statcache import Comparison, StatCache

from .standing import TRANSIENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anabatch.archive.listing import ListedFile
    from anabatch.config import ArchiveConfig
    from anabatch.store.recipes import Recipe

    from .context import Context

SHARE = Reason(Cause.INPUT, "other bytes under an unchanged time")
"""Why an unchanged file whose turn it is to be read is not what it was, if it is not."""
UNREAD = "unread"
"""Component of the failure of a file that cannot be read now: what was known of it stands."""
TICK = "it may have been written to right after it was read"
"""Why it is not known what an unchanged file holds."""

YOUNG = "the file changed less than {:g} s before it was listed. The next run looks at it again."


@dataclass(frozen=True, slots=True)
class ToRead:
    """A file that has to be read.

    Attributes
    ----------
    file : ListedFile
    reason : Reason
        Why; for a file that is probably as it was, what it is if it is not.
    expected : frozenset of str
        SHA-256 of bytes whose row is there already, or why the file could not be read.
    """

    file: ListedFile
    reason: Reason
    expected: frozenset[str] = frozenset()


@dataclass
class Found:
    """What is to be done about an archive's files.

    Attributes
    ----------
    fresh : list of ToRead
        Files whose rows are to be made.
    doubtful : list of ToRead
        Files that are probably what they were: only their bytes can tell.
    share : list of ToRead
        Unchanged files whose bytes are read all the same, because it is their turn.
    unchanged : list of ListedFile
        All other files that are what they were.
    adopted : list of Action
        Finished rows of runs that were killed, for bytes that are known.
    young : dict
        Why files are left for the next run, by relative path.
    differences : Counter
        What is different about the files that are doubtful.
    """

    fresh: list[ToRead] = field(default_factory=list)
    doubtful: list[ToRead] = field(default_factory=list)
    share: list[ToRead] = field(default_factory=list)
    unchanged: list[ListedFile] = field(default_factory=list)
    adopted: list[Action] = field(default_factory=list)
    young: dict[str, str] = field(default_factory=dict)
    differences: Counter[str] = field(default_factory=Counter)


class ArchiveFiles:
    """An archive's image files, against the ledger and what was seen of them before.

    A file is what it was if it looks as it did when its bytes were read, and the ledger has a row of
    these bytes by the same recipe.

    Parameters
    ----------
    context : Context
    archive : ArchiveConfig
    """

    def __init__(self, context: Context, archive: ArchiveConfig) -> None:
        self.archive = archive
        self.layout = context.layout(archive)
        self.listing = context.listing(archive)
        paths = [file.relative_path for file in self.listing.images]
        self.cache = StatCache.load(
            context.store.root, archive.name, dict(zip(paths, paths, strict=True))
        )
        self.recipe = scan_recipe(
            self.layout, context.config.scan.max_pixels, archive.pixels_per_reference_pixel
        )
        self.digest = context.use(self.recipe)
        self._context = context
        self._settings = context.config.scan
        self._comparison = Comparison(self._settings.ignore_inode, self._settings.ignore_ctime)
        self._damage = cache(context.damage)
        # no method of this object: that would keep it, and all it holds, after its last use
        self._difference = cache(partial(_recipe_differs, context, self.recipe))

    def is_wanted(self, path: str) -> bool:
        """Whether a listed file's date is within what the run was asked for."""
        return self._context.wanted(self.listing.dates[path])

    @property
    def wanted_images(self) -> int:
        """Number of listed images whose date is wanted."""
        return sum(self.is_wanted(file.relative_path) for file in self.listing.images)

    @cached_property
    def known(self) -> bool:
        """Whether the store knows any image of the archive."""
        scanned = self._context.store.state.stage(SCAN)
        return any(action.archive == self.archive.name for action in scanned)

    @cached_property
    def here(self) -> frozenset[str]:
        """Relative paths of the listed images."""
        return frozenset(file.relative_path for file in self.listing.images)

    @cached_property
    def blind(self) -> tuple[str, ...]:
        """Places that could not be looked at: what lies there is not known to be gone."""
        return tuple(path for path, _ in self.listing.problems)

    @cached_property
    def found(self) -> Found:
        """What is to be done about the files whose date is wanted."""
        found = Found()
        for file in self.listing.images:
            if self.is_wanted(file.relative_path):
                self._sort(file, found)
        self._take_share(found)
        return found

    def _finished(self, path: str) -> list[Action]:
        """Return the finished rows of a file by this recipe, whatever its bytes."""
        place = Place(self.archive.name, self.listing.dates[path])
        return self._context.finished.scanned(self._unit(path), self.digest, place)

    def finished(self, path: str, sha256: str) -> Action | None:
        """Return a finished row for a file of these bytes that the ledger does not name."""
        rows = self._finished(path)
        return next((row for row in rows if row.fact("file_sha256") == sha256), None)

    def stands(self, path: str, sha256: str) -> bool:
        """Tell whether the ledger has a whole row of these bytes by the same recipe."""
        action = self._context.store.state.get(SCAN, self._unit(path))
        return (
            action is not None
            and action.fact("file_sha256") == sha256
            and action.fact("recipe", None) == self.digest
            and not self._damage(action.part)
        )

    def is_whole(self, path: str) -> bool:
        """Whether a file has the row of a whole image, and that row can be read."""
        action = self._context.store.state.get(SCAN, self._unit(path))
        return action is not None and action.outcome == OK and not self._damage(action.part)

    @cached_property
    def _unread(self) -> dict[str, str]:
        """Why files could not be read when they were last to be, by relative path."""
        return {
            str(action.fact("relative_path")): action.reason or ""
            for action in self._context.store.state.stage(LIST)
            if action.archive == self.archive.name and action.fact(UNREAD, None)
        }

    def as_read(self, file: ListedFile) -> ListedFile:
        """Return a file as the comparison with what is read takes it."""
        return file._replace(inode=0) if self._settings.ignore_inode else file

    def images_of(self, sizes: Iterable[int]) -> dict[str, str]:
        """Return the image ids of all bytes of some sizes that the store has seen, by SHA-256."""
        return {k: v for size in sizes for k, v in self._images.get(size, {}).items()}

    @cached_property
    def _images(self) -> dict[int, dict[str, str]]:
        known: dict[int, dict[str, str]] = defaultdict(dict)
        for action in self._context.store.state.stage(SCAN):
            facts = action.components
            if facts["image_id"]:
                known[int(facts["size"])][str(facts["file_sha256"])] = str(facts["image_id"])
        return known

    def forget_what_is_gone(self) -> None:
        """Drop files from the stat cache that are no longer listed."""
        self.cache.keep(lambda path: path in self.here or is_below(path, self.blind))

    def _sort(self, file: ListedFile, found: Found) -> None:
        """Put a file where it belongs."""
        path = file.relative_path
        sha256, unlike = self._known_bytes(file)
        wanted = self._to_read(file, sha256, unlike)
        if wanted is None and path in self._unread:
            retry = Reason(Cause.RETRY, self._unread[path])
            found.doubtful.append(ToRead(file, retry, frozenset({str(sha256)})))
        elif wanted is None:
            found.unchanged.append(file)
        elif sha256 is not None and (row := self.finished(path, sha256)):
            found.adopted.append(row)
        elif self._is_young(file):
            found.young[path] = YOUNG.format(self._settings.settle_seconds)
        elif wanted.expected:
            found.doubtful.append(wanted)
            found.differences[unlike] += 1
        else:
            finished = self._finished(path)
            known = frozenset(str(row.fact("file_sha256")) for row in finished)
            found.fresh.append(ToRead(file, wanted.reason, known))

    def _known_bytes(self, file: ListedFile) -> tuple[str | None, str]:
        """Return the digest of a file's bytes if nothing speaks against it, or None and what does."""
        entry = self.cache.entries.get(file.relative_path)
        if entry is None:
            return None, "not known to the stat cache"
        if unlike := self._comparison.difference(entry, file):
            return None, unlike
        if self._comparison.is_racy(entry):
            return None, TICK
        return entry.sha256, ""

    def _to_read(self, file: ListedFile, sha256: str | None, unlike: str) -> ToRead | None:
        """Return why a file has to be read, and what is expected of it; None if it is what it was."""
        action = self._context.store.state.get(SCAN, self._unit(file.relative_path))
        if reason := self._whatever_the_bytes(action):
            return ToRead(file, reason)
        facts = action.components if action else {}
        before, size = facts["file_sha256"], facts["size"]
        if before is None:
            why_not = str(action.reason) if action else ""
            return ToRead(file, Reason(Cause.RETRY, why_not), frozenset({why_not}))
        if sha256 is not None:
            same = sha256 == before
            return None if same else ToRead(file, Reason(Cause.INPUT, "other bytes"))
        if size != file.size:
            return ToRead(file, Reason(Cause.INPUT, f"size {size} -> {file.size}"))
        return ToRead(file, Reason(Cause.INPUT, unlike), frozenset({before}))

    def _whatever_the_bytes(self, action: Action | None) -> Reason | None:
        """Return why a row is made anew, whatever the file holds; None if that depends on its bytes."""
        if action is None:
            return Reason(Cause.NEW)
        if other := self._difference(action.fact("recipe", None)):
            return other
        if damage := self._damage(action.part):
            return Reason(damage, str(action.part))
        if action.outcome == FAILED and action.fact(TRANSIENT, None):
            return Reason(Cause.RETRY, action.reason or "")
        return None

    def _take_share(self, found: Found) -> None:
        """Take the share of the unchanged files whose turn it is to be read."""
        share = self._settings.rehash_share
        count = max(1, math.ceil(share * len(found.unchanged))) if share else 0
        by_path = {file.relative_path: file for file in found.unchanged}
        for path in self.cache.oldest(by_path, count):
            expected = frozenset({self.cache.entries[path].sha256})
            found.share.append(ToRead(by_path.pop(path), SHARE, expected))
        found.unchanged = list(by_path.values())

    def _is_young(self, file: ListedFile) -> bool:
        seconds = self._settings.settle_seconds
        return self._comparison.is_younger(file, self.listing.listed_ns, seconds)

    def _unit(self, path: str) -> str:
        return acquisition_id(self.archive.name, path)


def _recipe_differs(context: Context, now: Recipe, digest: str | None) -> Reason | None:
    return difference(context.recipe(digest), now)
