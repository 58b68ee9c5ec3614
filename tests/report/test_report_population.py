"""The one pass over all cells against all cells in memory."""

import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.config import ReportConfig
from anabatch.report import population
from anabatch.report.members import Chunk, Members
from anabatch.report.population import embedded, read_population
from anabatch.report.source import Source


def chunk(ids, distances, part="p"):
    n = len(ids)
    return Chunk(
        part,
        np.arange(n),
        np.array(ids, dtype=np.str_),
        np.array([f"image{i % 3}" for i in range(n)], dtype=np.str_),
        np.zeros(n, np.int32),
        np.array(distances, np.float32),
    )


cells = st.lists(
    st.tuples(st.integers(0, 9), st.uuids()), min_size=1, max_size=60, unique_by=lambda c: c[1]
)


@given(cells, st.integers(1, 12), st.integers(1, 25))
def test_candidates_do_not_depend_on_how_cells_lie_in_parts(drawn, keep, size):
    distances = [distance for distance, _ in drawn]
    ids = [identity.hex for _, identity in drawn]
    whole, pieces = Members(), Members()
    whole.add(chunk(ids, distances), np.arange(len(ids)), keep)
    for start in reversed(range(0, len(ids), size)):
        piece = chunk(ids[start : start + size], distances[start : start + size])
        pieces.add(piece, np.arange(len(piece.cell_ids)), keep)
    names = [[cell.cell_id for cell in kind] for kind in whole.picks(keep)]
    assert names == [[cell.cell_id for cell in kind] for kind in pieces.picks(keep)]
    assert whole.size == pieces.size == len(ids)


@given(cells, st.integers(1, 30))
def test_picks_are_different_cells_and_no_more_than_asked(drawn, count):
    distances = [distance for distance, _ in drawn]
    ids = [identity.hex for _, identity in drawn]
    members = Members()
    members.add(chunk(ids, distances), np.arange(len(ids)), count)
    nearest, farthest, random = members.picks(count)
    shown = [cell.cell_id for cell in (*nearest, *farthest, *random)]
    assert len(shown) == len(set(shown)) == min(count, len(ids))
    order = sorted(zip(distances, ids, strict=True))
    assert [cell.cell_id for cell in nearest] == [i for _, i in order[: len(nearest)]]
    assert all(cell.distance >= max(c.distance for c in nearest) for cell in farthest)
    rest = sorted(set(ids) - {cell.cell_id for cell in (*nearest, *farthest)})
    assert [cell.cell_id for cell in random] == rest[: len(random)]


def test_sample_is_the_smallest_ids_however_cells_lie_in_parts(monkeypatch):
    monkeypatch.setattr(population, "SAMPLE", 7)
    ids = [uuid.UUID(int=i * 7919 % 101 + 1).hex for i in range(100)]
    found = population.Population(1)
    for start in range(0, 100, 9):
        piece = ids[start : start + 9]
        population._add(found, chunk(piece, [0.0] * len(piece)), 3)
    assert [cell.cell_id for cell in found.sample] == sorted(ids)[:7]
    assert found.size == 100


def test_maps_have_the_smallest_ids_of_small_clusters_too(monkeypatch):
    monkeypatch.setattr(population, "SAMPLE", 30)
    monkeypatch.setattr(population, "LEAST", 6)
    ids = [uuid.UUID(int=i * 7919 % 1009 + 1).hex for i in range(1000)]
    clusters = np.zeros(1000, np.int32)
    clusters[np.argsort(ids)[-20:]] = 4  # none of them is in the sample
    clusters[np.argsort(ids)[500:503]] = 9
    found = population.Population(1)
    for start in range(0, 1000, 90):
        here = slice(start, start + 90)
        piece = chunk(ids[here], [0.0] * len(ids[here]))
        population._add(found, replace(piece, clusters=clusters[here]), 1)
    shown = [cell.cell_id for cell in found.mapped]
    assert shown == sorted(ids)[:30] + sorted(ids)[500:503] + sorted(ids)[-20:-14]
    assert found.enlarged == [4, 9]


@pytest.fixture
def source(finished):
    return Source(finished.store, ReportConfig(), None, (), {})


def test_sizes_and_distances_are_those_of_the_table(source):
    found = read_population(source, source.generation("kmeans"))
    table = source.store.table("clusters").to_pandas()
    assert {n: m.size for n, m in found.clusters.items()} == dict(table["cluster"].value_counts())
    for number, members in found.clusters.items():
        distances = table.loc[table["cluster"] == number, "distance"]
        assert members.total_distance == pytest.approx(distances.sum(), rel=1e-5)
        assert sum(members.images.values()) == members.size
    assert found.without == 0
    assert found.size == len(table)


def test_clusters_are_those_of_the_model_after_a_refit_retired_a_number(laboratory):
    laboratory.scan()
    laboratory.segment()
    laboratory.embed()
    laboratory.cluster((4, 0, 7))
    source = Source(laboratory.commit(), ReportConfig(), None, (), {})
    model = source.generation("kmeans")
    assert model is not None
    found = read_population(source, model)
    table = source.store.table("clusters").to_pandas()
    assert list(found.clusters) == [0, 4, 7]
    assert {n: m.size for n, m in found.clusters.items()} == dict(table["cluster"].value_counts())


def test_a_cluster_without_cells_is_told(full):
    source = Source(full.store, ReportConfig(), None, (), {})
    for action in full.state.stage("cluster"):
        full.state.put([replace(action, components={"generation": 0})])
    model = source.generation("kmeans")
    assert model is not None
    found = read_population(source, model)
    assert {number: members.size for number, members in found.clusters.items()} == {
        0: 0,
        1: 0,
        2: 0,
    }


def test_sample_has_its_own_embedding(source):
    found = read_population(source, source.generation("kmeans"))
    placed, places = embedded(source, found.sample, source.generation("kpca"))
    ids = source.store.table("cells").to_pandas()["cell_id"].to_list()
    embedding = source.store.array("embedding").compute(scheduler="sync")
    assert len(placed) == len(ids)
    for cell, place in zip(placed, places, strict=True):
        assert place == pytest.approx(embedding[ids.index(cell.cell_id)])


def test_cells_of_an_older_generation_are_counted_apart(full):
    first = full.state.stage("cluster")[0]
    full.state.put([replace(first, components={"generation": 0})])
    source = Source(full.store, ReportConfig(), None, (), {})
    model = source.generation("kmeans")
    assert model is not None
    found = read_population(source, model)
    assert found.without == first.rows
    assert found.size == 33 - first.rows
