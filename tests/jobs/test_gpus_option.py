"""--gpus: what it makes of the configuration, what it refuses before any work, and who computes what."""

import io
import json

import pytest
import typer
from anabatch.jobs import cli, scan
from anabatch.jobs import featurize as featurize_job
from anabatch.jobs import segment as segment_job
from anabatch.jobs.looking import looking
from anabatch.jobs.options import make_config
from cheap import cheap_networks, draw_tiny
from running import make_config as quick_config
from running import run_jobs
from typer.testing import CliRunner

from anabatch.config import ComputeConfig, SegmentConfig
from anabatch.errors import ConfigurationError, DeviceError, StoreNotFoundError
from anabatch.stages.segment import segment_recipe


def configured(tmp_path, text="", **options):
    file = tmp_path / "anabatch.toml"
    file.write_text(f"store = 's'\n{text}")
    return make_config(file, None, None, None, None, **options)


@pytest.mark.parametrize(
    ("text", "option", "gpus", "device"),
    [
        ("", None, 0, "cpu"),
        ("", "2", 2, "cuda"),
        ("", "all", "all", "cuda"),
        ("[compute]\ngpus = 'all'\n", None, "all", "cuda"),
        ("[compute]\ngpus = 4\n", "1", 1, "cuda"),
        ("[compute]\ngpus = 4\n", "0", 0, "cpu"),
        ("[segment]\ndevice = 'cuda'\n", None, 0, "cuda"),
        ("[segment]\ndevice = 'cuda'\n", "0", 0, "cpu"),
    ],
)
def test_gpus_are_for_the_networks(tmp_path, text, option, gpus, device):
    config = configured(tmp_path, text, gpus=option)
    assert (config.compute.gpus, config.segment.device) == (gpus, device)


def test_the_device_enters_no_key():
    recipes = {segment_recipe(SegmentConfig(device=device)).digest for device in ("cpu", "cuda")}
    assert len(recipes) == 1


@pytest.mark.parametrize("option", ["two", "-1", "1.5", ""])
def test_what_is_no_number_of_gpus_is_refused(tmp_path, option):
    with pytest.raises(typer.BadParameter, match="give a number, or all"):
        configured(tmp_path, gpus=option)


def test_gpus_need_workers(tmp_path):
    with pytest.raises(typer.BadParameter, match="--gpus needs workers"):
        configured(tmp_path, gpus="1", scheduler="sync")
    with pytest.raises(ConfigurationError, match="gpus need workers"):
        configured(tmp_path, "[compute]\ngpus = 1\n", scheduler="sync")
    with pytest.raises(ValueError, match="gpus need workers"):
        ComputeConfig(gpus="all", scheduler="sync")


@pytest.fixture
def archive(tmp_path):
    for number in range(3):
        name = f"00{number}_plate_1_20240000{number}_1_1_0{number}.jpg"
        draw_tiny(tmp_path / "DATA" / "20240102" / "001_SN09001" / name, number)
    return tmp_path / "DATA"


@pytest.mark.parametrize("command", ["run", "segment"])
def test_a_gpu_that_is_not_there_ends_a_command_before_any_work(
    archive, tmp_path, monkeypatch, command
):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(cli, "limit_threads_of_this_process", lambda _: None)
    store = tmp_path / "store"
    arguments = [command, "--archive", str(archive), "--store", str(store), "--gpus", "all"]
    ended = CliRunner().invoke(cli.app, arguments)
    assert isinstance(ended.exception, DeviceError)
    assert not store.exists()


@pytest.mark.parametrize(
    ("text", "options", "why"),
    [
        ("[featurize]\ndevice = 'cuda'\n", [], "1 GPU was asked for, and none is here"),
        ("[featurize]\ndevice = 'cuda'\n", ["--gpus", "2"], "2 GPUs were asked for, and none"),
        ("", ["--gpus", "1"], "featurize.device is 'cpu'"),
    ],
)
def test_cells_are_not_described_elsewhere_than_asked(tmp_path, monkeypatch, text, options, why):
    monkeypatch.setenv("PATH", "")
    file = tmp_path / "anabatch.toml"
    file.write_text(f"store = 's'\n{text}")
    ended = CliRunner().invoke(cli.app, ["featurize", "-c", str(file), *options])
    assert isinstance(ended.exception, DeviceError)
    assert why in str(ended.exception)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("options", [[], ["--gpus", "0"]])
def test_gpus_of_the_segmentation_alone_are_none_of_the_features(tmp_path, monkeypatch, options):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(cli, "limit_threads_of_this_process", lambda _: None)
    file = tmp_path / "anabatch.toml"
    file.write_text("store = 's'\n[compute]\ngpus = 2\n")
    ended = CliRunner().invoke(cli.app, ["featurize", "-c", str(file), *options])
    assert isinstance(ended.exception, StoreNotFoundError)  # and no GPU was looked for


