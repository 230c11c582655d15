"""Forces for i-PI over its socket: `nnpcore ipi MODEL --unix NAME`; docs/hosts.md.

i-PI (Kapil et al., Comput. Phys. Commun. 236, 214 (2019)) moves the atoms and asks for energies, forces and virials.
Its protocol: messages of 12 characters, numbers in the machine's own binary, Bohr and Hartree throughout.
"""

import socket
import time

import numpy as np

from . import _core
from .compute import compute, precision_number
from .data import BOHR, HARTREE
from .validate import InputError, check_species

HEADER = 12  # characters of a message
PREFIX = "/tmp/ipi_"  # of UNIX sockets, i-PI's default


class ConnectionFailed(RuntimeError):
    """Nobody listens at the address, or the server went away in the middle of a message."""


class Evaluator:
    """A model and the atoms that positions are of; atomic units in and out."""

    def __init__(self, model, symbols=None, pbc=True, precision="float64", n_threads=0, skin=1.0):
        """symbols: of every atom in i-PI's order, one for all, or None for a model of one species. pbc: whether i-PI's
        cell is periodic. The rest as Model.compute(). Raises InputError."""
        if symbols is None and len(model.species) > 1:
            raise InputError(
                f"species: i-PI does not send them, and the model has {', '.join(model.species)}: give --structure"
            )
        self.model, self.pbc = model, pbc
        self.symbols = model.species[0] if symbols is None else symbols
        self.species = None if isinstance(self.symbols, str) else check_species(symbols, model.species)
        try:
            self.work = _core.Workspace(model.core, int(n_threads), precision_number(precision), float(skin))
        except _core.NnpError as error:
            raise InputError(str(error)) from None

    def __call__(self, positions, cell):
        """(energy, forces [n,3], virial [3,3]) in Hartree and Bohr of positions [n,3], cell [3,3] (vectors in rows).

        virial = -V stress = sum r (x) F, as i-PI defines it. Raises InputError.
        """
        n = len(positions)
        if self.species is None:
            self.species = check_species(self.symbols, self.model.species, n=n)
        if n != len(self.species):
            raise InputError(f"species: i-PI sends {n} atoms, the structure has {len(self.species)}")
        out = compute(self.work, positions * BOHR, self.species, cell * BOHR if self.pbc else None, self.pbc)
        return out.energy / HARTREE, out.forces * (BOHR / HARTREE), out.virial / HARTREE


class Client:
    """The client's end of i-PI's protocol on a connected socket."""

    def __init__(self, connection, evaluate):
        self.connection, self.evaluate = connection, evaluate
        self.initialised, self.result, self.n_evaluations = False, None, 0

    def run(self):
        """Answer until the server says EXIT or closes; returns the number of evaluations. Raises ConnectionFailed,
        InputError (what cannot be computed, unknown messages)."""
        answers = {"STATUS": self._status, "INIT": self._init, "POSDATA": self._positions, "GETFORCE": self._forces}
        while True:
            message = self._message()
            if message in ("EXIT", None):
                return self.n_evaluations
            if message not in answers:
                raise InputError(f"i-PI: message {message!r} is not one of {', '.join(answers)}, EXIT")
            answers[message]()

    def _status(self):
        self._send("HAVEDATA" if self.result else "READY" if self.initialised else "NEEDINIT")

    def _init(self):
        _, length = self._numbers(np.int32, 2)
        text = self._receive(max(int(length), 0)).decode(errors="replace")
        if "batch_size" in text:
            raise InputError("i-PI: batch_size above 1 is not supported: remove it from the ffsocket")
        self.initialised = True

    def _positions(self):
        cell = self._numbers(np.float64, 9).reshape(3, 3).T  # i-PI's vectors are columns
        self._numbers(np.float64, 9)  # the inverse
        n = int(self._numbers(np.int32, 1)[0])
        if n < 0:
            raise InputError(f"i-PI: POSDATA of {n} atoms")
        positions = self._numbers(np.float64, 3 * n).reshape(n, 3)
        self.result = self.evaluate(positions, cell)
        self.n_evaluations += 1

    def _forces(self):
        if self.result is None:
            raise InputError("i-PI: GETFORCE before POSDATA")
        energy, forces, virial = self.result
        n = np.int32(len(forces))
        parts = (np.float64(energy), n, forces, virial.T, np.int32(0))  # 0 bytes of extras
        self._send("FORCEREADY", b"".join(np.ascontiguousarray(part).tobytes() for part in parts))
        self.result = None

    def _send(self, message, data=b""):
        try:
            self.connection.sendall(message.ljust(HEADER).encode() + data)
        except (BrokenPipeError, ConnectionResetError):
            raise ConnectionFailed("i-PI closed the connection while it was answered") from None

    def _message(self):
        """The next message; None where the server closed the connection instead."""
        try:
            first = self.connection.recv(1)
        except ConnectionResetError:
            return None
        return (first + self._receive(HEADER - 1)).decode(errors="replace").strip() if first else None

    def _receive(self, length):
        data, view = bytearray(length), 0
        while view < length:
            try:
                got = self.connection.recv_into(memoryview(data)[view:])
            except ConnectionResetError:
                got = 0
            if got == 0:
                raise ConnectionFailed(
                    f"i-PI closed the connection in the middle of a message ({view} of {length} bytes)"
                )
            view += got
        return bytes(data)

    def _numbers(self, kind, count):
        return np.frombuffer(self._receive(count * np.dtype(kind).itemsize), kind)


def connect(unix=None, host=None, port=None, timeout=60.0, prefix=PREFIX):
    """A socket connected to a UNIX socket by its name (prefix + unix) or to host, port; tries for timeout s, so that
    i-PI may be started later. Raises ConnectionFailed with the address."""
    where = prefix + unix if unix is not None else f"{host}:{port}"
    give_up = time.monotonic() + timeout
    while True:
        connection = None
        try:
            if unix is not None:
                connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connection.connect(where)
            else:
                connection = socket.create_connection((host, port), timeout=max(1.0, timeout))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(None)
            return connection
        except OSError as error:
            if connection is not None:
                connection.close()
            if time.monotonic() >= give_up:
                raise ConnectionFailed(f"{where}: no i-PI listens there ({error.strerror or error})") from None
            time.sleep(0.1)


def ipi_main(args):
    """`nnpcore ipi`; args as cli.py's parser makes them."""
    from .model import load

    model = load(args.model)
    symbols = args.species
    if args.structure is not None:
        if symbols is not None:
            raise InputError("species: given twice, by --species and by --structure")
        from .md_start import read

        symbols = read(args.structure).symbols
    if (args.unix is None) == (args.port is None):
        raise InputError("address: give --unix NAME, or --port PORT (and --host)")
    evaluate = Evaluator(model, symbols, not args.isolated, args.precision, args.threads, args.skin)
    with connect(args.unix, args.host, args.port, args.timeout, args.prefix) as connection:
        n = Client(connection, evaluate).run()
    print(f"i-PI has ended: {n} evaluations")
