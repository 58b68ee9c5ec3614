"""The map of the cells: its data are those of the store, and nothing in them is obeyed."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from anabatch.config import ReportConfig
from anabatch.report import cell_map, components, population
from anabatch.report.build import build_report
from anabatch.report.figures import GREY
from anabatch.report.pictures import crop_thumbnail
from anabatch.report.population import locate, read_population
from anabatch.report.source import Source


@pytest.fixture
def source(finished):
    return Source(finished.store, ReportConfig(), None, (), {})


def drawn(source):
    found = read_population(source, source.generation("kmeans"))
    return cell_map.section(source, locate(source, found)).facts


@pytest.fixture
def facts(source):
    return drawn(source)


def test_every_cell_stands_where_its_embedding_is(source, facts):
    data = json.loads(str(facts["data"]))
    cells = source.store.table("cells").to_pandas()
    clusters = source.store.table("clusters").to_pandas().set_index("cell_id").cluster
    embedding = source.store.array("embedding").compute(scheduler="sync")[:, :2]
    assert facts["cells"] == facts["of"] == len(data["x"]) == len(cells)
    for axis, column in enumerate("xy"):
        low, high = embedding[:, axis].min(), embedding[:, axis].max()
        places = {c.cell_id[:12]: e for c, e in zip(cells.itertuples(), embedding, strict=True)}
        back = np.array(data[column]) / 65_535 * (high - low) + low
        expected = [places[name][axis] for name in data["id"]]
        np.testing.assert_allclose(back, expected, atol=(high - low) / 60_000)
    (coloured,) = [one for one in data["colourings"] if one["name"] == "cluster"]
    names = [coloured["keys"][place]["name"] for place in coloured["of"]]
    short = {name[:12]: str(number) for name, number in clusters.items()}
    assert names == [short[name] for name in data["id"]]


def test_labels_and_dates_are_those_of_the_images(source, facts):
    data = json.loads(str(facts["data"]))
    for name, expected in (("label", "homogeneous"), ("date", "2024-01-02")):
        (one,) = [found for found in data["colourings"] if found["name"] == name]
        told = {
            data["images"][image]["file"]: one["keys"][place]["name"]
            for image, place in zip(data["image"], one["of"], strict=True)
        }
        (file,) = [file for file in told if "001_plate" in file]
        assert told[file] == expected


def test_pictures_are_the_cells_own(source, facts, monkeypatch):
    data = json.loads(str(facts["data"]))
    _, _, text = facts["sheet"]["uri"].partition("base64,")
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))).astype(int)
    crops = source.store.array("crops").compute(scheduler="sync")
    ids = [name[:12] for name in source.store.table("cells").to_pandas().cell_id]
    assert sorted(data["picture"]) == list(range(len(ids)))
    for name, place in zip(data["id"], data["picture"], strict=True):
        y, x = np.array(divmod(place, data["columns"])) * cell_map.SIDE
        shown = sheet[y : y + cell_map.SIDE, x : x + cell_map.SIDE]
        exact = crop_thumbnail(crops[ids.index(name)], cell_map.SIDE)
        assert np.abs(shown - exact).mean() < 6
    monkeypatch.setattr(cell_map, "THUMBNAILS", 5)
    few = drawn(source)
    assert sorted(json.loads(str(few["data"]))["picture"])[-6:] == [-1, 0, 1, 2, 3, 4]


def test_every_cluster_has_points_and_pictures_however_small_it_is(source, monkeypatch):
    monkeypatch.setattr(population, "SAMPLE", 2)
    monkeypatch.setattr(population, "LEAST", 4)
    monkeypatch.setattr(cell_map, "OF_CLUSTER", 3)
    monkeypatch.setattr(cell_map, "THUMBNAILS", 9)
    facts = drawn(source)
    data = json.loads(str(facts["data"]))
    (coloured,) = [one for one in data["colourings"] if one["name"] == "cluster"]
    assert np.bincount(coloured["of"]).tolist() == [4, 4, 4]
    pictured = [of for of, place in zip(coloured["of"], data["picture"], strict=True) if place >= 0]
    assert np.bincount(pictured).tolist() == [3, 3, 3]
    assert facts["enlarged"] == [0, 1, 2]


def test_axes_are_named_with_their_shares_of_the_variance(source, facts):
    model = source.model(source.generation("kpca"))
    first, second = model["explained_variance_ratio_"][:2]
    expected = [f"component {i} ({s:.1%} of the variance)" for i, s in ((1, first), (2, second))]
    assert json.loads(str(facts["data"]))["axes"] == facts["axes"] == expected
    # and the script writes them
    assert {"data.axes[0]", "data.axes[1]"} <= set(
        re.findall(r"data\.axes\[\d\]", cell_map.script())
    )


def of_part(source):
    """Return the archive's clusters as if they were of the cells of clusters 1 and 2 alone."""
    found = read_population(source, source.generation("kmeans"))
    members = {number: found.clusters[number] for number in (1, 2)}
    sample = [cell for cell in found.sample if cell.cluster in members]
    return replace(found, clusters=members, sample=sample, name="mine")


def variance_of(source, cells):
    """Return the share of every component in the variance of some cells, from the whole embedding."""
    embedding = source.store.array("embedding").compute(scheduler="sync").astype(np.float64)
    ids = source.store.table("cells").to_pandas().cell_id.isin([cell.cell_id for cell in cells])
    variances = embedding[ids.to_numpy()].var(axis=0)
    return variances / variances.sum()


