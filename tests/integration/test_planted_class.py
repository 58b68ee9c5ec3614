"""A class of 2,500 cells of which 4 % are bright and atypical, found from the command line alone."""

import csv
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from anabatch.clustering import BatchKMeans, DiagonalMixture

ANABATCH = Path(sys.executable).with_name("anabatch")
CLASS = "Cyto atypique MDA5"


def best_f1(clusters, truth):
    """Return the largest F1 score of one cluster as the set that was planted."""
    scores = []
    for number in np.unique(clusters):
        here = clusters == number
        scores.append(2 * (here & truth).sum() / (here.sum() + truth.sum()))
    return max(scores)


@pytest.mark.parametrize("model", [BatchKMeans(8), DiagonalMixture(8, restarts=2)])
def test_a_kind_of_four_percent_is_a_cluster_of_its_own(model):
    """At the embedding's level: typical cells vary along a few components, atypical ones lie apart."""
    rng = np.random.default_rng(0)
    spread = 0.3 / np.sqrt(1 + np.arange(35))
    typical = rng.normal(0, spread, (2400, 35))
    atypical = rng.normal(0, spread, (100, 35)) + 0.55 * np.eye(35)[4]
    atypical[:, 0] += 0.6
    rows = np.concatenate([typical, atypical]).astype(np.float32)
    assert best_f1(model.fit(rows).labels_, np.arange(2500) >= 2400) >= 0.8


def anabatch(*arguments):
    done = subprocess.run(  # noqa: S603 (our own command)
        [ANABATCH, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_planted_class_is_found_from_the_command_line(tmp_path):
    archive, store = tmp_path / "archive", tmp_path / "store"
    drawn = ["--images", 36, "--layout", "by-class", "--atypical", 0.04, "--seed", 1]
    anabatch("simulate", archive, *drawn)
    anabatch("run", "--archive", archive / "DATA", "--store", store, "--scheduler", "sync")
    asked = ["--name", "mda5", "--where", f"label = '{CLASS}'", "--k", 12]
    anabatch("cluster", "--store", store, "--scheduler", "sync", *asked)
    frames = {}
    for table, options in {
        "clusters": ["--model", "mda5"],
        "cells": [],
        "acquisitions": [],
    }.items():
        out = tmp_path / f"{table}.parquet"
        anabatch("show", table, "--store", store, "--out", out, *options)
        frames[table] = pd.read_parquet(out)
    cells = frames["clusters"].merge(frames["cells"], on="cell_id")
    assert 2200 < len(cells) < 2900
    paths = frames["acquisitions"].set_index("image_id").relative_path
    truth = is_atypical(archive / "truth", cells.assign(path=cells.image_id.map(paths)))
    assert 0.03 < truth.mean() < 0.05
    assert best_f1(cells.cluster.to_numpy(), truth) >= 0.8


def is_atypical(truth, cells):
    """Return for every cell whether the one that was drawn at its centre is atypical."""
    with (truth / "atypical.csv").open(encoding="utf-8") as file:
        planted = defaultdict(set)
        for row in csv.DictReader(file):
            planted[row["relative_path"]].add(int(row["label"]))
    found = np.zeros(len(cells), bool)
    for path in cells.path.unique():
        labels = tifffile.imread(truth / "cells" / Path(path).with_suffix(".tif"))
        here = np.flatnonzero(cells.path == path)
        places = cells.iloc[here][["centroid_y", "centroid_x"]].to_numpy().astype(int)
        found[here] = [int(labels[y, x]) in planted[path] for y, x in places]
    return found
