import hashlib
import json
import pickle

import pytest

from anabatch import weights
from anabatch.errors import ConfigurationError, WeightsError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "small.npz").write_bytes(b"weights")
    entry = {
        "file": "small.npz",
        "digest": hashlib.blake2b(b"weights", digest_size=16).hexdigest(),
        "command": "python -m anabatch.training.small --out small.npz",
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"small": entry}))
    return tmp_path


def test_file_digest_is_blake2b_128_of_the_bytes(tmp_path):
    path = tmp_path / "file"
    data = bytes(range(256)) * 8192 + b"end"  # more than two blocks
    path.write_bytes(data)
    assert weights.file_digest(path) == hashlib.blake2b(data, digest_size=16).hexdigest()


def test_a_shipped_network_is_found_with_its_digest_and_record(folder):
    found = weights.shipped("small", folder)
    assert found.path == folder / "small.npz"
    assert found.digest == weights.file_digest(found.path)
    assert found.record["command"].startswith("python -m")
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - its own bytes


def test_a_changed_file_is_refused_with_both_digests(folder):
    (folder / "small.npz").write_bytes(b"others")
    with pytest.raises(WeightsError, match="the manifest says") as caught:
        weights.shipped("small", folder)
    assert "python -m anabatch.training.small" in caught.value.remedy


def test_a_missing_file_says_what_to_put_where(folder):
    (folder / "small.npz").unlink()
    with pytest.raises(WeightsError, match="missing") as caught:
        weights.shipped("small", folder)
    assert str(folder / "small.npz") in caught.value.remedy


def test_an_unknown_name_lists_what_there_is(folder):
    with pytest.raises(WeightsError, match="no network named 'big'") as caught:
        weights.shipped("big", folder)
    assert "small" in caught.value.remedy
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, ConfigurationError)


def test_a_broken_or_missing_manifest_is_refused(folder):
    (folder / "manifest.json").write_text("{")
    with pytest.raises(WeightsError, match="not JSON"):
        weights.shipped("small", folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(WeightsError, match="manifest"):
        weights.shipped("small", folder)


@pytest.mark.parametrize("name", sorted(weights.manifest()))
def test_every_shipped_network_is_whole_small_and_documented(name):
    found = weights.shipped(name)
    assert found.path.stat().st_size < 3_000_000
    for key in ("command", "data", "seed", "quality"):
        assert found.record[key] not in ("", None, [], {}), key
