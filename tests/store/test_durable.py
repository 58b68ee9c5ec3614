import os
import stat
from pathlib import Path

import pytest

from anabatch.store import durable


@pytest.fixture
def synced(monkeypatch):
    """Record what is forced to the disk, in order, as paths."""
    paths: list[Path] = []
    real = os.fsync

    def fsync(descriptor):
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_a_tree_is_synced_from_the_leaves_to_the_root(tmp_path, synced):
    for name in ("a/b/one", "a/two", "three"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    durable.sync_tree(tmp_path)
    every = {tmp_path, *tmp_path.rglob("*")}
    assert set(synced) == every
    assert len(synced) == len(every)
    for path in every - {tmp_path}:
        assert synced.index(path) < synced.index(path.parent)


def test_a_tree_may_be_named_by_a_relative_path(tmp_path, synced, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "one").touch()
    monkeypatch.chdir(tmp_path)
    durable.sync_tree(Path("a"))
    assert synced == [tmp_path / "a/b/one", tmp_path / "a/b", tmp_path / "a"]


def test_a_tree_that_is_not_there_is_no_success(tmp_path):
    with pytest.raises(FileNotFoundError):
        durable.sync_tree(tmp_path / "none")


def test_every_parent_that_gains_a_folder_is_synced(tmp_path, synced):
    (tmp_path / "a").mkdir()
    durable.make_folder(tmp_path / "a" / "b" / "c", tmp_path)
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert synced == [tmp_path / "a", tmp_path / "a" / "b"]
    durable.make_folder(tmp_path / "a" / "b" / "c", tmp_path)


def test_parents_are_synced_up_to_the_root_and_no_further(tmp_path, synced):
    durable_root = tmp_path / "store"
    path = durable_root / "a" / "b"
    path.mkdir(parents=True)
    durable.sync_parents(path, durable_root)
    assert synced == [durable_root / "a", durable_root]
    with pytest.raises(ValueError, match="subpath"):
        durable.sync_parents(tmp_path, durable_root)


def test_a_text_is_on_the_disk_before_its_name_and_its_name_before_return(tmp_path, synced):
    path = tmp_path / "x.json"
    path.write_text("old")
    durable.replace_text(path, "new ü")
    assert path.read_text(encoding="utf-8") == "new ü"
    temporary, folder = synced
    assert temporary.parent == tmp_path
    assert temporary != path
    assert folder == tmp_path
    assert [item.name for item in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "x.json"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if call == "fsync" else Path, call, fail)
    with pytest.raises(OSError, match="No space"):
        durable.replace_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_synced_as_a_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        durable.sync_folder(tmp_path / "file")
    assert stat.S_ISREG((tmp_path / "file").stat().st_mode)
