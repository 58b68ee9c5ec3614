"""The kernel of chunks against its definition, and float16 against numpy's own conversion."""

import numpy as np
import pytest

from anabatch.kernels import expm1_kernel

EVERY = np.arange(2**16, dtype=np.uint16).view(np.float16)


def kernel(rows, origin=0.0):
    """Return the kernel of rows and one landmark."""
    return expm1_kernel(rows, np.full(rows.shape[1], origin), np.ones((1, rows.shape[1])), 1e-9)


@pytest.mark.parametrize("origin", [0.0, 0.3, -7.0])
def test_every_float16_is_computed_as_numpy_converts_it(origin):
    half = EVERY[np.isfinite(EVERY)][:, None]
    assert len(half) == 2**16 - 2**11
    found = kernel(half, origin)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, kernel(half.astype(np.float32), origin))


def test_numbers_below_the_normal_ones_are_not_lost():
    tiny = np.full((1, 1), 2.0**-24, np.float16)
    found = expm1_kernel(tiny, np.zeros(1), np.zeros((1, 1)), 2.0**40)
    assert found[0, 0] == pytest.approx(np.expm1(-(2.0**-8)), rel=1e-6)


@pytest.mark.parametrize("origin", [0.0, 65504.0, -65504.0])
@pytest.mark.parametrize("row", [0, 31, 32, 127, 128, 199])
def test_every_float16_that_is_not_finite_is_refused(row, origin):
    for bad in EVERY[~np.isfinite(EVERY)][::97]:
        rows = np.zeros((200, 3), np.float16)
        rows[row, 1] = bad
        with pytest.raises(ValueError, match="NaN, infinity"):
            kernel(rows, origin)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, 33, 300])
def test_the_kernel_is_that_of_its_definition(dtype, count):
    rng = np.random.default_rng(count)
    rows = rng.normal(3, 1, (count, 40)).astype(dtype)
    center, landmarks = np.full(40, 3.0), rng.normal(size=(7, 40))
    squared = ((rows.astype(np.float64)[:, None] - center - landmarks) ** 2).sum(axis=2)
    found = expm1_kernel(rows, center, landmarks, 0.01)
    np.testing.assert_allclose(found, np.expm1(-0.01 * squared), atol=2e-6)
    strided = np.repeat(rows, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(expm1_kernel(strided, center, landmarks, 0.01), found)
