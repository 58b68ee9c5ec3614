"""Feature extractors that other packages bring, by the names of their entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from anabatch.config import EXTRACTORS_OF_OTHERS
from anabatch.errors import ConfigurationError

if TYPE_CHECKING:
    from anabatch.features.protocol import ExtractorKind


def plugin(name: str) -> ExtractorKind:
    """Load what an installed package brings under a name.

    Parameters
    ----------
    name : str

    Raises
    ------
    ConfigurationError
        No package brings it, or several do, or it cannot be imported.
    """
    found = {(point.value, point) for point in entry_points(group=EXTRACTORS_OF_OTHERS, name=name)}
    if len({value for value, _ in found}) != 1:
        brought = (
            ", ".join(sorted(value for value, _ in found)) or "no package that is installed here"
        )
        what = f"the feature extractor {name!r} is brought by {brought}"
        raise ConfigurationError(what, "Install one package that brings it, on every worker.")
    ((value, point),) = found
    try:
        return cast("ExtractorKind", point.load())
    except (ImportError, AttributeError) as error:
        what = f"the feature extractor {name!r} is {value}, which cannot be imported: {error}"
        raise ConfigurationError(what, "Install its package anew, on every worker.") from error
