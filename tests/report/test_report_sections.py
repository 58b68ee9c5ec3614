"""The facts of every section, counted by hand."""

import datetime as dt
import re
from dataclasses import replace

import pytest

from anabatch.config import ReportConfig
from anabatch.report import (
    cell_ledger,
    cluster_labels,
    components,
    fields,
    gallery,
    image_labels,
    incoming,
    log,
    proposals,
    quarantine,
)
from anabatch.report.dropped import REASONS
from anabatch.report.population import locate, read_population
from anabatch.report.source import Source
from anabatch.report.templating import environment
from anabatch.segmentation.dynamics import LOSSES
from anabatch.segmentation.results import ON_SCALE_BAR, VANISHED
from anabatch.store.actions import FAILED, Action
from anabatch.store.live import LIST
from anabatch.store.parts import Part


def source_of(laboratory, run="run-1", events=(), roots=(), **options):
    return Source(laboratory.store, ReportConfig(**options), run, events, dict(roots))


def test_incoming_counts_by_date(full):
    facts = incoming.section(source_of(full)).facts
    assert facts["news"] == 5
    assert facts["news_quarantined"] == 1
    assert facts["duplicates"] == 0
    assert facts["rows"] == [
        {
            "date": "2024-01-03",
            "archive": "lab",
            "files": 3,
            "images": 2,
            "added": 2,
            "quarantined": 1,
            "labelled": 2,
            "cells": 10,
        },
        {
            "date": "2024-01-02",
            "archive": "lab",
            "files": 2,
            "images": 2,
            "added": 2,
            "quarantined": 0,
            "labelled": 2,
            "cells": 23,
        },
    ]
    done = {row["name"]: (row["total"], row["added"]) for row in facts["stages"]}
    assert done["images segmented"] == (4, 4)
    assert done["models fitted"] == (2, 2)


def test_another_run_added_nothing(full):
    facts = incoming.section(source_of(full, run="run-2")).facts
    assert facts["news"] == 0
    assert all(row["added"] == 0 for row in (*facts["rows"], *facts["stages"]))


def test_repeats_and_history_are_counted_and_history_is_no_label(full, paths):
    before = image_labels.section(source_of(full)).facts
    assert (before["repeats"], before["superseded"]) == (0, 0)
    old = full._annotation(paths[0], "golgi", "pattern", None)
    new = full._annotation(paths[0], "centromere", "pattern", None)
    rows = [old | {"superseded_by": "20240102/late.csv"}, new | {"repeats": 2}]
    full.annotate_rows("late", rows)
    source = source_of(full)
    facts = image_labels.section(source).facts
    assert (facts["repeats"], facts["superseded"]) == (2, 1)
    labels = {row["label"] for axis in facts["axes"] for row in axis["rows"]}
    assert "centromere" in labels
    assert "golgi" not in labels
    assert "golgi" not in source.label_text(full.image(paths[0]).components["image_id"])


def test_the_same_picture_twice_is_one_image(laboratory, paths):
    copy = laboratory.root / "20240102/001_SN09001/006_plate_1_202400006_1_1_06.jpg"
    copy.write_bytes((laboratory.root / paths[2]).read_bytes())
    laboratory.scan()
    source = source_of(laboratory)
    facts = incoming.section(source).facts
    assert facts["duplicates"] == 1
    assert len(source.images) == 4
    twin = laboratory.image(paths[2]).components["image_id"]
    assert source.images[twin].date == dt.date(2024, 1, 2)  # the earlier of the two


def test_many_dates_are_drawn_by_month_and_undated_ones_last(laboratory):
    laboratory.scan()
    template = laboratory.state.stage("scan")[0]
    days = [dt.date(2023, 1, 1) + dt.timedelta(days=i) for i in range(70)]
    laboratory.state.put(
        replace(template, unit=f"u{i}", date=day, archive="lab") for i, day in enumerate(days)
    )
    laboratory.state.put([replace(template, unit="undated", date=None, archive="2old")])
    facts = incoming.section(source_of(laboratory)).facts
    assert facts["plot"].caption == "Image files by month."
    assert len(facts["rows"]) == 31
    assert facts["more"] == 70 + 2 + 1 - 31


def test_labels_count_images_and_flags(full):
    facts = image_labels.section(source_of(full)).facts
    axes = {axis["axis"]: axis["rows"] for axis in facts["axes"]}
    assert list(axes) == ["pattern", "status"]
    status = [(row["label"], row["images"], row["flagged"]) for row in axes["status"]]
    assert status == [("positive", 3, 0), ("negative", 1, 0)]
    pattern = {row["label"]: (row["images"], row["flagged"]) for row in axes["pattern"]}
    assert pattern["speckled"] == (1, 1)
    assert pattern["homogeneous"] == (1, 0)  # the row without an image counts for no image
    flags = {row["flag"]: (row["rows"], row["images"]) for row in facts["flags"]}
    assert flags == {"conflict": (1, 1), "missing_image": (1, 0)}
    assert facts["flags"][1]["examples"] == ["20240102/exp.csv, line 3: why: missing_image"]
    assert (facts["labelled"], facts["unlabelled"]) == (4, 0)


