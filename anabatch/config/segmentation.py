"""How nuclei and cells are found, and cells cut out."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from anabatch.config.section import Count, Integer, Positive, Real, Section


class SegmentConfig(Section):
    """Parameters of the segmentation. All diameters are in reference pixels.

    The defaults are the study's two-pass recipe: nuclei at 60, cells at 145, scaled down by
    `d / 90` where the mean nucleus diameter `d` is at most 90.

    Attributes
    ----------
    recipe : {'two-pass', 'one-pass', 'watershed'}
        `one-pass` finds cells at `one_pass_diameter` on the untreated signal, without nuclei.
        `watershed` needs no networks; of all the rest it uses `nucleus_diameter` alone.
    nuclei_model, cell_model : str
        A shipped network (`anabatch-nuclei`, `anabatch-cells`), a Cellpose model (`nuclei`,
        `cyto2`, `cyto3`), or a path to a Cellpose model file.
    diameter : {'fixed', 'auto'}
        `auto` has the nucleus network take a first look at every image, estimate the nuclei's size
        from it, and look for nuclei and cells of that size, whatever the magnification. It takes
        about two nucleus passes more, and needs the two-pass recipe.
    clahe_clip, clahe_grid : float, int
        Contrast-limited adaptive histogram equalisation: clip limit, and tiles a side; sides of more
        than 1388 reference pixels have proportionally more.
    flow_threshold, cellprob_threshold : float
        Cellpose's own thresholds.
    min_size : int
        Smallest mask, in network pixels; Cellpose's default.
    tile, tile_overlap : int, float
        Longest side of the network's tiles in network pixels, a multiple of 16, and the share of
        it that neighbours overlap at least: by default two diameters.
    tiles_per_batch : int
        Tiles of one shape that go through the network at once, and images that are worked on
        together on a GPU. The last batch is padded, so that results do not depend on neighbours.
        0 is 1 on a processor, which gains nothing from more, and 8 on a GPU. Like the device, it is
        in no key.
    precision : {'float32', 'bfloat16'}
        Of the networks' weights and of what goes between them. `bfloat16` is faster where the
        device computes with it, at the cost of a few outlines.
    device : {'cpu', 'cuda'}
        Where the networks run. A device that is not there is an error.
    """

    recipe: Literal["two-pass", "one-pass", "watershed"] = "two-pass"
    nuclei_model: str = "anabatch-nuclei"
    cell_model: str = "anabatch-cells"
    diameter: Literal["fixed", "auto"] = "fixed"
    nucleus_diameter: Positive = 60.0
    cell_diameter: Positive = 145.0
    reference_nucleus_diameter: Positive = 90.0
    one_pass_diameter: Positive = 75.0
    clahe_clip: Positive = 10.0
    clahe_grid: Count = 8
    flow_threshold: Annotated[Real, Field(ge=0)] = 0.4
    cellprob_threshold: Real = 0.0
    min_size: Annotated[Integer, Field(ge=0)] = 15
    tile: Annotated[Integer, Field(ge=64, multiple_of=16)] = 448
    tile_overlap: Annotated[Real, Field(ge=0, lt=0.5)] = 0.16
    tiles_per_batch: Annotated[Integer, Field(ge=0)] = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def tiles_at_once(self) -> int:
        """Tiles of a batch, as the device has it where nothing was said."""
        return self.tiles_per_batch or (1 if self.device == "cpu" else 8)

    @model_validator(mode="after")
    def _an_estimate_needs_nuclei(self) -> Self:
        if self.diameter == "auto" and self.recipe != "two-pass":
            message = (
                "diameter = 'auto' estimates by the nucleus network: recipe must be 'two-pass'"
            )
            raise ValueError(message)
        return self


class CellsConfig(Section):
    """Parameters of the cell crops.

    Attributes
    ----------
    crop : int
        Side of the square crops, in crop pixels.
    """

    crop: Annotated[Integer, Field(ge=16)] = 96
