import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from making import MONDAY, cell_row

from anabatch.errors import PartCorruptError, SchemaError
from anabatch.schema import to_table
from anabatch.store import durable, formats
from anabatch.store.actions import FAILED, Action
from anabatch.store.parts import MANIFEST, Part, PartWriter

ROWS = 9
CROPS = np.arange(ROWS * 4, dtype=np.uint16).reshape(ROWS, 2, 2) + 1
MODEL = {"weights": np.linspace(0, 1, 6).reshape(2, 3), "rows": np.array([3])}
FITTED = '{"a": 1}'
TABLE = to_table("cells", [cell_row("image", number) for number in range(ROWS)])
ACTION = Action("cells", "image", "key", rows=ROWS, date=MONDAY)


def write(store: Path, actions=(ACTION,), keys=("k",)) -> Any:
    """Write a part with a file of every kind; its array has three shards."""
    with PartWriter(store, "cells", archive="disk", date=MONDAY, keys=keys) as part:
        part.rows("cells", TABLE)
        part.array("crops", CROPS, chunk=2, shard=4)
        part.bundle("model", MODEL)
        part.text("fitted.json", FITTED)
        return part.finish(list(actions))


def read(store, path):
    """Read everything that a part holds, as comparable values."""
    part = Part(store, path)
    (rows, *_), _ = part.array_info("crops")
    every = part.array("crops", 0, rows)
    model = part.bundle("model")
    return (
        part.rows("cells").to_pylist(),
        (every.shape, str(every.dtype), every.tobytes()),
        part.take("crops", np.arange(ROWS)).tobytes(),
        sorted((name, array.tobytes()) for name, array in model.items()),
        part.text("fitted.json"),
    )


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_part_comes_back(tmp_path):
    written = write(tmp_path)
    part = Part(tmp_path, written.path)
    assert part.rows("cells").equals(TABLE)
    assert part.rows("cells", ["cell_id"]).column("cell_id")[2].as_py() == "image-2"
    assert np.array_equal(part.array("crops", 3, 7), CROPS[3:7])
    assert np.array_equal(part.take("crops", np.array([8, 0, 0])), CROPS[[8, 0, 0]])
    assert part.array_info("crops") == (CROPS.shape, CROPS.dtype)
    assert np.array_equal(part.bundle("model")["weights"], MODEL["weights"])
    assert part.text("fitted.json") == FITTED
    assert part.digest == written.digest
    assert part.size == sum(
        path.stat().st_size for path in files(part.folder) if path.name != MANIFEST
    )


def test_its_path_says_what_and_when(tmp_path):
    table, archive, day, attempt = write(tmp_path).path.split("/")[1:]
    assert (table, archive, day) == ("cells", "disk", "date=2021-12-13")
    assert len(attempt.split("-")[0]) == 12
    with PartWriter(tmp_path, "models", keys=["k"]) as part:
        assert part.path.startswith("parts/models/all/undated/")


def test_two_attempts_at_one_batch_never_share_a_path(tmp_path):
    one, other = write(tmp_path), write(tmp_path)
    assert one.path != other.path
    assert one.path.rpartition("-")[0] == other.path.rpartition("-")[0]


def test_equal_content_has_equal_digests(tmp_path):
    one, other = write(tmp_path), write(tmp_path, keys=("another",))
    assert one.digest == other.digest


@pytest.mark.parametrize("change", ["value", "dtype", "name", "text", "extra"])
def test_other_content_has_another_digest(tmp_path, change):
    crops = CROPS + (change == "value")
    crops = crops.astype(np.int32) if change == "dtype" else crops
    with PartWriter(tmp_path, "cells", keys=("k",)) as part:
        part.rows("cells", TABLE)
        part.array("crop" if change == "name" else "crops", crops, chunk=2, shard=4)
        part.bundle("model", MODEL)
        part.text("fitted.json", FITTED + " " * (change == "text"))
        if change == "extra":
            part.text("extra", "")
        changed = part.finish([ACTION])
    assert changed.digest != write(tmp_path).digest


def test_actions_with_rows_get_the_part_and_others_do_not(tmp_path):
    none = Action("cells", "empty", "k2", outcome="no_cells")
    failed = Action("cells", "bad", "k3", outcome=FAILED, reason="cut short")
    written = write(tmp_path, [ACTION, none, failed])
    placed, *others = written.actions
    assert (placed.part, placed.part_digest) == (written.path, written.digest)
    assert others == [none, failed]


