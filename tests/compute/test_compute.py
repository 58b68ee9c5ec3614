import errno
import gc
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import pytest
import scripted
from scripted import calls
from threadpoolctl import threadpool_limits

from anabatch.compute import Cluster, InProcess, flat, gather, limited, task, tree, workers
from anabatch.compute.backends import Distributed
from anabatch.config import ComputeConfig
from anabatch.errors import ConfigurationError, WorkerError
from anabatch.store.disk import disk_error

SYNC = ComputeConfig(scheduler="sync")
FLOATS = [1e16, 1.0, -1e16, 1.0, 3.0, 1e-3, -7.0]


def run(function, *arguments):
    return task(function, *arguments, threads=1)


def outcomes(backend, graphs):
    return {outcome.name: outcome for outcome in backend.stream(graphs)}


# Graphs


def test_a_graph_computes_nothing_until_it_is_asked(tmp_path):
    graph = gather([run(scripted.give, tmp_path, "a", 1), run(scripted.give, tmp_path, "b", 2)])
    assert not list(tmp_path.iterdir())
    assert InProcess().compute(graph) == [1, 2]
    assert calls(tmp_path, "a") == calls(tmp_path, "b") == 1


def test_a_node_that_two_others_use_is_computed_once(tmp_path):
    one = run(scripted.give, tmp_path, "one", 1.0)
    graph = run(scripted.add, one, run(scripted.add, one, one))
    assert InProcess().compute(graph) == 3.0
    assert calls(tmp_path, "one") == 1


def test_equal_tasks_are_two_tasks(tmp_path):
    graph = gather([run(scripted.give, tmp_path, "x", 1), run(scripted.give, tmp_path, "x", 1)])
    InProcess().compute(graph)
    assert calls(tmp_path, "x") == 2


@pytest.mark.parametrize(
    ("count", "shape"),
    [(1, "0"), (2, "(01)"), (3, "((01)2)"), (5, "(((01)(23))4)"), (6, "(((01)(23))(45))")],
)
def test_the_tree_is_fixed_by_position(tmp_path, count, shape):
    items = [run(scripted.give, tmp_path, str(i), str(i)) for i in range(count)]
    assert InProcess().compute(tree(items, scripted.join, threads=1)) == shape


def test_a_flat_node_gives_what_it_gave_and_others_carry_one_layer_of_it(tmp_path):
    def graph(made):
        first = made(run(scripted.give, tmp_path, "first", 0.1))
        many = [run(scripted.add, first, i) for i in range(5)]
        second = made(tree([first, *many], scripted.add, threads=1))
        return second, run(scripted.add, first, second)

    (second, last), (_, plain) = graph(flat), graph(lambda node: node)
    assert InProcess().compute(last) == InProcess().compute(plain)
    assert calls(tmp_path, "first") == 2  # once a graph
    assert len(second.__dask_graph__().layers) == 1
    assert len(last.__dask_graph__().layers) == 3 < len(plain.__dask_graph__().layers)


def test_an_empty_tree_is_refused():
    with pytest.raises(ValueError, match="nothing to reduce"):
        tree([], scripted.add, threads=1)


# In this process


def test_outcomes_have_the_names_and_values_of_their_graphs(tmp_path):
    graphs = [(name, run(scripted.give, tmp_path, name, name * 2)) for name in "abc"]
    found = list(InProcess().stream(graphs))
    assert [(outcome.name, outcome.value) for outcome in found] == [
        ("a", "aa"),
        ("b", "bb"),
        ("c", "cc"),
    ]
    assert all(outcome.error is None for outcome in found)


def test_an_error_of_one_graph_lets_the_others_finish(tmp_path):
    graphs = [
        ("bad", run(scripted.fail, tmp_path, "bad")),
        ("good", run(scripted.give, tmp_path, "good", 1)),
    ]
    found = outcomes(InProcess(), graphs)
    assert found["good"].value == 1
    assert isinstance(found["bad"].error, ValueError)
    assert calls(tmp_path, "bad") == 1


