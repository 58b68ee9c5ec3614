"""Clusters of a part of the archive, by their own command."""

import io
import re
import shutil

import numpy as np
import pytest
import typer
from anabatch.jobs import cli, cluster_command, gc, run
from anabatch.jobs import cluster as cluster_job
from anabatch.jobs.cluster_options import Asked
from anabatch.jobs.reporter import Reporter
from anabatch.jobs.status import count
from cheap import cheap_networks, draw_tiny
from running import make_config, run_jobs
from typer.testing import CliRunner

import anabatch
from anabatch.clustering.matching import LEAST_OVERLAP
from anabatch.compute.graphs import limited
from anabatch.config import ReportConfig
from anabatch.errors import ConfigurationError, PopulationError
from anabatch.report import incoming
from anabatch.report.source import Source
from anabatch.sampling import digests, draw, in_order
from anabatch.stages import choose_k as stage
from anabatch.stages import pilots
from anabatch.stages.pilots import Pilot
from anabatch.stages.population import read_model
from anabatch.store import selection
from anabatch.store.live import CLUSTER, MODEL

GOLGI = "label = 'golgi'"


@pytest.fixture(scope="module", autouse=True)
def _cheap():
    with cheap_networks():
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Four images of one class, three of another, twelve cells each."""
    folder = tmp_path_factory.mktemp("classes")
    for number in range(4):
        draw_tiny(folder / f"DATA/Cytoplasme/Cyto Golgi/{number}.jpg", number, cells=12)
    for number in range(4, 7):
        draw_tiny(folder / f"DATA/Nucleaire/Homogene/{number}.jpg", number, cells=12)
    run_jobs(config_of(folder))
    return folder


@pytest.fixture
def archive(done, tmp_path):
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return tmp_path


def config_of(folder, **sections):
    place = {"name": "sim", "path": str(folder / "DATA"), "layout": "by-class"}
    return make_config(folder / "DATA", folder / "store", archives=[place], **sections)


class Command:
    """A job of the command with options."""

    def __init__(self, **options):
        self.run = cluster_command.job_of(Asked(**options))


def cluster(folder, config=None, **options):
    return run_jobs(config or config_of(folder), Command(**options), create=False)


def frames(folder, name="golgi"):
    """Return the cells of a model with their clusters, as the store's readers see them."""
    store = anabatch.open_store(folder / "store")
    cells = store.table("cells").to_pandas()
    clusters = store.table("clusters", name).to_pandas()
    assert clusters.cell_id.is_unique
    return store, cells, clusters


def golgi(store, cells):
    rows = store.table("annotations").to_pandas()
    return cells[cells.image_id.isin(rows[rows.label == "golgi"].image_id)]


def test_a_class_has_clusters_of_its_own(archive):
    before = anabatch.open_store(archive / "store").table("clusters").to_pandas()
    cluster(archive, name="golgi", where=GOLGI, k=4)
    store, cells, clusters = frames(archive)
    assert list(clusters.cell_id) == list(golgi(store, cells).cell_id)
    assert 40 < len(clusters) < len(cells)
    assert set(clusters.cluster) == {0, 1, 2, 3}
    assert set(clusters.model) == {"golgi"}
    assert set(clusters.generation) == {1}
    assert np.isfinite(clusters.distance).all()
    sizes = clusters.cluster.value_counts()
    assert list(sizes.sort_index()) == sorted(sizes, reverse=True)  # 0 is the largest
    # the archive's stay what they were
    assert store.table("clusters").to_pandas().equals(before)


def test_what_nights_do_is_counted_without_it(archive):
    def counted():
        opened = anabatch.open_store(archive / "store")
        source = Source(opened, ReportConfig(), None, (), {})
        stages = {row["name"]: row["total"] for row in incoming.section(source).facts["stages"]}
        done = sum(day.stages[CLUSTER].done for day in count(opened.state.actions(), ()))
        rows = {row["table"]: row["rows"] for row in opened.summary()}
        return stages, done, rows["clusters"]

    before = counted()
    cluster(archive, name="golgi", where=GOLGI, k=4, choose_k="2..3")
    after = counted()
    assert after[:2] == before[:2]
    assert after[2] == before[2] + len(frames(archive)[2])


