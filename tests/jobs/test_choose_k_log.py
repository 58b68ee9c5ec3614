"""What the log says of numbers of clusters."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from anabatch.jobs import choose_k as job

from anabatch.clustering.choice import KStudy, SmallCluster
from anabatch.clustering.scoring import KScores
from anabatch.stages import choose_k as stage
from anabatch.stages.population import Generation


@pytest.fixture
def told(tmp_path):
    """Return what is said of studies, by event."""

    def tell(studies, images=40, name="mine"):
        studies = [replace(study, groups=images) for study in studies]
        said: dict[str, list[Any]] = {}

        def say(event, text, **facts):
            said.setdefault(event, []).append((text, facts))

        generation = Generation(tmp_path, stage.KIND, "mine", 1, "s", {}, 1, "run-1")
        columns = [np.where([one.left_out != "" for one in studies], np.nan, 5.0)] * 4
        found = (studies, KScores(30, 3, 300, *columns))
        (action,) = stage.finish(generation, found, found).actions
        context = SimpleNamespace(
            store=SimpleNamespace(root=tmp_path), reporter=SimpleNamespace(say=say, warn=say)
        )
        job._tell(context, SimpleNamespace(name=name), action)
        return said

    return tell


def study(k, silhouette, agreement, small=None, error=0.01):
    return KStudy(k, np.zeros((k, 2)), silhouette, error, agreement, 0.01, small)


SMALL = SmallCluster(0.04, 0.9, 0.3)
LOOSE = SmallCluster(0.04, 0.8, 0.3)


def test_that_no_number_is_stable_is_said(told):
    ((text, facts),) = told([study(2, 0.1, 0.6), study(3, 0.2, 0.5)])["suggested"]
    assert text.startswith("cluster: no number is stable (agreement 0.75 or more); of all, 3 has")
    assert facts["k"] == 3


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("archive", "`anabatch report` writes a report with the curves"),
        ("mine", "The report has the curves"),  # it is written at once
    ],
)
def test_where_the_curves_are_is_said(told, name, end):
    ((text, _),) = told([study(2, 0.1, 0.8)], name=name)["suggested"]
    assert text.endswith(f"no more. {end}")


def test_the_best_of_the_stable_numbers_is_said(told):
    said = told([study(2, 0.1, 0.8), study(3, 0.2, 0.5)])
    assert said["suggested"][0][0].startswith("cluster: of the stable numbers 2 has")
    assert "small" not in said


def test_a_small_stable_cluster_is_said_where_means_prefer_another_number(told):
    studies = [study(2, 0.3, 0.9), study(3, 0.2, 0.6, LOOSE), study(4, 0.1, 0.4, SMALL)]
    ((text, facts),) = told([*studies, study(5, 0.1, 0.4, SMALL)])["small"]
    assert text == (
        "cluster: from k = 4 on, a stable cluster of 4 % of the cells appears; "
        "with 2 it is not there, or not stable"
    )
    assert facts["k"] == 4
    ((text, _),) = told([*studies, study(5, 0.4, 0.8, LOOSE)])["small"]
    assert text.startswith("cluster: at k = 4 alone, a stable")


def test_what_errors_are_of_is_said(told):
    said = told([study(2, 0.3, 0.9, error=0.0), study(3, 0.2, 0.6, SMALL, error=0.04)])
    (_, (text, facts)) = said["k"]
    assert "silhouette 0.200 (+- 0.04 by images)" in text
    assert "agreement 0.60 (+- 0.01)" in text
    assert "a cluster of 4 % has stability 0.90" in text
    assert facts["small_stability"] == 0.9
    assert facts["agreement_error"] == 0.01
    ((text, facts),) = said["images"]
    assert text == "cluster: agreement and errors are of 40 images, resampled as a whole"
    assert facts["images"] == 40


def test_that_images_are_few_is_said(told):
    ((text, _),) = told([study(2, 0.3, 0.9)], images=29)["images"]
    assert "29 images, resampled as a whole; from so few, errors come out too small" in text


def test_that_all_cells_are_of_one_image_is_said(told):
    said = told([study(2, 0.3, 0.9)], images=1)
    assert "images" not in said
    ((text, _),) = said["one_image"]
    assert "of ONE image: its cells were resampled" in text
    assert "(+- 0.01 by cells)" in said["k"][0][0]


def test_resamples_that_were_drawn_again_are_counted(told):
    said = told([study(2, 0.1, 0.8), replace(study(3, 0.2, 0.9), redrawn=4)])
    (two, of_two), (three, of_three) = said["k"]
    assert "drawn again" not in two
    assert "redrawn" not in of_two
    assert three.endswith("; drawn again: 4 resamples of too few cells that differ")
    assert of_three["redrawn"] == 4


def test_a_number_that_is_left_out_is_said_with_its_reason(told):
    nothing = KStudy(9, np.empty((0, 2)), np.nan, np.nan, np.nan, np.nan, left_out="too few")
    said = told([study(2, 0.3, 0.9), nothing])
    assert [facts["k"] for _, facts in said["k"]] == [2]
    assert said["left_out"][0][0] == "cluster: k = 9 is left out: too few"
