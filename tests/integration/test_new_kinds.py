"""Nights that bring cells of a kind that the clusters do not know."""

import datetime as dt
import shutil
from unittest.mock import patch

import numpy as np
import pytest
import tiny
from anabatch.jobs import cluster_command, new_kinds
from anabatch.jobs.cluster_options import Asked
from anabatch.jobs.looking import looking
from anabatch.jobs.plan import survey
from cheap import TINY, cheap_networks, draw_tiny
from PIL import Image
from running import make_config, run_jobs

import anabatch
from anabatch.config import ReportConfig
from anabatch.report.build import build_report
from anabatch.stages import new_kinds as stage
from anabatch.stages.new_kinds import KIND
from anabatch.stages.population import read_model
from anabatch.store.live import CLUSTER, EMBED, FEATURIZE, cluster_unit
from anabatch.store.parts import Part

FIRST = dt.date(2021, 12, 1)


@pytest.fixture(scope="module", autouse=True)
def _cheap():
    with cheap_networks():
        yield


def draw_rings(path, seed):
    """Draw twelve rings: cells as large as the discs of others, and dim in the middle."""
    rng = np.random.default_rng(seed)
    width, height = TINY
    y, x = np.mgrid[:height, :width]
    signal = rng.uniform(0, 20, (height, width))
    for place in range(12):
        cy, cx = 14 + 28 * (place // 4), 14 + 27 * (place % 4)
        distance = np.hypot(y - cy, x - cx)
        radius = rng.uniform(7, 9)
        signal[distance < radius] = 66
        signal[(distance < radius) & (x < cx - 2)] = rng.uniform(240, 255)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 1] = signal
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=95, subsampling=0)


def place(folder, day, number):
    date = FIRST + dt.timedelta(days=day)
    name = f"{number:03d}_0ae00000001_1_2999{day:03d}{number:02d}_3_14_01.jpg"
    return folder / f"DATA/{date:%Y%m%d}/001_SN08030/{name}"


