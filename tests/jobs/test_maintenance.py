"""Verify, versions, rollback, gc and compact over a whole pipeline, with networks that are cheap."""

import io
import json
import shutil

import numpy as np
import pytest
import tiny
from anabatch.jobs import cli, compact, gc, rollback, verify
from anabatch.jobs.exit_codes import exit_code
from anabatch.jobs.reporter import Reporter
from cheap import cheap_networks, draw_tiny
from running import run_jobs
from tiny import add_images, tiny_config
from typer.testing import CliRunner

from anabatch.errors import StoreNotFoundError
from anabatch.store.damage import read_damage
from anabatch.store.ledger import Ledger
from anabatch.store.live import CELLS, CLUSTER, EMBED, FEATURIZE, MODEL, SCAN, SEGMENT
from anabatch.store.lock import hold
from anabatch.store.root import open_store

LAST_ONLY = {"keep": {"versions": 1, "days": 0.0, "trash_days": 0.0}}


@pytest.fixture(scope="module", autouse=True)
def _cheap():
    with cheap_networks():
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """An archive of eight images over three dates, of which three came a night later."""
    folder = tmp_path_factory.mktemp("maintained")
    config = tiny_config(folder / "DATA", folder / "store")
    add_images(folder / "DATA", range(5))
    run_jobs(config, tiny)
    first = open_store(config.store).version
    add_images(folder / "DATA", range(5, 8))
    run_jobs(config, tiny)
    return folder, first


@pytest.fixture
def copy(original, tmp_path):
    """A copy of it: (make a configuration, the version after the first night)."""
    shutil.copytree(original[0], tmp_path / "copy")
    folder = tmp_path / "copy"

    def make(**sections):
        return tiny_config(folder / "DATA", folder / "store", **sections)

    return make, original[1]


def content(store):
    """All that a reader finds, by cell id and acquisition id."""
    cells = store.table("cells").to_pandas().drop(columns=["part", "row"])
    order = np.argsort(cells["cell_id"].to_numpy())
    arrays = {
        name: store.array(name).compute(scheduler="sync")[order]
        for name in ("crops", "masks", "features", "embedding")
    }
    acquisitions = store.table("acquisitions").to_pandas().sort_values("acquisition_id")
    clusters = store.table("clusters").to_pandas().sort_values("cell_id")
    frames = (cells.iloc[order], acquisitions, clusters)
    return arrays, [frame.reset_index(drop=True) for frame in frames]


def same(one, other):
    for name, array in one[0].items():
        np.testing.assert_array_equal(array, other[0][name])
    return all(a.equals(b) for a, b in zip(one[1], other[1], strict=True))


def reporter():
    return Reporter("json", io.StringIO())


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(item) for item in arguments])


def run_again(config):
    """Run, and return whether it changed anything."""
    before = open_store(config.store).version
    run_jobs(config, tiny, accept=True)
    return open_store(config.store).version != before


def harm(folder, how):
    if how == "missing":
        shutil.rmtree(folder)
        return
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "part.json"]
    largest = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        *((stage, "changed") for stage in (SCAN, SEGMENT, CELLS, FEATURIZE, EMBED, CLUSTER)),
        *((stage, "missing") for stage in (SCAN, CELLS)),
    ],
)
def test_what_verify_finds_damaged_the_next_run_computes_anew(copy, stage, how):
    config = copy[0]()
    before = open_store(config.store)
    expected = content(before)
    part = before.state.stage(stage)[-1].part
    harm(config.store / part, how)
    found = call("verify", "--store", config.store, "--full", "--json")
    assert found.exit_code == 74
    assert {item["part"] for item in json.loads(found.stdout)["problems"]} == {part}
    assert read_damage(config.store) == {part: "MISSING" if how == "missing" else "CORRUPT"}
    run_again(config)
    after = open_store(config.store)
    assert part not in {action.part for action in after.state.actions()}
    assert same(content(after), expected)
    assert call("verify", "--store", config.store, "--full").exit_code == 0
    assert not run_again(config)


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_damaged_model_is_fitted_again_and_forgotten(copy, how):
    config = copy[0]()
    before = open_store(config.store)
    cells = set(before.table("cells").to_pandas()["cell_id"])
    for number, model in enumerate(before.state.stage(MODEL)):
        harm(config.store / model.part, how)
        assert call("verify", "--store", config.store, "--full").exit_code == 74
        run_again(config)
        after = open_store(config.store)
        assert after.state.get(MODEL, model.unit) is None, number
        assert call("verify", "--store", config.store, "--full").exit_code == 0
    assert set(after.table("clusters").to_pandas()["cell_id"]) == cells
    assert {a.unit[-1] for a in after.state.stage(MODEL)} == {"2"}
    assert not run_again(config)


