"""Behler-Parrinello models: the function dicts' checks, the file, activations, scaling, extrapolation, training."""

import json

import numpy as np
import pytest
from reference import bp as reference
from reference.systems import TRICLINIC, agree, bp_case, random_system

import nnpcore
from nnpcore import Model, _core, bp, config, data, extrapolation, md
from nnpcore.modelfile import ModelFileError, encode
from nnpcore.validate import InputError

RADIAL = {"type": 2, "partners": ["O"], "eta": 0.4, "rc": 4.0}
NARROW = {"type": 3, "partners": ["O", "O"], "eta": 0.1, "lambda": 1, "zeta": 2, "rc": 4.0}
COMPACT = {"type": 20, "partners": ["O"], "r_low": 0.5, "r_high": 4.0, "subtype": "p2"}


def small(**more):
    return Model.bp(["O"], [RADIAL, NARROW, COMPACT], hidden=(4,), **more)


def test_defaults_are_filled_in_and_partners_sorted():
    model = Model.bp(["H", "O"], {"H": [{**NARROW, "partners": ["O", "H"]}], "O": [RADIAL]})
    first = model.metadata["bp"]["functions"][0][0]
    assert first["partners"] == ["H", "O"] and first["cutoff"] == 1 and first["alpha"] == 0.0 and first["rs"] == 0.0
    assert model.n_fingerprints == [1, 1] and model.cutoff == 4.0 and model.method == "bp"
    assert not model.exponents.any()


@pytest.mark.parametrize(
    "change, text",
    [
        ({"type": 4}, "type 4 is not one of"),
        ({"type": "2"}, "type '2' is not one of"),
        ({"partners": ["H"]}, "partners are ['H'], expected 1 of O"),
        ({"partners": ["O", "O"]}, "expected 1 of O"),
        ({"eta": -1.0}, "eta is -1.0, expected 0 or more"),
        ({"eta": float("nan")}, "eta: expected a finite number"),
        ({"rc": 0.0}, "rc is 0.0, expected a number above 0"),
        ({"cutoff": 9}, "cutoff is 9, expected 0 to 8"),
        ({"cutoff": 1.5}, "cutoff is 1.5, expected an integer"),
        ({"alpha": 1.0}, "alpha is 1.0, expected 0 or more and below 1"),
        ({"zeta": 2.0}, "'zeta' is not a parameter of type 2"),
    ],
)
def test_bad_functions_are_named(change, text):
    with pytest.raises(InputError) as error:
        Model.bp(["O"], [NARROW, {**RADIAL, **change}])
    assert "functions of O, number 1" in str(error.value) and text in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["eta", "rc", "partners"])
def test_missing_parameters_are_named(key):
    broken = {k: v for k, v in RADIAL.items() if k != key}
    with pytest.raises(InputError, match=f"number 0: '{key}' is missing for type 2"):
        Model.bp(["O"], [broken])


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"functions": {"H": [RADIAL]}}, "'H' is not one of the species"),
        ({"functions": []}, "O has none"),
        ({"centre": [[1.0]]}, "centre: O has 1 numbers, expected 3"),
        ({"minimum": [[0.0] * 3]}, "expected both or neither"),
        ({"activation": "sine"}, "activation"),
        ({"activation": ["tanh", "tanh"]}, "activation"),
        ({"weights": {"O": []}}, "O has 0 layers, expected 2"),
        ({"weights": {"O": [(np.zeros((3, 4)), np.zeros(4)), (np.zeros((4, 2)), np.zeros(1))]}}, "shape [4, 2]"),
    ],
)
def test_bad_arguments_are_named(arguments, text):
    with pytest.raises(InputError) as error:
        Model.bp(**{"species": ["O"], "functions": [RADIAL, NARROW, COMPACT], "hidden": (4,), **arguments})
    assert text in str(error.value)


def test_round_trip():
    model = bp_case(3).model
    again = Model.from_bytes(model.to_bytes())
    assert again == model and again.metadata == model.metadata and again.n_fingerprints == model.n_fingerprints
    assert "gaussian" not in str(small()) and "3  O O" in str(small())
    json.dumps(model.describe())


