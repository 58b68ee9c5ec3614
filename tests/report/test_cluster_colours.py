"""Clusters look the same in all figures, and each like no other."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import deltaE_ciede2000, rgb2lab

from anabatch.config import ReportConfig
from anabatch.report import cell_map, components, drift
from anabatch.report.colours import COLOURS, Look, cluster_looks
from anabatch.report.population import locate, read_population
from anabatch.report.source import Source


def lab(colours):
    parts = [[int(one[i : i + 2], 16) / 255 for i in (1, 3, 5)] for one in colours]
    return rgb2lab(np.array(parts)[None])[0]


def test_colours_can_be_told_from_each_other_and_from_white():
    assert len(COLOURS) == 24
    values = lab(COLOURS)
    far = deltaE_ciede2000(values[:, None], values[None]) + 99 * np.eye(len(COLOURS))
    assert far.min() > 18
    assert deltaE_ciede2000(values, lab(["#FFFFFF"])).min() > 18


@given(st.sets(st.integers(0, 500), max_size=24))
def test_up_to_24_clusters_have_a_colour_of_their_own_whatever_their_numbers(numbers):
    looks = cluster_looks(numbers)
    assert looks.keys() == numbers
    assert len({look.colour for look in looks.values()}) == len(numbers)


@given(st.sets(st.integers(0, 300), max_size=60), st.integers(301, 400))
def test_a_cluster_that_is_added_changes_no_others_look(numbers, added):
    before, after = cluster_looks(numbers), cluster_looks(numbers | {added})
    assert {number: after[number] for number in numbers} == before


def test_beyond_the_colours_marks_tell_clusters_apart():
    looks = cluster_looks(range(150))
    assert len({(look.colour, look.marker) for look in looks.values()}) == 150
    assert (looks[9], looks[33]) == (Look(COLOURS[9], "^", 0), Look(COLOURS[9], "s", 1))


@pytest.fixture
def twelve(full):
    """A store whose clusters have numbers beyond the first eight colours."""
    full.cluster((1, 9, 11))
    return Source(full.store, ReportConfig(), None, (), {})


def test_all_figures_colour_a_cluster_alike(twelve, monkeypatch):
    """Both maps and the bars of dates, with numbers that share a remainder by 8."""
    from matplotlib.axes import Axes

    drawn: dict[str, dict[str, str]] = {"scatter": {}, "bar": {}}
    for name, seen in drawn.items():
        real = getattr(Axes, name)

        def draw(self, *args, real=real, seen=seen, **options):
            if "label" in options:
                seen[options["label"]] = options["color"]
            return real(self, *args, **options)

        monkeypatch.setattr(Axes, name, draw)
    model = twelve.generation("kmeans")
    population = read_population(twelve, model)
    located = locate(twelve, population)
    data = json.loads(str(cell_map.section(twelve, located).facts["data"]))
    (of_clusters,) = [one for one in data["colourings"] if one["name"] == "cluster"]
    script = {key["name"]: key["colour"] for key in of_clusters["keys"]}
    assert components.section(twelve, located).facts["scatter"]
    (row,) = drift.section(twelve, population, model).facts["rows"]
    drift._plot([row, row], sorted(population.clusters))
    assert script == drawn["scatter"] == drawn["bar"]
    assert script == {"1": COLOURS[1], "9": COLOURS[9], "11": COLOURS[11]}


def test_a_cluster_that_a_map_does_not_show_keeps_its_colour(twelve):
    located = locate(twelve, read_population(twelve, twelve.generation("kmeans")))
    assert located is not None
    (shown,) = [
        one
        for one in cell_map._colourings(twelve, located.cells[:1], located.population.clusters)
        if one["name"] == "cluster"
    ]
    number = located.cells[0].cluster
    assert shown["keys"] == [{"name": str(number), "colour": COLOURS[number]}]


def test_a_legend_of_many_clusters_stands_in_columns(full, monkeypatch):
    from matplotlib.figure import Figure

    columns = []
    legend = Figure.legend

    def draw(self, *args, ncols=1, **options):
        columns.append(ncols)
        return legend(self, *args, ncols=ncols, **options)

    monkeypatch.setattr(Figure, "legend", draw)
    for clusters in (8, 30):
        full.cluster(tuple(range(clusters)))
        source = Source(full.store, ReportConfig(), None, (), {})
        model = source.generation("kmeans")
        assert model is not None
        located = locate(source, read_population(source, model))
        components.section(source, located)
    assert columns == [1, 2]
