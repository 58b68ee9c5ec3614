"""What a night keeps in memory of every file."""

from types import SimpleNamespace

import numpy as np
import pytest
from anabatch.jobs import scan as scan_job
from anabatch.jobs.stale import ArchiveFiles
from PIL import Image
from running import make_config, run_jobs

from anabatch.store.live import SCAN

DAY = "20211214/005_SN08030"


@pytest.fixture
def scanned(tmp_path):
    """The configuration of an archive of three pictures, which were scanned."""
    folder = tmp_path / "DATA" / DAY
    folder.mkdir(parents=True)
    for number in range(3):
        pixels = np.full((16, 20), number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}_0ae1_1_2{number:08d}_3_14_01.bmp")
    archives = [{"name": "sim", "path": str(tmp_path / "DATA"), "layout": "dated"}]
    config = make_config(tmp_path / "DATA", tmp_path / "store", archives=archives)
    run_jobs(config, scan_job)
    return config


def test_a_files_path_is_in_memory_once(scanned):
    """As text of the ledger, of the listing and of the stat cache it was three times."""
    seen = []

    def look(context):
        files = ArchiveFiles(context, context.config.archives[0])
        scans = context.store.state.stage(SCAN)
        seen.append({id(action.fact("relative_path")) for action in scans})
        seen.append({id(file.relative_path) for file in files.listing.images})
        seen.append({id(path) for path in files.listing.dates})
        seen.append({id(path) for path in files.cache.entries})

    run_jobs(scanned, SimpleNamespace(run=look))
    assert len(seen[0]) == 3
    assert seen == [seen[0]] * 4
