"""The trainer: predictions, loss and its closed-form gradient against the references and finite differences."""

import copy

import numpy as np
import pytest
from reference import loss as reference_loss
from reference import msr
from reference.loss import Frame, Loss
from reference.systems import (
    LJ_TERMS,
    MASKS,
    RS,
    SW_TERMS,
    TRICLINIC,
    ZBL_TERM,
    agree,
    bp_case,
    msr_case,
    random_system,
    spec,
)

from nnpcore import _core, structures

KINDS = {"square": 0, "huber": 1}
MODELS = {
    "msr1": (1, 0.0, ()),
    "msr1-rs-sw": (1, RS, (SW_TERMS,)),
    "msr2-lj": (2, 0.0, tuple(LJ_TERMS)),
    "msr3": (3, 0.0, ()),
    "msr3-rs-zbl": (3, RS, (ZBL_TERM,)),
    "bp1": (1, 0.0, ()),
    "bp3-zbl": (3, 0.0, (ZBL_TERM,)),
}


def frames_of(model, n_species, rng):
    """Four frames: bulk, slab, cluster and a small cell; residuals on either side of the thresholds of loss_of.

    None lies within a tenth of its threshold, where Huber's curvature jumps and differences would be wrong.
    """

    def away(threshold, shape):
        inside = rng.random(shape) < 0.5
        size = np.where(inside, rng.uniform(0.1, 0.9, shape), rng.uniform(1.1, 3.0, shape))
        return threshold * size * rng.choice([-1, 1], shape)

    out = []
    for n, cell, pbc in (
        (10, TRICLINIC, MASKS[7]),
        (7, TRICLINIC, MASKS[5]),
        (5, None, MASKS[0]),
        (3, TRICLINIC * 0.55, MASKS[7]),
    ):
        x, s = random_system(rng, n_species, n, TRICLINIC if cell is None else cell, 1.7)
        r = model.compute(x, s, cell=cell, pbc=pbc)
        stress = None if r.stress is None else r.stress + away(0.02, 6)
        energy = r.energy + n * away(0.1, ())
        forces = r.forces + away(0.25, (n, 3))
        out.append(Frame(x, s, cell, pbc, energy, forces, stress, weight=rng.uniform(0.5, 2)))
    return out


def trainer_of(model, frames, n_threads=1, precision=0):
    t = _core.Trainer(model.to_bytes(), n_threads, precision)
    for f in frames:
        add(t, f)
    return t


def add(t, f):
    pbc = np.array(f.pbc, dtype=np.int32)
    species = np.ascontiguousarray(f.species, dtype=np.int32)
    t.add(species, f.positions, f.cell, pbc, f.energy, f.forces, f.stress, f.weight)


def gradient(t, theta, which, loss):
    terms, grad = t.gradient(
        np.array(theta),
        np.array(which, dtype=np.int32),
        KINDS[loss.kind],
        loss.w_energy,
        loss.w_force,
        loss.w_stress,
        loss.delta_energy,
        loss.delta_force,
        loss.delta_stress,
    )
    return np.array(terms), np.array(grad)


@pytest.fixture(params=MODELS)
def setup(request, rng):
    n_species, rs, terms = MODELS[request.param]
    bp = request.param.startswith("bp")
    c = bp_case(n_species, seed=3, terms=terms) if bp else msr_case(n_species, rs, terms, seed=3)
    frames = frames_of(c.model, n_species, rng)
    return c, frames, trainer_of(c.model, frames)


def loss_of(kind, parts):
    weights = {f"w_{part}": w for part, w in (("energy", 1.3), ("force", 0.7), ("stress", 40.0)) if part in parts}
    return Loss(kind, **weights, delta_energy=0.1, delta_force=0.25, delta_stress=0.02)


