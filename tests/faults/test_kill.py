"""SIGKILL at any time: what was told to be committed is there, and the next run ends where it would have."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from breaking import FAULTS, KILL, TEAR, Driver, Ended
from cheap import draw_tiny
from contents import whole_contents
from tiny import add_images, everything, expect_whole, seen_in, tiny_config

import anabatch
from anabatch.config import Config
from anabatch.errors import StoreNotFoundError

SLOW_KILLS, QUICK_KILLS = 200, 10
SLOW_PLACES, QUICK_PLACES = 150, 12
_MOST_IMAGES = 12
_KEPT = 6
_KEEP = {"versions": _KEPT, "days": 0.0, "trash_days": 0.0}
ACCEPT = ("--accept-vanished", "--accept-recompute")
_KILLED = -9


def parts_of(store: Any) -> dict[str, str]:
    """Return the parts that a version names, and the runs that made them."""
    return {action.part: action.run for action in store.state.actions() if action.part}


def opened(folder: Path) -> Any:
    """Return the store at its newest version, or None before there is one."""
    try:
        return anabatch.open_store(folder)
    except StoreNotFoundError:
        return None


# One kill at a time, at every kind of call


def places(log: Path, at_most: int) -> list[int]:
    """Choose calls to kill at: those that commit and those right after, then renames, then any."""
    calls = [line.split()[1] for line in log.read_text().splitlines()]
    rng = random.Random(at_most)  # noqa: S311 (nothing secret)
    committing = [n for n, call in enumerate(calls, 1) if call == "link"]
    chosen = {place + after for place in committing for after in (0, 1)}
    renames = [n for n, call in enumerate(calls, 1) if call in ("rename", "unlink")]
    every = range(1, len(calls) + 1)
    for others, share in ((renames, 0.5), (every, 1.0)):
        left = sorted(set(others) - chosen)
        wanted = round((at_most - len(chosen)) * share)
        chosen |= set(rng.sample(left, min(wanted, len(left))))
    return sorted(chosen)


def killed_at(driver: Driver, config: Config, mode: int, place: int, figures: Counter[str]) -> None:
    """Kill a first run at a call, see what is left, and let the next run end."""
    ended = driver.run(config, watched=str(config.store), mode=mode, at=place)
    assert ended.code in (_KILLED, 0), ended.output
    figures["kills"] += ended.code == _KILLED
    figures["commits"] += len(ended.committed)
    left = opened(config.store)
    version = left.version if left else -1
    if version < max(ended.committed, default=-1):
        figures["acknowledged lost"] += 1
    before = parts_of(left) if left else {}
    again = driver.run(config)
    assert again.code == 0, again.output
    after = parts_of(anabatch.open_store(config.store))
    own = again.events[0]["run"]
    figures["parts adopted"] += sum(
        run != own and part not in before for part, run in after.items()
    )


def kill_everywhere(driver, few, undisturbed, tmp_path, *, at_most):
    figures = Counter({"kills": 0, "commits": 0, "acknowledged lost": 0, "parts adopted": 0})
    config = tiny_config(few, tmp_path / "counted")
    log = tmp_path / "log"
    driver.run(config, watched=str(config.store), log=str(log))
    for number, place in enumerate(places(log, at_most)):
        config = tiny_config(few, tmp_path / f"store-{place}")
        killed_at(driver, config, (KILL, TEAR)[number % 2], place, figures)
        found = everything(anabatch.open_store(config.store))
        for name, expected in undisturbed.items():
            assert found[name] == expected, (place, name)
    assert figures["acknowledged lost"] == 0
    assert figures["kills"] == at_most
    return figures


def test_killed_at_a_call_of_any_kind_the_next_run_makes_the_same_store(
    driver, few, undisturbed, tmp_path
):
    figures = kill_everywhere(driver, few, undisturbed, tmp_path, at_most=QUICK_PLACES)
    assert figures["parts adopted"] > 0


@pytest.mark.slow
def test_killed_at_many_calls_the_next_run_makes_the_same_store(
    driver, few, undisturbed, tmp_path, results
):
    figures = kill_everywhere(driver, few, undisturbed, tmp_path, at_most=SLOW_PLACES)
    results(
        "A first run killed once, at a call; then a run to the end, which gives the same", figures
    )


# Kills without end, while others read and the archive changes


class Readers:
    """Processes that read a store all the time."""

    def __init__(self, store: Path, number: int) -> None:
        environment = os.environ | {"PYTHONPATH": str(FAULTS.parent)}
        self._processes = [
            subprocess.Popen(  # noqa: S603 (our own code)
                [sys.executable, str(FAULTS / "reader.py"), str(store)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                start_new_session=True,
            )
            for _ in range(number)
        ]

    def stop(self) -> list[dict[str, Any]]:
        """Have them end, and return what they saw."""
        answers = [process.communicate("", timeout=120)[0] for process in self._processes]
        assert all(process.returncode == 0 for process in self._processes)
        return [json.loads(line) for text in answers for line in text.splitlines()]


@contextmanager
def reading(store, number=1):
    """Yield a list that holds, in the end, what readers saw of a store meanwhile."""
    seen: list[dict[str, Any]] = []
    readers = Readers(store, number)
    try:
        yield seen
    finally:
        seen += readers.stop()


def change(archive: Path, rng: random.Random, number: int) -> None:
    """Let a day pass in an archive: an image comes, another goes or is another one now."""
    add_images(archive, range(number, number + 1))
    there = sorted(archive.rglob("*.jpg"))
    if len(there) > _MOST_IMAGES:
        rng.choice(there[:-1]).unlink()
    elif len(there) > 2 and rng.random() < 0.3:
        draw_tiny(rng.choice(there), 1000 + number)


class Fuzz:
    """Runs that are killed at random over a store that is looked at after every one of them."""

    def __init__(self, driver: Driver, folder: Path, seed: int) -> None:
        self.driver = driver
        self.rng = random.Random(seed)  # noqa: S311 (nothing secret)
        self.archive = folder / "DATA"
        self.config = tiny_config(self.archive, folder / "store", keep=_KEEP)
        self.scratch = tiny_config(self.archive, folder / "scratch")
        names = ("runs", "kills", "commits", "acknowledged lost", "parts adopted")
        self.figures = Counter(dict.fromkeys((*names, "readings", "torn reads"), 0))
        self.fingerprints: dict[int, str] = {}
        self.looked_at = -1
        add_images(self.archive, range(3))

    def go(self, kills: int) -> Counter[str]:
        """Kill so often, and return what came of it."""
        with reading(self.config.store) as seen:
            while self.figures["kills"] < kills:
                self.figures["runs"] += 1
                number = self.figures["runs"]
                if number % 3 == 0:
                    change(self.archive, self.rng, number)
                command = ("gc", "compact")[number // 7 % 2] if number % 7 == 0 else "run"
                self.note(self.one(command))
        self.compare(seen)
        self.end()
        return self.figures

    def one(self, command: str) -> Ended:
        """Start a command, and kill it: after some time, or at some call."""
        more = ACCEPT if command == "run" else ()
        if self.rng.random() < 0.5:
            running = self.driver.begin(self.config, *more, command=command)
            return running.kill(after=self.rng.uniform(0.02, 2.0))
        mode, place = self.rng.choice((KILL, TEAR)), self.rng.randrange(1, 600)
        watched = str(self.config.store)
        return self.driver.run(
            self.config, *more, command=command, watched=watched, mode=mode, at=place
        )

    def note(self, ended: Ended) -> None:
        """Look at what a run left, and whether that is what it told."""
        started = opened(self.config.store)
        assert ended.code in (0, _KILLED) or started is None, ended.output
        self.figures["kills"] += ended.code == _KILLED
        newest = started.version if started else -1
        for version in range(self.looked_at + 1, newest + 1):  # also those that were not told
            expect_whole(anabatch.open_store(self.config.store, at=version))
        self.looked_at = newest
        for version in ended.committed:
            self.figures["commits"] += 1
            try:
                store = anabatch.open_store(self.config.store, at=version)
            except StoreNotFoundError:
                self.figures["acknowledged lost"] += 1
                continue
            self.fingerprints[version] = seen_in(store)
            before = parts_of(anabatch.open_store(self.config.store, at=version - 1))
            own = ended.told("commit")[0]["run"]
            brought = {part: run for part, run in parts_of(store).items() if part not in before}
            self.figures["parts adopted"] += sum(run != own for run in brought.values())

    def compare(self, seen: list[dict[str, Any]]) -> None:
        """Compare what others read with what was there, and what is still kept with what it was."""
        for found in seen:
            self.figures["readings"] += 1
            known = self.fingerprints.setdefault(
                found.get("version", -1), found.get("fingerprint", "")
            )
            self.figures["torn reads"] += "torn" in found or known != found["fingerprint"]
        torn = [found for found in seen if "torn" in found]
        assert not torn, torn[:3]
        newest = anabatch.open_store(self.config.store).version
        for version in range(newest - _KEPT + 1, newest + 1):
            if version in self.fingerprints:
                kept = anabatch.open_store(self.config.store, at=version)
                assert seen_in(kept) == self.fingerprints[version], version

    def end(self) -> None:
        """Let one run end, and compare the store with one that is made from scratch."""
        final = self.driver.run(self.config, *ACCEPT)
        assert final.code == 0, final.output
        verified = self.driver.run(self.config, "--full", command="verify")
        assert verified.code == 0, verified.output
        assert self.driver.run(self.scratch).code == 0
        found, expected = (
            whole_contents(anabatch.open_store(one.store)) for one in (self.config, self.scratch)
        )
        for name, values in expected.items():
            assert found[name] == values, name
        everything(anabatch.open_store(self.config.store))  # all have an embedding and a cluster


def expect_nothing_lost(figures: Counter[str]) -> None:
    assert figures["acknowledged lost"] == 0
    assert figures["torn reads"] == 0
    assert figures["readings"] > 0


def test_ten_kills_while_others_read_lose_nothing(driver, tmp_path):
    expect_nothing_lost(Fuzz(driver, tmp_path, seed=1).go(QUICK_KILLS))


@pytest.mark.slow
def test_two_hundred_kills_while_others_read_lose_nothing(driver, tmp_path, results):
    figures = Fuzz(driver, tmp_path, seed=2).go(SLOW_KILLS)
    expect_nothing_lost(figures)
    assert figures["commits"] > SLOW_KILLS / 10
    assert figures["parts adopted"] > SLOW_KILLS / 10
    results(
        "Runs, `gc` and `compact` killed at random, while images change and others read", figures
    )
