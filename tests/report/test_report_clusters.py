"""What the report tells of clusters: profiles, enriched labels, drift, numbers of clusters, parts."""

import datetime as dt
import re
import subprocess
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from anabatch.clustering.choice import KStudy, SmallCluster
from anabatch.clustering.scoring import KScores
from anabatch.config import ReportConfig
from anabatch.errors import ConfigurationError
from anabatch.report import (
    cluster_labels,
    cluster_parts,
    cluster_profiles,
    drift,
    new_kind,
    number_of_clusters,
)
from anabatch.report.build import build_part_report, build_report
from anabatch.report.members import Members, Tally
from anabatch.report.population import Population, read_population
from anabatch.report.source import Source
from anabatch.report.templating import environment
from anabatch.stages import choose_k
from anabatch.stages.population import Generation
from anabatch.store.recipes import Recipe


def source_of(laboratory):
    return Source(laboratory.store, ReportConfig(cells_per_cluster=4), None, (), {})


def render(section):
    return environment().get_template(section.template).render(f=section.facts)


def population_of(source):
    return read_population(source, source.generation("kmeans"))


def test_means_of_a_cluster_are_those_of_its_cells(full):
    source = source_of(full)
    facts = cluster_profiles.section(source, population_of(source)).facts
    cells = source.store.table("cells").to_pandas()
    cells = cells.merge(source.store.table("clusters").to_pandas(), on="cell_id")
    for row in facts["rows"]:
        here = cells[cells.cluster == row["number"]]
        assert row["cells"] == len(here)
        # two pixels make a reference pixel
        assert row["cell"] == pytest.approx(here.major_px.mean() / 2)
        assert row["nucleus"] == pytest.approx(here.nucleus_major_px.mean() / 2)
        assert row["brightness"] == pytest.approx(100 * here.mean_intensity.mean() / 255)
        nuclei = 100 * here.nucleus_mean_intensity.mean() / 255
        assert row["nucleus_brightness"] == pytest.approx(nuclei)
        judged = here.mitotic.dropna()
        assert row["judged"] == len(judged)
        expected = judged.astype(float).mean() if len(judged) else None
        assert row["mitotic"] == (pytest.approx(expected) if len(judged) else None)


def test_a_tally_leaves_out_what_is_not_known():
    assert Tally().mean is None
    tally = Tally()
    tally.add(np.array([1.0, np.nan, 3.0]))
    tally.add(np.array([np.nan]))
    assert (tally.mean, tally.cells) == (2.0, 2)


def test_labels_that_all_cells_have_tell_nothing(full):
    source = source_of(full)
    images = list(source.images)
    source.__dict__["labels"] = {
        image: (("pattern", "golgi"), ("antigen", f"a{number % 2}"), ("status", "positive"))
        for number, image in enumerate(images)
    }
    facts = cluster_profiles.section(source, population_of(source)).facts
    assert facts["common"] == ["golgi"]
    named = {one["label"] for row in facts["rows"] for one in row["labels"]}
    assert named <= {"a0", "a1"}


def test_where_all_cells_have_the_same_labels_tables_of_labels_are_left_out(full):
    source = source_of(full)
    model, population = source.generation("kmeans"), population_of(source)
    alike = (("pattern", "golgi"), ("class", "Golgi"), ("status", "positive"))
    source.__dict__["labels"] = dict.fromkeys(source.images, alike)
    profiles = cluster_profiles.section(source, population)
    labels = cluster_labels.section(source, population, model)
    assert labels.facts["plots"] == []
    assert "there is no heat map of it" in render(labels)
    page = render(profiles)
    assert (
        "All cells have Golgi, golgi, and no other pattern, antigen or class: labels tell" in page
    )
    assert '<th scope="col">enriched</th>' not in page
    assert page.count("<td") == 8 * 3
    first = next(iter(source.images))
    source.__dict__["labels"] |= {first: (*alike, ("pattern", "giantin"))}
    assert cluster_labels.section(source, population, model).facts["plots"] != []
    page = render(cluster_profiles.section(source, population))
    assert '<th scope="col">enriched</th>' in page
    assert "and no other" not in page
    assert page.count("<td") == 10 * 3