def test_one_graph_is_computed_after_the_other(tmp_path):
    started = []

    def graphs():
        for number in range(5):
            started.append(number)
            yield number, run(scripted.give, tmp_path, "x", number)

    for outcome in InProcess().stream(graphs()):
        assert started == list(range(outcome.name + 1))


def test_an_interruption_is_no_outcome(monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(dask, "compute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(InProcess().stream([("a", run(scripted.give, tmp_path, "a", 1))]))


# Threads


@pytest.mark.parametrize("threads", [1, 2])
def test_libraries_are_held_to_their_threads_inside_a_task_and_only_there(threads):
    with threadpool_limits(3):
        inside = InProcess().compute(task(scripted.threads, threads=threads))
        outside = scripted.threads()
    assert inside["opencv"] == threads
    assert inside["pools"] == {threads}
    assert outside["pools"] == {3}


def test_limits_hold_for_a_function_that_raises(tmp_path):
    with threadpool_limits(3):
        with pytest.raises(ValueError, match="broken"):
            limited(scripted.fail, 1, tmp_path, "x")
        assert scripted.threads()["pools"] == {3}


def test_the_variables_of_this_process_are_those_of_workers(monkeypatch):
    for name in workers._THREAD_VARIABLES:
        monkeypatch.setenv(name, "7")
    workers.limit_threads_of_this_process(1)
    assert scripted.threads()["variables"] == {"1"}


def test_an_error_that_the_disk_caused_comes_as_the_disks():
    def write():
        try:
            Path("/dev/full").write_bytes(b"x")
        except OSError as error:
            message = "cannot write the shard"
            raise RuntimeError(message) from error

    with pytest.raises(OSError, match="No space left") as caught:
        limited(write, 1)
    assert caught.value.errno == errno.ENOSPC
    travelled = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 (its own bytes)
    assert disk_error(travelled) is travelled


# Starting


def test_a_cluster_that_is_not_needed_does_not_start():
    with Cluster(ComputeConfig()) as cluster:
        assert not cluster.started


def test_without_workers_nothing_of_distributed_is_imported():
    code = """
import sys
from anabatch.compute import Cluster, gather, task
from anabatch.config import ComputeConfig
from scripted import add

with Cluster(ComputeConfig()) as unused:
    assert not unused.started
with Cluster(ComputeConfig(scheduler="sync")) as cluster:
    assert cluster.backend.compute(gather([task(add, 1, 2, threads=1)])) == [3]
    assert cluster.started
for name in ("distributed", "bokeh", "torch", "tensorflow", "dask.dataframe"):
    assert name not in sys.modules, name
"""
    ran = subprocess.run(  # noqa: S603 (our own code)
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(scripted.__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_nothing_is_announced_without_a_dashboard():
    told: list[str] = []
    with Cluster(SYNC, announce=told.append) as cluster:
        assert cluster.backend is cluster.backend
        assert cluster.backend.dashboard == ""
    assert told == []


def test_a_scheduler_that_is_not_there_is_the_configurations_error():
    # its defaults must be there before one is changed: leaving would take all of them away
    import distributed  # noqa: F401

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200ms"}),
        Cluster(ComputeConfig(scheduler="tcp://127.0.0.1:9")) as cluster,
        pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:9"),
    ):
        _ = cluster.backend


@pytest.mark.parametrize("deaths", [0, 1, 2])
def test_workers_that_die_before_they_are_up_are_started_again(monkeypatch, deaths):
    import distributed

    started = []

    def local_cluster(**options):
        started.append(options["n_workers"])
        if len(started) <= deaths:
            message = "Nanny failed to start."
            raise RuntimeError(message)
        return "a cluster"

    monkeypatch.setattr(distributed, "LocalCluster", local_cluster)
    config = ComputeConfig(workers=3, retries=1)
    if deaths > config.retries:
        with pytest.raises(WorkerError, match="before they were up"):
            workers._local_cluster(config)
    else:
        assert workers._local_cluster(config) == "a cluster"
    assert started == [3] * min(deaths + 1, 2)


# The window, against a client that counts


class FakeClient:
    """A client whose tasks are done when they are waited for."""

    dashboard_link = "http://127.0.0.1:1/status"
    status = "running"

    def __init__(self, workers):
        self.workers = workers
        self.cancelled: list[Any] = []

    def nthreads(self):
        return dict.fromkeys(range(self.workers), 1)

    def compute(self, graph, **_):
        return FakeFuture(graph)

    def cancel(self, futures):
        self.cancelled += futures


class FakeFuture:
    def __init__(self, graph):
        self.graph = graph

    def result(self):
        if isinstance(self.graph, Exception):
            raise self.graph
        return self.graph

    def release(self):
        pass


class FakeCompleted:
    """Gives futures back in the order of the script: the last that was added first."""

    def __init__(self):
        self.running: list[FakeFuture] = []

    def add(self, future):
        self.running.append(future)

    def __iter__(self):
        while self.running:
            yield self.running.pop()


@pytest.fixture
def _fakes(monkeypatch):
    import distributed

    monkeypatch.setattr(distributed, "as_completed", FakeCompleted)


@pytest.mark.usefixtures("_fakes")
@pytest.mark.parametrize(("workers", "window", "bound"), [(1, 1, 1), (2, 2, 4), (0, 3, 3)])
def test_a_bounded_number_of_graphs_is_in_flight(workers, window, bound):
    taken, most = 0, 0

    def graphs():
        nonlocal taken
        for number in range(30):
            taken += 1
            yield number, number * 10

    backend = Distributed(FakeClient(workers), window=window, retries=1)
    done = 0
    for outcome in backend.stream(graphs()):
        done += 1
        assert outcome.value == outcome.name * 10
        most = max(most, taken - done)
        assert taken - done <= bound
    assert (done, taken, most) == (30, 30, bound)


@pytest.mark.usefixtures("_fakes")
def test_no_graphs_are_no_outcomes():
    backend = Distributed(FakeClient(2), window=2, retries=1)
    assert list(backend.stream([])) == []


@pytest.mark.usefixtures("_fakes")
def test_a_caller_that_stops_early_leaves_nothing_running():
    client = FakeClient(2)
    backend = Distributed(client, window=2, retries=1)
    for _ in backend.stream((number, number) for number in range(30)):
        break
    gc.collect()
    assert len(client.cancelled) == 4


@pytest.mark.usefixtures("_fakes")
def test_an_error_of_the_plan_is_raised_and_not_swallowed():
    def graphs():
        yield 0, 0
        message = "the plan is broken"
        raise RuntimeError(message)

    backend = Distributed(FakeClient(1), window=1, retries=1)
    with pytest.raises(RuntimeError, match="plan is broken"):
        list(backend.stream(graphs()))


def killed():
    from distributed.scheduler import KilledWorker

    return KilledWorker("task-1", SimpleNamespace(address="tcp://127.0.0.1:1"), 1)


@pytest.mark.usefixtures("_fakes")
@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (2, 2)])
def test_suspects_run_again_alone_after_all_others(retries, attempts):
    client = FakeClient(2)
    submitted: list[Any] = []
    real = client.compute
    client.compute = lambda graph, **_: submitted.append(graph) or real(graph)  # type: ignore[method-assign,func-returns-value]
    guilty = killed()
    graphs = [("guilty", guilty), *((number, number) for number in range(9))]
    found = list(Distributed(client, window=2, retries=retries).stream(graphs))
    assert submitted.count(guilty) == attempts
    assert submitted[-1] is guilty or not retries
    by_name = {outcome.name: outcome for outcome in found}
    assert isinstance(by_name["guilty"].error, WorkerError)
    assert "memory" in by_name["guilty"].error.remedy
    assert {by_name[number].value for number in range(9)} == set(range(9))


@pytest.mark.usefixtures("_fakes")
@pytest.mark.parametrize("graphs", [[("a", None)], [(name, name) for name in "abcdef"]])
def test_a_scheduler_that_dies_ends_it_at_once(graphs):
    """Nothing is submitted to a scheduler that is gone: the client would wait for ever."""
    from distributed.client import FutureCancelledError

    client = FakeClient(2)
    submitted: list[Any] = []

    def compute_until_it_dies(graph, **_):
        assert client.status == "running"
        submitted.append(graph)
        return FakeFuture(FutureCancelledError("key", "lost"))

    client.compute = compute_until_it_dies  # type: ignore[method-assign]
    stream = Distributed(client, window=2, retries=2).stream(graphs)
    real = FakeCompleted.__iter__

    def die_then_complete(self):
        client.status = "connecting"
        yield from real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeCompleted, "__iter__", die_then_complete)
        with pytest.raises(WorkerError, match="scheduler is gone"):
            next(stream)
    assert len(submitted) == min(len(graphs), 4)
    assert client.cancelled == []


