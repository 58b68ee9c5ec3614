"""Batches that fail, taken apart: on a backend that follows a script, and on workers that die."""

import errno
from collections import Counter
from typing import Any

import pytest
import scripted
from anabatch.jobs.batches import Apart, outcomes, reason
from hypothesis import given
from hypothesis import strategies as st
from scripted import calls

from anabatch.compute import Cluster, InProcess, Outcome, task
from anabatch.config import ComputeConfig
from anabatch.errors import (
    ConfigurationError,
    DeviceError,
    InputError,
    PartCorruptError,
    WeightsError,
    WorkerError,
)


class Scripted:
    """A backend whose graphs are functions; a batch is a tuple of items."""

    dashboard = ""

    def __init__(self):
        self.ran: list[Any] = []
        self.closed = 0

    def stream(self, graphs):
        try:
            for name, graph in graphs:
                self.ran.append(name)
                try:
                    yield Outcome(name, graph())
                except Exception as error:  # noqa: BLE001 (as a backend does)
                    yield Outcome(name, error=error)
        finally:
            self.closed += 1

    def compute(self, graph):
        return graph()


class Job:
    """A job over batches, some items of which fail as a table says."""

    def __init__(self, faults, *, only_together=False):
        self.faults = faults
        self.only_together = only_together
        self.done: list[Any] = []
        self.unhelped: list[Exception] = []
        self.failed: list[Any] = []
        self.guilty: dict[Any, Exception] = {}
        self.again: set[Any] = set()
        self.alike: list[tuple[Exception, int]] = []
        self.backend = Scripted()

    def graph(self, batch):
        def work():
            for item in batch:
                if item in self.faults and not (self.only_together and len(batch) == 1):
                    raise self.faults[item]
            return batch

        return batch, work

    def run(self, batches, *, apart=True):
        def give_up(batch, blame):
            (item,) = batch
            self.guilty[item] = blame.error
            if blame.components == {"transient": True}:
                self.again.add(item)

        found = outcomes(
            self.backend,
            (self.graph(batch) for batch in batches),
            apart=Apart(lambda batch: [self.graph((item,)) for item in batch], give_up)
            if apart
            else None,
            failed=lambda batch, _: self.failed.append(batch),
            alike=lambda blame: self.alike.append((blame.error, blame.alike)),
        )
        for outcome in found:
            if outcome.error:
                self.unhelped.append(outcome.error)
            else:
                self.done += outcome.value


BATCHES = [(0, 1, 2), (3, 4), (5,), (6, 7, 8, 9)]
BUG = ValueError("a bug")


def test_without_faults_every_batch_runs_once():
    job = Job({})
    job.run(BATCHES)
    assert job.backend.ran == BATCHES
    assert job.done == list(range(10))
    assert (job.failed, job.guilty) == ([], {})


@pytest.mark.parametrize(
    "error", [BUG, MemoryError("no room"), WorkerError("it died"), InputError("nobody caught it")]
)
def test_only_the_guilty_is_given_up_and_after_all_others(error):
    job = Job({1: error})
    job.run(BATCHES)
    assert job.backend.ran == [*BATCHES, (0,), (1,), (2,)]
    assert sorted(job.done) == [0, 2, 3, 4, 5, 6, 7, 8, 9]
    assert job.guilty == {1: error}
    assert job.failed == [(0, 1, 2), (1,)]
    assert job.unhelped == []


def test_a_batch_of_one_is_tried_again_alone():
    job = Job({5: BUG})
    job.run(BATCHES)
    assert job.backend.ran == [*BATCHES, (5,)]
    assert job.guilty == {5: BUG}


def test_who_fails_only_in_company_is_not_guilty():
    job = Job({1: MemoryError(), 7: MemoryError()}, only_together=True)
    job.run(BATCHES)
    assert sorted(job.done) == list(range(10))
    assert job.guilty == {}


@given(st.sets(st.integers(0, 29)), st.lists(st.integers(1, 7), min_size=1))
def test_every_item_is_done_or_given_up_once(guilty, sizes):
    items = iter(range(30))
    batches = [tuple(batch) for size in sizes if (batch := [i for _, i in zip(range(size), items)])]  # noqa: B905 (the last is shorter)
    batches.append(tuple(items) or (30,))
    job = Job(dict.fromkeys(guilty, BUG))
    job.run(batches)
    assert Counter(job.done + list(job.guilty)) == Counter(i for batch in batches for i in batch)
    assert set(job.guilty) == guilty & {i for batch in batches for i in batch}


