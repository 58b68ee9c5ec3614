"""What a plan names is what the run after it does: night by night, stage by stage, part by part."""

import json
import os
import shutil
from collections import Counter
from typing import Any

import pytest
import tiny
from anabatch.jobs import cli, embed
from anabatch.jobs.looking import looking
from anabatch.jobs.plan import survey
from cheap import cheap_networks, draw_tiny
from edited import export_text
from running import make_config, run_jobs
from tiny import add_images
from typer.testing import CliRunner

import anabatch
from anabatch.store.live import CELLS, CLUSTER, EMBED, FEATURIZE, MODEL, SEGMENT

FREE = {"guards": {"vanished_share": 1.0, "recompute_share": 1.0}}
IMAGES = range(6)


@pytest.fixture(scope="module", autouse=True)
def _cheap():
    with cheap_networks():
        yield


class Laboratory:
    """An archive of two images on each of three dates, and a store that is run night by night."""

    def __init__(self, folder):
        self.folder = folder

    def config(self, **sections):
        return tiny.tiny_config(self.folder / "DATA", self.folder / "store", **(FREE | sections))

    def plan(self, **sections):
        with looking(self.config(**sections)) as context:
            return survey(context)

    def run(self, **sections):
        """Run a night; return how many batches its jobs did, and how many models were made."""
        events = run_jobs(self.config(**sections), tiny)
        done = Counter(
            {told["job"]: told["batches"] for told in events if told["event"] == "start"}
        )
        done[MODEL] = sum(told["event"] in {"fit", "take_up"} for told in events)
        return +done


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    made = Laboratory(tmp_path_factory.mktemp("plans"))
    add_images(made.folder / "DATA", IMAGES)
    made.run()
    return made


@pytest.fixture
def lab(first, tmp_path):
    shutil.copytree(first.folder, tmp_path, dirs_exist_ok=True)
    copied = Laboratory(tmp_path)
    copied.run()  # the copy's files have other inodes and times
    return copied


def jobs_of(plan):
    """Return the jobs that a plan names, with their actions: cells and features come with a segmentation."""
    named = Counter(item.stage for item in plan.items)
    if {SEGMENT, CELLS} & named.keys():
        named["segment"] = 1
        del named[CELLS], named[FEATURIZE]
    return named


def reasons_of(plan):
    return {(stage, str(reason)): number for stage, reason, number in plan.counts()}


def test_the_parts_that_another_model_is_applied_to_are_planned(lab):
    other = {"embed": {"gamma": 0.5}}
    plan = lab.plan(**other)
    assert reasons_of(plan) == {
        (MODEL, "PARAM gamma auto -> 0.5"): 1,
        (EMBED, "UPSTREAM another kpca"): 3,
        (MODEL, "UPSTREAM another kpca"): 1,
        (CLUSTER, "UPSTREAM another kmeans, cold"): 3,
    }
    assert lab.run(**other) == jobs_of(plan) == {EMBED: 3, CLUSTER: 3, MODEL: 2}

    fewer = {"embed": {"gamma": 0.5}, "cluster": {"k": 2}}
    plan = lab.plan(**fewer)
    assert reasons_of(plan) == {
        (MODEL, "PARAM k 3 -> 2"): 1,
        (CLUSTER, "UPSTREAM another kmeans, cold"): 3,
    }
    assert lab.run(**fewer) == jobs_of(plan) == {CLUSTER: 3, MODEL: 1}

    plan = lab.plan()
    assert lab.run() == jobs_of(plan) == {MODEL: 2}, "all is found again"


def test_embedding_and_clusters_of_other_parameters_are_both_named(lab):
    plan = lab.plan(embed={"gamma": 0.5}, cluster={"method": "mixture", "k": 2})
    (told,) = [str(item.reason) for item in plan.items if item.unit == "kmeans/archive"]
    assert told == "UPSTREAM another kpca, k 3 -> 2, method kmeans -> mixture"


