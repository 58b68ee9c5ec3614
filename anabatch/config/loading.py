"""Reading the configuration: from TOML, with errors that name file and key, to absolute paths."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from anabatch.config.problems import problems
from anabatch.config.whole import Config
from anabatch.errors import ConfigurationError

if TYPE_CHECKING:
    from anabatch.config.archives import ArchiveConfig


def load_config(path: Path) -> Config:
    """Read a configuration file.

    Relative paths in it are relative to the file's own folder.

    Parameters
    ----------
    path : Path
        A TOML file, as `anabatch init` writes it.

    Returns
    -------
    Config

    Raises
    ------
    ConfigurationError
        The file is missing, is not TOML, has unknown keys, or has values out of range.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        what = f"there is no configuration file at {path}"
        raise ConfigurationError(what, "Write one with `anabatch init`.") from error
    except OSError as error:
        what = f"the configuration {path} cannot be read: {error}"
        raise ConfigurationError(what) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        what = f"{path} is not valid TOML: {error}"
        raise ConfigurationError(what) from error
    return resolve_paths(parse_config(raw, source=str(path)), path.resolve().parent)


def parse_config(raw: dict[str, Any], source: str) -> Config:
    """Check raw values against the configuration's models.

    Parameters
    ----------
    raw : dict
        Values as they stand in TOML.
    source : str
        What to call the origin of the values in an error.

    Returns
    -------
    Config

    Raises
    ------
    ConfigurationError
        A key is unknown or a value is out of range.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        what = f"{source}: {problems(error, raw)}"
        raise ConfigurationError(what, "Correct the values named.") from error


def resolve_paths(config: Config, base: Path) -> Config:
    """Return the configuration with its relative paths made absolute from `base`.

    A layout or a network's weights may be a name or a path: a path has a `/` or a suffix.

    Raises
    ------
    ConfigurationError
        The store lies in an archive, or an archive in the store.
    """
    archives = tuple(
        archive.model_copy(
            update={
                "path": _absolute(archive.path, base),
                "layout": _name_or_path(archive.layout, base),
            }
        )
        for archive in config.archives
    )
    store = _absolute(config.store, base)
    _refuse_a_store_in_an_archive(store, archives)
    vocabulary = config.annotate.vocabulary
    segment, featurize = config.segment, config.featurize
    return config.model_copy(
        update={
            "archives": archives,
            "store": store,
            "annotate": config.annotate.model_copy(
                update={"vocabulary": vocabulary and _absolute(vocabulary, base)}
            ),
            "segment": segment.model_copy(
                update={
                    name: _name_or_path(getattr(segment, name), base)
                    for name in ("nuclei_model", "cell_model")
                }
            ),
            "featurize": featurize.model_copy(
                update={"weights": _name_or_path(featurize.weights, base)}
            ),
        }
    )


def _refuse_a_store_in_an_archive(store: Path, archives: tuple[ArchiveConfig, ...]) -> None:
    """Refuse to write into an archive, which is only ever read, or to read our own results."""
    for archive in archives:
        if store.is_relative_to(archive.path):
            what = f"the store {store} lies in the archive {archive.name}, {archive.path}"
        elif archive.path.is_relative_to(store):
            what = f"the archive {archive.name}, {archive.path}, lies in the store {store}"
        else:
            continue
        raise ConfigurationError(what, "Give the store a folder of its own, beside the archives.")


def _absolute(path: Path, base: Path) -> Path:
    return (base / path.expanduser()).resolve()


def _name_or_path(value: str, base: Path) -> str:
    is_path = "/" in value or Path(value).suffix
    return str(_absolute(Path(value), base)) if is_path else value