@pytest.mark.usefixtures("_fakes")
def test_where_no_worker_comes_it_ends():
    from distributed.scheduler import NoWorkerError

    graphs = [("a", NoWorkerError(task="task-1", timeout=300.0)), ("b", 1)]
    backend = Distributed(FakeClient(1), window=1, retries=2)
    with pytest.raises(WorkerError, match="no worker is left"):
        list(backend.stream(graphs))


@pytest.mark.usefixtures("_fakes")
def test_an_error_names_a_batch_in_a_line():
    backend = Distributed(FakeClient(1), window=1, retries=0)
    (outcome,) = backend.stream([("a very long name " * 100, killed())])
    assert len(str(outcome.error)) < 700


# On real workers


@pytest.fixture(scope="module")
def cluster():
    config = ComputeConfig(scheduler="local", workers=2, window=2, retries=2)
    told: list[str] = []
    with Cluster(config, announce=told.append) as cluster:
        assert cluster.backend.dashboard.startswith("http://127.0.0.1:")
        assert told == [cluster.backend.dashboard]
        yield cluster


@pytest.mark.cluster
def test_workers_give_what_this_process_gives(cluster, tmp_path):
    def graphs():
        for number in range(6):
            items = [run(scripted.give, tmp_path, "x", value * (number + 1)) for value in FLOATS]
            yield number, gather([tree(items, scripted.add, threads=1), run(scripted.total, items)])

    here = outcomes(InProcess(), graphs())
    there = outcomes(cluster.backend, graphs())
    assert {name: outcome.value for name, outcome in here.items()} == {
        name: outcome.value for name, outcome in there.items()
    }


