"""Whether a store still is what was written: every part, every file, every byte of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from anabatch.errors import PartCorruptError, StoreNotFoundError
from anabatch.store.damage import Damage, read_damage
from anabatch.store.inspection import Fault, Finding, Inspection, inspect
from anabatch.store.leases import horizon
from anabatch.store.ledger import LOG
from anabatch.store.ledger_log import file_sets
from anabatch.store.live import ANNOTATE, CELLS, CLUSTER, EMBED, FEATURIZE, SCAN, SEGMENT
from anabatch.store.retention import attempts, needed
from anabatch.store.root import LEDGER, open_store
from anabatch.store.seals import inspect_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anabatch.store.actions import Action
    from anabatch.store.root import Store

Draw = Callable[[str, str], bool]
"""Whether the bytes of a file are read, by its part and its name."""

_UNITS = {
    SCAN: "images",
    ANNOTATE: "dates",
    SEGMENT: "images",
    CELLS: "images",
    FEATURIZE: "cell parts",
    EMBED: "cell parts",
    CLUSTER: "cell parts",
}
_AGAIN = "Restore it from a backup and verify again; else `anabatch run` computes it anew."
_OLDER = "Restore it from a backup, or leave it until `anabatch gc` takes it away."
_DELETE = "Nothing reads it: look what it is, and delete it."
_LEDGER = "Restore the ledger's folder from a backup. If only its newest commit was torn, the next run mends it."


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the store that is not as it was written.

    Attributes
    ----------
    part : str
        The part, relative to the store, or `ledger`.
    file : str
        The file, relative to the part.
    fault : Fault
    detail : str
        What was found.
    depends : str
        What hangs on it, in words.
    remedy : str
        What to do about it.
    """

    part: str
    file: str
    fault: Fault
    detail: str
    depends: str
    remedy: str


@dataclass
class Verification:
    """What a verification looked at, and what it found.

    Attributes
    ----------
    version : int or None
        The version that was verified; None where the ledger cannot be read.
    share : float
        Share of the parts' bytes that was to be read.
    seed : int
        By what the files to be read were drawn.
    parts, files : int
        How many were looked at.
    size, read : int
        Bytes of these files and of the manifests, and how many of them were compared with their digests.
    problems : list of Problem
    leftovers : list of str
        Folders of parts that no version names: unfinished, or not adopted yet. No damage.
    damaged : dict
        Parts that cannot be read, to `MISSING` or `CORRUPT`.
    whole, sized : set of str
        Parts without any fault, and parts of which no file is missing or of another size.
    """

    version: int | None
    share: float
    seed: int
    parts: int = 0
    files: int = 0
    size: int = 0
    read: int = 0
    problems: list[Problem] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    sized: set[str] = field(default_factory=set)

    def count(self, found: Inspection) -> None:
        """Count what was looked at."""
        self.files += len(found.sizes)
        self.size += sum(found.sizes.values()) + found.manifest
        self.read += found.read

    def judge(self, part: str, found: Inspection) -> None:
        """Note what an inspection says of a part."""
        faults = {finding.fault for finding in found.findings} - {Fault.EXTRA}
        if faults:
            missing = faults == {Fault.MISSING}
            self.damaged[part] = (Damage.MISSING if missing else Damage.CORRUPT).value
        else:
            self.sized.add(part)
            if self.share >= 1:
                self.whole.add(part)


