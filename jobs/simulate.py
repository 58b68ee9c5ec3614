"""Simulate: an archive whose truth is known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from anabatch.errors import ConfigurationError
from anabatch.named_places import writing
from anabatch.simulate.archive import simulate_archive

if TYPE_CHECKING:
    from pathlib import Path


def simulate(
    out: Path, *, images: int, seed: int, layout: str, size: str, atypical: float = 0.0
) -> Path:
    """Draw an archive.

    Parameters
    ----------
    out : Path
        A folder for `DATA/` and `truth/`.
    images, seed : int
    layout : {'dated', 'by-class', 'unlabelled'}
    size : str
        WIDTHxHEIGHT in pixels.
    atypical : float
        Share of bright atypical cells in a class of their own.

    Returns
    -------
    Path
        The archive's root.

    Raises
    ------
    ConfigurationError
        The layout or the size cannot be drawn.
    PlaceError
        The folder cannot be made or written to.
    """
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", size)
    if match is None:
        what = f"{size!r} is not a size"
        raise ConfigurationError(what, "Give WIDTHxHEIGHT, as 1388x1040.")
    width, height = (int(number) for number in match.groups())
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        return simulate_archive(
            out, images=images, seed=seed, layout=layout, size=(width, height), atypical=atypical
        )
