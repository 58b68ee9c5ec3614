"""Places of an archive where something is amiss: images gone, unreadable folders, unfinished files."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from anabatch.archive.walk import is_below
from anabatch.errors import GuardError
from anabatch.store.actions import DEFERRED, FAILED, OK, Action
from anabatch.store.keys import action_key
from anabatch.store.live import LIST, SCAN

from .stale import UNREAD

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .context import Context
    from .stale import ArchiveFiles

_FEW = 3
"""Fewer images than these are taken for deleted on purpose, unless they are all."""

_MOUNTED = "Is the disk mounted? If the images were deleted on purpose: --accept-vanished."
_ANOTHER = "If this is another archive, give it another name."
_WHOLE = (
    "Is the disk mounted, and whole? Put good copies in their place; if they are meant to go: "
    "--accept-vanished."
)
_REASONS_SHOWN = 3


def gone(context: Context, files: ArchiveFiles) -> list[Action]:
    """Return the archive's acquisitions whose file is no longer there.

    Absence is judged only where the listing met no problem: what cannot be looked at is not gone.

    Raises
    ------
    GuardError
        All are gone at once, or more than the share that is allowed: an empty mount point, or
        another folder under a known name.
    """
    known = [a for a in context.store.state.stage(SCAN) if a.archive == files.archive.name]
    away = [a for a in known if a.fact("relative_path") not in files.here]
    lost = [a for a in away if not is_below(str(a.fact("relative_path")), files.blind)]
    if not context.accept_vanished:
        _guard(context, files.archive.name, len(known), len(away), len(lost))
    return [action for action in lost if context.wanted(action.date)]


def _guard(context: Context, name: str, known: int, away: int, lost: int) -> None:
    if known and away == known:
        what = f"none of the {known} known images of archive {name} is there"
        raise GuardError(what, f"{_MOUNTED} {_ANOTHER}")
    if lost >= _FEW and lost > context.config.guards.vanished_share * known:
        what = f"{lost} of the {known} known images of archive {name} are gone"
        raise GuardError(what, _MOUNTED)


def whole_images(context: Context) -> dict[str, set[str]]:
    """Return the acquisitions that are whole images, by archive."""
    found: dict[str, set[str]] = defaultdict(set)
    for action in context.store.state.stage(SCAN):
        if action.outcome == OK:
            found[action.archive].add(action.unit)
    return found


def refuse_bad_images(
    context: Context, whole: Mapping[str, set[str]], gone: Iterable[Action]
) -> None:
    """Stop a run that would take away too many images, of which some have turned bad.

    Parameters
    ----------
    context : Context
        With the rows of this run in its state, and what is gone not yet taken out.
    whole : mapping
        The acquisitions that were whole images before, by archive.
    gone : iterable of Action
        Acquisitions that the run would take out.

    Raises
    ------
    GuardError
        They are all, or more than the share that is allowed.
    """
    if context.accept_vanished:
        return
    taken = {action.unit for action in gone}
    for name, units in whole.items():
        rows = [context.store.state.get(SCAN, unit) for unit in sorted(units)]
        bad = [row for row in rows if row and row.outcome == FAILED and row.unit not in taken]
        lost = len(units & taken) + len(bad)
        allowed = context.config.guards.vanished_share * len(units)
        if bad and (lost == len(units) or (lost >= _FEW and lost > allowed)):
            why = Counter(str(row.reason).partition(". ")[0] for row in bad)
            named = "; ".join(f"{text} ({n})" for text, n in why.most_common(_REASONS_SHOWN))
            what = (
                f"of the {len(units)} images of archive {name} that were whole, {len(bad)} are so "
                f"no longer, and {lost - len(bad)} are gone: {named}"
            )
            raise GuardError(what, _WHOLE)


def refuse_lost_exports(
    context: Context, archive: str, known: Collection[str], lost: Collection[str]
) -> None:
    """Stop a run that would take away the labels of too many exports.

    Parameters
    ----------
    context : Context
    archive : str
        The archive's name.
    known, lost : collection of str
        Relative paths of the exports that labels are made of, and of those that are not there.

    Raises
    ------
    GuardError
        All are gone, or more than the share that is allowed.
    """
    allowed = context.config.guards.vanished_share * len(known)
    if context.accept_vanished or not lost:
        return
    if len(lost) < len(known) and (len(lost) < _FEW or len(lost) <= allowed):
        return
    what = f"{len(lost)} of the {len(known)} known exports of archive {archive} are gone"
    raise GuardError(what, _MOUNTED.replace("images", "exports"))


def list_action(
    context: Context,
    files: ArchiveFiles,
    path: str,
    outcome: str,
    reason: str,
    *,
    unread: bool = False,
) -> Action:
    """Return the row of a place that cannot be read, or of a file that waits.

    Parameters
    ----------
    context : Context
    files : ArchiveFiles
    path : str
        Relative path.
    outcome : {'failed', 'deferred'}
    reason : str
    unread : bool
        Whether it is a file that cannot be read now, and of which the row stands.
    """
    place = path.encode("utf-8", "backslashreplace").decode()
    return Action(
        stage=LIST,
        unit=f"{files.archive.name}/{place}",
        key=action_key(outcome=outcome, reason=reason),
        archive=files.archive.name,
        date=files.listing.dates.get(path),
        outcome=outcome,
        reason=reason,
        components={"relative_path": place} | ({UNREAD: True} if unread else {}),
        run=context.run,
    )


def keep_listed(
    context: Context, archives: Iterable[ArchiveFiles], wanted: Iterable[Action]
) -> None:
    """Keep a row of every place that cannot be read and every file that waits, and of no other.

    Parameters
    ----------
    context : Context
    archives : iterable of ArchiveFiles
        The archives of this run; rows of others stay.
    wanted : iterable of Action
        The rows of this run.
    """
    state = context.store.state
    by_unit = {action.unit: action for action in wanted}
    by_name = {files.archive.name: files for files in archives}
    standing = {a.unit: a for a in state.stage(LIST) if a.archive in by_name}
    state.put(
        action
        for unit, action in by_unit.items()
        if unit not in standing or standing[unit].key != action.key
    )
    state.delete(
        action
        for unit, action in standing.items()
        if unit not in by_unit and not _still_waits(by_name[action.archive], action)
    )


def _still_waits(files: ArchiveFiles, action: Action) -> bool:
    """Tell whether a file was deferred, or could not be read, and this run did not get to it."""
    if action.outcome != DEFERRED and not action.fact(UNREAD, None):
        return False
    path = str(action.fact("relative_path"))
    if path in files.here:
        return not files.is_wanted(path)
    return is_below(path, files.blind)
