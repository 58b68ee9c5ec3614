"""Hostile exports: each is read, flagged or refused with a reason, and spoils nothing else."""

from __future__ import annotations

import datetime as dt
import os

import pytest

from anabatch.annotations import annotate_exports
from anabatch.archive import exports
from anabatch.archive.dialect import LIS, Columns, Dialect
from anabatch.archive.exports import ExportRow, load_export, read_export
from anabatch.archive.records import MAX_FIELDS, RecordReader
from anabatch.archive.walk import ListedFile
from anabatch.errors import ExportError
from anabatch.schema import to_table
from anabatch.stages.exports import look_at, read_exports
from anabatch.store.actions import DEFERRED, FAILED, OK
from anabatch.vocabulary import Vocabulary

RUN = "20211214/005_SN08030"
SCREEN = f"{RUN}/exp_pl_LIS_20211215_101758_SN8030_SCREEN.csv"
NEGATIV = f"{RUN}/exp_pl_LIS_20211215_101800_SN8030_NEGATIV.csv"

LINES = (
    "LIS export;20211215_101758;SN8030",
    "WellPos;SampleId;ImName;Pattern",
    r"33;202524401;D:\Data\033_0ae_1_202524401_3_14_05.jpg;[15] Moucheté",
    r"34;202524402;D:\Data\034_0ae_1_202524402_3_14_06.jpg;[28] Cytoplasme ponctué",
)
ROWS = (
    ExportRow(3, "033_0ae_1_202524401_3_14_05.jpg", "[15] Moucheté", "202524401"),
    ExportRow(4, "034_0ae_1_202524402_3_14_06.jpg", "[28] Cytoplasme ponctué", "202524402"),
)


def text(separator=";", end="\r\n", lines=LINES):
    return end.join(line.replace(";", separator) for line in lines) + end


def read(content, path=SCREEN, dialect=LIS, encoding="utf-8"):
    data = content if isinstance(content, bytes) else content.encode(encoding)
    return read_export(data, path, dialect)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("separator", [";", ",", "\t"])
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"],
)
def test_every_encoding_with_every_separator_and_line_end(encoding, separator, end):
    found = read(text(separator, end), encoding=encoding)
    assert found.rows == ROWS
    assert found.separator == separator


def test_two_header_like_lines_the_last_is_the_header():
    headers = ("ImName;SampleId;WellPos;Pattern", LINES[1])
    assert read(text(lines=(*headers, *LINES[2:]))).rows == ROWS


def test_the_header_pasted_again_is_no_row():
    rows = read(text(lines=(*LINES, LINES[1].upper(), LINES[3]))).rows
    assert [row.line for row in rows] == [3, 4, 6]


def test_a_line_that_only_looks_like_the_header_is_passed_over():
    # the preamble names the image's column, and the header below has all
    assert read(text(lines=("Export of ImName;ImName", *LINES[1:]))).rows == ROWS
    # the header stands first, and the line below it is no header
    rows = read(text(lines=LINES[1:])).rows
    assert [row.line for row in rows] == [2, 3]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("WellPos;SampleId;Pattern", "no header with the column ImName on its first 2 lines"),
        ("WellPos;SampleId;ImName;Result", "no column Pattern or ScreenPattern; its header has"),
        ("", "no header with the column ImName"),
    ],
)
def test_missing_columns_are_said(header, message):
    with pytest.raises(ExportError, match=message) as caught:
        read(text(lines=(LINES[0], header, *LINES[2:])))
    assert SCREEN in str(caught.value)


def test_the_sample_may_be_missing():
    rows = read("LIS\nImName;Pattern\na.jpg;[15]\n").rows
    assert rows == (ExportRow(3, "a.jpg", "[15]", None),)


def test_quoted_fields_hold_separators_quotes_and_line_ends():
    quoted = (
        "LIS\r\n"
        "Comment;SampleId;ImName;Pattern\r\n"
        '"a;b";"1";"D:\\a.jpg";"[15] Mouchete"\r\n'
        '"two\nlines; and\r\nthree ""quoted""";"2";"D:\\b.jpg";"[14] Homogene"\r\n'
        '3;3;D:\\c.jpg;"[16]\r\nNucleolaire"\r\n'
        "4;4;D:\\d.jpg;[19] Dots\r\n"
    )
    assert read(quoted).rows == (
        ExportRow(3, "a.jpg", "[15] Mouchete", "1"),
        ExportRow(4, "b.jpg", "[14] Homogene", "2"),
        ExportRow(7, "c.jpg", "[16]\r\nNucleolaire", "3"),
        ExportRow(9, "d.jpg", "[19] Dots", "4"),
    )


