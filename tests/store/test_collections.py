import dask.array as da
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from making import MONDAY, acquisition_row, annotation_row

from anabatch.errors import ConfigurationError, MissingRowsError, PartCorruptError
from anabatch.schema import table_schema, to_table
from anabatch.store.live import ANNOTATE
from anabatch.store.root import open_store
from anabatch.store.selection import columns_to_show, select_cells

ARRAYS = ("crops", "masks", "features", "embedding")


@pytest.fixture
def store(filled):
    return open_store(filled.root)


def annotation(code):
    return {
        "acquisition_id": "a-image0",
        "image_id": "image0",
        "archive": "hard-drive",
        "date": MONDAY,
        "sample": "10000000",
        "label": None,
        "axis": None,
        "code": code,
        "raw": None,
        "source_file": "x.csv",
        "source_row": 3,
        "flag": "no_code",
        "reason": "the term has no code",
        "repeats": 0,
        "superseded_by": None,
    }


@pytest.fixture
def annotated(filled):
    """Two parts of annotations, of which the first has a code in no row."""
    for sequence, codes in ((20, [None, None]), (21, [14, None, 15])):
        with filled.part("annotations") as part:
            part.rows("annotations", to_table("annotations", [annotation(c) for c in codes]))
            filled._take(ANNOTATE, part, [(f"csv{sequence}", len(codes))], sequence)
    return filled.commit()


# Tables


def test_cells_stand_in_the_order_of_the_store_without_the_dead(store):
    cells = store.table("cells").to_pandas()
    assert cells.cell_id.tolist() == [
        *(f"image3-{i}" for i in range(5)),
        *(f"image0-{i}" for i in range(3)),
        *(f"image2-{i}" for i in range(4)),
    ]
    assert cells.columns.tolist() == table_schema("cells").names


@pytest.mark.parametrize("name", ["acquisitions", "annotations", "cells", "clusters"])
def test_a_table_keeps_its_schema_also_when_it_is_empty(filled, maker, tmp_path, name):
    assert filled.store.table(name).to_arrow().schema.equals(table_schema(name))
    empty = type(maker)(tmp_path / "empty").store.table(name)
    assert empty.to_arrow().schema.equals(table_schema(name))
    assert empty.to_arrow().num_rows == 0
    assert empty.query(limit=3).num_rows == 0
    assert len(empty.to_dask().compute()) == 0


def test_clusters_are_aligned_with_cells(store):
    cells, clusters = store.table("cells").to_arrow(), store.table("clusters").to_arrow()
    assert clusters.column("cell_id").equals(cells.column("cell_id"))


def test_cells_in_no_cluster_are_counted(filled):
    filled.cells({"image9": 2}, sequence=6)
    with pytest.raises(MissingRowsError, match="2 of 14 live cells have no cluster"):
        filled.store.table("clusters")


def test_clusters_of_two_generations_are_never_mixed(filled):
    third = filled.cells({"image9": 2}, sequence=6)
    filled.clusters(third, sequence=7, generation=2)
    with pytest.raises(MissingRowsError, match="12 of 14"):
        filled.store.table("clusters")


def test_pieces_come_part_by_part(store):
    assert [piece.num_rows for piece in store.table("cells").batches()] == [5, 7]


@pytest.mark.parametrize("name", ["acquisitions", "annotations", "cells", "clusters"])
def test_dask_and_pandas_give_the_same_frame(annotated, name):
    lazy = annotated.table(name).to_dask()
    frame = annotated.table(name).to_pandas()
    assert list(lazy.columns) == list(frame.columns)
    assert lazy._meta.dtypes.equals(frame.dtypes)
    computed = lazy.compute(scheduler="synchronous").reset_index(drop=True)
    pd.testing.assert_frame_equal(computed, frame)


def test_integers_stay_integers_beside_nulls(annotated):
    frame = annotated.table("annotations").to_pandas()
    assert frame.code.dtype == pd.Int16Dtype()
    assert frame.code.isna().tolist() == [True, True, False, True, False]
    assert frame.code.dropna().tolist() == [14, 15]
    assert annotated.table("acquisitions").to_pandas().width.dtype == pd.Int32Dtype()


def test_an_unknown_table_is_named_with_those_that_are(store):
    with pytest.raises(ConfigurationError, match="acquisitions, annotations, cells, clusters"):
        store.table("celles")


# Queries


def test_a_query_selects_rows_in_the_order_of_the_store(store):
    cells = store.table("cells")
    found = cells.query("area_px > 51 AND image_id <> 'image3'")
    assert found.column("cell_id").to_pylist() == ["image0-2", "image2-2", "image2-3"]
    assert found.schema.equals(table_schema("cells"))


@pytest.mark.parametrize("limit", [0, 1, 5, 6, 12, 99])
def test_a_limit_keeps_the_first_rows(store, limit):
    cells = store.table("cells")
    assert cells.query(limit=limit).equals(cells.to_arrow().slice(0, limit))


