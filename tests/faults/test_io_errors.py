"""The disk fails or fills up at any call: the run ends with 74, and the next one ends where it would have."""

import errno
import random
import re
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
    """Whether a run may go on: a draft stays that is in nobody's way, a folder is there already."""
    return kind.startswith(("unlink ", "mkdir "))


@pytest.fixture(scope="module")
def kinds(driver, few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted")
    config = tiny_config(few, folder / "store-0")
    driver.run(config, watched=str(config.store), log=str(folder / "log"))
    return kinds_of_calls(folder / "log")


def fail_at_calls(driver, few, undisturbed, tmp_path, kinds, *, at_most, seed):
    """Let one call of every kind fail, alone or with all writes after it; return how many did."""
    rng = random.Random(seed)  # noqa: S311 (nothing secret)
    chosen = sorted(kinds) if at_most >= len(kinds) else rng.sample(sorted(kinds), at_most)
    for number, kind in enumerate(chosen):
        place = rng.choice(kinds[kind])
        mode, code = ((FAIL, errno.EIO), (FULL, errno.ENOSPC))[number % 2]
        config = tiny_config(few, tmp_path / f"store-{number}")
        ended = driver.run(config, watched=str(config.store), mode=mode, at=place, code=code)
        where = (kind, place, mode)
        assert ended.code == DISK or (is_tolerated(kind) and ended.code == 0), (where, ended.output)
        if ended.committed:
            left = anabatch.open_store(config.store)
            assert left.version >= max(ended.committed), where
        again = driver.run(config)
        assert again.code == 0, (where, again.output)
        assert everything(anabatch.open_store(config.store)) == undisturbed, where
    return len(chosen)


def test_an_error_of_the_disk_at_any_call_ends_with_74(driver, few, undisturbed, tmp_path, kinds):
    done = fail_at_calls(driver, few, undisturbed, tmp_path, kinds, at_most=QUICK, seed=1)
    assert done == QUICK


@pytest.mark.slow
def test_an_error_of_the_disk_at_every_kind_of_call_ends_with_74(
    driver, few, undisturbed, tmp_path, kinds, results
):
    done = fail_at_calls(driver, few, undisturbed, tmp_path, kinds, at_most=SLOW, seed=2)
    assert done == len(kinds) > 100
    figures = {"kinds of calls that failed": done, "runs that went on as if nothing were": 0}
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