def test_the_manifest_names_every_file_and_every_action(tmp_path):
    written = write(tmp_path)
    folder = tmp_path / written.path
    manifest = json.loads((folder / MANIFEST).read_text())
    assert {folder / name for name in manifest["files"]} | {folder / MANIFEST} == set(files(folder))
    (action,) = manifest["actions"]
    assert action["unit"] == "image"
    assert action["date"] == "2021-12-13"
    assert action["part_digest"] == written.digest


def test_a_table_that_breaks_its_schema_is_not_written(tmp_path):
    with pytest.raises(SchemaError), PartWriter(tmp_path, "cells", keys=["k"]) as part:
        part.rows("cells", TABLE.drop_columns(["scale"]))
    assert not files(tmp_path)


def test_no_actions_make_a_part_too(tmp_path):
    with PartWriter(tmp_path, "cells", keys=[]) as part:
        part.finish([])
    assert Part(tmp_path, part.path).size == 0


# Interrupted writes


class Interruption(BaseException):
    """What no handler of errors catches, as a signal's exception."""


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, Interruption])
def test_a_writer_that_is_interrupted_leaves_nothing(tmp_path, kind):
    def interrupted():
        with PartWriter(tmp_path, "cells", keys=["k"]) as part:
            part.array("crops", CROPS)
            raise kind

    with pytest.raises(kind) as caught:
        interrupted()
    assert "while writing the part parts/cells/all/undated/" in caught.value.__notes__[0]
    assert not files(tmp_path)


def _fail_at(monkeypatch, owner, name, number):
    """Make the call of that number fail as on a full disk; return the count of calls."""
    real, count = getattr(owner, name), [0]

    def call(*arguments, **options):
        count[0] += 1
        if count[0] == number:
            raise OSError(28, "No space left on device")
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, call)
    return count


CALLS = [(os, "fsync"), (os, "mkdir"), (Path, "replace"), (pq, "write_table")]


@pytest.mark.parametrize(("owner", "name"), CALLS, ids=[name for _, name in CALLS])
def test_a_full_disk_at_any_call_leaves_no_finished_part(tmp_path, monkeypatch, owner, name):
    with monkeypatch.context() as patch:
        calls = _fail_at(patch, owner, name, 0)
        write(tmp_path / "whole")
    assert calls[0] > 0
    for number in range(1, calls[0] + 1):
        store = tmp_path / str(number)
        store.mkdir()
        with monkeypatch.context() as patch:
            _fail_at(patch, owner, name, number)
            try:
                written = write(store)
            except OSError as error:
                # Zarr's threads may leave a file behind: of an unfinished part, which nobody reads
                assert not list(store.rglob(MANIFEST)), f"{name} {number}"
                assert "No space" in str(error)  # noqa: PT017 (either outcome is right)
                continue
        # two of Zarr's threads made one folder, and one of them got it
        assert name == "mkdir"
        assert read(store, written.path)[1][2] == CROPS.tobytes()


def test_a_removal_that_fails_leaves_no_finished_part_either(tmp_path, monkeypatch):
    def interrupted():
        with PartWriter(tmp_path, "cells", keys=["k"]) as part:
            part.text("x", "y")
            part.finish([])
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in files(tmp_path)] == ["x"]


def test_a_killed_writer_leaves_no_finished_part(tmp_path):
    part = PartWriter(tmp_path, "cells", keys=["k"]).__enter__()
    part.array("crops", CROPS)
    with pytest.raises(PartCorruptError, match="no finished part"):
        Part(tmp_path, part.path)
    with pytest.raises(PartCorruptError, match="no finished part"):
        Part(tmp_path, "parts/cells/all/undated/none")


# Durability


def test_all_is_on_the_disk_before_finish_returns(tmp_path, monkeypatch):
    """Files and folders of the part, then `part.json`, then every folder up to the store."""
    order = []
    real = os.fsync

    def fsync(descriptor):
        order.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    written = write(tmp_path)
    folder = tmp_path / written.path
    content = {path for path in (folder, *folder.rglob("*")) if path.name != MANIFEST}
    manifest = next(path for path in order if path.name.startswith(f".{MANIFEST}"))
    before, after = order[: order.index(manifest)], order[order.index(manifest) + 1 :]
    assert content <= set(before)
    for path in content - {folder}:
        assert before.index(path) < len(before) - 1 - before[::-1].index(path.parent)
    assert after[0] == folder
    parents = [folder.parents[i] for i in range(5)]
    assert parents[-1] == tmp_path
    assert after[1:] == parents


