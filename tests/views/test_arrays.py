"""The blur of views on arrays."""

from __future__ import annotations

import numpy as np
import pytest

from orl_explore.views import arrays


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_blur_kernel_is_a_gaussian_of_that_width(sigma):
    kernel = arrays.blur_kernel(sigma).astype(float)
    offsets = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert (kernel == kernel[::-1]).all()
    assert (kernel * offsets**2).sum() == pytest.approx(sigma**2, rel=1e-4)
