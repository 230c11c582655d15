"""Every way a step can go bad ends in Diverged that names step and atom, with the state before that step."""

import numpy as np
import pytest
from reference.systems import RS, msr_case

from nnpcore import Model
from nnpcore.md import MD, Diverged

MW = Model.stillinger_weber("mW")


def short_range():
    """A short-range branch that float32 cannot follow below 0.3 A or so."""
    model = msr_case(1, RS).model
    theta = np.array(model.theta)
    theta[model.slices["msr.O.alpha"]] = 30.0
    return model.replace(theta=theta)


CASES = {
    "force over the limit": lambda: (MW, 4.2, 1.4, {"f_max": 1000.0}),
    "position": lambda: (Model.zbl(["O"], 1, 2), 4.2, 1.4994, {"f_max": 1e300}),
    "on top of each other": lambda: (MW, 4.2, 1.5, {}),
    "closer than float32 can bear": lambda: (short_range(), 4.2, 1.4, {"precision": "float32", "f_max": 1e9}),
}


@pytest.mark.parametrize("make", CASES.values(), ids=list(CASES))
def test_a_collision(make):
    """Two atoms shot at each other; the third is far away."""
    model, distance, speed, options = make()
    x = np.array([[0.0, 50, 0], [0, 0, 0], [distance, 0, 0]])
    v = np.array([[0.0, 0, 0], [speed, 0, 0], [-speed, 0, 0]])
    md = MD(model, x, "O", velocities=v, dt=1.4, threads=1, **options)
    states = {}
    with pytest.raises(Diverged) as caught:
        for _ in range(50):
            states[md.step] = md.state
            md.run(1)
    text = str(caught.value)
    assert f"step {md.step + 1}:" in text and ("atom 1" in text or "atom 2" in text or "atoms 1 and 2" in text)
    assert f"state of step {md.step} kept" in text
    for key in ("x", "v", "f", "heat"):
        assert np.array_equal(md.state[key], states[md.step][key])