def test_verify_says_what_it_did(copy):
    store = copy[0]().store
    full = call("verify", "--store", store, "--full")
    assert full.exit_code == 0
    assert "all is as it was written" in full.stdout
    some = call("verify", "--store", store, "--read-data-subset", "2%", "--json")
    told = json.loads(some.stdout)
    assert 0.02 * told["size"] / 2 < told["read"] < told["size"]
    again = call("verify", "--store", store, "--read-data-subset", "2%", "--seed", told["seed"])
    assert f"--seed {told['seed']} reads the same files again" in again.stdout
    cell = open_store(store).state.stage(CELLS)[0]
    (store / cell.part / "cells.parquet").unlink()
    broken = call("verify", "--store", store)
    assert broken.exit_code == 74
    for words in (f"{cell.part}/cells.parquet", "missing", "cells of", "2021-03-0", "anabatch run"):
        assert words in broken.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--full", "--read-data-subset", "2%"],
        *(["--read-data-subset", text] for text in ("2", "0%", "101%", "x%", "-1%", "nan%")),
    ],
)
def test_a_share_that_is_none_is_refused(copy, arguments):
    assert call("verify", "--store", copy[0]().store, *arguments).exit_code == 2


def test_versions_tell_what_each_did(copy):
    make, first = copy
    config = make()
    with open_store(config.store, at=first):
        told = json.loads(call("versions", "--store", config.store, "--json").stdout)
        shown = call("versions", "--store", config.store, "--all").stdout
    newest = open_store(config.store).version
    assert [item["version"] for item in told] == list(range(newest, -1, -1))
    assert told[-1]["operation"] == "create"
    done = [item["done"] for item in told]
    assert sum(item.get(SCAN, 0) for item in done) == 8
    assert sum(item.get(CELLS, 0) for item in done) == 8
    assert {item["kept"] for item in told} == {"kept"}
    assert [bool(item["readers"]) for item in told] == [v == first for v in range(newest, -1, -1)]
    assert "read by" in shown
    gc.gc(make(**LAST_ONLY), reporter(), dry_run=False)
    told = json.loads(call("versions", "--store", config.store, "--json").stdout)
    assert [item["kept"] for item in told] == ["kept"] + ["gone"] * newest


def test_a_rollback_brings_an_older_version_back_and_the_next_run_the_newer(copy):
    make, first = copy
    config = make()
    newest = open_store(config.store)
    whole, older = content(newest), content(open_store(config.store, at=first))
    stream = io.StringIO()
    lost = rollback.rollback(config, Reporter("json", stream), to=first)
    assert {item.stage: item.actions for item in lost}[CELLS] == 3
    assert "scan 3 (2021-03-01 to 2021-03-03)" in stream.getvalue()
    back = open_store(config.store)
    assert back.version == newest.version + 1
    assert same(content(back), older)
    assert same(content(newest), whole)  # who reads goes on
    with cheap_networks() as _, pytest.MonkeyPatch.context() as patched:
        patched.setattr("anabatch.stages.segment.segmenter_for", None)  # nothing is segmented
        run_again(config)
    assert same(content(open_store(config.store)), whole)


