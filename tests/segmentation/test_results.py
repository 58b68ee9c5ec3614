import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anabatch.config import SegmentConfig
from anabatch.segmentation.consistency import cells_of_nuclei
from anabatch.segmentation.labels import consecutive
from anabatch.segmentation.results import Proposal, to_source
from anabatch.segmentation.two_pass import segmenter_for
from anabatch.simulate.field import simulate_field
from anabatch.training.fields import as_jpeg

LABELS = arrays(np.int32, (12, 16), elements=st.integers(0, 9)).map(consecutive)


def balances(proposed, dropped, **stored):
    for kind, labels in stored.items():
        lost = sum(number for why, number in dropped.items() if why.startswith(f"{kind}_"))
        assert min(dropped.values(), default=0) >= 0
        assert proposed[kind] == int(labels.max(initial=0)) + lost


@settings(max_examples=150, deadline=None)
@given(
    nuclei=LABELS,
    cells=LABELS,
    earlier=st.integers(0, 4),
    shape=st.sampled_from([(12, 16), (5, 7), (30, 33)]),
    bar=st.sampled_from([None, (0, 0, 3, 4), (2, 1, 5, 7), (0, 0, 30, 33)]),
)
def test_what_was_proposed_is_stored_or_dropped_for_a_reason(nuclei, cells, earlier, shape, bar):
    """For any masks, brought to finer pixels or to coarser ones, with a scale bar anywhere."""
    found = to_source(
        Proposal(nuclei, int(nuclei.max()) + earlier, {"flow_error": earlier}),
        Proposal(cells, int(cells.max()), {}),
        shape,
        bar,
    )
    own, whole, proposed, dropped = found
    balances(proposed, dropped, nuclei=own, cells=whole)
    for labels in (own, whole):
        assert labels.dtype == np.int32
        assert labels.shape == shape
        np.testing.assert_array_equal(labels, consecutive(labels))
    if bar:
        box = slice(bar[0], bar[2]), slice(bar[1], bar[3])
        assert not own[box].any()
        assert not whole[box].any()
    owners = np.concatenate([[0], cells_of_nuclei(own, whole)])
    np.testing.assert_array_equal(whole[own > 0], owners[own[own > 0]])


@pytest.mark.parametrize(
    "changes",
    [{}, {"diameter": "auto"}, {"recipe": "one-pass"}, {"recipe": "watershed"}],
    ids=["fixed", "auto", "one-pass", "watershed"],
)
def test_the_ledger_of_every_image_balances(changes):
    """Simulated fields of some patterns, dim ones too, at three magnifications."""
    signals = [
        as_jpeg(simulate_field(8_400_000 + seed, [pattern], size=(400, 300)).signal, 85)
        for seed, pattern in enumerate(("golgi", "negative", "cytoplasmic fibrillar"))
    ]
    segmenter = segmenter_for(SegmentConfig(**changes))
    found = segmenter.segment(signals, [1.0, 0.8, 1.6])
    assert sum(image.proposed["cells"] for image in found) > 10
    for image in found:
        balances(image.proposed, image.dropped, nuclei=image.nuclei, cells=image.cells)
