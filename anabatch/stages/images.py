"""Batches of images, as the segmentation and the cell stage take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anabatch.archive.acquisition import read_signal
from anabatch.store.actions import Action
from anabatch.store.live import SEGMENT

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from anabatch.config import CellsConfig, SegmentConfig


@dataclass(frozen=True)
class ImageItem:
    """One image, and where to read it.

    Attributes
    ----------
    image_id : str
    root : Path
        The archive's folder.
    relative_path, sha256 : str
        The file of the image's first acquisition, and its digest when it was scanned.
    pixels_per_reference_pixel : float
    segment_key, cells_key : str
    """

    image_id: str
    root: Path
    relative_path: str
    sha256: str
    pixels_per_reference_pixel: float
    segment_key: str
    cells_key: str


@dataclass(frozen=True)
class ImageBatch:
    """Images of one archive, date and sample type.

    Attributes
    ----------
    store : Path
    archive : str
    date : datetime.date or None
    items : tuple of ImageItem
    segment : SegmentConfig
    model : str
        Digest of the segmentation's parameters and weights, which workers check theirs against.
    cells : CellsConfig
    recipes : mapping
        Digests of the stages' recipes.
    max_pixels : int
    threads : int
        Threads of the networks.
    sequence : int
    run : str
    """

    store: Path
    archive: str
    date: dt.date | None
    items: tuple[ImageItem, ...]
    segment: SegmentConfig
    model: str
    cells: CellsConfig
    recipes: Mapping[str, str]
    max_pixels: int
    threads: int
    sequence: int
    run: str

    def read(self, item: ImageItem) -> NDArray[Any]:
        """Read an image's signal, shape (H, W)."""
        return read_signal(
            item.root,
            item.relative_path,
            expected_sha256=item.sha256,
            max_pixels=self.max_pixels,
        )

    def action(
        self,
        stage: str,
        item: ImageItem,
        *,
        components: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> Action:
        """Return the action of a stage on one of the batch's images."""
        key = item.segment_key if stage == SEGMENT else item.cells_key
        return Action(
            stage=stage,
            unit=item.image_id,
            key=key,
            archive=self.archive,
            date=self.date,
            sequence=self.sequence,
            run=self.run,
            components={"recipe": self.recipes[stage], **(components or {})},
            **values,
        )
