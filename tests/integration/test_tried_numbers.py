"""What a part's report says of numbers of clusters that were tried for other cells under its name."""

import re
from pathlib import Path

import pytest
from anabatch.jobs import cluster_command
from anabatch.jobs.cluster_options import Asked
from cheap import cheap_networks, draw_tiny
from running import make_config, run_jobs


@pytest.fixture(autouse=True)
def _cheap():
    with cheap_networks():
        yield


@pytest.fixture
def cluster(tmp_path):
    """Cluster a part of an archive of two classes; return the section of its numbers of clusters."""
    for number in range(4):
        draw_tiny(tmp_path / f"DATA/Cytoplasme/Cyto Golgi/{number}.jpg", number, cells=12)
        draw_tiny(tmp_path / f"DATA/Nucleaire/Homogene/{number}.jpg", 9 + number, cells=12)
    place = {"name": "sim", "path": str(tmp_path / "DATA"), "layout": "by-class"}
    config = make_config(tmp_path / "DATA", tmp_path / "store", archives=[place])
    run_jobs(config)

    class Command:
        def __init__(self, **options):
            self.run = cluster_command.job_of(Asked(name="mine", **options))

    def run(**options):
        events = run_jobs(config, Command(**options), create=False)
        (report,) = [Path(event["path"]) for event in events if event["event"] == "report"]
        _, _, section = report.read_text("utf-8").partition('<section id="number">')
        text = re.sub(r"<[^>]*>", "", section.partition("</section>")[0])
        return text.replace("&#39;", "'").replace("&#34;", '"')

    return run


def test_numbers_are_of_the_cells_and_the_method_that_they_were_tried_with(cluster):
    text = cluster(where="label = 'golgi'", choose_k="2..3")
    assert "cells where label = 'golgi', with the method kmeans on 8 components" in text
    assert "These numbers of clusters were tried" not in text

    text = cluster(where="label = 'homogeneous'", k=3)
    warning = "tried on the cells where label = 'golgi'; the clusters are of the cells where label = 'homog"
    assert warning in text
    assert "tried with" not in text
    assert "anabatch cluster --name mine --choose-k 2..3 --k 3 makes them anew" in text
    assert "anabatch cluster --name mine --where \"label = 'golgi'\" --k" in text

    text = cluster(choose_k="2..3", k=3)
    assert "cells where label = 'homogeneous', with the method kmeans" in text
    assert "These numbers of clusters were tried" not in text

    text = cluster(method="mixture")
    assert (
        "These numbers of clusters were tried with kmeans; the clusters are made with mixture."
        in text
    )
    assert "tried on" not in text
