import json

import pytest

from anabatch.errors import WeightsError
from anabatch.training.manifest import update_entry
from anabatch.weights import shipped


def test_an_entry_is_written_and_loads_while_others_stay(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"other": {"file": "o.npz"}}))
    (tmp_path / "mine.npz").write_bytes(b"1")
    update_entry("mine", {"file": "mine.npz", "command": "make it", "seed": 1}, tmp_path)
    assert shipped("mine", tmp_path).record["seed"] == 1
    (tmp_path / "mine.npz").write_bytes(b"2")
    with pytest.raises(WeightsError, match="manifest says"):
        shipped("mine", tmp_path)
    update_entry("mine", {"file": "mine.npz", "quality": {"ap": 0.9}}, tmp_path)
    record = shipped("mine", tmp_path).record
    assert record["seed"] == 1
    assert record["quality"] == {"ap": 0.9}
    assert json.loads((tmp_path / "manifest.json").read_text())["other"] == {"file": "o.npz"}


def test_without_a_manifest_nothing_is_written(tmp_path):
    with pytest.raises(WeightsError):
        update_entry("mine", {"seed": 1}, tmp_path)
