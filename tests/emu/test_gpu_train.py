"""The loss gradient on the device against the C core's trainer and against finite differences of the loss."""

import numpy as np
import pytest
from test_gpu_msr import MODELS, batch, model_of

import nnpcore
from nnpcore import _core
from nnpcore.gpu.train import Trainer
from nnpcore.validate import InputError

PARTS = {"energy": (1.3, 0, 0), "force": (0, 0.7, 0), "stress": (0, 0, 40.0), "all": (1.3, 0.7, 40.0)}


def frames_of(model, rng):
    """[(species, x, cell, pbc, energy, forces, stress, weight)] of batch(): residuals large and small."""
    out = []
    for species, cell, pbc, x in batch(rng, len(model.species)):
        r = model.compute(x, species, cell, pbc)
        energy = r.energy + len(x) * rng.normal() * 0.1
        forces = r.forces + rng.normal(size=x.shape) * 0.3
        stress = None if r.stress is None else r.stress + rng.normal(size=6) * 0.02
        out.append((species, x, cell, np.array(pbc, np.int32), energy, forces, stress, rng.uniform(0.5, 2)))
    species, x, cell, pbc, *_ = out[0]
    return [*out, (species, x + 0.01, cell, pbc, None, None, None, 1.0)]


def trainers(model, frames, precision="float64"):
    """(the device's, the core's)"""
    pair = Trainer(model, precision), _core.Trainer(model.to_bytes(), 1, {"float64": 0, "float32": 1}[precision])
    for trainer in pair:
        for frame in frames:
            trainer.add(*frame)
    return pair


def agree(got, want, tolerance):
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * (np.abs(want).max() + 1e-3))


def losses():
    for kind in (0, 1):
        for weights in PARTS.values():
            yield (kind, *weights, 0.1, 0.25, 0.02)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_of_the_core(device, rng, name, precision):
    model = model_of(name)
    mine, core = trainers(model, frames_of(model, rng), precision)
    theta = np.array(model.theta)
    tolerance = 5e-13 if precision == "float64" else 2e-5
    for number, (loss, frames) in enumerate(zip(losses(), ([0, 1, 2, 3, 4], [1], [3, 0]) * 3, strict=False)):
        device.seed = number
        mine.evaluator.fingerprints.team = (8, 32, 16)[number % 3]
        frames = np.array(frames, dtype=np.int32)
        (terms, grad), (terms0, grad0) = (t.gradient(theta, frames, *loss) for t in (mine, core))
        agree(terms, terms0, tolerance)
        agree(grad, grad0, tolerance)
        theta = theta + 0.01 * rng.normal(size=theta.shape)


@pytest.mark.parametrize("name", ["one species", "two species"])
def test_predictions_fingerprints_and_sketches_of_the_core(device, rng, name):
    model = model_of(name)
    mine, core = trainers(model, frames_of(model, rng))
    theta, frames = np.array(model.theta), np.array([2, 0, 3, 1], dtype=np.int32)
    for got, want in zip(mine.predict(theta, frames), core.predict(theta, frames), strict=True):
        agree(got, want, 5e-13)
    for frame in range(4):
        agree(mine.fingerprints(theta, frame), core.fingerprints(theta, frame), 5e-13)
    sketches = [t.sketch(theta, frames, 12345, 1.3, 0.7, 40.0) for t in (mine, core)]
    agree(*sketches, 5e-13)


def test_gradient_by_differences(device, rng):
    model = model_of("two species")
    mine, _ = trainers(model, frames_of(model, rng))
    theta, frames, loss = np.array(model.theta), np.array([1, 2], dtype=np.int32), (0, 1.3, 0.7, 40.0)
    grad = mine.gradient(theta, frames, *loss)[1]
    for i in [*range(8), *rng.permutation(len(theta))[:8]]:
        h = 1e-4
        values = []
        for step in (-2, -1, 1, 2):
            moved = theta.copy()
            moved[i] += step * h
            values.append(mine.gradient(moved, frames, *loss, with_gradient=False)[0][0])
        slope = (8 * (values[2] - values[1]) - (values[3] - values[0])) / (12 * h)
        assert abs(slope - grad[i]) <= 1e-8 * np.abs(grad).max()


