"""The i-PI client: its protocol against a server of our own, its units, its errors; and runs with i-PI itself."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from reference.systems import TRICLINIC, agree, case, random_system

import nnpcore
from nnpcore.data import BOHR, HARTREE
from nnpcore.ipi import Client, ConnectionFailed, Evaluator, connect

ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}


class Server:
    """i-PI's end: what ipi/interfaces/sockets.py sends and expects, byte by byte."""

    def __init__(self, connection):
        self.connection = connection

    def send(self, message, *parts):
        self.connection.sendall(message.ljust(12).encode() + b"".join(np.asarray(p).tobytes() for p in parts))

    def receive(self, kind, count=1):
        data = b""
        while len(data) < count * np.dtype(kind).itemsize:
            more = self.connection.recv(count * np.dtype(kind).itemsize - len(data))
            assert more, "the client went away"
            data += more
        return np.frombuffer(data, kind)

    def message(self):
        return self.receive("S12")[0].decode().strip()

    def ask(self):
        self.send("STATUS")
        return self.message()

    def initialise(self, text=b""):
        self.send("INIT", np.int32(0), np.int32(len(text)), np.frombuffer(text, np.uint8))

    def positions(self, x, cell):
        """Angstrom; as i-PI does, vectors in columns."""
        h = np.ascontiguousarray(cell.T) / BOHR
        self.send("POSDATA", h, np.linalg.inv(h), np.int32(len(x)), x / BOHR)

    def forces(self):
        self.send("GETFORCE")
        assert self.message() == "FORCEREADY"
        energy, n = self.receive(np.float64)[0], self.receive(np.int32)[0]
        forces, virial = self.receive(np.float64, 3 * n).reshape(n, 3), self.receive(np.float64, 9).reshape(3, 3)
        assert self.receive(np.int32)[0] == 0
        return energy, forces, virial


def session(script, evaluate):
    """Run the client against script(Server) in a thread: what Client.run() returned or raised."""
    ours, theirs = socket.socketpair()
    failed = []

    def serve():
        with ours:
            try:
                script(Server(ours))
            except Exception as error:
                failed.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with theirs:
            return Client(theirs, evaluate).run()
    finally:
        thread.join(60)
        if failed:
            raise failed[0]


def three_species(rng):
    model = case("msr3").model
    x, s = random_system(rng, 3)
    return model, [model.species[i] for i in s], x


# ---- protocol and units ----


@pytest.mark.parametrize("pbc", [True, False])
def test_protocol(pbc, rng):
    """A whole exchange, twice; energies, forces and virial are those of compute(), units and transposes undone."""
    model, symbols, x = three_species(rng)

    def script(server):
        assert server.ask() == "NEEDINIT"
        server.initialise(b"anything")
        for k in range(2):
            y = x + 0.05 * k
            y[0] += 0.1 * k
            assert server.ask() == "READY"
            server.positions(y, TRICLINIC)
            assert server.ask() == "HAVEDATA"
            energy, forces, virial = server.forces()
            expected = model.compute(y, symbols, TRICLINIC if pbc else None)
            assert energy * HARTREE == pytest.approx(expected.energy, rel=1e-13)
            agree(forces * (HARTREE / BOHR), expected.forces, 1e-12)
            agree(virial.T * HARTREE, expected.virial, 1e-12)
        assert server.ask() == "READY"
        server.send("EXIT")

    assert session(script, Evaluator(model, symbols, pbc=pbc)) == 2


def test_requests_in_one_piece(rng):
    """i-PI may send POSDATA and GETFORCE together, and not ask for the status in between."""
    model, symbols, x = three_species(rng)

    def script(server):
        server.initialise()
        for _ in range(3):
            server.positions(x, TRICLINIC)
            energy, _, _ = server.forces()
            assert energy * HARTREE == pytest.approx(model.compute(x, symbols, TRICLINIC).energy, rel=1e-13)

    assert session(script, Evaluator(model, symbols)) == 3  # ends with the connection, no EXIT


