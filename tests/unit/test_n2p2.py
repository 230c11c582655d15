"""n2p2 and RuNNer folders: what is honoured, what is named as ignored, what is refused and how; the way back."""

import json
import re

import numpy as np
import pytest
from n2p2_folder import FUNCTIONS, HEAD, write_folder

from nnpcore import bp, cli, n2p2
from nnpcore.data import BOHR, HARTREE
from nnpcore.model import Model
from nnpcore.n2p2_format import N2p2Error, sort_key
from nnpcore.n2p2_read import read_folder


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / "pot")
    return tmp_path / "pot"


def network(layers, activation, x):
    functions = {"tanh": np.tanh, "softplus": lambda v: np.log1p(np.exp(v)), "logistic": lambda v: 1 / (1 + np.exp(-v))}
    for (w, b), name in zip(layers, [*activation, "linear"], strict=True):
        x = functions.get(name, lambda v: v)(x @ w + b)
    return x


def model_input(arguments, symbol, g):
    return (g - arguments["centre"][symbol]) * arguments["factor"][symbol]


def test_functions_are_sorted_as_in_n2p2(folder):
    own = read_folder(folder).arguments["functions"]
    assert [f["type"] for f in own["H"]] == [2, 12, 13, 20, 21, 25]
    kinds = [(f["type"], f["partners"], round(f["rc"] / BOHR, 9)) for f in own["O"]]
    assert kinds == [(2, ["H"], 9), (2, ["O"], 9), (2, ["H"], 11), (3, ["H", "O"], 10), (9, ["H", "H"], 10)]


def test_lengths_are_converted_from_bohr(folder):
    h = read_folder(folder).arguments["functions"]["H"]
    assert h[0] == {
        "type": 2,
        "partners": ["O"],
        "eta": 0.5 * BOHR**-2,
        "rs": 0.0,
        "rc": 9.0 * BOHR,
        "cutoff": 2,
        "alpha": 0.25,
    }
    window = {"r_low": 0.0, "r_high": 8.0 * BOHR, "theta_left": 30.0, "theta_right": 150.0, "subtype": "p3a"}
    assert h[4] == {"type": 21, "partners": ["H", "O"], **window}
    assert read_folder(folder, "eV/A").arguments["functions"]["H"][0]["rc"] == 9.0


SCALINGS = {
    "": lambda g, t: g,
    "scale_symmetry_functions": lambda g, t: -0.5 + 2.0 * (g - t[:, 0]) / (t[:, 1] - t[:, 0]),
    "center_symmetry_functions": lambda g, t: g - t[:, 2],
    "scale_symmetry_functions\ncenter_symmetry_functions": lambda g, t: (
        -0.5 + 2.0 * (g - t[:, 2]) / (t[:, 1] - t[:, 0])
    ),
    "scale_symmetry_functions_sigma": lambda g, t: -0.5 + 2.0 * (g - t[:, 2]) / t[:, 3],
    # the sequence of n2p2's decisions: sigma counts only where neither of the others is given
    "scale_symmetry_functions_sigma\ncenter_symmetry_functions": lambda g, t: g - t[:, 2],
    "scale_symmetry_functions\nscale_symmetry_functions_sigma": lambda g, t: (
        -0.5 + 2.0 * (g - t[:, 0]) / (t[:, 1] - t[:, 0])
    ),
}


@pytest.mark.parametrize("keywords", SCALINGS)
def test_scaling(tmp_path, rng, keywords):
    table, _ = write_folder(tmp_path / "p", HEAD.replace("scale_symmetry_functions", keywords))
    arguments = read_folder(tmp_path / "p").arguments
    for symbol, rows in table.items():
        g = rng.uniform(0, 3, len(rows))
        assert model_input(arguments, symbol, g) == pytest.approx(SCALINGS[keywords](g, rows), rel=1e-13, abs=1e-14)
        assert (arguments["minimum"][symbol] == rows[:, 0]).all() and (arguments["maximum"][symbol] == rows[:, 1]).all()


def test_without_scaling_no_table_is_needed(tmp_path):
    write_folder(tmp_path / "p", HEAD.replace("scale_symmetry_functions\n", ""))
    (tmp_path / "p" / "scaling.data").unlink()
    model = n2p2.load(tmp_path / "p")
    assert model.metadata["bp"]["minimum"] is None and set(model.metadata["bp"]["factor"][0]) == {1.0}


def test_network_weights_and_energy_unit(tmp_path, rng):
    _, layers = write_folder(tmp_path / "p")
    a = read_folder(tmp_path / "p").arguments
    x = rng.normal(size=(7, 6))
    assert a["hidden"] == [[4, 3], [4, 3]] and a["activation"] == [["tanh", "softplus"]] * 2
    theirs = HARTREE * network(layers["H"], ["tanh", "softplus"], x)
    assert network(a["weights"]["H"], a["activation"][0], x) == pytest.approx(theirs, rel=1e-14)