@pytest.mark.parametrize("refit", ["warm", "cold"])
def test_clusters_that_a_smaller_share_has_fitted_again_tell_from_where(lab, refit):
    add_images(lab.folder / "DATA", range(6, 7))
    lab.run()
    policy = {"cluster": {"refit_share": 0.1, "refit": refit}}
    plan = lab.plan(**policy)
    assert reasons_of(plan)[CLUSTER, f"UPSTREAM another kmeans, {refit}"] == 4
    assert lab.run(**policy) == jobs_of(plan)


def folder_of(lab, date):
    return lab.folder / "DATA" / date


def write_export(lab, date):
    """Write an export that labels all images of a date."""
    run = next(folder_of(lab, date).iterdir())
    text = export_text([(path.name, "AMA") for path in sorted(run.glob("*.jpg"))], "Pattern")
    (run / f"exp_pl_LIS_{date}_101758_SN8030_SCREEN.csv").write_bytes(text.encode("cp1252"))


def test_a_deleted_image_has_its_date_labelled_again(lab):
    add_images(lab.folder / "DATA", range(6, 24))
    lab.run()
    next(folder_of(lab, tiny.DATES[0]).rglob("*.jpg")).unlink()
    plan = lab.plan()
    assert (jobs_of(plan), plan.gone) == ({"annotate": 1}, 1)
    assert lab.run() == jobs_of(plan)


def test_new_images_have_their_date_labelled(lab):
    add_images(lab.folder / "DATA", range(6, 7))
    path = next(folder_of(lab, tiny.DATES[1]).rglob("*.jpg"))
    other = folder_of(lab, "20210309") / path.parent.name
    other.mkdir(parents=True)
    shutil.copy(path, other / path.name.replace("0ae", "0af"))
    plan = lab.plan()
    told = reasons_of(plan)
    assert told["annotate", "NEW"] == told["annotate", "INPUT new images"] == 1
    assert lab.run()["annotate"] == jobs_of(plan)["annotate"] == 2


def test_a_date_that_is_taken_away_and_put_back(lab):
    for date in tiny.DATES:
        write_export(lab, date)
    lab.run()
    folder, away = folder_of(lab, tiny.DATES[2]), lab.folder / "away"
    folder.rename(away)
    plan = lab.plan()
    assert (jobs_of(plan), plan.gone) == ({}, 2)
    assert lab.run() == {}

    away.rename(folder)
    plan = lab.plan()
    assert jobs_of(plan) == {"scan": 2}
    assert any(note.startswith("2 files have the name and the size") for note in plan.notes)
    assert not any("new cells" in note for note in plan.notes)
    assert lab.run() == {"scan": 1}


def test_more_clusters_than_cells_are_waited_for_in_plan_and_run(lab):
    many = {"cluster": {"k": 5000}}
    says = (
        "cluster: waits for more cells: there are 36, and it takes 5,000. Until then generation 1 "
        "stays as it is, without new cells. A lower cluster.k takes fewer"
    )
    plan = lab.plan(**many)
    assert (plan.items, plan.notes) == ((), (says,))
    events = run_jobs(lab.config(**many), tiny)
    assert [told["message"] for told in events if told["event"] == "too_few"] == [says]

    both = {"cluster": {"k": 5000}, "embed": {"gamma": 0.5}}
    plan = lab.plan(**both)
    assert (jobs_of(plan), plan.notes) == ({EMBED: 3, MODEL: 1}, (says,))
    assert lab.run(**both) == jobs_of(plan)


def test_features_are_counted_in_images_whyever_they_are_made(lab, monkeypatch):
    cut, described = (
        {"segment": {"cell_diameter": 100.0}},
        {"featurize": {"preprocessing": "keras"}},
    )
    assert reasons_of(lab.plan(**cut))[FEATURIZE, "UPSTREAM"] == len(IMAGES)
    plan = lab.plan(**described)
    assert jobs_of(plan)[FEATURIZE] == 3
    assert {n for stage, _, n in plan.counts() if stage == FEATURIZE} == {len(IMAGES)}

    next((lab.folder / "DATA").rglob("*.jpg")).unlink()
    monkeypatch.setattr("anabatch.jobs.commands_nights.make_config", lambda *_: lab.config(**cut))
    lines = CliRunner().invoke(cli.app, ["plan"]).stdout.splitlines()
    told = {tuple(line.strip("│").replace("│", " ").split()) for line in lines}
    assert ("featurize", "UPSTREAM", "5", "images") in told
    assert ("1", "image", "is", "no", "longer", "there") in told
    assert any(words[0] == "annotate" and words[-2:] == ("1", "date") for words in told if words)
    found = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).stdout)
    units = {row["stage"]: row["unit"] for row in found["counts"]}
    assert units == {"annotate": "dates"} | dict.fromkeys([SEGMENT, CELLS, FEATURIZE], "images")