def test_unit_conversion(rng):
    """Energies and forces are consistent in atomic units: central differences in Bohr; a pressure from the volume."""
    model, symbols, x = three_species(rng)
    evaluate, h = Evaluator(model, symbols), 2e-4
    x, cell = x / BOHR, TRICLINIC / BOHR
    _, forces, virial = evaluate(x, cell)
    shift = np.zeros_like(x)
    shift[3, 1] = h
    slope = (evaluate(x + shift, cell)[0] - evaluate(x - shift, cell)[0]) / (2 * h)
    assert slope == pytest.approx(-forces[3, 1], rel=1e-6, abs=1e-9)
    larger, smaller = (evaluate(x * s, cell * s)[0] for s in (1 + 1e-5, 1 - 1e-5))
    assert -(larger - smaller) / 2e-5 == pytest.approx(np.trace(virial), rel=1e-6)
    assert 27.2113862459 < HARTREE < 27.2113862460 and 0.5291772109 < BOHR < 0.5291772110  # CODATA 2018


# ---- errors ----


def test_errors(rng):
    model, symbols, x = three_species(rng)
    evaluate = Evaluator(model, symbols)
    with pytest.raises(nnpcore.InputError, match=r"species: i-PI does not send them.*--structure"):
        Evaluator(model)
    with pytest.raises(nnpcore.InputError, match="precision"):
        Evaluator(model, symbols, precision="half")
    with pytest.raises(nnpcore.InputError, match="'Au'"):
        Evaluator(model, ["Au", "O"])
    with pytest.raises(nnpcore.InputError, match="i-PI sends 11 atoms, the structure has 12"):
        session(lambda server: server.positions(x[:11], TRICLINIC), evaluate)
    with pytest.raises(nnpcore.InputError, match="GETFORCE before POSDATA"):
        session(lambda server: server.send("GETFORCE"), evaluate)
    with pytest.raises(nnpcore.InputError, match="batch_size"):
        session(lambda server: server.initialise(b"a : 1, batch_size:4"), evaluate)
    with pytest.raises(nnpcore.InputError, match="message 'HELLO' is not one of STATUS"):
        session(lambda server: server.send("HELLO"), evaluate)
    with pytest.raises(ConnectionFailed, match="7 of 11 bytes"):
        session(lambda server: server.connection.sendall(b"POSDATA "), evaluate)
    with pytest.raises(ConnectionFailed, match="of 72 bytes"):
        session(lambda server: server.send("POSDATA", np.zeros(4)), evaluate)
    with pytest.raises(nnpcore.InputError, match="atoms"):
        session(lambda server: server.positions(np.zeros_like(x), TRICLINIC), evaluate)


def test_nobody_listens(tmp_path):
    with pytest.raises(ConnectionFailed, match="no i-PI listens there"):
        connect(unix="none", timeout=0.2, prefix=f"{tmp_path}/")


def client(*arguments, **options):
    command = [sys.executable, "-m", "nnpcore.cli", "ipi", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, **options
    )


@pytest.mark.parametrize("family", ["unix", "inet"])
def test_command(family, tmp_path):
    """`nnpcore ipi` on both kinds of socket, started before the server listens."""
    model = nnpcore.Model.stillinger_weber("mW")
    model.save(tmp_path / "mw.nnp")
    x = np.array([[0, 0, 0], [0, 0, 2.7], [0, 2.9, 0.1]])
    with socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET) as listener:
        if family == "unix":
            address = f"{tmp_path}/ipi_x"
            process = client(tmp_path / "mw.nnp", "--unix", "x", "--prefix", f"{tmp_path}/ipi_")
        else:
            address = ("127.0.0.1", 0)
        listener.bind(address)
        listener.listen(1)
        if family == "inet":
            process = client(tmp_path / "mw.nnp", "--host", "127.0.0.1", "--port", listener.getsockname()[1])
        listener.settimeout(60)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(60)
            server = Server(connection)
            server.initialise()
            server.positions(x, 12 * np.eye(3))
            energy, forces, _ = server.forces()
            server.send("EXIT")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "i-PI has ended: 1 evaluations\n", "")
    expected = model.compute(x, "O", 12 * np.eye(3))
    assert energy * HARTREE == pytest.approx(expected.energy, rel=1e-13)
    agree(forces * (HARTREE / BOHR), expected.forces, 1e-12)


def test_command_errors(tmp_path):
    case("msr3").model.save(tmp_path / "m.nnp")
    for arguments, code, text in (
        ([tmp_path / "m.nnp", "--unix", "x"], 2, "give --structure"),
        ([tmp_path / "m.nnp", "--species", "O"], 2, "address: give --unix NAME, or --port PORT"),
        ([tmp_path / "no.nnp", "--unix", "x"], 2, "no.nnp"),
        ([tmp_path / "m.nnp", "--species", "O", "--unix", "none", "--timeout", "0"], 1, "ipi_none: no i-PI listens"),
    ):
        process = client(*arguments)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code and text in err and err.count("\n") == 1, err


