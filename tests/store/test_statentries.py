import tracemalloc
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.store import statentries
from anabatch.store.statentries import SCHEMA, Entries, Entry

counts = st.integers(-(2**63), 2**63 - 1)
entries = st.builds(
    Entry,
    size=st.integers(0, 2**63 - 1),
    mtime_ns=counts,
    ctime_ns=counts,
    inode=st.integers(0, 2**64 - 1),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    hashed_ns=counts,
)
steps = st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | entries), max_size=20)


def again(found):
    """What is written and read, in pieces."""
    read = Entries()
    for rows in found.table().to_batches(2):
        read.extend(rows)
    return read


@given(steps)
def test_entries_are_what_a_dictionary_would_hold(steps):
    truth: dict[str, Entry] = {}
    found = Entries()
    for path, entry in steps:
        if entry is None:
            truth.pop(path, None)
            found.pop(path, None)
        else:
            truth[path] = found[path] = entry
    for mine in (found, again(found)):
        assert list(mine.items()) == list(truth.items())
        assert len(mine) == len(truth)
        assert {path: mine.hashed_ns(path) for path in mine} == {
            path: entry.hashed_ns for path, entry in truth.items()
        }
    assert found.table().schema == SCHEMA


def test_a_file_is_the_same_in_whatever_pieces_entries_are_written(tmp_path):
    found = Entries()
    for number in range(9_000):
        found[f"20211213/{number}.jpg"] = Entry(number, 1, 2, 3, f"{number:064x}", 4)
    del found["20211213/7.jpg"]
    files = []
    for name, many in (("whole", 10_000), ("pieces", statentries._WRITTEN_AT_ONCE)):
        with patch.object(statentries, "_WRITTEN_AT_ONCE", many):
            pq.write_table(found.table(), tmp_path / name, use_dictionary=False)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]


@pytest.mark.parametrize("digest", ["00", "00" * 33, "x" * 64])
def test_what_is_no_digest_is_refused(digest):
    found = Entries()
    with pytest.raises(ValueError, match=r"no SHA-256|Non-hexadecimal"):
        found["a"] = Entry(1, 2, 3, 4, digest, 5)
    assert not found


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("size", None, "missing"), ("sha256", "00", "length"), ("sha256", "x" * 64, "hexadecimal")],
)
def test_rows_that_are_no_entries_are_refused(name, value, message):
    row = {"relative_path": "a", **Entry(1, 2, 3, 4, "00" * 32, 5)._asdict()} | {name: value}
    (rows,) = pa.Table.from_pylist([row], schema=SCHEMA).to_batches()
    with pytest.raises(ValueError, match=message):
        Entries().extend(rows)


def test_an_entry_in_memory_is_small():
    """As objects of their own they took 480 bytes, the path left out."""
    paths = [f"20211213/{number}.jpg" for number in range(5_000)]
    found = Entries()
    tracemalloc.start()
    try:
        for number, path in enumerate(paths):
            found[path] = Entry(10**6 + number, 10**18, 10**18 + 1, 10**9, f"{number:064x}", 10**18)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(paths) < 250
