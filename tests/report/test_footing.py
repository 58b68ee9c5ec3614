"""How clusters were made, and the warning over clusters of another embedding."""

import re
from dataclasses import replace

import numpy as np
import pytest

from anabatch.clustering.choice import KStudy
from anabatch.clustering.scoring import KScores
from anabatch.config import ReportConfig
from anabatch.report.build import build_part_report, build_report
from anabatch.report.footing import footing, making, warned
from anabatch.report.section import Section
from anabatch.report.source import Source
from anabatch.stages import choose_k
from anabatch.stages.population import Generation
from anabatch.store.actions import Action
from anabatch.store.live import CELLS, MODEL
from anabatch.store.recipes import Recipe

OF_CLUSTERS = {"gallery", "profiles", "clusters", "map", "components", "drift"}


def source_of(laboratory):
    return Source(laboratory.store, ReportConfig(), None, (), {})


def embed_anew(laboratory, number=2):
    """Fit the embedding a second time, and leave the clusters as they are."""
    before = source_of(laboratory).generation("kpca")
    newer = replace(
        before,
        unit=f"kpca/archive/{number:06d}",
        components=before.components | {"generation": number},
        part_digest="f" * 32,
        sequence=laboratory.state.next_sequence(),
    )
    laboratory.state.put([newer])


def name_part(laboratory, method="mixture"):
    """Give the archive's clusters a second name, as if they were of a part."""
    model = source_of(laboratory).generation("kmeans")
    settings = {"k": 3, "components": 4, "restarts": 7, "method": method, "where": "area_px > 3"}
    (embedding,) = [a for a in laboratory.state.stage(MODEL) if a.unit == "kpca/archive/000001"]
    recipe = Recipe("cluster", 1, settings, {"embedding": str(embedding.part_digest)})
    facts = {"where": "area_px > 3", "method": method, "settings": recipe.digest}
    named = replace(model, unit="kmeans/mine/000001", components=model.components | facts)
    assigned = [
        replace(a, unit=a.unit.replace("archive:", "mine:"))
        for a in laboratory.state.stage("cluster")
    ]
    laboratory.state.put([recipe.action("run-1"), named, *assigned])


def sections(page):
    """Return the text of every section, by anchor."""
    found = re.findall(r'<section id="([^"]*)">(.*?)</section>', page, re.DOTALL)
    return {anchor: " ".join(re.sub(r"<[^>]*>", " ", text).split()) for anchor, text in found}


@pytest.fixture
def report(full, tmp_path):
    """Write the report, or that of a part; return its sections."""

    def write(name=None):
        out = tmp_path / "r.html"
        if name:
            build_part_report(full.store, out, name=name, config=ReportConfig(), run="run-9")
        else:
            build_report(full.store, out, config=ReportConfig())
        return sections(out.read_text(encoding="utf-8"))

    return write


def test_clusters_of_the_current_embedding_carry_no_warning(report):
    assert not [name for name, text in report().items() if "were made on" in text]


def test_all_sections_with_clusters_of_another_embedding_say_so(full, report):
    embed_anew(full)
    found = report()
    warning = "These clusters were made on generation 1 of the embedding. The current one is generation 2."
    told = {name for name, text in found.items() if warning in text}
    assert told == OF_CLUSTERS
    assert "generation 2. anabatch cluster makes them anew" in found["gallery"]
    on_maps = {name for name, text in found.items() if "Cells lie where the current one" in text}
    assert on_maps == {"map", "components"}
    assert "not on the current embedding" in found["overview"]


def test_an_embedding_without_clusters_on_its_map_is_not_warned_of(full, report):
    embed_anew(full)
    embedded = full.state.stage("embed")
    full.state.put([replace(a, components=a.components | {"model": "gone"}) for a in embedded])
    told = {name for name, text in report().items() if "These clusters were made on" in text}
    assert told == OF_CLUSTERS - {"map", "components"}


def test_numbers_that_were_tried_on_another_embedding_say_so(full):
    stood = source_of(full).generation("kmeans").components["settings"]
    tried = Action(MODEL, f"{choose_k.KIND}/mine/000001", "k", components={"settings": stood})
    section = Section("number", "How many clusters", "number_of_clusters.html")
    assert warned(source_of(full), tried, section) == section
    embed_anew(full)
    found = warned(source_of(full), tried, section)
    assert found.warning.startswith("These numbers of clusters were tried on generation 1 of")
    assert found.command == "anabatch cluster --name mine --choose-k 2..12"
    absent = replace(section, absent="none were tried")
    assert warned(source_of(full), tried, absent) == absent


def test_without_an_embedding_clusters_say_so(full):
    model = source_of(full).generation("kmeans")
    full.state.delete([full.state.get(MODEL, "kpca/archive/000001")])
    text = footing(source_of(full), model).warning("They were made")
    assert text.endswith("There is no embedding now.")


def test_an_embedding_that_is_taken_up_again_makes_clusters_stand(full):
    model = source_of(full).generation("kmeans")
    embed_anew(full)
    assert not footing(source_of(full), model).stands
    first = full.state.get(MODEL, "kpca/archive/000001")
    full.state.put([replace(first, sequence=full.state.next_sequence())])
    assert footing(source_of(full), model).stands


def test_clusters_of_which_the_embedding_is_not_known_say_so(full, report):
    model = source_of(full).generation("kmeans")
    full.state.put([replace(model, components=model.components | {"settings": "0" * 32})])
    found = report()
    assert "made on an embedding that is not known any more" in found["gallery"]
    assert "other parameters not known any more" in found["clusters"]