def test_it_is_remembered_and_done_once(archive):
    cluster(archive, name="golgi", where=GOLGI, k=4, method="lloyd")
    store, _, clusters = frames(archive)
    events = cluster(archive, name="golgi")
    again, _, same = frames(archive)
    assert again.version == store.version
    assert same.equals(clusters)
    assert not any(event["event"] == "fit" for event in events)


def test_another_k_or_method_fits_it_again_and_keeps_numbers(archive):
    cluster(archive, name="golgi", where=GOLGI, k=3)
    *_, before = frames(archive)
    events = cluster(archive, name="golgi", method="mixture")
    (fit,) = [event for event in events if event["event"] == "fit"]
    assert fit["reason"] == "PARAM method kmeans -> mixture"
    _, _, after = frames(archive)
    assert set(after.generation) == {2}
    assert (before.cluster.to_numpy() == after.cluster.to_numpy()).mean() > 0.5
    cluster(archive, name="golgi", k=5)
    *_, last = frames(archive)
    assert last.cluster.nunique() == 5
    # a number that stays is of the same cells
    assert set(after.cluster) & set(last.cluster)
    for number in set(after.cluster) & set(last.cluster):
        then, now = after.cluster.to_numpy() == number, last.cluster.to_numpy() == number
        assert (then & now).sum() >= LEAST_OVERLAP * (then | now).sum()


def test_another_condition_takes_other_cells(archive):
    other = "list_contains(labels, 'homogeneous')"
    events = cluster(archive, name="golgi", where=other, k=2)
    store, _, clusters = frames(archive)
    events += cluster(archive, name="golgi", where=other)
    assert not any(event["event"] == "replaces" for event in events)
    events = cluster(archive, name="golgi", where=f"{GOLGI} AND row < 30", k=2)
    (told,) = [event for event in events if event["event"] == "replaces"]
    assert (told["level"], told["before"], told["cells"]) == ("warning", other, len(clusters))
    version = store.version
    assert f" are 2 clusters of {len(clusters)} cells where {other}, which these" in told["message"]
    shown = f"anabatch show clusters --model golgi --at {version}"
    assert f" they stay in version {version} of the store (`{shown}`)" in told["message"]
    assert "rollback" not in told["message"]
    asked = [*shown.split()[1:], "--store", str(archive / "store")]
    assert CliRunner().invoke(cli.app, asked).stdout.count("\n") > len(clusters)
    store, cells, clusters = frames(archive)
    expected = golgi(store, cells)
    assert list(clusters.cell_id) == list(expected[expected.row < 30].cell_id)
    paths = {a.unit for a in store.state.stage(CLUSTER) if a.unit.startswith("golgi:")}
    assert paths == {f"golgi:{part}" for part in expected.part}


def test_the_same_words_that_select_other_cells_now_are_another_condition(archive, monkeypatch):
    both = "label = 'golgi' AND label = 'Cyto Golgi' OR label = 'homogeneous'"
    with monkeypatch.context() as once:
        once.setattr(selection, "joins_labels", lambda _: False)  # as it was once
        cluster(archive, name="both", where=both, k=2)
    few = len(frames(archive, "both")[2])
    draw_tiny(archive / "DATA/Cytoplasme/Cyto Golgi/9.jpg", 9, cells=4)
    run_jobs(config_of(archive, embed={"refit_share": 1.0}))
    version = anabatch.open_store(archive / "store").version
    events = cluster(archive, name="both")
    (told,) = [event for event in events if event["event"] == "replaces"]
    assert f" of {few} cells where {both}, which these replace. The same words" in told["message"]
    assert f"--at {version}`" in told["message"]
    _, cells, clusters = frames(archive, "both")
    assert len(clusters) == len(cells) > few
    draw_tiny(archive / "DATA/Cytoplasme/Cyto Golgi/10.jpg", 10, cells=4)
    run_jobs(config_of(archive, embed={"refit_share": 1.0}))
    events = cluster(archive, name="both")
    assert not any(event["event"] == "replaces" for event in events)
    assert len(frames(archive, "both")[2]) == len(clusters) + 4


def test_cells_that_come_later_are_assigned_when_asked(archive):
    cluster(archive, name="golgi", where=GOLGI, k=2)
    draw_tiny(archive / "DATA/Cytoplasme/Cyto Golgi/9.jpg", 9, cells=4)
    run_jobs(config_of(archive, embed={"refit_share": 1.0}))
    *_, before = frames(archive)
    cluster(archive, name="golgi")
    store, cells, after = frames(archive)
    assert len(after) == len(golgi(store, cells)) == len(before) + 4
    assert set(after.generation) == {1}
    assert after.set_index("cell_id").cluster[before.cell_id].tolist() == before.cluster.tolist()