def edited(model, edit):
    """Bytes of the model after edit(metadata), whatever that makes of it."""
    metadata = model.metadata
    edit(metadata)
    return encode(metadata, model._shapes, model.theta)


@pytest.mark.parametrize(
    "edit, text",
    [
        (lambda m: m["bp"].pop("functions"), "'functions' is missing"),
        (lambda m: m["bp"]["functions"].append([]), "has 2 entries, not 1"),
        (lambda m: m["bp"]["functions"].__setitem__(0, []), "not a list of 1 to"),
        (lambda m: m["bp"]["functions"][0].__setitem__(0, 3), "not an object"),
        (lambda m: m["bp"]["functions"][0][0].__setitem__("type", 7), "'type' of a symmetry function is 7"),
        (lambda m: m["bp"]["functions"][0][0].__setitem__("partners", ["H"]), "'partners' holds a species"),
        (lambda m: m["bp"]["functions"][0][0].__setitem__("cutoff", 9), "'cutoff'"),
        (lambda m: m["bp"]["functions"][0][1].__setitem__("zeta", 0.5), "'zeta'"),
        (lambda m: m["bp"]["functions"][0][1].__setitem__("lambda", 2), "'lambda'"),
        (lambda m: m["bp"]["functions"][0][2].__setitem__("subtype", "p9"), "'subtype'"),
        (lambda m: m["bp"]["functions"][0][2].__setitem__("r_low", 4.0), "'r_low'"),
        (lambda m: m["bp"].__setitem__("centre", [[0.0]]), "'centre'"),
        (lambda m: m["bp"].__setitem__("minimum", [[0.0] * 3]), "belong together"),
        (lambda m: m["network"][0].__setitem__("activation", ["sine"]), "'activation'"),
    ],
)
def test_the_core_refuses(edit, text):
    with pytest.raises(ModelFileError) as error:
        Model.from_bytes(edited(small(), edit))
    assert text in str(error.value)


@pytest.mark.parametrize("name", bp.ACTIVATIONS)
def test_activations(name, rng):
    """Energies and forces against the reference, the loss gradient against differences."""
    model = Model.bp(["O"], [RADIAL, NARROW, COMPACT], hidden=(5, 4), activation=[name, "tanh"])
    model.theta = rng.normal(0, 0.7, model.n_parameters)
    x, s = random_system(rng, 1, 8)
    out = model.compute(x, s, cell=TRICLINIC, pbc=True)
    expected = reference.compute(model.metadata, model.tensors, x, s, TRICLINIC, True)
    agree(out.energies, expected.energies, 1e-13)
    agree(out.forces, expected.forces, 1e-12)
    single = model.compute(x, s, cell=TRICLINIC, pbc=True, precision="float32")
    agree(single.forces, expected.forces, 2e-5)
    trainer = _core.Trainer(model.to_bytes(), 1, 0)
    labels = out.forces + rng.normal(0, 0.3, out.forces.shape)
    trainer.add(s, x, TRICLINIC, np.ones(3, dtype=np.int32), out.energy + 1.0, labels, None, 1.0)
    frames, theta = np.zeros(1, dtype=np.int32), np.array(model.theta)
    grad = np.array(trainer.gradient(theta, frames)[1])
    h = 1e-4
    for p in rng.permutation(len(theta))[:12]:
        ahead, behind = theta.copy(), theta.copy()
        ahead[p] += h
        behind[p] -= h
        slope = (trainer.gradient(ahead, frames)[0][0] - trainer.gradient(behind, frames)[0][0]) / (2 * h)
        assert grad[p] == pytest.approx(slope, rel=1e-5, abs=1e-6 * np.abs(grad).max())


@pytest.mark.parametrize("kind", range(9))
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_cutoff_functions(kind, alpha):
    """fc(r) of a dimer: a function with eta = 0 is fc itself; slopes by differences."""
    model = Model.bp(["O"], [{**RADIAL, "eta": 0.0, "cutoff": kind, "alpha": alpha}], hidden=())
    model.theta = [1.0, 0.0]
    for r in (0.7, 1.5, 2.6, 3.9, 3.999, 4.0, 4.3):
        x = np.array([[0.0, 0, 0], [r, 0, 0]])
        out = model.compute(x, "O")
        expected = 2 * reference.cutoff(kind, np.array(r), 4.0, alpha)
        assert out.energy == pytest.approx(float(expected), rel=1e-11, abs=1e-13)
        if abs(r - 4.0) > 0.01 and abs(r - 1.2) > 0.01:
            h = 1e-5
            sides = [reference.cutoff(kind, np.array(r + d), 4.0, alpha) for d in (h, -h)]
            assert out.forces[1, 0] == pytest.approx(-2 * float(sides[0] - sides[1]) / (2 * h), rel=1e-7, abs=3e-8)