def test_nothing_is_written_after_it_was_synced(tmp_path, monkeypatch):
    synced = {}

    def sync_file(path):
        synced[path] = path.read_bytes()

    monkeypatch.setattr(durable, "sync_file", sync_file)
    written = write(tmp_path)
    folder = tmp_path / written.path
    assert synced == {path: path.read_bytes() for path in files(folder) if path.name != MANIFEST}


# Damage

NAMES = [
    "cells.parquet",
    "crops/zarr.json",
    "crops/c/0/0/0",
    "crops/c/1/0/0",
    "crops/c/2/0/0",
    "model.npz",
    "fitted.json",
    MANIFEST,
]


@pytest.fixture
def part(tmp_path):
    written = write(tmp_path)
    assert {str(p.relative_to(tmp_path / written.path)) for p in files(tmp_path)} == set(NAMES)
    return written.path


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_is_an_error_or_changes_nothing(tmp_path, part, name):
    truth = read(tmp_path, part)
    file = tmp_path / part / name
    data = file.read_bytes()
    rng = np.random.default_rng(len(data))
    ends = [*range(16), *range(len(data) - 16, len(data))]
    for offset in sorted({*ends, *rng.integers(0, len(data), 24).tolist()}):
        if not 0 <= offset < len(data):
            continue
        flipped = bytearray(data)
        flipped[offset] ^= 1 << int(rng.integers(8))
        file.write_bytes(flipped)
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1 + offset))
        try:
            found = read(tmp_path, part)
        except PartCorruptError as error:
            assert error.remedy  # noqa: PT017 (either outcome is right)
        else:
            assert found == truth, f"{name}, byte {offset}"
    file.write_bytes(data)
    assert read(tmp_path, part) == truth


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("crops/c")])
def test_a_flipped_bit_in_a_file_that_is_read_whole_is_always_an_error(tmp_path, part, name):
    file = tmp_path / part / name
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 1
    file.write_bytes(data)
    with pytest.raises(PartCorruptError, match="written"):
        read(tmp_path, part)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("opened", [False, True])
def test_a_truncated_or_missing_file_is_an_error(tmp_path, part, name, opened):
    """Also to a process that has read the part before."""
    if opened:
        read(tmp_path, part)
    file = tmp_path / part / name
    data = file.read_bytes()
    for kept in (len(data) - 1, len(data) // 2, 0):
        file.write_bytes(data[:kept])
        with pytest.raises(PartCorruptError):
            read(tmp_path, part)
    file.unlink()
    with pytest.raises(PartCorruptError):
        read(tmp_path, part)


def test_a_missing_shard_is_not_zeros(tmp_path, part):
    """Zarr alone gives zeros for it."""
    opened = Part(tmp_path, part)
    assert opened.array("crops", 0, ROWS).min() > 0
    shutil.rmtree(tmp_path / part / "crops" / "c" / "1")
    assert formats.read_array(tmp_path / part / "crops", 0, ROWS).min() == 0
    for call in (
        lambda: opened.array("crops", 0, ROWS),
        lambda: opened.array("crops", 0, 1),
        lambda: opened.take("crops", np.array([5])),
        lambda: opened.array_info("crops"),
    ):
        with pytest.raises(PartCorruptError, match="is missing"):
            call()


def test_a_file_of_another_part_of_the_same_size_is_an_error(tmp_path, part):
    (tmp_path / part / "fitted.json").write_text(FITTED.replace("1", "2"))
    with pytest.raises(PartCorruptError, match="not those"):
        Part(tmp_path, part).text("fitted.json")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "7", '{"files": {}}', "\xff"])
def test_a_manifest_that_is_none_is_an_error(tmp_path, part, text):
    (tmp_path / part / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(PartCorruptError, match=MANIFEST):
        Part(tmp_path, part)


def test_what_a_part_never_had_is_named(tmp_path, part):
    opened = Part(tmp_path, part)
    for call in (
        lambda: opened.rows("clusters"),
        lambda: opened.array("masks", 0, 1),
        lambda: opened.bundle("kmeans"),
        lambda: opened.text("x"),
    ):
        with pytest.raises(PartCorruptError, match="has no"):
            call()
