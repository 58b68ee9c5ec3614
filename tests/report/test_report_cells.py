"""The ledger of cells, their flags, and the flags of files, counted by hand."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from anabatch.config import ReportConfig
from anabatch.imaging import FLAGS as FILE_FLAGS
from anabatch.report import cell_ledger, file_flags, flagged_cells, incoming
from anabatch.report.build import build_report
from anabatch.report.source import Source
from anabatch.store.formats import decode_rows
from anabatch.store.live import CELLS, SEGMENT
from anabatch.store.parts import Part


def source_of(laboratory, run="run-1"):
    return Source(laboratory.store, ReportConfig(), run, (), {})


def unit_of(laboratory, path):
    return laboratory.image(path).components["image_id"]


def record(laboratory, path, **facts):
    """Put facts into what the segmentation of an image recorded."""
    action = laboratory.state.get(SEGMENT, unit_of(laboratory, path))
    laboratory.state.put([replace(action, components=action.components | facts)])


def ledger(laboratory, run="run-1"):
    return cell_ledger.section(source_of(laboratory, run)).facts


def states(facts):
    return {row["state"]: (row["images"], row["unrecorded"]) for row in facts["states"]}


def test_what_an_older_segmentation_did_not_record_is_not_made_up(full, paths):
    facts = ledger(full)
    assert facts["total"] == {
        "images": 4,
        "recorded": 0,
        "proposed": None,
        "stored": 33,
        "dropped": [("flows do not fit the mask", 4)],
        "unbalanced": 0,
    }
    assert states(facts) == {
        "does_not_balance": (0, 0),
        "not_cut": (0, 0),
        "no_cells": (1, 0),
        "default_diameter": (None, 4),
        "scale_bar": (None, 4),
        "nuclei_without_cell": (None, 4),
        "cells_without_nucleus": (None, 4),
    }
    rows = {row["file"]: row for row in facts["rows"]}
    assert rows[paths[3]]["states"] == ("no_cells",)
    assert {row["proposed"] for row in facts["rows"]} == {None}
    assert {row["diameter"] for row in facts["rows"]} == {None}


def test_proposed_are_stored_and_dropped(full, paths):
    for path, cells in zip(paths, (13, 12, 11, 1), strict=True):
        record(full, path, proposed={"nuclei": 40, "cells": cells})
    facts = ledger(full)
    total = facts["total"]
    assert (total["proposed"], total["recorded"], total["unbalanced"]) == (37, 4, 0)
    assert total["proposed"] == total["stored"] + sum(count for _, count in total["dropped"])
    for row in facts["rows"]:
        assert row["proposed"] == row["stored"] + sum(count for _, count in row["dropped"])


def test_a_sum_that_is_wrong_comes_first_and_is_marked(full, paths):
    record(full, paths[2], proposed={"nuclei": 12, "cells": 12})
    facts = ledger(full)
    assert facts["total"]["unbalanced"] == 1
    first = facts["rows"][0]
    assert first["file"].endswith(paths[2])
    assert first["states"] == ("does_not_balance",)
    assert first["warn"]


def test_a_cell_that_got_lost_on_the_way_to_the_table_is_missed(full, paths):
    action = full.state.get(CELLS, unit_of(full, paths[0]))
    full.state.put([replace(action, rows=11)])
    facts = ledger(full)
    assert facts["total"]["unbalanced"] == 1
    assert facts["rows"][0]["states"] == ("does_not_balance",)


def test_images_whose_cells_are_not_cut_say_so(full, paths):
    full.state.delete([full.state.get(CELLS, unit_of(full, paths[1]))])
    facts = ledger(full)
    assert states(facts)["not_cut"] == (1, 0)
    assert facts["rows"][0]["stored"] is None
    assert facts["total"]["unbalanced"] == 0


def test_states_that_the_segmentation_recorded_are_shown_with_how_many_were_asked(full, paths):
    record(
        full,
        paths[0],
        cell_diameter=145.0,
        diameter_from="default",
        scale_bar=[3, 5, 27, 220],
        nuclei_without_cell=2,
        cells_without_nucleus=0,
        dropped={
            "nuclei_scale_bar": 7,
            "cells_scale_bar": 1,
            "cells_too_small": 3,
            "cells_odd_one": 2,
        },
    )
    record(full, paths[1], cell_diameter=99.5, diameter_from="nuclei", scale_bar=None)
    facts = ledger(full)
    assert states(facts) | {"no_cells": None} == {
        "does_not_balance": (0, 0),
        "not_cut": (0, 0),
        "no_cells": None,
        "default_diameter": (1, 2),
        "scale_bar": (1, 2),
        "nuclei_without_cell": (1, 3),
        "cells_without_nucleus": (0, 3),
    }
    row = next(row for row in facts["rows"] if row["file"] == paths[0])
    assert row["states"] == ("default_diameter", "scale_bar", "nuclei_without_cell")
    assert (row["diameter"], row["diameter_from"]) == (145.0, "default")
    assert row["dropped"] == [("too small", 3), ("on the scale bar", 1), ("odd one", 2)]


def test_why_an_image_has_no_cells_is_told(full, paths):
    empty = full.state.get(SEGMENT, unit_of(full, paths[3]))
    full.state.put([replace(empty, outcome="no_cells", reason="no contrast")])
    (row,) = [row for row in ledger(full)["rows"] if "no_cells" in row["states"]]
    assert (row["file"], row["reason"]) == (paths[3], "no contrast")


def test_images_of_this_run_come_before_others(full, paths):
    unit = unit_of(full, paths[0])
    full.state.put([replace(full.state.get(SEGMENT, unit), run="run-2")])
    assert ledger(full, "run-2")["rows"][0]["file"] == paths[0]


def rewrite_cells(laboratory, path, change):
    """Write the table of the part that holds an image's cells anew, as `change` makes it."""
    place = laboratory.state.get(CELLS, unit_of(laboratory, path)).part
    file = laboratory.store.root / place / "cells.parquet"
    pq.write_table(change(Part(laboratory.store.root, place).rows("cells")), file)