def test_weights_without_columns_are_the_same(tmp_path):
    write_folder(tmp_path / "a")
    write_folder(tmp_path / "b", columns=False)
    assert (n2p2.load(tmp_path / "a").theta == n2p2.load(tmp_path / "b").theta).all()


def test_normalize_nodes_divides_sum_and_bias(tmp_path, rng):
    _, layers = write_folder(tmp_path / "p", HEAD + "normalize_nodes\n")
    a, x = read_folder(tmp_path / "p").arguments, rng.normal(size=(5, 5))
    theirs = x
    for (w, b), f in zip(layers["O"], [np.tanh, lambda v: np.log1p(np.exp(v)), lambda v: v], strict=True):
        theirs = f((theirs @ w + b) / len(w))
    assert network(a["weights"]["O"], a["activation"][1], x) == pytest.approx(HARTREE * theirs, rel=1e-13)


def test_an_output_activation_becomes_a_layer(tmp_path, rng):
    _, layers = write_folder(tmp_path / "p", HEAD.replace("t p l", "t p s"))
    a, x = read_folder(tmp_path / "p").arguments, rng.normal(size=(5, 5))
    assert a["hidden"][1] == [4, 3, 1] and a["activation"][1] == ["tanh", "softplus", "logistic"]
    theirs = HARTREE / (1 + np.exp(-network(layers["O"], ["tanh", "softplus"], x)))
    assert network(a["weights"]["O"], a["activation"][1], x) == pytest.approx(theirs, rel=1e-13)


def test_reversed_logistic(tmp_path, rng):
    _, layers = write_folder(tmp_path / "p", HEAD.replace("t p l", "t S l"))
    a, x = read_folder(tmp_path / "p").arguments, rng.normal(size=(5, 5))
    h = 1 - 1 / (1 + np.exp(-network(layers["O"][:2], ["tanh"], x)))
    theirs = HARTREE * (h @ layers["O"][2][0] + layers["O"][2][1])
    assert network(a["weights"]["O"], a["activation"][1], x) == pytest.approx(theirs, rel=1e-13)


NAMES = ["tanh", "logistic", "softplus", "gaussian", "cos", "relu", "exp", "harmonic", "linear"]


@pytest.mark.parametrize("letter, name", list(zip("tspgcrehl", NAMES, strict=True)))
def test_activation_letters(tmp_path, letter, name):
    write_folder(tmp_path / "p", HEAD.replace("t p l", f"{letter} t l"))
    assert n2p2.load(tmp_path / "p").metadata["network"][0]["activation"] == [name, "tanh"]


def test_normalisation_and_offsets(tmp_path, rng):
    extra = "mean_energy -2.5\nconv_energy 50.0\nconv_length 3.0\natom_energy O -74.5\natom_energy H -0.5D+00\n"
    _, layers = write_folder(tmp_path / "p", HEAD + extra)
    a, x = read_folder(tmp_path / "p").arguments, rng.normal(size=(5, 6))
    assert a["e0"] == pytest.approx({"H": -3.0 * HARTREE, "O": -77.0 * HARTREE}, rel=1e-15)
    theirs = network(layers["H"], ["tanh", "softplus"], x) / 50.0 * HARTREE
    assert network(a["weights"]["H"], a["activation"][0], x) == pytest.approx(theirs, rel=1e-13)
    assert a["functions"]["H"][0]["rc"] == 9.0 * BOHR  # parameters stand in the unit of the data, not in conv_length's


def test_runner_uses_atom_energies_only_when_told(tmp_path):
    head = HEAD + "runner_mode 3\natom_energy O -75.0\natom_energy H -0.5\n"
    write_folder(tmp_path / "a", head)
    write_folder(tmp_path / "b", head + "remove_atom_energies\n")
    without, with_ = read_folder(tmp_path / "a"), read_folder(tmp_path / "b")
    assert without.arguments["e0"] == {"H": 0, "O": 0} and any("remove_atom_energies" in n for n in without.notes)
    assert with_.arguments["e0"]["O"] == -75.0 * HARTREE


