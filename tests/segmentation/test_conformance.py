"""Every segmenter that there is keeps to what all promise; and the checks see what does not."""

from dataclasses import replace

import numpy as np
import pytest

from anabatch.config import SegmentConfig
from anabatch.conformance import ConformanceError
from anabatch.errors import DeviceError
from anabatch.segmentation import conformance, recipe
from anabatch.segmentation.conformance import Subject
from anabatch.segmentation.tiling import cut, plan_grid
from anabatch.segmentation.two_pass import Segmentation, segmenter_for
from anabatch.segmentation.watershed import WatershedSegmenter

CHECKS = pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
WATERSHED = Subject(WatershedSegmenter, SegmentConfig(recipe="watershed"))


def devices():
    import torch

    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


@CHECKS
def test_the_watershed(check):
    check(WATERSHED)


@CHECKS
def test_cellpose_with_the_small_networks(check):
    check(Subject(segmenter_for, SegmentConfig(), devices=devices()))


@pytest.fixture(scope="module")
def full_width(tmp_path_factory):
    """Return a network as wide as `cyto3`, never trained, but loud enough to draw masks."""
    import torch

    from anabatch.segmentation.cellpose import build_network, save_network

    _, (image,) = recipe.prepare([conformance.FIELD.signal], [1.0], SegmentConfig(), 30.0)
    tiles = torch.from_numpy(cut(image, plan_grid((image.shape[1], image.shape[2]), 224, 0.1)))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        net = build_network([2, 32, 64, 128, 256], 30.0).eval()
        answer, last = net(tiles)[0], net.output[-1]
        # Around 0 and as strong as a trained one's: as drawn, its answers are all but constant.
        louder = 5 / answer.std((0, 2, 3))
        last.bias.copy_((last.bias - answer.mean((0, 2, 3))) * louder)
        last.weight *= louder[:, None, None, None]
    path = tmp_path_factory.mktemp("weights") / "full.npz"
    save_network(net, path)
    return SegmentConfig(nuclei_model=str(path), cell_model=str(path), flow_threshold=0.0)


@pytest.mark.slow
@CHECKS
def test_cellpose_at_full_width(check, full_width):
    check(Subject(segmenter_for, full_width, trained=False, devices=devices()))


@pytest.mark.slow
def test_the_network_at_full_width_draws_masks(full_width):
    found = Subject(segmenter_for, full_width, trained=False).segment(conformance.FIELD.signal)
    assert found.nuclei.max() > 10
    assert found.cells.max() > 10


class Broken(WatershedSegmenter):
    """A watershed whose answers are spoiled."""

    calls = 0

    def segment(self, signals, pixels_per_reference_pixel):
        Broken.calls += 1
        found = super().segment(signals, pixels_per_reference_pixel)
        return [self.spoil(one, signal) for one, signal in zip(found, signals, strict=True)]

    def spoil(self, found, signal):
        raise NotImplementedError


class Fuses(Broken):
    def spoil(self, found, signal):
        return replace(found, nuclei=(found.nuclei > 0).astype(np.int32))


class SixtyFour(Broken):
    def spoil(self, found, signal):
        return replace(found, cells=found.cells.astype(np.int64))


class Gaps(Broken):
    def spoil(self, found, signal):
        return replace(found, cells=found.cells * 2)


class Invents(Broken):
    def spoil(self, found, signal):
        return found if found.cells.any() else replace(found, cells=np.ones_like(found.cells))


class Loses(Broken):
    """Loses the last cell at large tiles."""

    def spoil(self, found, signal):
        if self.config.tile < 300:
            return found
        last = found.cells == found.cells.max()
        return replace(found, cells=np.where(last, 0, found.cells))


class Wavers(Broken):
    def spoil(self, found, signal):
        return Segmentation(found.nuclei, found.cells, float(Broken.calls), {})


class FallsBack(WatershedSegmenter):
    """Takes the processor whatever is asked for."""

    def segment(self, signals, pixels_per_reference_pixel):
        here = WatershedSegmenter(self.config.model_copy(update={"device": "cpu"}))
        return here.segment(signals, pixels_per_reference_pixel)


class Heavy(WatershedSegmenter):
    """Sends its weights along."""

    def __reduce__(self):
        return Heavy, (self.config,), {"weights": np.zeros(10**6)}


class Blind(WatershedSegmenter):
    """Forgets its parameters in its digest."""

    digest = "0" * 32


@pytest.mark.parametrize(
    ("make", "check", "says"),
    [
        (Fuses, conformance.touching_cells_are_two, "of 2 nuclei"),
        (SixtyFour, conformance.one_cell_is_one, "int64"),
        (Gaps, conformance.touching_cells_are_two, "1 to n"),
        (Invents, conformance.empty_images_have_no_cells, "nothing but 0"),
        (Loses, conformance.any_tile_will_do, "tiles of 128 and of 320"),
        (Wavers, conformance.results_repeat, "again"),
        (FallsBack, conformance.devices_are_there_or_refused, "'cuda' is not there"),
        (Heavy, conformance.it_travels_to_a_worker, "weights"),
        (Blind, conformance.digests_tell_configurations_apart, "nucleus_diameter"),
    ],
)
def test_the_checks_see_what_is_broken(make, check, says):
    with pytest.raises(ConformanceError, match=says):
        check(replace(WATERSHED, make=make))


def test_a_watershed_on_a_gpu_is_refused():
    config = SegmentConfig(recipe="watershed", device="cuda")
    with pytest.raises(DeviceError, match="cuda"):
        segmenter_for(config).segment([conformance.ONE_CELL.signal], [1.0])
