import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabatch.errors import SchemaError
from anabatch.schema import TABLES, completed, table_schema, to_table, validate

# The contract, in the words of its readers: names may be added, and none may go or move.
COLUMNS = {
    "acquisitions": (
        "acquisition_id image_id archive layout date run instrument file_name relative_path"
        " size_bytes file_sha256 width height dtype pixels_per_reference_pixel plate well sample"
        " serum group status reason"
    ),
    "annotations": (
        "acquisition_id image_id archive date sample label axis code raw source_file source_row flag"
    ),
    "cells": (
        "cell_id image_id label_id y0 x0 y1 x1 centroid_y centroid_x area_px nucleus_area_px"
        " nucleus_count scale black_fraction mean_intensity touches_border source_dtype part row"
        " archive date sample group"
    ),
    "clusters": "cell_id cluster distance model generation",
}
DERIVED = {
    "acquisitions": {"group"},
    "annotations": set(),
    "cells": {"part", "row", "archive", "date", "sample", "group"},
    "clusters": set(),
    "ledger": set(),
}
ROW = {"cell_id": "c", "cluster": 1, "distance": 0.5, "model": "archive", "generation": 1}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_table_has_the_promised_columns_in_order(name):
    promised = COLUMNS[name].split()
    assert [column for column in table_schema(name).names if column in promised] == promised


@pytest.mark.parametrize("name", TABLES)
def test_stored_columns_are_all_but_the_derived(name):
    every, stored = table_schema(name).names, table_schema(name, derived=False).names
    assert [column for column in every if column not in DERIVED[name]] == stored
    assert set(every) - set(stored) == DERIVED[name]


def test_types_that_are_promised():
    annotations, cells = table_schema("annotations"), table_schema("cells")
    assert annotations.field("code").type == pa.int16()
    assert annotations.field("code").nullable
    for name in ("acquisitions", "annotations", "cells", "ledger"):
        date = table_schema(name).field("date")
        assert date.type == pa.date32()
        assert date.nullable
    for name in ("acquisitions", "annotations", "cells"):
        assert table_schema(name).field("sample").type == pa.string()
    assert not cells.field("cell_id").nullable


def test_an_unknown_table_is_refused_with_those_that_are():
    with pytest.raises(SchemaError, match="acquisitions, annotations, cells, clusters"):
        table_schema("celles")


def test_rows_become_a_table_of_the_schema():
    table = to_table("clusters", [ROW, ROW | {"cell_id": "d"}])
    assert table.schema.equals(table_schema("clusters"))
    assert table.to_pylist()[1] == ROW | {"cell_id": "d"}


def test_no_rows_are_an_empty_table():
    assert to_table("cells", []).schema.equals(table_schema("cells", derived=False))


@pytest.mark.parametrize("column", ROW)
def test_a_missing_column_is_refused_by_name(column):
    with pytest.raises(SchemaError, match=column):
        to_table("clusters", [{name: value for name, value in ROW.items() if name != column}])


def test_a_column_too_many_is_refused_by_name():
    with pytest.raises(SchemaError, match="colour"):
        to_table("clusters", [ROW | {"colour": "green"}])


@pytest.mark.parametrize("column", ROW)
def test_a_null_is_refused_where_none_is_allowed(column):
    with pytest.raises(SchemaError, match=column):
        to_table("clusters", [ROW, ROW | {column: None}])


@pytest.mark.parametrize(
    "wrong",
    [
        {"cluster": "one"},
        {"cluster": 1.5},
        {"cluster": 2**31},
        {"cluster": float("nan")},
        {"distance": "near"},
        {"model": 7},
        {"model": b"archive"},
        {"generation": True},
        {"distance": True},
        {"model": ["archive"]},
        {"cell_id": "\udcff"},
    ],
    ids=str,
)
def test_a_value_of_another_type_is_refused(wrong):
    with pytest.raises(SchemaError, match="clusters"):
        to_table("clusters", [ROW | wrong])


