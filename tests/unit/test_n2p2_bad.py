"""Broken n2p2 folders: one line that names file, line and keyword; never another exception, never a wrong model."""

import numpy as np
import pytest
from n2p2_folder import FUNCTIONS, HEAD, write_folder

from nnpcore import cli, n2p2
from nnpcore.n2p2_format import N2p2Error
from nnpcore.n2p2_read import read_folder


def refused(path, *words, units=None):
    """The error of a folder, which must be one line with these words in it."""
    with pytest.raises(N2p2Error) as caught:
        n2p2.load(path, units)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    for word in words:
        assert word in text, text


BAD_HEADS = [
    ("number_of_elements 2", "number_of_elements 3", ":2: number_of_elements: is 3"),
    ("number_of_elements 2", "number_of_elements two", ":2: number_of_elements: 'two' is not a whole number"),
    ("elements O H", "elements O Xx", ":3: elements: 'Xx' is not an element symbol"),
    ("elements O H", "elements O O", ":3: elements: expected different"),
    ("elements O H\n", "", "keyword elements is missing"),
    ("elements O H\n", "elements O H\nelements O H\n", ":4: elements: given twice, first in line 3"),
    ("elements O H", "elements O C", "element 'H' is not one of this potential (C O)"),
    ("elements O H", "number_of_elementss 2\nelements O H C", ":2: number_of_elements: is 2, but elements names 3"),
    ("cutoff_type 2 0.25", "cutoff_type 9", ":4: cutoff_type: 9 is not a cutoff function"),
    ("cutoff_type 2 0.25", "cutoff_type 2 1.0", ":4: cutoff_type: alpha is 1.0"),
    ("cutoff_type 2 0.25", "cutoff_type 2 nan", ":4: cutoff_type: 'nan' is not a number"),
    ("cutoff_type 2 0.25", "cutoff_type", ":4: cutoff_type: expected a type"),
    ("cutoff_type 2 0.25  # tanh\n", "", "keyword cutoff_type is missing"),
    ("layers_short 2", "layers_short 3", ":9: global_nodes_short: expected 3 numbers of nodes, got 4 3"),
    ("layers_short 2", "layers_short -1", ":8: global_hidden_layers_short: '-1'"),
    ("layers_short 2", "layers_short 99", ":8: global_hidden_layers_short: 99 hidden layers"),
    ("nodes_short 4 3", "nodes_short 4 0", ":9: global_nodes_short: '0' is not a whole number of at least 1"),
    ("global_nodes_short 4 3\n", "", "keyword global_nodes_short is missing"),
    ("t p l", "t p", ":10: global_activation_short: expected 3 letters"),
    ("t p l", "t q l", ":10: global_activation_short: activation 'q' is not one of"),
    ("scale_min_short -0.5", "scale_min_short 2.0", "scale_max_short: the range of scaled functions, 2.0 to 1.5"),
    ("scale_min_short -0.5", "scale_min_short", ":6: scale_min_short: expected one number, got nothing"),
    ("t p l\n", "t p l\nmean_energy -1.0\n", ":11: mean_energy: needs conv_energy and conv_length"),
    ("t p l\n", "t p l\nmean_energy -1\nconv_energy 0\nconv_length 1\n", ":12: conv_energy: is 0"),
    ("t p l\n", "t p l\natom_energy O\n", ":11: atom_energy: expected an element and an energy, got O"),
    ("t p l\n", "t p l\natom_energy C -3\n", ":11: atom_energy: element 'C'"),
    ("t p l\n", "t p l\natom_energy O -3\natom_energy O -4\n", ":12: atom_energy: O given twice, first in line 11"),
    ("t p l\n", "t p l\natom_energy O inf\n", ":11: atom_energy: 'inf' is not a number"),
    ("t p l\n", "t p l\nnnp_type 4G-HDNNP\n", ":11: nnp_type: 4G-HDNNP: only short-range"),
    ("t p l\n", "t p l\nnnp_type Q-HDNNP\n", ":11: nnp_type: Q-HDNNP: only short-range"),
    ("t p l\n", "t p l\nnnp_gen 4\n", ":11: nnp_gen: 4: only short-range"),
    ("t p l\n", "t p l\nnn_type_short 2\n", ":11: nn_type_short: 2: only short-range"),
    ("t p l\n", "t p l\nuse_electrostatics\n", ":11: use_electrostatics: electrostatics cannot be represented"),
    ("t p l\n", "t p l\nuse_vdw\n", ":11: use_vdw: dispersion"),
    ("t p l\n", "t p l\nelement_hidden_layers_short O 3\n", ":11: element_hidden_layers_short: 3 is more than"),
    ("t p l\n", "t p l\nelement_nodes_short O 3 2\n", ":11: element_nodes_short: there is no hidden layer 3"),
    ("t p l\n", "t p l\nelement_activation_short O 1 1 s\n", ":11: element_activation_short: layer 1 of O would have"),
    ("t p l\n", "t p l\nelement_activation_short O 1 5 s\n", ":11: element_activation_short: there is no node 5"),
]


