"""Exponents that grow while a model with a short-range branch (Rs > 0) is trained: right numbers, or an error.

x = A/r + B r^30 + C is not bounded, so exp(alpha x) may leave what a float holds although alpha itself is far from it;
how close atoms may be is therefore a matter of the present exponents, not of those the frames were read with.
"""

import numpy as np
import pytest
from reference import msr, systems
from reference.systems import RS, agree, msr_case, spec

from nnpcore import _core
from nnpcore.training import make_trainer

LIMIT = {"float32": 80, "float64": 700}  # of |alpha x|
ALPHA = {"float32": 20.0, "float64": 290.0}


def setup(precision, r):
    """(model with small exponents, its trainer with one frame that has a pair r apart, positions)."""
    model = msr_case(1, RS).model
    theta = np.array(model.theta)
    theta[model.slices["msr.O.alpha"]] = [0.5, 0.2, -0.3]
    model = model.replace(theta=theta)
    x = np.array([[0.0, 0, 0], [r, 0, 0], [0, 1.5, 0.2]])
    trainer = make_trainer(model, 1, precision)
    trainer.add(np.zeros(3, np.int32), x, None, np.zeros(3, np.int32), -4.0, np.zeros((3, 3)))
    return model, trainer, x


CALLS = {
    "predict": lambda t, theta, f: t.predict(theta, f),
    "gradient": lambda t, theta, f: t.gradient(theta, f),
    "sketch": lambda t, theta, f: t.sketch(theta, f, 1),
    "fingerprints": lambda t, theta, f: t.fingerprints(theta, 0),
}


@pytest.mark.parametrize("precision", LIMIT)
@pytest.mark.parametrize("call", CALLS)
def test_exponents_that_a_close_pair_cannot_bear(call, precision):
    """As nnpcore.Model.compute() does: refused, with the atoms or the frame in the message."""
    model, trainer, x = setup(precision, 0.1)
    largest = msr.switch(np.array([0.1]), systems.RC, RS)[0][0]
    theta = np.array(model.theta)
    theta[model.slices["msr.O.alpha"]] = [ALPHA[precision], 1.0, -1.0]  # in range for x <= 1
    assert ALPHA[precision] < LIMIT[precision] < 0.5 * largest * ALPHA[precision]
    with pytest.raises(ValueError, match="closer than"):
        model.replace(theta=theta).compute(x, "O", pbc=False, precision=precision)
    with pytest.raises(_core.NnpError):
        CALLS[call](trainer, theta, np.zeros(1, np.int32))


@pytest.mark.parametrize("precision", LIMIT)
def test_exponents_that_it_can(precision):
    """Larger than the first ones, but fine: the reference's energy and forces."""
    model, trainer, x = setup(precision, 0.8)
    largest = msr.switch(np.array([0.8]), systems.RC, RS)[0][0]
    theta = np.array(model.theta)
    theta[model.slices["msr.O.alpha"]] = [0.2 * LIMIT[precision] / largest, 1.0, -1.0]
    expected = msr.compute(spec(1, RS), theta, x, [0, 0, 0])
    energies, forces, _ = trainer.predict(theta, np.zeros(1, np.int32))
    tolerance = 1e-11 if precision == "float64" else 2e-4
    agree(energies[0], expected.energy, tolerance)
    agree(forces, expected.forces, tolerance)
