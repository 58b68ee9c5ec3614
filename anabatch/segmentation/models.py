"""Names of segmentation models to files of weights. No network library is imported here."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anabatch.errors import WeightsError
from anabatch.weights import WeightsFile, file_digest, manifest, shipped

if TYPE_CHECKING:
    from anabatch.config import SegmentConfig

CELLPOSE_FILES = {"nuclei": "nucleitorch_0", "cyto2": "cyto2torch_0", "cyto3": "cyto3"}
"""Cellpose's own models, and what it calls their files."""

CELLPOSE_URL = "https://www.cellpose.org/models"

NETWORKS = {
    "two-pass": ("nuclei_model", "cell_model"),
    "one-pass": ("cell_model",),
    "watershed": (),
}
"""The parameters that name the networks of a recipe."""

_NOT_KEYED = {"device", "tiles_per_batch", "nuclei_model", "cell_model"}

_TIMEOUT = 60.0  # seconds without a byte


def resolve_model(name: str) -> WeightsFile:
    """Find the weights of a segmentation model.

    Parameters
    ----------
    name : str
        A shipped network, one of Cellpose's own models (`nuclei`, `cyto2`, `cyto3`), or a path to a
        Cellpose 3 model file, with a `/` or a suffix: whatever a file in the current folder is
        called, a name stays a name. Cellpose's own are looked for in Cellpose's cache folder and,
        as Cellpose does, fetched from its site once.

    Returns
    -------
    WeightsFile
        Named `nuclei` whatever the path, if the file is called as Cellpose calls that one.

    Raises
    ------
    WeightsError
        There is no such file. It says what to put where.
    """
    if name in CELLPOSE_FILES:
        path = cellpose_folder() / CELLPOSE_FILES[name]
        if not path.is_file():
            _download(name, path)
        return WeightsFile(name=name, path=path, digest=file_digest(path))
    entries = manifest()
    if name in entries:
        return shipped(name)
    path = Path(name).expanduser()
    if is_path(name) and path.is_file():
        label = "nuclei" if path.name == CELLPOSE_FILES["nuclei"] else name
        return WeightsFile(name=label, path=path, digest=file_digest(path))
    what = f"there is no segmentation model {name!r}"
    known = ", ".join([*(key for key in entries if "vgg" not in key), *CELLPOSE_FILES])
    raise WeightsError(what, f"Name one of {known}, or the path of a Cellpose 3 model file.")


def is_path(name: str) -> bool:
    """Whether a model is named by a path: it has a `/` or a suffix, as in the configuration."""
    return "/" in name or bool(Path(name).suffix)


def cellpose_folder() -> Path:
    """Return the folder where Cellpose keeps its models."""
    named = os.environ.get("CELLPOSE_LOCAL_MODELS_PATH")
    return Path(named) if named else Path.home() / ".cellpose" / "models"


def _download(name: str, path: Path) -> None:
    """Fetch one of Cellpose's models, whole or not at all."""
    url = f"{CELLPOSE_URL}/{path.name}"
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, draft.open("wb") as out:  # noqa: S310 - a constant https address
            while block := answer.read(1 << 20):
                out.write(block)
        draft.replace(path)
    except (OSError, urllib.error.URLError) as error:
        what = f"Cellpose's model {name!r} is not at {path}, and cannot be fetched: {error}"
        remedy = (
            f"Put the file that {url} serves at {path}, or name another folder in"
            " CELLPOSE_LOCAL_MODELS_PATH."
        )
        raise WeightsError(what, remedy) from error
    finally:
        draft.unlink(missing_ok=True)


def segmentation_parameters(config: SegmentConfig) -> dict[str, Any]:
    """Return the parameters that determine a segmentation beside weights, which have digests.

    The device is left out, and how much it is given at once: they do not decide what is found.
    """
    if config.recipe == "watershed":
        return config.model_dump(mode="json", include={"recipe", "nucleus_diameter"})
    return config.model_dump(mode="json", exclude=_NOT_KEYED)


def segmentation_weights(config: SegmentConfig) -> dict[str, str]:
    """Return the digests of a segmentation's weights, by the parameter that names them.

    Weights count by their bytes, not by where they lie. Nothing of a network library is imported.

    Raises
    ------
    WeightsError
        A model that is named is not there.
    """
    names = NETWORKS[config.recipe]
    return {name: _weights_key(resolve_model(getattr(config, name))) for name in names}


def segmentation_digest(config: SegmentConfig) -> str:
    """Return 32 hex digits that change with all that determines a segmentation, and nothing else.

    Parameters
    ----------
    config : SegmentConfig

    Returns
    -------
    str

    Raises
    ------
    WeightsError
        A model that is named is not there.
    """
    both = {"parameters": segmentation_parameters(config), "weights": segmentation_weights(config)}
    text = json.dumps(both, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def uses_nuclei(config: SegmentConfig) -> bool:
    """Tell whether the recipe runs the nucleus network."""
    return "nuclei_model" in NETWORKS[config.recipe]


def _weights_key(file: WeightsFile) -> str:
    # By its name Cellpose scales its own nucleus model otherwise than its file says.
    return f"{file.digest}{'@nuclei' if file.name == 'nuclei' else ''}"
