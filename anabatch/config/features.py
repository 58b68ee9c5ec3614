"""How cells are described."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Literal

from pydantic import field_validator

from anabatch.config.section import Count, Section

EXTRACTORS = ("vgg16", "lbp")
"""The feature extractors that come with anabatch."""

EXTRACTORS_OF_OTHERS = "anabatch.feature_extractors"
"""The group of entry points by which installed packages bring theirs."""


class FeaturizeConfig(Section):
    """Parameters of the features.

    Attributes
    ----------
    extractor : str
        `vgg16`; `lbp`, histograms of local binary patterns, which needs no network, and none of the
        other parameters: a baseline; or the name by which an installed package brings another.
    weights : str
        `imagenet` (Keras's own), `anabatch-vgg16-quarter`, or a path to a Keras weights file.
    preprocessing : {'unit', 'keras'}
        `unit` gives the network grey levels in [0, 1]; `keras` gives 0 to 255 less the ImageNet
        channel means.
    channels : {'grey', 'nucleus-cytoplasm-mask'}
        What the network's three channels are: the crop thrice, or the light of the nucleus, all
        other light, and the cell's mask. A shipped network takes those alone that it was trained for.
    pooling : {'flatten', 'average'}
        What becomes of the 3 x 3 places of block 5: all of them, or their mean, a ninth as long.
    precision : {'float32', 'mixed_bfloat16'}
        Of what goes between the network's layers. `mixed_bfloat16` is faster where the device
        computes with it, and features differ in their third digit.
    batch : int
        Crops that go through the network at once; the last batch is padded.
    device : {'cpu', 'cuda'}
        Where the network runs. A device that is not there is an error.
    """

    extractor: str = "vgg16"
    weights: str = "anabatch-vgg16-quarter"
    preprocessing: Literal["unit", "keras"] = "unit"
    channels: Literal["grey", "nucleus-cytoplasm-mask"] = "grey"
    pooling: Literal["flatten", "average"] = "flatten"
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    batch: Count = 64
    device: Literal["cpu", "cuda"] = "cpu"

    @field_validator("extractor")
    @classmethod
    def _is_there(cls, name: str) -> str:
        """Refuse a name that nobody brings; what it stands for is not loaded here."""
        if name not in EXTRACTORS and name not in entry_points(group=EXTRACTORS_OF_OTHERS).names:
            known = sorted({*EXTRACTORS, *entry_points(group=EXTRACTORS_OF_OTHERS).names})
            message = f"no feature extractor is called {name!r}; there are {', '.join(known)}"
            raise ValueError(message)
        return name
