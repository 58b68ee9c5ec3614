"""The exports' dialect: encodings, line ends, headers, rows; and that no bytes break the reader."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabatch.archive.exports import Export, ExportRow, decode_text, export_kind, read_export
from anabatch.errors import ExportError

SCREEN = "20211214/005_SN08030/exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv"
NEGATIV = "20211214/005_SN08030/exp_pl_LIS_20211215_101800_SN8030_NEGATIV.csv"
HEAD = "LIS export;20211215_101758;SN8030\r\nWellPos;SampleId;ImName;Pattern\r\n"


def read(text, path=SCREEN, encoding="utf-8"):
    return read_export(text.encode(encoding), path)


def test_a_screen_export():
    export = read(
        HEAD
        + "33;202524401;D:\\Data\\x\\033_0ae_1_202524401_3_14_05.jpg;[15] Mouchete+[24] Type SSA\r\n"
        + "39;202524402;D:\\Data\\.jpg;\r\n"
    )
    assert export == Export(
        relative_path=SCREEN,
        kind="SCREEN",
        encoding="utf-8",
        rows=(
            ExportRow(
                3, "033_0ae_1_202524401_3_14_05.jpg", "[15] Mouchete+[24] Type SSA", "202524401"
            ),
            ExportRow(4, ".jpg", "", "202524402"),
        ),
    )


def test_a_negative_export_needs_no_pattern():
    text = "LIS\r\nWellPos;SampleId;ImName;Result\r\n41;9;D:\\a.jpg;NEG\r\n"
    assert read(text, NEGATIV).rows == (ExportRow(3, "a.jpg", None, "9"),)
    with pytest.raises(ExportError, match="no column Pattern or ScreenPattern"):
        read(text, SCREEN)


@pytest.mark.parametrize("column", ["Pattern", "ScreenPattern", "PATTERN", " Screen_Pattern "])
def test_both_names_of_the_pattern_column(column):
    export = read(f"LIS\nImName;{column}\na.jpg;[1] x\n")
    assert export.rows == (ExportRow(3, "a.jpg", "[1] x", None),)


def test_the_pattern_goes_before_the_older_column_and_the_first_of_two_alike():
    export = read("LIS\nImName;ScreenPattern;Pattern;Pattern\na.jpg;old;new;newer\n")
    assert export.rows[0].raw == "new"


def test_a_file_without_preamble_is_read_and_lines_are_physical():
    assert read("ImName;Pattern\na.jpg;x\n").rows == (ExportRow(2, "a.jpg", "x", None),)


def test_blank_lines_count_but_are_no_rows():
    rows = read("LIS\nImName;Pattern\n\n;;\n  ; \na.jpg;x\n").rows
    assert rows == (ExportRow(6, "a.jpg", "x", None),)


def test_a_row_that_ends_early_has_no_pattern_and_is_not_lost():
    rows = read("LIS\nSampleId;ImName;Pattern\n7;a.jpg\n8\n").rows
    assert rows == (ExportRow(3, "a.jpg", None, "7"), ExportRow(4, "", None, "8"))


def test_quotes_hold_a_separator_and_a_stray_quote_spoils_only_its_line():
    text = 'LIS\nImName;Pattern\na.jpg;"[1] a;b"\nb.jpg;"[2] c\nc.jpg;[3] d\n'
    assert [row.raw for row in read(text).rows] == ["[1] a;b", "[2] c", "[3] d"]


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (r"D:\Data\20211214\005_SN08030\a.jpg", "a.jpg"),
        ("D:/Data/a.jpg", "a.jpg"),
        (r"\\server\share\a.jpg", "a.jpg"),
        ("a.jpg", "a.jpg"),
        (r"D:\Data\.jpg", ".jpg"),
        (r" D:\Data\a.jpg ", "a.jpg"),
        ("", ""),
    ],
)
def test_only_the_last_part_of_the_windows_path_counts(image, name):
    assert read(f"LIS\nImName;Pattern;x\n{image};[1] a;y\n").rows[0].file_name == name


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("Moucheté".encode(), "utf-8"),
        ("Moucheté".encode("utf-8-sig"), "utf-8-sig"),
        ("Moucheté".encode("cp1252"), "cp1252"),
        ("Moucheté œil".encode("cp1252"), "cp1252"),
        ("Moucheté".encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + "Moucheté".encode("utf-16-be"), "utf-16"),
        ("Moucheté".encode("utf-16-le"), "utf-16-le"),
        ("Moucheté".encode("utf-16-be"), "utf-16-be"),
    ],
)
def test_the_encoding_is_recognised_and_recorded(data, encoding):
    text, assumed = decode_text(data, SCREEN)
    assert text.startswith("Moucheté")
    assert assumed == encoding


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\x81\x8d", "is no text", id="bytes that no encoding has"),
        pytest.param(b"LIS\nImName;Pattern\na.jpg;x\n" + bytes(8), "NUL bytes", id="zero tail"),
        pytest.param(b"LIS\nother;columns\n", "no header with the column ImName", id="no header"),
        pytest.param(b"LIS\n\n\nImName;Pattern\n", "on its first 2 lines", id="late header"),
        pytest.param(b"LIS\nImName|Pattern\na.jpg|x\n", "no header", id="bars"),
        pytest.param(b"\xff\xfeL", "is no text", id="half a UTF-16 character"),
    ],
)
def test_what_is_no_export_is_refused_with_its_name(data, message):
    with pytest.raises(ExportError, match=message) as caught:
        read_export(data, SCREEN)
    assert SCREEN in str(caught.value)


def test_the_kind_is_in_the_name():
    assert export_kind(SCREEN) == "SCREEN"
    assert export_kind(NEGATIV.lower()) == "NEGATIV"
    with pytest.raises(ExportError, match="named neither"):
        export_kind("20211214/005_SN08030/other.csv")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([SCREEN, NEGATIV, "x.csv"]))
def test_random_bytes_are_an_export_or_an_export_error(data, path):
    try:
        read_export(data, path)
    except ExportError:
        return


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.text(max_size=30), max_size=8),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from([SCREEN, NEGATIV]),
)
def test_random_text_below_a_header_is_an_export_or_an_export_error(lines, encoding, path):
    text = "\n".join(["LIS", "SampleId;ImName;Pattern", *lines])
    try:
        export = read_export(text.encode(encoding), path)
    except ExportError:
        return
    assert all(row.line >= 3 for row in export.rows)


# What the microscope's software writes: no separators, quotes or line ends within a field. The
# characters are those that Windows-1252 has.
words = (
    st.text(st.sampled_from("abcXYZ 0123456789éèàçœ€+[]().-_"), min_size=1, max_size=20)
    .map(str.strip)
    .filter(bool)
)
wells = st.tuples(words.filter(lambda name: not name.endswith(".")), words, words)


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(wells, min_size=1, max_size=6),
    st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"]),
    st.sampled_from(["\r\n", "\n", "\r"]),
    st.sampled_from(["Pattern", "ScreenPattern"]),
    st.booleans(),
)
def test_a_written_export_is_read_back(wells, encoding, end, column, preamble):
    lines = ["LIS export;20211215_101758;SN8030"] if preamble else []
    lines += [f"WellPos;SampleId;Dilution;ImName;{column}"]
    first = len(lines) + 1
    lines += [f"1;{sample};1:80;D:\\Data\\{name}.jpg;{raw}" for name, raw, sample in wells]
    export = read_export((end.join(lines) + end).encode(encoding), SCREEN)
    assert export.encoding in (encoding, "utf-8")
    assert export.rows == tuple(
        ExportRow(first + number, f"{name}.jpg", raw, sample)
        for number, (name, raw, sample) in enumerate(wells)
    )


def test_a_line_longer_than_the_csv_modules_limit_is_read():
    raw = "[15] " + "x" * 200_000
    assert read(f"LIS\nImName;Pattern\na.jpg;{raw}\n").rows == (ExportRow(3, "a.jpg", raw, None),)