def test_a_label_is_tested_by_groups_and_not_by_cells(full):
    source = source_of(full)
    members = {0: Members(), 1: Members()}
    images, labels, groups = [f"i{n}" for n in range(24)], {}, {}
    for number, image in enumerate(images):
        has = number < 12
        labels[image] = (("pattern", "golgi" if has else "other"),)
        groups[image] = f"g{number // 2}"  # two images of every serum
        members[int(has)].images[image] = 40
        members[int(not has)].images[image] = 5
    for one in members.values():
        one.size = sum(one.images.values())
    population = Population(1, members)
    source.__dict__.update({"labels": labels, "groups": groups})
    facts = cluster_profiles.section(source, population).facts
    assert facts["groups"] == 12
    assert facts["tested"] == 4
    found = {(row["label"], row["cluster"]): row for row in facts["enriched"]}
    assert set(found) == {("golgi", 1), ("other", 0)}
    told = {row["number"]: row["enriched"] for row in facts["rows"]}
    assert told[1] == {"pattern": ["golgi"]}
    row = found["golgi", 1]
    assert (row["leaning"], row["groups"], row["others_leaning"], row["others"]) == (6, 6, 0, 6)
    assert row["p"] == pytest.approx(1 / 924)  # one of the ways to choose 6 of 12


def test_enriched_labels_of_the_table_are_no_status_and_tell_their_axis(full):
    source = source_of(full)
    members = {0: Members(), 1: Members()}
    labels = {}
    for number in range(24):
        has = number < 12
        both = (("class", "nuclear"), ("antigen", "nuclear"), ("status", "positive"))
        labels[f"i{number}"] = both if has else (("status", "negative"),)
        members[int(has)].images[f"i{number}"] = 40
        members[int(not has)].images[f"i{number}"] = 5
    for one in members.values():
        one.size = sum(one.images.values())
    source.__dict__.update({"labels": labels, "groups": {}})
    section = cluster_profiles.section(source, Population(1, members))
    told = [row["enriched"] for row in section.facts["rows"]]
    assert told == [{}, {"antigen": ["nuclear"], "class": ["nuclear"]}]
    assert "antigen: <strong>nuclear</strong>" in render(section)
    assert {row["axis"] for row in section.facts["enriched"]} == {"antigen", "class", "status"}


def test_a_date_with_other_shares_has_shifted(full):
    source = source_of(full)
    population = population_of(source)
    model = source.generation("kmeans")
    facts = drift.section(source, population, model).facts
    # the drawn clusters have no date, and so have their images here, whose first acquisitions have one
    assert [row["date"] for row in facts["rows"]] == ["undated"]
    cells = source.store.table("cells").to_pandas()
    assert facts["rows"][0]["images"] == cells.image_id.nunique() == 3
    assert facts["rows"][0]["chance"] == pytest.approx(2 / 3)
    assert facts["rows"][0]["cells"] == 33
    assert (
        "sizes" not in model.components
    )  # an older generation: the counts of its last pass stand in
    assert facts["rows"][0]["index"] < 0.01
    assert facts["shifted"] == 0
    population.dates[None].clear()
    population.dates[None].update({0: 300})
    (moved,) = drift.section(source, population, model).facts["rows"]
    assert moved["shares"] == [1.0, 0.0, 0.0]
    assert moved["index"] > 1
    assert moved["shifted"] == (moved["index"] > 2 * 2 / 3)
    population.images[None] = 0
    (moved,) = drift.section(source, population, model).facts["rows"]
    assert not moved["shifted"]  # of no image: cells alone are no evidence


def test_distances_of_dates_and_of_the_fit_are_of_one_measure(full):
    source = source_of(full)
    model, population = source.generation("kmeans"), population_of(source)
    distances = source.store.table("clusters").to_pandas()["distance"].to_numpy(np.float64)
    square = float((distances**2).mean())
    fitted = replace(model, components=model.components | {"mean_squared_distance": square})
    section = drift.section(source, population, fitted)
    (row,) = section.facts["rows"]
    assert row["distance"] == pytest.approx(section.facts["fitted"])
    assert row["distance"] > distances.mean() * 1.001  # which is another measure
    assert "mean distance to centre" not in render(section)


def test_dates_of_pictures_that_were_seen_elsewhere_are_named(full, paths):
    source = source_of(full)
    model, population = source.generation("kmeans"), population_of(source)
    day, other = dt.date(2024, 1, 2), dt.date(2024, 1, 3)
    every, of_images = population.dates, population.images
    every[day], every[other] = every.pop(None), Counter()
    population.squares[day], of_images[day] = population.squares.pop(None), of_images.pop(None)
    section = drift.section(source, population, model)
    assert section.facts["seen_before"] == []
    assert "no row" not in render(section)
    del every[other]
    section = drift.section(source, population, model)
    assert section.facts["seen_before"] == ["2024-01-03"]
    assert "1 date has no other pictures with clustered cells, and no row: 2024-01-03." in render(
        section
    )
    for members in population.clusters.values():  # of a part without a picture of that date
        for path in paths[2:]:
            members.images.pop(full.image(path).components["image_id"], None)
    assert drift.section(source, population, model).facts["seen_before"] == []


