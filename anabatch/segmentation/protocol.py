"""What every segmenter offers; what it must keep to is tested by `conformance`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.recipe import Segmentation


class Segmenter(Protocol):
    """Finds nuclei and cells in images.

    It pickles as its parameters: a worker loads what it needs where and when it first segments.
    """

    @property
    def config(self) -> SegmentConfig:
        """The parameters. `config.device` is used, or refused with a `DeviceError`."""
        ...

    @property
    def threads(self) -> int:
        """Threads of the numerical libraries."""
        ...

    @property
    def digest(self) -> str:
        """What all that determines the results comes down to: 32 hex digits."""
        ...

    def segment(
        self, signals: Sequence[NDArray[Any]], pixels_per_reference_pixel: Sequence[float]
    ) -> list[Segmentation]:
        """Segment a batch of images.

        Parameters
        ----------
        signals : sequence of ndarray of uint8 or uint16, shape (H, W)
            Sizes may differ.
        pixels_per_reference_pixel : sequence of float
            Source pixels that make one reference pixel, for every image.

        Returns
        -------
        list of Segmentation
            In the order of the images; each depends on its own image alone.

        Raises
        ------
        DeviceError
            The configured device is not there, or of no use to this segmenter.
        WeightsError
            Weights are missing or unusable.
        """
        ...