def test_jobs_without_networks_have_no_such_option():
    ended = CliRunner().invoke(cli.app, ["scan", "--gpus", "1"])
    assert ended.exit_code == 2
    assert "--gpus" in ended.output


# Who computes what


def placed(graph):
    """Return the resources that every function of a graph asks for."""
    found = {}
    layers = graph.__dask_graph__().layers
    for layer in layers.values():
        asked = (layer.annotations or {}).get("resources")
        for key, node in dict(layer).items():
            name = node.args[0].__name__ if node.func.__name__ == "limited" else "gather"
            found[name] = asked(key) if callable(asked) else asked
    return found


@pytest.mark.parametrize("gpus", [0, 1])
def test_networks_are_for_gpus_and_the_rest_is_for_the_workers_beside_them(archive, tmp_path, gpus):
    config = quick_config(archive, tmp_path / "store")
    run_jobs(config, scan)
    compute = config.compute.model_copy(update={"gpus": gpus, "scheduler": "local"})
    with looking(config.model_copy(update={"compute": compute})) as context:
        found = segment_job.plan(context)
        extractor = segment_job.Extractor.of(context)
        ((_, graph),) = segment_job.graphs(context, found, extractor)
    cpu, gpu = ({"CPU": 1}, {"GPU": 1}) if gpus else (None, None)
    assert placed(graph) == {"segment": gpu, "cut": cpu, "featurize": cpu, "gather": cpu}


@pytest.mark.parametrize(
    ("gpus", "device", "resources"),
    [(None, "cuda", None), ("1", "cpu", {"CPU": 1}), ("1", "cuda", {"GPU": 1})],
)
def test_cells_are_described_on_a_gpu_where_that_is_configured(tmp_path, gpus, device, resources):
    config = configured(tmp_path, f"[featurize]\ndevice = '{device}'\n", gpus=gpus)
    found = featurize_job.FeaturizePlan([("a batch", "cells")], {}, 0)
    ((_, graph),) = featurize_job.graphs(found, config)
    assert placed(graph) == {"featurize": resources}


def test_a_gpu_for_features_leaves_a_recipe_without_networks_where_it_is(tmp_path):
    text = "[segment]\nrecipe = 'watershed'\n[featurize]\ndevice = 'cuda'\n"
    config = configured(tmp_path, text, gpus="1")
    assert (config.segment.device, config.featurize.device) == ("cpu", "cuda")


def test_no_gpus_are_for_no_network(tmp_path):
    text = "[featurize]\ndevice = 'cuda'\n"
    assert configured(tmp_path, text).featurize.device == "cuda"
    assert configured(tmp_path, text, gpus="1").featurize.device == "cuda"
    assert configured(tmp_path, text, gpus="0").featurize.device == "cpu"


# On the CPU


def told(events):
    return [event for event in events if event["event"] == "cpu"]


def test_that_networks_run_on_the_cpu_is_said_once_and_loudly(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(segment_job, "visible_gpus", lambda: ("GPU-a", "GPU-b"))
    config = quick_config(archive, tmp_path / "store", compute={"batch_megapixels": 0.01})
    with cheap_networks():
        run_jobs(config, scan)
        first, second = run_jobs(config, segment_job), run_jobs(config, segment_job)
    (event,) = told(first)
    assert event["level"] == "warning"
    assert "THE NETWORKS RUN ON THE CPU, and this machine has 2 GPUs" in event["message"]
    assert told(second) == []  # there was nothing to segment


def test_a_machine_without_a_gpu_is_told_of_none(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(segment_job, "visible_gpus", lambda: ())
    with cheap_networks():
        config = quick_config(archive, tmp_path / "store")
        run_jobs(config, scan)
        (event,) = told(run_jobs(config, segment_job))
    assert "no NVIDIA GPU" in event["message"]
    assert event["gpus"] == 0


def test_a_recipe_without_networks_says_nothing_of_devices(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(segment_job, "visible_gpus", lambda: ("GPU-a",))
    config = quick_config(archive, tmp_path / "store", segment={"recipe": "watershed"})
    run_jobs(config, scan)
    assert told(run_jobs(config, segment_job)) == []


@pytest.mark.gpu
@pytest.mark.cluster
def test_a_run_on_a_gpu_finds_cells_there(tmp_path):
    """The real thing: two workers of two kinds, and the shipped networks on the GPU."""
    from anabatch.simulate.archive import simulate_archive
    from anabatch.store.root import open_store

    root = simulate_archive(tmp_path / "sim", images=3, seed=1, layout="dated", size=(420, 320))
    store = tmp_path / "store"
    common = ["--archive", str(root), "--store", str(store)]
    for command in (["scan"], ["segment", "--gpus", "all"]):
        ended = CliRunner().invoke(cli.app, [*command, *common, "--log-format", "json"])
        assert ended.exit_code == 0, (ended.output, ended.exception)
    events = [json.loads(line) for line in io.StringIO(ended.output)]
    assert told(events) == []
    with open_store(store) as opened:
        assert opened.table("cells").to_arrow().num_rows > 10
