"""The stat cache: what it believes, what it doubts, and that losing it loses nothing else."""

from __future__ import annotations

import errno
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.archive.walk import ListedFile
from anabatch.store.statcache import CTIME, INODE, Comparison, StatCache
from anabatch.store.statentries import Entry

SECOND = 10**9
DAY = 86_400 * SECOND
NOW = 1_700_000_000 * SECOND + 123_456_789
OLD = NOW - 7 * DAY - 1
FILE = ListedFile("20211214/005_SN08030/a.jpg", 100, OLD, OLD + 1, 77)
ENTRY = Entry(100, OLD, OLD + 1, 77, "ab" * 32, NOW)
PLAIN = Comparison()


def seen(mtime_ns, ctime_ns, hashed_ns=NOW):
    return ENTRY._replace(mtime_ns=mtime_ns, ctime_ns=ctime_ns, hashed_ns=hashed_ns)


@pytest.fixture
def cache(tmp_path):
    made = StatCache.load(tmp_path, "drive")
    made.put(FILE, "ab" * 32, NOW)
    made.put(FILE._replace(relative_path="b\nç.jpg"), "cd" * 32, OLD)
    return made


def path_of(root, archive="drive"):
    return root / "cache" / f"stat-{archive}.parquet"


def test_the_same_file_has_no_difference():
    assert PLAIN.difference(ENTRY, FILE) == ""


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"size": 101}, "size 100 -> 101"),
        ({"mtime_ns": OLD - 1}, "time changed"),
        ({"mtime_ns": OLD + 1}, "time changed"),
        ({"ctime_ns": OLD}, CTIME),
        ({"inode": 78}, INODE),
    ],
)
def test_any_difference_is_told(change, difference):
    assert PLAIN.difference(ENTRY, FILE._replace(**change)) == difference


def test_what_the_drive_makes_up_can_be_left_out():
    assert Comparison(ignore_inode=True).difference(ENTRY, FILE._replace(inode=78)) == ""
    assert Comparison(ignore_ctime=True).difference(ENTRY, FILE._replace(ctime_ns=5)) == ""
    assert Comparison(ignore_inode=True).difference(ENTRY, FILE._replace(ctime_ns=5)) == CTIME
    both = Comparison(ignore_inode=True, ignore_ctime=True)
    assert both.difference(ENTRY, FILE._replace(mtime_ns=5)) == "time changed"


@pytest.mark.parametrize(
    ("mtime_ns", "racy"),
    [
        (NOW, True),
        (NOW - 19_999_999, True),
        (NOW - 20_000_001, False),
        (NOW + SECOND, True),
        (NOW + DAY, True),
        (NOW + DAY + 1, False),
    ],
)
def test_a_file_written_just_before_it_was_read_is_doubted(mtime_ns, racy):
    assert PLAIN.is_racy(seen(mtime_ns, OLD)) is racy
    assert PLAIN.is_racy(seen(OLD, mtime_ns)) is racy
    assert Comparison(ignore_ctime=True).is_racy(seen(OLD, mtime_ns)) is False


@pytest.mark.parametrize(("whole", "reach"), [(1_700_000_001, 1.0), (1_700_000_002, 2.0)])
def test_a_coarse_clock_is_doubted_for_its_whole_tick(whole, reach):
    written = whole * SECOND
    for after, racy in ((0, True), (reach - 0.001, True), (reach, True), (reach + 0.001, False)):
        hashed = written + int(after * SECOND)
        assert PLAIN.is_racy(seen(written, OLD, hashed)) is racy