def test_a_rollback_to_where_it_is_or_to_what_is_gone_changes_nothing(copy):
    make, first = copy
    config = make()
    newest = open_store(config.store).version
    assert rollback.rollback(config, reporter(), to=newest) == ()
    gc.gc(make(**LAST_ONLY), reporter(), dry_run=False)
    for version, words in ((first, "no longer kept"), (99, "no version 99")):
        with pytest.raises(StoreNotFoundError, match=words) as raised:
            rollback.rollback(config, reporter(), to=version)
        assert exit_code(raised.value) == 78
    assert Ledger(config.store / "ledger").version == newest


def replace_an_image(config, number):
    """Draw another picture in the place of one, so that its results are superseded."""
    path = min(config.archives[0].path.rglob("*.jpg"))
    draw_tiny(path, number)


def tree(store):
    return {
        path.relative_to(store).as_posix(): path.stat().st_size
        for path in store.rglob("*")
        if path.is_file() and path.parent.name != "readers" and not path.name.startswith("lock")
    }


def test_gc_takes_what_is_superseded_and_leaves_all_that_is_kept(copy):
    make, _ = copy
    config = make(**LAST_ONLY)
    replace_an_image(config, 50)
    run_again(config)
    compact.compact(config, reporter())
    newest = open_store(config.store)
    whole, before = content(newest), tree(config.store)
    dry = gc.gc(config, reporter(), dry_run=True)
    assert tree(config.store) == before
    done = gc.gc(config, reporter(), dry_run=False)
    assert done.items == dry.items
    kinds = {item.kind.value for item in done.items}
    assert kinds == {"part", "ledger file", "run"}
    assert same(content(open_store(config.store)), whole)
    assert call("verify", "--store", config.store, "--full").exit_code == 0
    trash = config.store / "trash"
    assert trash.exists()
    assert not run_again(config)


def test_gc_by_its_rules_keeps_what_is_young(copy):
    config = copy[0]()
    before = tree(config.store)
    done = call("gc", "--store", config.store, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["items"] == []
    assert tree(config.store) == before
    told = call("gc", "--store", config.store, "--dry-run", "--log-format", "text")
    assert "nothing to take away" in told.stdout


def test_gc_says_who_keeps_an_old_version(copy):
    make, first = copy
    stream = io.StringIO()
    with open_store(make().store, at=first) as reading:
        before = content(reading)
        gc.gc(make(**LAST_ONLY), Reporter("json", stream), dry_run=False)
        assert same(content(reading), before)
    assert f"version {first} is kept for process" in stream.getvalue()


def test_compaction_changes_nothing_that_is_read_and_gives_no_run_anything_to_do(copy):
    config = copy[0]()
    before = content(open_store(config.store))
    done = compact.compact(config, reporter())
    assert done.rewritten["acquisitions"][0] > done.rewritten["acquisitions"][1]
    assert done.files > 1
    assert same(content(open_store(config.store)), before)
    assert not run_again(config)
    assert call("verify", "--store", config.store, "--full").exit_code == 0
    again = compact.compact(config, reporter())
    assert again.rewritten == {}
    assert again.files == 0


def test_upkeep_waits_for_whoever_holds_the_store(copy):
    config = copy[0]()
    with hold(config.store, run="another"):
        for arguments in (["gc"], ["compact"], ["rollback", "--to", 1]):
            done = call(*arguments, "--store", config.store)
            assert exit_code(done.exception) == 75
        assert call("verify", "--store", config.store).exit_code == 0
        assert call("versions", "--store", config.store).exit_code == 0


def test_a_store_that_cannot_be_written_to_is_verified_while_it_is_whole(copy, monkeypatch):
    config = copy[0]()

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("anabatch.store.damage.replace_text", refuse)
    assert verify.verify(config.store, share=1).problems == []
    part = open_store(config.store).state.stage(CELLS)[0].part
    shutil.rmtree(config.store / part)
    with pytest.raises(PermissionError):
        verify.verify(config.store, share=1)