def test_columns_that_a_schema_gained_are_null_in_older_rows_and_stand_in_its_order():
    schema = table_schema("cells", derived=False)
    gained = ["saturated_fraction", "mitotic", "flags"]
    whole = schema.empty_table()
    older = pa.Table.from_pylist(
        [dict.fromkeys(schema.names)],
        schema=pa.schema(f.with_nullable(True) for f in schema),
    ).drop_columns(gained)
    table = completed("cells", older)
    assert table.schema.names == schema.names
    assert table.select(gained).to_pylist() == [dict.fromkeys(gained)]
    assert table.schema.field("flags").type == schema.field("flags").type
    assert completed("cells", whole) is whole
    some = completed("cells", older.select(["cell_id"]), ["cell_id", "mitotic"])
    assert some.schema.names == ["cell_id", "mitotic"]
    assert some.column("mitotic").null_count == len(some)


def test_a_column_that_must_be_there_is_not_made_up():
    older = table_schema("cells", derived=False).empty_table().drop_columns(["area_px", "flags"])
    with pytest.raises(SchemaError, match=r"columns area_px\. .*--accept-recompute"):
        completed("cells", older)


def test_a_column_that_the_schema_lost_is_left_to_the_check():
    newer = table_schema("cells", derived=False).empty_table().drop_columns(["flags"])
    newer = newer.append_column("colour", pa.array([], pa.string()))
    assert completed("cells", newer).schema.names[-1] == "colour"
    with pytest.raises(SchemaError, match="colour"):
        validate("cells", completed("cells", newer))


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.dates(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@given(st.dictionaries(st.sampled_from(list(ROW)), anything))
def test_whatever_comes_it_fits_or_is_a_schema_error(values):
    row = ROW | values
    try:
        table = to_table("clusters", [row])
    except SchemaError:
        return
    kept = table.to_pylist()[0]
    assert kept["cluster"] == row["cluster"]
    assert kept["generation"] == row["generation"]


def _columns(**changes):
    table = to_table("clusters", [ROW])
    columns = {name: table.column(name) for name in table.schema.names}
    return pa.table(columns | changes)


def test_the_table_itself_is_returned():
    table = to_table("clusters", [ROW])
    assert validate("clusters", table) is table


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (_columns().drop_columns(["model"]), "model"),
        (_columns().select(["cluster", "cell_id", "distance", "model", "generation"]), "columns"),
        (_columns(extra=pa.array([1])), "extra"),
        (_columns(cluster=pa.array([1], pa.int64())), "int64"),
        (_columns(cell_id=pa.array(["c"], pa.large_string())), "large_string"),
        (_columns(distance=pa.array([None], pa.float32())), "1 nulls"),
    ],
    ids=["missing", "order", "extra", "wider", "string", "null"],
)
def test_a_table_that_differs_is_refused(table, word):
    with pytest.raises(SchemaError, match=word):
        validate("clusters", table)


def test_derived_columns_are_wanted_when_asked_for():
    stored = to_table("acquisitions", [])
    with pytest.raises(SchemaError, match="group"):
        validate("acquisitions", stored, derived=True)
    whole = table_schema("acquisitions").empty_table()
    assert validate("acquisitions", whole, derived=True) is whole


def test_a_column_may_hold_lists_of_text():
    kind = table_schema("acquisitions").field("flags").type
    assert pa.types.is_list(kind)
    assert kind.value_type == pa.string()


@pytest.mark.parametrize("value", [None, "alpha_ignored", [None], [1], ("alpha_ignored",)])
def test_what_is_no_list_of_text_is_refused(value):
    row = dict.fromkeys(table_schema("acquisitions", derived=False).names)
    row |= dict.fromkeys(
        ("acquisition_id", "archive", "layout", "file_name", "relative_path", "status"), "x"
    )
    row |= {"size_bytes": 1, "flags": []}
    assert to_table("acquisitions", [row, row | {"flags": ["a", "b"]}]).num_rows == 2
    with pytest.raises(SchemaError, match="flags"):
        to_table("acquisitions", [row | {"flags": value}])


def test_lists_come_back_from_parquet_as_they_were(tmp_path):
    table = to_table("acquisitions", [])
    pq.write_table(table, tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").schema.equals(table.schema, check_metadata=False)