def test_many_tiles_and_the_same_bits(device, rng, monkeypatch):
    from nnpcore.gpu import train

    model = model_of("one species")
    mine, core = trainers(model, frames_of(model, rng))
    monkeypatch.setattr(train, "SLABS", 2)  # several tiles a block
    theta, frames = np.array(model.theta), np.array([0, 1, 2, 3, 0, 2, 0, 0], dtype=np.int32)
    results = []
    for seed in (0, 3):
        device.seed = seed
        results.append(mine.gradient(theta, frames, 1, 1.0, 1.0, 1.0, 0.1, 0.2, 0.1)[1])
    assert results[0].tobytes() == results[1].tobytes()
    agree(results[0], core.gradient(theta, frames, 1, 1.0, 1.0, 1.0, 0.1, 0.2, 0.1)[1], 5e-13)


def test_bad_input_is_named(emulated, rng):
    model = model_of("smooth, short range")
    mine = Trainer(model)
    species, pbc = np.zeros(2, np.int32), np.zeros(3, np.int32)
    x = np.array([[0.0, 0, 0], [0, 0, 0.8]])
    with pytest.raises(RuntimeError, match="energy label, number 0 is nan"):
        mine.add(species, x, None, pbc, energy=np.nan)
    with pytest.raises(RuntimeError, match="a stress label needs a cell"):
        mine.add(species, x, None, pbc, stress=np.zeros(6))
    with pytest.raises(RuntimeError, match="atoms 0 and 1 are closer than"):
        mine.add(species, x * 1e-6, None, pbc)
    mine.add(species, x, None, pbc, 0.0)
    theta = np.array(model.theta)
    with pytest.raises(ValueError, match="empty batch"):
        mine.gradient(theta, np.zeros(0, np.int32))
    with pytest.raises(RuntimeError, match="frame 3 of 1"):
        mine.gradient(theta, np.array([3], np.int32))
    with pytest.raises(ValueError, match="n_parameters"):
        mine.gradient(theta[1:], np.array([0], np.int32))
    with pytest.raises(RuntimeError, match="Huber's deltas"):
        mine.gradient(theta, np.array([0], np.int32), 1, delta_force=0.0)
    wild = theta.copy()
    wild[0] = 1e4
    with pytest.raises(RuntimeError, match="exponents reach 10000"):
        mine.gradient(wild, np.array([0], np.int32))
    wild[0] = 690.0
    with pytest.raises(RuntimeError, match=r"frame 0 has atoms 0\.8 Angstrom apart"):
        mine.gradient(wild, np.array([0], np.int32))
    emulated._memory = (1000, 2000)
    mine.add(species, x, None, pbc, 0.0)
    with pytest.raises(InputError, match=r"2 frames: 4 atoms need about .* atoms fit"):
        mine.gradient(theta, np.array([0], np.int32))


def liquid(rng, model, n_frames):
    """Frames of a small cell with random labels."""
    from nnpcore.data import Frame

    frames = []
    for k in range(n_frames):
        species, cell, pbc, x = batch(rng, len(model.species))[0]
        symbols = [model.species[s] for s in species]
        forces, stress = rng.normal(size=x.shape) * 0.3, rng.normal(size=6) * 0.01
        frames.append(Frame(symbols, x, cell, pbc, rng.normal(), forces, stress, source=f"made@{k}"))
    return frames


@pytest.mark.parametrize("kind", ["adam", "eigen"])
def test_a_run_is_the_same_on_both_devices(device, rng, tmp_path, kind):
    from nnpcore import config
    from nnpcore.training import Training

    species = {"adam": ["H", "O"], "eigen": ["O"]}[kind]
    model = nnpcore.Model.msr(species, 3.4, n2=1, n3=1, hidden=[1], seed=9)
    tolerance = {"adam": 1e-9, "eigen": 1e-4}[kind]  # eigen turns vectors in float32
    frames = liquid(rng, model, 5)

    def run(where, folder, epochs, resume=False):
        table = {
            "train": {"epochs": epochs, "batch": 2, "device": where, "checkpoint_seconds": 0.0, "seed": 4},
            "optimizer": {"kind": kind, "first_steps": 2, "basis_steps": 100},  # the basis is Trainer.sketch()'s
            "loss": {"stress": 1.0},
            "schedule": {"kind": "constant"},
        }
        with Training(model, frames[:4], frames[4:], config.convert(table), folder, quiet=True) as work:
            if resume:
                assert work.resume()
            else:
                work.initialise()
            return work.run()

    results = [run(where, tmp_path / where, 2) for where in ("cpu", "gpu")]
    agree(results[1].model.theta, results[0].model.theta, tolerance)
    for got, want in zip(results[1].history, results[0].history, strict=True):
        agree([*got.values()], [*want.values()], tolerance)
    assert {p.name for p in (tmp_path / "gpu").iterdir()} == {p.name for p in (tmp_path / "cpu").iterdir()}
    on_gpu, on_cpu = run("gpu", tmp_path / "gpu", 3, resume=True), run("cpu", tmp_path / "cpu", 3, resume=True)
    agree(on_gpu.history[-1]["valid_loss[1]"], on_cpu.history[-1]["valid_loss[1]"], tolerance)
    again = run("cpu", tmp_path / "gpu", 4, resume=True)  # a run may change the device
    assert again.history[-1]["epoch[1]"] == 4