@pytest.mark.parametrize("old, new, text", BAD_HEADS, ids=[t.split(": ", 1)[-1][:40] for *_, t in BAD_HEADS])
def test_bad_settings(tmp_path, old, new, text):
    assert old in HEAD
    write_folder(tmp_path / "p", HEAD.replace(old, new))
    refused(tmp_path / "p", "input.nn", text)


BAD_FUNCTIONS = [
    ("O 2 H 0.5 0.0 9.0", "O 2 H 0.5 0.0", "symfunction_short: type 2: expected element type neighbour eta rs rc"),
    (
        "O 2 H 0.5 0.0 9.0",
        "O 2 H 0.5 0.0 9.0 1.0",
        "expected element type neighbour eta rs rc, got O 2 H 0.5 0.0 9.0 1.0",
    ),
    ("O 2 H 0.5 0.0 9.0", "O 2 H 0.5 0.0 9,0", "'9,0' is not a number (rc)"),
    ("O 2 H 0.5 0.0 9.0", "O 2 H nan 0.0 9.0", "'nan' is not a number (eta)"),
    ("O 2 H 0.5 0.0 9.0", "O 2 H 1e999 0.0 9.0", "'1e999' is not a number (eta)"),
    ("O 2 H 0.5 0.0 9.0", "O 2 H -0.5 0.0 9.0", "eta is -0.5"),
    ("O 2 H 0.5 0.0 9.0", "O 2 H 0.5 0.0 0.0", "cutoff radius is 0"),
    ("O 2 H 0.5 0.0 9.0", "O 2 N 0.5 0.0 9.0", "element 'N' is not one of this potential (H O)"),
    ("O 2 H 0.5 0.0 9.0", "O 2.0 H 0.5 0.0 9.0", "'2.0' is not a whole number"),
    ("O 2 H 0.5 0.0 9.0", "O 4 H 0.5 9.0", "RuNNer's type 4 (cos(eta r)) cannot be represented"),
    ("O 2 H 0.5 0.0 9.0", "O 26 H 0.5 9.0", "type 26 is not known"),
    ("O 2 H 0.5 0.0 9.0", "O", "expected an element, a type and its parameters"),
    ("O 3 O H 0.1 -1 4.0", "O 3 O H 0.1 -1 0.5", "zeta 0.5, lambda -1: expected"),
    ("O 3 O H 0.1 -1 4.0", "O 3 O H 0.1 -2 4.0", "zeta 4, lambda -2: expected"),
    ("0.5 8.0 p2", "0.5 8.0 p5", "subtype 'p5' is not known"),
    ("0.5 8.0 p2", "8.5 8.0 p2", "window from 8.5 to 8.0 is empty"),
    ("30 150 p3a", "150 30 p3a", "angles 150 to 30 are not a window"),
    ("30 150 p3a", "-30 150 p3a", "angles -30 to 150 are not a window"),
]


@pytest.mark.parametrize("old, new, text", BAD_FUNCTIONS, ids=[t[:40] for *_, t in BAD_FUNCTIONS])
def test_bad_functions(tmp_path, old, new, text):
    assert old in FUNCTIONS
    write_folder(tmp_path / "p", functions=FUNCTIONS.replace(old, new, 1))
    line = HEAD.count("\n") + 1 + FUNCTIONS[: FUNCTIONS.index(old)].count("\n")
    refused(tmp_path / "p", f"input.nn:{line}: symfunction_short: ", text)


def test_an_element_without_functions(tmp_path):
    write_folder(tmp_path / "p", functions="symfunction_short O 2 H 0.5 0.0 9.0\n")
    refused(tmp_path / "p", "keyword symfunction_short is missing for element H")


def edited(folder, name, edit):
    path = folder / name
    path.write_text(edit(path.read_text()))