def test_sizes_of_the_fit_are_by_number(full):
    source = source_of(full)
    model = source.generation("kmeans")
    sized = replace(model, components=model.components | {"sizes": [1, 1, 2]})
    facts = drift.section(source, population_of(source), sized).facts
    assert facts["reference"] == [0.25, 0.25, 0.5]


def study(laboratory, name="archive", agreement=0.9, images=30):
    studies = [
        KStudy(k, np.zeros((k, 2)), 0.5 - k / 20, 0.01, agreement, 0.02, small)
        for k, small in (
            (2, None),
            (3, SmallCluster(0.07, 0.6, 0.2)),
            (4, SmallCluster(0.04, 0.9, 0.3)),
        )
    ]
    studies = [replace(one, groups=images, redrawn=one.k - 2) for one in studies]
    studies.append(
        KStudy(5, np.empty((0, 2)), np.nan, np.nan, np.nan, np.nan, left_out="too few <b>")
    )
    sums = [[9.0, 4, 3, np.nan], [9.0, 8, 7, np.nan], [4.0, 3, 3, np.nan], [5.0, 5, 5, np.nan]]
    scores = KScores(33, 4, 300, *map(np.array, sums))
    generation = Generation(laboratory.store.root, choose_k.KIND, name, 1, "s", {}, 9, "run-1")
    written = choose_k.finish(generation, (studies, scores), (studies, scores))
    laboratory.state.put(written.actions)


def test_what_spoke_for_numbers_of_clusters_is_drawn_twice(full):
    source = source_of(full)
    absent = number_of_clusters.section(source, "mine")
    assert absent.command == "anabatch cluster --name mine --choose-k 2..12"
    study(full)
    facts = number_of_clusters.section(source, "archive").facts
    assert [row["k"] for row in facts["rows"]] == [2, 3, 4, 5]
    assert (facts["suggested"], facts["knee"], facts["rises"]) == (2, 3, False)
    assert len(facts["plots"]) == 2
    assert "33 cells" in facts["plots"][0].caption
    assert facts["left_out"] == [[5, "too few <b>"]]
    assert facts["redrawn"] == [[3, 1], [4, 2]]
    assert facts["rows"][3]["silhouette"] is None


def test_the_configuration_makes_the_suggested_number_for_the_whole_archive(full):
    study(full)
    page = render(number_of_clusters.section(source_of(full), "archive"))
    assert "<code>cluster.k = 2</code>" in page


@pytest.mark.parametrize(
    ("where", "word"),
    [
        (
            "label = 'x' AND date < DATE '2024-01-03'",
            "\"label = 'x' AND date < DATE '2024-01-03'\"",
        ),
        ("label = 'x' -- $HOME `ls`", None),
        ("\"label\" = 'a!b' \\", None),
    ],
)
def test_the_command_that_makes_the_suggested_number_can_be_given_to_a_shell(
    full, where, word, monkeypatch
):
    monkeypatch.setattr(number_of_clusters, "_plot", lambda *_: None)
    source = source_of(full)
    recipe = Recipe("cluster", 1, {"where": where, "components": 4, "method": "mixture"})
    study(full, "mine")
    (found,) = [a for a in full.state.stage("model") if a.unit == "choice/mine/000001"]
    known = replace(found, components=found.components | {"settings": recipe.digest})

    def told():
        return number_of_clusters.section(source, "mine").facts["next"]

    assert told() == "anabatch cluster --name mine --k 2"  # nobody knows how it was made
    full.state.put([recipe.action("run-1"), known])
    given = ["--name", "mine", "--where", where, "--method", "mixture", "--k", "2"]
    said = subprocess.run(  # noqa: S603 -- a shell is what it is for
        ["/bin/sh", "-c", f"printf '%s\\0' {told()}"], capture_output=True, check=True
    )
    assert said.stdout.decode().split("\0")[:-1] == ["anabatch", "cluster", *given]
    assert word is None or word in told()
    model = source.generation("kmeans")
    facts = model.components | {"where": where, "method": "mixture"}
    full.state.put([replace(model, unit="kmeans/mine/000001", components=facts)])
    assert told() == "anabatch cluster --name mine --k 2"
    facts |= {"method": "kmeans"}
    full.state.put([replace(model, unit="kmeans/mine/000001", components=facts)])
    assert told() == "anabatch cluster --name mine --method mixture --k 2"


