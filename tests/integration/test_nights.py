"""What a night does after a change, counted by stage: what depends on the change, and no more."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from anabatch.jobs import context as context_module
from anabatch.jobs import scan, segment
from anabatch.jobs.explain import explain
from anabatch.jobs.looking import looking
from anabatch.jobs.plan import survey
from cheap import cheap_networks, draw_tiny
from running import make_config, run_jobs

import anabatch
from anabatch.errors import GuardError
from anabatch.store.ledger import Ledger
from anabatch.store.live import ANNOTATE, CELLS, CLUSTER, EMBED, FEATURIZE, SCAN, SEGMENT
from anabatch.store.recipes import RECIPE, Cause

MODEL = "model"
FREE = {"guards": {"vanished_share": 1.0, "recompute_share": 1.0}}


@pytest.fixture(scope="module", autouse=True)
def _cheap():
    with cheap_networks():
        yield


@pytest.fixture(scope="module")
def done(archive_of_six, tmp_path_factory):
    folder = tmp_path_factory.mktemp("night")
    shutil.copytree(archive_of_six / "DATA", folder / "DATA")
    run_jobs(make_config(folder / "DATA", folder / "store", **FREE))
    return folder


@pytest.fixture
def night(done, tmp_path):
    """A finished store and its archive, times and all, for a test that changes them."""
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return tmp_path


def config_of(folder, **sections):
    return make_config(folder / "DATA", folder / "store", **(FREE | sections))


def changes(folder, **sections):
    """Run a night, and count what it did by stage."""
    before = {(a.stage, a.unit): a for a in anabatch.open_store(folder / "store").state.actions()}
    run_jobs(config_of(folder, **sections))
    after = anabatch.open_store(folder / "store").state.actions()
    new = [a for a in after if before.get((a.stage, a.unit)) != a and a.stage != RECIPE]
    return Counter(action.stage for action in new)


def images(folder):
    return sorted((folder / "DATA").rglob("*.jpg"))


def exports(folder):
    return sorted((folder / "DATA").rglob("*SCREEN.csv"))


def comment(path, text):
    """Put a comment into a JPEG: other bytes, the same pixels."""
    data = path.read_bytes()
    body = text.encode()
    segment = b"\xff\xfe" + (len(body) + 2).to_bytes(2, "big") + body
    path.write_bytes(data[:2] + segment + data[2:])


def test_a_night_without_a_change_does_nothing(night):
    version = anabatch.open_store(night / "store").version
    run_jobs(config_of(night))
    assert not changes(night)
    assert anabatch.open_store(night / "store").version == version


def test_a_file_saved_again_with_the_same_pixels_is_scanned_and_no_more(night):
    comment(images(night)[0], "saved again")
    assert changes(night) == {SCAN: 1}


def test_a_late_image_is_done_and_its_date_labelled_again(night):
    first = images(night)[0]
    late = first.with_name("099_0ae00000001_1_299999999_3_14_11.jpg")
    shutil.copy(images(night)[1], late)
    with late.open("r+b") as file:  # other pixels
        data = bytearray(file.read())
        middle = len(data) // 2
        data[middle : middle + 1] = bytes([data[middle] ^ 0x04])
        file.seek(0)
        file.write(data)
    counted = changes(night, embed={"refit_share": 1.0}, cluster={"refit_share": 1.0})
    # one of each of its own; no part of before is touched
    expected = {SCAN: 1, ANNOTATE: 1, SEGMENT: 1, CELLS: 1, FEATURIZE: 1, EMBED: 1, CLUSTER: 1}
    assert counted == expected


def test_a_corrected_export_makes_its_labels_anew_and_nothing_else(night):
    (export, *_) = exports(night)
    text = export.read_bytes().decode("utf-8-sig")
    lines = text.splitlines()
    rows = list(csv.reader(lines, delimiter=";"))
    assert len(rows) > 3
    del lines[-1]
    export.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    assert changes(night) == {ANNOTATE: 1}


def test_another_vocabulary_makes_labels_anew_and_nothing_else(night, tmp_path):
    import anabatch.schemas as schemas

    labels = tmp_path / "labels"
    shutil.copytree(Path(schemas.__file__).parent / "labels", labels)
    codes = (labels / "hep_annot.csv").read_text(encoding="utf-8").splitlines()
    (labels / "hep_annot.csv").write_text("\n".join(codes[:-1]) + "\n", encoding="utf-8")
    assert changes(night, annotate={"vocabulary": str(labels)}) == {ANNOTATE: 1}


def test_another_diameter_recomputes_all_that_hangs_on_it(night):
    dates = {path.parent.parent.name for path in images(night)}
    counted = changes(night, segment={"cell_diameter": 100.0})
    assert counted[SEGMENT] == counted[CELLS] == len(images(night))
    assert (counted[SCAN], counted[ANNOTATE]) == (0, 0)
    assert counted[FEATURIZE] == counted[EMBED] == counted[CLUSTER] == len(dates)


def test_other_features_leave_images_and_cells_alone(night):
    counted = changes(night, featurize={"preprocessing": "keras"})
    assert set(counted) == {FEATURIZE, EMBED, CLUSTER, MODEL}


def test_parameters_put_back_are_not_computed_again(night):
    before = anabatch.open_store(night / "store")
    changes(night, featurize={"preprocessing": "keras"})
    run_jobs(config_of(night))
    after = anabatch.open_store(night / "store")
    parts = {a.unit: a.part for a in before.state.stage(FEATURIZE)}
    assert {a.unit: a.part for a in after.state.stage(FEATURIZE)} == parts


def test_the_same_picture_under_two_names_is_two_acquisitions_and_computed_once(night):
    first = images(night)[0]
    shutil.copy(first, first.with_name("098_0ae00000001_1_299999998_3_14_12.jpg"))
    assert changes(night) == {SCAN: 1, ANNOTATE: 1}
    store = anabatch.open_store(night / "store")
    assert store.table("acquisitions").to_pandas().image_id.duplicated().sum() == 1


def test_a_killed_run_is_taken_over_and_not_repeated(night):
    """All parts are there, and the ledger knows of none, as after a kill before the first commit."""
    complete = anabatch.open_store(night / "store")
    parts = {a.part for a in complete.state.actions() if a.part}
    Ledger(night / "store" / "ledger").restore(0, run="as after a kill")
    run_jobs(config_of(night))
    store = anabatch.open_store(night / "store")
    assert {a.part for a in store.state.actions() if a.part} == parts
    cells = complete.table("cells").to_pandas()
    again = store.table("cells").to_pandas()
    assert sorted(again.cell_id) == sorted(cells.cell_id)


def test_the_plan_says_what_is_done_then_and_why(night):
    config = config_of(night, segment={"cell_diameter": 100.0})
    with looking(config) as context:
        found = survey(context)
    counts = {(stage, str(reason)): number for stage, reason, number in found.counts()}
    n = len(images(night))
    assert counts[SEGMENT, "PARAM cell_diameter 145.0 -> 100.0"] == n
    assert counts[CELLS, "UPSTREAM"] == counts[FEATURIZE, "UPSTREAM"] == n
    done = changes(night, segment={"cell_diameter": 100.0})
    assert (done[SEGMENT], done[CELLS]) == (n, n)


def test_a_plan_writes_nothing(night):
    before = sorted((p, p.stat().st_mtime_ns) for p in (night / "store").rglob("*.p*"))
    with looking(config_of(night, segment={"cell_diameter": 100.0})) as context:
        assert survey(context).items
    assert sorted((p, p.stat().st_mtime_ns) for p in (night / "store").rglob("*.p*")) == before


def test_nothing_is_planned_where_nothing_changed(night):
    run_jobs(config_of(night))  # the copy's files have other inodes and times
    with looking(config_of(night)) as context:
        found = survey(context)
    assert (found.items, found.gone, found.adopted) == ((), 0, 0)


def test_damage_is_planned_by_name_and_mended(night):
    store = anabatch.open_store(night / "store")
    cells = sorted(store.table("cells").to_pandas().cell_id)
    (features,) = {a.part for a in store.state.stage(FEATURIZE)}
    label_part = next(a.part for a in store.state.stage(SEGMENT))
    (night / "store" / features / "part.json").unlink()
    (night / "store" / label_part / "part.json").unlink()
    with looking(config_of(night)) as context:
        found = survey(context)
    causes = {(item.stage, item.reason.cause) for item in found.items}
    assert {(FEATURIZE, Cause.MISSING), (SEGMENT, Cause.MISSING)} <= causes
    run_jobs(config_of(night))
    mended = anabatch.open_store(night / "store")
    assert sorted(mended.table("cells").to_pandas().cell_id) == cells
    assert mended.array("features").compute().shape[0] == len(cells)
    with looking(config_of(night)) as context:
        assert survey(context).items == ()


@pytest.mark.parametrize("kind", ["kpca", "kmeans"])
def test_a_damaged_model_is_fitted_again(night, kind):
    first = images(night)[0]
    draw_tiny(first.with_name(first.name.replace("001_", "099_", 1)), 99, cells=4)
    for job in (scan, segment):  # cells without features: what becomes of models is foreseen
        run_jobs(config_of(night), job)
    store = anabatch.open_store(night / "store")
    (part,) = {a.part for a in store.state.stage(MODEL) if a.unit.startswith(f"{kind}/")}
    (night / "store" / part / "part.json").unlink()
    with looking(config_of(night)) as context:
        assert survey(context).items
    run_jobs(config_of(night))
    mended = anabatch.open_store(night / "store").table("clusters").to_pandas()
    assert set(mended.generation) == {2}


def test_too_much_again_is_refused_until_it_is_accepted(night):
    version = anabatch.open_store(night / "store").version
    config = make_config(night / "DATA", night / "store", segment={"cell_diameter": 100.0})
    with pytest.raises(GuardError, match=r"6 of 6 results.*cell_diameter 145.0 -> 100.0"):
        run_jobs(config)
    assert anabatch.open_store(night / "store").version == version
    with looking(config) as context:
        assert any("--accept-recompute" in note for note in survey(context).notes)


def test_an_image_is_explained_stage_by_stage(night):
    first = images(night)[0]
    changes(night, segment={"cell_diameter": 100.0})
    with looking(config_of(night)) as context:
        steps = explain(anabatch.open_store(night / "store"), first.name, survey(context))
    by_stage = {step.stage: step for step in steps}
    assert list(by_stage) == [SCAN, ANNOTATE, SEGMENT, CELLS, FEATURIZE, EMBED, CLUSTER]
    assert by_stage[SCAN].why == "NEW"
    assert by_stage[SEGMENT].why == "PARAM cell_diameter 145.0 -> 100.0"
    assert by_stage[FEATURIZE].why == by_stage[CELLS].why == "UPSTREAM"
    assert by_stage[SEGMENT].past
    assert "NEW" in by_stage[SEGMENT].past[0]
    # the next run, with the old diameter again, would find what is still there and adopt it
    assert by_stage[CELLS].when
    assert json.dumps([step.key for step in steps])


def test_a_change_put_off_names_no_other_image(night):
    with pytest.raises(anabatch.errors.ConfigurationError, match="no image of the store"):
        explain(anabatch.open_store(night / "store"), "nobody.jpg")


def every_version_is_whole(folder):
    newest = anabatch.open_store(folder / "store").version
    for version in range(newest + 1):
        store = anabatch.open_store(folder / "store", at=version)
        rows = store.table("cells").to_pandas()
        if rows.empty:
            continue
        assert len(store.array("crops")) == len(store.array("masks")) == len(rows)
        assert set(rows.image_id) <= set(store.table("acquisitions").to_pandas().image_id)


def test_a_moved_image_is_whole_in_every_version(night, monkeypatch):
    """Each date is committed when it is finished; a picture moves from one to a later one."""
    monkeypatch.setattr(context_module, "_COMMIT_SECONDS", -1.0)
    first, second, *_ = images(night)
    for day in ("20220101", "20220102", "20220103"):
        name = f"001_0ae00000001_1_2999999{day[-2:]}_3_14_01.jpg"
        draw_tiny(night / f"DATA/{day}/001_SN08030" / name, int(day))
    first.rename(night / "DATA/20220103/001_SN08030" / first.name)
    second.unlink()
    run_jobs(config_of(night))
    every_version_is_whole(night)
    paths = anabatch.open_store(night / "store").table("acquisitions").to_pandas().relative_path
    assert set(paths) == {str(path.relative_to(night / "DATA")) for path in images(night)}


def test_an_image_that_comes_back_is_not_computed_again(night):
    first = images(night)[0]
    data = first.read_bytes()
    part = anabatch.open_store(night / "store").state.stage(CELLS)[0].part
    first.unlink()
    run_jobs(config_of(night))
    first.write_bytes(data)
    run_jobs(config_of(night))
    store = anabatch.open_store(night / "store")
    assert {action.part for action in store.state.stage(CELLS)} == {part}
    assert len(store.array("features")) == len(store.table("cells").to_pandas())


def test_a_guard_stops_a_run_before_anything_is_computed(night):
    draw_tiny(images(night)[0].with_name("099_0ae00000001_1_299999999_3_14_11.jpg"), 5)
    before = anabatch.open_store(night / "store")
    config = make_config(night / "DATA", night / "store", featurize={"preprocessing": "keras"})
    with pytest.raises(GuardError, match="featurize"):
        run_jobs(config)
    after = anabatch.open_store(night / "store")
    assert after.version == before.version
    assert len(after.array("features")) == len(after.table("cells").to_pandas())
