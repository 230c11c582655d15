import numpy as np
import pytest

from nnpcore.adam import Adam, EigenAdam, clip


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


def test_eigen_adam_is_adam_until_it_has_a_basis_and_then_follows_a_rotated_valley():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    a = q @ np.diag(10.0 ** np.linspace(-4, 4, 12)) @ q.T
    target, ends = rng.normal(size=12), {}
    for name in ("adam", "eigen"):
        theta = np.zeros(12)
        adam = Adam(12) if name == "adam" else EigenAdam(12, [slice(0, 12)])
        for k in range(3000):
            if name == "eigen" and k in (100, 1500):
                adam.set_basis([a])
            theta = adam.update(theta, a @ (theta - target), 0.01 * (1 - k / 3000))
            if k == 99:
                ends[name + " before"] = theta
        ends[name] = float((theta - target) @ a @ (theta - target))
    np.testing.assert_array_equal(ends["adam before"], ends["eigen before"])
    assert ends["eigen"] < 0.01 * ends["adam"]


def test_eigen_adam_goes_on_from_its_arrays():
    rng = np.random.default_rng(1)
    one, blocks = rng.normal(size=(6, 6)), [slice(0, 4), slice(4, 6)]
    matrices = [(one @ one.T)[b, b] for b in blocks]
    first, theta = EigenAdam(6, blocks, scale=np.arange(1.0, 7.0)), np.zeros(6)
    for k in range(8):
        if k in (3, 6):
            first.set_basis(matrices)
        theta = first.update(theta, theta - 1, 0.1)
    second = EigenAdam(6, blocks, scale=np.arange(1.0, 7.0))
    second.restore(first.arrays(), first.counters())
    np.testing.assert_array_equal(first.update(theta, theta - 1, 0.1), second.update(theta, theta - 1, 0.1))