@pytest.mark.parametrize(
    "error",
    [
        DeviceError("no GPU"),
        WeightsError("no weights"),
        ConfigurationError("no"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("batches", [BATCHES, [(0,), (1,), (5,)]])
def test_what_every_batch_would_meet_ends_the_run_at_once(error, batches):
    job = Job({1: error})
    with pytest.raises(type(error)) as caught:
        job.run(batches)
    assert caught.value is error
    assert job.backend.ran[-1] == batches[0 if 1 in batches[0] else 1]
    assert job.guilty == {}
    assert job.backend.closed == 1  # nothing is left running


def test_a_disk_that_fills_up_while_items_run_alone_gives_nobody_up():
    class Filling(dict[int, Exception]):
        def __getitem__(self, item):
            return OSError(errno.ENOSPC, "full") if len(job.backend.ran) > len(BATCHES) else BUG

    job = Job(Filling({1: BUG, 7: BUG}))
    with pytest.raises(OSError, match="full"):
        job.run(BATCHES)
    assert job.guilty == {}


def test_a_damaged_store_is_no_items_fault_and_lets_the_others_finish():
    error = PartCorruptError("bytes of a part")
    job = Job({1: error, 3: BUG})
    job.run(BATCHES)
    assert job.unhelped == [error]
    assert job.guilty == {3: BUG}
    assert sorted(job.done) == [4, 5, 6, 7, 8, 9]


def test_without_a_way_to_take_it_apart_the_error_is_the_batchs():
    job = Job({1: BUG})
    job.run(BATCHES, apart=False)
    assert job.backend.ran == BATCHES
    assert job.unhelped == [BUG]


def test_many_that_fail_alike_are_tried_again_and_all_else_is_done():
    other = KeyError("of its own")
    job = Job(dict.fromkeys(range(12), BUG) | {20: other})
    job.run([tuple(range(15)), (20, 21)])
    assert set(job.guilty) == {*range(12), 20}
    assert job.again == set(range(12))
    assert job.alike == [(BUG, 12)]
    assert sorted(job.done) == [12, 13, 14, 21]


def test_eleven_are_not_many():
    job = Job(dict.fromkeys(range(11), BUG))
    job.run([tuple(range(11))])
    assert set(job.guilty) == set(range(11))
    assert (job.again, job.alike) == (set(), [])


def test_few_that_fail_are_given_up_though_nothing_else_was_there():
    job = Job({0: BUG, 1: BUG})
    job.run([(0, 1)])
    assert set(job.guilty) == {0, 1}


def test_the_reason_names_the_kind_of_error_in_a_line():
    assert reason(MemoryError("cannot allocate\n 5 TB")) == "MemoryError: cannot allocate 5 TB"
    assert reason(WorkerError("it died", "Buy memory.")) == "WorkerError: it died. Buy memory."
    assert len(reason(ValueError("word " * 1000))) <= 500


# With Dask


def graph(folder, batch):
    return batch, task(scripted.work_through, folder, batch, threads=1)


def run(backend, folder, batches):
    done: list[str] = []
    guilty: dict[str, Exception] = {}
    apart = Apart(
        lambda batch: [graph(folder, (item,)) for item in batch],
        lambda batch, blame: guilty.update({batch[0]: blame.error}),
    )
    every = (graph(folder, batch) for batch in batches)
    told = {"failed": lambda *_: None, "alike": lambda *_: None}
    for outcome in outcomes(backend, every, apart=apart, **told):
        assert outcome.error is None
        done += outcome.value
    return done, guilty


def test_one_bad_item_in_this_process(tmp_path):
    done, guilty = run(InProcess(), tmp_path, [("a", "fail-b", "c"), ("d",)])
    assert done == ["d", "a", "c"]
    assert str(guilty["fail-b"]) == "fail-b is broken"
    assert calls(tmp_path, "a") == 2
    assert calls(tmp_path, "fail-b") == 2


@pytest.mark.cluster
def test_an_item_that_kills_its_worker_costs_no_innocent_its_result(tmp_path):
    config = ComputeConfig(scheduler="local", workers=2, window=2, retries=1)
    batches = [("a", "kill-b", "c"), ("d", "e"), ("f", "fail-g"), ("h", "i", "j")]
    with Cluster(config) as cluster:
        done, guilty = run(cluster.backend, tmp_path, batches)
    assert sorted(done) == list("acdefhij")
    assert set(guilty) == {"kill-b", "fail-g"}
    assert isinstance(guilty["kill-b"], WorkerError)
    assert isinstance(guilty["fail-g"], ValueError)
