import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from anabatch.config import SegmentConfig
from anabatch.errors import WeightsError
from anabatch.segmentation import models
from anabatch.weights import file_digest, shipped


@pytest.fixture
def files(tmp_path):
    for name in ("one", "two", "nucleitorch_0"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "copy").write_bytes(b"one")
    return tmp_path


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path / "cache"))

    def refuse(url, timeout):
        reason = "no route to host"
        raise urllib.error.URLError(reason)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return tmp_path / "cache"


def test_a_path_is_taken_as_it_is(files):
    found = models.resolve_model(str(files / "one"))
    assert found.path == files / "one"
    assert found.digest == file_digest(files / "one")


def test_cellposes_nucleus_file_is_known_by_its_name(files):
    assert models.resolve_model(str(files / "nucleitorch_0")).name == "nuclei"


@pytest.mark.parametrize("name", ["nuclei", "cyto2", "cyto3"])
def test_a_download_that_fails_says_what_to_put_where(offline, name):
    with pytest.raises(WeightsError, match="no route to host") as caught:
        models.resolve_model(name)
    assert str(offline / models.CELLPOSE_FILES[name]) in caught.value.remedy
    assert list(offline.iterdir()) == []


def test_a_cached_model_is_used_without_the_network(offline):
    offline.mkdir()
    (offline / "cyto2torch_0").write_bytes(b"weights")
    assert models.resolve_model("cyto2").path == offline / "cyto2torch_0"


def test_a_name_stays_a_name_whatever_lies_in_the_current_folder(offline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    offline.mkdir()
    (offline / "cyto3").write_bytes(b"weights")
    for name in ("anabatch-nuclei", "cyto3", "cyto7"):
        (tmp_path / name).write_bytes(b"something else")
    assert models.resolve_model("anabatch-nuclei") == shipped("anabatch-nuclei")
    assert models.resolve_model("cyto3").path == offline / "cyto3"
    with pytest.raises(WeightsError, match="cyto7"):
        models.resolve_model("cyto7")
    assert models.resolve_model("./cyto7").digest == file_digest(tmp_path / "cyto7")
    (tmp_path / "own.pt").write_bytes(b"mine")
    assert models.resolve_model("own.pt").digest == file_digest(tmp_path / "own.pt")


@pytest.mark.parametrize("name", ["cyto7", "/no/such/file", "anabatch-unknown"])
def test_an_unknown_model_is_refused(name):
    with pytest.raises(WeightsError):
        models.resolve_model(name)


def config(folder, nuclei="one", cells="two", **changes):
    return SegmentConfig(
        nuclei_model=str(folder / nuclei), cell_model=str(folder / cells), **changes
    )


def test_the_digest_follows_weights_and_parameters_but_neither_place_nor_device(files):
    digest = models.segmentation_digest(config(files))
    assert models.segmentation_digest(config(files, nuclei="copy")) == digest
    assert models.segmentation_digest(config(files, device="cuda", tiles_per_batch=32)) == digest
    others = {
        models.segmentation_digest(config(files, nuclei="two")),
        models.segmentation_digest(config(files, cells="one")),
        models.segmentation_digest(config(files, nuclei="two", cells="one")),
        models.segmentation_digest(config(files, cell_diameter=140)),
        models.segmentation_digest(config(files, recipe="one-pass")),
    }
    assert len(others | {digest}) == 6


def test_the_one_pass_recipe_does_not_ask_for_a_nucleus_network(files):
    alone = config(files, nuclei="missing", recipe="one-pass")
    assert models.segmentation_digest(alone)
    with pytest.raises(WeightsError):
        models.segmentation_digest(config(files, nuclei="missing"))


def test_the_digest_needs_no_network_library(files):
    code = (
        "import sys; from anabatch.config import SegmentConfig;"
        "from anabatch.segmentation.models import segmentation_digest;"
        f"segmentation_digest(SegmentConfig(nuclei_model={str(files / 'one')!r},"
        f" cell_model={str(files / 'two')!r}));"
        "assert not {'torch', 'cellpose', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own interpreter