@pytest.mark.cluster
def test_workers_are_held_to_their_threads(cluster):
    found = cluster.backend.compute(task(scripted.threads, threads=1))
    assert found == {"opencv": 1, "pools": {1}, "variables": {"1"}}


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, ("33554432", "134217728")),
        ({"MALLOC_TRIM_THRESHOLD_": "65536"}, ("33554432", "65536")),
        ({"MALLOC_MMAP_THRESHOLD_": "1", "MALLOC_TRIM_THRESHOLD_": "2"}, ("1", "2")),
    ],
)
def test_workers_keep_freed_memory_unless_the_users_environment_has_it_otherwise(
    monkeypatch, own, expected
):
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    started_with = run(Path.read_bytes, Path("/proc/self/environ"))  # all that the allocator reads
    with Cluster(ComputeConfig(scheduler="local", workers=1)) as cluster:
        *found, environment = cluster.backend.compute(
            gather([*(run(os.getenv, name) for name in names), started_with])
        )
    assert tuple(found) == expected
    for name, value in zip(names, expected, strict=True):
        assert f"{name}={value}".encode() in environment.split(b"\0")


@pytest.mark.cluster
def test_a_task_that_raises_is_tried_once_and_lets_the_others_finish(cluster, tmp_path):
    graphs = [
        ("bad", run(scripted.fail, tmp_path, "bad")),
        *((number, run(scripted.give, tmp_path, "good", number)) for number in range(5)),
    ]
    found = outcomes(cluster.backend, graphs)
    assert str(found["bad"].error) == "bad is broken"
    assert {found[number].value for number in range(5)} == set(range(5))
    assert calls(tmp_path, "bad") == 1
    with pytest.raises(ValueError, match="worse is broken"):
        cluster.backend.compute(run(scripted.fail, tmp_path, "worse"))