def test_where_images_went_and_nothing_is_to_be_done_no_table_is_shown(lab, monkeypatch):
    shutil.rmtree(folder_of(lab, tiny.DATES[0]))
    monkeypatch.setattr("anabatch.jobs.commands_nights.make_config", lambda *_: lab.config())
    text = CliRunner().invoke(cli.app, ["plan"]).stdout
    assert text.startswith("2 images are no longer there\n")


def a_new_date(lab):
    path = folder_of(lab, "20210304") / "001_SN08030" / "007_0ae00000007_1_200000007_3_14_11.jpg"
    draw_tiny(path, 77)


def an_image_goes(lab):
    min(folder_of(lab, tiny.DATES[0]).rglob("*.jpg")).unlink()


def a_date_goes(lab):
    folder_of(lab, tiny.DATES[1]).rename(lab.folder / "away")


def it_comes_back(lab):
    (lab.folder / "away").rename(folder_of(lab, tiny.DATES[1]))


def an_export_comes(lab):
    write_export(lab, tiny.DATES[2])


def nothing(_):
    pass


OTHER_KERNEL = {"embed": {"gamma": 0.5}}
LARGER_CELLS = {"segment": {"cell_diameter": 100.0}}
OTHER_FEATURES = {"featurize": {"preprocessing": "keras"}}

NIGHTS: list[tuple[Any, dict[str, Any], set[str]]] = [
    (nothing, {}, set()),
    (a_new_date, {}, {"segment", EMBED, CLUSTER}),
    (an_image_goes, {}, set()),
    (nothing, OTHER_KERNEL, set()),
    (a_date_goes, OTHER_KERNEL, set()),
    (it_comes_back, {}, set()),
    (an_export_comes, {}, set()),
    (nothing, LARGER_CELLS, {EMBED, CLUSTER}),
    (nothing, {}, set()),
    (nothing, OTHER_FEATURES, {EMBED, CLUSTER, MODEL}),
    (nothing, {}, set()),
]
"""What happens, the parameters of the night, and what follows from pictures that nobody has seen yet."""


def test_what_is_planned_is_done_and_nothing_else(lab):
    """Night by night; what follows from new cells is not known in number, and told in notes."""
    for number, (happens, sections, follows) in enumerate(NIGHTS):
        happens(lab)
        plan = lab.plan(**sections)
        done = lab.run(**sections)
        assert done.keys() == jobs_of(plan).keys() | follows, (number, happens.__name__)


class RefitOfTheEmbedding:
    """The job of the command `embed --refit`."""

    @staticmethod
    def run(context):
        embed.run(context, refit=True)


def test_after_a_refit_of_the_embedding_the_parts_are_assigned_anew(lab):
    add_images(lab.folder / "DATA", range(6, 7))
    lab.run()
    run_jobs(lab.config(), RefitOfTheEmbedding)
    plan = lab.plan()
    (told,) = [str(item.reason) for item in plan.items if item.stage == MODEL]
    assert told.startswith("MODEL embedding ")
    assert reasons_of(plan)[CLUSTER, "UPSTREAM another kmeans, cold"] == 4
    assert lab.run() == jobs_of(plan) == {CLUSTER: 4, MODEL: 1}