@pytest.mark.parametrize(
    ("lines", "raws"),
    [
        pytest.param(['a.jpg;"[1] x', "b.jpg;[2]"], ["[1] x", "[2]"], id="one stray"),
        pytest.param(['a.jpg;"[1] x', 'b.jpg;[2]"'], ["[1] x", '[2]"'], id="a pair over two rows"),
        pytest.param(
            ['a.jpg;"[1]', "b.jpg;[2]", 'c.jpg;"[3];x"'], ["[1]", "[2]", "[3];x"], id="and a sound"
        ),
        pytest.param(['a.jpg;[1] "x" y', "b.jpg;[2]"], ['[1] "x" y', "[2]"], id="within"),
        pytest.param(['"a.jpg";"[1]"x', "b.jpg;[2]"], ['[1]"x', "[2]"], id="behind the quotes"),
        pytest.param(['a.jpg;"', "b.jpg;[2]"], ["", "[2]"], id="at the end"),
    ],
)
def test_a_stray_quote_spoils_its_own_line_only(lines, raws):
    found = read("\n".join(["LIS", "ImName;Pattern", *lines]))
    assert [row.raw for row in found.rows] == raws
    assert [row.line for row in found.rows] == list(range(3, 3 + len(lines)))


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(['a.jpg;"[1] x', 'y"'], id="too few columns"),
        pytest.param(['a.jpg;"[1] x', 'y";2;3'], id="too many columns"),
        pytest.param(['a.jpg;"[1] x', 'y";"z'], id="another quote stays open"),
        pytest.param(['a.jpg;"[1] x', 'y"z;2'], id="the quote closes nothing"),
    ],
)
def test_lines_are_joined_to_sound_records_only(lines):
    header = ["LIS", "ImName;Pattern;Comment"]
    found = read("\n".join([*header, *lines, "b.jpg;[2];"]))
    assert [(row.line, row.raw) for row in found.rows][::2] == [(3, "[1] x"), (5, "[2]")]
    sound = read("\n".join([*header, 'a.jpg;"[1] x', 'y";z;;', "b.jpg;[2];"]))
    assert [(row.line, row.raw) for row in sound.rows] == [(3, "[1] x\ny"), (5, "[2]")]


def test_a_record_of_too_many_lines_is_none():
    lines = ['a.jpg;"[15]', *["x"] * 70, '[16]"']
    found = read("\n".join(["LIS", "ImName;Pattern", *lines]))
    assert len(found.rows) == len(lines)
    assert found.rows[0].raw == "[15]"


def test_a_quoted_field_beyond_the_csv_modules_limit():
    raw = "[15] " + "x;" * 200_000
    rows = read(f'LIS\nImName;Pattern\na.jpg;"{raw}"\nb.jpg;[14]\n').rows
    assert [row.raw for row in rows] == [raw, "[14]"]


@pytest.mark.parametrize("field", ["x", '"x"'])
def test_the_fields_of_a_line_are_bounded(field):
    many = ";".join([field] * (MAX_FIELDS + 5))
    first, second, third = RecordReader(";").read(
        f"{many}\n1;2\n{many}", skip=0, width=2, names=bool
    )
    assert first.fields == third.fields
    assert len(first.fields) == MAX_FIELDS + 1
    assert first.fields[-1] == ";".join([field] * 5)
    assert second.fields == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(bytes(4096), "NUL", id="zeros"),
        pytest.param(bytes(range(256)) * 40, "is no text|NUL", id="all bytes"),
        pytest.param(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(99), "NUL|no text", id="a JPEG"),
        pytest.param(b"PK\x03\x04" + b"\x14\x00\x08\x08" * 50, "NUL|no", id="an Excel file"),
        pytest.param(b"\xff\xfe" + b"\x00\xd8" * 9, "is no text", id="halves of characters"),
    ],
)
def test_binary_junk_is_refused(content, message):
    with pytest.raises(ExportError, match=message):
        read(content)


def test_dos_ends_a_text_with_a_sign_that_is_no_row():
    assert read(text() + "\x1a").rows == ROWS


def test_sizes_are_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr(exports, "MAX_BYTES", 2**20)
    monkeypatch.setattr(exports, "MAX_LINES", 100)
    big = tmp_path / SCREEN
    big.parent.mkdir(parents=True)
    with big.open("wb") as file:
        file.write(text().encode())
        file.truncate(2**20 + 1)  # sparse: nothing but its size is read of it
    with pytest.raises(ExportError, match="larger than 1 MiB"):
        load_export(big, SCREEN)
    with pytest.raises(ExportError, match="more than 100 lines"):
        read(text(lines=LINES + ("x",) * 100))
    big.write_bytes(text().encode())
    assert load_export(big, SCREEN).rows == ROWS


