import numpy as np
import pytest

from nnpcore.adam import Adam, clip


def test_first_steps_follow_the_paper():
    """Algorithm 1 of arXiv:1412.6980 by hand: after one step mhat = g and vhat = g^2."""
    adam, theta = Adam(2, 0.9, 0.99, 1e-8), np.array([1.0, -2.0])
    theta = adam.update(theta, np.array([0.5, -4.0]), 0.1)
    np.testing.assert_allclose(theta, [1.0 - 0.1 * 0.5 / (0.5 + 1e-8), -2.0 + 0.1 * 4.0 / (4.0 + 1e-8)], rtol=1e-15)
    theta2 = adam.update(theta, np.array([1.0, 0.0]), 0.1)
    m = (0.9 * 0.1 * 0.5 + 0.1 * 1.0) / (1 - 0.81)
    v = (0.99 * 0.01 * 0.25 + 0.01 * 1.0) / (1 - 0.99**2)
    assert theta2[0] == pytest.approx(theta[0] - 0.1 * m / (np.sqrt(v) + 1e-8), rel=1e-14)


def test_finds_the_minimum_of_a_narrow_valley():
    scale, theta = np.array([1.0, 100.0, 0.01]), np.ones(3)
    adam = Adam(3)
    for k in range(3000):
        theta = adam.update(theta, 2 * scale * (theta - 0.3), 0.01 * (1 - k / 3000))
    np.testing.assert_allclose(theta, 0.3, atol=1e-3)


def test_clip_keeps_direction_and_short_gradients():
    grad = np.array([3.0, 4.0])
    np.testing.assert_allclose(clip(grad, 1.0), [0.6, 0.8])
    assert clip(grad, 0.0) is grad and clip(grad, 5.0) is grad