def test_a_refit_that_finds_the_same_is_another_generation_everywhere(archive):
    cluster(archive, name="golgi", where=GOLGI, k=2)
    *_, before = frames(archive)
    cluster(archive, name="golgi", refit=True)
    *_, after = frames(archive)
    assert set(before.generation) == {1}
    assert set(after.generation) == {2}
    assert after.cluster.tolist() == before.cluster.tolist()


def test_a_whole_run_leaves_it_and_forgets_what_is_gone(archive):
    cluster(archive, name="golgi", where=GOLGI, k=2)
    for path in (archive / "DATA/Cytoplasme").rglob("*.jpg"):
        path.unlink()
    run_jobs(config_of(archive), run, accept=True)
    assert frames(archive)[2].empty
    out = "take these clusters out: `anabatch cluster --name golgi --remove`"
    with pytest.raises(ConfigurationError, match=rf"no cell is selected.*Labels are.*{out}"):
        cluster(archive, name="golgi")
    with pytest.raises(ConfigurationError, match="no cell is selected") as raised:
        cluster(archive, name="golgi", where="label = 'gogli'")
    assert "--remove" not in str(raised.value)
    cluster(archive, name="golgi", remove=True)
    assert not named(archive)


def named(folder, name="golgi"):
    """Return the actions of a name: its models, its clusters, and how its k was found."""
    actions = anabatch.open_store(folder / "store").state.actions()
    return [a for a in actions if a.unit.startswith(f"{name}:") or f"/{name}/" in a.unit]


def test_clusters_are_removed_by_their_name(archive):
    cluster(archive, name="golgi", where=GOLGI, choose_k="2..3")
    cluster(archive, name="golgi", refit=True)
    cluster(archive, name="golgi2", where=GOLGI, k=2)
    store, _, clusters = frames(archive)
    others = frames(archive, "golgi2")[2], frames(archive, "archive")[2]
    mine = named(archive)
    kinds = {action.unit.split("/")[0] for action in mine if action.stage == MODEL}
    assert kinds == {"kmeans", "choice"}
    events = cluster(archive, name="golgi", remove=True)
    (told,) = [event for event in events if event["event"] == "removed"]
    assert told["message"] == (
        f"cluster: removed golgi, of {len(clusters)} cells; they stay in version {store.version} of "
        f"the store (`anabatch show clusters --model golgi --at {store.version}`)"
    )
    after = anabatch.open_store(archive / "store")
    assert after.version == store.version + 1  # whole, or not at all
    run_jobs(config_of(archive), run)
    assert not named(archive)
    older = anabatch.open_store(archive / "store", store.version)
    assert older.table("clusters", "golgi").to_pandas().equals(clusters)
    for name, before in zip(("golgi2", "archive"), others, strict=True):
        assert frames(archive, name)[2].equals(before)
    with pytest.raises(ConfigurationError, match=r"no clusters named golgi.*those of golgi2\."):
        cluster(archive, name="golgi", remove=True)
    for reader in (store, after, older):  # which would keep what they read
        reader.close()
    keep = {"versions": 1, "days": 0.0}
    taken = gc.gc(config_of(archive, keep=keep), Reporter("json", io.StringIO()), dry_run=False)
    assert {action.part for action in mine} <= {item.path for item in taken.items}
    cluster(archive, name="golgi", where=GOLGI, k=2)
    assert list(frames(archive)[2].cell_id) == list(clusters.cell_id)


def test_equal_fits_under_two_names_do_not_share_their_rows(archive):
    cluster(archive, name="one", where=GOLGI, k=2)
    cluster(archive, name="two", where=GOLGI, k=2)
    assert set(frames(archive, "two")[2].model) == {"two"}


def files(folder):
    """Return the files of a store's parts and of its ledger, and when they were written."""
    paths = [path for name in ("parts", "ledger") for path in (folder / "store" / name).rglob("*")]
    return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}


