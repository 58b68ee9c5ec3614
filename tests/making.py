"""Making small stores without any stage, and what stages are given."""

import datetime as dt
import hashlib

import numpy as np
from PIL import Image

from anabatch.config import CellsConfig
from anabatch.schema import to_table
from anabatch.segmentation.models import segmentation_digest
from anabatch.stages.images import ImageBatch, ImageItem
from anabatch.store.actions import OK, Action
from anabatch.store.keys import action_key
from anabatch.store.live import CELLS, CLUSTER, EMBED, FEATURIZE, SCAN, SEGMENT, cluster_unit
from anabatch.store.parts import PartWriter
from anabatch.store.root import create_store, open_store

MONDAY = dt.date(2021, 12, 13)
TUESDAY = dt.date(2021, 12, 14)


def acquisition_row(image, **changes):
    row = {
        "acquisition_id": f"a-{image}",
        "image_id": image,
        "archive": "hard-drive",
        "layout": "dated",
        "date": MONDAY,
        "run": "001",
        "instrument": "09001",
        "file_name": f"{image}.jpg",
        "relative_path": f"20211213/001_SN09001/{image}.jpg",
        "size_bytes": 1000,
        "file_sha256": "00",
        "width": 40,
        "height": 30,
        "dtype": "uint8",
        "pixels_per_reference_pixel": 1.0,
        "plate": "p",
        "well": "w",
        "sample": f"1000000{image[-1]}",
        "serum": f"1000000{image[-1]}",
        "status": "ok",
        "reason": None,
        "flags": [],
    }
    return row | changes


def annotation_row(image, label, **changes):
    row = {
        "acquisition_id": f"a-{image}",
        "image_id": image,
        "archive": "hard-drive",
        "date": MONDAY,
        "sample": "1",
        "label": label,
        "axis": "pattern",
        "code": 14,
        "raw": label,
        "source_file": "e.csv",
        "source_row": 1,
        "flag": None,
        "reason": None,
        "repeats": 0,
        "superseded_by": None,
    }
    return row | changes


def cell_row(image, number):
    return {
        "cell_id": f"{image}-{number}",
        "image_id": image,
        "label_id": number + 1,
        "y0": 0,
        "x0": 0,
        "y1": 10,
        "x1": 10,
        "centroid_y": 5.0,
        "centroid_x": 5.0,
        "area_px": 50 + number,
        "nucleus_area_px": 20,
        "nucleus_count": 1,
        "scale": 9.6,
        "black_fraction": 0.5,
        "mean_intensity": 100.0,
        "touches_border": False,
        "saturated_fraction": 0.0,
        "major_px": 9.0,
        "minor_px": 8.0,
        "nucleus_major_px": 6.0,
        "nucleus_minor_px": 5.0,
        "nucleus_solidity": 1.0,
        "nucleus_touches_border": False,
        "nucleus_mean_intensity": 150.0,
        "cytoplasm_mean_intensity": 75.0,
        "nucleus_cytoplasm_ratio": 2.0,
        "mitotic": False,
        "flags": [],
        "source_dtype": "uint8",
    }


class Maker:
    """Writes parts as the stages do; every row of every array tells which cell it belongs to."""

    def __init__(self, root):
        self.store = create_store(root)
        self.root = self.store.root

    def _take(self, stage, part, units, sequence, **facts):
        """Finish a part whose rows belong to units, as (unit, rows), one after the other."""
        first, actions = 0, []
        for unit, rows in units:
            key = action_key(stage=stage, unit=unit, sequence=sequence)
            actions.append(
                Action(
                    stage,
                    unit,
                    key,
                    archive="hard-drive",
                    date=MONDAY,
                    outcome=OK if rows else "no_cells",
                    components=facts,
                    first_row=first,
                    rows=rows,
                    sequence=sequence,
                    run="run-1",
                )
            )
            first += rows
        written = part.finish(actions)
        self.store.state.put(written.actions)
        return written

    def part(self, table, keys=("k",)):
        return PartWriter(self.root, table, archive="hard-drive", date=MONDAY, keys=keys)

    def acquisitions(self, rows, sequence=1):
        with self.part("acquisitions") as part:
            part.rows("acquisitions", to_table("acquisitions", rows))
            units = [(row["acquisition_id"], 1) for row in rows]
            return self._take(SCAN, part, units, sequence)

    def cells(self, images, sequence, dtype=np.uint8):
        """Write a cell part of images, as {image: number of cells}; crops hold number + 10 s."""
        rows = [cell_row(image, i) for image, count in images.items() for i in range(count)]
        values = np.arange(len(rows)) + 10 * sequence
        with self.part("cells", keys=list(images)) as part:
            part.rows("cells", to_table("cells", rows))
            part.array(
                "crops", np.broadcast_to(values[:, None, None], (len(rows), 6, 6)).astype(dtype)
            )
            part.array("masks", np.full((len(rows), 6, 6), 2, np.uint8))
            return self._take(CELLS, part, images.items(), sequence)

    def features(self, cells, sequence, **facts):
        return self._array(FEATURIZE, "features", cells, sequence, np.float16, 5, facts)

    def embedding(self, cells, sequence, **facts):
        return self._array(EMBED, "embedding", cells, sequence, np.float32, 3, facts)

    def _array(self, stage, name, cells, sequence, dtype, width, facts):
        rows = sum(action.rows for action in cells.actions)
        first = 10 * cells.actions[0].sequence
        values = np.arange(first, first + rows)
        with self.part(name) as part:
            part.array(name, np.repeat(values[:, None], width, axis=1).astype(dtype))
            return self._take(stage, part, [(cells.path, rows)], sequence, **facts)

    def clusters(self, cells, sequence, generation=1):
        ids = [f"{a.unit}-{i}" for a in cells.actions for i in range(a.rows)]
        rows = [
            {
                "cell_id": name,
                "cluster": number % 2,
                "distance": 0.5,
                "model": "archive",
                "generation": generation,
            }
            for number, name in enumerate(ids)
        ]
        with self.part("clusters") as part:
            part.rows("clusters", to_table("clusters", rows))
            unit = cluster_unit(cells.path)
            model = f"models/{generation}"
            return self._take(CLUSTER, part, [(unit, len(rows))], sequence, model=model)

    def labels(self, images, shape=(30, 40)):
        pair = np.zeros((len(images), 2, *shape), np.int32)
        for number in range(len(images)):
            pair[number, 0, 1:3, 1:3] = number + 1
            pair[number, 1, 0:5, 0:5] = 70_000 + number
        name = f"labels_{shape[0]}x{shape[1]}"
        with self.part("labels") as part:
            part.array(name, pair, chunk=1, shard=2)
            return self._take(SEGMENT, part, [(image, 1) for image in images], 2, array=name)

    def commit(self):
        self.store.commit("run-1")
        return open_store(self.root)


def image_batch(folder, pictures, config):
    """Write pictures by name into a folder, and make a batch of them and a store beside them."""
    items = []
    for name, picture in pictures.items():
        path = folder / f"{name}.png"
        Image.fromarray(picture).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        items.append(ImageItem(name, folder, path.name, digest, 1.0, f"s-{name}", f"c-{name}"))
    return ImageBatch(
        store=create_store(folder / "store").root,
        archive="a",
        date=None,
        items=tuple(items),
        segment=config,
        model=segmentation_digest(config),
        cells=CellsConfig(),
        recipes={SEGMENT: "r", CELLS: "r"},
        max_pixels=10**7,
        threads=1,
        sequence=1,
        run="now",
    )
