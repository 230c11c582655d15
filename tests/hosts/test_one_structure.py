"""One structure, three species in a triclinic cell, through every way in: Python, C (own list and the host's), ASE,
i-PI's socket: the same energy, forces, stress and per-atom virials to 1e-10."""

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
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


@pytest.mark.parametrize("entry", ["cell", "list"])
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
