"""One structure, three species in a triclinic cell, through every way in: Python, C (own list and the host's), ASE,
i-PI, LAMMPS on one and two ranks: the same energy, forces, stress and per-atom virials to 1e-10."""

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from lammps_host import CENTROID, Measured, Runner, measure
from reference.systems import TRICLINIC, agree, case, random_system

import nnpcore
from nnpcore.data import BOHR, HARTREE
from nnpcore.ipi import Client, Evaluator

CC = os.environ.get("CC", "cc")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def one():
    """(model, symbols, x, reference Results)"""
    model = case("msr3-rs-zbl").model
    x, s = random_system(np.random.default_rng(7), 3, n=16)
    x[::3] += TRICLINIC[0] - 2 * TRICLINIC[2]  # some atoms in other cells
    symbols = [model.species[k] for k in s]
    return model, symbols, x, model.compute(x, symbols, TRICLINIC, virials=True)


def check(expected, energy, forces, stress, virials=None):
    assert abs(energy - expected.energy) <= 1e-10 * max(1.0, abs(expected.energy))
    agree(forces, expected.forces, 1e-10)
    agree(stress, -expected.virial / abs(np.linalg.det(TRICLINIC)), 1e-10)
    if virials is not None:
        agree(virials, expected.virials, 1e-10)


def test_slow_statement(one):
    """The reference implementation of the tests, plain NumPy."""
    _, symbols, x, expected = one
    out = case("msr3-rs-zbl").reference(x, [["O", "Si", "Ge"].index(s) for s in symbols], TRICLINIC, True)
    check(
        expected, out.energies.sum(), out.forces, -out.virials.sum(axis=0) / abs(np.linalg.det(TRICLINIC)), out.virials
    )


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which(CC) is None:
        pytest.skip(f"no C compiler ({CC})")
    try:
        library = Path(nnpcore.get_library())
    except FileNotFoundError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("dump")
    flags = [f"-I{nnpcore.get_include()}", f"-L{library.parent}", "-lnnpcore", f"-Wl,-rpath,{library.parent}"]
    subprocess.run([CC, "-Wall", "-Wextra", "-Werror", HERE / "dump.c", "-o", "dump", *flags], cwd=folder, check=True)
    return folder / "dump"


@pytest.mark.parametrize("entry", ["cell", "list", "moved", "ghosts"])
def test_c(program, entry, one, tmp_path):
    model, symbols, x, expected = one
    model.save(tmp_path / "m.nnp")
    rows = [f"{s} {' '.join(map(repr, map(float, r)))}" for s, r in zip(symbols, x, strict=True)]
    text = "\n".join([str(len(x)), " ".join(map(repr, map(float, TRICLINIC.ravel()))), *rows])
    done = subprocess.run(
        [program, tmp_path / "m.nnp", entry], input=text, capture_output=True, text=True, check=True, timeout=60
    )
    read = {k: [] for k in "ewfv"}
    for line in done.stdout.splitlines():
        read[line[0]].append([float(v) for v in line.split()[1:]])
    w = read["w"][0]
    virial = np.array([[w[0], w[3], w[4]], [w[3], w[1], w[5]], [w[4], w[5], w[2]]])
    stress = -virial / abs(np.linalg.det(TRICLINIC))
    check(expected, read["e"][0][0], read["f"], stress, np.reshape(read["v"], (-1, 3, 3)))


def test_ase(one):
    pytest.importorskip("ase", reason="no ASE: pip install 'nnpcore[ase]'")
    from ase import Atoms

    import nnpcore.ase

    model, symbols, x, expected = one
    atoms = Atoms(symbols, x, cell=TRICLINIC, pbc=True, calculator=nnpcore.ase.Calculator(model))
    check(expected, atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False))
    symmetric = 0.5 * (expected.virials + expected.virials.transpose(0, 2, 1))
    agree(-atoms.get_stresses(voigt=False) * atoms.cell.volume, symmetric, 1e-10)


def test_ipi(one):
    model, symbols, x, expected = one
    server, client = socket.socketpair()
    thread = threading.Thread(target=Client(client, Evaluator(model, symbols)).run)
    thread.start()
    h = np.ascontiguousarray(TRICLINIC.T) / BOHR
    with server, client:
        parts = (b"INIT        ", np.int32([0, 0]), b"POSDATA     ", h, np.linalg.inv(h), np.int32(len(x)), x / BOHR)
        server.sendall(b"".join(p if isinstance(p, bytes) else np.asarray(p).tobytes() for p in parts))
        server.sendall(b"GETFORCE    ")
        size = 12 + 8 + 4 + 24 * len(x) + 72 + 4
        data = server.recv(size, socket.MSG_WAITALL)
        server.sendall(b"EXIT        ")
        thread.join(60)
    assert data[:12] == b"FORCEREADY  "
    energy, virial = np.frombuffer(data[12:20])[0] * HARTREE, np.frombuffer(data[-76:-4]).reshape(3, 3).T * HARTREE
    forces = np.frombuffer(data[24 : 24 + 24 * len(x)]).reshape(-1, 3) * (HARTREE / BOHR)
    check(expected, energy, forces, -virial / abs(np.linalg.det(TRICLINIC)))


