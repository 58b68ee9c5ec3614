"""The disk fails or fills up at any call: the run ends with 74, and the next one ends where it would have."""

import errno
import random
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from breaking import FAIL, FULL
from tiny import everything, tiny_config

import anabatch

DISK = 74
SLOW, QUICK = 10_000, 8
_CHANGING = re.compile(r"[0-9a-f-]{8,}|\d{8}T\w+")


def kinds_of_calls(log: Path) -> dict[str, list[int]]:
    """Sort a run's calls by what they do to which file, its random names aside."""
    kinds: dict[str, list[int]] = {}
    for number, line in enumerate(log.read_text().splitlines(), 1):
        kind = _CHANGING.sub("*", line.partition(" ")[2])
        kinds.setdefault(kind, []).append(number)
    return kinds


def is_tolerated(kind: str) -> bool:
    """Whether a run may go on after one failure.

    A draft stays that is in nobody's way; a folder is there already; zipfile opens a second time.
    """
    return kind.startswith(("unlink ", "mkdir ")) or (
        kind.startswith("open ") and kind.endswith(".npz")
    )


@pytest.fixture(scope="module")
def kinds(driver, few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted")
    config = tiny_config(few, folder / "store-0")
    driver.run(config, watched=str(config.store), log=str(folder / "log"))
    return kinds_of_calls(folder / "log")


def fail_at_calls(driver, few, undisturbed, tmp_path, kinds, *, at_most, seed):
    """Let one call of every kind fail, alone or with all writes after it; return what came of it."""
    rng = random.Random(seed)  # noqa: S311 (nothing secret)
    chosen = sorted(kinds) if at_most >= len(kinds) else rng.sample(sorted(kinds), at_most)
    figures = Counter({"kinds of calls that failed": len(chosen)})
    wrong = []
    for number, kind in enumerate(chosen):
        place = rng.choice(kinds[kind])
        mode, code = ((FAIL, errno.EIO), (FULL, errno.ENOSPC))[number % 2]
        config = tiny_config(few, tmp_path / f"store-{number}")
        ended = driver.run(config, watched=str(config.store), mode=mode, at=place, code=code)
        again = driver.run(config)
        figures["runs that ended with 74"] += ended.code == DISK
        figures["runs that could do without"] += ended.code == 0
        if ended.code != DISK and not (is_tolerated(kind) and ended.code == 0):
            wrong.append((kind, mode, ended.code, ended.output))
        elif again.code:
            wrong.append((kind, mode, "again", again.output))
        elif everything(anabatch.open_store(config.store)) != undisturbed:
            wrong.append((kind, mode, "another store", ""))
        shutil.rmtree(config.store)
    assert wrong == []
    return figures


def test_an_error_of_the_disk_at_any_call_ends_with_74(driver, few, undisturbed, tmp_path, kinds):
    figures = fail_at_calls(driver, few, undisturbed, tmp_path, kinds, at_most=QUICK, seed=1)
    assert figures["runs that ended with 74"] > QUICK / 2


@pytest.mark.slow
def test_an_error_of_the_disk_at_every_kind_of_call_ends_with_74(
    driver, few, undisturbed, tmp_path, kinds, results
):
    figures = fail_at_calls(driver, few, undisturbed, tmp_path, kinds, at_most=SLOW, seed=2)
    assert figures["runs that ended with 74"] > 100
    results("An error of the disk at one call of every kind; then a run to the end", figures)


def test_a_second_run_that_fails_leaves_the_first_as_it_was(driver, few, tmp_path):
    config = tiny_config(few, tmp_path / "store")
    assert driver.run(config).code == 0
    before = everything(anabatch.open_store(config.store))
    other = tiny_config(few, config.store, segment={"cell_diameter": 130.0})
    accept = "--accept-recompute"
    for place in (30, 60, 150, 400):
        ended = driver.run(
            other, accept, watched=str(config.store), mode=FULL, at=place, code=errno.ENOSPC
        )
        assert ended.code == DISK, (place, ended.output)
        if not ended.committed:
            assert everything(anabatch.open_store(config.store)) == before, place
