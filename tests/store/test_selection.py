"""Cells by a condition: what DuckDB sees of them, and what it does not."""

import datetime as dt
import shutil

import pytest
from making import MONDAY, TUESDAY, Maker, acquisition_row, annotation_row

from anabatch.errors import ConfigurationError, PartCorruptError
from anabatch.schema import to_table
from anabatch.store import selection
from anabatch.store.actions import Action
from anabatch.store.collections import Collections
from anabatch.store.live import ANNOTATE
from anabatch.store.selection import select_cells, selection_columns


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Four images in two parts, labelled twice, once, never, and once. Not to be changed."""
    maker = Maker(tmp_path_factory.mktemp("made") / "store")
    rows = [
        acquisition_row(f"i{number}", date=MONDAY if number < 3 else TUESDAY)
        for number in range(1, 5)
    ]
    again = acquisition_row("i1", acquisition_id="a-again", date=dt.date(2022, 1, 1), plate="late")
    maker.acquisitions([*rows, again])
    maker.cells({"i1": 3, "i2": 2}, 2)
    maker.cells({"i3": 2, "i4": 4}, 3)
    labels = [("i1", "golgi"), ("i1", "nucleolar"), ("i2", "nucleolar"), ("i4", "o'x")]
    with maker.part("annotations") as part:
        table = [annotation_row(image, label) for image, label in labels]
        lost = annotation_row(
            "i1", "golgi", image_id=None, acquisition_id=None, flag="missing_image"
        )
        part.rows("annotations", to_table("annotations", [*table, lost]))
        done = Action(ANNOTATE, "u", "k", archive="hard-drive", rows=5, sequence=1)
        maker.store.state.put(part.finish([done]).actions)
    return maker.store


def chosen(store, where):
    """Return the selected cells' ids."""
    collections = Collections(store.root, store.state)
    table = collections.table("cells").to_pandas()
    found = []
    for live in select_cells(collections, where):
        rows = set(live.indices().tolist())
        here = table[(table.part == live.path) & table.row.isin(rows)]
        assert len(here) == live.rows == len(rows)
        found += here.cell_id.tolist()
    return found


@pytest.mark.parametrize(
    ("where", "cells"),
    [
        ("label = 'nucleolar'", ["i1-0", "i1-1", "i1-2", "i2-0", "i2-1"]),
        ("label = 'golgi' AND area_px > 51", ["i1-2"]),
        ("label IN ('golgi', 'none') AND row = 0", ["i1-0"]),
        ("LOWER(label) LIKE 'gol%' AND row = 0", ["i1-0"]),
        ("upper(label) = 'GOLGI' AND row = 0", ["i1-0"]),
        ("label.substring(1, 3) = 'gol' AND row = 0", ["i1-0"]),
        ("left(label, 1) || '!' IN ('g!', 'x!') AND row = 0", ["i1-0"]),
        ("contains(label, chr(39))", ["i4-0", "i4-1", "i4-2", "i4-3"]),
        ("label IN ['golgi', 'x'] AND row = 0", ["i1-0"]),
        ("label SIMILAR TO 'g.*i' AND row = 0", ["i1-0"]),
        # no column's name, but a parameter's
        (
            "len(list_filter(labels, lambda label: label <> 'golgi')) = 1 AND area_px = 50",
            ["i1-0", "i2-0", "i4-0"],
        ),
        (
            "len(list_filter(labels, lambda label, i: label <> 'golgi' AND i > 1)) = 1",
            ["i1-0", "i1-1", "i1-2"],
        ),
        (
            "len([1 for label in labels if label <> 'golgi']) = 1 AND label = 'golgi'",
            ["i1-0", "i1-1", "i1-2"],
        ),
        ("NOT label IS NULL AND NOT area_px > 50 AND date = '2021-12-13'", ["i1-0", "i2-0"]),
        ("NOT list_has_any(labels, ['nucleolar', 'o''x'])", ["i3-0", "i3-1"]),
        ("labels = ['nucleolar']", ["i2-0", "i2-1"]),
        ("label IS NULL", ["i3-0", "i3-1"]),
        ("len(labels) = 0 OR label = 'o''x' AND area_px = 53", ["i3-0", "i3-1", "i4-3"]),
        ("NOT list_contains(labels, 'golgi') AND date = '2021-12-13'", ["i2-0", "i2-1"]),
        ("sample = '10000002' AND well = 'w'", ["i2-0", "i2-1"]),
        # each comparison of label is of any of them
        ("label = 'golgi' AND label = 'nucleolar'", ["i1-0", "i1-1", "i1-2"]),
        ("label = 'golgi' AND (row < 2 AND Label LIKE 'nuc%')", ["i1-0", "i1-1"]),
        (
            "(label = 'golgi' AND label = 'nucleolar' AND area_px > 51) OR label IS NULL",
            ["i1-2", "i3-0", "i3-1"],
        ),
        ("label = 'golgi' AND label IS NULL OR label = 'o''x' AND row = 2", ["i4-0"]),
        ("row AND upper(label) = 'GOLGI' AND label.lower() > 'm'", ["i1-1", "i1-2"]),
        (
            "label = 'golgi' AND len([1 for label in labels if label > 'm']) = 1 AND label > 'm'",
            ["i1-0", "i1-1", "i1-2"],
        ),
        (
            "label > 'm' AND label > 'n' AND \"group\" > '' AND date < DATE '2021-12-14' AND row = 4",
            ["i2-1"],
        ),
        ('"group" IS NOT NULL AND Area_PX >= 53', ["i4-3"]),
        ("plate = 'late'", []),  # the first acquisition counts
        ("list_contains(flags, 'large')", []),  # those of cells, not of files
        ("FALSE", []),
    ],
)
def test_a_condition_selects(made, where, cells):
    assert chosen(made, where) == cells