def triplets(etas, zetas=(1, 4), **more):
    """Narrow functions of O beside O-O and H-O, as many groups as exponents."""
    pairs = (["O", "O"], ["O", "H"])
    return [
        {**NARROW, "partners": pair, "eta": eta, "lambda": sign, "zeta": zeta, **more}
        for pair in pairs
        for eta in etas
        for sign in (1, -1)
        for zeta in zetas
    ]


ETAS = {
    "products": (0.02, 0.06, 0.14, 0.4),
    "apart": (0.05, 0.1234, 0.672),
    "none": (0.0, 0.3),
    "many": tuple(0.01 * 1.3**k for k in range(13)),
}


@pytest.mark.parametrize("etas, kind, alpha", [(k, 2, 0.0) for k in ETAS] + [("apart", k, 0.3) for k in range(9)])
def test_triplets_of_gaussians(etas, kind, alpha, rng):
    """Exponents that are multiples of one another or not, integer and other zeta, wide functions beside them."""
    narrow = triplets(ETAS[etas], (1, 4, 7, 2.5), cutoff=kind, alpha=alpha)
    wide = [{**f, "type": 9} for f in triplets((0.1,), (1, 16))]
    functions = {"O": [RADIAL, *narrow, *wide], "H": triplets(ETAS[etas][:2], (1, 6), cutoff=kind, alpha=alpha)}
    model = Model.bp(["O", "H"], functions, hidden=(6,))
    model.theta = rng.normal(0, 0.3, model.n_parameters)
    x, s = random_system(rng, 2, 14)
    out = model.compute(x, s, cell=TRICLINIC, pbc=True)
    expected = reference.compute(model.metadata, model.tensors, x, s, TRICLINIC, True)
    agree(out.energies, expected.energies, 1e-12)
    agree(out.forces, expected.forces, 1e-11)
    single = model.compute(x, s, cell=TRICLINIC, pbc=True, precision="float32")
    agree(single.forces, expected.forces, 2e-5)


@pytest.mark.parametrize("etas", ETAS)
def test_loss_gradient_of_triplets(etas, rng):
    model = Model.bp(["O", "H"], {"O": triplets(ETAS[etas], cutoff=2), "H": [{**RADIAL}]}, hidden=(4,))
    theta = rng.normal(0, 0.3, model.n_parameters)
    x, s = random_system(rng, 2, 10)
    trainer = _core.Trainer(model.to_bytes(), 1, 0)
    trainer.add(s, x, TRICLINIC, np.ones(3, dtype=np.int32), 1.0, rng.normal(0, 0.3, x.shape), None, 1.0)
    frames, direction, h = np.zeros(1, dtype=np.int32), rng.normal(0, 1, len(theta)), 1e-5
    slope = direction @ np.array(trainer.gradient(theta, frames)[1])
    ahead, behind = (trainer.gradient(theta + d * direction, frames)[0][0] for d in (h, -h))
    assert slope == pytest.approx((ahead - behind) / (2 * h), rel=1e-6)


def test_threads_and_neighbours_in_a_block_change_no_bit(rng):
    case = bp_case(3)
    x, s = random_system(rng, 3, 60, 2.2 * TRICLINIC)
    one = case.model.compute(x, s, cell=2.2 * TRICLINIC, pbc=True, n_threads=1)
    two = case.model.compute(x, s, cell=2.2 * TRICLINIC, pbc=True, n_threads=2)
    assert (one.forces == two.forces).all() and one.energy == two.energy


