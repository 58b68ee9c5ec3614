import threading

import numpy as np
import pytest

from anabatch.errors import DeviceError
from anabatch.segmentation.pipeline import Gate, in_groups, pipelined, threads_for_one_gpu


def test_results_come_in_order_whatever_ends_first():
    ended = [threading.Event() for _ in range(4)]

    def work(number):
        if number < 3:  # each waits for the one after it
            assert ended[number + 1].wait(60)
        ended[number].set()
        return number * 10

    assert list(pipelined(work, range(4), threads=4)) == [0, 10, 20, 30]


def test_groups_are_worked_on_beside_each_other():
    together = threading.Barrier(3, timeout=60)
    assert list(pipelined(lambda _: together.wait() >= 0, range(6), threads=3)) == [True] * 6


def test_no_more_is_taken_than_is_worked_on():
    taken = []

    def groups():
        for number in range(100):
            taken.append(number)
            yield number

    results = pipelined(lambda number: number, groups(), threads=3)
    for done in range(1, 20):
        next(results)
        assert len(taken) <= done + 3
    results.close()
    assert len(taken) < 30


def test_an_error_comes_as_it_is_and_ends_the_rest():
    begun = []

    def work(number):
        begun.append(number)
        if number == 2:
            message = "no memory"
            raise DeviceError(message)
        return number

    results = pipelined(work, range(50), threads=2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DeviceError, match="no memory"):
        next(results)
    assert max(begun) < 10


def test_few_threads_are_in_the_networks_at_once():
    inside, most, lock = 0, 0, threading.Lock()
    full = threading.Barrier(2, timeout=60)

    def network(tiles):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        full.wait()  # passes only where two are inside
        with lock:
            inside -= 1
        return tiles

    gate = Gate(2)
    guarded = [gate(network), gate(network)]  # two networks behind one gate
    tiles = np.zeros((1, 2, 16, 16), np.float32)
    list(pipelined(lambda number: guarded[number % 2](tiles), range(12), threads=6))
    assert most == 2


def test_a_gpu_has_at_least_one_thread_more_than_are_in_the_networks():
    assert threads_for_one_gpu() >= 3


@pytest.mark.parametrize("size", [1, 3, 20])
def test_groups_of_items_give_the_items_results_in_order(size):
    sizes = []

    def work(items):
        sizes.append(len(items))
        return [item * item for item in items]

    assert in_groups(work, range(10), size) == [item * item for item in range(10)]
    assert max(sizes) == min(size, 10)
    assert in_groups(work, [], size) == []
