"""Check what the demo left: tables with rows, arrays beside them, a report."""

import sys
from pathlib import Path

import numpy as np

from anabatch.store.root import open_store


def check(root: Path) -> None:
    """Compare the demo's store with what 24 simulated images must give."""
    store = open_store(root)
    acquisitions = store.table("acquisitions").to_pandas()
    annotations = store.table("annotations").to_pandas()
    cells = store.table("cells").to_pandas()
    clusters = store.table("clusters").to_pandas()
    assert len(acquisitions) == 24, len(acquisitions)
    assert set(acquisitions.status) == {"ok"}, acquisitions.reason.unique()
    assert acquisitions.date.nunique() == 4, acquisitions.date.unique()
    assert len(annotations) > 24, len(annotations)
    assert {"positive", "negative"} <= set(annotations.label.dropna())
    assert len(cells) > 200, len(cells)
    assert cells.cell_id.is_unique
    assert (clusters.cell_id.to_numpy() == cells.cell_id.to_numpy()).all()
    assert clusters.cluster.nunique() == 8, clusters.cluster.unique()
    for name, shape in {"crops": (96, 96), "masks": (96, 96), "features": (1152,)}.items():
        array = store.array(name)
        assert array.shape == (len(cells), *shape), (name, array.shape)
    features = store.array("features").compute()
    assert np.isfinite(features).all()
    assert (features.std(axis=0) > 0).mean() > 0.5, "most features are constant"
    assert store.array("embedding").shape[0] == len(cells)
    reports = list((root / "runs").glob("*/report.html"))
    assert reports, "no report"
    assert reports[0].stat().st_size > 100_000, reports[0].stat().st_size
    sys.stdout.write(f"the demo's store holds {len(cells)} cells, and all is where it belongs\n")


if __name__ == "__main__":
    check(Path(sys.argv[1]))