def test_quarantine_names_files_whatever_failed(full, paths, broken):
    full.quarantine(paths[1], "changed since it was scanned")
    place = {"relative_path": "20240104"}
    listed = Action(LIST, "lab/20240104", "k", "lab", outcome=FAILED, reason="x", components=place)
    full.state.put([listed])
    facts = quarantine.section(source_of(full)).facts
    found = {(row["stage"], row["file"], row["reason"]) for row in facts["rows"]}
    assert found == {
        ("scan", broken, "not a JPEG, PNG, TIFF or BMP image"),
        ("segment", paths[1], "changed since it was scanned"),
        ("list", "20240104", "x"),
    }
    assert facts["total"] == 3


def test_fields_show_every_combination_of_labels_before_any_twice(full):
    source = source_of(full)
    actions = full.state.stage("segment")
    labels = [source.labels[action.unit] for action in fields.choose(source, actions)]
    assert len(set(labels)) == 4
    without = source_of(full)
    without.__dict__["labels"] = {}
    units = [action.unit for action in fields.choose(without, actions)]
    assert units == sorted(units)


def test_fields_of_this_run_come_first(full, paths):
    unit = full.image(paths[2]).components["image_id"]
    full.state.put([replace(full.state.get("segment", unit), run="run-2")])
    source = source_of(full, run="run-2")
    assert fields.choose(source, full.state.stage("segment"))[0].unit == unit


def test_proposals_are_kept_plus_dropped(full, paths):
    facts = proposals.section(source_of(full)).facts
    assert facts["reasons"][:3] == ["too large", "flows do not fit the mask", "too small"]
    kinds = {k["name"]: (k["proposed"], k["kept"], k["dropped"]) for k in facts["kinds"]}
    assert kinds == {"nuclei": (41, 33, [0, 0, 8, 0, 0]), "cells": (37, 33, [0, 4, 0, 0, 0])}
    assert facts["worst"][0]["share"] == 1
    assert facts["worst"][1]["share"] == pytest.approx(1 / 11)
    assert facts["empty"] == [{"file": paths[3], "labels": "negative"}]


def test_reasons_have_the_same_words_wherever_they_stand(full, paths):
    dropped = {f"cells_{reason}": 1 for reason in ("scale_bar", "vanished", "flow_error")}
    assert {*LOSSES, VANISHED, ON_SCALE_BAR} == REASONS.keys()
    action = full.state.stage("segment")[0]
    full.state.put([replace(action, components=action.components | {"dropped": dropped})])
    masks = proposals.section(source_of(full))
    words = set(masks.facts["reasons"])
    rows = cell_ledger.section(source_of(full)).facts["rows"]
    ledger = {reason for row in rows for reason, _ in row["dropped"]}
    assert {"on the scale bar", "nothing left at full size"} <= ledger <= words
    page = environment().get_template(masks.template).render(f=masks.facts)
    assert not re.search(r"scale_bar|vanished", page)
    # a row a reason: however many there are, the table is no wider than the page
    (table,) = re.findall(r"<table>(.*?)</table>", page.split("<h3>")[0], re.DOTALL)
    for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL):
        assert len(re.findall("<t[hd]", row)) == 3
    assert re.search(r"dropped: on the scale bar</th><td[^>]*>0</td><td[^>]*>1</td>", table)


def test_an_unknown_reason_is_counted_under_its_own_name(full):
    action = full.state.stage("segment")[0]
    facts = action.components | {"dropped": {"cells_odd_one": 5}}
    full.state.put([replace(action, components=facts)])
    shown = proposals.section(source_of(full)).facts
    assert shown["reasons"][-1] == "odd one"
    assert [kind["dropped"][-1] for kind in shown["kinds"]] == [0, 5]


def test_gallery_has_every_cluster(full):
    source = source_of(full)
    population = read_population(source, source.generation("kmeans"))
    facts = gallery.section(source, population).facts
    assert [cluster["number"] for cluster in facts["clusters"]] == [0, 1, 2]
    assert [cluster["size"] for cluster in facts["clusters"]] == [12, 11, 10]
    for cluster in facts["clusters"]:
        assert sum(len(kind["cells"]) for kind in cluster["kinds"]) == cluster["size"]


def test_clusters_count_cells_for_every_label(full):
    source = source_of(full)
    model = source.generation("kmeans")
    population = read_population(source, model)
    facts = cluster_labels.section(source, population, model).facts
    tables = {table["axis"]: table["rows"] for table in facts["tables"]}
    totals = {row["label"]: row["total"] for row in tables["pattern"]}
    assert totals == {"homogeneous": 12, "speckled": 11, "<img src=x onerror=alert(2)>": 10}
    assert [row["total"] for row in tables["status"]] == [33]
    assert all(sum(row["cells"]) == row["total"] for rows in tables.values() for row in rows)
    assert sum(row["share"] for row in facts["sizes"]) == pytest.approx(1)


