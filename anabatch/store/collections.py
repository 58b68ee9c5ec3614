"""What a reader of the store holds: tables and arrays, lazily, at one version of the ledger."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from anabatch.errors import ConfigurationError, MissingRowsError
from anabatch.schema import table_schema, validate
from anabatch.store.conditions import alone, explained, holding, parsed
from anabatch.store.history import read_annotations
from anabatch.store.live import (
    ANNOTATE,
    CELLS,
    CLUSTER,
    CLUSTER_MODEL,
    FirstAcquisition,
    LivePart,
    array_sources,
    cluster_unit,
    corresponding,
    first_acquisitions,
    live_parts,
    read_acquisitions,
    read_cells,
    read_live_array,
    read_live_rows,
)
from anabatch.store.parts import Part
from anabatch.store.selection import asks_for_more, columns_to_show, select_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from anabatch.store.state import State


# Tables that have the columns of another.
_SCHEMAS = {"annotations_history": "annotations"}


class StoreTable:
    """A table of the store, read piece by piece.

    Parameters
    ----------
    name : str
    loaders : sequence of callable
        Each returns one piece, in the store's order.
    """

    def __init__(self, name: str, loaders: list[Callable[[], pa.Table]]) -> None:
        self.name = name
        self.schema = table_schema(_SCHEMAS.get(name, name))
        self._known = self.schema  # what a condition can name
        self._loaders = loaders

    def batches(self) -> Iterator[pa.Table]:
        """Yield the pieces, one part at a time."""
        for load in self._loaders:
            yield load()

    def to_arrow(self) -> pa.Table:
        """Return the whole table in memory."""
        pieces = list(self.batches())
        return pa.concat_tables(pieces) if pieces else self.schema.empty_table()

    def to_pandas(self) -> pd.DataFrame:
        """Return the whole table as a data frame."""
        return _frame(self.to_arrow())

    def to_dask(self) -> Any:
        """Return a lazy Dask data frame with one partition a part."""
        import dask.dataframe as dd  # a second of import that most readers never need

        empty = _frame(self.schema.empty_table())
        # Dask would make text of all objects, of dates too.
        with dask.config.set({"dataframe.convert-string": False}):
            if not self._loaders:
                return dd.from_pandas(empty, npartitions=1)
            pieces = [dask.delayed(_load_frame)(load) for load in self._loaders]
            return dd.from_delayed(pieces, meta=empty, verify_meta=False)

    def query(self, where: str | None = None, limit: int | None = None) -> pa.Table:
        """Return the rows that a condition selects, through DuckDB, one part in memory at a time.

        Parameters
        ----------
        where : str, optional
            A condition in SQL over the table's columns.
        limit : int, optional
            At most this many rows.

        Raises
        ------
        ConfigurationError
            The condition is not valid SQL over these columns, or asks for anything else.
        """
        failures: list[Exception] = []
        reader = pa.RecordBatchReader.from_batches(self.schema, self._stream(failures))
        with alone() as connection:
            try:
                if where:
                    parsed(connection, where)
                connection.register(self.name, reader)
                relation = connection.table(self.name)
                relation = holding(relation, where) if where else relation
                relation = relation.limit(limit) if limit is not None else relation
                found: pa.Table = relation.to_arrow_table()
            except duckdb.Error as error:
                if failures:  # DuckDB has wrapped what a part raised
                    raise failures[0] from None
                raise explained(error, str(where), self.name, self._known) from error
        return found.cast(self.schema)

    def _stream(self, failures: list[Exception]) -> Iterator[pa.RecordBatch]:
        """Yield record batches; note what a part raises, which the reader of a stream changes."""
        try:
            for piece in self.batches():
                yield from piece.to_batches()
        except Exception as error:
            failures.append(error)
            raise


class _Cells(StoreTable):
    """The cells: a condition on them can also ask for what is known of their images."""

    def __init__(self, loaders: list[Callable[[], pa.Table]], collections: Collections) -> None:
        super().__init__(CELLS, loaders)
        self._known = columns_to_show()
        self._collections = collections

    def query(self, where: str | None = None, limit: int | None = None) -> pa.Table:
        """Return the cells that a condition selects, as :func:`.selection.select_cells` has it for images."""
        if not where or not asks_for_more(where):
            return super().query(where, limit)
        found = select_cells(self._collections, where, by_part=True)
        return StoreTable(CELLS, self._collections.cell_loaders(found)).query(limit=limit)


# What pandas would otherwise make floats or objects of where there are nulls.
_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
}


def _frame(table: pa.Table) -> pd.DataFrame:
    """Return a data frame whose dtypes depend on the schema alone, not on which rows hold nulls."""
    frame: pd.DataFrame = table.to_pandas()
    for field in table.schema:
        if field.nullable and field.type in _NULLABLE:
            column = table.column(field.name).to_pandas(types_mapper=_NULLABLE.get)
            frame[field.name] = column.array
    return frame


def _load_frame(load: Callable[[], pa.Table]) -> pd.DataFrame:
    return _frame(load())


class _Piece:
    """A picklable loader: a function of the store with its arguments."""

    def __init__(self, function: Callable[..., pa.Table], *arguments: Any) -> None:
        self._function = function
        self._arguments = arguments

    def __call__(self) -> pa.Table:
        return self._function(*self._arguments)


class Collections:
    """Tables and arrays over one state of a store.

    Parameters
    ----------
    root : Path
        The store's folder.
    state : State
        Which actions are live.
    """

    def __init__(self, root: Path, state: State) -> None:
        self.root = root
        self.state = state

    @cached_property
    def cell_parts(self) -> list[LivePart]:
        """The cell parts with their live rows, in the store's order."""
        return live_parts(self.state, CELLS)

    @cached_property
    def acquisitions(self) -> pa.Table:
        """All acquisitions, with their groups."""
        return read_acquisitions(self.root, self.state)

    @cached_property
    def _first(self) -> dict[str, FirstAcquisition]:
        return first_acquisitions(self.acquisitions)

    def table(self, name: str, model: str = CLUSTER_MODEL) -> StoreTable:
        """Return a table.

        Parameters
        ----------
        name : {'acquisitions', 'annotations', 'cells', 'clusters', 'annotations_history'}
            `annotations` has what holds, and `annotations_history` the rows of exports that later
            ones replaced.
        model : str
            Whose clusters: the archive's, or those of a part of it by their name, which have a row
            for every cell that the model is of.

        Raises
        ------
        ConfigurationError
            There is no such table.
        MissingRowsError
            For `clusters`: some live cells are in no cluster of the current generation yet.
            For `cells`, when they are read: some are of images without an acquisition.
        """
        makers: dict[str, Callable[[], list[Callable[[], pa.Table]]]] = {
            "acquisitions": lambda: [_Piece(_whole, self.acquisitions)],
            "annotations": self._annotations,
            "cells": lambda: self.cell_loaders(self.cell_parts),
            "clusters": lambda: self._clusters(model),
            "annotations_history": lambda: self._annotations(history=True),
        }
        if name not in makers:
            what = f"there is no table {name!r}"
            raise ConfigurationError(what, f"The tables are {', '.join(makers)}.")
        if name == CELLS:
            return _Cells(makers[name](), self)
        return StoreTable(name, makers[name]())

    def array(self, name: str) -> da.Array:
        """Return a Dask array whose row i belongs to row i of `table("cells")`.

        Parameters
        ----------
        name : {'crops', 'masks', 'features', 'embedding'}

        Returns
        -------
        dask.array.Array, shape (cells, ...)
            One chunk a part. Where parts differ in dtype, the wider one.

        Raises
        ------
        ConfigurationError
            There is no such array.
        MissingRowsError
            Some live cells have no such array yet, or there are no cells.
        """
        if name not in ("crops", "masks", "features", "embedding"):
            what = f"there is no array {name!r}"
            raise ConfigurationError(what, "The arrays are crops, masks, features, embedding.")
        parts = self.cell_parts
        if not parts:
            what = f"the store has no cells, hence no {name}"
            raise MissingRowsError(what, "Run `anabatch run`.")
        sources = array_sources(self.state, parts, name)
        return da.concatenate(
            [self._lazy(live, name, source) for live, source in zip(parts, sources, strict=True)]
        )

    def _lazy(self, live: LivePart, name: str, source: str) -> da.Array:
        (_, *rest), dtype = Part(self.root, source).array_info(name)
        (total, *_), _ = Part(self.root, live.path).array_info("crops")
        read = dask.delayed(read_live_array, pure=True)(self.root, live, name, source, total)
        return da.from_delayed(read, shape=(live.rows, *rest), dtype=np.dtype(dtype))

    def _annotations(self, *, history: bool = False) -> list[Callable[[], pa.Table]]:
        parts = live_parts(self.state, ANNOTATE)
        return [_Piece(_read_labels, self.root, live, history) for live in parts]

    def cell_loaders(self, parts: list[LivePart]) -> list[Callable[[], pa.Table]]:
        """Return what reads the live cells of parts, and what is known of their images.

        Parameters
        ----------
        parts : list of LivePart
        """
        return [
            _Piece(
                read_cells,
                self.root,
                live,
                {image: self._first[image] for image in live.images if image in self._first},
            )
            for live in parts
        ]

    def _clusters(self, model: str) -> list[Callable[[], pa.Table]]:
        parts = self.cell_parts
        found = [self.state.get(CLUSTER, cluster_unit(live.path, model)) for live in parts]
        if model != CLUSTER_MODEL:  # it need not have cells of every part
            pairs = [(live, made) for live, made in zip(parts, found, strict=True) if made]
            if not pairs:
                what = f"there are no clusters named {model!r}"
                raise ConfigurationError(
                    what, f"Run `anabatch cluster --name {model} --where SQL`."
                )
            parts, found = [live for live, _ in pairs], [made for _, made in pairs]
        paths = corresponding(parts, found, "cluster", CLUSTER)
        return [
            _Piece(_read_clusters, self.root, LivePart(path, live.ranges, ()))
            for live, path in zip(parts, paths, strict=True)
        ]


def _whole(table: pa.Table) -> pa.Table:
    return table


def _read_labels(root: Path, live: LivePart, history: bool) -> pa.Table:  # noqa: FBT001 -- arguments of a piece
    return read_annotations(root, live, history=history)


def _read_clusters(root: Path, live: LivePart) -> pa.Table:
    """Read the clusters of a part's live rows, without those that the model is not of."""
    rows = validate("clusters", read_live_rows(root, live, "clusters"), derived=True)
    return rows.filter(pc.greater_equal(rows.column("cluster"), 0))
