"""Kept symmetry functions against those computed anew, and the Jacobian's rows against finite differences."""

import numpy as np
import pytest
from reference.systems import MASKS, TRICLINIC, bp_case, msr_case, random_system

from nnpcore import _core

LOSS = {"kind": 1, "w_energy": 0.7, "w_force": 1.3, "w_stress": 0.4}


def trainer_of(model, systems, precision=0, threads=1):
    trainer = _core.Trainer(model.to_bytes(), threads, precision)
    for x, s, cell, pbc in systems:
        mask = np.array(pbc, dtype=np.int32)
        energy, forces = np.float64(0.3), np.full_like(x, 0.2)
        trainer.add(
            np.ascontiguousarray(s, dtype=np.int32), x, cell, mask, energy, forces, np.ones(6) if all(pbc) else None
        )
    return trainer


def systems_of(n_species, rng):
    """Bulk, a slab, a cluster, a cell smaller than the cutoff, and more atoms than one chunk takes."""
    made = []
    for n, cell, pbc in (
        (10, TRICLINIC, MASKS[7]),
        (7, TRICLINIC, MASKS[5]),
        (5, None, MASKS[0]),
        (3, TRICLINIC * 0.55, MASKS[7]),
        (90, TRICLINIC * 2.2, MASKS[7]),
    ):
        x, s = random_system(rng, n_species, n, TRICLINIC if cell is None else cell, 1.7)
        made.append((x, s, cell, pbc))
    return made


@pytest.mark.parametrize("n_species", [1, 3])
@pytest.mark.parametrize("precision", [0, 1])
def test_kept_functions_give_the_same(rng, n_species, precision):
    model = bp_case(n_species).model
    systems = systems_of(n_species, rng)
    anew, kept, more = (trainer_of(model, systems, precision, threads) for threads in (1, 1, 2))
    assert kept.keep(10**8) == more.keep(10**8) > 0
    theta, frames = np.array(model.theta), np.arange(len(systems), dtype=np.int32)
    for a, b, c in zip(*(t.predict(theta, frames) for t in (anew, kept, more)), strict=True):
        np.testing.assert_allclose(b, a, atol=(1e-6 if precision == 0 else 1e-4) * np.abs(a).max())
        assert (b == c).all()
    (terms, a), (_, b), (_, c) = (t.gradient(theta, frames, **LOSS) for t in (anew, kept, more))
    assert np.isfinite(terms).all() and (b == c).all()
    assert np.linalg.norm(b - a) < (1e-6 if precision == 0 else 1e-4) * np.linalg.norm(a)
    a, b = (t.sketch(theta, frames, 5, w_stress=0.4) for t in (anew, kept))
    assert np.linalg.norm(b - a) < (1e-6 if precision == 0 else 1e-4) * np.linalg.norm(a)


def test_memory_is_bounded_and_partial(rng):
    model = bp_case(1).model
    systems = systems_of(1, rng)
    trainer = trainer_of(model, systems)
    assert trainer.keep(0) == 0
    whole = trainer_of(model, systems).keep(10**8)
    some = trainer.keep(whole - 1)  # all but the last frame, the largest
    assert 0 < some < whole / 2
    assert trainer.keep(whole - 1) == some  # again: nothing new
    theta, frames = np.array(model.theta), np.arange(len(systems), dtype=np.int32)
    for a, b in zip(trainer.predict(theta, frames), trainer_of(model, systems).predict(theta, frames), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6 * np.abs(b).max())
    assert trainer_of(msr_case(1).model, systems).keep(10**8) == 0  # fingerprints that training changes


@pytest.mark.parametrize("case", ["bp kept", "bp", "msr"])
@pytest.mark.parametrize("n_species", [1, 3])
def test_jacobian_against_differences(rng, case, n_species):
    model = (msr_case if case == "msr" else bp_case)(n_species).model
    systems = systems_of(n_species, rng)[:4]
    trainer, threads = trainer_of(model, systems), trainer_of(model, systems, threads=2)
    if case == "bp kept":
        assert trainer.keep(10**8) == threads.keep(10**8) > 0
    theta, h = np.array(model.theta), 1e-6
    along = rng.normal(size=len(theta))
    differences = trainer_of(model, systems)  # float64 throughout
    for k, (x, _, cell, _) in enumerate(systems):
        rows = np.arange(3 * len(x) + (1 if cell is None else 7), dtype=np.int32)
        frame = np.array([k], dtype=np.int32)
        up, down = (differences.predict(theta + s * h * along, frame) for s in (1, -1))
        e, f, s = ((a - b) / (2 * h) for a, b in zip(up, down, strict=True))
        wanted = np.concatenate([f.ravel(), e, s[0]])[: len(rows)]
        found = trainer.jacobian(theta, k, rows)
        np.testing.assert_allclose(found @ along, wanted, atol=2e-5 * np.abs(wanted).max())
        assert (found == threads.jacobian(theta, k, rows)).all()
        with pytest.raises(_core.NnpError, match="row 0 of the Jacobian"):
            trainer.jacobian(theta, k, np.array([len(rows)], dtype=np.int32))