@pytest.mark.parametrize("where", ["area_px % 2 = 0", "label IN ('golgi', 'nucleolar', 'o''x')"])
def test_how_many_parts_are_looked_at_at_once_does_not_matter(made, monkeypatch, where):
    at_once = select_cells(made.collections, where)
    monkeypatch.setattr(selection, "_BLOCK_PARTS", 1)
    assert select_cells(made.collections, where) == at_once
    assert [part.path for part in at_once] == [part.path for part in made.collections.cell_parts]


def test_any_label_counts_once(made):
    assert len(chosen(made, "label IS NOT NULL")) == 9


ANOTHER = "list_contains(labels, '...')"
"""What is advised where a condition names no label in full."""


@pytest.mark.parametrize(
    ("where", "without"),
    [
        ("label <> 'golgi'", "list_contains(labels, 'golgi')"),
        ("area_px > 3 AND (row = 0 OR Label != 'o''x')", "list_contains(labels, 'o''x')"),
        ("NOT label = 'golgi'", "list_contains(labels, 'golgi')"),
        ("NOT (label = 'golgi' AND area_px > 3)", "list_contains(labels, 'golgi')"),
        ("label NOT IN ('golgi', 'x')", "list_has_any(labels, ['golgi', 'x'])"),
        ("label NOT LIKE 'golgi%'", ANOTHER),
        ("label NOT SIMILAR TO 'golgi'", ANOTHER),
        ("label IS DISTINCT FROM 'golgi'", "list_contains(labels, 'golgi')"),
        ("(label = 'golgi') = FALSE", "list_contains(labels, 'golgi')"),
        ("label = 'golgi' IS NOT TRUE", "list_contains(labels, 'golgi')"),
        ("starts_with(label, 'golgi') = FALSE", ANOTHER),
        ("CASE WHEN label = 'golgi' THEN FALSE ELSE TRUE END", "list_contains(labels, 'golgi')"),
        ("label NOT LIKE 'go%' ESCAPE '$'", ANOTHER),
        ("label NOT GLOB 'go*'", ANOTHER),
        ("NOT starts_with(label, 'go')", ANOTHER),
        ("label.lower() <> 'golgi'", ANOTHER),
        ("lower(label) <> 'golgi'", ANOTHER),
        ("contains(contains(label, 'golgi')::VARCHAR, 'false')", ANOTHER),
        ("label NOT BETWEEN 'a' AND 'b'", ANOTHER),
        ("label <> well", ANOTHER),
        ("label <> lower('Golgi')", ANOTHER),
        # no lambda, but JSON of a text
        ("TRY(label -> '$') IS DISTINCT FROM '1'", ANOTHER),
        ("label = 'golgi' AND (label -> '$') IS NULL", ANOTHER),
        ("label NOT IN ('x', 'golgi', 'x')", "list_has_any(labels, ['x', 'golgi'])"),
        ("NOT (label = 'x' OR label = 'x')", "list_contains(labels, 'x')"),
        ("NOT (label = 'x' AND well = 'w')", "list_contains(labels, 'x')"),
        (
            "label <> 'x' AND len(list_filter(labels, lambda label: label = 'y')) = 0",
            "list_contains(labels, 'x')",
        ),
    ],
)
def test_a_label_cannot_be_denied_as_if_it_were_the_only_one(made, where, without):
    with pytest.raises(ConfigurationError, match="denies a label") as raised:
        chosen(made, where)
    how = ", as" if without == ANOTHER else ""
    assert raised.value.remedy == f"For images without it{how}: NOT {without}."