def test_ipi_itself(one):
    """The same through i-PI's own end of the socket."""
    pytest.importorskip("ipi", reason="no i-PI: pip install ipi")
    from ipi.interfaces.sockets import Driver

    model, symbols, x, expected = one
    server, client = socket.socketpair()
    thread = threading.Thread(target=Client(client, Evaluator(model, symbols)).run)
    thread.start()
    h = np.ascontiguousarray(TRICLINIC.T) / BOHR
    with server, client:
        driver = Driver(server)
        driver.get_status()
        driver.initialize(0, "")
        driver.get_status()
        driver.sendpos(np.ascontiguousarray(x).ravel() / BOHR, (h, np.linalg.inv(h)))
        driver.get_status()
        energy, forces, virial, _ = driver.getforce()
        server.sendall(b"EXIT        ")
        thread.join(60)
    check(
        expected,
        energy * HARTREE,
        np.reshape(forces, (-1, 3)) * (HARTREE / BOHR),
        -np.reshape(virial, (3, 3)) * HARTREE / abs(np.linalg.det(TRICLINIC)),
    )


ZBL = {"O": 8, "Si": 14, "Ge": 32, "Ar": 18}
PAIRS = "".join(
    f"pair_coeff {i + 1} {j + 1} zbl {list(ZBL.values())[i]} {list(ZBL.values())[j]}\n"
    for i in range(4)
    for j in range(i, 4)
)
STYLES = {
    "own list": "pair_style nnpcore mass ignore\npair_coeff * * m.nnp O Si Ge NULL",
    "LAMMPS' list": "pair_style nnpcore mass ignore list lammps\npair_coeff * * m.nnp O Si Ge NULL",
    "overlay": "pair_style hybrid/overlay nnpcore mass ignore zbl 3.0 4.0\npair_coeff * * nnpcore m.nnp O Si Ge NULL\n"
    + PAIRS,
    "zbl": "pair_style hybrid/overlay zbl 3.0 4.0\n" + PAIRS,
}


@pytest.fixture(scope="module")
def lammps(one, tmp_path_factory):
    """{(style, ranks): Measured}, the rotation: three argon atoms, of no species, are added to the structure, and the
    cell is turned as LAMMPS wants it: a along x, b in the xy plane."""
    model, symbols, x, _ = one
    runner = Runner(tmp_path_factory.mktemp("lammps"))
    model.save(runner.folder / "m.nnp")
    q, r = np.linalg.qr(TRICLINIC.T)
    q = q * np.sign(np.diag(r))  # TRICLINIC = cell . q^T
    assert np.linalg.det(q) > 0
    fractional = np.array([[0.1, 0.2, 0.3], [0.6, 0.5, 0.4], [0.9, 0.1, 0.7]])
    everywhere = np.vstack([x, fractional @ TRICLINIC]) @ q
    types = [["O", "Si", "Ge"].index(s) + 1 for s in symbols] + [4] * 3
    cell = TRICLINIC @ q
    cell[np.abs(cell) < 1e-14] = 0
    runner.data("one.data", everywhere, types, cell, [15.999, 28.085, 72.63, 39.95])
    found = {}
    for ranks in (1, 2):
        text = "".join(
            f"clear\nunits metal\nbox tilt large\nread_data one.data\n{style}\n{measure(f'{k}-{ranks}')}"
            for k, style in enumerate(STYLES.values())
        )
        runner.good(text, ranks=ranks)
        for k, name in enumerate(STYLES):
            found[name, ranks] = Measured(runner.folder, f"{k}-{ranks}")
    return found, q


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("style", ["own list", "LAMMPS' list", "overlay"])
def test_lammps(lammps, one, style, ranks):
    found, q = lammps
    got, n = found[style, ranks], len(one[2])
    if style == "overlay":
        zbl = found["zbl", ranks]
        assert abs(zbl.energy) > 0.1 and np.abs(zbl.forces[n:]).max() > 0.01
        got.minus(zbl)
    assert np.abs(got.forces[n:]).max() < 1e-10 and np.abs(got.energies[n:]).max() < 1e-10
    total, virials = np.zeros((3, 3)), np.zeros((n, 3, 3))
    for k, (a, b) in enumerate(CENTROID):
        virials[:, a, b] = got.virials[:n, k]
    for k, (a, b) in enumerate(CENTROID[:6]):
        total[a, b] = total[b, a] = got.virial[k]
    volume = abs(np.linalg.det(TRICLINIC))
    check(one[3], got.energy, got.forces[:n] @ q.T, -q @ total @ q.T / volume, q @ virials @ q.T)
