"""Labels of an archive that is sorted by class, against those that the simulator wrote."""

import csv
import io

from anabatch.jobs import annotate, scan
from anabatch.jobs.reporter import Reporter
from anabatch.jobs.session import session
from running import make_config

import anabatch
from anabatch.simulate.archive import simulate_archive

COLUMNS = ("relative_path", "label", "axis", "code", "flag", "source_file", "source_row")


def test_annotations_of_class_folders_are_those_that_the_simulator_wrote(tmp_path):
    root = simulate_archive(tmp_path, images=14, seed=3, layout="by-class", size=(96, 80))
    config = make_config(
        root,
        tmp_path / "store",
        archives=[{"name": "sim", "path": str(root), "layout": "by-class"}],
    )
    with session(config, Reporter("json", io.StringIO())) as context:
        scan.run(context)
        annotate.run(context)

    store = anabatch.open_store(config.store)
    acquisitions = store.table("acquisitions").to_pandas()
    assert len(acquisitions) == 14
    paths = dict(zip(acquisitions.acquisition_id, acquisitions.relative_path, strict=True))
    found = [
        row | {"relative_path": paths[row["acquisition_id"]]}
        for row in store.table("annotations").to_arrow().to_pylist()
    ]
    with (tmp_path / "truth" / "annotations.csv").open(encoding="utf-8") as file:
        truth = list(csv.DictReader(file))
    assert {row["axis"] for row in truth} >= {"class", "pattern"}
    text = [["" if row[name] is None else str(row[name]) for name in COLUMNS] for row in found]
    assert sorted(map(tuple, text)) == sorted(tuple(row[name] for name in COLUMNS) for row in truth)