@pytest.mark.parametrize(
    ("where", "cells"),
    [
        ("label = 'golgi' AND label = 'nucleolar'", ["image0-0", "image0-1", "image0-2"]),
        ("list_contains(labels, 'nucleolar') AND area_px < 51", ["image0-0", "image2-0"]),
        ("LABEL = 'golgi' OR \"row\" > 7", ["image0-0", "image0-1", "image0-2", "image2-3"]),
        ("len(labels) = 0 AND date = DATE '2021-12-13' AND label_id = 5", ["image3-4"]),
        ("cell_id = 'label'", []),
    ],
)
def test_cells_are_found_by_their_images_labels(filled, where, cells):
    labels = [("image0", "golgi"), ("image0", "nucleolar"), ("image2", "nucleolar")]
    with filled.part("annotations") as part:
        rows = [annotation_row(image, label) for image, label in labels]
        part.rows("annotations", to_table("annotations", rows))
        filled._take(ANNOTATE, part, [("csv", len(rows))], 20)
    table = filled.commit().table("cells")
    found = table.query(where)
    assert found.column("cell_id").to_pylist() == cells
    whole = table.to_arrow()
    assert found.equals(whole.filter(pc.is_in(whole["cell_id"], pa.array(cells, pa.string()))))
    assert table.query(where, limit=1).num_rows == min(len(cells), 1)


def test_a_column_is_known_whatever_stands_beside_it(store):
    table = store.table("cells")
    for name in ("area_px", "part", "row", "group", "serum", "width", "labels", "label"):
        assert len(table.query(f'"{name}" IS NULL OR TRUE')) == 12, name
    every = " OR ".join(f'"{name}" IS NULL' for name in columns_to_show().names)
    assert len(table.query(f"{every} OR labels.len() = 0")) == 12


def test_cells_are_found_by_their_part_and_by_what_it_lacks(store):
    table = store.table("cells")
    path = store.collections.cell_parts[-1].path
    expected = table.query(f"part = '{path}'")
    assert 0 < len(expected) < len(table.to_arrow())
    assert table.query(f"part = '{path}' AND len(labels) = 0").equals(expected)
    assert len(table.query(f"part = '{path}' AND len(labels) > 0")) == 0
    twice = "label IS NULL AND label IS NULL"
    assert table.query(f"part = '{path}' AND {twice}").equals(expected)


@pytest.mark.parametrize("where", ["colour = 2", "colour = 2 AND label = 'x'"])
def test_the_columns_that_are_told_are_all_that_are_known(store, where):
    with pytest.raises(ConfigurationError, match="no column 'colour'") as raised:
        store.table("cells").query(where)
    assert raised.value.remedy.endswith(f"The columns are {', '.join(columns_to_show().names)}.")
    assert {"part", "row", "serum", "labels", "label"} <= set(columns_to_show().names)


def test_a_part_is_nothing_to_choose_cells_by(store):
    with pytest.raises(ConfigurationError, match="no column 'part'"):
        select_cells(store.collections, "part IS NOT NULL")


@pytest.mark.parametrize(
    "where", ["label <> 'golgi'", "label = 'x' AND", "label = 1 AND colour = 2"]
)
def test_conditions_on_labels_that_are_none_are_the_users_error(store, where):
    with pytest.raises(ConfigurationError):
        store.table("cells").query(where)


def test_no_condition_is_the_whole_table(store):
    for name in ("acquisitions", "cells", "clusters"):
        assert store.table(name).query().equals(store.table(name).to_arrow().combine_chunks())


def test_columns_that_are_words_of_sql_can_be_quoted(store):
    assert store.table("cells").query('"group" = \'10000002\' AND "row" > 6').num_rows == 2
    assert store.table("cells").query("date = DATE '2021-12-13'", limit=1).num_rows == 1


def test_nulls_stay_nulls(annotated):
    found = annotated.table("annotations").query("code IS NULL")
    assert found.column("code").null_count == 3
    assert found.schema.equals(table_schema("annotations"))


@pytest.mark.parametrize(
    "where",
    ["colour = 'green'", "area_px >", "area_px = 'large'", "1; DROP TABLE cells", ")", "  "],
)
def test_sql_that_is_none_is_the_users_error(store, where):
    with pytest.raises(ConfigurationError, match="cells"):
        store.table("cells").query(where)


def test_a_query_takes_no_number_for_a_condition(store):
    with pytest.raises(ConfigurationError, match="'area_px' is no condition: it gives a number"):
        store.table("cells").query("area_px")


def test_a_query_sees_the_table_and_no_file(store, tmp_path):
    (tmp_path / "x.txt").write_text("12")
    table = store.table("clusters")
    queries = (f"FROM read_text('{tmp_path}/x.txt')", f"FROM '{tmp_path}/x.txt'", "FROM tmp_path")
    for where in (*(f"cluster IN ({query})" for query in queries), "cluster = (SELECT 0)"):
        with pytest.raises(ConfigurationError, match="a query of its own"):
            table.query(where)


