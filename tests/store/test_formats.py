import errno
import os

import numpy as np
import pyarrow as pa
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from anabatch.errors import PartCorruptError
from anabatch.store import formats

DTYPES = ["uint8", "uint16", "int32", "float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 16, 17, 40])
def test_an_array_comes_back_bit_by_bit(tmp_path, dtype, rows):
    rng = np.random.default_rng(rows)
    array = (rng.random((rows, 3, 2)) * 200).astype(dtype)
    formats.write_array(tmp_path / "x", array, chunk=4, shard=8)
    back = formats.read_array(tmp_path / "x", 0, rows)
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()
    assert back.shape == array.shape
    assert formats.array_info(tmp_path / "x") == (array.shape, array.dtype)


@settings(max_examples=20, deadline=None)
@given(
    array=arrays.arrays("float32", st.tuples(st.integers(1, 20), st.just(2))),
    data=st.data(),
)
def test_any_span_and_any_rows_are_those_of_the_array(tmp_path_factory, array, data):
    path = tmp_path_factory.mktemp("formats") / "x"
    formats.write_array(path, array, chunk=2, shard=4)
    start = data.draw(st.integers(0, len(array)))
    stop = data.draw(st.integers(start, len(array)))
    assert formats.read_array(path, start, stop).tobytes() == array[start:stop].tobytes()
    rows = np.array(data.draw(st.lists(st.integers(0, len(array) - 1), max_size=8)), np.int64)
    assert formats.take_array(path, rows).tobytes() == array[rows].tobytes()


@pytest.mark.parametrize(("step", "block"), [(1, 512), (7, 512), (300, 64)])
def test_few_rows_are_read_by_chunks_and_many_by_blocks(tmp_path, step, block):
    array = np.arange(3000, dtype=np.float32).reshape(1500, 2)
    formats.write_array(tmp_path / "x", array, chunk=64, shard=512)
    rows = np.arange(1499, -1, -step, dtype=np.int64)
    assert formats.take_array(tmp_path / "x", rows).tobytes() == array[rows].tobytes()
    assert formats._block_rows(rows, 64) == block
    assert formats._block_rows(8 * rows, 512) == 8 * block


def test_rows_beyond_the_end_are_an_error_not_a_shorter_array(tmp_path):
    formats.write_array(tmp_path / "x", np.ones((5, 2), "f4"), chunk=2, shard=4)
    with pytest.raises(PartCorruptError, match="5 rows"):
        formats.read_array(tmp_path / "x", 3, 6)
    with pytest.raises(PartCorruptError):
        formats.take_array(tmp_path / "x", np.array([5]))


def test_zeros_are_written(tmp_path):
    """A file that holds only zeros must be there, or one that is missing could not be told."""
    formats.write_array(tmp_path / "x", np.zeros((9, 2), "f4"), chunk=2, shard=4)
    assert sum(path.is_file() for path in (tmp_path / "x" / "c").rglob("*")) == 3


def test_one_shard_is_one_file(tmp_path):
    formats.write_array(
        tmp_path / "x",
        np.zeros((formats.SHARD_ROWS + 1, 2), "u1"),
        chunk=formats.CHUNK_ROWS,
        shard=formats.SHARD_ROWS,
    )
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {"x/zarr.json", "x/c/0/0", "x/c/1/0"}


def read_rows(path, columns=None):
    return formats.decode_rows(path.read_bytes(), path, columns)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(PartCorruptError, match="nothing") as caught:
        formats.array_info(tmp_path / "nothing")
    assert caught.value.remedy


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failing_disk_is_no_damaged_part(tmp_path, monkeypatch, code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    formats.write_array(tmp_path / "x", np.arange(3), chunk=2, shard=4)
    monkeypatch.setattr(zarr, "open_array", fail)
    for read in (
        lambda: formats.read_array(tmp_path / "x", 0, 3),
        lambda: formats.take_array(tmp_path / "x", np.array([1])),
        lambda: formats.array_info(tmp_path / "x"),
    ):
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            read()
        assert not isinstance(caught.value, PartCorruptError)


def test_a_table_comes_back_with_its_schema(tmp_path):
    schema = pa.schema([pa.field("a", pa.int16()), pa.field("b", pa.string(), nullable=False)])
    table = pa.table({"a": [1, None], "b": ["x", "ü"]}, schema=schema)
    formats.write_rows(tmp_path / "x.parquet", table)
    assert read_rows(tmp_path / "x.parquet").equals(table)
    assert read_rows(tmp_path / "x.parquet", ["b"]).schema.names == ["b"]


def test_columns_that_a_file_lacks_are_left_away(tmp_path):
    formats.write_rows(tmp_path / "x.parquet", pa.table({"a": [1], "b": [2]}))
    assert read_rows(tmp_path / "x.parquet", ["b", "later"]).schema.names == ["b"]


def test_a_folder_name_is_not_taken_for_a_column(tmp_path):
    folder = tmp_path / "date=2021-12-13"
    folder.mkdir()
    formats.write_rows(folder / "x.parquet", pa.table({"a": [1]}))
    assert read_rows(folder / "x.parquet").schema.names == ["a"]


def test_a_bundle_comes_back_and_equal_models_are_equal_files(tmp_path):
    one = {"w": np.arange(6.0).reshape(2, 3), "b": np.array([1, np.nan], np.float32)}
    formats.write_bundle(tmp_path / "x.npz", one)
    formats.write_bundle(tmp_path / "y.npz", dict(reversed(one.items())))
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "y.npz").read_bytes()
    back = formats.decode_bundle((tmp_path / "x.npz").read_bytes(), tmp_path / "x.npz")
    assert {name: array.tobytes() for name, array in back.items()} == {
        name: array.tobytes() for name, array in one.items()
    }


def test_a_bundle_holds_no_objects(tmp_path):
    with pytest.raises(ValueError, match="the array o holds Python objects"):
        formats.write_bundle(tmp_path / "x.npz", {"o": np.array([object()])})


@pytest.mark.parametrize("name", ["with space", "per%20cent", "ha#sh", "ünï", "a::b"])
def test_any_folder_name_will_do(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    formats.write_array(folder / "x", np.arange(3), chunk=2, shard=4)
    assert formats.read_array(folder / "x", 0, 3).tolist() == [0, 1, 2]
    formats.write_rows(folder / "t.parquet", pa.table({"a": [1]}))
    assert read_rows(folder / "t.parquet").num_rows == 1


def label_images(rows, height, width):
    rng = np.random.default_rng(rows)
    return [tuple(rng.integers(0, 999, (2, height, width)).astype(np.int32)) for _ in range(rows)]


@pytest.mark.parametrize("largest", [1 << 25, 100])
def test_label_images_come_back_whole_or_in_squares(tmp_path, monkeypatch, largest):
    monkeypatch.setattr(formats, "LARGEST_CHUNK", largest)
    monkeypatch.setattr(formats, "_SQUARE", (8, 8))
    monkeypatch.setattr(formats, "_SHARD_SQUARE", (16, 16))
    pairs = label_images(3, 30, 21)
    formats.write_label_images(tmp_path / "x", pairs, shard=2)
    for row, pair in enumerate(pairs):
        for back, labels in zip(formats.read_label_images(tmp_path / "x", row), pair, strict=True):
            assert back.dtype == np.int32
            np.testing.assert_array_equal(back, labels)
    # By either way it is one array, as other readers find it.
    np.testing.assert_array_equal(formats.read_array(tmp_path / "x", 0, 3), np.array(pairs))
    with pytest.raises(PartCorruptError, match="rows"):
        formats.read_label_images(tmp_path / "x", 3)


def test_damage_in_squares_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "LARGEST_CHUNK", 100)
    formats.write_label_images(tmp_path / "x", label_images(1, 30, 21), shard=1)
    shard = next(path for path in sorted((tmp_path / "x" / "c").rglob("*")) if path.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(PartCorruptError):
        formats.read_label_images(tmp_path / "x", 0)


def test_small_label_images_are_chunks_of_their_own(tmp_path):
    formats.write_label_images(tmp_path / "x", label_images(5, 30, 21), shard=4)
    formats.write_array(tmp_path / "y", np.array(label_images(5, 30, 21)), chunk=1, shard=4)
    files = [
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in "xy"
    ]
    assert files[0] == files[1]