def test_new_images_of_class_folders_are_labelled(tmp_path):
    def draw(number):
        draw_tiny(tmp_path / "CLASSES" / f"class {number % 2}" / f"{number}.jpg", number)

    def config():
        archive = {"name": "classes", "path": str(tmp_path / "CLASSES"), "layout": "by-class"}
        kept = {"refit_share": 1e6}
        sections = FREE | {"embed": kept, "cluster": kept}
        return make_config(tmp_path, tmp_path / "store", archives=[archive], **sections)

    for number in range(4):
        draw(number)
    run_jobs(config(), tiny)
    draw(4)
    with looking(config()) as context:
        plan = survey(context)
    assert reasons_of(plan) == {("scan", "NEW"): 1, ("annotate", "INPUT new images"): 1}
    done = {told["job"] for told in run_jobs(config(), tiny) if told["event"] == "start"}
    assert done >= jobs_of(plan).keys()


def test_a_refit_for_the_share_that_goes_names_the_parts_that_stay(lab):
    often = {"embed": {"refit_share": 0.2}, "cluster": {"refit_share": 0.2}}
    a_date_goes(lab)
    plan = lab.plan(**often)
    assert reasons_of(plan) == {
        (EMBED, "UPSTREAM another kpca, by an estimate"): 2,
        (CLUSTER, "UPSTREAM another kmeans, by an estimate"): 2,
    }
    assert lab.run(**often) == {**jobs_of(plan), MODEL: 2}


MANY = {"cluster": {"k": 33}}


def test_an_earlier_generation_is_taken_up_again_where_cells_are_too_few(lab):
    lab.run(**MANY)
    lab.run()
    an_image_goes(lab)
    lab.run()
    plan = lab.plan(**MANY)
    assert not any("waits for more cells" in note for note in plan.notes)
    assert [item.unit for item in plan.items if item.stage == MODEL] == ["kmeans/archive"]
    assert lab.run(**MANY) == jobs_of(plan)


def test_too_few_cells_for_clusters_on_another_embedding_are_told_as_a_run_tells_them(lab):
    lab.run(**MANY)
    an_image_goes(lab)
    lab.run(**MANY)
    both = MANY | OTHER_KERNEL
    plan = lab.plan(**both)
    events = run_jobs(lab.config(**both), tiny)
    (told,) = [event["message"] for event in events if event["event"] == "too_few"]
    assert "stays as it is, without new cells" in told
    assert told in plan.notes


def test_a_lost_embedding_is_made_as_it_was_and_its_clusters_stand(lab):
    with anabatch.open_store(lab.folder / "store") as store:
        part = store.state.stage(EMBED)[0].part
    shutil.rmtree(lab.folder / "store" / part)
    plan = lab.plan()
    assert reasons_of(plan) == {(EMBED, "MISSING"): 1}
    assert lab.run() == jobs_of(plan)


OFTEN = {"embed": {"refit_share": 0.2}, "cluster": {"refit_share": 0.2}}


def a_date_is_renamed(lab):
    folder_of(lab, tiny.DATES[1]).rename(folder_of(lab, "20210405"))


def an_image_is_renamed(lab):
    path = min(folder_of(lab, tiny.DATES[0]).rglob("*.jpg"))
    path.rename(path.with_name(path.name.replace("0ae", "0af")))


@pytest.mark.parametrize(
    ("happens", "files"), [(a_date_is_renamed, "2 files have"), (an_image_is_renamed, "1 file has")]
)
def test_what_was_only_renamed_has_nothing_computed_anew(lab, happens, files):
    happens(lab)
    plan = lab.plan(**OFTEN)
    assert jobs_of(plan).keys() == {"scan", "annotate"}
    assert plan.gone == 0
    assert [note.startswith(files) for note in plan.notes if "perhaps only moved" in note] == [True]
    assert not any("new cells" in note for note in plan.notes)
    assert lab.run(**OFTEN).keys() == jobs_of(plan).keys()


def test_an_image_that_stands_for_one_that_is_gone_is_new(lab):
    """Neither its name nor its time tells of the other, whatever its size is."""
    path = min(folder_of(lab, tiny.DATES[0]).rglob("*.jpg"))
    other = path.with_name(path.name.replace("0ae", "0af"))
    path.rename(other)
    os.utime(other, (10**9, 10**9))
    plan = lab.plan()
    assert plan.gone == 1
    assert any("about 6 new cells, 6 gone" in note for note in plan.notes)