@pytest.mark.parametrize(
    ("where", "function"),
    [
        ("instr(label, 'x') = 0", "instr"),
        ("position('x' in label) < 1", "position"),
        ("label.instr('x') = 0", "instr"),
        ("levenshtein(label, 'golgi')", "levenshtein"),
        ("1 - instr(lower(label), 'x')", "-"),
        ("nullif(label, 'golgi') IS NOT NULL", "nullif"),
        ("replace(label, 'golgi', '') = label", "replace"),
    ],
)
def test_what_is_computed_of_a_label_cannot_deny_it(made, where, function):
    with pytest.raises(ConfigurationError) as raised:
        chosen(made, where)
    assert f" may deny a label with {function}(): " in raised.value.what
    with_it = "For those with it, as: contains(label, '...')."
    assert raised.value.remedy == f"For images without it, as: NOT {ANOTHER}. {with_it}"


@pytest.mark.parametrize("where", ["random() < 0.5", "label = 'golgi' AND UUID() > cell_id"])
def test_chance_selects_nothing(made, where):
    with pytest.raises(ConfigurationError, match=r"gives something else every time.*cell_id < '8'"):
        chosen(made, where)
    assert chosen(made, "cell_id < 'i2' AND length(well) = 1") == ["i1-0", "i1-1", "i1-2"]


@pytest.mark.parametrize(
    ("where", "word"),
    [
        ("date < now()", "now()"),
        ("label = 'golgi' AND date < Today()", "today()"),
        ("date < get_current_timestamp()", "get_current_timestamp()"),
        ("CURRENT_DATE > date", "current_date"),
        ("date < localtimestamp - INTERVAL 1 DAY", "localtimestamp"),
        ("age(date) > INTERVAL 1 DAY", "age()"),
        ("date.age() > INTERVAL 1 DAY", "age()"),
        ("date > ago(INTERVAL 1 DAY)", "ago()"),
    ],
)
def test_the_clock_selects_nothing(made, where, word):
    with pytest.raises(ConfigurationError) as raised:
        chosen(made, where)
    assert raised.value.what.startswith(f"{word} gives something else another day: ")
    assert raised.value.remedy == "Write the date, as DATE '2021-12-14'."


def test_dates_are_told_from_dates(made):
    found = chosen(
        made, "date < DATE '2021-12-14' AND age(DATE '2021-12-14', date) = INTERVAL 1 DAY"
    )
    assert found == ["i1-0", "i1-1", "i1-2", "i2-0", "i2-1"]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("area_px >", "syntax error"),
        ("area_px > 3; DROP TABLE images", "is no condition over the cells, or more than one"),
        ("area_px > 3 LIMIT 3", "is no condition over the cells, or more than one"),
        ("area_px > 3 ORDER BY row", "is no condition over the cells, or more than one"),
        ("area_px > 3, row > 1", "is no condition over the cells, or more than one"),
        ("WHERE area_px > 3", "is no condition over the cells, or more than one"),
        ("area_px > (SELECT avg(area_px) FROM cell_rows)", "a query of its own"),
        ("image_id IN (SELECT image_id FROM images)", "a query of its own"),
        ("EXISTS (FROM read_csv('/etc/passwd'))", "a query of its own"),
        ("area_px > 1) OR (TRUE", "syntax error"),
        ("count(*) > 1", "asks for many rows at once"),
        ("sum(area_px) > 3", "asks for many rows at once"),
        ("row_number() OVER () < 3", "asks for many rows at once"),
    ],
)
def test_what_is_no_condition_is_refused_in_a_line(made, where, words):
    with pytest.raises(ConfigurationError, match=words) as raised:
        chosen(made, where)
    assert repr(where) in raised.value.what
    assert "\n" not in raised.value.what
    assert raised.value.remedy == "Give a condition as it stands behind WHERE."