def test_runner_short_forms_expand_to_all_neighbours(tmp_path):
    short = "global_symfunction_short 2 0.5 0.0 9.0\nelement_symfunction_short O 3 0.1 1 2 9.0\n"
    short += "symfunction_short H 1 O 12.0\n"
    write_folder(tmp_path / "p", functions=short, counts={"H": 3, "O": 5})
    own = read_folder(tmp_path / "p").arguments["functions"]
    assert [f["partners"] for f in own["O"]] == [["H"], ["O"], ["H", "H"], ["H", "O"], ["O", "O"]]
    assert [(f["type"], f["eta"] * BOHR**2) for f in own["H"]] == [(2, 0.0), (2, 0.5), (2, 0.5)]  # type 1 sorts first
    assert own["H"][0]["rc"] == 12.0 * BOHR


def test_a_folder_as_runner_leaves_it(tmp_path):
    """Five columns in scaling.data, optweights.ZZZ.out, no cutoff_type."""
    head = HEAD.replace("cutoff_type 2 0.25  # tanh\n", "runner_mode 2\n")
    write_folder(tmp_path / "p", head)
    text = (tmp_path / "p" / "scaling.data").read_text()
    rows = [" ".join(line.split()[:5]) for line in text.splitlines()]
    (tmp_path / "p" / "scaling.data").write_text("\n".join(rows))
    (tmp_path / "p" / "weights.008.data").rename(tmp_path / "p" / "optweights.008.out")
    found = read_folder(tmp_path / "p")
    assert found.arguments["functions"]["O"][0]["cutoff"] == 1
    assert "optweights.008.out is read, as there is no weights.008.data" in found.notes


def test_topology_by_element(tmp_path):
    head = HEAD + "element_nodes_short O 2 2\nelement_activation_short H 1 1 s\n"
    head += "".join(f"element_activation_short H 1 {k} s\n" for k in (2, 3, 4))
    path = tmp_path / "p"
    write_folder(path, head, counts={"H": 6})
    write_folder(path, head, counts={"O": 5}, hidden=(4, 2))
    write_folder(tmp_path / "q", head)
    (path / "scaling.data").write_text((tmp_path / "q" / "scaling.data").read_text())
    (path / "weights.001.data").write_text((tmp_path / "q" / "weights.001.data").read_text())
    assert [entry["hidden"] for entry in n2p2.load(path).metadata["network"]] == [[4, 3], [4, 2]]
    assert n2p2.load(path).metadata["network"][0]["activation"] == ["logistic", "softplus"]


def test_no_hidden_layer(tmp_path):
    head = (
        HEAD.replace("layers_short 2", "layers_short 0").replace("global_nodes_short 4 3\n", "").replace("t p l", "l")
    )
    write_folder(tmp_path / "p", head, hidden=())
    assert n2p2.load(tmp_path / "p").n_parameters == 7 + 6


@pytest.mark.parametrize(
    "comments, units",
    [
        ("# Length unit     : Angstrom\n# Energy unit     : eV\n", "eV/A"),
        ("# Length unit : Bohr\n# Energy unit: Ha\n", "Hartree/Bohr"),
        ("# energy units = kcal/mol, length units = Ang\n", "kcal/mol"),
        ("# no word on them\n", "Hartree/Bohr"),
    ],
)
def test_units_by_comments(tmp_path, comments, units):
    write_folder(tmp_path / "p", comments + HEAD)
    found = read_folder(tmp_path / "p")
    assert found.units == units and any(units in note for note in found.notes)


def test_short_cutoffs_in_bohr_raise_an_eyebrow(tmp_path):
    write_folder(tmp_path / "p", functions=re.sub(r" (8|9|10|11)\.0", " 6.0", FUNCTIONS))
    assert any("--units eV/A" in note for note in read_folder(tmp_path / "p").notes if "WARNING" in note)
    assert not any("WARNING" in note for note in read_folder(tmp_path / "p", "eV/A").notes)


def test_ignored_keywords_are_named(tmp_path, capsys, monkeypatch):
    write_folder(tmp_path / "p", HEAD + "epochs 10\nkalman_q0 0.01\nscale_symetry_functions\nshiny_new_thing 3\n")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["convert", "p", "p.nnp"]) == 0
    out = capsys.readouterr().out
    assert "epochs, kalman_q0" in out and "did you mean scale_symmetry_functions" in out
    assert "input.nn:14: shiny_new_thing: not known" in out
    assert "6 functions of H, 5 functions of O" in out


# ---- the way back ----


def same(a, b, tolerance=1e-15):
    assert a.species == b.species and a.metadata["network"] == b.metadata["network"]
    assert b.theta == pytest.approx(a.theta, rel=tolerance, abs=0)
    assert b.e0 == pytest.approx(a.e0, rel=tolerance, abs=0)
    for key in ("centre", "factor", "minimum", "maximum"):
        for x, y in zip(a.metadata["bp"][key], b.metadata["bp"][key], strict=True):
            assert y == pytest.approx(x, rel=tolerance, abs=0)
    for x, y in zip(a.metadata["bp"]["functions"], b.metadata["bp"]["functions"], strict=True):
        assert len(x) == len(y)
        for f, g in zip(x, y, strict=True):
            numbers = {k for k, v in f.items() if isinstance(v, float)}
            assert {k: v for k, v in f.items() if k not in numbers} == {k: v for k, v in g.items() if k not in numbers}
            assert [g[k] for k in numbers] == pytest.approx([f[k] for k in numbers], rel=tolerance, abs=0)