@pytest.mark.cluster
def test_errors_come_back_with_their_words_and_notes(cluster):
    found = outcomes(cluster.backend, [("x", run(scripted.fail_with_note, "archive/1.jpg"))])[
        "x"
    ].error
    assert isinstance(found, ConfigurationError)
    assert (found.what, found.remedy) == ("archive/1.jpg", "Copy it again.")
    assert "in batch 7" in found.__notes__


@pytest.mark.cluster
def test_a_worker_that_dies_once_costs_a_retry_and_no_result(cluster, tmp_path):
    graphs = [
        ("dies", run(scripted.die, tmp_path, "dies", 1, "alive")),
        *((number, run(scripted.give, tmp_path, "good", number)) for number in range(5)),
    ]
    found = outcomes(cluster.backend, graphs)
    assert found["dies"].value == "alive"
    assert all(outcome.error is None for outcome in found.values())
    assert calls(tmp_path, "dies") == 2


@pytest.mark.cluster
@pytest.mark.slow
def test_a_task_that_always_kills_is_an_error_and_its_neighbours_are_not(cluster, tmp_path):
    graphs = [
        (0, run(scripted.wait, tmp_path, "good", 0.2)),
        ("guilty", run(scripted.die, tmp_path, "guilty", 99)),
        *((number, run(scripted.wait, tmp_path, "good", 0.2)) for number in range(1, 8)),
    ]
    found = outcomes(cluster.backend, graphs)
    error = found.pop("guilty").error
    assert isinstance(error, WorkerError)
    assert "guilty" in error.what
    assert {outcome.value for outcome in found.values()} == {"good"}
    assert calls(tmp_path, "guilty") == 2 * cluster.config.retries  # beside others, then alone


@pytest.mark.cluster
@pytest.mark.slow
def test_one_graph_that_always_kills_is_an_error(cluster, tmp_path):
    with pytest.raises(WorkerError, match="died"):
        cluster.backend.compute(run(scripted.die, tmp_path, "guilty", 99))
    assert cluster.backend.compute(run(scripted.die, tmp_path, "once", 1, 5)) == 5


@pytest.mark.cluster
def test_a_scheduler_that_is_there_is_used(cluster, tmp_path):
    address = cluster.backend._client.scheduler.address
    with Cluster(ComputeConfig(scheduler=address)) as other:
        assert other.backend.compute(run(scripted.give, tmp_path, "x", 5)) == 5
    assert cluster.backend.compute(run(scripted.give, tmp_path, "x", 6)) == 6


@pytest.mark.cluster
def test_without_any_worker_left_nobody_waits_for_ever(monkeypatch, tmp_path):
    """A worker that cannot import what it is to do loses its connection, and may not come again."""
    monkeypatch.setattr(workers, "_NO_WORKERS_TIMEOUT", "1s")
    (tmp_path / "gone.py").write_text("def work():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import gone  # type: ignore[import-not-found]

    shutil.rmtree(tmp_path)
    with Cluster(ComputeConfig(scheduler="local", workers=1, retries=1)) as cluster:
        try:
            (outcome,) = cluster.backend.stream([("a", run(gone.work))])
            error = outcome.error
        except WorkerError as raised:
            error = raised
    assert isinstance(error, WorkerError)


@pytest.mark.cluster
def test_a_report_of_dask_is_written(tmp_path):
    path = tmp_path / "report.html"
    config = ComputeConfig(scheduler="local", workers=1)
    with Cluster(config, performance_report=path) as cluster:
        assert cluster.backend.compute(run(scripted.give, tmp_path, "x", 5)) == 5
        assert cluster.backend.compute(run(os.getpid)) != os.getpid()
    assert "bokeh" in path.read_text()