def test_the_report_of_a_part_says_how_and_from_what_its_clusters_were_made(full, report):
    name_part(full)
    found = report("mine")
    assert next(iter(found)) == "overview"
    told = found["overview"]
    cells = sum(action.rows for action in full.state.stage(CELLS))
    assert (
        f"{cells} cells of 3 images, of the {cells} in the store: those where area_px &gt; 3 ."
        in told
    )
    for fact in (
        "mixture, a mixture of Gaussians with diagonal covariances",
        "restarts = 7",
        "generation 1",
        str(full.store.root),
        f"store version {full.store.version}",
        "run-9",
    ):
        assert fact in told, fact
    assert re.search(r"written 20\d\d-\d\d-\d\d \d\d:\d\d UTC", told)
    assert "mixture" in found["clusters"]


@pytest.mark.parametrize("method", ["kmeans", "lloyd", "mixture"])
def test_every_method_has_words(full, method):
    name_part(full, method)
    source = source_of(full)
    text = making(source, source.generation("kmeans", "mine"))["method"]
    assert text.startswith(f"{method}, ")


def test_a_part_of_another_embedding_names_its_own_command(full, report):
    name_part(full)
    embed_anew(full)
    found = report("mine")
    assert "anabatch cluster --name mine makes" in found["gallery"]
    assert "generation 1, which is not the current one" in found["overview"]
    assert "not the current one : anabatch cluster --name mine" in report()["parts"]


def try_numbers(laboratory, **changed):
    """Try numbers of clusters for the part, on what its clusters are made of or on something else."""
    model = source_of(laboratory).generation("kmeans", "mine")
    (stood,) = [
        a for a in laboratory.state.stage("recipe") if a.unit == model.components["settings"]
    ]
    settings = stood.components["parameters"] | changed
    recipe = Recipe("cluster", 1, settings, stood.components["models"])
    studies = [KStudy(k, np.zeros((k, 4)), 0.5, 0.1, 0.9, 0.1, groups=3) for k in (2, 3, 4)]
    scores = KScores(217, 3, 3, *([np.array([3.0, 2, 1])] * 4))
    generation = Generation(
        laboratory.store.root, choose_k.KIND, "mine", 1, recipe.digest, {}, 9, "run-7"
    )
    written = choose_k.finish(generation, (studies, scores), (studies, scores))
    laboratory.state.put([recipe.action("run-7"), *written.actions])


def test_numbers_that_were_tried_for_the_same_clusters_carry_no_warning(full, report):
    name_part(full)
    try_numbers(full, k=7, seed=5)
    text = report("mine")["number"]
    assert "These numbers of clusters were tried" not in text
    assert "Tried by run run-7 on 217 cells where area_px &gt; 3 , with the method mixture" in text
    assert "mixture on 4 components of the embedding." in text


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"where": "label = 'nucleolar'"},
            "on the cells where label = &#39;nucleolar&#39;; the clusters are of the cells where area_px &gt; 3.",
        ),
        ({"where": ""}, "on all cells; the clusters are of the cells where area_px &gt; 3."),
        ({"method": "lloyd"}, "with lloyd; the clusters are made with mixture."),
        ({"components": 3}, "with 3 components; the clusters use 4."),
    ],
)
def test_numbers_that_were_tried_for_other_clusters_say_so(full, report, changed, told):
    name_part(full)
    try_numbers(full, **changed)
    text = report("mine")["number"]
    again = "anabatch cluster --name mine --choose-k 2..4 --k 3 makes them anew"
    assert f"These numbers of clusters were tried {told} {again}" in text


def test_that_there_are_other_cells_now_than_were_tried_is_said(full, report):
    name_part(full)
    try_numbers(full)
    for number, selected in enumerate((200, 17, 0)):
        (*others, last) = [a for a in full.state.stage("cluster") if a.unit.startswith("mine:")]
        for action, cells in ((last, selected), *((other, 0) for other in others)):
            facts = action.components | {"selected": cells}
            full.state.put([replace(action, components=facts)])
        text = report("mine")["number"]
        told = f"on 217 cells (the clusters are of {selected} now) where"
        assert (told in text) == (number < 2)
        assert "217 cells" in text


def test_k_means_of_either_kind_is_tried_alike(full, report):
    name_part(full, "lloyd")
    try_numbers(full, method="kmeans")
    assert "These numbers" not in report("mine")["number"]


def test_what_differs_is_said_beside_another_embedding(full, report):
    name_part(full)
    try_numbers(full, method="kmeans")
    embed_anew(full)
    text = report("mine")["number"]
    assert (
        "The current one is generation 2. These numbers of clusters were tried with kmeans" in text
    )


def test_of_numbers_that_nobody_knows_the_making_of_that_is_said(full, report):
    name_part(full)
    try_numbers(full)
    (choice,) = [a for a in full.state.stage(MODEL) if a.unit.startswith("choice/")]
    full.state.put([replace(choice, components=choice.components | {"settings": "0" * 32})])
    text = report("mine")["number"]
    assert "Tried by run run-7 on 217 cells; where, and with which method, is not known" in text
    assert "the clusters are" not in text


def test_components_that_the_embedding_lacks_are_not_said_to_be_used(full):
    source = source_of(full)
    model = source.generation("kmeans")
    assert making(source, model)["components used"] == "4"
    asked = replace(model, components=model.components | {"components": 500})
    assert making(source, asked)["components used"] == "4 (500 are asked for)"
