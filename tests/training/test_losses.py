"""The losses of the feature network, on cases that can be worked out by hand."""

import math

import pytest
import torch

from anabatch.training.losses import alignment, supervised_contrast, traits, wanted_differences

EYE = torch.eye(2)


def test_contrast_of_two_pairs_is_what_the_formula_says():
    vectors = EYE[[0, 0, 1, 1]] * torch.tensor(
        [[1.0], [3.0], [2.0], [5.0]]
    )  # lengths do not matter
    labels = torch.tensor([[1, 0], [1, 0], [1, 1], [1, 1]], dtype=torch.bool)
    # Each row: its like at 1 / t, two others at 0.
    expected = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert float(supervised_contrast(vectors, labels, 0.5)) == pytest.approx(expected, rel=1e-5)


def test_contrast_ignores_rows_without_their_like():
    vectors = torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]])
    labels = torch.tensor([[1], [1], [0]], dtype=torch.bool)
    expected = -math.log(math.exp(1) / (math.exp(1) + 1))
    assert float(supervised_contrast(vectors, labels, 1.0)) == pytest.approx(expected, rel=1e-5)


def test_contrast_is_lower_where_alike_are_near():
    labels = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=torch.bool)
    near, far = EYE[[0, 0, 1, 1]], EYE[[0, 1, 0, 1]]
    assert supervised_contrast(near, labels) < supervised_contrast(far, labels) - 5


def test_traits_of_even_discs():
    images, inside = torch.zeros(3, 1, 96, 96), torch.zeros(3, 1, 96, 96)
    inside[:, :, 16:80, 16:80] = 1
    inside[2, :, :, 48:] = 0
    for index, level in enumerate((0.2, 0.4, 0.6)):
        images[index] = level * inside[index]
    found = traits(images, inside)
    assert found.shape == (3, 4)
    # Brightness is 0.2, 0.4, 0.6: -1, 0, 1 standard deviations; nothing varies within a cell.
    torch.testing.assert_close(found[:, 0], torch.tensor([-1.0, 0, 1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:, 2], torch.tensor([-1.0, 0, 1]), atol=1e-5, rtol=0)
    assert found[:, 1].abs().max() < 0.5
    assert found[2, 3] < found[0, 3] == found[1, 3]


def test_alignment_looks_at_differences_alone():
    truth = torch.tensor([[0.0, 0], [1, 0], [0, 2], [3, 1]])
    turned = truth @ torch.tensor([[0.6, -0.8, 0], [0.8, 0.6, 0]])
    assert float(alignment(5 * turned + 7, truth)) == pytest.approx(0, abs=1e-5)
    assert float(alignment(truth.flip(0) ** 2, truth)) > 0.2
    constant = torch.ones(4, 3)
    assert float(alignment(constant, truth)) == 1


def test_alignment_is_what_the_formula_says():
    features, truth = torch.tensor([[1.0], [-1], [1], [-1]]), torch.tensor([[1.0], [-1], [-1], [1]])
    assert float(alignment(features, truth)) == pytest.approx(1)  # orthogonal
    both = torch.cat([features, truth], dim=1)
    # Gram matrices add up: <A + B, B> = 16, |A + B| = sqrt(32), |B| = 4.
    assert float(alignment(both, truth)) == pytest.approx(1 - 16 / (32**0.5 * 4), rel=1e-5)


def test_what_shall_differ_is_shared_among_patterns_and_traits():
    labels = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=torch.bool)
    seen = torch.tensor([[9.0], [1], [5], [3]])
    table = wanted_differences(labels, seen, 0.2)
    variance = (table**2).mean(dim=0)
    assert table.mean(dim=0).abs().max() < 1e-6
    assert variance.sum() == pytest.approx(1)
    assert float(variance[2]) == pytest.approx(0.2)
    # Patterns that all rows share want nothing.
    assert wanted_differences(labels[:2], seen[:2], 0.2)[:, :2].abs().max() == 0
