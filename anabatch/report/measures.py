"""What the report tells of cells on average, in the same units wherever it tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from anabatch.store.live import SEGMENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from anabatch.report.source import Source

NUCLEUS, CELL = "nucleus", "cell"
BRIGHTNESS, NUCLEUS_BRIGHTNESS = "brightness", "nucleus_brightness"
RATIO, SOLIDITY, MITOTIC = "ratio", "solidity", "mitotic"
"""Names of the measures."""

COLUMNS = (
    *("image_id", "source_dtype", "major_px", "nucleus_major_px", "mean_intensity"),
    *("nucleus_mean_intensity", "nucleus_cytoplasm_ratio", "nucleus_solidity", "mitotic"),
)
"""The columns of the cells table that they take."""


def scales(source: Source) -> dict[str, float | None]:
    """Return the pixels that make a reference pixel, image by image, as they were segmented with.

    None where an older segmentation did not record it.
    """
    return {a.unit: a.components.get("pixels") for a in source.store.state.stage(SEGMENT)}


def coded(cells: pa.Table, name: str) -> tuple[list[str], NDArray[np.int32]]:
    """Return a column's distinct values, and the place of every row's among them."""
    column = cells.column(name).combine_chunks().dictionary_encode()
    return column.dictionary.to_pylist(), column.indices.to_numpy()


def cell_measures(
    cells: pa.Table, scale: Mapping[str, float | None]
) -> dict[str, NDArray[np.float64]]:
    """Return what is told of cells, by name.

    Parameters
    ----------
    cells : pyarrow.Table
        With :data:`COLUMNS`.
    scale : mapping
        What :func:`scales` returns.

    Returns
    -------
    dict of str to ndarray of float64, shape (cells,)
        NaN where it is not known. `nucleus` and `cell` are diameters, the longer axes of the largest
        nucleus and of the cell, in reference pixels; `brightness` is that of the cell and
        `nucleus_brightness` that of its nuclei, in % of the largest value of the image's samples;
        `ratio`, `solidity` and `mitotic` are as the table has them.
    """
    images, places = coded(cells, "image_id")
    sizes = [scale.get(image) for image in images]
    # without the size of its pixels there is no diameter
    pixels = np.array([np.nan if one is None else one for one in sizes], np.float64)[places]
    kinds, places = coded(cells, "source_dtype")
    white = np.array([np.iinfo(kind).max for kind in kinds], dtype=np.float64)[places]

    def column(name: str) -> NDArray[np.float64]:
        values: Any = cells.column(name).cast(pa.float64(), safe=False)
        return np.array(values.to_numpy(zero_copy_only=False), dtype=np.float64)

    return {
        NUCLEUS: column("nucleus_major_px") / pixels,
        CELL: column("major_px") / pixels,
        BRIGHTNESS: 100 * column("mean_intensity") / white,
        NUCLEUS_BRIGHTNESS: 100 * column("nucleus_mean_intensity") / white,
        RATIO: column("nucleus_cytoplasm_ratio"),
        SOLIDITY: column("nucleus_solidity"),
        MITOTIC: column("mitotic"),
    }
