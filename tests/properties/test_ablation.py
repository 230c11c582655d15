"""bench/ablation.py: inputs held at their mean do what the formula says, and every one is found under its name."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from reference.systems import TRICLINIC, case, random_system

from nnpcore.data import Frame

path = Path(__file__).resolve().parents[2] / "bench" / "ablation.py"
if not path.is_file():
    pytest.skip("bench/ is not beside the tests", allow_module_level=True)
spec = importlib.util.spec_from_file_location("ablation", path)
ablation = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ablation)


def frames(model, rng, noise=0.0):
    """Three frames labelled by the model itself, plus noise on the forces."""
    out = []
    for _ in range(3):
        x, s = random_system(rng, len(model.species), 14)
        r = model.compute(x, s, cell=TRICLINIC, pbc=True)
        kinds = tuple(model.species[k] for k in s)
        forces = r.forces + noise * rng.normal(size=r.forces.shape)
        out.append(Frame(kinds, x, TRICLINIC, (True,) * 3, r.energy, forces, r.stress))
    return out


def test_channels_cover_every_input_once():
    model = case("msr3").model
    names = [name for name, _ in ablation.channels(model, 1)]
    assert names == [f"Si:{c}" for c in ("O", "Si", "Ge", "O-O", "O-Si", "O-Ge", "Si-Si", "Si-Ge", "Ge-Ge")]
    for s, n in enumerate(model.n_fingerprints):
        assert np.concatenate([c for _, c in ablation.channels(model, s)]).tolist() == list(range(n))
        single = [c[0] for kind, _, of, c in ablation.parts(model) if kind == "fingerprint" and of == s]
        assert single == list(range(n))


def test_a_frozen_channel_is_blind_to_its_partners(rng):
    """Centre O without its O-Ge and Ge inputs: E of an O among O and Ge no longer depends on where the Ge are."""
    model = case("msr3-even").model
    x = np.array([[0.0, 0, 0], [2.1, 0, 0], [0, 2.4, 0]])
    moved = x + [[0, 0, 0], [0, 0, 0], [0, 0.5, 0.3]]
    of = dict(ablation.channels(model, 0))
    columns = np.concatenate([of["O:Ge"], of["O:O-Ge"]])
    for m, blind in ((model, False), (ablation.frozen(model, 0, columns, rng.normal(size=20)), True)):
        energies = [m.compute(p, [0, 0, 2]).energies[:1] for p in (x, moved)]
        assert (abs(energies[0] - energies[1]) < 1e-13) == blind


def test_all_inputs_at_the_mean_leave_a_constant(rng):
    model = case("msr1").model
    rows = ablation.ablation(model, frames(model, rng))
    assert rows[0]["force_rmse[meV/A]"] < 1e-9 and rows[0]["energy_rmse[meV/atom]"] < 1e-9
    species = next(r for r in rows if r["kind"] == "species")
    rng = np.random.default_rng(list(b"test_all_inputs_at_the_mean_leave_a_constant"))
    labels = np.concatenate([f.forces for f in frames(model, rng)])  # prediction: no force at all
    assert species["force_rmse[meV/A]"] == pytest.approx(1e3 * np.sqrt((labels**2).mean()), rel=1e-12)


def test_frozen_at_the_mean_of_the_data(rng):
    """The constant is the network at the mean input, not at zero."""
    model = case("msr1").model
    data = frames(model, rng)
    errors = ablation.Errors(model, data)
    h = errors.means[0]
    out = ablation.frozen(model, 0, np.arange(7), h).compute(data[0].positions, "O", cell=TRICLINIC)
    t = model.tensors
    for layer in (0, 1):
        h = np.tanh(h @ t[f"net.O.{layer}.weight"] + t[f"net.O.{layer}.bias"])
    expected = model.e0[0] + (h @ t["net.O.2.weight"] + t["net.O.2.bias"])[0]
    np.testing.assert_allclose(out.energies, expected, rtol=1e-13)
    assert np.abs(out.forces).max() == 0


def test_an_input_without_weight_is_idle(rng):
    model = case("msr3").model
    data = frames(model, rng, noise=0.05)
    tensors = {name: np.array(value) for name, value in model.tensors.items()}
    tensors["net.Si.0.weight"][2] = 0
    name = next(n for kind, n, s, c in ablation.parts(model) if kind == "fingerprint" and s == 1 and c[0] == 2)
    assert name not in ablation.idle(ablation.ablation(model, data))
    rows = ablation.ablation(model.replace(tensors=tensors), data)
    assert name in ablation.idle(rows) and rows[0]["kind"] == "all"
    assert next(r for r in rows if r["part"] == name)["force_rise[meV/A]"] == 0