@pytest.mark.parametrize(
    "where",
    [
        "COLUMNS('^label$') <> 'golgi'",
        "NOT COLUMNS('^label$') = 'golgi'",
        "COLUMNS(['label']) <> 'golgi'",
        "COLUMNS(lambda c: c = 'label') <> 'golgi'",
        "COLUMNS('^label$') = 'golgi' AND COLUMNS('^label$') = 'nucleolar'",
        "row = 0 AND concat(*COLUMNS('^label$')) <> 'golgi'",
        "COLUMNS(*) IS NOT NULL",
        "#3 IS NOT NULL",
    ],
)
def test_columns_are_named(made, where):
    with pytest.raises(ConfigurationError, match="does not name the columns") as raised:
        chosen(made, where)
    assert repr(where) in raised.value.what
    assert raised.value.remedy.startswith("Name the column itself")


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        ("area_px", "a number"),
        ("area_px + 1 -- more", "a number"),
        ("scale", "a number"),
        ("label", "a text"),
        ("date", "a date"),
        ("labels", "a list"),
    ],
)
def test_what_only_gives_a_value_selects_nothing(made, where, kind):
    with pytest.raises(ConfigurationError, match=f"is no condition: it gives {kind}") as raised:
        chosen(made, where)
    assert raised.value.remedy == f"Compare it with something, as in: {where} = ..."


@pytest.mark.parametrize(("where", "kind"), [("1.5", "a number"), ("'area_px'", "a text")])
def test_a_constant_is_not_to_be_compared(made, where, kind):
    with pytest.raises(ConfigurationError, match=f"is no condition: it gives {kind}") as raised:
        chosen(made, where)
    assert raised.value.remedy == "Compare a column with something."


@pytest.mark.parametrize(
    ("where", "what", "remedy"),
    [
        ("area > 3", "there is no column 'area': ", "The nearest are area_px, "),
        (
            "colour = 'red'",
            "there is no column 'colour': ",
            "Text goes in single quotes: 'colour'.",
        ),
        (
            'label = "golgi"',
            "'golgi' in double quotes is a column, and there is none of this name: ",
            "Text goes in single quotes: 'golgi'.",
        ),
        (
            "label = \u2018golgi\u2019",
            "\u2018golgi\u2019 is not in straight quotes: ",
            "Text goes in single ones: 'golgi'.",
        ),
    ],
)
def test_a_name_that_is_no_column_is_told_before_those_that_are(made, where, what, remedy):
    with pytest.raises(ConfigurationError) as raised:
        chosen(made, where)
    assert raised.value.what == f"{what}{where!r} cannot be evaluated over the cells"
    advice, _, columns = raised.value.remedy.partition("\n")
    assert advice.startswith(remedy)
    assert advice.endswith(".")
    assert columns in ("", f"The columns are {', '.join(selection_columns())}.")
    assert bool(columns) == ("column" in what)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (
            "labels = 'golgi'",
            r"labels is a list.*list_contains\(labels, 'golgi'\), or label = 'golgi'",
        ),
        ("label = 'golgi' AND group = '1'", 'group is a word of SQL: for the column write "group"'),
        ("label = 'golgi' AND well = 3", "well is a text.*single quotes, as: well = '...'"),
        ('label = "L\'autre"', "Text goes in single quotes: 'L''autre'"),
    ],
)
def test_what_cannot_be_evaluated_is_told_with_what_to_write(made, where, words):
    with pytest.raises(ConfigurationError, match=words):
        chosen(made, where)


def test_names_of_this_process_and_files_are_out_of_reach(made, tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")
    for where in (f"area_px IN (FROM '{tmp_path}/x.csv')", "getenv('HOME') <> ''"):
        with pytest.raises(ConfigurationError):
            select_cells(Collections(made.root, made.state), where)


def test_columns_are_those_of_cells_and_of_their_images():
    names = selection_columns()
    assert {"area_px", "date", "sample", "group", "labels", "label", "plate"} <= set(names)
    assert len(names) == len(set(names))


def test_a_damaged_part_is_told_as_such(made, tmp_path):
    shutil.copytree(made.root, tmp_path, dirs_exist_ok=True)
    copied = Collections(tmp_path, made.state)
    (tmp_path / copied.cell_parts[1].path / "cells.parquet").write_bytes(b"gone")
    with pytest.raises(PartCorruptError):
        select_cells(copied, "area_px > 0")
