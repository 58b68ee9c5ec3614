"""Workers of GPUs: how they are started, and what is computed where."""

import sys
import textwrap

import pytest
import scripted

from anabatch.compute import Cluster, InProcess, gather, task, workers
from anabatch.config import ComputeConfig
from anabatch.errors import DeviceError, WorkerError

A, B = "GPU-a", "GPU-b"


@pytest.fixture
def gpus(monkeypatch):
    """This machine has two GPUs, as far as it is asked."""

    def two(wanted):
        if wanted not in (1, 2, "all"):
            message = "so many GPUs are not here"
            raise DeviceError(message)
        return (A, B)[: 2 if wanted == "all" else wanted]

    monkeypatch.setattr(workers, "require_gpus", two)


@pytest.fixture
def started(monkeypatch):
    """Takes down how clusters are started, and starts none."""
    import distributed

    calls = []

    def start(**options):
        calls.append(options)
        return "a cluster"

    monkeypatch.setattr(distributed, "SpecCluster", start)
    monkeypatch.setattr(distributed, "LocalCluster", start)
    return calls


def seen_by(workers):
    return {
        name: (spec["options"]["env"]["CUDA_VISIBLE_DEVICES"], spec["options"]["resources"])
        for name, spec in workers.items()
    }


@pytest.mark.usefixtures("gpus")
def test_one_worker_a_gpu_is_started_beside_the_others(started):
    assert workers._local_cluster(ComputeConfig(gpus="all", workers=2)) == "a cluster"
    (options,) = started
    assert seen_by(options["workers"]) == {
        "gpu-0": (A, {"GPU": 1}),
        "gpu-1": (B, {"GPU": 1}),
        "cpu-0": ("", {"CPU": 1}),
        "cpu-1": ("", {"CPU": 1}),
    }
    assert options["scheduler"]["options"]["host"] == "127.0.0.1"
    workers._local_cluster(ComputeConfig(gpus=1, workers=1))
    assert list(seen_by(started[1]["workers"])) == ["gpu-0", "cpu-0"]


@pytest.mark.usefixtures("gpus")
def test_a_gpu_that_is_not_there_is_an_error_and_nothing_starts(started):
    with (
        Cluster(ComputeConfig(gpus=3)) as cluster,
        pytest.raises(DeviceError, match="so many GPUs are not here"),
    ):
        _ = cluster.backend
    assert started == []


def test_without_gpus_nobody_looks_for_them(started, monkeypatch):
    def look(_):
        message = "it looked"
        raise AssertionError(message)

    monkeypatch.setattr(workers, "require_gpus", look)
    assert workers._local_cluster(ComputeConfig(workers=3)) == "a cluster"
    assert started[0]["n_workers"] == 3


@pytest.mark.usefixtures("gpus")
def test_gpu_workers_that_die_before_they_are_up_are_started_again(monkeypatch):
    import distributed

    tried = []

    def die(**_):
        tried.append(1)
        message = "Nanny failed to start."
        raise RuntimeError(message)

    monkeypatch.setattr(distributed, "SpecCluster", die)
    with pytest.raises(WorkerError, match="before they were up"):
        workers._local_cluster(ComputeConfig(gpus=1, retries=1))
    assert len(tried) == 2


@pytest.fixture
def _dask_cuda(tmp_path, monkeypatch):
    """A package that is called dask_cuda and knows which cores are near a GPU."""
    package = tmp_path / "dask_cuda"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugins.py").write_text(
        textwrap.dedent("""
            class CPUAffinity:
                def __init__(self, cores):
                    self.cores = cores
        """)
    )
    (package / "utils.py").write_text(
        textwrap.dedent("""
            def nvml_device_index(i, devices):
                return devices.split(",")[i]

            def get_cpu_affinity(device):
                return {"GPU-a": [0, 1], "GPU-b": [2, 3]}[device]
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("dask_cuda")]:
        del sys.modules[name]


@pytest.mark.usefixtures("gpus", "_dask_cuda")
def test_with_dask_cuda_a_worker_stays_near_its_gpu(started):
    workers._local_cluster(ComputeConfig(gpus="all", workers=1))
    plugins = {
        name: [plugin.cores for plugin in spec["options"].get("plugins", [])]
        for name, spec in started[0]["workers"].items()
    }
    assert plugins == {"gpu-0": [[0, 1]], "gpu-1": [[2, 3]], "cpu-0": []}


# A scheduler that is already there


class Elsewhere:
    """A client of a scheduler whose workers have these resources."""

    def __init__(self, *resources):
        self._workers = {f"tcp://{n}": {"resources": own} for n, own in enumerate(resources)}

    def scheduler_info(self, n_workers):
        assert n_workers == -1  # all, and not the first few
        return {"workers": self._workers}


@pytest.mark.parametrize(
    ("resources", "wanted", "enough"),
    [
        ([{"GPU": 1}, {"CPU": 1}], "all", True),
        ([{"GPU": 1}, {"CPU": 1}], 1, True),
        ([{"GPU": 1}, {"CPU": 1}], 2, False),
        ([{"GPU": 1.0, "CPU": 1.0}, {"GPU": 1}], 2, True),
        ([{"GPU": 1}, {}], 1, False),
        ([{}, {"CPU": 1}], "all", False),
        ([], "all", False),
        ([{}], 0, True),
    ],
)
def test_a_scheduler_elsewhere_must_have_the_workers_that_tasks_ask_for(resources, wanted, enough):
    config = ComputeConfig(scheduler="tcp://there:8786", gpus=wanted)
    if enough:
        workers._check_resources(Elsewhere(*resources), config)
    else:
        with pytest.raises(DeviceError, match=r"of the \d workers at tcp://there:8786 \d have"):
            workers._check_resources(Elsewhere(*resources), config)


# What is computed where


def test_in_this_process_a_kind_of_worker_says_nothing():
    node = gather(
        [task(abs, -1, threads=1, on="GPU"), task(abs, -2, threads=1, on="CPU")], on="CPU"
    )
    assert InProcess().compute(node) == [1, 2]


@pytest.mark.cluster
@pytest.mark.usefixtures("gpus")
def test_tasks_of_a_kind_run_on_workers_of_that_kind_and_no_others(tmp_path):
    config = ComputeConfig(gpus="all", workers=1, window=4)
    with Cluster(config) as cluster:
        graphs = []
        for number in range(12):
            on_gpu = task(scripted.where, tmp_path, threads=1, on="GPU")
            beside = task(scripted.where, tmp_path, on_gpu, threads=1, on="CPU")
            graphs.append((number, gather([on_gpu, beside], on="CPU")))
        found = [outcome.value for outcome in cluster.backend.stream(graphs)]
    assert {tuple(beside) for _, beside in found} == {("cpu-0", "", "1")}
    assert {tuple(on_gpu) for on_gpu, _ in found} == {("gpu-0", A, "1"), ("gpu-1", B, "1")}
    assert len(list(tmp_path.iterdir())) == 24