@given(
    st.sampled_from([2 * SECOND, SECOND, 10_000_000, 4_000_000, 1_000_000, 1]),
    st.integers(0, 3 * SECOND),
    st.integers(0, 3 * SECOND),
    st.integers(0, 3 * SECOND),
)
def test_a_write_that_leaves_no_trace_is_always_doubted(tick, first, read, second):
    """Whatever the clock's tick: if a later write has the time of the one that was read, doubt it."""
    base = 1_700_000_000 * SECOND
    first, read, second = sorted((base + first, base + read, base + second))
    shown = [time // tick * tick for time in (first, second)]
    if shown[0] == shown[1]:
        assert PLAIN.is_racy(seen(shown[0], shown[0], read))


def test_a_young_file_is_one_that_changed_within_the_time_to_settle():
    file = FILE._replace(mtime_ns=NOW - 10 * SECOND, ctime_ns=OLD)
    assert PLAIN.is_younger(file, NOW, 10.0)
    assert not PLAIN.is_younger(file, NOW, 9.99)
    assert PLAIN.is_younger(FILE._replace(ctime_ns=NOW - SECOND), NOW, 2)
    assert not Comparison(ignore_ctime=True).is_younger(FILE._replace(ctime_ns=NOW), NOW, 2)


def test_without_a_time_to_settle_no_file_is_too_young():
    assert not PLAIN.is_younger(FILE._replace(mtime_ns=NOW, ctime_ns=NOW + 1), NOW, 0.0)


def test_a_file_dated_years_ahead_does_not_wait_for_years():
    file = FILE._replace(mtime_ns=NOW + 3650 * DAY)
    assert not PLAIN.is_younger(file, NOW, 60)
    assert not PLAIN.is_racy(seen(file.mtime_ns, OLD))


def test_what_is_saved_is_loaded(cache, tmp_path):
    cache.save()
    again = StatCache.load(tmp_path, "drive")
    assert again.entries == cache.entries
    assert (again.lost, again.changed) == ("", False)
    assert StatCache.load(tmp_path, "other").entries == {}


def test_the_largest_inode_and_odd_times_are_kept(tmp_path):
    cache = StatCache.load(tmp_path, "drive")
    cache.put(ListedFile("a", 0, -1, -(2**63), 2**64 - 1), "00" * 32, 2**63 - 1)
    cache.save()
    (entry,) = StatCache.load(tmp_path, "drive").entries.values()
    assert entry == Entry(0, -1, -(2**63), 2**64 - 1, "00" * 32, 2**63 - 1)


def test_an_empty_cache_is_saved_too(cache, tmp_path):
    cache.save()
    cache.keep(lambda _: False)
    cache.save()
    again = StatCache.load(tmp_path, "drive")
    assert (dict(again.entries), again.lost) == ({}, "")


def test_nothing_new_is_not_written(cache, tmp_path):
    cache.save()
    before = path_of(tmp_path).stat().st_mtime_ns, path_of(tmp_path).stat().st_ino
    again = StatCache.load(tmp_path, "drive")
    again.keep(lambda _: True)
    again.save()
    assert (path_of(tmp_path).stat().st_mtime_ns, path_of(tmp_path).stat().st_ino) == before


def test_files_that_went_are_forgotten(cache, tmp_path):
    cache.keep(lambda path: path == FILE.relative_path)
    cache.save()
    assert list(StatCache.load(tmp_path, "drive").entries) == [FILE.relative_path]


def test_the_oldest_are_those_read_longest_ago_then_by_path(tmp_path):
    cache = StatCache.load(tmp_path, "drive")
    for path, hashed in (("d", 5), ("c", 3), ("b", 3), ("a", 9)):
        cache.put(FILE._replace(relative_path=path), "00" * 32, hashed)
    assert cache.oldest(["a", "b", "c", "d"], 3) == ["b", "c", "d"]
    assert cache.oldest(["a", "d"], 1) == ["d"]
    assert cache.oldest(["a"], 0) == []


def test_files_that_were_read_by_a_clock_that_ran_ahead_are_the_oldest(tmp_path):
    cache = StatCache.load(tmp_path, "drive")
    now = time.time_ns()
    for path, hashed in (("a", 5), ("b", now + 10**15), ("c", now), ("d", now + 10**17)):
        cache.put(FILE._replace(relative_path=path), "00" * 32, hashed)
    assert cache.oldest(["a", "b", "c", "d"], 3) == ["b", "d", "a"]


def test_a_missing_cache_is_empty_and_says_so(tmp_path):
    cache = StatCache.load(tmp_path, "drive")
    assert (dict(cache.entries), cache.lost) == ({}, "is missing")
    assert not (tmp_path / "cache").exists()


def test_a_cache_with_a_flipped_bit_or_a_cut_end_is_empty_or_whole_and_never_raises(
    cache, tmp_path
):
    cache.save()
    good = path_of(tmp_path).read_bytes()
    damaged = 0
    for place in range(len(good)):
        for flip in (0x01, 0x80):
            bad = bytearray(good)
            bad[place] ^= flip
            path_of(tmp_path).write_bytes(bad)
            damaged += StatCache.load(tmp_path, "drive").lost == "is damaged"
    assert damaged > len(good)
    for length in range(0, len(good), 7):
        path_of(tmp_path).write_bytes(good[:length])
        assert StatCache.load(tmp_path, "drive").lost == "is damaged"


def test_a_cache_with_other_columns_is_damaged(tmp_path):
    path_of(tmp_path).parent.mkdir()
    pq.write_table(pa.table({"relative_path": ["a"]}), path_of(tmp_path))
    assert StatCache.load(tmp_path, "drive").lost == "is damaged"


def test_a_failing_disk_is_an_error_and_not_a_lost_cache(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("pathlib.Path.read_bytes", fail)
    with pytest.raises(OSError, match="Input/output error"):
        StatCache.load(tmp_path, "drive")


def test_a_save_that_fails_leaves_the_old_cache_and_no_rubbish(cache, tmp_path, monkeypatch):
    cache.save()
    before = path_of(tmp_path).read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    cache.put(FILE, "ef" * 32, NOW + 1)
    with monkeypatch.context() as patch:
        patch.setattr("anabatch.store.statcache.sync_file", full)
        with pytest.raises(OSError, match="No space left"):
            cache.save()
    assert path_of(tmp_path).read_bytes() == before
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["stat-drive.parquet"]
    cache.save()
    assert StatCache.load(tmp_path, "drive").entries[FILE.relative_path].sha256 == "ef" * 32


def test_what_a_killed_run_left_is_cleared_away(cache, tmp_path):
    cache.save()
    (tmp_path / "cache" / ".stat-drive.parquet.12345678").write_bytes(b"half")
    (tmp_path / "cache" / ".stat-other.parquet.12345678").write_bytes(b"not ours")
    cache.put(FILE, "ef" * 32, NOW + 1)
    cache.save()
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        ".stat-other.parquet.12345678",
        "stat-drive.parquet",
    ]


def test_paths_that_are_in_memory_are_not_read_again(cache, tmp_path):
    cache.save()
    known = "".join(["b\n", "ç.jpg"])
    again = StatCache.load(tmp_path, "drive", {known: known})
    assert again.entries == cache.entries
    assert next(path for path in again.entries if path == known) is known
