"""Parameters that are put back bring back the models that were fitted with them, and their numbers."""

from pathlib import Path

import numpy as np
import pytest
from anabatch.jobs import cluster, cluster_command
from anabatch.jobs.cluster_options import Asked
from anabatch.jobs.looking import looking
from anabatch.jobs.plan import survey
from cheap import cheap_networks, draw_tiny
from running import make_config, run_jobs

import anabatch
from anabatch.store.generations import generations
from anabatch.store.live import MODEL
from anabatch.store.verification import verify


@pytest.fixture(autouse=True)
def _cheap():
    with cheap_networks():
        yield


class Laboratory:
    """An archive of tiny images, and a store that is run with whatever parameters are asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.images = 0
        self.events = []

    def add(self, number):
        run = self.folder / "DATA" / "20211213" / "001_SN09001"
        for _ in range(number):
            self.images += 1
            draw_tiny(
                run / f"{self.images:03d}_0ae0_1_20252440{self.images}_3_1_05.jpg", self.images
            )

    def config(self, embed=None, **cluster):
        cluster = {"k": 3, "refit_share": 0.5, **cluster}
        embed = {"refit_share": 0.5, **(embed or {})}
        paths = self.folder / "DATA", self.folder / "store"
        return make_config(*paths, embed=embed, cluster=cluster)

    def run(self, embed=None, **cluster):
        """Run a night; return its store."""
        config = self.config(embed, **cluster)
        self.events = run_jobs(config, accept=True)
        return anabatch.open_store(config.store)

    def report(self):
        (told,) = [told for told in self.events if told["event"] == "report"]
        return Path(told["path"]).read_text("utf-8")

    def told(self, event):
        return [told["job"] for told in self.events if told["event"] == event]


@pytest.fixture
def lab(tmp_path):
    made = Laboratory(tmp_path)
    made.add(6)
    return made


def rows(store):
    table = store.table("clusters").to_arrow().sort_by("cell_id")
    return table.select(["cell_id", "cluster", "generation"])


def used(store):
    return int(generations(store.state, "kmeans", "archive")[-1].components["used"])


def numbers(store, kind):
    return [int(a.components["generation"]) for a in generations(store.state, kind, "archive")]


def test_models_and_numbers_come_back_with_the_parameters(lab):
    first = lab.run()
    before, embedded = rows(first), first.array("embedding")[:].compute()
    lab.run({"gamma": 1e-3})
    assert lab.told("fit") == ["embed", "cluster"]
    store = lab.run()
    assert (lab.told("fit"), lab.told("take_up")) == ([], ["embed", "cluster"])
    assert rows(store).equals(before)
    assert np.array_equal(store.array("embedding")[:].compute(), embedded)
    assert (numbers(store, "kpca"), numbers(store, "kmeans")) == ([2, 1], [2, 1])
    assert not verify(store.root, share=1).problems
    assert lab.report().count('generation 1, <span class="warn">taken up again since</span>') == 2

    version = store.version
    store = lab.run()
    assert (lab.told("fit"), lab.told("take_up")) == ([], [])
    assert store.version == version, "and then nothing is left to do"


def test_what_comes_after_is_numbered_after_all_that_ever_was(lab):
    lab.run()
    other = lab.run(k=5)
    lab.run()
    assert lab.told("take_up") == ["cluster"]
    store = lab.run(k=4)
    assert lab.told("fit") == ["cluster"]
    assert numbers(store, "kmeans") == [2, 1, 3]
    assert used(store) >= used(other)
    given = set(rows(other)["cluster"].to_pylist()) - {0, 1, 2}
    assert not given & set(rows(store)["cluster"].to_pylist()), "other clusters had those numbers"


def test_a_generation_of_too_few_of_the_cells_is_not_taken_up(lab):
    lab.run()
    lab.run(k=4)
    lab.add(12)
    lab.run(k=4)
    store = lab.run()
    assert (lab.told("take_up"), lab.told("fit")) == ([], ["cluster"])
    assert numbers(store, "kmeans")[-1] > 2


def test_a_refit_that_is_asked_for_fits(lab):
    lab.run()
    lab.run(k=4)
    events = run_jobs(lab.config(), RefitOfClusters)
    assert [told["event"] for told in events if told["event"] in {"fit", "take_up"}] == ["fit"]


class RefitOfClusters:
    """The job of the command `cluster --refit`."""

    @staticmethod
    def run(context):
        cluster.run(context, refit=True)


def surveyed(lab, **embed):
    with looking(lab.config(embed)) as context:
        found = survey(context)
    told = {item.unit: str(item.reason) for item in found.items if item.stage == MODEL}
    return told, found.notes


def test_the_plan_says_what_is_taken_up_and_what_stays_behind(lab):
    lab.run()
    run_jobs(lab.config(), PartOfAll)
    lab.run({"gamma": 1e-3})
    told, notes = surveyed(lab, gamma=1e-3)
    assert told == {}
    assert any("parts are on another embedding" in note and ": mine (" in note for note in notes)
    told, notes = surveyed(lab)
    assert told["kpca/archive"] == "PARAM gamma 0.001 -> auto; generation 1 is taken up again"
    assert told["kmeans/archive"].endswith("; generation 1 is taken up again")
    assert not any("mine" in note for note in notes), "they are on the one that comes back"
    told, notes = surveyed(lab, gamma=2e-3)
    assert told["kpca/archive"] == "PARAM gamma 0.001 -> 0.002"
    assert any("makes another embedding" in note for note in notes)


@pytest.mark.parametrize("file", ["fitted.json", "part.json"])
def test_where_what_would_be_taken_up_is_damaged_another_is_fitted(lab, file):
    store = lab.run()
    (first,) = generations(store.state, "kmeans", "archive")
    lab.run(k=4)
    (store.root / str(first.part) / file).unlink()
    store = lab.run()
    assert (lab.told("take_up"), lab.told("fit")) == ([], ["cluster"])
    assert numbers(store, "kmeans")[-1] == 3


def test_numbers_are_not_given_again_after_the_last_generation_is_lost(lab):
    lab.run()
    other = lab.run(k=5)
    lab.run()
    lost = generations(other.state, "kmeans", "archive")[-1]
    (other.root / str(lost.part) / "part.json").unlink()
    assert numbers(lab.run(), "kmeans") == [1]
    store = lab.run(k=4)
    assert numbers(store, "kmeans") == [1, 3]
    assert used(store) > used(other)


def test_the_run_that_fitted_stays_the_one_that_did(lab):
    (first,) = generations(lab.run().state, "kmeans", "archive")
    lab.run(k=4)
    again = generations(lab.run().state, "kmeans", "archive")[-1]
    assert (again.unit, again.run) == (first.unit, first.run)


class PartOfAll:
    """The job of the command `cluster --name mine --where TRUE --k 2`."""

    run = staticmethod(cluster_command.job_of(Asked(name="mine", where="TRUE", k=2)))
