"""Bars of benchmarks hold or are missed, and a missed one ends the benchmark if that is asked for."""

import importlib.util
import sys
from pathlib import Path

import pytest
from bars import Bar, missed


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parent / "benchmarks" / "bench_embedding.py"
    spec = importlib.util.spec_from_file_location("bench_embedding", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.mark.parametrize(
    ("figure", "limits", "holds"),
    [
        (1.5, {"at_most": 1.5}, True),
        (1.51, {"at_most": 1.5}, False),
        (2.0, {"at_least": 2}, True),
        (1.99, {"at_least": 2}, False),
        (0.5, {"at_least": 0, "at_most": 1}, True),
        (float("nan"), {"at_most": 1.5}, False),
    ],
)
def test_limits_hold_themselves_and_nothing_beyond(figure, limits, holds):
    assert Bar(6, "update", figure, **limits).holds == holds


def test_missed_bars_are_named_with_their_figures():
    bars = [Bar(6, "update", 1.57, at_most=1.5), Bar(13, "gain", 0.88, at_least=0.8)]
    assert missed(bars) == "missed: bar 6, update: 1.57, at most 1.5"
    assert missed(bars[1:]) == ""
    with pytest.raises(ValueError, match="no bar"):
        missed([])


@pytest.mark.parametrize(
    ("change", "numbers"),
    [({}, []), ({"half": 1.6}, [6]), ({"single": 1.6}, [6]), ({"stream": 1.9}, [6])],
)
def test_bar_6_is_of_both_types_and_of_the_stream(bench, change, numbers):
    figures = {"single": 1.4, "half": 1.45, "stream": 2.6} | change
    update = {"product": 2.0, "single": 2 * figures["single"], "half": 2 * figures["half"]}
    bars = bench.update_bars(update, {"ours": 3.0, "peer": 3 * figures["stream"]})
    assert len(bars) == 3
    assert [bar.number for bar in bars if not bar.holds] == numbers


@pytest.mark.parametrize(
    ("last", "numbers"),
    [
        ((54.0, 0.41), []),
        ((70.0, 0.41), [11]),
        ((54.0, 0.45), [7]),
        ((54.0, 0.50), [7, 11]),
    ],
)
def test_bars_7_and_11_compare_the_most_rows_with_the_fewest(bench, last, numbers):
    bars = bench.growth_bars([(55.0, 0.4), (1.0, 9.0), last])
    assert [bar.number for bar in bars if not bar.holds] == numbers


def test_nothing_has_grown_of_one_number_of_rows(bench):
    (bar,) = bench.growth_bars([(55.0, 0.4)])
    assert bar.what.startswith("peak memory")


@pytest.mark.parametrize(("gain", "says"), [(1.7, ""), (1.5, "missed: bar 13")])
def test_bar_13_is_of_what_workers_gain_over_products(bench, monkeypatch, gain, says):
    monkeypatch.setattr(bench, "product_rate", lambda processes, _: {1: 1.0, 2: 1.9}[processes])
    monkeypatch.setattr(bench, "worker_rate", lambda _, __, workers: {1: 1.0, 2: gain}[workers])
    assert missed(bench.compare_workers(None, 256, 3))[:14] == says


@pytest.mark.parametrize(
    ("options", "says"), [([], None), (["--check"], "missed: bar 13, gain: 0.7, at least 0.8")]
)
def test_a_missed_bar_ends_the_benchmark_where_that_is_asked_for(bench, monkeypatch, options, says):
    monkeypatch.setattr(bench, "write_wide", lambda *_: None)
    monkeypatch.setattr(bench, "compare_workers", lambda *_: [Bar(13, "gain", 0.7, at_least=0.8)])
    monkeypatch.setattr(sys, "argv", ["bench_embedding.py", "--only", "workers", *options])
    said = None
    try:
        bench.main()
    except SystemExit as end:
        said = end.code
    assert said == says