def test_bad_exports_are_named_and_the_good_one_is_read(tmp_path):
    folder = tmp_path / RUN
    folder.mkdir(parents=True)
    (tmp_path / SCREEN).write_text(text(), encoding="utf-8")
    (folder / "exp_pl_LIS_1_SCREEN.csv").write_bytes(b"\x81")
    (folder / "exp_pl_LIS_2_SCREEN.csv").mkdir()
    names = [f"{RUN}/exp_pl_LIS_{number}_SCREEN.csv" for number in (1, 2)]
    planned = [look_at(tmp_path, listed(tmp_path, name))[1] for name in (SCREEN, *names)]
    assert [export.outcome for export in planned] == [OK, OK, FAILED]
    read = read_exports(tmp_path, planned, LIS)
    assert [export.rows for export in read.good] == [ROWS]
    assert [path for path, _ in read.bad] == names
    assert read.waiting == []
    assert "is no text" in str(read.bad[0][1])
    assert "irectory" in str(read.bad[1][1])


def listed(root, name):
    found = (root / name).stat()
    return ListedFile(name, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def test_an_export_that_is_not_what_was_planned_is_waited_for(tmp_path):
    path = tmp_path / SCREEN
    path.parent.mkdir(parents=True)
    path.write_text(text(), encoding="utf-8")
    planned = look_at(tmp_path, listed(tmp_path, SCREEN))[1]
    before = path.stat()
    path.write_text(text().replace("1", "2", 1), encoding="utf-8")  # as long, and its time set back
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    read = read_exports(tmp_path, [planned], LIS)
    assert (read.good, read.bad) == ([], [])
    (export,) = read.waiting
    assert (export.outcome, export.sha256) == (DEFERRED, "")
    assert "other bytes" in export.why_not
    path.unlink()
    (gone,) = read_exports(tmp_path, [planned], LIS).waiting
    assert "went away" in gone.why_not


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (r"..\..\..\etc\passwd", "passwd"),
        ("..", ".."),
        (r"D:\Data\CON", "CON"),
        ("a.jpg\x0b", "a.jpg"),
        ("=cmd|' /C calc'!A0", "C calc'!A0"),
        (r"D:\Data\x.jpg" + "\\", "x.jpg"),
        ("é" * 300 + ".jpg", "é" * 300 + ".jpg"),
    ],
)
def test_names_are_names_whatever_stands_there(field, name):
    (row,) = read(f"LIS\nImName;Pattern\n{field};[15]\n").rows
    assert row.file_name == name
    rows = annotate_exports(
        [read(f"LIS\nImName;Pattern\n{field};[15]\n")],
        [],
        Vocabulary.load(),
        archive="drive",
        date=dt.date(2021, 12, 14),
    )
    assert {row["flag"] for row in rows} == {"missing_image"}
    to_table("annotations", rows)


def test_another_laboratorys_dialect():
    dialect = Dialect(
        separators=("|",),
        encoding="cp850",
        header_lines=4,
        columns=Columns(image=("file",), pattern=("Befund", "Result"), sample=("Patient No",)),
        kind_in_name=r"^(?P<kind>pos|neg)_",
        kinds={"pos": "SCREEN", "neg": "NEGATIV"},
    )
    content = "Labor\n\nx\nPATIENT_NO|File|befund\n7|a.png|[15] größer\n".encode("cp850")
    found = read(content, "2021/pos_1.csv", dialect)
    assert (found.kind, found.encoding) == ("SCREEN", "cp850")
    assert found.rows == (ExportRow(5, "a.png", "[15] größer", "7"),)
    with pytest.raises(ExportError, match="named neither POS nor NEG"):
        read(content, SCREEN, dialect)
    fixed = dialect.model_copy(update={"kind": "NEGATIV"})
    assert read(content, "whatever.csv", fixed).kind == "NEGATIV"


@pytest.mark.parametrize(
    "wrong",
    [
        {"separators": ["ab"]},
        {"separators": ['"']},
        {"separators": []},
        {"encoding": "base64"},
        {"encoding": "no such"},
        {"header_lines": 0},
        {"kind_in_name": "x"},
        {"kind_in_name": "(?P<kind>"},
        {"kind": "BOTH"},
        {"kinds": {"x": "BOTH"}},
        {"term": "[0-9]+"},
        {"term_separator": ""},
        {"codes": "../codes.csv"},
        {"columns": {"image": []}},
        {"columns": {"image": [" "]}},
        {"unknown": 1},
    ],
)
def test_a_dialect_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Dialect.model_validate(wrong)