def test_a_part_is_mapped_on_its_own_principal_axes(source):
    part = of_part(source)
    located = locate(source, part)
    assert located is not None
    embedding = source.store.array("embedding").compute(scheduler="sync").astype(np.float64)
    ids = source.store.table("cells").to_pandas().cell_id.tolist()
    order = [ids.index(cell.cell_id) for cell in located.cells]
    peer = PCA(svd_solver="full").fit(embedding[order])
    expected = peer.transform(embedding[order])[:, :2]
    signs = np.sign((expected * located.places).sum(axis=0))
    np.testing.assert_allclose(located.places, expected * signs, atol=1e-6)
    names = [
        f"own axis {i} ({s:.1%} of these cells' variance in 4 components)"
        for i, s in enumerate(peer.explained_variance_ratio_[:2], start=1)
    ]
    assert cell_map.section(source, located).facts["axes"] == names
    assert located.held[0] > variance_of(source, part.sample)[0]  # more than along the archive's


def test_a_part_tells_its_own_shares_of_the_variance(source):
    part = of_part(source)
    located = locate(source, part)
    own = variance_of(source, part.sample)
    model = source.model(source.generation("kpca"))["explained_variance_ratio_"]
    assert abs(own[0] - model[0]) > 0.01  # the archive's are others
    facts = components.section(source, located).facts
    counts = [count for count, _ in facts["shares"]]
    assert facts["own"] == pytest.approx([own[:count].sum() for count in counts])
    assert facts["own"][-1] == pytest.approx(1)


def test_shares_of_a_part_are_not_bent_by_what_maps_show_of_small_clusters(source):
    part = of_part(source)
    few = replace(part, sample=part.sample[:9])
    located = locate(source, few)
    assert located is not None
    assert len(located.cells) > 9
    np.testing.assert_allclose(located.shares, variance_of(source, few.sample), rtol=1e-5)


def test_cells_that_do_not_vary_have_no_shares(source):
    part = of_part(source)
    located = locate(source, replace(part, sample=part.sample[:1]))
    assert located is not None
    assert located.shares.tolist() == [0] * 4
    assert located.held.tolist() == [0] * 2


def test_the_archive_keeps_the_shares_of_its_model(source):
    found = read_population(source, source.generation("kmeans"))
    assert components.section(source, locate(source, found)).facts["own"] == []


def test_nothing_in_the_data_can_end_the_element(facts, hostile_name):
    text = str(facts["data"])
    assert not set("<>&") & set(text)
    files = [image["file"] for image in json.loads(text)["images"]]
    assert any("<script>alert(1)" in name for name in files)
    assert not any(hostile_name in name for name in files)  # its invisible characters are escapes


def test_the_policy_lets_run_this_script_and_no_other(finished, tmp_path):
    out = build_report(finished.store, tmp_path / "r.html", config=ReportConfig())
    page = out.read_text(encoding="utf-8")
    scripts = re.findall(r"<script(?: [^>]*)?>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 2  # the data, and what draws them
    digest = base64.b64encode(hashlib.sha256(scripts[1].encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.endswith(f"script-src 'sha256-{digest}'")
    assert "unsafe-eval" not in policy
    assert not re.search(r"innerHTML|eval\(|new Function|fetch\(|XMLHttp", scripts[1])


def test_many_dates_share_colours_in_order():
    names = [f"2024-01-{day:02d}" for day in range(1, 31)]
    found = cell_map._in_order(names[::-1])
    assert len(found["keys"]) == 12
    assert found["of"] == sorted(found["of"], reverse=True)
    assert found["keys"][0]["name"].startswith("2024-01-01 to ")


def test_rare_labels_are_grey_together():
    values = [f"l{number}" for number in range(10) for _ in range(10 - number)]
    found = cell_map._most_frequent(values)
    assert [key["name"] for key in found["keys"]] == [f"l{n}" for n in range(7)] + ["3 others"]
    assert found["of"][-1] == 7


def test_a_single_rare_label_is_grey_and_has_its_name():
    found = cell_map._most_frequent([f"l{number}" for number in range(8)])
    assert [key["name"] for key in found["keys"]] == [f"l{n}" for n in range(8)]
    assert found["keys"][7]["colour"] == GREY


def test_paper_has_no_map_and_no_word_of_how_to_move_in_it(finished, tmp_path):
    out = build_report(finished.store, tmp_path / "r.html", config=ReportConfig())
    page = out.read_text(encoding="utf-8")
    sheets = re.findall(r"@media print \{(.*?)^\}", page, re.DOTALL | re.MULTILINE)
    hidden = re.findall(r"([^{}]*)\{ display: none; \}", "".join(sheets))
    gone = {name.strip() for names in hidden for name in names.split(",")}
    assert {".map", ".map-off", ".screen"} <= gone
    of_gallery, of_map = re.findall(r'<span class="screen">(.*?)</span>', page)
    assert "Turn the wheel" in of_map
    assert page.count("Point at a cell") == (of_gallery + of_map).count("Point at a cell") == 2
    assert ".map-paper { display: block; }" in "".join(sheets)
    assert page.index(".map-paper { display: none; }") < page.index(
        ".map-paper { display: block; }"
    )