def test_a_name_that_is_no_column_is_told_with_the_nearest(store):
    with pytest.raises(ConfigurationError, match=r"^there is no column 'klusters': ") as raised:
        store.table("clusters").query("klusters = 3")
    advice, columns = raised.value.remedy.split("\n")
    assert advice == "The nearest is cluster."
    assert columns == f"The columns are {', '.join(table_schema('clusters').names)}."


def test_a_query_over_a_damaged_part_says_that_and_not_that_sql_is_wrong(filled, store):
    (filled.root / store.collections.cell_parts[1].path / "cells.parquet").unlink()
    with pytest.raises(PartCorruptError, match=r"cells\.parquet"):
        store.table("cells").query("area_px > 0")


def test_a_limit_reads_no_more_parts_than_it_needs(filled, store):
    (filled.root / store.collections.cell_parts[1].path / "cells.parquet").unlink()
    pieces = store.table("cells").batches()
    assert next(pieces).num_rows == 5


# Arrays


@pytest.mark.parametrize("name", ARRAYS)
def test_row_i_of_an_array_belongs_to_row_i_of_cells(store, name):
    array = store.array(name)
    assert isinstance(array, da.Array)
    computed = array.compute(scheduler="synchronous")
    cells = store.table("cells").to_pandas()
    assert computed.shape == array.shape
    assert computed.dtype == array.dtype
    assert len(computed) == len(cells)
    if name != "masks":
        values = computed.reshape(len(cells), -1)
        sequence = np.where(cells.image_id == "image3", 2, 3)
        assert (values == (10 * sequence + cells.row.to_numpy())[:, None]).all()


def test_types_and_shapes_are_those_of_the_contract(store):
    assert store.array("crops").shape == (12, 6, 6)
    assert store.array("crops").dtype == np.uint8
    assert store.array("masks").dtype == np.uint8
    assert store.array("features").shape == (12, 5)
    assert store.array("features").dtype == np.float16
    assert store.array("embedding").shape == (12, 3)
    assert store.array("embedding").dtype == np.float32


def test_one_chunk_is_one_part(store):
    assert store.array("crops").chunks[0] == (5, 7)


def test_slices_compute_only_their_rows(store):
    crops = store.array("crops")
    whole = crops.compute(scheduler="synchronous")
    assert np.array_equal(crops[4:9].compute(scheduler="synchronous"), whole[4:9])


def test_parts_of_two_types_give_the_wider(filled):
    wide = filled.cells({"image9": 2}, sequence=60, dtype=np.uint16)
    filled.store.state.put(wide.actions)
    crops = filled.store.array("crops")
    assert crops.dtype == np.uint16
    values = crops.compute(scheduler="synchronous")
    assert values.dtype == np.uint16
    assert values[-2:, 0, 0].tolist() == [600, 601]
    assert values[0, 0, 0] == 20


def test_arrays_stay_aligned_while_data_come_and_go(filled):
    state = filled.store.state
    for image, count, sequence in (("image4", 3, 10), ("image0", 2, 12), ("image1", 1, 14)):
        rows = [acquisition_row(f"image{i}") for i in range(6)]
        filled.acquisitions(rows, sequence=sequence)
        written = filled.cells({image: count, "image5": 1}, sequence)
        filled.features(written, sequence + 1)
        state.delete([state.get("cells", "image5")])
        store = filled.commit()
        cells = store.table("cells").to_pandas()
        features = store.array("features").compute(scheduler="synchronous")
        assert len(cells) == len(features)
        crops = store.array("crops").compute(scheduler="synchronous")
        assert np.array_equal(crops[:, 0, 0].astype(float), features[:, 0].astype(float))
        assert not cells.cell_id.duplicated().any()
        assert (cells.image_id == image).sum() == count
        first = cells[cells.image_id == image].row
        assert first.tolist() == list(range(count))


def test_an_array_without_cells_says_so(maker):
    for name in ARRAYS:
        with pytest.raises(MissingRowsError, match="no cells"):
            maker.store.array(name)


def test_live_cells_without_features_are_an_error_never_a_shorter_array(filled):
    filled.cells({"image9": 3}, sequence=8)
    with pytest.raises(MissingRowsError, match="3 of 15"):
        filled.store.array("features")
    assert filled.store.array("crops").shape[0] == 15


def test_an_unknown_array_is_named_with_those_that_are(store):
    with pytest.raises(ConfigurationError, match="crops, masks, features, embedding"):
        store.array("crop")


def test_nothing_is_read_before_it_is_computed(filled, store):
    crops = store.array("crops")
    for shard in filled.root.glob("parts/cells/**/crops/c/0/0/0"):
        shard.unlink()
    with pytest.raises(PartCorruptError, match="missing"):
        crops.compute(scheduler="synchronous")


def test_equal_arrays_have_equal_names(filled):
    one, other = open_store(filled.root).array("crops"), open_store(filled.root).array("crops")
    assert one.name == other.name
    assert (one == other).all().compute(scheduler="synchronous")