BAD_TABLES = [
    ("scaling.data", lambda t: t.replace("1 1 ", "1 x "), "scaling.data:3: expected element, function"),
    ("scaling.data", lambda t: t.replace("1 2 ", "1 1 "), "scaling.data:4: function 1 of H given twice"),
    ("scaling.data", lambda t: t.replace("1 6 ", "1 7 "), "scaling.data:8: function 7 of H, but input.nn has 6"),
    ("scaling.data", lambda t: t.replace("1 6 ", "3 1 "), "scaling.data:8: element index 3, expected 1 to 2"),
    ("scaling.data", lambda t: "\n".join(t.split("\n")[:-4]), "scaling.data: 3 functions of O, but input.nn has 5"),
    (
        "scaling.data",
        lambda t: "1 1 0 1 nan 0.5\n" + t,
        "scaling.data:1: expected element, function and finite numbers",
    ),
    ("scaling.data", lambda t: "1 1 3 1 2 0.5\n", "scaling.data:1: minimum 3.0 above maximum 1.0"),
    ("scaling.data", lambda t: "1 1 3\n", "scaling.data:1: 3 columns, expected 5"),
    ("scaling.data", lambda t: "", "scaling.data: 0 functions of H"),
    (
        "weights.001.data",
        lambda t: t.replace(" a 5 ", " b 5 "),
        "weights.001.data:5: is b 5 0 2 1 1, expected a 0 2 1 1",
    ),
    (
        "weights.001.data",
        lambda t: t[: len(t) // 2].rsplit("\n", 1)[0],
        "numbers, but input.nn calls for 47 (6 functions",
    ),
    ("weights.001.data", lambda t: t + "0.5\n", "weights.001.data:48: more than the 47 numbers"),
    ("weights.001.data", lambda t: "NaN\n" + t, "weights.001.data:1: 'NaN' is not a finite number"),
    ("weights.008.data", lambda t: "", "weights.008.data: 0 numbers, but input.nn calls for 43"),
]


@pytest.mark.parametrize("name, edit, text", BAD_TABLES, ids=[t[:45] for *_, t in BAD_TABLES])
def test_bad_tables(tmp_path, name, edit, text):
    write_folder(tmp_path / "p")
    edited(tmp_path / "p", name, edit)
    refused(tmp_path / "p", text)


def test_a_function_that_never_changed_cannot_be_scaled(tmp_path):
    write_folder(tmp_path / "p")

    def flat(t):
        return "2 1 0.5 0.5 0.5 0.0\n" + "\n".join(x for x in t.split("\n") if not x.startswith("2 1 "))

    edited(tmp_path / "p", "scaling.data", flat)
    refused(tmp_path / "p", "scaling.data:1: function 1 of O: maximum - minimum is 0")


@pytest.mark.parametrize("name", ["input.nn", "scaling.data", "weights.001.data"])
def test_missing_files(tmp_path, name):
    write_folder(tmp_path / "p")
    (tmp_path / "p" / name).unlink()
    refused(tmp_path / "p", name, "No such file")


@pytest.mark.parametrize("content", [b"", b"# only a comment\n", b"\0\1\2\3", b"\xff\xfe elements\n", b"{}"])
def test_something_else_named_input_nn(tmp_path, content):
    write_folder(tmp_path / "p")
    (tmp_path / "p" / "input.nn").write_bytes(content)
    refused(tmp_path / "p", "input.nn")


def test_unknown_units(tmp_path):
    write_folder(tmp_path / "p")
    with pytest.raises(N2p2Error, match="furlong"):
        n2p2.load(tmp_path / "p", "furlong")


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "p", HEAD.replace("elements O H", "elements O"))
    assert cli.main(["convert", "p", "p.nnp"]) == 2
    error = capsys.readouterr().err
    assert error == "nnpcore convert: p/input.nn:2: number_of_elements: is 2, but elements names 1 (line 3)\n"
    assert cli.main(["convert", "nowhere", "p.nnp"]) == 2 and cli.main(["convert", "p", "p"]) == 2
    assert not (tmp_path / "p.nnp").exists()


def test_damage_never_gets_through(tmp_path, rng):
    """Random damage either leaves a valid folder or ends in N2p2Error; a model that loads has finite numbers."""
    write_folder(tmp_path / "p")
    files = {f.name: f.read_bytes() for f in (tmp_path / "p").iterdir()}
    names, outcome = sorted(files), {"read": 0, "refused": 0}
    for _ in range(400):
        name = names[rng.integers(len(names))]
        data = bytearray(files[name])
        for _ in range(rng.integers(1, 4)):
            k, kind = int(rng.integers(len(data))), rng.integers(4)
            if kind == 0:
                data[k] = int(rng.integers(256))
            elif kind == 1:
                del data[k : k + int(rng.integers(1, 30))]
            elif kind == 2:
                data[k:k] = rng.choice([b" ", b"\n", b"-", b"nan", b"1e400", b"9999999999", b"#", b"\xc3"])
            else:
                data[k:k] = data[: int(rng.integers(1, 60))]
            if not data:
                break
        (tmp_path / "p" / name).write_bytes(bytes(data))
        try:
            found = read_folder(tmp_path / "p")
            outcome["read"] += 1
            for layers in found.arguments["weights"].values():
                assert all(np.isfinite(w).all() and np.isfinite(b).all() for w, b in layers)
        except N2p2Error as error:
            outcome["refused"] += 1
            assert "\n" not in str(error)
        (tmp_path / "p" / name).write_bytes(files[name])
    assert outcome["read"] > 20 and outcome["refused"] > 20
