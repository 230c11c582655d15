"""input.data: reading, writing, errors, and its way into eval."""

import gzip

import numpy as np
import pytest

from nnpcore import cli, data
from nnpcore.data import BOHR, HARTREE, DataError, Frame
from nnpcore.input_data import is_input_data, read_input_data, write_input_data
from nnpcore.model import Model

TEXT = """begin
comment config_type="warm liquid" step 7
lattice 10.0 0.0 0.0
lattice 0.0 11.0 0.0
lattice 1.0 0.0 12.0
atom 0.0 0.0 0.0 O -0.8 0.0 0.1 -0.2 0.3
atom 1.8 0.0 0.5 H 0.4 0.0 -0.1 0.2D+00 -0.3
energy -76.5
charge 0.0
end
begin
comment
atom 0.0 0.0 0.0 H 0.0 0.0 0.0 0.0 0.0
energy -0.5
end
begin
atom 0.0 0.0 0.0 H 0.0 0.0 0.0 0.0 0.0
atom 0.0 0.0 1.4 H 0.0 0.0 0.0 0.0 0.0
energy 0.0
end
"""


def write(path, text=TEXT):
    path.write_text(text)
    return path


def test_reading(tmp_path):
    a, b, c = data.read_frames(write(tmp_path / "input.data"))
    assert a.species == ("O", "H") and a.pbc == (True,) * 3 and a.config_type == "warm liquid"
    assert (a.cell == np.array([[10, 0, 0], [0, 11, 0], [1, 0, 12]]) * BOHR).all()
    assert (a.positions[1] == np.array([1.8, 0, 0.5]) * BOHR).all() and a.energy == -76.5 * HARTREE
    assert a.forces[1] == pytest.approx(np.array([-0.1, 0.2, -0.3]) * HARTREE / BOHR, rel=1e-15)
    assert a.stress is None and a.source == "input.data@0"
    assert b.cell is None and b.energy == -0.5 * HARTREE and (b.forces == 0).all()
    assert c.energy is None and c.forces is None  # all zero: a structure without labels


def test_other_units(tmp_path):
    path = write(tmp_path / "input.data")
    assert data.read_frames(path, units="eV/A")[0].energy == -76.5
    with pytest.raises(DataError, match="furlong"):
        data.read_frames(path, units="furlong")


def test_recognised_by_name_or_content(tmp_path):
    assert is_input_data(write(tmp_path / "train.data"))
    assert is_input_data(write(tmp_path / "structures"))
    assert not is_input_data(write(tmp_path / "a.xyz"))
    assert not is_input_data(write(tmp_path / "lammps.data", "# LAMMPS data file\n"))
    assert is_input_data(tmp_path / "elsewhere" / "input.data")
    with gzip.open(tmp_path / "some.data.gz", "wt") as file:
        file.write(TEXT)
    assert len(data.read_frames(tmp_path / "some.data.gz")) == 3


def test_round_trip(tmp_path, rng):
    cell = rng.normal(size=(3, 3)) + 5 * np.eye(3)
    frames = [
        Frame(["Si", "O"], rng.normal(size=(2, 3)), cell, True, -3.25, rng.normal(size=(2, 3)), config_type="a b"),
        Frame(["Cu"], [[1.0, 2.0, 3.0]], energy=-0.1, forces=[[0.0, 0.0, 0.0]]),
        Frame(["H", "H"], rng.normal(size=(2, 3))),
    ]
    for units in ("Hartree/Bohr", "eV/A"):
        write_input_data(tmp_path / "input.data", frames, units)
        for f, g in zip(frames, read_input_data(tmp_path / "input.data", units), strict=True):
            assert (f.species, f.pbc, f.config_type) == (g.species, g.pbc, g.config_type)
            for name in ("positions", "cell", "energy", "forces"):
                x, y = getattr(f, name), getattr(g, name)
                assert (x is None) == (y is None) and (x is None or y == pytest.approx(x, rel=4e-16, abs=0))