def config_of(folder, **options):
    clusters = {"k": 3, "components": 8, "refit_share": 9.0} | options
    config = {"embed": {"landmarks": 60, "components": 16, "refit_share": 9.0}}
    return make_config(folder / "DATA", folder / "store", cluster=clusters, **config)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Ten dates of twelve discs."""
    folder = tmp_path_factory.mktemp("kinds")
    for day in range(10):
        draw_tiny(place(folder, day, 1), day, cells=12)
    run_jobs(config_of(folder))
    return folder


@pytest.fixture
def store(done, tmp_path):
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return tmp_path


def clusters(folder):
    return anabatch.open_store(folder / "store").table("clusters").to_pandas()


def proposals(folder):
    state = anabatch.open_store(folder / "store").state
    return [a for a in state.stage("model") if a.unit.startswith(f"{KIND}/")]


def bring(folder, draw, *days):
    for day in days:
        for number in (1, 2):
            draw(place(folder, day, number), 100 * number + day)


def test_more_of_the_same_is_no_new_kind(store):
    bring(store, lambda path, seed: draw_tiny(path, seed, cells=12), 10, 11)
    events = run_jobs(config_of(store))
    assert not any(event["event"] == "new_kind" for event in events)
    assert not proposals(store)


def test_a_new_kind_is_told_of_shown_and_added_when_asked(store):
    before = clusters(store)
    bring(store, draw_rings, 10, 11)
    events = run_jobs(config_of(store))
    (told,) = [event for event in events if event["event"] == "new_kind"]
    assert told["of"] == 48
    assert told["cells"] >= 40
    assert "of 4 images" in told["message"]
    (proposal,) = proposals(store)
    assert proposal.components["generation"] == 1
    assert set(clusters(store).generation) == {1}  # nothing has changed yet
    with looking(config_of(store)) as context:
        assert any("--add-new" in note for note in survey(context).notes)
    opened = anabatch.open_store(store / "store")
    page = build_report(opened, store / "r.html", config=ReportConfig()).read_text("utf-8")
    assert page.count("cell of a new kind;") == 36
    assert "from 4 images" in page

    added = cluster_command.job_of(Asked(add_new=True))
    run_jobs(config_of(store), type("Job", (), {"run": staticmethod(added)}))
    after = clusters(store).set_index("cell_id")
    assert set(after.generation) == {2}
    old = after.loc[before.cell_id]
    assert (old.cluster.to_numpy() == before.cluster.to_numpy()).mean() >= 0.97
    new = after.drop(index=before.cell_id)
    assert (new.cluster == 3).mean() > 0.9
    # the proposal was of the clusters before, and a refit keeps the number of clusters
    with looking(config_of(store)) as context:
        assert not any("--add-new" in note for note in survey(context).notes)
    events = run_jobs(config_of(store), cluster_command_refit())
    assert clusters(store).cluster.nunique() == 4
    assert set(clusters(store).generation) == {3}


def cluster_command_refit():
    job = cluster_command.job_of(Asked(refit=True))
    return type("Job", (), {"run": staticmethod(job)})


def test_a_night_may_add_it_at_once(store):
    bring(store, draw_rings, 10, 11)
    run_jobs(config_of(store, new_kinds="add"))
    after = clusters(store)
    assert set(after.generation) == {2}
    assert set(after.cluster) == {0, 1, 2, 3}
    version = anabatch.open_store(store / "store").version
    run_jobs(config_of(store, new_kinds="add"))
    assert anabatch.open_store(store / "store").version == version


def test_one_bad_image_is_no_kind_that_is_added_unasked(store):
    for number, path in enumerate([place(store, 10, 1), place(store, 10, 2)]):
        draw_rings(path, number)
    config = config_of(store, new_kinds="add", least_new=10)
    events = run_jobs(config)
    assert "of 2 images" in next(e["message"] for e in events if e["event"] == "new_kind")
    assert set(clusters(store).generation) == {1}


def test_nothing_is_read_where_the_ledger_says_that_no_kind_is_there(store, monkeypatch):
    bring(store, draw_rings, 10)
    monkeypatch.setattr(stage, "far_rows", None)
    run_jobs(config_of(store, least_new=40))
    assert set(clusters(store).generation) == {1}


def bring_known(folder, day):
    """Bring four discs, of which none is far."""
    draw_tiny(place(folder, day, 1), 200 + day, cells=4)


@pytest.fixture
def read(monkeypatch):
    """The parts of which a file was read."""
    found = set()
    verified = Part._verified

    def noted(self, name):
        found.add(self.path)
        return verified(self, name)

    monkeypatch.setattr(Part, "_verified", noted)
    return found


def far_parts(folder):
    """Return the parts with what is known of cells that are far."""
    state = anabatch.open_store(folder / "store").state
    found = set()
    for embedded in state.stage(EMBED):
        cells = embedded.unit
        clustered = state.get(CLUSTER, cluster_unit(cells))
        if clustered and clustered.components.get("beyond"):
            found |= {cells, clustered.part, embedded.part}
            found |= {a.part for a in state.stage(FEATURIZE) if a.unit == cells}
    return found


def a_night(folder):
    """Run all but the report, and return what was said of a new kind, and proposed."""
    events = run_jobs(config_of(folder), tiny, accept=True)
    said = [event["message"] for event in events if event["event"] == "new_kind"]
    (proposal,) = proposals(folder)
    model = read_model(folder / "store", proposal.part)
    arrays = {name: array.tolist() for name, array in model.items()}
    return said, proposal.components, arrays


def test_far_cells_are_read_again_when_others_come_and_not_before(store, tmp_path_factory, read):
    bring(store, draw_rings, 10, 11)
    first, *_ = a_night(store)
    far = far_parts(store)
    bring_known(store, 12)
    peer = tmp_path_factory.mktemp("peer")
    shutil.copytree(store, peer, dirs_exist_ok=True)
    read.clear()
    said, *proposed = a_night(store)
    assert far_parts(store) == far
    assert not far & read
    # it is as if they had been
    with patch.object(new_kinds, "_made_of", lambda *_: None):
        assert a_night(peer) == (said, *proposed)
    assert far <= read
    assert said != first
    assert "of 52 new cells, of 4 images" in said[0]

    read.clear()
    assert a_night(store) == ([], *proposed)  # and where nothing came at all
    assert not far & read
    with looking(config_of(store)) as context:
        assert any("--add-new" in note for note in survey(context).notes)

    bring(store, draw_rings, 13)
    (text,), *_ = a_night(store)
    assert "of 76 new cells, of 6 images" in text
    assert far <= read


def test_far_cells_are_read_again_when_some_are_gone_or_the_proposal_is_damaged(store, read):
    bring(store, draw_rings, 10, 11)
    a_night(store)
    far = far_parts(store)
    place(store, 10, 1).unlink()
    bring_known(store, 12)
    read.clear()
    (text,), *proposed = a_night(store)
    assert "36 of 40 new cells, of 3 images" in text
    assert far <= read

    (proposal,) = proposals(store)
    bundle = store / "store" / proposal.part / "model.npz"
    bundle.write_bytes(bundle.read_bytes()[::-1])
    bring_known(store, 13)
    read.clear()
    (text,), _, arrays = a_night(store)
    assert "36 of 44 new cells, of 3 images" in text
    assert arrays == proposed[1]
    assert far <= read


def test_far_cells_are_read_again_when_one_image_goes_and_another_comes_back(store):
    bring(store, draw_rings, 10, 11)
    one, two, away = place(store, 10, 1), place(store, 10, 2), store / "away.jpg"
    one.rename(away)
    bring_known(store, 12)
    a_night(store)
    two.rename(store / "two.jpg")
    away.rename(one)  # as many rows of the same part, and other ones
    bring_known(store, 13)
    _, components, arrays = a_night(store)
    assert components["together"] == 36
    assert set(arrays["cell_ids"]) <= set(clusters(store).cell_id)


def test_few_are_no_kind(store):
    bring(store, draw_rings, 10)
    assert not [e for e in run_jobs(config_of(store, least_new=40)) if e["event"] == "new_kind"]


def test_a_warm_refit_keeps_centres_and_numbers(store):
    before = clusters(store)
    bring(store, lambda path, seed: draw_tiny(path, seed, cells=12), 10, 11, 12)
    warm = {"refit": "warm", "refit_share": 0.1}
    with looking(config_of(store, **warm)) as context:
        assert survey(context).items
    events = run_jobs(config_of(store, **warm))
    assert [e["message"] for e in events if e["event"] == "warm"] == [
        "cluster: archive goes on from the centres of generation 1"
    ]
    after = clusters(store)
    assert set(after.generation) == {2}
    same = after.set_index("cell_id").cluster[before.cell_id].to_numpy()
    assert (same == before.cluster.to_numpy()).mean() >= 0.95


def test_another_embedding_starts_anew(store):
    config = config_of(store, refit="warm")
    other = config.embed.model_copy(update={"landmarks": 50})
    events = run_jobs(config.model_copy(update={"embed": other}))
    assert any("MODEL embedding" in event.get("reason", "") for event in events)
    (told,) = [event for event in events if event["event"] == "numbers"]
    found = clusters(store).cluster
    assert set(told["new"]) == set(found) - {0, 1, 2}
    assert set(told["gone"]) == {0, 1, 2} - set(found)
    assert not any(event["event"] == "warm" for event in events)
