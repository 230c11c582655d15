import lzma
import os
from pathlib import Path

import numpy as np
import pytest

from nnpcore import data
from nnpcore.data import DataError, Frame
from nnpcore.units import GPA

pytest.importorskip("ase")
SHARED = Path(os.environ.get("NNPCORE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
STRESS = "1 2 3 2 4 5 3 5 6"
HEAD = 'Lattice="4 0 0 0 4 0 0 0 5" Properties=species:S:1:pos:R:3{props} pbc="T T T" {info}'


def xyz(*frames):
    """Text of two-atom frames: (info, names of force columns)."""
    lines = []
    for info, columns in frames:
        lines += ["2", HEAD.format(props="".join(f":{c}:R:3" for c in columns), info=info)]
        for x in (0.0, 1.5):
            lines.append(f"Si {x} 0 0" + "".join(f" {k + 0.25} {x} -1" for k in range(len(columns))))
    return "\n".join(lines) + "\n"


def write(path, text):
    path.write_text(text)
    return path


def test_labels_of_the_calculator_and_plain_ones(tmp_path):
    text = xyz((f'energy=-1.5 stress="{STRESS}" config_type=bulk', ["forces"]))
    (frame,) = data.read_frames(write(tmp_path / "a.xyz", text))
    assert (frame.energy, frame.config_type, frame.source, frame.species) == (-1.5, "bulk", "a.xyz@0", ("Si", "Si"))
    np.testing.assert_array_equal(frame.stress, [1, 4, 6, 5, 3, 2])
    np.testing.assert_array_equal(frame.forces, [[0.25, 0, -1], [0.25, 1.5, -1]])
    assert frame.cell[2, 2] == 5 and all(frame.pbc) and frame.volume == pytest.approx(80)


def test_ref_labels_come_first(tmp_path):
    text = xyz(
        (f'energy=-1.5 REF_energy=-2 REF_stress="{STRESS}" stress="9 0 0 0 9 0 0 0 9"', ["forces", "REF_forces"])
    )
    (frame,) = data.read_frames(write(tmp_path / "a.xyz", text))
    assert frame.energy == -2 and frame.stress[0] == 1
    np.testing.assert_array_equal(frame.forces[:, 0], 1.25)


@pytest.mark.parametrize("name", ["virial", "REF_virial"])
def test_virial_becomes_stress(tmp_path, name):
    (frame,) = data.read_frames(write(tmp_path / "a.xyz", xyz((f'energy=0 {name}="{STRESS}"', ["force"]))))
    np.testing.assert_allclose(frame.stress, -np.array([1, 4, 6, 5, 3, 2]) / 80)
    assert frame.forces is not None


def test_voigt_shapes():
    np.testing.assert_array_equal(data.voigt([1, 2, 3, 4, 5, 6]), [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(data.voigt([[1, 2, 3], [2, 4, 5], [3, 5, 6]]), [1, 4, 6, 5, 3, 2])
    with pytest.raises(DataError, match="not symmetric"):
        data.voigt([[1, 2, 3], [-2, 4, 5], [3, 5, 6]])
    with pytest.raises(DataError, match="7 numbers"):
        data.voigt(np.zeros(7))


def test_without_periodicity_there_is_no_stress(tmp_path):
    text = xyz((f'energy=0 stress="{STRESS}"', ["forces"])).replace("T T T", "T T F")
    (frame,) = data.read_frames(write(tmp_path / "a.xyz", text))
    assert frame.stress is None and frame.pbc == (True, True, False)
    bare = "1\nenergy=-3 Properties=species:S:1:pos:R:3\nSi 0 0 0\n"
    (frame,) = data.read_frames(write(tmp_path / "b.xyz", bare))
    assert frame.cell is None and frame.energy == -3


@pytest.mark.parametrize("suffix", [".xyz.xz", ".extxyz.xz"])
def test_compressed(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(lzma.compress(xyz(("energy=1", ["forces"]), ("energy=2", ["forces"])).encode()))
    assert [f.energy for f in data.read_frames(path)] == [1, 2]


def test_units(tmp_path):
    path = write(tmp_path / "a.xyz", xyz((f'energy=1 stress="{STRESS}"', ["forces"])))
    (frame,) = data.read_frames(path, units="Hartree/Bohr")
    assert frame.energy == pytest.approx(27.211386245988)
    assert frame.positions[1, 0] == pytest.approx(1.5 * 0.529177210903)
    assert frame.forces[0, 0] == pytest.approx(0.25 * 51.4220674763, rel=1e-9)
    assert frame.stress[0] == pytest.approx(29421.02648438959 / GPA, rel=1e-6)  # GPa in one atomic unit of pressure
    (frame,) = data.read_frames(path, units="kcal/mol")
    assert frame.energy == pytest.approx(0.0433641042418, rel=1e-11) and frame.positions[1, 0] == 1.5
    with pytest.raises(DataError, match="expected one of"):
        data.read_frames(path, units="furlong")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (xyz(("energy=1", ["forces"])) + xyz(("energy=nan", ["forces"])), r"a\.xyz@1: energy is not finite"),
        (
            xyz(("energy=1", ["forces"])).replace("-1\n", "nan\n", 1),
            r"a\.xyz@0: forces is not finite at index \(0, 2\)",
        ),
        (xyz(("energy=1", ["forces"])).replace("Si 1.5", "Si inf"), r"a\.xyz@0: positions is not finite"),
        (xyz(("energy=ten", [])), r"a\.xyz@0: energy is not numeric"),
        (xyz(("energy=1", ["forces"]), ("energy=2", ["forces"]))[:-40], r"a\.xyz: cannot be read at frame [01]"),
        ("", r"a\.xyz: "),
        ("hello\n", r"a\.xyz: cannot be read at frame 0"),
    ],
)
def test_bad_files_name_file_and_frame(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as caught:
        data.read_frames(write(tmp_path / "a.xyz", text))
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.xyz: no such file"):
        data.read_frames(tmp_path / "none.xyz")


def test_missing_labels_name_the_frames(tmp_path):
    text = xyz(("energy=1", ["forces"]), ("", ["forces"]), ("energy=1", []), ("config_type=x", ["forces"]))
    frames = data.read_frames(write(tmp_path / "a.xyz", text))
    with pytest.raises(DataError, match=r"2 of 4 frames have no energy label: a\.xyz@1, a\.xyz@3 "):
        data.require_labels(frames)
    with pytest.raises(DataError, match=r"1 of 4 frames have no forces label: a\.xyz@2"):
        data.require_labels(frames, energy=False)
    with pytest.raises(DataError, match=r"no stress label: a\.xyz@0"):
        data.require_labels(frames[:1], stress=True)
    data.require_labels(frames[:1])
    cluster = Frame(["Si"], [[0, 0, 0]], energy=0.0, forces=[[0, 0, 0]])
    with pytest.raises(DataError, match="no frame is periodic"):
        data.require_labels([cluster], stress=True)
    assert data.names([frames[0]] * 20).endswith("and 12 more")


def test_frame_checks_shapes():
    with pytest.raises(DataError, match=r"f@1: forces has shape \(1, 3\), expected \(2, 3\)"):
        Frame(["Si", "Si"], np.zeros((2, 3)), forces=np.zeros((1, 3)), source="f@1")
    with pytest.raises(DataError, match="without a cell"):
        Frame(["Si"], np.zeros((1, 3)), pbc=True)
    with pytest.raises(DataError, match="weight"):
        Frame(["Si"], np.zeros((1, 3)), weight=-1)
    with pytest.raises(DataError, match="not an array of numbers"):
        Frame(["Si"], [["x", 0, 0]])


def made(compositions, e0, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    frames = []
    for counts in compositions:
        species = [s for s, n in counts.items() for _ in range(n)]
        energy = sum(e0[s] for s in species) + noise * len(species) * rng.normal()
        frames.append(Frame(species, rng.uniform(0, 9, (len(species), 3)), energy=energy))
    return frames


def test_e0_fit_finds_what_the_compositions_determine():
    e0 = {"H": -13.6, "O": -2041.3, "C": -1030.0}
    frames = made([{"H": 2, "O": 1}, {"H": 4, "C": 1}, {"C": 1, "O": 2}, {"H": 4, "C": 1, "O": 1}] * 5, e0, noise=0.05)
    fitted = data.reference_energies(frames, ["H", "C", "O"])
    for s, value in fitted.items():
        assert value == pytest.approx(e0[s], abs=0.5)


def test_e0_fit_of_one_or_nearly_one_composition_is_one_constant():
    frames = made([{"H": 128, "O": 64}] * 6, {"H": -10.0, "O": -400.0}, noise=0.001)
    assert data.reference_energies(frames, ["H", "O"])["H"] == pytest.approx(-140.0, abs=0.01)
    e0 = {"Ge": -3.9, "Sb": -3.9, "Te": -3.8}
    gst = [{"Ge": 13, "Sb": 13, "Te": 32}] * 30 + [{"Ge": 18, "Sb": 18, "Te": 45}] * 6
    for value in data.reference_energies(made(gst, e0, noise=0.1), list(e0)).values():
        assert value == pytest.approx(-3.85, abs=0.1)


def test_e0_other_ways():
    frames = made([{"Ge": 1}, {"Te": 1}, {"Ge": 3, "Te": 2}], {"Ge": -0.1, "Te": -0.2})
    assert data.reference_energies(frames, ["Ge", "Te"], "isolated") == {"Ge": -0.1, "Te": -0.2}
    assert data.reference_energies(frames, ["Ge", "Te"], "none") == {"Ge": 0.0, "Te": 0.0}
    assert data.reference_energies(frames, ["Ge"], {"Ge": 3, "Te": 1}) == {"Ge": 3.0}
    with pytest.raises(DataError, match="no value for Te"):
        data.reference_energies(frames, ["Ge", "Te"], {"Ge": 3})
    with pytest.raises(DataError, match="one-atom frame of Te"):
        data.reference_energies([frames[0], frames[2]], ["Ge", "Te"], "isolated")


def test_split_is_by_seed_disjoint_and_complete():
    frames = made([{"Ge": 2}] * 30, {"Ge": 0.0})
    train, valid = data.split(frames, 0.2, 5)
    assert len(valid) == 6 and {id(f) for f in train + valid} == {id(f) for f in frames}
    assert [id(f) for f in data.split(frames, 0.2, 5)[1]] == [id(f) for f in valid]
    assert [id(f) for f in data.split(frames, 0.2, 6)[1]] != [id(f) for f in valid]
    assert [len(part) for part in data.split(frames[:2], 0.01, 0)] == [1, 1]
    with pytest.raises(DataError, match="cannot be split"):
        data.split(frames[:1], 0.5, 0)


def test_species_weights_indices_and_hash():
    frames = made([{"Te": 2, "Ge": 1}], {"Ge": 0.0, "Te": 0.0})
    assert data.species_of(frames) == ["Ge", "Te"]
    np.testing.assert_array_equal(data.indices(frames[0], ["Ge", "Te"]), [1, 1, 0])
    with pytest.raises(DataError, match="species Te is not in the model"):
        data.indices(frames[0], ["Ge"])
    with pytest.raises(DataError, match="'liquid'"):
        data.weighted(frames, {"liquid": 2.0})
    heavy = data.weighted(frames, {"": 2.0})
    assert heavy[0].weight == 2.0 and data.fingerprint(heavy) != data.fingerprint(frames)


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="shared data not found (NNPCORE_SHARED)")
@pytest.mark.parametrize(
    ("name", "n", "stress"), [("mlearn_Si/test.xyz", 25, True), ("gst225_teacher/test.xyz", 61, True)]
)
def test_shared_data(name, n, stress):
    frames = data.read_frames(SHARED / "data" / name)
    assert len(frames) == n
    data.require_labels(frames, stress=stress)


def test_damaged_files_are_data_errors_or_frames(tmp_path):
    """Truncations and flipped bytes: DataError, or frames that passed the checks; nothing else."""
    good = xyz((f'energy=-1.5 stress="{STRESS}"', ["forces"]), ("REF_energy=2", ["forces", "REF_forces"])).encode()
    rng, path, refused = np.random.default_rng(3), tmp_path / "a.xyz", 0
    for k in range(300):
        bad = bytearray(good[: rng.integers(len(good))] if k % 3 == 0 else good)
        if k % 3 and bad:
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        path.write_bytes(bad)
        try:
            for frame in data.read_frames(path):
                assert np.isfinite(frame.positions).all() and len(frame.positions) == len(frame)
        except DataError:
            refused += 1
    assert refused > 100
