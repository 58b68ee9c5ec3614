"""What is read: archives, their scan, and the vocabulary of their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from anabatch.config.section import Count, ImageSize, Positive, Real, Section, Share, form

_NAME = (
    "a name of letters, digits, '.', '_' and '-' that begins with a letter or a digit, 64 at most"
)


class ArchiveConfig(Section):
    """One archive: a named root folder with a layout.

    Attributes
    ----------
    name : str
        The archive's name. It enters the acquisition ids: do not change it later.
    path : Path
        The root folder. It is only ever read.
    layout : str
        A layout's name (`dated`, `by-class`, `unlabelled`), a path to a layout's TOML file, or
        `auto`, which detects it.
    pixels_per_reference_pixel : dict
        Image size as `WIDTHxHEIGHT` to the pixels that make one reference pixel. It goes before
        the layout's own table.
    """

    name: Annotated[str, form(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", _NAME)]
    path: Path
    layout: str = "auto"
    pixels_per_reference_pixel: dict[ImageSize, Positive] = Field(default={})


class ScanConfig(Section):
    """Parameters of the scan.

    Attributes
    ----------
    max_pixels : int
        Images with more pixels are refused from their header, before memory is taken.
    settle_seconds : float
        Files that changed less than this many seconds before they are listed are left for the next
        run: they may still be written to.
    rehash_share : float
        Share of an archive's unchanged files whose bytes every run reads again, those first that
        were not read for longest: a disk may change them without changing their times.
    ignore_inode, ignore_ctime : bool
        Do not take a file for changed because its inode, or the time of its inode, changed: some
        network and exFAT drives make these up at every mount.
    """

    max_pixels: Count = 400_000_000
    settle_seconds: Annotated[Real, Field(ge=0)] = 0.0
    rehash_share: Share = 0.01
    ignore_inode: Annotated[bool, Field(strict=True)] = False
    ignore_ctime: Annotated[bool, Field(strict=True)] = False


class AnnotateConfig(Section):
    """Parameters of the annotation; the vocabulary itself is data in `schemas/labels/`.

    Attributes
    ----------
    vocabulary : Path or None
        A folder with `vocabulary.csv`, `lis_codes.csv` and `hep_annot.csv` to use in place of the
        ones that are shipped.
    """

    vocabulary: Path | None = None
