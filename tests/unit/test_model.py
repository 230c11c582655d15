"""nnpcore.Model: makers, parameters, bytes, files, and the checks of user input."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import nnpcore as nnp
from nnpcore import checkpoint, elements, msr, validate
from nnpcore.model import ModelFileError


def ternary(**changes):
    n3 = [[1, 2, 3, 0, 1, 2], [0, 0, 0, 0, 0, 1], [2, 2, 2, 2, 2, 2]]
    arguments = {"rc": 6.0, "rc3": 5.0, "n2": [[1, 0, 2], [0, 0, 0], [3, 1, 1]], "n3": n3, "hidden": (4, 3)}
    return nnp.Model.msr(["Ge", "Sb", "Te"], **{**arguments, **changes})


# ---- makers ----


def test_default_msr_has_the_published_size():
    model = nnp.Model.msr(["O"], 4.54575, 4.3065)
    assert model.n_parameters == 981
    assert model.n_fingerprints == [10]
    assert model.cutoff == 4.54575
    assert model.metadata["msr"]["rc3"] == 4.3065
    tensors = model.tensors
    assert np.abs(tensors["msr.O.alpha"]).max() <= 5
    assert np.abs(tensors["msr.O.triplet"][:, :2]).max() <= 5
    assert (tensors["msr.O.triplet"][:, 2] <= 0).all()
    assert not tensors["msr.O.mu"].any()
    assert np.abs(tensors["net.O.1.weight"]).max() <= np.sqrt(6 / 50)


def test_seed_decides_the_parameters():
    assert nnp.Model.msr(["Si"], 5.0, seed=3) == nnp.Model.msr(["Si"], 5.0, seed=3)
    assert nnp.Model.msr(["Si"], 5.0, seed=3) != nnp.Model.msr(["Si"], 5.0, seed=4)
    assert nnp.Model.msr(["Si"], 5.0, seed=np.random.default_rng(3)) == nnp.Model.msr(["Si"], 5.0, seed=3)


def test_counts_by_channel():
    model = ternary()
    assert model.n_fingerprints == [12, 1, 17]
    assert model.tensors["msr.Sb.alpha"].shape == (0,)
    assert model.tensors["msr.Sb.triplet"].shape == (1, 3)
    assert model.tensors["net.Te.0.weight"].shape == (17, 4)
    assert [msr.channel(3, t, u) for t in range(3) for u in range(t, 3)] == list(range(6))
    assert msr.channel(3, 2, 1) == msr.channel(3, 1, 2)


def test_networks_by_species():
    model = ternary(hidden=[(4, 3), (), [2]])
    assert [entry["hidden"] for entry in model.metadata["network"]] == [[4, 3], [], [2]]
    assert model.tensors["net.Sb.0.weight"].shape == (1, 1)
    assert (model.core.parameters() == model.theta).all()


def test_linear_network_without_hidden_layers():
    model = nnp.Model.msr(["Si"], 5.0, n2=2, n3=0, hidden=())
    assert list(model.tensors) == ["msr.Si.alpha", "msr.Si.triplet", "msr.Si.mu", "net.Si.0.weight", "net.Si.0.bias"]
    assert model.n_parameters == 2 + 0 + 2 + 2 + 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rc": -1.0}, "'rc'"),
        ({"rc": float("nan")}, "rc"),
        ({"rc": "long"}, "rc"),
        ({"rc3": 6.5}, "'rc3'"),
        ({"rs": 6.0}, "'rs'"),
        ({"rs": -0.1}, "'rs'"),
        ({"n2": 0, "n3": 0}, "Ge has no fingerprints"),
        ({"n2": [[1, 2, 3]]}, "n2"),
        ({"n2": -1}, "n2"),
        ({"n2": 2.5}, "n2"),
        ({"n3": [[1] * 5] * 3}, "n3"),
        ({"hidden": (0,)}, "hidden"),
        ({"hidden": 25}, "hidden"),
        ({"hidden": [[3], [2]]}, "hidden"),
        ({"hidden": [[3], 2, [2]]}, "hidden"),
        ({"hidden": {"Ge": 3}}, "hidden"),
        ({"hidden": (3,) * 16}, "'hidden'"),
        ({"hidden": (65536, 65536)}, "too many"),
        ({"e0": [1.0]}, "e0"),
        ({"e0": {"Ge": 1.0}}, "e0"),
        ({"mass": -1.0}, "'mass'"),
        ({"info": {"species": []}}, "info"),
        ({"info": {"note": float("nan")}}, "JSON"),
        ({"info": {"note": b"bytes"}}, "JSON"),
        ({"baseline": {"kind": "morse"}}, "'kind'"),
        ({"baseline": nnp.Model.stillinger_weber("Si")}, "species"),
    ],
)
def test_bad_arguments_are_named(changes, text):
    with pytest.raises(nnp.InputError, match=text) as caught:
        ternary(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("species", [[], ["Xx"], ["Si", "Si"], ["si"], [14]])
def test_bad_species(species):
    with pytest.raises(nnp.InputError, match="species"):
        nnp.Model.msr(species, 5.0)


def test_e0_and_mass():
    model = ternary(e0={"Te": 3.0, "Ge": 1.0, "Sb": 2.0})
    assert model.e0.tolist() == [1.0, 2.0, 3.0]
    assert model.mass.tolist() == [elements.MASSES[s] for s in model.species]
    assert model.numbers == [32, 51, 52]
    new = model.replace(e0=0.5, mass=[1, 2, 3], info={"author": "me"})
    assert new.e0.tolist() == [0.5] * 3
    assert new.core.mass == [1.0, 2.0, 3.0]
    assert new.info == {"author": "me"}
    assert (new.theta == model.theta).all()
    assert model.e0.tolist() == [1.0, 2.0, 3.0]


def test_stillinger_weber_tables():
    water, silicon = nnp.Model.stillinger_weber("mW"), nnp.Model.stillinger_weber("Si")
    assert water.species == ["O"] and water.mass.tolist() == [18.015]
    assert silicon.mass.tolist() == [28.0855]
    assert water.cutoff == pytest.approx(1.8 * 2.3925, rel=1e-15)
    assert water.baseline[0]["epsilon"] == pytest.approx(6.189 * 4.184 / 96.48533212, rel=5e-7)
    assert water.n_parameters == 0 and water.theta.shape == (0,)
    with pytest.raises(nnp.InputError, match="mW"):
        nnp.Model.stillinger_weber("Ge")


def test_lennard_jones_and_zbl():
    lj = nnp.Model.lennard_jones(["Ar", "Kr"], [[1e-2, 2e-2], [2e-2, 3e-2]], 3.4, 8.5)
    assert [term["species"] for term in lj.baseline] == [["Ar", "Ar"], ["Ar", "Kr"], ["Kr", "Kr"]]
    assert [term["epsilon"] for term in lj.baseline] == [1e-2, 2e-2, 3e-2]
    assert lj.cutoff == 8.5
    zbl = nnp.Model.zbl(["Ge", "Sb", "Te"], 0.7, 1.4)
    assert zbl.cutoff == 1.4
    stacked = ternary(baseline=[zbl, {"kind": "sw", **nnp.Model.stillinger_weber("Si").baseline[0], "species": ["Ge"]}])
    assert [term["kind"] for term in stacked.baseline] == ["zbl", "sw"]
    assert nnp.Model.from_bytes(stacked.to_bytes()) == stacked


@pytest.mark.parametrize(
    "make",
    [
        lambda: nnp.Model.lennard_jones("Ar", 1.0, 0.0, 8.5),
        lambda: nnp.Model.lennard_jones("Ar", -1.0, 3.4, 8.5),
        lambda: nnp.Model.lennard_jones("Ar", 1.0, 3.4, 0.0),
        lambda: nnp.Model.lennard_jones("Ar", 1.0, 3.4, 8.5, switch_on=8.5),
        lambda: nnp.Model.lennard_jones(["Ar", "Kr"], [[1, 2], [3, 4]], 3.4, 8.5),
        lambda: nnp.Model.zbl("Si", 2.0, 2.0),
        lambda: nnp.Model.zbl("Si", -1.0, 2.0),
        lambda: nnp.Model.zbl("Si", 0.5, float("inf")),
    ],
)
def test_bad_baselines(make):
    with pytest.raises(nnp.InputError):
        make()


# ---- theta ----


def test_theta_is_the_tensors_in_the_documented_order():
    model = ternary()
    expected = []
    for symbol in model.species:
        names = [f"msr.{symbol}.{kind}" for kind in ("alpha", "triplet", "mu")]
        names += [f"net.{symbol}.{layer}.{kind}" for layer in range(3) for kind in ("weight", "bias")]
        expected += names
    assert list(model.tensors) == expected
    assert (np.concatenate([model.tensors[name].ravel() for name in expected]) == model.theta).all()
    assert (model.core.parameters() == model.theta).all()  # the same in C
    assert model.core.n_parameters == model.n_parameters == len(model.parameter_names())
    assert [name for name, part in model.slices.items() for _ in range(part.start, part.stop)] == [
        name.split("[")[0] for name in model.parameter_names()
    ]


def test_c_reads_each_tensor_at_its_place():
    """theta = 0, 1, 2, ... / 64: every number of the C side must be found where Python has it."""
    model = ternary()
    model.theta = np.arange(model.n_parameters) / 64.0
    assert (nnp.Model.from_bytes(model.to_bytes()).core.parameters() == np.arange(model.n_parameters) / 64.0).all()


def test_theta_setter():
    model = ternary()
    theta = np.linspace(-1, 1, model.n_parameters)
    core = model.core
    model.theta = theta
    theta[:] = 7.0  # a copy was taken
    assert model.theta[0] == -1.0 and model.core is not core
    assert model.core.parameters()[-1] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        model.theta[0] = 2.0
    for bad, text in [(theta[1:], "shape"), (np.where(np.arange(theta.size) == 9, np.nan, 0.0), "not finite")]:
        with pytest.raises(nnp.InputError, match=text):
            model.theta = bad
    assert model.theta[0] == -1.0


def test_exponents_are_bounded_and_the_rest_is_not():
    model = ternary()
    theta = np.where(model.exponents, 300.0, 1e6)
    model.theta = theta
    theta[np.flatnonzero(model.exponents)[5]] = -300.1
    with pytest.raises(nnp.InputError, match=r"msr.Ge.triplet.*exponent 2 "):
        model.theta = theta


def test_masks_and_names():
    model = ternary()
    names = np.array(model.parameter_names())
    assert names[model.mask("beta", species="Ge")].tolist() == [f"msr.Ge.triplet[{k},beta]" for k in range(9)]
    assert (model.mask("a", "b", "beta") == model.mask("triplet")).all()
    groups = [model.mask(g) for g in ("alpha", "a", "b", "beta", "mu", "weight", "bias")]
    assert (np.sum(groups, axis=0) == 1).all()
    assert (model.exponents == model.mask("alpha", "a", "b", "beta")).all()
    every = ("alpha", "triplet", "mu", "weight", "bias")
    assert sum(model.mask(*every, species=s).sum() for s in model.species) == len(names)
    with pytest.raises(nnp.InputError, match="gamma"):
        model.mask("gamma")
    with pytest.raises(nnp.InputError, match="Si"):
        model.mask("mu", species="Si")


def test_wrong_tensors():
    model = ternary()
    tensors = {name: np.array(value) for name, value in model.tensors.items()}
    assert nnp.Model(model.metadata, tensors) == model
    for change, text in [
        ({"msr.Ge.mu": np.zeros(3)}, "shape"),
        ({"extra": np.zeros(3)}, "extra"),
        ({"msr.Ge.mu": None}, "missing"),
    ]:
        bad = {name: value for name, value in {**tensors, **change}.items() if value is not None}
        with pytest.raises(nnp.InputError, match=text):
            nnp.Model(model.metadata, bad)


# ---- files ----


@pytest.fixture(params=["msr", "sw"])
def model(request):
    return (
        ternary(info={"author": 'Zoë \U0001f600 \\ " \n'})
        if request.param == "msr"
        else nnp.Model.stillinger_weber("mW")
    )


def test_round_trips(model, tmp_path):
    path = tmp_path / "model.nnp"
    model.save(path)
    for other in (nnp.load(path), nnp.Model.from_bytes(model.to_bytes()), pickle.loads(pickle.dumps(model)),
                  copy.deepcopy(model), nnp.Model(model.metadata, model.tensors)):  # fmt: skip
        assert other == model
        assert other.metadata == model.metadata
        assert (other.theta == model.theta).all()
        assert other.to_bytes() == path.read_bytes()
    assert os.listdir(tmp_path) == ["model.nnp"]


def test_the_safetensors_package_reads_it(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    model = ternary()
    tensors = numpy.load(model.to_bytes())
    assert sorted(tensors) == sorted(model.tensors)
    assert all((tensors[name] == value).all() for name, value in model.tensors.items())


def test_loading_names_the_path(tmp_path):
    path = tmp_path / "bad.nnp"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelFileError, match=r"bad\.nnp: not a model file"):
        nnp.load(path)
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"bad\.nnp"):
        nnp.load(path)
    with pytest.raises(FileNotFoundError, match=r"none\.nnp"):
        nnp.load(tmp_path / "none.nnp")
    with open(path, "wb") as stream:
        stream.truncate(1 << 33)  # sparse
    with pytest.raises(ModelFileError, match="larger"):
        nnp.load(path)


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.nnp"
    ternary(seed=1).save(path)
    old = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device", str(path))

    for function in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.os, function, fail)
            with pytest.raises(OSError, match=r"No space|cannot write"):
                ternary(seed=2).save(path)
        assert path.read_bytes() == old
        assert os.listdir(tmp_path) == ["model.nnp"]
    with pytest.raises(FileNotFoundError):
        ternary().save(tmp_path / "missing" / "model.nnp")


def test_descriptions():
    model = ternary(baseline=nnp.Model.zbl(["Ge", "Sb", "Te"], 0.7, 1.4), info={"author": "me"})
    about = model.describe()
    assert about["n_parameters"] == model.n_parameters and about["cutoff[A]"] == 6.0
    text = str(model)
    assert "Ge" in text and "zbl" in text and "author" in text and "12-4-3-1" in text
    assert "sw O" in str(nnp.Model.stillinger_weber("mW"))
    assert "Ge-Sb-Te" in repr(model)


def test_info_may_be_set_but_not_take_names_of_the_architecture():
    model = ternary()
    model.info["licence"] = "CC0"
    assert nnp.Model.from_bytes(model.to_bytes()).info["licence"] == "CC0"
    model.info["method"] = "bp"
    with pytest.raises(nnp.InputError, match="method"):
        model.to_bytes()


# ---- package ----


def test_import_is_lazy():
    code = "import sys, nnpcore; sys.exit(any(m.startswith('nnpcore.') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys, nnpcore; nnpcore.Model, nnpcore.load; sys.exit(bool({'ase', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = nnp.nothing_such
    assert "Model" in dir(nnp)


def test_elements():
    assert len(elements.SYMBOLS) == 118 and len(set(elements.SYMBOLS)) == 118
    assert elements.NUMBERS["H"] == 1 and elements.NUMBERS["Og"] == 118
    for symbols in (elements.SYMBOLS[:60], elements.SYMBOLS[60:]):  # the C table agrees
        model = nnp.Model.zbl(symbols, 0.5, 1.0)
        assert model.core.species == list(symbols)
    data = pytest.importorskip("ase.data")
    assert list(elements.SYMBOLS) == data.chemical_symbols[1:119]
    own = np.array([elements.MASSES[s] for s in elements.SYMBOLS])
    assert np.abs(own / data.atomic_masses_iupac2016[1:119] - 1).max() < 1e-8


# ---- validate ----


def test_positions():
    x = validate.check_positions([[0, 1, 2]])
    assert x.dtype == np.float64 and x.flags.c_contiguous and x.shape == (1, 3)
    assert validate.check_positions([]).shape == (0, 3)
    assert validate.check_positions(np.ones((3, 4), order="F").T[:, :3]).flags.c_contiguous
    bad = np.zeros((4, 3))
    bad[2, 1] = np.inf
    cases = [(bad, r"\[2, 1\] is inf"), (np.zeros((4, 2)), "shape"), (np.zeros(3), "shape"), ("abc", "real"),
             ([[0, 1], [2]], "real"), (np.zeros((2, 3), complex), "real"), (None, "real"),
             (np.zeros((0, 2)), "shape")]  # fmt: skip
    for value, text in cases:
        with pytest.raises(nnp.InputError, match=text) as caught:
            validate.check_positions(value)
        assert str(caught.value).startswith("positions:") and "\n" not in str(caught.value)
    with pytest.raises(nnp.InputError, match="shape"):
        validate.check_positions(np.zeros((4, 3)), n=5)
    with pytest.raises(nnp.InputError, match="velocities"):
        validate.check_vectors(np.zeros((4, 3)), "velocities", 5)


def test_cell_and_pbc():
    assert validate.check_cell(None) is None
    assert validate.check_cell([1, 2, 3]).tolist() == [[1, 0, 0], [0, 2, 0], [0, 0, 3]]
    with pytest.raises(nnp.InputError, match="cell"):
        validate.check_cell(np.full((3, 3), np.nan))
    with pytest.raises(nnp.InputError, match="cell"):
        validate.check_cell(np.zeros((2, 3)))
    assert validate.check_pbc(None, np.eye(3)).tolist() == [1, 1, 1]
    assert validate.check_pbc(None).tolist() == [0, 0, 0]
    flags = validate.check_pbc([True, False, 1], np.eye(3))
    assert flags.tolist() == [1, 0, 1] and flags.dtype == np.int32
    for bad in ([1, 0], 2, [0, 1, 2], "xyz", [0.5, 0, 0]):
        with pytest.raises(nnp.InputError, match="pbc"):
            validate.check_pbc(bad, np.eye(3))
    with pytest.raises(nnp.InputError, match="cell"):
        validate.check_pbc(True)


def test_species():
    have = ["Ge", "Sb", "Te"]
    for value, options in [
        (["Te", "Ge", "Te"], {}),
        (np.array(["Te", "Ge", "Te"]), {}),
        ([2, 0, 2], {}),
        (np.array([2, 0, 2], dtype=np.uint8), {}),
        ([52, 32, 52], {"numbers": True}),
    ]:
        indices = validate.check_species(value, have, n=3, **options)
        assert indices.tolist() == [2, 0, 2] and indices.dtype == np.int32 and indices.flags.c_contiguous
    assert validate.check_species("Sb", have, n=2).tolist() == [1, 1]
    assert validate.check_species([], have).shape == (0,)
    cases = [(["Ge", "Si"], {}, "atom 1 is 'Si'; the model has Ge, Sb, Te"), ([0, 3], {}, "atom 1 has index 3"),
             ([0, -1], {}, "-1"), ([32, 14], {"numbers": True}, r"atomic number 14 \(Si\)"),
             ([32, -7], {"numbers": True}, "-7"), ([10**9], {"numbers": True}, "10000"), ([0.5], {}, "expected"),
             (["Ge"], {"n": 2}, "2 entries"), ([[0]], {}, "shape"), ("Ge", {}, "number")]  # fmt: skip
    for value, options, text in cases:
        with pytest.raises(nnp.InputError, match=text):
            validate.check_species(value, have, **options)