# ---- i-PI itself ----

INPUT = """<simulation verbosity='low'>
  <output prefix='run'>
    <properties stride='1' filename='out'> [ step, potential, conserved ] </properties>
    <checkpoint stride='1' filename='state' overwrite='false'/>
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 1 </seed> </prng>
  <ffsocket mode='{mode}' name='nnpcore' pbc='false'> {address} <latency> 1e-4 </latency> </ffsocket>
  <system>
    <initialize nbeads='{beads}'>
      <file mode='xyz'> start.xyz </file>
      <velocities mode='thermal' units='kelvin'> 200 </velocities>
    </initialize>
    <forces> <force forcefield='nnpcore'/> </forces>
    <motion mode='dynamics'> <dynamics mode='nve'> <timestep units='femtosecond'> 0.5 </timestep> </dynamics> </motion>
    <ensemble> <temperature units='kelvin'> 200 </temperature> </ensemble>
  </system>
</simulation>
"""


@pytest.fixture(scope="module")
def ipi():
    program = shutil.which("i-pi") or shutil.which("i-pi", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("no i-PI: pip install ipi")
    return program


def bead_positions(path):
    """[n_beads, n, 3] Bohr and cell [3,3] of an i-PI checkpoint, with all their digits."""
    system = ElementTree.parse(path).getroot().find("system")
    beads, q = system.find("beads"), system.find("beads").find("q")
    numbers = np.array(q.text.strip(" []\n").replace(",", " ").split(), dtype=float)
    h = np.array(system.find("cell").text.strip(" []\n").replace(",", " ").split(), dtype=float).reshape(3, 3)
    return numbers.reshape(int(beads.attrib["nbeads"]), int(beads.attrib["natoms"]), 3), h.T


@pytest.mark.parametrize("mode, beads", [("unix", 1), ("inet", 4)])
def test_ipi(ipi, mode, beads, rng, tmp_path):
    """Classical and path-integral dynamics of three species in a triclinic cell: at every step i-PI's potential energy
    is the mean over beads of what compute() gives for the positions that i-PI wrote, to all digits it prints."""
    model, symbols, x = three_species(rng)
    model.save(tmp_path / "m.nnp")
    q, r = np.linalg.qr(TRICLINIC.T)  # i-PI wants the first vector along x, the second in the xy plane
    cell, x = (q.T @ TRICLINIC.T).T, x @ q
    cell, x = cell * np.sign(np.diag(r)), x * np.sign(np.diag(r))
    h = " ".join(f"{v:.8f}" for v in cell.T.ravel())
    rows = "".join(f"{s} {' '.join(f'{v:.8f}' for v in row)}\n" for s, row in zip(symbols, x, strict=True))
    (tmp_path / "start.xyz").write_text(f"{len(x)}\n# CELL(H): {h} cell{{angstrom}} positions{{angstrom}}\n{rows}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name = f"test-{os.getpid()}"
    address = f"<address>{name}</address>" if mode == "unix" else f"<address>127.0.0.1</address><port>{port}</port>"
    (tmp_path / "input.xml").write_text(INPUT.format(steps=4, mode=mode, address=address, beads=beads))
    where = ["--unix", name] if mode == "unix" else ["--host", "127.0.0.1", "--port", port]
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(
            [ipi, "input.xml"], cwd=tmp_path, stdout=log, stderr=log, env={**ENVIRONMENT, "PYTHONPATH": ""}
        )
        ours = client(tmp_path / "m.nnp", *where, "--structure", tmp_path / "start.xyz")
        out, err = ours.communicate(timeout=120)
        assert server.wait(60) == 0, (tmp_path / "log").read_text()
    assert ours.returncode == 0 and out == f"i-PI has ended: {5 * beads} evaluations\n", err
    potential = np.loadtxt(tmp_path / "run.out")[:, 1]
    for step in range(5):
        beads_x, lattice = bead_positions(tmp_path / f"run.state_{step}")
        agree(lattice * BOHR, cell, 1e-6)
        energies = [model.compute(b * BOHR, symbols, lattice * BOHR).energy / HARTREE for b in beads_x]
        assert potential[step] == pytest.approx(np.mean(energies), abs=5.01e-9), f"step {step}"  # 8 decimals
    assert len(set(potential)) == 5
