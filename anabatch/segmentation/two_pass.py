"""The segmenter: both networks, loaded once a process, and the five steps in order."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from anabatch.segmentation import recipe
from anabatch.segmentation.models import resolve_model, segmentation_digest, uses_nuclei
from anabatch.segmentation.mosaic import is_mosaic, segment_mosaic
from anabatch.segmentation.pipeline import in_groups
from anabatch.segmentation.recipe import Segmentation
from anabatch.segmentation.tiling import run_tiled
from anabatch.segmentation.watershed import WatershedSegmenter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from anabatch.config import SegmentConfig
    from anabatch.segmentation.cellpose import CellposeNetwork
    from anabatch.segmentation.protocol import Segmenter
    from anabatch.segmentation.recipe import Field, Nuclei

__all__ = ["Segmentation", "TwoPassSegmenter", "segmenter_for"]


class TwoPassSegmenter:
    """Segments images by the study's recipe.

    It pickles as its parameters; networks are loaded where and when they are first used.

    Parameters
    ----------
    config : SegmentConfig
    threads : int
        Threads of the numerical libraries. Results are equal for equal numbers.
    """

    def __init__(self, config: SegmentConfig, *, threads: int = 1) -> None:
        self.config = config
        self.threads = threads

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (self.config, self.threads)

    @cached_property
    def digest(self) -> str:
        """What all of the segmentation's parameters and weights come down to: 32 hex digits."""
        return segmentation_digest(self.config)

    @cached_property
    def nucleus_network(self) -> CellposeNetwork:
        """The network of the first pass; used by the two-pass recipe alone."""
        return self._network(self.config.nuclei_model)

    @cached_property
    def cell_network(self) -> CellposeNetwork:
        """The network of the second pass."""
        return self._network(self.config.cell_model)

    def _network(self, name: str) -> CellposeNetwork:
        from anabatch.segmentation.cellpose import CellposeNetwork

        config = self.config
        return CellposeNetwork(
            resolve_model(name), device=config.device, precision=config.precision
        )

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
            In the order of the images; each depends on its own image alone. Label images of mosaics
            (:mod:`anabatch.segmentation.mosaic`) lie on disk.

        Raises
        ------
        DeviceError
            The configured device is not there.
        WeightsError
            A network's weights are missing or unusable.
        """
        import torch

        torch.set_num_threads(self.threads)
        pairs = list(zip(signals, pixels_per_reference_pixel, strict=True))
        large = [is_mosaic(signal.shape, pixels) for signal, pixels in pairs]
        fields = [pair for pair, is_large in zip(pairs, large, strict=True) if not is_large]
        done = iter(self._segment_all(fields))
        return [
            segment_mosaic(*pair, self) if is_large else next(done)
            for pair, is_large in zip(pairs, large, strict=True)
        ]

    def _segment_all(self, pairs: Sequence[tuple[NDArray[Any], float]]) -> list[Segmentation]:
        if self.config.device != "cuda":
            return self._segment_fields(pairs)
        # Loaded here, not by several threads at once.
        _ = self.cell_network, uses_nuclei(self.config) and self.nucleus_network
        return in_groups(self._segment_fields, pairs, self.config.tiles_at_once)

    def _segment_fields(self, pairs: Sequence[tuple[NDArray[Any], float]]) -> list[Segmentation]:
        """Segment images with their pixels a reference pixel."""
        signals = [signal for signal, _ in pairs]
        scales = [scale for _, scale in pairs]
        config = self.config
        fields = recipe.read_fields(signals, scales, config)
        fields, nuclei = self.find_nuclei(fields)
        inputs = recipe.recombine(fields, nuclei, config, self.cell_network.diameter)
        outputs = run_tiled(self.cell_network, inputs, config)
        return recipe.find_cells(fields, nuclei, outputs, config)

    def find_nuclei(self, fields: list[Field]) -> tuple[list[Field], list[Nuclei]]:
        """Run the first pass; a first look before it, where the image is to tell the nuclei's size.

        Returns
        -------
        fields : list of Field
            With the diameters that were found.
        nuclei : list of Nuclei
        """
        config = self.config
        if not uses_nuclei(config):
            return fields, recipe.find_nuclei(fields, [], config)
        network = self.nucleus_network
        if config.diameter == "auto":
            looks = recipe.look(fields, config, network.diameter)
            outputs = run_tiled(network, looks, config)
            fields = recipe.with_diameters(fields, outputs, config, network.diameter)
        inputs = recipe.nucleus_inputs(fields, config, network.diameter)
        outputs = run_tiled(network, inputs, config)
        return fields, recipe.find_nuclei(fields, outputs, config)


def _remake(config: SegmentConfig, threads: int) -> TwoPassSegmenter:
    return TwoPassSegmenter(config, threads=threads)


@lru_cache(maxsize=1)
def segmenter_for(config: SegmentConfig, threads: int = 1) -> Segmenter:
    """Return this process's segmenter for a configuration; the last one is kept."""
    if config.recipe == "watershed":
        return WatershedSegmenter(config, threads=threads)
    return TwoPassSegmenter(config, threads=threads)