def test_a_small_stable_cluster_is_told_of_where_mean_silhouettes_prefer_another_number(full):
    study(full)
    section = number_of_clusters.section(source_of(full), "archive")
    facts = section.facts
    assert facts["shown"] == {"numbers": [4], "share": 0.04, "suggested": False}
    assert [row["small_share"] for row in facts["rows"]] == [None, 0.07, 0.04, None]
    page = re.sub(r"<[^>]*>", "", render(section)).replace("\u202f", " ")
    assert "With 4 clusters, one of them is small and stable (4.0 % of the cells" in page
    assert "With 2 it is not there, or not stable" in page
    assert "too few &lt;b&gt;" in page
    assert "Of the numbers whose fits agree to 0.75 or more, 2 has" in page


def test_no_number_is_called_stable_where_none_is(full):
    study(full, agreement=0.5)
    page = render(number_of_clusters.section(source_of(full), "archive"))
    assert "Of no number do the fits agree to 0.75 or more" in page


def test_it_is_said_how_many_images_were_resampled(full):
    study(full)
    section = number_of_clusters.section(source_of(full), "archive")
    page = re.sub(r"<[^>]*>", "", render(section))
    assert "the cells that were tried are of 30 (30 on features)" in page
    assert "too small all the same" not in page
    assert "fits on resampled images" in page
    assert "fits on resampled images with" in section.facts["plots"][0].caption
    study(full, images=29)
    page = render(number_of_clusters.section(source_of(full), "archive"))
    assert "From fewer than 30 images errors come out too small all the same." in page


def test_that_one_image_says_nothing_of_others_is_said(full):
    study(full, images=1)
    section = number_of_clusters.section(source_of(full), "archive")
    page = re.sub(r"<[^>]*>", "", render(section))
    assert "All cells that were tried are of one image." in page
    assert "images are resampled" not in page
    assert "fits on resampled cells with" in section.facts["plots"][0].caption


def test_a_study_of_before_images_were_resampled_says_so(full):
    study(full)
    source = source_of(full)
    found = source.generation("choice")
    older = {name: value for name, value in found.components.items() if "images" not in name}
    source.__dict__["generation"] = lambda *_: replace(found, components=older)
    page = render(number_of_clusters.section(source, "archive"))
    assert "When this was tried, cells were resampled, and not images" in page
    assert "fits on resampled images" not in page


def test_a_study_of_before_small_clusters_were_looked_for_is_shown(full):
    study(full)
    source = source_of(full)
    read = source.model
    source.__dict__["model"] = lambda action: {
        name: array for name, array in read(action).items() if "small" not in name
    }
    facts = number_of_clusters.section(source, "archive").facts
    assert facts["shown"] is None
    assert not facts["looked_for_small"]
    assert len(facts["plots"]) == 2


def test_a_new_kind_is_shown_while_its_clusters_stand(full):
    source = source_of(full)
    assert new_kind.section(source).absent
    cells = source.store.table("cells").to_pandas()
    part = cells.part[0]
    names = cells[cells.part == part].cell_id.to_numpy()[:3].astype(str)
    model = source.generation("kmeans")
    generation = Generation(
        full.store.root, "novelty", "archive", 1, "s", {part: len(names)}, 9, "run-1"
    )
    facts = {"model": model.part, "beyond": 5, "together": 3, "new": 30}
    arrays = {"center": np.zeros(3), "cell_ids": names[::-1]}
    full.state.put(generation.write(arrays, facts).actions)
    shown = new_kind.section(source).facts
    assert [cell["title"].split(" · ")[2] for cell in shown["cells"]] == [
        f"cell {name}" for name in names[::-1]
    ]
    (proposal,) = [a for a in full.state.stage("model") if a.unit.startswith("novelty/")]
    full.state.put([replace(proposal, components=facts | {"model": "another"})])
    assert new_kind.section(source).absent


def test_a_part_has_a_report_of_its_own(full, tmp_path):
    with pytest.raises(ConfigurationError, match="mine"):
        build_part_report(full.store, tmp_path / "x.html", name="mine", config=ReportConfig())
    source = source_of(full)
    assert cluster_parts.section(source).absent
    model = source.generation("kmeans")
    where = {"where": "label = '<b>x</b>'"}
    named = replace(model, unit="kmeans/mine/000001", components=model.components | where)
    assigned = [
        replace(
            a, unit=a.unit.replace("archive:", "mine:"), components=a.components | {"selected": 7}
        )
        for a in full.state.stage("cluster")
    ]
    full.state.put([named, *assigned])
    (row,) = cluster_parts.section(source).facts["rows"]
    assert (row["name"], row["cells"], row["k"]) == ("mine", 14, 3)
    out = build_part_report(full.store, tmp_path / "mine.html", name="mine", config=ReportConfig())
    page = out.read_text(encoding="utf-8")
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x" not in page
    assert page.count("<section") == 8
    whole = build_report(full.store, tmp_path / "r.html", config=ReportConfig())
    assert "mine" in whole.read_text(encoding="utf-8")