def test_a_run_without_a_gpu_is_refused(rng, tmp_path):
    from nnpcore import config
    from nnpcore.gpu import backend
    from nnpcore.training import Training

    try:
        backend._cuda()
    except InputError as error:
        text = str(error)
    else:
        pytest.skip("there is a GPU")
    model = model_of("two species")
    settings = config.convert({"train": {"epochs": 1, "device": "gpu"}})
    with pytest.raises(InputError, match=r'^device "gpu"') as caught:
        Training(model, liquid(rng, model, 1), [], settings, tmp_path / "run", quiet=True)
    assert str(caught.value) == text


def test_turn_is_that_of_the_core(device, rng):
    from nnpcore.adam import turn_on_cpu
    from nnpcore.gpu.train import Turn

    blocks, turn = [slice(0, 7), slice(7, 160)], Turn()
    for _ in range(2):  # another basis, noticed by itself
        basis = [rng.normal(size=(b.stop - b.start,) * 2).astype(np.float32) for b in blocks]
        for transpose in (False, True, False):
            x = rng.normal(size=160).astype(np.float32)
            agree(turn(blocks, basis, x, transpose), turn_on_cpu(blocks, basis, x, transpose), 1e-6)


def bp_model():
    """Two species with radial and angular functions, scaled inputs and a baseline."""
    radial = [{"type": 2, "eta": eta, "rs": rs, "rc": 4.0, "cutoff": 2} for eta, rs in ((0.5, 0.0), (2.0, 2.0))]
    angular = [
        {"type": kind, "eta": 0.1, "rs": 0.0, "lambda": sign, "zeta": zeta, "rc": 3.6, "cutoff": 1}
        for kind in (3, 9)
        for sign, zeta in ((1, 1), (-1, 4))
    ]
    functions = {}
    for symbol in ("Si", "Ge"):
        functions[symbol] = [{**f, "partners": [t]} for f in radial for t in ("Si", "Ge")]
        pairs = (["Si", "Si"], ["Si", "Ge"], ["Ge", "Ge"])
        functions[symbol] += [{**f, "partners": pairs[k % 3]} for k, f in enumerate(angular)]
    n = {symbol: len(f) for symbol, f in functions.items()}
    centre, factor = ({s: np.full(k, v) for s, k in n.items()} for v in (0.3, 1.7))
    zbl = nnpcore.Model.zbl(["Si", "Ge"], 1.0, 2.2)
    return nnpcore.Model.bp(
        ["Si", "Ge"],
        functions,
        hidden=[9, 5],
        activation="softplus",
        centre=centre,
        factor=factor,
        baseline=zbl,
        seed=3,
    )


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_behler_parrinello_models_train_too(device, rng, precision):
    model = bp_model()
    mine, core = trainers(model, frames_of(model, rng), precision)
    theta, frames, loss = (
        np.array(model.theta),
        np.array([0, 1, 3], dtype=np.int32),
        (1, 1.3, 0.7, 40.0, 0.1, 0.25, 0.02),
    )
    tolerance = 1e-12 if precision == "float64" else 3e-5
    for got, want in zip(mine.gradient(theta, frames, *loss), core.gradient(theta, frames, *loss), strict=True):
        agree(got, want, tolerance)
    agree(mine.sketch(theta, frames, 5, 1.0, 1.0, 1.0), core.sketch(theta, frames, 5, 1.0, 1.0, 1.0), tolerance)
    agree(mine.fingerprints(theta, 1), core.fingerprints(theta, 1), tolerance)
