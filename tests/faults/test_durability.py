"""What is on the disk when success is told: a recorder of syncs and renames against the rules.

A file or folder counts as on the disk if it was synced and has not changed since. The rules are those
of a disk that keeps nothing else: names are kept by syncing their folder.
"""

import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tiny
from anabatch.jobs.reporter import Reporter
from cheap import cheap_networks
from running import run_jobs
from tiny import add_images, tiny_config

import anabatch
from anabatch.store import durable, ledger, parts
from anabatch.store import root as root_module

Stamp = tuple[int, ...]


def stamp(path: Path) -> Stamp:
    """Return what changes with a file's content, or with a folder's entries."""
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


@dataclass(frozen=True)
class Event:
    """One call.

    Attributes
    ----------
    kind : {'sync', 'rename', 'commit'}
    path : Path
        What was synced, the new name, or the store's folder.
    stamps : dict
        What it, or everything below its folder for a rename, was like.
    """

    kind: str
    path: Path
    stamps: dict[Path, Stamp] = field(default_factory=dict)
    version: int = -1


class Recorder:
    """Notes syncs, renames and told commits below a folder."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.events: list[Event] = []

    def note(self, kind, path, stamps=None, version=-1):
        if path == self.store.parent or path.is_relative_to(self.store):
            self.events.append(Event(kind, path, stamps or {}, version))


@contextmanager
def recording(store):
    """Yield a recorder of this process."""
    recorder = Recorder(store)
    fsync, rename, move, tell = os.fsync, os.rename, os.replace, Reporter._tell

    def noted_fsync(descriptor):
        fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        recorder.note("sync", path, {path: stamp(path)})

    def noted(real):
        def call(source, target, **options):
            target = Path(target)
            below = {p: stamp(p) for p in [target.parent, *target.parent.rglob("*")]}
            real(source, target, **options)
            recorder.note("rename", target, below | {target: stamp(target)})

        return call

    def noted_tell(self, level, event, text, values):
        if event == "commit":
            recorder.note("commit", store, version=values["version"])
        tell(self, level, event, text, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", noted_fsync)
        patch.setattr(os, "rename", noted(rename))
        patch.setattr(os, "replace", noted(move))
        patch.setattr(Reporter, "_tell", noted_tell)
        yield recorder


class Rules:
    """What must hold of the events of a run."""

    def __init__(self, store: Path, events: list[Event]) -> None:
        self.store = store
        self.events = events
        self.ledger = store / "ledger"

    def check(self):
        """Check all rules.

        Raises
        ------
        AssertionError
            One is broken.
        """
        told = [n for n, event in enumerate(self.events) if event.kind == "commit"]
        assert told, "nothing was committed"
        if self.events[told[0]].version == 1:  # the ledger was made by the same run
            self.check_commit(told[0], 0)
        for number in told:
            self.check_commit(number, self.events[number].version)

    def check_commit(self, told, version):
        self.expect_sync(self.store.parent, 0, told)
        commit = self.ledger / "_delta_log" / f"{version:020d}.json"
        first = self.expect_file(commit, told)
        self.expect_sync(commit.parent, first, told)
        for added in added_by(commit):
            self.expect_file(self.ledger / added, first)
            self.expect_sync(self.ledger, 0, first)
        for part in parts_brought(self.store, version):
            self.check_part(self.store / part, first)

    def check_part(self, part, end):
        """Check that a part was on the disk before some event."""
        renamed = self.renamed(part / "part.json", end)
        if renamed is not None:
            for path, seen in self.events[renamed].stamps.items():
                if path not in (part, part / "part.json") and not path.name.startswith(
                    ".part.json"
                ):
                    self.expect_file(path, renamed, seen)
        start = renamed or 0
        if renamed is not None:
            self.expect_file(part / "part.json", renamed, source=True)
        for folder in [part, *part.parents]:
            self.expect_sync(folder, start, end)
            if folder == self.store:
                break

    def renamed(self, path, end):
        """Return where a file got its name, or None if that was before all this."""
        found = [n for n in range(end) if self.is_at(n, "rename", path)]
        return found[-1] if found else None

    def is_at(self, number, kind, path):
        return self.events[number].kind == kind and self.events[number].path == path

    def expect_file(self, path, end, seen=None, *, source=False):
        """Return where a file or folder was synced for the last time, unchanged since."""
        seen = seen or stamp(path)
        for number in reversed(range(end)):
            for synced, found in self.events[number].stamps.items():
                same = found == seen and (synced == path or source)
                if self.events[number].kind == "sync" and same:
                    return number
        message = f"{path} was not synced as it is"
        raise AssertionError(message)

    def expect_sync(self, folder, start, end):
        """Check that a folder was synced between two events."""
        if not any(self.is_at(number, "sync", folder) for number in range(start, end)):
            message = f"{folder} was not synced in time"
            raise AssertionError(message)


def added_by(commit):
    lines = [json.loads(line) for line in commit.read_text().splitlines()]
    return [line["add"]["path"] for line in lines if "add" in line]


def parts_brought(store, version):
    """Return the parts that a version names and the one before it does not."""

    def named(number):
        actions = anabatch.open_store(store, at=number).state.actions() if number >= 0 else []
        return {action.part for action in actions if action.part}

    return named(version) - named(version - 1)


@pytest.fixture
def config(tmp_path):
    add_images(tmp_path / "DATA", range(2))
    with cheap_networks():
        yield tiny_config(tmp_path / "DATA", tmp_path / "store")


def recorded_run(config):
    with recording(config.store) as recorder:
        run_jobs(config, tiny)
    return recorder.events


def test_all_that_a_commit_names_is_on_the_disk_before_it_is_told(config):
    Rules(config.store, recorded_run(config)).check()
    add_images(
        config.archives[0].path, range(2, 4)
    )  # parents and the ledger's folder are there now
    events = recorded_run(config)
    # the store's own folder was made by the first run
    Rules(config.store, [Event("sync", config.store.parent), *events]).check()


def test_without_any_one_of_the_syncs_the_rules_are_broken(config):
    """So the rules ask for every sync of every file and folder of parts and of the ledger's core."""
    events = recorded_run(config)
    kept = ("parts", "ledger/_delta_log", "ledger/part-")
    paths = {
        event.path
        for event in events
        if event.kind == "sync"
        and str(event.path.relative_to(config.store.parent)).startswith(
            tuple(f"store/{name}" for name in kept)
        )
        and (not event.path.name.startswith(".") or "part.json" in event.path.name)
    }
    assert len(paths) > 50
    needless = []
    for path in sorted(paths):
        without = [e for e in events if not (e.kind == "sync" and e.path == path)]
        with suppress(AssertionError):
            Rules(config.store, without).check()
            needless.append(str(path.relative_to(config.store)))
    assert needless == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (parts, "sync_tree"),
        (parts, "sync_parents"),
        (durable, "sync_file"),
        (durable, "sync_folder"),
        (durable, "make_folder"),
        (ledger, "sync_file"),
        (ledger, "sync_folder"),
    ],
)
def test_code_without_one_of_its_syncs_breaks_the_rules(config, monkeypatch, module, name):
    def nothing(path, *_):
        if name == "make_folder":
            path.mkdir(parents=True, exist_ok=True)

    modules = [module] if name != "make_folder" else [parts, root_module]
    for each in modules:
        monkeypatch.setattr(each, name, nothing)
    if name == "make_folder":  # its parents' syncs are made up for, but for the store's own
        with pytest.raises(AssertionError, match=r"was not synced in time"):
            Rules(config.store, recorded_run(config)).check()
        return
    with pytest.raises(AssertionError, match="synced"):
        Rules(config.store, recorded_run(config)).check()


