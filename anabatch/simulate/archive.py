"""Draws a whole archive, and its truth beside it."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image

from anabatch.errors import ConfigurationError
from anabatch.simulate.atypical import with_atypical_cells
from anabatch.simulate.exports import ANNOTATION_COLUMNS, class_annotations, expected_annotations
from anabatch.simulate.field import simulate_field
from anabatch.simulate.plan import ATYPICAL_CLASS, LAYOUTS, plan_archive

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.simulate.exports import Annotation
    from anabatch.simulate.field import SimulatedField
    from anabatch.simulate.plan import Plan, PlannedImage

VERSION = 2
"""Raised when the same arguments give another archive."""

JPEG_QUALITY = 90
"""Pillow's scale; the study's own images were saved so, without subsampling of the colours."""

LABEL_COLUMNS = ("relative_path", "patterns", "sample", "status", "n_cells", "n_mitotic")
"""Columns of `truth/labels.csv`."""

ATYPICAL_COLUMNS = ("relative_path", "label")
"""Columns of `truth/atypical.csv`: the value in the cell label image."""

_DOUBLE = (2776, 2080)  # two pixels a reference pixel, as the layouts say


def simulate_archive(
    out: Path,
    *,
    images: int,
    seed: int,
    layout: str,
    size: tuple[int, int] = (1388, 1040),
    atypical: float = 0.0,
) -> Path:
    """Draw an archive whose truth is known.

    Below `out` there will be

    - ``DATA/``: the archive;
    - ``truth/nuclei/`` and ``truth/cells/``: label images, uint16 TIFF, under the images' relative paths
      with the ending ``.tif``; a nucleus carries the label of its cell;
    - ``truth/labels.csv``: what every image shows, columns :data:`LABEL_COLUMNS`, patterns joined by ``+``;
    - ``truth/annotations.csv``: what the exports or class folders say, columns
      :data:`~anabatch.simulate.exports.ANNOTATION_COLUMNS`;
    - ``truth/atypical.csv``: which cells are atypical, columns :data:`ATYPICAL_COLUMNS`, if some were asked
      for;
    - ``truth/simulation.json``: the arguments. An archive that was drawn from the same arguments is left as
      it is.

    Parameters
    ----------
    out : Path
        A folder of the archive's own; made if it is not there.
    images : int
        Number of images, at least 1.
    seed : int
        The same seed and arguments give the same archive. Not negative.
    layout : {'dated', 'by-class', 'unlabelled'}
        How the archive is sorted.
    size : (int, int)
        (width, height) of the images, in pixels. At 2776 x 2080 two pixels make a reference pixel.
    atypical : float
        Make four of five images one class of its own, :data:`~anabatch.simulate.plan.ATYPICAL_CLASS`, and
        this share of its cells bright, with a stained cytoplasm. Only of the layout by-class.

    Returns
    -------
    Path
        ``out / "DATA"``.

    Raises
    ------
    ConfigurationError
        The arguments cannot be drawn, or `out` holds something else.
    """
    _check(images, seed, layout, size)
    _check_atypical(atypical, layout)
    arguments: dict[str, Any] = {
        "version": VERSION,
        "images": images,
        "seed": seed,
        "layout": layout,
        "size": list(size),
    }
    if atypical:
        arguments["atypical"] = atypical
    root = out / "DATA"
    if _is_finished(out, arguments):
        return root
    plan = plan_archive(layout, images, seed, atypical=bool(atypical))
    _write_arguments(out, arguments, finished=False)
    _make_folders(root, plan)
    labels, bright = [], []
    for index, image in enumerate(plan.images):
        row, found = _draw(out, image, [seed, 2, index], size, atypical)
        labels.append(row)
        bright += [{"relative_path": image.path, "label": str(label)} for label in found]
    _write_table(out / "truth" / "labels.csv", LABEL_COLUMNS, labels)
    if atypical:
        _write_table(out / "truth" / "atypical.csv", ATYPICAL_COLUMNS, bright)
    _write_table(out / "truth" / "annotations.csv", ANNOTATION_COLUMNS, _meaning(plan, layout))
    _write_arguments(out, arguments, finished=True)
    return root


def _check(images: int, seed: int, layout: str, size: tuple[int, int]) -> None:
    """Refuse arguments that cannot be drawn."""
    if layout not in LAYOUTS:
        what = f"there is no layout {layout!r} to simulate"
        raise ConfigurationError(what, f"The layouts are {', '.join(LAYOUTS)}.")
    if images < 1 or seed < 0:
        what = f"an archive of {images} images from seed {seed} cannot be drawn"
        raise ConfigurationError(what, "Ask for at least one image, and a seed of 0 or more.")
    if min(size) < 64:
        what = f"{size[0]} x {size[1]} pixels are too few for a field of cells"
        raise ConfigurationError(what, "Ask for at least 64 x 64.")


def _check_atypical(atypical: float, layout: str) -> None:
    if not 0 <= atypical < 1 or (atypical and layout != "by-class"):
        what = f"a share of {atypical} atypical cells cannot be drawn in the layout {layout}"
        raise ConfigurationError(what, "Give a share below 1, and the layout by-class.")


def _is_finished(out: Path, arguments: Mapping[str, Any]) -> bool:
    """Tell whether `out` holds this archive already; refuse a folder that holds anything else."""
    manifest = out / "truth" / "simulation.json"
    if not manifest.is_file():
        if (out / "DATA").exists():
            what = f"{out / 'DATA'} is there already, and was not simulated"
            raise ConfigurationError(what, "Give a folder of its own.")
        return False
    there = json.loads(manifest.read_text(encoding="utf-8"))
    finished = there.pop("finished")
    if there != arguments:
        what = f"{out} holds an archive that was simulated from {there}, not from {dict(arguments)}"
        raise ConfigurationError(what, "Give another folder, or remove this one.")
    return bool(finished)


def _write_arguments(out: Path, arguments: Mapping[str, Any], *, finished: bool) -> None:
    (out / "truth").mkdir(parents=True, exist_ok=True)
    text = json.dumps({**arguments, "finished": finished}, indent=2)
    manifest = out / "truth" / "simulation.json"
    fresh = manifest.with_suffix(".new")
    fresh.write_text(text + "\n", encoding="utf-8")
    fresh.replace(manifest)  # never half a manifest, however the drawing ends


def _make_folders(root: Path, plan: Plan) -> None:
    """Make all folders of the archive and the files that are no images."""
    root.mkdir(parents=True, exist_ok=True)
    for folder in plan.folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for image in plan.images:
        (root / image.path).parent.mkdir(parents=True, exist_ok=True)
    for name, content in plan.others.items():
        (root / name).write_bytes(content)
    for export in plan.exports:
        export.write(root)


def _draw(
    out: Path, image: PlannedImage, seed: Sequence[int], size: tuple[int, int], atypical: float
) -> tuple[dict[str, str], tuple[int, ...]]:
    """Draw one image with its truth; return its row of `labels.csv`, and its atypical cells."""
    rng = np.random.default_rng(seed)
    field = simulate_field(
        int(rng.integers(2**31)),
        image.patterns,
        size=size,
        pixels_per_reference_pixel=2.0 if size == _DOUBLE else 1.0,
    )
    bright: tuple[int, ...] = ()
    if atypical and image.path.startswith(ATYPICAL_CLASS):
        field, bright = with_atypical_cells(field, atypical, rng)
    _save_jpeg(out / "DATA" / image.path, field, rng)
    stem = image.path.rpartition(".")[0]
    _save_labels(out / "truth" / "nuclei" / f"{stem}.tif", field.nuclei)
    _save_labels(out / "truth" / "cells" / f"{stem}.tif", field.cells)
    row = {
        "relative_path": image.path,
        "patterns": "+".join(image.patterns),
        "sample": image.sample,
        "status": image.status,
        "n_cells": str(int(field.cells.max())),
        "n_mitotic": str(len(field.mitotic)),
    }
    return row, bright


def _save_jpeg(path: Path, field: SimulatedField, rng: np.random.Generator) -> None:
    """Write the signal as the green channel of a JPEG, with a little of it in blue and less in red."""
    signal = field.signal.astype(np.float32)
    red, blue = rng.uniform(0.0, 0.01), rng.uniform(0.0, 0.08)
    channels = [signal * np.float32(red), signal, signal * np.float32(blue)]
    pixels = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    Image.fromarray(pixels).save(path, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def _save_labels(path: Path, labels: NDArray[np.int32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, labels.astype(np.uint16), compression="zlib")


def _meaning(plan: Plan, layout: str) -> list[Annotation]:
    """Return the expected annotations; unlabelled archives have none."""
    if layout == "by-class":
        return class_annotations(image.path for image in plan.images)
    return expected_annotations(plan.exports)


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
