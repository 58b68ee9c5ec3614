"""SIGKILL at any time: what was told to be committed is there, and the next run ends where it would have."""

import os
import random
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from breaking import FAULTS, KILL, TEAR, Driver, Ended
from cheap import draw_tiny
from contents import fingerprint, whole_contents
from tiny import add_images, everything, tiny_config

import anabatch
from anabatch.config import Config
from anabatch.errors import StoreNotFoundError

SLOW_KILLS, QUICK_KILLS = 200, 10
SLOW_PLACES, QUICK_PLACES = 150, 8
_MOST_IMAGES = 12
_KILLED = -9


@dataclass
class Account:
    """What came of all kills."""

    figures: Counter[str] = field(default_factory=Counter)

    def write(self, title: str) -> None:
        """Add a section to the file of results, if one is named."""
        named = os.environ.get("ANABATCH_FAULT_RESULTS")
        if not named:
            return
        lines = [f"\n## {title}\n", *(f"- {name}: {n}" for name, n in self.figures.items())]
        with Path(named).open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")


def parts_of(store):
    return {action.part: action.run for action in store.state.actions() if action.part}


def opened(folder: Path) -> Any:
    """Return the store at its newest version, or None before there is one."""
    try:
        return anabatch.open_store(folder)
    except StoreNotFoundError:
        return None


# One kill at a time, at every kind of call


def places(log: Path, at_most: int) -> list[int]:
    """Choose calls to kill at: all renames and links, and others evenly."""
    calls = [line.split()[1] for line in log.read_text().splitlines()]
    decisive = [n for n, call in enumerate(calls, 1) if call in ("rename", "link", "unlink")]
    rng = random.Random(at_most)  # noqa: S311 (nothing secret)
    if len(decisive) > at_most // 2:
        decisive = rng.sample(decisive, at_most // 2)
    rest = sorted(set(range(1, len(calls) + 1)) - set(decisive))
    return sorted([*decisive, *rng.sample(rest, at_most - len(decisive))])


def killed_at(driver: Driver, config: Config, mode: int, place: int, account: Account) -> None:
    """Kill a first run at a call, see what is left, and let the next run end."""
    ended = driver.run(config, watched=str(config.store), mode=mode, at=place)
    assert ended.code in (_KILLED, 0), ended.output
    account.figures["kills"] += ended.code == _KILLED
    account.figures["commits told before"] += len(ended.committed)
    left = opened(config.store)
    version = left.version if left else -1
    if version < max(ended.committed, default=-1):
        account.figures["acknowledged lost"] += 1
    before = parts_of(left) if left else {}
    again = driver.run(config)
    assert again.code == 0, again.output
    after = parts_of(anabatch.open_store(config.store))
    own = again.events[0]["run"]
    account.figures["parts adopted"] += sum(
        run != own and part not in before for part, run in after.items()
    )


def kill_everywhere(driver, few, undisturbed, tmp_path, *, at_most):
    account = Account(Counter({"kills": 0, "acknowledged lost": 0, "parts adopted": 0}))
    config = tiny_config(few, tmp_path / "counted" / "store")
    log = tmp_path / "log"
    driver.run(config, watched=str(config.store), log=str(log))
    for number, place in enumerate(places(log, at_most)):
        config = tiny_config(few, tmp_path / f"{place}" / "store")
        killed_at(driver, config, (KILL, TEAR)[number % 2], place, account)
        found = everything(anabatch.open_store(config.store))
        for name, expected in undisturbed.items():
            assert found[name] == expected, (place, name)
    assert account.figures["acknowledged lost"] == 0
    assert account.figures["kills"] == at_most
    return account


def test_killed_at_a_call_of_any_kind_the_next_run_makes_the_same_store(
    driver, few, undisturbed, tmp_path
):
    account = kill_everywhere(driver, few, undisturbed, tmp_path, at_most=QUICK_PLACES)
    assert account.figures["parts adopted"] > 0


@pytest.mark.slow
def test_killed_at_many_calls_the_next_run_makes_the_same_store(driver, few, undisturbed, tmp_path):
    account = kill_everywhere(driver, few, undisturbed, tmp_path, at_most=SLOW_PLACES)
    account.write("One kill in a first run, at chosen calls; then one run to the end")


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
        import json

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


def fuzz(driver: Driver, tmp_path: Path, *, kills: int, seed: int) -> Account:
    """Kill runs at random until it is enough; check after every kill, and the store in the end."""
    rng = random.Random(seed)  # noqa: S311 (nothing secret)
    archive = tmp_path / "DATA"
    config = tiny_config(archive, tmp_path / "store")
    figures = Counter(
        {
            "runs": 0,
            "kills": 0,
            "commits": 0,
            "acknowledged lost": 0,
            "readings": 0,
            "torn reads": 0,
        }
    )
    fingerprints: dict[int, str] = {}
    add_images(archive, range(3))
    accepted = ("--accept-vanished", "--accept-recompute")
    with reading(config.store) as seen:
        while figures["kills"] < kills:
            figures["runs"] += 1
            if figures["runs"] % 3 == 0:
                change(archive, rng, figures["runs"])
            ended = one_run(driver, config, accepted, rng)
            assert ended.code in (0, _KILLED), ended.output
            figures["kills"] += ended.code == _KILLED
            figures["commits"] += len(ended.committed)
            for version in ended.committed:
                try:
                    fingerprints[version] = fingerprint(
                        anabatch.open_store(config.store, at=version)
                    )
                except StoreNotFoundError:
                    figures["acknowledged lost"] += 1
    for reading_ in seen:
        figures["readings"] += 1
        version = reading_.get("version")
        known = fingerprints.setdefault(version, reading_.get("fingerprint", ""))
        figures["torn reads"] += "torn" in reading_ or known != reading_["fingerprint"]
    torn = [reading_ for reading_ in seen if "torn" in reading_]
    assert not torn, torn[:3]
    final = driver.run(config, *accepted)
    assert final.code == 0, final.output
    scratch = tiny_config(archive, tmp_path / "scratch")
    assert driver.run(scratch).code == 0
    found, expected = (whole_contents(anabatch.open_store(one.store)) for one in (config, scratch))
    for name, values in expected.items():
        assert found[name] == values, name
    everything(anabatch.open_store(config.store))  # all cells have an embedding and a cluster
    return Account(figures)


def one_run(driver: Driver, config: Config, accepted: tuple[str, ...], rng: random.Random) -> Ended:
    """Start a run, and kill it: after some time, or at some call."""
    if rng.random() < 0.5:
        return driver.begin(config, *accepted).kill(after=rng.uniform(0.02, 2.0))
    mode, place = rng.choice((KILL, TEAR)), rng.randrange(1, 600)
    return driver.run(config, *accepted, watched=str(config.store), mode=mode, at=place)


def expect_nothing_lost(account: Account) -> None:
    assert account.figures["acknowledged lost"] == 0
    assert account.figures["torn reads"] == 0
    assert account.figures["readings"] > 0


def test_ten_kills_while_others_read_lose_nothing(driver, tmp_path):
    expect_nothing_lost(fuzz(driver, tmp_path, kills=QUICK_KILLS, seed=1))


@pytest.mark.slow
def test_two_hundred_kills_while_others_read_lose_nothing(driver, tmp_path):
    account = fuzz(driver, tmp_path, kills=SLOW_KILLS, seed=2)
    expect_nothing_lost(account)
    assert account.figures["commits"] > SLOW_KILLS / 10
    account.write("Kills at random, over a changing archive, while another process reads")