@pytest.mark.parametrize("units", [None, "eV/A", "Ry/Bohr", "kcal/mol"])
def test_round_trip(folder, tmp_path, units):
    model = n2p2.load(folder)
    n2p2.save(model, tmp_path / "back", units)
    same(model, n2p2.load(tmp_path / "back"))


def test_export_sorts_functions_with_their_weights(tmp_path):
    rng, functions = np.random.default_rng(3), []
    for eta in (0.9, 0.1, 0.5):
        functions.append({"type": 2, "partners": ["Si"], "eta": eta, "rs": 0.0, "rc": 5.0, "cutoff": 1, "alpha": 0.0})
    weights = [(rng.normal(size=(3, 2)), rng.normal(size=2)), (rng.normal(size=(2, 1)), rng.normal(size=1))]
    centre, factor = {"Si": [1.0, 2.0, 3.0]}, {"Si": [0.1, 0.0, 0.3]}
    model = Model.bp(["Si"], {"Si": functions}, [2], weights={"Si": weights}, centre=centre, factor=factor)
    n2p2.save(model, tmp_path / "p")
    back = n2p2.load(tmp_path / "p")
    own = back.metadata["bp"]
    assert [f["eta"] for f in own["functions"][0]] == pytest.approx([0.1, 0.5, 0.9], rel=1e-15)
    assert own["minimum"] is None and own["maximum"] is None
    assert own["centre"][0] == [2.0, 3.0, 1.0] and own["factor"][0] == pytest.approx([1.0, 0.3, 0.1])
    expected = weights[0][0][[1, 2, 0]]
    expected[0] = 0  # a factor of 0 is an input that says nothing
    assert back.tensors["net.Si.0.weight"] == pytest.approx(expected, rel=1e-15)


def test_what_the_format_cannot_hold_is_refused(folder, tmp_path):
    with pytest.raises(N2p2Error, match="method msr"):
        n2p2.save(Model.msr(["Si"], 4.0), tmp_path / "x")
    model = n2p2.load(folder)
    with pytest.raises(N2p2Error, match="baseline"):
        n2p2.save(model.replace(baseline=Model.zbl(["H", "O"], 0.5, 1.0)), tmp_path / "x")
    mixed = model.metadata
    mixed["bp"]["functions"][0][0]["cutoff"] = 1
    with pytest.raises(N2p2Error, match="cutoff type"):
        n2p2.save(Model(mixed, model.tensors), tmp_path / "x")
    with pytest.raises(N2p2Error, match="kJ"):
        n2p2.save(model, tmp_path / "x", "kJ/mol/nm")
    assert not (tmp_path / "x").exists()


def test_the_baseline_is_dropped_when_told(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = n2p2.load(folder)
    model.replace(baseline=Model.zbl(["H", "O"], 0.5, 1.0)).save("m.nnp")
    assert cli.main(["convert", "m.nnp", "out"]) == 2 and "--drop-baseline" in capsys.readouterr().err
    assert cli.main(["convert", "m.nnp", "out", "--drop-baseline"]) == 0
    said = capsys.readouterr()
    assert "zbl (acts within 1 A)" in said.err
    assert (
        "pair_style hdnnp 5.821" in said.out and "cflength 1.88972612" in said.out and "pair_coeff * * H O" in said.out
    )
    same(model, n2p2.load("out"))


def test_a_foreign_folder_is_not_overwritten(folder, tmp_path):
    model = n2p2.load(folder)
    with pytest.raises(N2p2Error, match="not from nnpcore"):
        n2p2.save(model, folder)
    n2p2.save(model, tmp_path / "own")
    n2p2.save(model, tmp_path / "own")


def test_functions_alone_as_json(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert cli.main(["convert", "input.nn", "functions.json"]) == 0
    table = json.loads((folder / "functions.json").read_text())
    assert table == n2p2.functions(folder / "input.nn")[1]
    assert Model.bp(["H", "O"], table, [3]).n_fingerprints == [6, 5]
    assert bp.read_functions("input.nn") == table


def test_sort_key_covers_every_type(folder):
    own = read_folder(folder).arguments["functions"]
    for functions in own.values():
        assert sorted(functions, key=sort_key) == functions
