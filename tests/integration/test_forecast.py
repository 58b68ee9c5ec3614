"""What a plan says of population models before the night that has them fitted again."""

import shutil

import pytest
from anabatch.jobs import cli, cluster_command
from anabatch.jobs import featurize as featurize_job
from anabatch.jobs import scan as scan_job
from anabatch.jobs import segment as segment_job
from anabatch.jobs.cluster_options import Asked
from anabatch.jobs.looking import looking
from anabatch.jobs.plan import survey
from cheap import cheap_networks, draw_tiny
from running import make_config, run_jobs
from typer.testing import CliRunner

import anabatch
from anabatch.stages.embed import KIND as KPCA
from anabatch.stages.population import fitted_rows
from anabatch.store.live import MODEL

FREE = {"guards": {"vanished_share": 1.0, "recompute_share": 1.0}}


@pytest.fixture(scope="module", autouse=True)
def _cheap():
    with cheap_networks():
        yield


def draw(folder, number, date="20211213", **options):
    name = f"{number:03d}_0ae0_1_20252440{number}_3_1_05.jpg"
    path = folder / "DATA" / date / "001_SN09001" / name
    draw_tiny(path, number, **options)
    return path


def config_of(folder, **sections):
    return make_config(folder / "DATA", folder / "store", **(FREE | sections))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two images of 12 cells, and a third that has none."""
    folder = tmp_path_factory.mktemp("forecast")
    for number, cells in ((1, 12), (2, 12), (3, 0)):
        draw(folder, number, cells=cells)
    run_jobs(config_of(folder))
    assert len(anabatch.open_store(folder / "store").table("cells").to_pandas()) == 24
    return folder


@pytest.fixture
def night(done, tmp_path):
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return tmp_path


def told(config):
    """Return what the plan says of population models, and the units that it has fitted."""
    with looking(config) as context:
        found = survey(context)
    notes = [note for note in found.notes if note.partition(":")[0] in ("embed", "cluster")]
    return notes, {item.unit: str(item.reason) for item in found.items if item.stage == MODEL}


def fitted(events):
    return [(event["job"], event["generation"]) for event in events if event["event"] == "fit"]


class Part:
    """Clusters under a name, of all cells."""

    def __init__(self, name):
        self.run = cluster_command.job_of(Asked(name=name, where="TRUE", k=2))


def shares(new, kind, share, allowed):
    """Return what is told of a model whose first generation was fitted on 24 cells."""
    return (
        f"about {new}; new and gone ones since generation 1 of {kind} are then {share} of the 24 "
        f"that it was fitted on (refit_share is {allowed})"
    )


def test_the_night_that_has_both_fitted_again_is_told_before(night):
    draw(night, 4, "20211214", cells=12)
    config = config_of(night)
    why = shares("8 new cells", KPCA, "33%", "20%")
    again = "kpca is fitted again, and then the clusters, cold"
    assert told(config) == ([f"embed: {why}: {again}"], {})
    assert fitted(run_jobs(config)) == [("embed", 2), ("cluster", 2)]


def test_clusters_of_parts_that_a_run_leaves_behind_are_named(night, monkeypatch):
    config, other = config_of(night), config_of(night, embed={"gamma": 0.5})
    for name in ("two", "one"):
        run_jobs(config, Part(name))
    assert told(config) == ([], {})
    leaves = "a run makes another embedding, and leaves clusters of parts on theirs"
    assert told(other)[0] == [f"cluster: {leaves}: one, two (anabatch cluster --name one)"]
    run_jobs(other)
    run_jobs(other, Part("one"))
    left = "clusters of parts are on another embedding, and runs leave them there"
    assert told(other) == ([f"cluster: {left}: two (anabatch cluster --name two)"], {})
    monkeypatch.setattr("anabatch.jobs.commands_nights.make_config", lambda *_: other)
    done = CliRunner().invoke(cli.app, ["plan"])
    assert done.stdout.startswith("nothing to do\ncluster: clusters of parts are on another ")
    run_jobs(other, Part("two"))
    assert told(other) == ([], {})


def test_models_follow_the_first_images(tmp_path):
    draw(tmp_path, 1)
    config = config_of(tmp_path)
    run_jobs(config, scan_job)

    def follows():
        with looking(config) as context:
            return [note for note in survey(context).notes if note.startswith("embed and cluster")]

    first = "embed and cluster follow: their first models are fitted on the cells that are found"
    assert follows() == [first]
    run_jobs(config, segment_job)
    (after,) = follows()
    assert after.startswith("embed and cluster come after the features: ")
    run_jobs(config, featurize_job)
    assert follows() == []


@pytest.mark.parametrize("refit", ["warm", "cold"])
def test_the_clusters_alone(night, refit):
    draw(night, 4, "20211214", cells=12)
    config = config_of(night, embed={"refit_share": 1.0}, cluster={"refit": refit})
    why = shares("8 new cells", "kmeans", "33%", "20%")
    stays = f"embed: {shares('8 new cells', KPCA, '33%', '100%')}: kpca stays"
    again = f"cluster: {why}: the clusters are fitted again, {refit}"
    assert told(config) == ([stays, again], {})
    if refit == "warm":
        assert fitted(run_jobs(config)) == [("cluster", 2)]


def test_neither(night):
    draw(night, 4, "20211214", cells=2)
    config = config_of(night, embed={"refit_share": 0.4}, cluster={"refit_share": 0.34})
    notes, models = told(config)
    assert [note.rpartition(": ")[2] for note in notes] == ["kpca stays", "the clusters stay"]
    assert not models
    assert not fitted(run_jobs(config))
    assert told(config) == ([], {})


def test_what_models_were_fitted_on_is_read_once(night, monkeypatch):
    draw(night, 4, "20211214", cells=2)
    read = []

    def counted(root, part):
        read.append(part)
        return fitted_rows(root, part)

    monkeypatch.setattr("anabatch.jobs.context.fitted_rows", counted)
    config = config_of(night, embed={"refit_share": 1.0}, cluster={"refit_share": 1.0})
    assert len(told(config)[0]) == 2
    assert len(read) == len(set(read)) == 2


def test_cells_that_go_count_as_those_that_come(night):
    (night / "DATA/20211213/001_SN09001/001_0ae0_1_202524401_3_1_05.jpg").unlink()
    config = config_of(night)
    why = shares("0 new cells, 12 gone", KPCA, "50%", "20%")
    assert [note.startswith(f"embed: {why}") for note in told(config)[0]] == [True]
    assert fitted(run_jobs(config)) == [("embed", 2), ("cluster", 2)]


def test_cells_that_are_cut_again_go_and_come(night):
    notes, _ = told(config_of(night, segment={"cell_diameter": 100.0}))
    why = shares("24 new cells, 24 gone", KPCA, "200%", "20%")
    assert [note.startswith(f"embed: {why}") for note in notes] == [True]


def test_images_that_some_jobs_have_done_are_counted(night):
    draw(night, 4, "20211214", cells=12)
    config = config_of(night, embed={"refit_share": 0.6})
    run_jobs(config, scan_job)
    why = shares("8 new cells", "kmeans", "33%", "20%")
    stays = f"embed: {shares('8 new cells', KPCA, '33%', '60%')}: kpca stays"
    both = [stays, f"cluster: {why}: the clusters are fitted again, cold"]
    assert told(config) == (both, {})
    exact = [note.replace("8 new", "12 new").replace("33%", "50%") for note in both]
    for job in (segment_job, featurize_job):
        run_jobs(config, job)
        assert told(config) == (exact, {})


def test_with_a_kernel_pca_that_is_due_the_clusters_are(night):
    config = config_of(night, embed={"gamma": 0.5})
    draw(night, 4, "20211214", cells=12)
    notes, models = told(config)
    assert not notes
    assert models == {
        "kpca/archive": "PARAM gamma auto -> 0.5",
        "kmeans/archive": "UPSTREAM another kpca",
    }
    assert fitted(run_jobs(config)) == [("embed", 2), ("cluster", 2)]


@pytest.mark.parametrize(("files", "many"), [(1, "1 file is"), (2, "2 files are")])
def test_files_that_are_read_first_are_counted(night, files, many):
    for number in range(files):
        draw(night, 4 + number, cells=1)
    copied = {"ignore_inode": True, "ignore_ctime": True, "rehash_share": 0.0}
    with looking(config_of(night, scan=copied)) as context:
        assert f"{many} read first, which decides what follows" in survey(context).notes


@pytest.mark.parametrize("refit_share", [0.2, 9.0])
def test_clusters_that_too_few_cells_are_left_for_are_told_as_a_run_tells_them(night, refit_share):
    often = {"embed": {"refit_share": refit_share}, "cluster": {"refit_share": 0.2, "k": 13}}
    config = config_of(night, **often)
    run_jobs(config)
    (night / "DATA/20211213/001_SN09001/001_0ae0_1_202524401_3_1_05.jpg").unlink()
    with looking(config) as context:
        plan = survey(context)
    events = run_jobs(config)
    (says,) = [event["message"] for event in events if event["event"] == "too_few"]
    assert [note for note in plan.notes if "waits for more cells" in note] == [says]
    assert {item.stage for item in plan.items} == {
        event["job"] for event in events if event["event"] == "start"
    }