def test_predictions(setup):
    c, frames, t = setup
    energies, forces, stresses = t.predict(np.array(c.model.theta), np.array([3, 0, 2], dtype=np.int32))
    picked = [frames[k] for k in (3, 0, 2)]
    expected = [c.model.compute(f.positions, f.species, cell=f.cell, pbc=f.pbc) for f in picked]
    agree(energies, [e.energy for e in expected], 1e-12)
    agree(forces, np.concatenate([e.forces for e in expected]), 1e-12)
    for k in (0, 1):
        agree(np.asarray(stresses)[k], expected[k].stress, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_the_reference_loss(setup, kind):
    """Terms at other parameters than the model's, of a batch with repeats, against the reference."""
    c, frames, t = setup
    theta = np.array(c.model.theta) + 0.01 * np.sin(np.arange(c.model.n_parameters))
    loss = loss_of(kind, ("energy", "force", "stress"))
    terms, _ = gradient(t, theta, [0, 2, 2, 3], loss)
    parts = np.zeros(3)
    for k in (0, 2, 2, 3):
        f = frames[k]
        shifted = c.model.replace(theta=theta)
        r = shifted.compute(f.positions, f.species, cell=f.cell, pbc=f.pbc)
        parts[0] += f.weight * loss.w_energy * loss.of((r.energy - f.energy) / len(f.species), loss.delta_energy)
        parts[1] += f.weight * loss.w_force * loss.of(r.forces - f.forces, loss.delta_force).mean()
        if f.stress is not None:
            parts[2] += f.weight * loss.w_stress * loss.of(r.stress - f.stress, loss.delta_stress).mean()
    agree(terms, np.array([parts.sum(), *parts]) / 4, 1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [("energy",), ("force",), ("stress",), ("energy", "force", "stress")], ids="+".join)
def test_gradient(setup, kind, parts, rng):
    """Two hundred parameters, every exponent and mu among them, against differences of the trainer's own loss: 1e-6."""
    c, _, t = setup
    theta = np.array(c.model.theta)
    loss = loss_of(kind, parts)
    batch = [0, 1, 2, 3]
    _, grad = gradient(t, theta, batch, loss)
    fingerprint_numbers = np.flatnonzero(c.model.mask("alpha", "triplet", "mu"))
    others = np.setdiff1d(np.arange(len(theta)), fingerprint_numbers)
    which = np.concatenate([fingerprint_numbers, rng.permutation(others)[: 200 - len(fingerprint_numbers)]])
    h = 1e-4
    numeric = np.zeros(len(which))
    for k, p in enumerate(which):
        values = []
        for q in (-2 * h, -h, h, 2 * h):
            shifted = theta.copy()
            shifted[p] += q
            values.append(gradient(t, shifted, batch, loss)[0][0])
        numeric[k] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    error = np.abs(grad[which] - numeric)
    assert np.abs(numeric).max() > 1e-6
    assert (error <= 1e-6 * np.maximum(np.abs(numeric), 1e-2 * np.abs(numeric).max())).all(), (
        f"theta[{which[error.argmax()]}] ({c.model.parameter_names()[which[error.argmax()]]}): "
        f"{grad[which[error.argmax()]]:.10g}, differences give {numeric[error.argmax()]:.10g}"
    )


def test_gradient_against_the_reference_loss(rng):
    """No engine on the right-hand side: the reference's loss, differentiated numerically."""
    architecture = spec(2)
    c = msr_case(2, seed=3)
    frames = frames_of(c.model, 2, rng)[:3]
    theta = np.array(c.model.theta)
    which = rng.permutation(len(theta))[:10]
    loss = loss_of("square", ("energy", "force", "stress"))
    terms, grad = gradient(trainer_of(c.model, frames), theta, [0, 1, 2], loss)
    agree(terms, reference_loss.terms(architecture, theta, frames, loss), 1e-11)
    numeric = reference_loss.gradient(architecture, theta, frames, loss, which)
    assert grad[which] == pytest.approx(numeric, rel=1e-6, abs=1e-7 * np.abs(numeric).max())
    assert msr.n_parameters(architecture) == len(theta)


def test_missing_labels_take_no_part(rng):
    c = msr_case(2, seed=3)
    f = frames_of(c.model, 2, rng)[0]
    loss = loss_of("square", ("energy", "force", "stress"))
    t = trainer_of(c.model, [f])
    for only in ("energy", "forces", "stress"):
        labels = {k: getattr(f, k) if k == only else None for k in ("energy", "forces", "stress")}
        add(t, Frame(f.positions, f.species, f.cell, f.pbc, **labels, weight=f.weight))
    theta = np.array(c.model.theta)
    whole_terms, whole = gradient(t, theta, [0], loss)
    alone = [gradient(t, theta, [k], loss) for k in (1, 2, 3)]
    agree(sum(g for _, g in alone), whole, 1e-12)
    for k, (terms, _) in enumerate(alone):
        expected = np.zeros(4)
        expected[0] = expected[1 + k] = whole_terms[1 + k]
        agree(terms, expected, 1e-13)


def test_batch_is_the_mean_and_weights_scale(rng):
    c = msr_case(3, seed=3)
    frames = frames_of(c.model, 3, rng)
    t = trainer_of(c.model, frames)
    theta = np.array(c.model.theta)
    loss = loss_of("huber", ("energy", "force", "stress"))
    single = [gradient(t, theta, [k], loss) for k in range(4)]
    terms, grad = gradient(t, theta, [0, 1, 2, 3], loss)
    agree(terms, sum(s[0] for s in single) / 4, 1e-13)
    agree(grad, sum(s[1] for s in single) / 4, 1e-12)
    f = frames[0]
    f.weight *= 3
    heavy_terms, heavy = gradient(trainer_of(c.model, [f]), theta, [0], loss)
    agree(heavy_terms, 3 * single[0][0], 1e-13)
    agree(heavy, 3 * single[0][1], 1e-12)


def test_zero_loss_has_zero_gradient(rng):
    c = msr_case(1, seed=3)
    x, s = random_system(rng, 1, 8)
    r = c.model.compute(x, s, cell=TRICLINIC, pbc=True)
    t = trainer_of(c.model, [Frame(x, s, TRICLINIC, MASKS[7], r.energy, r.forces, r.stress)])
    terms, grad = gradient(t, np.array(c.model.theta), [0], loss_of("square", ("energy", "force", "stress")))
    assert np.abs(terms).max() < 1e-20 and np.abs(grad).max() < 1e-9


def test_threads_do_not_change_a_bit(rng):
    c = msr_case(3, RS, (ZBL_TERM,), seed=3)
    frames = [f for _ in range(3) for f in frames_of(c.model, 3, rng)]
    theta, batch = np.array(c.model.theta), list(range(len(frames)))
    loss = loss_of("huber", ("energy", "force", "stress"))
    results = {
        b"".join(a.tobytes() for a in gradient(trainer_of(c.model, frames, n), theta, batch, loss))
        for n in (1, 2, 3, 8)
    }
    assert len(results) == 1


def test_float32_gradient(rng):
    c = msr_case(2, seed=3)
    frames = frames_of(c.model, 2, rng)
    theta = np.array(c.model.theta)
    loss = loss_of("square", ("energy", "force", "stress"))
    terms, grad = gradient(trainer_of(c.model, frames), theta, [0, 1, 2, 3], loss)
    terms32, grad32 = gradient(trainer_of(c.model, frames, precision=1), theta, [0, 1, 2, 3], loss)
    agree(terms32 / terms[0], terms / terms[0], 1e-4)
    assert np.linalg.norm(grad32 - grad) <= 1e-4 * np.linalg.norm(grad)


def test_bad_input_is_named(rng):
    c = msr_case(1, seed=3)
    f = frames_of(c.model, 1, rng)[0]
    t = trainer_of(c.model, [f])
    theta, loss = np.array(c.model.theta), loss_of("square", ("energy",))
    errors = (ValueError, RuntimeError, IndexError)
    with pytest.raises(errors):
        gradient(t, theta, [1], loss)
    with pytest.raises(errors):
        gradient(t, theta, [-1], loss)
    with pytest.raises(errors):
        gradient(t, theta[:-1], [0], loss)
    assert np.isnan(gradient(t, np.full_like(theta, np.nan), [0], loss)[0][0])  # the training loop's to see
    for label in ("energy", "forces", "stress", "weight"):
        bad = copy.copy(f)
        setattr(bad, label, getattr(f, label) * np.nan)
        with pytest.raises(errors, match="finite"):
            add(t, bad)


def test_a_frame_large_enough_to_be_reordered(rng):
    """Atoms in random order over many cells of the list: labels and predictions stay in the caller's order."""
    c = msr_case(2, 0.0, tuple(LJ_TERMS), seed=3)
    x, cell = structures.diamond(6.3, (3, 3, 3))
    x = (x + rng.uniform(-0.3, 0.3, x.shape))[rng.permutation(len(x))] + rng.integers(-1, 2, x.shape) @ cell
    s = rng.integers(0, 2, len(x)).astype(np.int32)
    r = c.model.compute(x, s, cell=cell, pbc=True)
    t = trainer_of(c.model, [Frame(x, s, cell, MASKS[7], r.energy, r.forces, r.stress)])
    theta, batch = np.array(c.model.theta), np.array([0], dtype=np.int32)
    _, forces, _ = t.predict(theta, batch)
    agree(forces, r.forces, 1e-12)
    terms, _ = gradient(t, theta, [0], loss_of("square", ("energy", "force", "stress")))
    assert np.abs(terms).max() < 1e-20
