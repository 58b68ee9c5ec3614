"""Annotations, rule by rule."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabatch.annotations import (
    ANNOTATION_COLUMNS,
    FLAGS,
    Vocabulary,
    annotate_classes,
    annotate_exports,
)
from anabatch.archive.dialect import Dialect
from anabatch.archive.exports import Export, ExportRow
from anabatch.archive.layout import load_layout
from anabatch.schema import table_schema, to_table

VOCABULARY = Vocabulary.load(None)
DAY = dt.date(2021, 12, 14)
RUN = "20211214/005_SN08030"
A = "033_0ae00987379_1_202524401_3_14_05.jpg"
B = "034_0ae00987379_1_202524402_3_14_06.jpg"


def image(name=A, run=RUN, image_id=None, sample="202524401"):
    return {
        "acquisition_id": f"acquisition of {run}/{name}",
        "image_id": f"image of {name}" if image_id is None else image_id or None,
        "archive": "drive",
        "date": DAY,
        "relative_path": f"{run}/{name}",
        "file_name": name,
        "sample": sample,
    }


def screen(*rows, run=RUN, stamp="101758"):
    path = f"{run}/exp_pl_LIS_20211215_{stamp}_SN8030_SCREEN.csv"
    return Export(path, "SCREEN", "utf-8", tuple(rows))


def negativ(*rows, run=RUN, stamp="101800"):
    path = f"{run}/exp_pl_LIS_20211215_{stamp}_SN8030_NEGATIV.csv"
    return Export(path, "NEGATIV", "utf-8", tuple(rows))


def well(raw, line=3, name=A, sample="202524401"):
    return ExportRow(line, name, raw, sample)


def annotate(exports, acquisitions=None, **options):
    acquisitions = [image()] if acquisitions is None else acquisitions
    rows = annotate_exports(exports, acquisitions, VOCABULARY, archive="drive", date=DAY, **options)
    assert to_table("annotations", rows).num_rows == len(rows)
    return rows


def short(rows, *names):
    return [tuple(row[name] for name in names) for row in rows]


def labels(rows):
    return short(rows, "label", "axis", "code", "flag")


POSITIVE = ("positive", "status", 3, None)
NEGATIVE = ("negative", "status", 2, None)


def test_a_row_of_a_screen_export_in_full():
    export = screen(well("[15] Mouchete"))
    status, pattern = annotate([export])
    common = {
        "acquisition_id": f"acquisition of {RUN}/{A}",
        "image_id": f"image of {A}",
        "archive": "drive",
        "date": DAY,
        "sample": "202524401",
        "source_file": export.relative_path,
        "source_row": 3,
        "flag": None,
        "reason": None,
        "repeats": 0,
        "superseded_by": None,
    }
    assert status == common | {"label": "positive", "axis": "status", "code": 3, "raw": None}
    assert pattern == common | {
        "label": "speckled",
        "axis": "pattern",
        "code": 15,
        "raw": "[15] Mouchete",
    }
    assert list(status) == list(ANNOTATION_COLUMNS)


def test_the_columns_are_those_of_the_schema():
    assert list(ANNOTATION_COLUMNS) == table_schema("annotations", derived=False).names


def test_every_term_gives_a_row_in_its_order():
    rows = annotate([screen(well("[29] Cytoplasme granuleux+[27] Cyto diffus + [24]Type SSA"))])
    assert short(rows, "label", "code", "raw") == [
        ("positive", 3, None),
        ("cytoplasmic granular", 29, "[29] Cytoplasme granuleux"),
        ("cytoplasmic diffuse", 27, "[27] Cyto diffus"),
        ("type ssa", 24, "[24]Type SSA"),
    ]


@pytest.mark.parametrize(
    ("raw", "code", "label"),
    [
        ("[6] Homogeneous", 14, "homogeneous"),
        ("[7] Speckled", 15, "speckled"),
        ("[8] Nucleolar", 16, "nucleolar"),
        ("[44] DFS70", 23, "dense fine speckled"),
        ("[ 15 ] MOUCHETÉ", 15, "speckled"),
        ("[015] Mouchete", 15, "speckled"),
        ("[15]", 15, "speckled"),
    ],
)
def test_the_code_decides_and_aliases_are_resolved(raw, code, label):
    rows = annotate([screen(well(raw))])
    assert labels(rows) == [POSITIVE, (label, "pattern", code, None)]
    assert rows[1]["raw"] == raw


def test_a_negative_row_gives_its_status_alone():
    assert labels(annotate([negativ(well(None))])) == [NEGATIVE]


def test_invalid_is_a_status():
    rows = annotate([screen(well("[5] Invalid"))])
    assert labels(rows) == [POSITIVE, ("invalid", "status", 5, None)]


@pytest.mark.parametrize("raw", ["", "   ", "+", " + "])
def test_an_empty_pattern_gives_one_row_without_label(raw):
    rows = annotate([screen(well(raw))])
    assert labels(rows) == [POSITIVE, (None, None, None, "empty_pattern")]
    assert rows[1]["raw"] == raw.strip()


def test_a_row_that_ends_before_its_pattern_is_an_empty_pattern():
    rows = annotate([screen(well(None))])
    assert short(rows, "label", "raw", "flag") == [
        ("positive", None, None),
        (None, None, "empty_pattern"),
    ]


@pytest.mark.parametrize(
    "raw", ["[]", "[] a revoir", "a revoir", "a revoir+controle", "15", "Mouchete [15]", "[x] y"]
)
def test_text_without_a_code_gives_one_row_without_label(raw):
    rows = annotate([screen(well(raw))])
    assert labels(rows) == [POSITIVE, (None, None, None, "no_code")]
    assert rows[1]["raw"] == raw


def test_a_term_without_code_beside_a_good_one_is_kept_and_flagged():
    rows = annotate([screen(well("[15] Mouchete+a revoir+"))])
    assert labels(rows) == [
        POSITIVE,
        ("speckled", "pattern", 15, None),
        (None, None, None, "no_code"),
    ]


def test_two_codes_in_one_term_are_not_taken_for_the_first():
    rows = annotate([screen(well("[15] Mouchete [16] Nucleolaire+[19] Dots"))])
    assert labels(rows) == [
        POSITIVE,
        (None, None, None, "no_code"),
        ("dots", "pattern", 19, None),
    ]


def test_an_unknown_code_keeps_its_number():
    rows = annotate([screen(well("[31] Anti-filament+[77] Inconnu"))])
    assert labels(rows)[1:] == [
        ("cytoplasmic filamentous", "pattern", 31, None),
        (None, None, 77, "unknown_code"),
    ]
    assert labels(annotate([screen(well("[77] Inconnu"))])) == [
        POSITIVE,
        (None, None, 77, "unknown_code"),
    ]


def test_a_number_that_is_too_large_for_a_code_is_none():
    rows = annotate([screen(well("[40000] x"))])
    assert labels(rows)[1:] == [(None, None, None, "no_code")]


def test_a_missing_image_keeps_its_labels_and_the_files_sample():
    rows = annotate([screen(well("[14] Homogene", sample="7"))], [])
    assert labels(rows) == [
        ("positive", "status", 3, "missing_image"),
        ("homogeneous", "pattern", 14, "missing_image"),
    ]
    assert (
        short(rows, "acquisition_id", "image_id", "sample", "date")
        == [(None, None, "202524401", DAY)] * 2
    )


@pytest.mark.parametrize("name", [".jpg", "", "042_0ae00987379_1_absent_3_14_07.jpg", "odd.jpg"])
def test_a_well_without_a_named_sample_takes_the_exports(name):
    rows = annotate([negativ(well(None, name=name, sample="211210500007"))], [])
    assert short(rows, "sample", "flag") == [("211210500007", "missing_image")]


def test_another_layout_reads_the_names_of_missing_images():
    layout = load_layout("dated").model_copy(update={"image_name": r"^(?P<sample>\d+)$"})
    rows = annotate([negativ(well(None, name="555.jpg", sample=None))], [], layout=layout)
    assert short(rows, "sample") == [("555",)]


def test_an_export_speaks_only_of_its_own_folder():
    other = "20211214/006_SN08030"
    rows = annotate([negativ(well(None), run=other)])
    assert short(rows, "flag") == [("missing_image",)]
    rows = annotate([negativ(well(None), run=other)], [image(), image(run=other)])
    assert short(rows, "acquisition_id", "flag") == [(f"acquisition of {other}/{A}", None)]


def test_names_match_whatever_their_case_like_on_windows_but_exact_ones_first():
    upper = A.upper()
    assert short(annotate([negativ(well(None, name=upper))]), "flag") == [(None,)]
    both = [image(), image(name=upper)]
    rows = annotate([negativ(well(None, name=upper))], both)
    assert short(rows, "acquisition_id", "flag") == [
        (f"acquisition of {RUN}/{upper}", None),
        (f"acquisition of {RUN}/{A}", "no_row"),
    ]
    rows = annotate([negativ(well(None, name=A.replace("jpg", "Jpg")))], both)
    # which of the two is not to be guessed
    assert short(rows, "flag") == [("missing_image",), ("no_row",), ("no_row",)]


def test_a_quarantined_image_is_labelled_all_the_same():
    rows = annotate([negativ(well(None))], [image(image_id="")])
    assert short(rows, "image_id", "acquisition_id", "flag") == [
        (None, f"acquisition of {RUN}/{A}", None)
    ]


def test_negative_and_positive_is_a_conflict_of_all_its_rows():
    rows = annotate([screen(well("[15] Mouchete")), negativ(well(None, line=9))])
    assert labels(rows) == [
        ("positive", "status", 3, "conflict"),
        ("speckled", "pattern", 15, "conflict"),
        ("negative", "status", 2, "conflict"),
    ]


def test_a_conflict_is_the_pictures_not_the_files():
    acquisitions = [image(A, image_id="same"), image(B, image_id="same", sample="202524402")]
    exports = [
        screen(well("[15] Mouchete", line=3)),
        negativ(well(None, name=B, sample="202524402")),
    ]
    assert {row["flag"] for row in annotate(exports, acquisitions)} == {"conflict"}


def test_quarantined_images_conflict_only_with_themselves():
    acquisitions = [image(A, image_id=""), image(B, image_id="", sample="202524402")]
    exports = [screen(well("[15]")), negativ(well(None, name=B, sample="202524402"))]
    assert {row["flag"] for row in annotate(exports, acquisitions)} == {None}
    exports = [screen(well("[15]")), negativ(well(None))]
    assert {row["flag"] for row in annotate(exports, acquisitions[:1])} == {"conflict"}


def test_other_dates_take_part_in_conflicts():
    exports = [negativ(well(None))]
    name = f"image of {A}"
    assert labels(annotate(exports, other_statuses={name: frozenset({"negative"})})) == [NEGATIVE]
    rows = annotate(exports, other_statuses={name: frozenset({"positive"})})
    assert short(rows, "flag") == [("conflict",)]
    assert labels(annotate(exports, other_statuses={"x": frozenset({"positive"})})) == [NEGATIVE]


def test_invalid_conflicts_with_nothing():
    assert {row["flag"] for row in annotate([screen(well("[5] Invalid"))])} == {None}


def test_a_negative_code_in_a_screen_export_is_a_conflict():
    rows = annotate([screen(well("[2] Negative"))])
    assert {row["flag"] for row in rows} == {"conflict"}


def test_the_file_name_wins_over_the_exports_sample():
    rows = annotate([screen(well("[15] Mouchete", sample="999"))])
    assert short(rows, "sample", "flag") == [("202524401", "sample_mismatch")] * 2


@pytest.mark.parametrize(
    ("named", "told", "expected"),
    [
        ("1", "1", ("1", None)),
        (None, "5", ("5", None)),
        ("1", None, ("1", None)),
        (None, None, (None, None)),
        ("1", "01", ("1", "sample_mismatch")),
    ],
)
def test_only_two_samples_can_differ(named, told, expected):
    rows = annotate([negativ(well(None, sample=told))], [image(sample=named)])
    assert short(rows, "sample", "flag") == [expected]


def test_the_first_flag_that_applies_is_the_rows():
    raw = "[77] x+y"
    mismatch = well(raw, sample="9")
    assert short(annotate([screen(mismatch)], []), "flag") == [("missing_image",)] * 3
    both = [screen(mismatch), negativ(well(None))]
    assert {row["flag"] for row in annotate(both)} == {"conflict"}
    assert short(annotate([screen(mismatch)]), "flag") == [("sample_mismatch",)] * 3
    assert short(annotate([screen(well(raw))]), "flag") == [
        (None,),
        ("unknown_code",),
        ("no_code",),
    ]


def test_exact_repeats_collapse_to_the_first_line():
    rows = annotate([screen(*(well("[19] Dots", line=line) for line in (5, 11, 12)))])
    assert short(rows, "label", "source_row", "repeats", "flag") == [
        ("positive", 5, 2, None),
        ("dots", 5, 2, None),
    ]


def test_a_repeat_that_says_more_adds_only_that():
    rows = annotate([screen(well("[19] Dots", line=5), well("[19] Dots+[15] Mouchete", line=11))])
    assert short(rows, "label", "source_row", "repeats") == [
        ("positive", 5, 1),
        ("dots", 5, 1),
        ("speckled", 11, 0),
    ]


def test_the_same_label_in_other_words_is_no_exact_repeat():
    rows = annotate([screen(well("[7] Speckled"), well("[15] Mouchete", line=4))])
    assert short(rows, "label", "raw") == [
        ("positive", None),
        ("speckled", "[7] Speckled"),
        ("speckled", "[15] Mouchete"),
    ]


def test_two_missing_images_are_no_repeat_of_each_other():
    wells = [well(None, name="a.jpg", sample=None), well(None, 4, "b.jpg", None)]
    assert short(annotate([negativ(*wells)], []), "source_row", "repeats") == [(3, 0), (4, 0)]


def said(rows, *, history=False):
    """Labels and flags of what holds, or of what was replaced."""
    return [
        (row["label"], row["flag"]) for row in rows if (row["superseded_by"] is not None) == history
    ]


def test_the_later_of_two_exports_holds_and_the_earlier_is_history():
    first = screen(well("[14] Homogene+[5] Invalid"), stamp="080000")
    second = screen(well("[15] Mouchete+[19] Dots"), stamp="120000")
    rows = annotate([second, first])
    assert rows == annotate([first, second])
    assert short(rows, "label", "source_file", "superseded_by", "flag") == [
        ("positive", first.relative_path, second.relative_path, None),
        ("homogeneous", first.relative_path, second.relative_path, None),
        ("invalid", first.relative_path, second.relative_path, None),
        ("positive", second.relative_path, None, None),
        ("speckled", second.relative_path, None, None),
        ("dots", second.relative_path, None, None),
    ]


def test_later_is_said_by_the_time_in_the_name_not_by_the_name_or_the_day_of_the_folder():
    late = screen(well("[19] Dots"))
    late = replace(late, relative_path=f"{RUN}/a_20211216_000000_SCREEN.csv")
    early = replace(late, relative_path=f"{RUN}/b_20211215_235959_SCREEN.csv")
    rows = annotate([early, late])
    assert {row["superseded_by"] for row in rows if row["source_file"] == late.relative_path} == {
        None
    }
    assert len(said(rows, history=True)) == 2
    # without a time, names count; and any time is later than none
    names = [replace(late, relative_path=f"{RUN}/{name}_SCREEN.csv") for name in ("z", "y")]
    rows = annotate([*names, early])
    assert {row["superseded_by"] for row in rows} == {None, early.relative_path}
    rows = annotate(names)
    assert {row["superseded_by"] for row in rows} == {None, names[0].relative_path}


def test_the_last_of_three_replaces_both():
    exports = [screen(well(f"[{code}]"), stamp=f"0{code}0000") for code in (14, 15, 16)]
    rows = annotate(exports)
    assert said(rows) == [("positive", None), ("nucleolar", None)]
    assert {row["superseded_by"] for row in rows} == {None, exports[2].relative_path}


def test_an_image_that_only_the_earlier_export_names_stays():
    images = [image(), image(B, sample="202524402")]
    both = screen(well("[14]"), well("[15]", 4, B, "202524402"), stamp="080000")
    rows = annotate([both, screen(well("[16]"), stamp="120000")], images)
    assert said(rows) == [
        ("positive", None),
        ("speckled", None),
        ("positive", None),
        ("nucleolar", None),
    ]
    assert said(rows, history=True) == [("positive", None), ("homogeneous", None)]


def test_history_makes_no_conflict_and_is_none():
    wrong = screen(well("[2] Negative+[15]"), stamp="080000")
    right = screen(well("[15]"), stamp="120000")
    rows = annotate([wrong, right])
    assert said(rows) == [("positive", None), ("speckled", None)]
    assert said(rows, history=True) == [("positive", None), ("negative", None), ("speckled", None)]
    rows = annotate([wrong, right, negativ(well(None))])
    assert {flag for _, flag in said(rows)} == {"conflict"}
    assert {flag for _, flag in said(rows, history=True)} == {None}


def test_a_later_export_of_the_other_kind_replaces_nothing_and_conflicts():
    rows = annotate([screen(well("[15]"), stamp="080000"), negativ(well(None), stamp="235900")])
    assert said(rows) == [
        ("positive", "conflict"),
        ("speckled", "conflict"),
        ("negative", "conflict"),
    ]
    assert said(rows, history=True) == []


def test_exports_of_two_folders_replace_nothing_of_each_other():
    other = "20211214/006_SN08030"
    exports = [screen(well("[15]"), stamp="080000"), screen(well("[16]"), run=other)]
    rows = annotate(exports, [image(), image(run=other)])
    assert said(rows, history=True) == []


def test_wells_without_image_are_replaced_by_their_sample_and_missing_files_by_their_name():
    wells = [well("[14]", 3, ".jpg", "1"), well("[14]", 4, ".jpg", "2"), well("[14]", 5, "X.jpg")]
    later = [well("[15]", 3, ".jpg", "2"), well("[15]", 4, "x.JPG"), well("[15]", 5, ".jpg", None)]
    rows = annotate([screen(*wells, stamp="080000"), screen(*later, stamp="120000")], [])
    gone = {row["source_row"] for row in rows if row["superseded_by"]}
    assert gone == {4, 5}
    assert {row["flag"] for row in rows} == {"missing_image"}


def test_an_image_that_no_row_names_is_flagged_where_there_are_exports():
    unread = image(name="c.jpg", run="20211214/007_SN08030")
    images = [image(), image(B, sample="202524402"), unread]
    rows = annotate([screen(well("[15]"))], images)
    assert short(rows, "acquisition_id", "label", "flag", "source_file", "source_row")[2:] == [
        (f"acquisition of {RUN}/{B}", None, "no_row", RUN, None)
    ]
    assert rows[2]["sample"] == "202524402"
    assert annotate([], images) == []


@pytest.mark.parametrize(
    ("raw", "flag", "reason"),
    [
        ("[15] Homogene", "other_name", "'Homogene' is another code's name; .* calls 15 Mouchete"),
        ("[15] Tacheté", "unknown_name", "calls 15 .*Mouchete.*, and not 'Tacheté'"),
    ],
)
def test_a_code_whose_name_changed_keeps_its_label_and_is_flagged(raw, flag, reason):
    rows = annotate([screen(well(raw))])
    assert labels(rows) == [POSITIVE, ("speckled", "pattern", 15, flag)]
    assert re.search(reason, rows[1]["reason"])


def test_every_flag_has_its_reason_in_words():
    wells = [
        well("[15] Mouchete+[77] Inconnu+?+[15] Homogene+[15] Tacheté"),
        well("", 4),
        well("[15]", 5, "gone.jpg"),
        well("[15]", 6, ".jpg"),
        well("[15]", 7, "D.jpg", "8"),
        well("[15]", 8, "E.jpg"),
    ]
    images = [image(), *(image(f"{name}.jpg") for name in "DEF")]
    rows = annotate([screen(*wells), negativ(well(None, 9, "E.jpg"))], images)
    assert {row["flag"] for row in rows if row["flag"]} == FLAGS.keys()
    assert all((row["flag"] is None) == (row["reason"] is None) for row in rows)
    reasons = {row["flag"]: row["reason"] for row in rows}
    screened, negatives = (
        f"{RUN}/exp_pl_LIS_20211215_{name}.csv"
        for name in ("101758_SN8030_SCREEN", "101800_SN8030_NEGATIV")
    )
    assert reasons["conflict"] == f"negative: {negatives}, line 9; positive: {screened}, line 8"
    assert reasons["sample_mismatch"] == "the file name says '202524401', the export '8'"
    assert {row["reason"] for row in rows if row["flag"] == "missing_image"} == {
        "'gone.jpg' is not in the folder",
        "the row names no image",
    }


def test_wells_of_any_status_say_it_by_their_terms():
    export = replace(screen(well("[2] Negative"), well("[15] Mouchete", 4, B)), kind="ALL")
    rows = annotate([export], [image(), image(B)])
    assert labels(rows) == [NEGATIVE, ("speckled", "pattern", 15, None)]


def test_another_dialects_terms():
    dialect = Dialect(term_separator=",", term="AC(?P<code>[0-9]+)")
    export = replace(screen(well("AC15 , AC19, [14] x")), dialect=dialect)
    assert labels(annotate([export])) == [
        POSITIVE,
        ("speckled", "pattern", 15, None),
        ("dots", "pattern", 19, None),
        (None, None, None, "no_code"),
    ]


def test_nothing_gives_nothing():
    assert annotate([]) == []
    assert annotate([screen()], []) == []
    assert short(annotate([screen()]), "flag") == [("no_row",)]
    assert annotate_classes([], VOCABULARY) == []


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.builds(
            ExportRow,
            line=st.integers(3, 99),
            file_name=st.sampled_from([A, B, ".jpg"]) | st.text(max_size=10),
            raw=st.none()
            | st.text(st.sampled_from("[]+ 0123459a"), max_size=20)
            | st.text(max_size=9),
            sample=st.none() | st.sampled_from(["202524401", "7"]),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_any_rows_give_sound_annotations(rows, negative):
    exports = [screen(*rows)] + ([negativ(*rows)] if negative else [])
    found = [row for row in annotate(exports) if row["flag"] != "no_row"]
    assert all(row["flag"] is None or row["flag"] in FLAGS for row in found)
    assert all((row["label"] is None) == (row["axis"] is None) for row in found)
    assert all(row["label"] is not None or row["flag"] is not None for row in found)
    told = {(row["source_file"], row["source_row"]) for row in found}
    assert told <= {(export.relative_path, row.line) for export in exports for row in export.rows}


def class_image(folder, name="1.jpg"):
    return {
        "acquisition_id": f"acquisition of {folder}/{name}",
        "image_id": None,
        "archive": "hep",
        "date": None,
        "relative_path": f"{folder}/{name}",
        "file_name": name,
        "sample": None,
    }


def test_a_class_folder_gives_its_class_verbatim_and_its_labels():
    rows = annotate_classes([class_image("Nucleaire/Dot sp100")], VOCABULARY)
    assert to_table("annotations", rows).num_rows == 3
    assert short(rows, "label", "axis", "raw") == [
        ("Dot sp100", "class", "Dot sp100"),
        ("multiple nuclear dots", "pattern", "Dot sp100"),
        ("sp100", "antigen", "Dot sp100"),
    ]
    assert {(row["code"], row["source_row"], row["flag"]) for row in rows} == {(None, None, None)}
    assert {row["source_file"] for row in rows} == {"Nucleaire/Dot sp100"}
    assert {row["acquisition_id"] for row in rows} == {"acquisition of Nucleaire/Dot sp100/1.jpg"}


def test_a_class_is_matched_whatever_its_case_and_kept_as_it_stands():
    rows = annotate_classes([class_image("CONTROLE  neg")], VOCABULARY)
    assert labels(rows) == [
        ("CONTROLE  neg", "class", None, None),
        ("negative", "status", None, None),
    ]


def test_an_unknown_class_gives_its_class_alone():
    rows = annotate_classes([class_image("Nouveau/Inconnu")], VOCABULARY)
    assert labels(rows) == [("Inconnu", "class", None, None)]