def test_a_text_that_is_replaced_is_on_the_disk_before_it_has_its_name(tmp_path):
    path = tmp_path / "text"
    with recording(tmp_path) as recorder:
        durable.replace_text(path, "new")
    first, second, third = recorder.events
    assert (first.kind, second.kind, third.kind) == ("sync", "rename", "sync")
    assert list(first.stamps.values()) == [stamp(path)]
    assert (second.path, third.path) == (path, tmp_path)


# What a killed run left unsynced is synced by the run that builds upon it


class Killed(BaseException):
    """In place of SIGKILL: nothing catches it."""


@contextmanager
def without_syncs():
    """Let nothing be synced, as if a run had been killed in front of every sync."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def test_adopted_parts_are_synced_before_they_are_committed(config, monkeypatch):
    def killed(*_, **__):
        raise Killed

    with without_syncs(), monkeypatch.context() as patch:
        patch.setattr(ledger.Ledger, "commit", killed)
        with pytest.raises(Killed):
            run_jobs(config, tiny)
    left = set((config.store / "parts").glob("*/*/*/*/part.json"))
    events = recorded_run(config)
    store = anabatch.open_store(config.store)
    named = {config.store / a.part / "part.json" for a in store.state.actions() if a.part}
    assert len(left & named) > 5
    Rules(config.store, [Event("sync", config.store.parent), *events]).check()


def test_a_commit_that_was_not_told_is_synced_before_the_next(config, monkeypatch):
    """The next one stands upon it: without it the ledger could not be read."""

    def killed(*_, **__):
        raise Killed

    with without_syncs(), monkeypatch.context() as patch:
        patch.setattr(ledger.Ledger, "_sync", killed)
        with pytest.raises(Killed):
            run_jobs(config, tiny)
        patch.undo()
    untold = anabatch.open_store(config.store).version
    events = recorded_run(config)
    commit = config.store / "ledger" / "_delta_log" / f"{untold:020d}.json"
    told = next(n for n, event in enumerate(events) if event.kind == "commit")
    assert events[told].version > untold
    synced = Rules(config.store, events).expect_file(commit, told)
    Rules(config.store, events).expect_sync(commit.parent, synced, told)