def verify(
    root: Path,
    *,
    share: float,
    seed: int = 0,
    all_versions: bool = False,
    workers: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Compare a store with what was written.

    The ledger is always read whole. Of the parts, manifests and the sizes of all files are
    compared, and of a share of the files, drawn at random, every byte.

    Parameters
    ----------
    root : Path
        The store's folder. It is not locked: one version is verified.
    share : float
        Share of the bytes of the parts that is read, 0 to 1.
    seed : int
        Another seed draws other files.
    all_versions : bool
        Whether to verify the parts of all versions that are kept, and not only of the newest.
    workers : int
        Threads that look at parts.
    advance : callable
        Called for every part that was looked at, with how many there are.

    Returns
    -------
    Verification

    Raises
    ------
    StoreNotFoundError
        There is no store.
    StoreError
        This user may not read all of it.
    PartCorruptError
        The list of damaged parts cannot be read.
    """
    known = read_damage(root)
    try:
        store = open_store(root)
    except PartCorruptError as error:
        return _unreadable(root, error, Verification(None, share, seed))
    found = Verification(store.version, share, seed)
    with store:
        oldest = horizon(root)
        named = _by_part(store)
        older = _verify_ledger(root, store.version, found) - named.keys()
        if all_versions:
            named |= {path: [] for path in sorted(older)}
        # only to learn whether they are whole again
        unnamed = [path for path in known if path not in named and (root / path).is_dir()]
        paths = [*named, *(unnamed if share >= 1 else [])]
        digests = {path: _digests(actions) for path, actions in named.items()}
        for path, inspection in _looks(root, paths, digests, found, workers):
            advance(len(paths))
            found.judge(path, inspection)
            if path in named:
                found.parts += 1
                found.count(inspection)
                found.problems += _problems(path, inspection, named[path])
        if horizon(root) != oldest:  # what was not found may have been taken away meanwhile
            _forget_what_went(root, store.version, named, found)
    return found


def _by_part(store: Store) -> dict[str, list[Action]]:
    """Return the actions of every part that the state names, by its path."""
    by_part: dict[str, list[Action]] = defaultdict(list)
    for action in store.state.actions():
        if action.part:
            by_part[action.part].append(action)
    return dict(sorted(by_part.items()))


def _digests(actions: Sequence[Action]) -> frozenset[str]:
    return frozenset(str(action.part_digest) for action in actions)


def _verify_ledger(root: Path, version: int, found: Verification) -> set[str]:
    """Verify the ledger and look for leftovers; return the parts of all versions that are kept."""
    kept = range(min(horizon(root), version), version + 1)
    named: set[str] = set()
    data: set[str] = set()
    failed: Finding | None = None
    try:
        for number, files in file_sets(root / LEDGER, version):
            data |= files if number in kept else set()
        named, _ = needed(root, kept)
    except (PartCorruptError, StoreNotFoundError) as error:
        failed = Finding("", Fault.UNREADABLE, error.what)
    inspection = inspect_ledger(root / LEDGER, version, data)
    found.count(inspection)
    findings = inspection.findings + ([failed] if failed else [])
    found.problems += [_of_ledger(finding) for finding in findings]
    if not failed:
        paths = (folder.relative_to(root).as_posix() for folder in attempts(root))
        found.leftovers += [path for path in paths if path not in named]
    return named


def _unreadable(root: Path, error: PartCorruptError, found: Verification) -> Verification:
    """Say what is wrong with a ledger that cannot be read."""
    ledger = root / LEDGER
    commits = sorted((ledger / LOG).glob("[0-9]" * 20 + ".json"))
    data = {path.name for path in ledger.glob("*.parquet")}
    if commits:
        inspection = inspect_ledger(ledger, int(commits[-1].stem), data)
        found.count(inspection)
        found.problems += [_of_ledger(finding) for finding in inspection.findings]
    found.problems.append(_of_ledger(Finding("", Fault.UNREADABLE, error.what)))
    return found


def _of_ledger(finding: Finding) -> Problem:
    return Problem(LEDGER, finding.file, finding.fault, finding.detail, "the whole store", _LEDGER)


def _looks(
    root: Path,
    paths: list[str],
    digests: dict[str, frozenset[str]],
    found: Verification,
    workers: int,
) -> Iterator[tuple[str, Inspection]]:
    """Inspect parts and read the share of their bytes; yield what was found of each, in order."""
    with ThreadPoolExecutor(workers) as pool:

        def look(paths: list[str], draw: Draw) -> Iterator[tuple[str, Inspection]]:
            def one(path: str) -> Inspection:
                expected = digests.get(path, frozenset())
                return inspect(root, path, expected, lambda name: draw(path, name))

            return zip(paths, pool.map(one, paths), strict=True)

        if not 0 < found.share < 1:
            yield from look(paths, lambda *_: found.share >= 1)
            return
        sizes = {
            (path, name): size
            for path, inspection in look(paths, lambda *_: False)
            for name, size in inspection.sizes.items()
        }
        drawn = draw_files(sizes, found.share, found.seed)
        yield from look(paths, lambda path, name: (path, name) in drawn)


def draw_files(sizes: dict[tuple[str, str], int], share: float, seed: int) -> set[tuple[str, str]]:
    """Draw files until they make up a share of all bytes.

    A file is read as a whole, since its digest is of the whole; the last one drawn goes beyond the
    share. Which ones depends on the seed and on their names alone.

    Parameters
    ----------
    sizes : dict
        (part, file) to bytes.
    share : float
    seed : int
    """
    left = share * sum(sizes.values())
    drawn: set[tuple[str, str]] = set()
    for file in sorted(sizes, key=lambda file: _rank(seed, file)):
        if left <= 0:
            break
        drawn.add(file)
        left -= sizes[file]
    return drawn


def _rank(seed: int, file: tuple[str, str]) -> bytes:
    return blake2b("\0".join((str(seed), *file)).encode(), digest_size=8).digest()


def _problems(path: str, inspection: Inspection, actions: Sequence[Action]) -> Iterator[Problem]:
    for finding in inspection.findings:
        again = _AGAIN if actions else _OLDER
        remedy = _DELETE if finding.fault is Fault.EXTRA else again
        yield Problem(
            path, finding.file, finding.fault, finding.detail, _dependents(actions), remedy
        )


def _dependents(actions: Sequence[Action]) -> str:
    """Say what hangs on a part: stages, how much of each, and dates."""
    if not actions:
        return "older versions alone"
    counts = Counter(action.stage for action in actions)
    stages = [f"{stage} of {n} {_UNITS.get(stage, 'units')}" for stage, n in counts.items()]
    dates = sorted({action.date.isoformat() for action in actions if action.date})
    span = f" ({dates[0]}{f' to {dates[-1]}' if dates[1:] else ''})" if dates else ""
    return f"{', '.join(stages)}{span}, and all that is made of it"


def _forget_what_went(
    root: Path, version: int, named: dict[str, list[Action]], found: Verification
) -> None:
    """Drop the problems of parts that only versions needed that are no longer kept."""
    parts, _ = needed(root, range(horizon(root), version + 1))
    gone = {path for path, actions in named.items() if not actions} - parts
    found.problems = [problem for problem in found.problems if problem.part not in gone]
    found.damaged = {part: kind for part, kind in found.damaged.items() if part not in gone}