def frames_of(model, rng, n=3):
    frames = []
    for _ in range(n):
        x, s = random_system(rng, len(model.species), 12)
        out = model.compute(x, s, cell=TRICLINIC, pbc=True)
        names = [model.species[k] for k in s]
        frames.append(data.Frame(names, x, TRICLINIC, (True, True, True), out.energy, out.forces, out.stress))
    return frames


def test_training_scales_inputs_and_learns(rng):
    target = bp_case(1).model
    frames = frames_of(target, rng, 6)
    start = Model.bp(["O"], [RADIAL, NARROW, COMPACT, {**RADIAL, "rc": 0.5}], hidden=(6,), e0=target.e0)
    settings = config.convert({"train": {"epochs": 30, "batch": 2}, "optimizer": {"kind": "adam"}})
    training = nnpcore.training.Training(start, frames[:4], frames[4:], settings, quiet=True)
    training.initialise()
    spec = training.model.metadata["bp"]
    g = np.concatenate(
        [reference.fingerprints(start.metadata, f.positions, [0] * len(f), f.cell, True) for f in frames[:4]]
    )
    alive = [0, 1, 2]
    agree(spec["minimum"][0], g.min(axis=0), 1e-12)
    agree(spec["maximum"][0], g.max(axis=0), 1e-12)
    agree(np.array(spec["centre"][0])[alive], g.mean(axis=0)[alive], 1e-12)
    agree(np.array(spec["factor"][0])[alive] * g.std(axis=0)[alive], np.ones(3), 1e-10)
    assert spec["factor"][0][3] == 0.0  # never anything but 0 in the data
    result = training.run()
    losses = [row["valid_loss[1]"] for row in result.history]
    assert result.score < 0.5 * losses[0]
    assert result.model.metadata["bp"]["functions"] == start.metadata["bp"]["functions"]


def test_extrapolation_is_counted(rng):
    start = small(seed=1)
    frames = frames_of(start, rng)
    raw = [reference.fingerprints(start.metadata, f.positions, [0] * len(f), f.cell, True) for f in frames]
    g = np.concatenate(raw)
    low, high = np.sort(g[:, :3], axis=0)[2], np.sort(g[:, :3], axis=0)[-4]
    model = bp.rescaled(start, [[0.0] * 3], [[1.0] * 3], [low], [high])
    found = extrapolation.count(model, frames)
    outside = (g < low) | (g > high)
    assert found.atoms == outside.any(axis=1).sum() and found.n_atoms == len(g)
    assert (found.below["O"] == 2).all() and (found.above["O"] == 3).all()
    assert "2 below, 3 above" in str(found)
    json.dumps(found.document())
    for precision in (0, 1):
        work = _core.Workspace(model.core, 1, precision, 0.0)
        pbc = np.ones(3, dtype=np.int32)
        work.compute(np.zeros(12, dtype=np.int32), frames[0].positions, TRICLINIC, pbc, True, False)
        here = outside[:12]
        assert work.outside == (here.any(axis=1).sum(), here.sum())
    moving = md.MD(model, frames[0].positions, "O", TRICLINIC, dt=0.1)
    moving.run(1)
    assert moving.outside[0] > 0
    assert extrapolation.count(start, frames) is None and "none of" in str(
        extrapolation.count(bp.rescaled(start, [[0.0] * 3], [[1.0] * 3], [g.min(axis=0)], [g.max(axis=0)]), frames)
    )


def test_functions_from_files(tmp_path):
    table = {"O": [RADIAL, NARROW]}
    (tmp_path / "f.json").write_text(json.dumps(table))
    (tmp_path / "f.toml").write_text(
        '[[O]]\ntype = 2\npartners = ["O"]\neta = 0.4\nrc = 4.0\n'
        '[[O]]\ntype = 3\npartners = ["O", "O"]\neta = 0.1\nlambda = 1\nzeta = 2\nrc = 4.0\n'
    )
    assert bp.read_functions(tmp_path / "f.json") == bp.read_functions(tmp_path / "f.toml") == table
    small().save(tmp_path / "f.nnp")
    assert len(bp.read_functions(tmp_path / "f.nnp")["O"]) == 3
    (tmp_path / "bad.json").write_text("{")
    for name in ("none.toml", "bad.json"):
        with pytest.raises(InputError, match=name):
            bp.read_functions(tmp_path / name)
