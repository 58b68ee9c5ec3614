"""Tables for spreadsheets and terminals: what stands in exports is anybody's."""

from __future__ import annotations

import csv
import io
import re

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from anabatch.jobs import show
from anabatch.jobs.show import harmless
from hypothesis import example, given, settings
from hypothesis import strategies as st

WIDE = "\uff1d\uff0b\uff0d\uff20"  # = + - @ as wide as Chinese letters
FORMULA = tuple(f"=+-@{WIDE}\t\r\n")


def written(texts):
    """Return the CSV of texts, as a program would see it."""
    table = pa.table({"raw": pa.array(texts, pa.string()), "n": pa.array(range(len(texts)))})
    sink = io.BytesIO()
    pa.csv.write_csv(harmless(table), sink)
    return sink.getvalue().decode()


def read_back(text):
    """Take off what was put before formulas."""
    text = re.sub(r"^'('*[\t\r\n])", r"\1", text)
    return re.sub(rf"""(^|[;,\t\r\n"])'('* *[=+\-@{WIDE}])""", r"\1\2", text)


def cells(text, separator):
    """Return all cells as a spreadsheet sees them; it splits lines outside of quotes only."""
    return [
        cell
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        for cell in row
    ]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+1", "'+1"),
        ("-1+1", "'-1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r\nx", "'\r\nx"),
        ("  =1", "'  =1"),
        (f"{WIDE[0]}1", f"'{WIDE[0]}1"),
        ("'=1", "''=1"),
        ("a;=1", "a;'=1"),
        ("[15] Mouchete+[16] Nucleolaire", "[15] Mouchete+[16] Nucleolaire"),
        ("'quoted' text", "'quoted' text"),
        ("2021-12-14", "2021-12-14"),
        ("", ""),
        (None, None),
    ],
)
def test_texts_that_a_spreadsheet_would_run_get_a_quote(text, safe):
    column = pa.chunked_array([pa.array([text], pa.string())])
    found = harmless(pa.table({"raw": column})).column("raw").to_pylist()
    assert found == [safe]
    assert safe is None or read_back(safe) == text


def test_numbers_stay_numbers():
    table = pa.table({"x": [-1.5, 2.0], "n": [-3, 4], "t": ["-1.5", "4"]})
    assert harmless(table).select(["x", "n"]).equals(table.select(["x", "n"]))
    assert harmless(table)["t"].to_pylist() == ["'-1.5", "4"]


hostile = st.text(st.sampled_from(f"=+-@{WIDE}'\" ;,\t\r\nab1|"), max_size=12) | st.text(
    max_size=20
)


@settings(max_examples=300, deadline=None)  # the machine may be busy
@given(st.lists(hostile, min_size=1, max_size=3))
@example(["x;=1", '"=1', "a\t=1", "'=1"])
def test_no_cell_starts_a_formula_and_every_text_is_read_back(texts):
    text = written(texts)
    rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
    assert [read_back(row[0]) for row in rows] == texts
    assert [row[1] for row in rows] == [str(number) for number in range(len(texts))]
    for separator in ",;\t":
        assert not [cell for cell in cells(text, separator) if cell.startswith(FORMULA[:8])]
    assert not [cell for cell in cells(text, ",") if cell.startswith(FORMULA)]


class FakeStore:
    """A store with one table."""

    def __init__(self, found):
        self.found = found

    def table(self, name, model="archive"):
        return self

    def query(self, where, limit):
        return self.found


@pytest.fixture
def evil(monkeypatch):
    table = pa.table({"raw": ["=1+1", "[/red]\x1b[2J", "[15] x"], "code": [-1, None, 15]})
    monkeypatch.setattr(show, "open_store", lambda *_: FakeStore(table))
    return table


def shown(out=None):
    show.show_table("store", None, "annotations", where=None, limit=None, out=out)


def test_csv_files_are_harmless_and_parquet_is_exact(evil, tmp_path):
    shown(tmp_path / "a.csv")
    shown(tmp_path / "a.parquet")
    assert pa.csv.read_csv(tmp_path / "a.csv")["raw"].to_pylist() == [
        "'=1+1",
        *evil["raw"].to_pylist()[1:],
    ]
    assert pa.csv.read_csv(tmp_path / "a.csv")["code"].to_pylist() == [-1, None, 15]
    assert pq.read_table(tmp_path / "a.parquet").equals(evil)


def test_what_is_piped_is_harmless(evil, capfdbinary):
    shown()
    assert capfdbinary.readouterr().out.startswith(b'"raw","code"\n"\'=1+1",-1\n')


def test_a_terminal_shows_texts_as_they_are_and_obeys_none(evil, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown()
    out = capsys.readouterr().out
    assert "[/red]\\x1b[2J" in out
    assert "[15] x" in out
    assert "=1+1" in out


def test_a_list_is_a_text_with_spaces():
    flags = pa.array([["alpha_ignored", "=odd"], [], None], pa.list_(pa.string()))
    table = pa.table({"flags": flags})
    assert harmless(table).column("flags").to_pylist() == ["alpha_ignored =odd", "", None]
    sink = io.BytesIO()
    pa.csv.write_csv(harmless(table), sink)
    assert "alpha_ignored =odd" in sink.getvalue().decode()
