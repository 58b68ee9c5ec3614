"""Fuzzing of all that reads what others wrote: exports, their names, the names of images.

The examples are drawn from fixed seeds, so that every run of these tests is the same run.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from anabatch.annotations import FLAGS, annotate_exports
from anabatch.archive.dialect import LIS
from anabatch.archive.exports import Export, ExportRow, read_export
from anabatch.archive.layout import SHIPPED, load_layout
from anabatch.archive.records import MAX_LINES, RecordReader, line_bounds
from anabatch.archive.terms import read_terms
from anabatch.errors import ExportError
from anabatch.schema import to_table
from anabatch.vocabulary import MAX_CODE, Vocabulary

seeded = settings(derandomize=True, deadline=None, max_examples=200)

RUN = "20211214/005_SN08030"
SCREEN = f"{RUN}/exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv"
NEGATIV = f"{RUN}/exp_pl_LIS_20211215_101800_SN8030_NEGATIV.csv"
DAY = dt.date(2021, 12, 14)
VOCABULARY = Vocabulary.load()
NAMES = [f"{number:03}_0ae_1_2025244{number:02}_3_14_05.jpg" for number in range(4)]
ACQUISITIONS = [
    {
        "acquisition_id": f"acquisition {name}",
        "image_id": f"image {name}" if number else None,
        "archive": "drive",
        "date": DAY,
        "relative_path": f"{RUN}/{name}",
        "sample": f"2025244{number:02}",
    }
    for number, name in enumerate(NAMES)
]

# Records


# What stands in fields: also what separates them, and what ends lines; but no name of an image.
fields = st.text(st.sampled_from('ab é"";;,\t\n\r[]+1'), max_size=12)
separators = st.sampled_from(LIS.separators)
LINE_ENDS = ("\n", "\r\n", "\r")


def read_all(text, separator, width):
    reader = RecordReader(separator)
    return list(reader.read(text, skip=0, width=width, names=lambda line: ".jpg" in line))


@seeded
@given(
    st.lists(st.tuples(fields, fields, fields), min_size=1, max_size=6),
    separators,
    # with another line end, minimal quoting leaves some line ends without quotes
    st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n")] + [(csv.QUOTE_ALL, end) for end in LINE_ENDS]),
    st.integers(0, 3),
)
def test_what_the_csv_module_writes_well_quoted_is_read_back(rows, separator, style, place):
    quoting, end = style
    rows = [(*row[:place], "D:\\x.jpg", *row[place:]) for row in rows]
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end).writerows(rows)
    text = stream.getvalue()
    records = read_all(text, separator, 4)
    assert records[-1].fields == [""]  # behind the last line end
    assert [tuple(record.fields) for record in records[:-1]] == rows
    # the lines are physical: each record starts where the lines of the ones before it end
    bounds = line_bounds(text)
    for (record, row), (following, _) in pairwise(
        [*zip(records, rows, strict=False), (records[-1], ())]
    ):
        lines = sum(len(line_bounds(field)) - 1 for field in row)
        assert following.line - record.line == lines + 1
        assert lines < MAX_LINES
    assert records[-1].line == len(bounds)


plain_rows = st.lists(
    st.tuples(
        st.integers(1, 99).map(str),
        st.sampled_from(["a", "b c", "é"]).map(lambda name: f"D:\\Data\\{name}.jpg"),
        st.sampled_from(["[15] Mouchete", "[14] Homogene+[19] Dots", ""]),
    ),
    min_size=1,
    max_size=6,
)


@seeded
@given(plain_rows, st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60)), max_size=6))
@example([("1", "D:\\Data\\a.jpg", "")] * 2, [(0, 2), (1, 18)])  # a sound record of two rows
def test_stray_quotes_spoil_their_own_lines_only(rows, strays):
    lines = [";".join(row) for row in rows]
    spoilt = set()
    for row, place in strays:
        number = row % len(lines)
        spoilt.add(number)
        line = lines[number]
        lines[number] = line[: place % (len(line) + 1)] + '"' + line[place % (len(line) + 1) :]
    # a quote within the extension hides that the line names an image
    assume(all(".jpg" in line for line in lines))
    records = read_all("\n".join(lines), ";", 3)
    assert [record.line for record in records] == list(range(1, len(rows) + 1))
    for number, (record, row) in enumerate(zip(records, rows, strict=True)):
        assert number in spoilt or tuple(record.fields) == row


@seeded
@given(st.text(st.sampled_from('a"";\n\r\t,'), max_size=60), separators, st.integers(1, 4))
def test_any_text_gives_every_line_once(text, separator, width):
    records = read_all(text, separator, width)
    numbers = [record.line for record in records]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 1
    assert all(record.fields for record in records)
    # nothing is lost but quotes, separators and line ends
    kept = Counter("".join("".join(record.fields) for record in records))
    assert kept["a"] == text.count("a")
    if '"' not in text:
        assert len(records) == len(line_bounds(text))


# Exports

HEAD = "LIS export;20211215_101758;SN8030\r\nWellPos;SampleId;ImName;Pattern\r\n"
GOOD = HEAD + "".join(
    f"{number};2025244{number:02};D:\\Data\\{name};[15] Moucheté+[{number}] Dots\r\n"
    for number, name in enumerate(NAMES)
)
encodings = st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])


def annotated(export):
    """Return the rows of an export, which keep their schema whatever stands in it."""
    rows = annotate_exports([export], ACQUISITIONS, VOCABULARY, archive="drive", date=DAY)
    to_table("annotations", rows)
    assert all(row["flag"] is None or row["flag"] in FLAGS for row in rows)
    assert all((row["flag"] is None) == (row["reason"] is None) for row in rows)
    assert all(row["label"] is not None or row["flag"] is not None for row in rows)
    return rows


def read(data, path):
    """Return the export, or None for an error that names the file."""
    try:
        return read_export(data, path)
    except ExportError as error:
        named = path in str(error)
    assert named
    return None


@seeded
@given(encodings, st.integers(0, 2_000))
def test_a_cut_export_is_the_rows_before_the_cut_or_an_export_error(encoding, end):
    data = GOOD.encode(encoding)
    whole = read_export(data, SCREEN).rows
    found = read(data[:end], SCREEN)
    if found:
        annotated(found)
        rows = found.rows[:-1]
        assert [(row.line, row.file_name) for row in rows] == [
            (row.line, row.file_name) for row in whole[: len(rows)]
        ]


edits = st.lists(
    st.tuples(
        st.integers(0, 2_000),
        st.sampled_from(["flip", "insert", "delete", "double"]),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def edited(data, changes):
    for place, kind, what in changes:
        at = place % (len(data) + 1)
        if kind == "flip":
            data = data[:at] + bytes([what[0]]) + data[at + 1 :]
        elif kind == "insert":
            data = data[:at] + what + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(what) :]
        else:
            data = data[:at] + data[at // 2 : at] + data[at:]
    return data


@seeded
@given(encodings, edits, st.sampled_from([SCREEN, NEGATIV]))
def test_a_spoilt_export_is_an_export_or_an_export_error(encoding, changes, path):
    found = read(edited(GOOD.encode(encoding), changes), path)
    if found:
        annotated(found)


@seeded
@given(st.binary(max_size=300), st.sampled_from([b"", HEAD.encode(), HEAD.encode("utf-16")]))
def test_any_bytes_are_an_export_or_an_export_error(data, head):
    found = read(head + data, SCREEN)
    if found:
        annotated(found)


@seeded
@given(st.lists(st.text(max_size=40), max_size=8), st.sampled_from(["utf-8", "utf-16"]))
def test_any_lines_below_a_header_are_an_export_or_an_export_error(lines, encoding):
    found = read((HEAD + "\n".join(lines)).encode(encoding), SCREEN)
    if found:
        annotated(found)


# Terms


@seeded
@given(st.text(st.sampled_from("[]+ 0159aé"), max_size=40) | st.text(max_size=40))
def test_any_text_gives_terms_that_stand_in_it(raw):
    for term in read_terms(raw, LIS):
        assert term.raw in raw
        assert term.raw == term.raw.strip() != ""
        assert term.code is None or (str(term.code) in term.raw and term.name in term.raw)


@seeded
@given(
    st.lists(
        st.tuples(
            st.integers(0, MAX_CODE),
            st.text(st.sampled_from("abé -/"), max_size=9).map(str.strip),
        ),
        max_size=5,
    )
)
def test_written_terms_are_read_back(terms):
    raw = "+".join(f"[{code}] {name}" for code, name in terms)
    assert [(term.code, term.name) for term in read_terms(raw, LIS)] == terms


# Two exports and more


rows_of_exports = st.lists(
    st.builds(
        ExportRow,
        line=st.integers(3, 9),
        file_name=st.sampled_from([*NAMES[:2], "gone.jpg", ".jpg", ""]),
        raw=st.sampled_from(["[15] Mouchete", "[14] Homogene+[2] Negative", "[77] x", "", None]),
        sample=st.sampled_from(["202524400", "7", None]),
    ),
    max_size=4,
)
some_exports = st.lists(
    st.builds(
        lambda rows, kind, stamp: Export(
            f"{RUN}/exp_pl_LIS_{stamp}_SN8030_{kind}.csv", kind, "utf-8", tuple(rows)
        ),
        rows_of_exports,
        st.sampled_from(["SCREEN", "NEGATIV"]),
        st.sampled_from(["20211215_101758", "20211216_080000", "20211216_080001", "copy"]),
    ),
    max_size=4,
    unique_by=lambda export: export.relative_path,
)


@seeded
@given(some_exports, st.randoms(use_true_random=False))
def test_later_exports_hold_and_nothing_is_lost(exports, random):
    def annotate(some):
        return annotate_exports(some, ACQUISITIONS, VOCABULARY, archive="drive", date=DAY)

    rows = annotate(exports)
    shuffled = list(exports)
    random.shuffle(shuffled)
    assert annotate(shuffled) == rows
    # of an image that is there, one export of a kind holds, and it is the latest
    made = {export.relative_path: export.made for export in exports}
    holds: dict[tuple[str, bool], str] = {}
    for row in rows:
        if row["acquisition_id"] and row["source_file"] in made and not row["superseded_by"]:
            key = row["acquisition_id"], row["source_file"].endswith("SCREEN.csv")
            assert holds.setdefault(key, row["source_file"]) == row["source_file"]
    for row in rows:
        if row["superseded_by"]:
            assert made[row["superseded_by"]] > made[row["source_file"]]
            assert row["flag"] != "conflict"
    # every row of every export is told, or counted with one that says the same
    told = sum(1 + row["repeats"] for row in rows if row["source_row"] is not None)
    apart = sum(
        1 + row["repeats"]
        for export in exports
        for row in annotate([export])
        if row["source_row"] is not None
    )
    assert told == apart
    flagged = {row["acquisition_id"] for row in rows if row["flag"] == "no_row"}
    named = {row["acquisition_id"] for row in rows if row["flag"] != "no_row"}
    assert not flagged & named
    assert not exports or flagged | named >= {one["acquisition_id"] for one in ACQUISITIONS}


# Names


paths = st.text(max_size=60) | st.lists(
    st.sampled_from(["20211214", "20261340", "005_SN08030", "x", "é\n", "..", NAMES[0], "a.jpg"]),
    max_size=5,
).map("/".join)


@pytest.mark.parametrize("name", SHIPPED)
@seeded
@given(path=paths)
def test_any_path_and_name_is_read_without_an_error(name, path):
    layout = load_layout(name)
    parts = layout.parse_path(path)
    assert parts is None or parts.date is None or isinstance(parts.date, dt.date)
    said = layout.parse_image_name(path.rpartition("/")[2])
    for part in (said.well_index, said.plate, said.sample, said.well):
        assert part is None or part in path
    assert layout.is_export(path) in (True, False)
    assert LIS.kind_of(path) in ("SCREEN", "NEGATIV", None)
    assert LIS.stamp_of(path) in path


words = st.text(st.sampled_from("abé019-."), min_size=1, max_size=9)


@seeded
@given(
    st.integers(0, 999), words, st.from_regex(r"[0-9]{1,12}", fullmatch=True), st.integers(1, 12)
)
def test_written_image_names_are_read_back(index, plate, sample, well):
    name = f"{index:03}_{plate}_1_{sample}_3_14_{well:02}.jpg"
    said = load_layout("dated").parse_image_name(name)
    assert (said.well_index, said.plate) == (f"{index:03}", plate)
    assert (said.sample, said.well) == (sample, f"{well:02}")


@seeded
@given(st.dates(dt.date(1990, 1, 1)), st.times(), st.booleans())
def test_written_export_names_are_read_back(day, time, positive):
    kind = "SCREEN" if positive else "NEGATIV"
    made = f"{day:%Y%m%d}_{time:%H%M%S}"
    name = f"exp_pl_LIS_{made}_SN8030_{kind}.csv"
    assert load_layout("dated").is_export(name)
    assert LIS.kind_of(name.lower()) == kind
    assert LIS.stamp_of(name) == made