def test_slabs_cannot_be_written(tmp_path):
    slab = Frame(["H"], [[0.0, 0.0, 0.0]], np.eye(3) * 5, (True, True, False), source="slab@4")
    with pytest.raises(DataError, match="slab@4: periodic along some axes only"):
        write_input_data(tmp_path / "input.data", [slab])


BAD = [
    ("begin\ncomment config", "comment config", r"input.data:1: expected begin, got 'comment"),
    ("lattice 0.0 11.0 0.0\n", "", r"input.data:1: 2 lattice vectors, expected three or none"),
    ("lattice 0.0 11.0 0.0\n", "lattice 0.0 11.0\n", r"input.data:4: lattice: expected 3 numbers, got 2"),
    ("lattice 0.0 11.0 0.0\n", "lattice 20.0 0.0 0.0\n", r"input.data:1: lattice vectors span no volume"),
    ("lattice 0.0 11.0 0.0\n", "lattice 0.0 11.0 0.0\n" * 2, r"input.data:6: lattice: more than three vectors"),
    ("O -0.8 0.0", "Oo -0.8 0.0", r"input.data:6: atom: 'Oo' is not an element symbol"),
    ("O -0.8 0.0 0.1", "O -0.8 0.0", r"input.data:6: atom: 8 columns, expected x y z element charge"),
    ("atom 1.8", "atom nan", r"input.data:7: atom: 'nan' is not a finite number"),
    ("-0.2 0.3", "-0.2 inf", r"input.data:6: atom: 'inf' is not a finite number"),
    ("energy -76.5", "energy twelve", r"input.data:8: energy: 'twelve' is not a finite number"),
    ("energy -76.5\n", "energy -76.5\nenergy -76.5\n", r"input.data:9: energy: given twice"),
    ("charge 0.0", "chrage 0.0", r"input.data:9: chrage: expected comment, lattice"),
    ("0.0\nend\nbegin\ncomment\n", "0.0\nbegin\ncomment\n", r"input.data:10: begin: expected"),
    ("energy 0.0\nend\n", "energy 0.0\n", r"input.data:16: begin without end"),
    (TEXT, "", r"input.data: no frames in it"),
    (TEXT, "begin\nend\n", r"input.data:1: no atoms"),
]


@pytest.mark.parametrize("old, new, text", BAD, ids=[t[12:50] for *_, t in BAD])
def test_bad_files(tmp_path, old, new, text):
    assert old in TEXT
    with pytest.raises(DataError, match=text):
        data.read_frames(write(tmp_path / "input.data", TEXT.replace(old, new, 1)))


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        data.read_frames(tmp_path / "input.data")


def test_eval_takes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = Model.stillinger_weber("Si")
    model.save("si.nnp")
    x = np.array([[0.0, 0.0, 0.0], [2.4, 0.1, 0.0], [0.3, 2.3, 0.2]])
    out = model.compute(x, "Si")
    write_input_data("input.data", [Frame(["Si"] * 3, x, energy=out.energy + 0.3, forces=out.forces)])
    assert cli.main(["eval", "si.nnp", "input.data", "--json", "e.json"]) == 0
    text = capsys.readouterr().out
    assert "input.data: taken as Hartree/Bohr" in text and "100" in text
    assert cli.main(["eval", "si.nnp", "input.data", "-o", "out.data"]) == 0
    (predicted,) = data.read_frames("out.data")
    assert predicted.energy == pytest.approx(out.energy, rel=1e-13)
    assert predicted.forces == pytest.approx(out.forces, rel=1e-12, abs=1e-14)


def test_convert_data_files(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ase")
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "input.data")
    assert cli.main(["convert", "input.data", "a.xyz"]) == 0
    assert cli.main(["convert", "a.xyz", "b.data"]) == 0
    assert "3 frames" in capsys.readouterr().out
    for f, g in zip(data.read_frames("input.data"), data.read_frames("b.data"), strict=True):
        assert f.species == g.species and f.config_type == g.config_type
        assert g.positions == pytest.approx(f.positions, abs=1e-7) and (f.energy is None) == (g.energy is None)