@pytest.fixture
def unsealed(full, monkeypatch):
    """The finished store, of which tables may be written anew behind its back."""

    def rows(self, name, columns=None):
        path = self.folder / f"{name}.parquet"
        return decode_rows(path.read_bytes(), path, columns)

    monkeypatch.setattr(Part, "rows", rows)
    return full


def test_flags_are_counted_by_cell_and_by_image(finished):
    facts = flagged_cells.section(source_of(finished)).facts
    flags = {row["flag"]: (row["cells"], row["share"], row["images"]) for row in facts["flags"]}
    table = finished.store.table("cells").to_pandas()
    for flag, (cells, share, images) in flags.items():
        having = table[[flag in row for row in table["flags"]]]
        assert (cells, images) == (len(having), having.image_id.nunique()), flag
        assert share == pytest.approx(cells / 33)
    assert facts["total"].cells == facts["total"].judged == 33
    assert facts["total"].flagged == sum(bool(len(row)) for row in table["flags"])
    assert facts["total"].unrecorded == 0


def test_nuclei_are_averaged_by_label_in_reference_pixels(finished, paths):
    facts = flagged_cells.section(source_of(finished)).facts
    table = finished.store.table("cells").to_pandas()
    here = table[table.image_id == unit_of(finished, paths[1])]
    axes = {axis["axis"]: axis["rows"] for axis in facts["axes"]}
    (sums,) = [row["sums"] for row in axes["pattern"] if row["label"] == "speckled"]
    assert sums.cells == len(here) == 11
    assert sums.mean("nucleus") == pytest.approx(here.nucleus_major_px.mean() / 2)
    expected = 100 * here.nucleus_mean_intensity.mean() / 255
    assert sums.mean("nucleus_brightness") == pytest.approx(expected)
    assert sums.mean("solidity") == pytest.approx(here.nucleus_solidity.mean())
    assert [row["sums"].cells for row in axes["status"]] == [33]


def test_dividing_cells_are_counted_among_those_judged(unsealed, paths):
    def divide(table):
        here = table.column("image_id").to_pylist()
        of = unit_of(unsealed, paths[0])
        first = [i for i, image in enumerate(here) if image == of]
        values = [i in first[:3] if i not in first[3:5] else None for i in range(len(here))]
        index = table.schema.names.index("mitotic")
        return table.set_column(index, table.schema.field(index), [values])

    rewrite_cells(unsealed, paths[0], divide)
    facts = flagged_cells.section(source_of(unsealed)).facts
    assert (facts["total"].mitotic, facts["total"].judged) == (3, 31)
    assert facts["dividing"] == [
        {"file": paths[0], "labels": "homogeneous, positive", "mitotic": 3, "judged": 10}
    ]
    (row,) = [r for r in facts["axes"][0]["rows"] if r["label"] == "homogeneous"]
    assert row["sums"].mean("mitotic") == pytest.approx(3 / 10)


def test_cells_that_were_cut_before_flags_were_recorded_are_counted_apart(
    unsealed, paths, tmp_path
):
    lost = ["flags", "mitotic", "nucleus_major_px", "saturated_fraction"]
    rewrite_cells(unsealed, paths[0], lambda table: table.drop_columns(lost))
    facts = flagged_cells.section(source_of(unsealed)).facts
    assert (facts["total"].unrecorded, facts["total"].judged) == (23, 10)
    border = next(row for row in facts["flags"] if row["flag"] == "touches_border")
    assert border["share"] == border["cells"] / 10
    axis = next(axis for axis in facts["axes"] if axis["axis"] == "pattern")
    means = {row["label"]: row["sums"].mean("nucleus") for row in axis["rows"]}
    assert means["homogeneous"] is None
    frame = unsealed.store.table("cells").to_pandas()
    assert frame.mitotic.isna().sum() == 23
    assert frame.mitotic.dtype == "boolean"
    out = build_report(unsealed.store, tmp_path / "report.html", config=ReportConfig())
    html = out.read_text(encoding="utf-8")
    assert "23 cells were cut before flags and nuclei were recorded" in html


def test_without_cells_the_section_names_the_command(laboratory):
    laboratory.scan()
    for section in (flagged_cells.section, cell_ledger.section):
        assert section(source_of(laboratory)).command == "anabatch segment"


def test_files_that_are_odd_are_counted_by_flag(laboratory, paths):
    clear = np.zeros((30, 40, 4), np.uint8)
    see_through = "20240102/001_SN09001/007_plate_1_202400007_1_1_07.png"
    Image.fromarray(clear).save(laboratory.root / see_through)
    laboratory.scan()
    first = laboratory.image(paths[0])
    laboratory.state.put([replace(first, run="run-0")])
    found = incoming.section(source_of(laboratory)).facts["flags"]
    assert [(row["flag"], row["files"], row["added"]) for row in found] == [
        ("extension_differs", 4, 3),  # the fixture's fields are PNGs whose names end in .jpg
        ("alpha_ignored", 1, 1),
    ]
    assert found[1]["meaning"] == FILE_FLAGS["alpha_ignored"]
    assert found[1]["examples"] == [see_through]
    assert len(found[0]["examples"]) == 3


def test_every_flag_of_a_file_has_a_meaning():
    assert all(file_flags.MEANINGS.values())
    assert "extension_differs" in file_flags.MEANINGS