def test_cells_without_labels_stand_apart(full):
    source = source_of(full)
    source.__dict__["labels"] = {}
    model = source.generation("kmeans")
    facts = cluster_labels.section(source, read_population(source, model), model).facts
    assert [table["axis"] for table in facts["tables"]] == [""]
    assert facts["tables"][0]["rows"][0]["total"] == 33


def test_spectrum_table_is_the_models(full):
    source = source_of(full)
    population = read_population(source, source.generation("kmeans"))
    facts = components.section(source, locate(source, population)).facts
    shares = source.model(source.generation("kpca"))["explained_variance_ratio_"]
    assert [count for count, _ in facts["shares"]] == [1, 2, 4]
    assert facts["shares"][-1][1] == pytest.approx(float(shares.sum()))
    assert facts["scatter"].caption.startswith("33 of 33 cells")


def test_cells_that_only_an_older_kernel_pca_embedded_are_not_plotted(full):
    for action in full.state.stage("embed"):
        full.state.put([replace(action, components={"model": "an older one"})])
    source = source_of(full)
    population = read_population(source, source.generation("kmeans"))
    assert components.section(source, locate(source, population)).facts["scatter"] is None


def test_two_archives_have_a_column_each(full):
    rows = full.store.table("annotations").to_arrow().to_pylist()
    other = [row | {"archive": "old"} for row in rows if row["label"] == "negative"]
    full.annotate_rows("old", other)
    facts = image_labels.section(source_of(full)).facts
    assert facts["archives"] == ["lab", "old"]
    status = next(axis for axis in facts["axes"] if axis["axis"] == "status")
    assert {row["label"]: row["archives"] for row in status["rows"]} == {
        "positive": [3, 0],
        "negative": [1, 1],
    }


def missing(source):
    return [field["missing"] for field in fields.section(source).facts["fields"]]


def test_an_archive_that_cannot_be_reached_is_named_in_the_pictures_place(finished, tmp_path):
    (told,) = set(missing(source_of(finished)))
    assert told.startswith("the folder of the archive lab was not given")
    (told,) = set(missing(source_of(finished, roots={"lab": tmp_path / "unmounted"})))
    assert told.startswith(f"the archive lab is not at {tmp_path / 'unmounted'}")
    assert set(missing(source_of(finished, roots={"lab": finished.root}))) == {""}


def test_an_image_that_left_the_archive_says_so(full, paths):
    full.state.delete([full.image(paths[1])])
    shown = fields.section(source_of(full, roots={"lab": full.root})).facts["fields"]
    told = [field["missing"] for field in shown if field["missing"]]
    assert told == ["no archive has a file of this image any more"]


def test_fields_are_as_many_as_asked(finished):
    assert len(missing(source_of(finished, fields=3))) == 3
    assert len(missing(source_of(finished, fields=9))) == 4


def test_only_chosen_crops_are_read(finished, monkeypatch):
    taken = []
    take = Part.take

    def counted(self, name, rows):
        taken.append((name, len(rows)))
        return take(self, name, rows)

    def refused(self, name, start, stop):
        message = f"all rows {start} to {stop} of {name} were asked for"
        raise AssertionError(message)

    monkeypatch.setattr(Part, "take", counted)
    monkeypatch.setattr(Part, "array", refused)
    source = source_of(finished, cells_per_cluster=3)
    gallery.section(source, read_population(source, source.generation("kmeans")))
    assert {name for name, _ in taken} == {"crops"}
    assert sum(rows for _, rows in taken) == 9


def test_the_log_keeps_every_warning(finished):
    said = [
        {
            "timestamp": f"2024-01-02T03:{i // 60:02}:{i % 60:02}.5Z",
            "level": "info",
            "event": "e",
            "message": f"message {i}",
        }
        for i in range(250)
    ]
    said.append({"timestamp": "2024-01-02T04:00:00Z", "level": "warning", "event": "look"})
    facts = log.section(source_of(finished, events=said)).facts
    assert facts["rows"][-1] == {
        "time": "2024-01-02 04:00:00",
        "level": "warning",
        "warn": True,
        "text": "look",
    }
    assert (len(facts["rows"]), facts["warnings"], facts["more"]) == (200, 1, 51)


def test_heat_maps_name_labels_with_all_their_cells(full, monkeypatch):
    source = source_of(full)
    model = source.generation("kmeans")
    named: dict[str, int] = {}

    def record(axes, names, counts):
        del axes
        named.update(zip(names, counts, strict=True))

    monkeypatch.setattr(cluster_labels, "bar_names", record)
    facts = cluster_labels.section(source, read_population(source, model), model).facts
    told = {row["label"]: row["total"] for table in facts["tables"] for row in table["rows"]}
    assert named
    assert named.items() <= told.items()
