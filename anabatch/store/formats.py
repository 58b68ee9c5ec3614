"""The two file formats of parts: Parquet for rows, Zarr v3 for arrays, both with checksums.

A flipped bit or a missing file is an error on reading, never a wrong number.
"""

from __future__ import annotations

import io
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from zarr.codecs import ZstdCodec

from anabatch.errors import PartCorruptError
from anabatch.segmentation.scratch import DiskImage, let_go
from anabatch.segmentation.views import windows
from anabatch.store.disk import DISK_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CHUNK_ROWS = 64
"""Rows of one Zarr chunk of crops, masks, features or embedding."""

SHARD_ROWS = 2_048
"""Rows of one Zarr shard."""

LARGEST_CHUNK = 1 << 25
"""Pixels of a label image above which it is stored in squares. (zstd takes no more than 2 GB at once.)"""

# Of such an image, in pixels.
_SQUARE, _SHARD_SQUARE = (1024, 1024), (4096, 4096)

_ZSTD_LEVEL = 3
_BLOCK_CHUNKS = 8
_REMEDY = "Restore the file, or recompute its part."


def write_rows(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet with page checksums."""
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def decode_rows(data: bytes, path: Path, columns: list[str] | None = None) -> pa.Table:
    """Decode the bytes of a Parquet file, verifying page checksums.

    Parameters
    ----------
    data : bytes
        The whole file.
    path : Path
        Where it stands, for the error.
    columns : list of str, optional
        Those that are read as far as the file has them; all by default.

    Raises
    ------
    PartCorruptError
        The bytes are not those that were written.
    """
    with _as_corruption(path):
        if columns is not None:  # files are older than some columns
            there = pq.read_schema(pa.BufferReader(data)).names
            columns = [name for name in columns if name in there]
        return pq.read_table(
            pa.BufferReader(data),
            columns=columns,
            page_checksum_verification=True,
            partitioning=None,
        )


def write_array(path: Path, array: NDArray[Any], *, chunk: int, shard: int) -> None:
    """Write an array as Zarr v3: zstd with checksum, chunked and sharded along the first axis.

    Parameters
    ----------
    path : Path
        A folder that does not exist.
    array : ndarray, shape (n, ...)
    chunk, shard : int
        Rows of a chunk, and of a shard (a multiple of `chunk`).
    """
    rest = array.shape[1:]
    target = _create(path, array.shape, array.dtype, chunks=(chunk, *rest), shards=(shard, *rest))
    if array.shape[0]:
        target[:] = array


def _create(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    chunks: tuple[int, ...],
    shards: tuple[int, ...],
) -> zarr.Array[Any]:
    return zarr.create_array(
        store=path,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=ZstdCodec(level=_ZSTD_LEVEL, checksum=True),
        zarr_format=3,
        # A chunk of zeros is written too, so that a missing file is never mistaken for zeros.
        config={"write_empty_chunks": True},
    )


def read_array(path: Path, start: int, stop: int) -> NDArray[Any]:
    """Read rows `start` to `stop` (exclusive) of a Zarr array, verifying checksums.

    Returns
    -------
    ndarray, shape (stop - start, ...)

    Raises
    ------
    PartCorruptError
        The array is missing, too short, or its bytes are not those that were written.
    """
    with _as_corruption(path):
        array = zarr.open_array(path, mode="r")
        rows = np.asarray(array[start:stop])
    if rows.shape[0] != stop - start:
        what = f"{path} has {array.shape[0]} rows, and rows {start} to {stop} were asked for"
        raise PartCorruptError(what, _REMEDY)
    return rows


def write_label_images(
    path: Path, pairs: Sequence[tuple[NDArray[np.int32], NDArray[np.int32]]], *, shard: int
) -> None:
    """Write pairs of label images of one shape as an array (images, 2, H, W), a chunk an image.

    Images of more than :data:`LARGEST_CHUNK` pixels, which may be maps of files, are cut into
    squares and written square by square.

    Parameters
    ----------
    path : Path
        A folder that does not exist.
    pairs : sequence of (ndarray, ndarray), shape (H, W)
        Nuclei and cells.
    shard : int
        Images of a shard.
    """
    shape = pairs[0][0].shape
    if not _is_cut(shape):
        write_array(path, np.stack([np.stack(pair) for pair in pairs]), chunk=1, shard=shard)
        return
    target = _create(
        path,
        (len(pairs), 2, *shape),
        np.dtype(np.int32),
        chunks=(1, 1, *_SQUARE),
        shards=(1, 1, *_SHARD_SQUARE),
    )
    for row, pair in enumerate(pairs):
        for plane, labels in enumerate(pair):
            for window in windows(shape, _SHARD_SQUARE[0]):
                target[(row, plane, *window)] = labels[window]
                let_go(labels)


def read_label_images(path: Path, row: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Read a pair of label images, verifying checksums.

    Returns
    -------
    nuclei, cells : ndarray of int32, shape (H, W)
        Of more than :data:`LARGEST_CHUNK` pixels they are maps of temporary files without names, and
        cannot be written to.

    Raises
    ------
    PartCorruptError
        The array is missing, too short, or its bytes are not those that were written.
    """
    (rows, _, *sides), dtype = array_info(path)
    shape = tuple(sides)
    if not _is_cut(shape):
        nuclei, cells = read_array(path, row, row + 1)[0]
        return nuclei, cells
    if row >= rows:
        what = f"{path} has {rows} rows, and row {row} was asked for"
        raise PartCorruptError(what, _REMEDY)
    images = [DiskImage(shape, dtype) for _ in range(2)]
    for window in windows(shape, _SHARD_SQUARE[0]):
        for plane, image in enumerate(images):
            with _as_corruption(path):
                part = np.asarray(zarr.open_array(path, mode="r")[(row, plane, *window)])
            image[window] = part
    return images[0].as_array(), images[1].as_array()


def _is_cut(shape: tuple[int, ...]) -> bool:
    return shape[0] * shape[1] > LARGEST_CHUNK


def take_array(path: Path, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Read chosen rows of a Zarr array, verifying checksums.

    Blocks of rows are read one after the other: zarr's own indexing by rows takes twenty times the
    memory of what it returns.

    Parameters
    ----------
    path : Path
    rows : ndarray of int64, shape (k,)
        In any order.

    Returns
    -------
    ndarray, shape (k, ...)

    Raises
    ------
    PartCorruptError
        The array is missing, too short, or its bytes are not those that were written.
    """
    with _as_corruption(path):
        array = zarr.open_array(path, mode="r")
        taken = np.empty((len(rows), *array.shape[1:]), array.dtype)
        size = _block_rows(rows, array.chunks[0])
        blocks = rows // size
        for block in np.unique(blocks):
            (here,) = np.nonzero(blocks == block)
            start = int(block) * size
            values = np.asarray(array[start : start + size])
            taken[here] = values[rows[here] - start]
        return taken


def _block_rows(rows: NDArray[np.int64], chunk: int) -> int:
    """Return how many rows to read at once: those of a chunk where few of the chunks are wanted.

    A block of eight chunks takes three times as long to read as one of one chunk.
    """
    block = _BLOCK_CHUNKS * chunk
    chunks, blocks = (len(np.unique(rows // size)) for size in (chunk, block))
    return chunk if chunks <= 3 * blocks else block


def write_bundle(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a fitted model's arrays as one uncompressed NPZ file, which carries checksums.

    Raises
    ------
    ValueError
        An array holds Python objects, which only a pickle could bring back.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            message = f"the array {name} holds Python objects"
            raise ValueError(message)
    # a fixed order, so that equal models are equal files
    np.savez(path, **{name: arrays[name] for name in sorted(arrays)})


def decode_bundle(data: bytes, path: Path) -> dict[str, NDArray[Any]]:
    """Decode the bytes of an NPZ file that stands at `path`.

    Raises
    ------
    PartCorruptError
        The bytes are not those that were written.
    """
    with _as_corruption(path), np.load(io.BytesIO(data), allow_pickle=False) as bundle:
        return {name: bundle[name] for name in bundle.files}


@contextmanager
def _as_corruption(path: Path) -> Iterator[None]:
    """Turn what the libraries raise on damaged files into one error with a remedy.

    A disk that fails is none of theirs: its errors pass as they are.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, IndexError, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        what = f"{path} cannot be read: {error}"
        raise PartCorruptError(what, _REMEDY) from error


def array_info(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and dtype of a Zarr array without reading it.

    Raises
    ------
    PartCorruptError
        There is no such array.
    """
    with _as_corruption(path):
        array = zarr.open_array(path, mode="r")
    return tuple(array.shape), np.dtype(array.dtype)