def test_too_few_cells_are_told_and_change_nothing(archive):
    few = "label = 'golgi' AND row = 0"
    with pytest.raises(PopulationError, match="new: 8 clusters cannot be made of 2 cells where "):
        cluster(archive, config_of(archive, cluster={"k": 8}), name="new", where="row < 2")
    cluster(archive, name="golgi", where=GOLGI, k=2)
    *_, clusters = frames(archive)
    before = files(archive)
    for options, words in (
        ({"k": 50}, f"golgi: 50 clusters cannot be made of {len(clusters)} cells where {GOLGI}"),
        ({"k": 50, "choose_k": "2..3"}, "golgi: 50 clusters"),
        (
            {"where": few},
            f"golgi: 2 clusters cannot be made of 1 cell where {few}. Give a --where",
        ),
        ({"where": few, "refit": True}, "golgi: 2 clusters"),
    ):
        with pytest.raises(PopulationError, match=re.escape(words)):
            cluster(archive, name="golgi", **options)
    assert files(archive) == before
    assert not list((archive / "store").rglob("report-new.html"))


def test_rows_that_cannot_be_fitted_are_no_success(archive, monkeypatch):
    cluster(archive, name="golgi", where=GOLGI, k=2)
    before = anabatch.open_store(archive / "store").version

    def refuse(*_, **__):
        what = "all rows are one"
        raise PopulationError(what)

    monkeypatch.setattr(cluster_job, "fit_graph", refuse)
    for options in ({"refit": True}, {"k": 3}):
        with pytest.raises(PopulationError, match=r"golgi: \d clusters cannot be fitted"):
            cluster(archive, name="golgi", **options)
    assert anabatch.open_store(archive / "store").version == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "golgi"}, "nothing says of which cells"),
        ({"name": "archive", "where": GOLGI}, "cannot be the name.* the whole archive's clusters"),
        ({"name": "a/b", "where": GOLGI}, "cannot be the name.*, and no '/'"),
        ({"name": "gölgi", "where": GOLGI}, "cannot be the name.*, and no 'ö'"),
        ({"name": ".hid", "where": GOLGI}, "cannot be the name.* Begin with a letter"),
        ({"name": "--", "where": GOLGI}, "cannot be the name.* Begin with a letter"),
        ({"name": "", "where": GOLGI}, "cannot be the name.* Begin with a letter"),
        ({"name": "x" * 65, "where": GOLGI}, "cannot be the name.* 65 characters: 64 are the most"),
        ({"name": "x" * 64}, "nothing says of which cells"),
        ({"name": "golgi", "where": "label = 'gogli'"}, "no cell is selected.*golgi"),
        ({"name": "golgi", "where": "colour = 1"}, "colour"),
        ({"add_new": True}, "no new kind"),
        (
            {"name": "archive", "remove": True},
            "the whole archive's clusters, which are not removed",
        ),
        ({"name": "golgi", "remove": True}, "no clusters named golgi.* No part has clusters yet"),
    ],
)
def test_what_cannot_be_clustered_is_refused(done, options, words):
    with pytest.raises(ConfigurationError, match=words):
        cluster(done, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"where": GOLGI},
        {"k": 3},
        {"method": "lloyd"},
        {"choose_k": "5..2"},
        {"choose_k": "1..4"},
        {"choose_k": "many"},
        {"name": "golgi", "add_new": True},
        {"remove": True},
        {"remove": True, "name": "golgi", "where": GOLGI},
        {"remove": True, "name": "golgi", "k": 3},
        {"remove": True, "name": "golgi", "method": "lloyd"},
        {"remove": True, "name": "golgi", "choose_k": "2..4"},
        {"remove": True, "name": "golgi", "refit": True},
        {"remove": True, "name": "golgi", "add_new": True},
    ],
)
def test_options_that_do_not_go_together_are_refused(options):
    with pytest.raises(typer.BadParameter):
        cluster_command.job_of(Asked(**options))


def test_k_is_chosen_and_what_spoke_for_it_is_kept(archive):
    events = cluster(archive, name="golgi", where=GOLGI, choose_k="2..4")
    rows = [event for event in events if event["event"] == "k"]
    assert [row["k"] for row in rows] == [2, 3, 4]
    squares = [row["squares"] for row in rows]
    assert squares == sorted(squares, reverse=True)
    (suggested,) = [event["k"] for event in events if event["event"] == "suggested"]
    store, _, clusters = frames(archive)
    assert clusters.cluster.nunique() == suggested
    (choice,) = [a for a in store.state.stage("model") if a.unit.startswith("choice/golgi/")]
    assert choice.components["scored"] == len(clusters)
    assert choice.components["images"] == choice.components["images_features"] == 4
    (told,) = [event for event in events if event["event"] == "images"]
    assert told["images"] == 4
    with pytest.raises(PopulationError, match="50 clusters"):
        cluster(archive, name="golgi", choose_k="2..50")


