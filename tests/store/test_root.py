import errno
import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import anabatch
from anabatch.errors import (
    ConfigurationError,
    MissingRowsError,
    PlaceError,
    StoreError,
    StoreLockedError,
    StoreNotFoundError,
)
from anabatch.store.actions import FAILED, Action
from anabatch.store.live import read_acquisitions
from anabatch.store.lock import hold
from anabatch.store.root import create_store, hold_store, open_store


def test_a_store_is_made_once(tmp_path):
    store = create_store(tmp_path / "deep" / "store")
    assert store.version == 0
    store.state.put([Action("scan", "a", "k")])
    assert store.commit("r")
    again = create_store(tmp_path / "deep" / "store")
    assert again.version == 1
    assert again.state.get("scan", "a")


def test_a_store_whose_making_was_cut_short_is_made_again(tmp_path):
    (tmp_path / "store" / "ledger" / "_delta_log").mkdir(parents=True)
    assert create_store(tmp_path / "store").version == 0


def test_no_store_is_an_error_and_nothing_is_made(tmp_path):
    with pytest.raises(StoreNotFoundError, match="anabatch run"):
        open_store(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        anabatch.open_store(str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_what_was_committed_before_the_lock_is_read(tmp_path, monkeypatch):
    create_store(tmp_path)

    @contextmanager
    def just_after_another_run(path, run):
        other = create_store(path)
        other.state.put([Action("scan", "a", "k")])
        other.commit("another")
        with hold(path, run=run):
            yield

    monkeypatch.setattr("anabatch.store.root.hold", just_after_another_run)
    with hold_store(tmp_path, run="r", create=True) as store:
        assert store.version == 1
        assert store.state.get("scan", "a")


def test_of_two_runs_on_a_new_store_one_makes_it(tmp_path):
    with hold_store(tmp_path / "new" / "store", run="first", create=True) as store:
        assert store.version == 0
        with (
            pytest.raises(StoreLockedError, match="first"),
            hold_store(tmp_path / "new" / "store", run="second", create=True),
        ):
            pass


def test_a_store_that_is_not_to_be_made_is_not(tmp_path):
    with (
        pytest.raises(StoreNotFoundError),
        hold_store(tmp_path / "none", run="r", create=False),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_that_no_store_can_be_at_is_left_alone(tmp_path, create):
    with (
        pytest.raises(ConfigurationError, match="cannot be at"),
        hold_store(tmp_path / "per%20cent", run="r", create=create),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_a_right_that_is_lost_is_told_and_what_is_lost_is_a_bug(tmp_path):
    def meet(kind, place):
        with hold_store(tmp_path / "store", run="r", create=True) as store:
            raise kind(kind_number[kind], os.strerror(kind_number[kind]), str(store.root / place))

    kind_number = {PermissionError: errno.EACCES, FileNotFoundError: errno.ENOENT}
    with pytest.raises(PlaceError, match="store cannot be written to: Permission denied"):
        meet(PermissionError, "parts/x")
    with pytest.raises(FileNotFoundError) as passed:
        meet(FileNotFoundError, "parts/x")
    assert not isinstance(passed.value, PlaceError)


def test_a_file_of_a_run_is_after_the_commit_or_before_it(tmp_path):
    store = create_store(tmp_path)
    assert not store.kept_since_commit("report.html")
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("")
    assert store.kept_since_commit("report.html")
    assert not store.kept_since_commit("another.html")
    store.state.put([Action("scan", "a", "k")])
    store.commit("r")
    written = (tmp_path / "ledger" / "_delta_log" / f"{1:020d}.json").stat().st_mtime_ns
    for moment, kept in ((written - 1, False), (written, True)):
        os.utime(folder / "report.html", ns=(moment, moment))
        assert store.kept_since_commit("report.html") is kept


def test_what_was_read_is_kept_until_the_state_changes(filled, monkeypatch):
    calls = []

    def read(*arguments):
        calls.append(arguments)
        return read_acquisitions(*arguments)

    monkeypatch.setattr("anabatch.store.collections.read_acquisitions", read)
    store = open_store(filled.root)
    for _ in range(3):
        rows = len(store.table("cells").to_arrow())
        assert store.array("crops").shape[0] == rows
    assert len(calls) == 1
    store.state.delete(store.state.stage("cells")[:1])
    assert len(store.table("cells").to_arrow()) == store.array("crops").shape[0] < rows
    assert len(calls) == 2
    store.state.put([])
    store.table("acquisitions")
    assert len(calls) == 2


def test_nothing_new_is_no_commit(tmp_path):
    store = create_store(tmp_path)
    assert not store.commit("r")
    store.state.put([Action("scan", "a", "k", archive="x")])
    assert not store.commit("r", lambda action: action.archive == "y")
    assert store.version == 0
    assert store.commit("r", lambda action: action.archive == "x")
    assert not store.commit("r")
    assert open_store(tmp_path).version == 1


def test_a_commit_is_seen_whole_or_not_at_all(filled):
    reader = open_store(filled.root)
    before = reader.table("cells").to_arrow()
    filled.cells({"image1": 2}, sequence=9)
    filled.store.state.delete(filled.store.state.stage("featurize"))
    filled.commit()
    assert reader.table("cells").to_arrow().equals(before)
    assert reader.array("features").shape[0] == before.num_rows
    later = open_store(filled.root)
    assert later.table("cells").to_arrow().num_rows == before.num_rows + 2


def test_an_older_version_shows_what_was_then(filled):
    then = open_store(filled.root).version
    cells = open_store(filled.root).table("cells").to_arrow()
    filled.store.state.delete(filled.store.state.stage("cells")[:1])
    filled.commit()
    assert open_store(filled.root).table("cells").to_arrow().num_rows < cells.num_rows
    old = open_store(filled.root, at=then)
    assert old.version == then
    assert old.table("cells").to_arrow().equals(cells)
    old.state.put([Action("scan", "z", "k")])
    with pytest.raises(StoreError, match="to be read"):
        old.commit("r")
    with pytest.raises(StoreNotFoundError, match="no version 99"):
        open_store(filled.root, at=99)


def test_label_images_are_nuclei_and_cells(filled):
    store = open_store(filled.root)
    for number, image in enumerate(["image0", "image1", "image2"]):
        nuclei, cells = store.label_image(image)
        assert nuclei.shape == cells.shape == (30, 40)
        assert nuclei.dtype == cells.dtype == np.int32
        assert nuclei[1, 1] == number + 1
        assert cells.max() == 70_000 + number  # more labels than 16 bits hold


def test_an_image_without_label_images_says_why(filled):
    store = open_store(filled.root)
    with pytest.raises(MissingRowsError, match="image3"):
        store.label_image("image3")
    filled.store.state.put([Action("segment", "bad", "k", outcome=FAILED, reason="cut short")])
    with pytest.raises(MissingRowsError, match="cut short"):
        filled.commit().label_image("bad")


def test_the_summary_counts_live_rows_parts_and_bytes(filled):
    found = {row["table"]: row for row in open_store(filled.root).summary()}
    assert {name: (row["rows"], row["parts"]) for name, row in found.items()} == {
        "acquisitions": (4, 1),
        "cells": (12, 2),
        "clusters": (12, 2),
        "embedding": (12, 2),
        "features": (12, 2),
        "labels": (3, 1),
    }
    assert list(found) == sorted(found)
    assert all(row["bytes"] > 0 for row in found.values())
    assert create_store(filled.root / "empty").summary() == []


def test_importing_anabatch_imports_no_store():
    code = "import sys, anabatch; sys.exit('zarr' in sys.modules or 'dask' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
    assert anabatch.open_store is open_store


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("torn", ["", '{"add"'])
def test_a_torn_commit_is_mended_by_whoever_holds_the_store(tmp_path, create, torn):
    store = create_store(tmp_path)
    for unit in "ab":
        store.state.put([Action("scan", unit, "k")])
        store.commit("r")
    newest = tmp_path / "ledger" / "_delta_log" / f"{2:020d}.json"
    newest.write_text(torn)
    with hold_store(tmp_path, run="r", create=create) as held:
        assert held.version == 1
        assert [action.unit for action in held.state.actions()] == ["a"]
        held.state.put([Action("scan", "c", "k")])
        held.commit("r")
    assert [action.unit for action in open_store(tmp_path).state.actions()] == ["a", "c"]