def test_numbers_near_the_number_of_cells_are_left_out_and_the_others_kept(archive, monkeypatch):
    monkeypatch.setattr(stage, "_BOOTSTRAPS", 2)
    monkeypatch.setattr(stage, "_FEATURE_BOOTSTRAPS", 1)
    events = cluster(archive, name="golgi", where=GOLGI, choose_k="10..37")
    tried = [event["k"] for event in events if event["event"] == "k"]
    left_out = [event["k"] for event in events if event["event"] == "left_out"]
    # two or three of the four images are in a resample, of twelve cells each
    assert 10 in tried
    assert 37 in left_out
    assert sorted(tried + left_out) == list(range(10, 38))
    (suggested,) = [event["k"] for event in events if event["event"] == "suggested"]
    assert suggested in tried


def test_that_the_cells_are_of_one_image_is_told(archive):
    acquisitions = anabatch.open_store(archive / "store").table("acquisitions").to_pandas()
    image = acquisitions.image_id[0]
    events = cluster(archive, name="one", where=f"image_id = '{image}'", choose_k="2..3")
    (told,) = [event for event in events if event["event"] == "one_image"]
    assert told["images"] == 1
    assert [event["k"] for event in events if event["event"] == "k"] == [2, 3]


def test_what_is_tried_is_drawn_once_and_is_what_all_rows_give(archive, monkeypatch):
    ordered = []

    def counted(words):
        ordered.append(len(words))
        return in_order(words)

    monkeypatch.setattr(pilots, "in_order", counted)
    cluster(archive, choose_k="2..3")
    store, cells, _ = frames(archive, "archive")
    assert ordered == [len(cells)] * 2  # of the embedding, and of the features
    config = config_of(archive)
    threads, clusters = config.compute.threads, config.cluster
    # all at once, without parts or graphs
    place = draw(cells.cell_id.to_numpy(), clusters.pilot, clusters.seed)
    images = digests(cells.image_id, 0)[:, 0]
    (choice,) = [a for a in store.state.stage("model") if a.unit.startswith("choice/archive/")]
    found = read_model(store.root, choice.part)
    tried = {"": ("embedding", stage.study), "features_": ("features", stage.study_features)}
    for prefix, (array, study) in tried.items():
        rows = store.array(array).compute(scheduler="sync")[place]
        if array == "embedding":
            rows = np.ascontiguousarray(rows[:, : clusters.components])
        # with as many threads as a task has: more add in another order
        alone = limited(study, threads, Pilot(rows, images[place]), clusters, 3)
        for value in ("agreement", "agreement_error", "silhouette", "silhouette_error"):
            wanted = pytest.approx(getattr(alone, value), rel=1e-5)  # other rows are off by 1e-3
            assert found[prefix + value][1] == wanted, (array, value)


def test_the_archives_k_stays_what_the_configuration_says(archive):
    events = cluster(archive, choose_k="2..4")
    assert [event["k"] for event in events if event["event"] == "k"] == [2, 3, 4]
    assert frames(archive, "archive")[2].cluster.nunique() == 3


def test_the_command_line_does_all_of_it(archive, monkeypatch):
    monkeypatch.setattr(cli, "limit_threads_of_this_process", lambda _: None)
    options = ["--store", str(archive / "store"), "--scheduler", "sync"]
    asked = ["--name", "golgi", "--where", GOLGI, "--k", "2", "--method", "lloyd"]
    done = CliRunner().invoke(cli.app, ["cluster", *options, *asked])
    assert done.exit_code == 0, done.output
    out = archive / "golgi.csv"
    shown = ["show", "clusters", "--model", "golgi", "--store", options[1], "--out", str(out)]
    assert CliRunner().invoke(cli.app, shown).exit_code == 0
    assert len(out.read_text().splitlines()) == len(frames(archive)[2]) + 1
    asked = ["--name", "golgi", "--remove"]
    done = CliRunner().invoke(cli.app, ["cluster", *options, *asked])
    assert done.exit_code == 0, done.output
    assert not named(archive)
