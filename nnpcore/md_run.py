"""A simulation in a run folder.

Run folder: config.resolved.toml md.log thermo.csv traj.xyz rdf.csv restart.ckpt; after a blow-up diverged.ckpt, after
atoms left the training range (md.outside_max) outside.xyz.

A checkpoint holds the state to the last bit, with the positions that the neighbour list was built at, and the lengths
of the files that grow. A run that is resumed cuts them there and goes on: whenever it was killed, and however often,
the files end as those of an uninterrupted run, byte by byte.
"""

import contextlib
import os
import signal
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from . import checkpoint, config, md_start
from .config import ConfigError
from .md import MD, Diverged, Extrapolated
from .md_config import FREE, MDConfig
from .md_outside import Watch
from .progress import Progress
from .sample import PairDistribution
from .units import GPA
from .validate import InputError

REPORT = 5.0  # s between two lines of the log
CHUNK = 1.0  # s between two looks at the clock
STRESS = ("xx", "yy", "zz", "yz", "xz", "xy")
THERMO = (
    ["step", "time[fs]", "temperature[K]", "potential[eV]", "kinetic[eV]", "total[eV]", "conserved[eV]"]
    + ["pressure[GPa]", "volume[A^3]"]
    + [f"stress_{k}[GPa]" for k in STRESS]
)


@dataclass
class Result:
    """What a run leaves: its folder, the MD object at its end, g(r) or None, and the signal that stopped it or None."""

    folder: Path
    simulation: MD
    rdf: PairDistribution | None = None
    signal: int | None = None


def run(settings, overrides=(), resume=False, dry_run=False, quiet=False):
    """Simulate as a configuration says; returns a Result (None for a dry run, which prints what it would do).

    settings: path of a TOML file, whose folder relative paths start from, or a md_config.MDConfig. overrides:
    "section.key=value" texts. resume: go on with the run in the folder, or begin it where there is none.
    Raises ConfigError, InputError, CheckpointError, FolderInUse, Diverged, OSError.
    """
    base = Path()
    if not isinstance(settings, MDConfig):
        base = Path(settings).parent
        settings = config.load(settings, MDConfig, overrides)
    model = load_model(settings.model, base)
    if dry_run:
        structure = load_structure(settings, model, base)
        print(describe(settings, model, structure))
        return None
    folder = base / settings.output.folder
    with checkpoint.FolderLock(folder):
        held = _held(folder)
        if held and not resume:
            raise ConfigError(f"{folder}: holds a run; --resume goes on with it, output.folder names another place")
        structure = None if held else load_structure(settings, model, base)
        task = _Run(settings, model, structure, folder, quiet)
        try:
            return task.run()
        finally:
            task.close()


def _held(folder):
    path = folder / "restart.ckpt"
    return path.exists() or checkpoint.previous(path).exists()


# ---- input ----


def load_model(section, base=Path()):
    """The nnpcore.Model of [model]."""
    from .model import Model, load

    return Model.stillinger_weber(section.builtin) if section.builtin else load(base / section.file)


def load_structure(settings, model, base=Path()):
    """The md_start.Structure of [structure]."""
    s = settings.structure
    if s.file is not None:
        return md_start.read(base / s.file, s.index, s.repeat)
    symbol = s.species or model.species[0]
    if symbol not in model.species:
        raise ConfigError(f"structure.species: {symbol!r} is not in the model, which has {', '.join(model.species)}")
    mass = float(model.mass[model.species.index(symbol)])
    if s.lattice == "random":
        return md_start.disordered_box(s.n, symbol, s.density, mass, settings.md.seed)
    start = md_start.lattice(s.lattice, s.cells, symbol, s.a, s.density, mass)
    return md_start.displace(start, s.displace, settings.md.seed) if s.displace else start


def describe(settings, model, structure):
    """Text of a dry run: what would be simulated."""
    m = settings.md
    n = len(structure.symbols)
    lines = [f"atoms: {n}, {', '.join(sorted(set(structure.symbols)))}; model: {model!r}, cutoff {model.cutoff:g} A"]
    if structure.cell is not None:
        lines.append(f"volume: {abs(np.linalg.det(structure.cell)):.6g} A^3")
    thermostat = "" if m.ensemble == "nve" else f" at {m.temperature:g} K"
    lines.append(f"{m.ensemble}{thermostat}, {m.steps} steps of {m.dt:g} fs = {m.steps * m.dt / 1000:g} ps")
    return "\n".join(lines)


# ---- files ----


class GrowingFile:
    """A file that is appended to and, on resuming, cut to a length known to be whole. OSError names the path."""

    def __init__(self, path, length=None):
        self.path = Path(path)
        self.stream = open(path, "wb" if length is None else "r+b")  # noqa: SIM115 (closed in close())
        if length is not None:
            if self.stream.seek(0, os.SEEK_END) < length:
                self.stream.close()
                raise checkpoint.CheckpointError(f"{path}: shorter than the {length} bytes its checkpoint has seen")
            self.stream.truncate(length)
            self.stream.seek(length)

    def write(self, text):
        try:
            self.stream.write(text.encode())
        except OSError as error:
            raise type(error)(error.errno, f"cannot write: {error.strerror}", str(self.path)) from error

    def sync(self):
        """Everything to the disk; the length in bytes."""
        try:
            self.stream.flush()
            os.fsync(self.stream.fileno())
        except OSError as error:
            raise type(error)(error.errno, f"cannot write: {error.strerror}", str(self.path)) from error
        return self.stream.tell()

    def close(self):
        with contextlib.suppress(OSError):
            self.stream.close()


class XyzWriter:
    """Frames as extended XYZ text; velocities vel in Å/fs and forces in eV/Å where asked for."""

    def __init__(self, symbols, cell, pbc, velocities=False, forces=False):
        self.n, self.columns = len(symbols), ["x"] + ["v"] * velocities + ["f"] * forces
        self.properties = "species:S:1:pos:R:3" + ":vel:R:3" * velocities + ":forces:R:3" * forces
        self.pbc = " ".join("FT"[int(p)] for p in pbc)
        self.periodic = cell is not None
        numbers = {"x": " %.8f %.8f %.8f", "v": " %.10g %.10g %.10g", "f": " %.8g %.8g %.8g"}
        row = "".join(numbers[c] for c in self.columns) + "\n"
        self.format = "".join(symbol + row for symbol in symbols)

    def frame(self, state, thermo):
        """Text of one frame: state of MD.state, thermo of MD.thermo()."""
        lattice = ""
        if self.periodic:
            lattice = 'Lattice="' + " ".join(repr(float(c)) for c in state["cell"].ravel()) + '" '
        head = f'{lattice}Properties={self.properties} pbc="{self.pbc}"'
        info = f"step={thermo['step']} time={thermo['time']:.10g} temperature={thermo['temperature']:.10g}"
        values = np.hstack([state[c] for c in self.columns]).ravel().tolist()
        energy = f"energy={thermo['potential']:.12g}"
        return f"{self.n}\n{head} {info} {energy}\n{self.format % tuple(values)}"


def thermo_row(t):
    """One line of thermo.csv; empty fields where a number is not defined."""
    values = [t["time"], t["temperature"], t["potential"], t["kinetic"], t["total"], t["conserved"], t["pressure"]]
    values += [t["volume"], *(t["stress"] * GPA)]
    return ",".join([str(t["step"]), *("" if np.isnan(v) else f"{v:.12g}" for v in values)]) + "\n"


def rdf_text(result):
    """rdf.csv of a PairDistribution."""
    names, values = zip(*result.columns(), strict=True)
    rows = [",".join("" if np.isnan(v) else f"{v:.10g}" for v in row) for row in zip(*values, strict=True)]
    return "\n".join([",".join(names), *rows]) + "\n"


# ---- the run ----


class _Run:
    """One process' share of a run; structure None: resumed from the folder's checkpoint."""

    def __init__(self, settings, model, structure, folder, quiet):
        self.settings, self.model, self.folder = settings, model, folder
        self.path, self.signal, self.files, self.reported = folder / "restart.ckpt", None, {}, -1e300
        self.identity = {"config": _fixed(settings), "model": f"{zlib.crc32(model.to_bytes()):08x}"}
        arrays, document = (None, None) if structure else self._load()
        self.md = self._make(structure, arrays, document)
        self.writer = self._writer()
        self._open(document)
        self.watch = Watch(self.md, self.model, settings.md, folder / "outside.xyz", document)
        self.progress = Progress(settings.md.steps, "step", folder / "md.log", quiet, done=self.md.step)
        if structure:
            checkpoint.write_atomic(folder / "config.resolved.toml", config.dumps(settings).encode())
            self._begin()
        else:
            self.progress.line(f"resumed at step {self.md.step}")

    # -- beginning --

    def _load(self):
        arrays, document, _ = checkpoint.load(self.path)
        if document.get("kind") != "md":
            raise checkpoint.CheckpointError(f"{self.path}: not a checkpoint of a simulation")
        _compare(document["identity"]["config"], self.identity["config"], self.path)
        if document["identity"]["model"] != self.identity["model"]:
            raise ConfigError(f"{self.path}: written with another model; a resumed run keeps its own")
        return arrays, document

    def _make(self, structure, arrays, document):
        m = self.settings.md
        options = {k: getattr(m, k) for k in ("ensemble", "dt", "temperature", "friction", "tau", "seed", "skin")}
        options |= {k: getattr(m, k) for k in ("precision", "threads", "device", "f_max", "momentum_every")}
        options["virial_every"] = self.settings.output.thermo
        if structure:
            return self._start(structure, options)
        options |= {"cell": arrays["cell"] if document["has_cell"] else None, "pbc": arrays["pbc"]}
        options |= {"masses": arrays["masses"], "velocities": arrays["v"]}
        md = MD(self.model, arrays["x"], arrays["species"], **options)
        self._sample(md)
        md.state = {**arrays, "step": document["step"], "heat": document["heat"]}
        if md.rdf:
            md.rdf.set_state(arrays, document["rdf"])
        return md

    def _start(self, s, options):
        wanted, velocities = self.settings.md.initial_temperature, s.velocities
        if wanted is not None:
            velocities = None
        md = MD(self.model, s.positions, s.symbols, s.cell, s.pbc, velocities=velocities, masses=s.masses, **options)
        if velocities is None:
            md.draw_velocities(self.settings.md.temperature if wanted is None else wanted)
        elif self.settings.md.ensemble != "langevin":
            md.remove_momentum()  # the temperature counts 3n - 3 degrees of freedom
        self._sample(md)
        return md

    def _sample(self, md):
        r = self.settings.rdf
        if r is not None:
            md.sample_rdf(r.r_max, r.bins, r.every, r.start)

    def _writer(self):
        o = self.settings.output
        return XyzWriter(self.md.symbols(), self.md.cell, self.md.pbc, o.velocities, o.forces)

    def _open(self, document):
        o = self.settings.output
        for name, every in (("thermo.csv", o.thermo), ("traj.xyz", o.trajectory)):
            if every:
                self.files[name] = GrowingFile(self.folder / name, document["lengths"][name] if document else None)

    def _begin(self):
        if "thermo.csv" in self.files:
            self.files["thermo.csv"].write(",".join(THERMO) + "\n")
        self._write()
        self._save()

    # -- going on --

    def run(self):
        """To the last step, or until SIGINT or SIGTERM; a checkpoint at the end either way."""
        md, last = self.md, self.settings.md.steps
        saved, chunk = time.monotonic(), 1
        with self._signals():
            self._watch()
            while md.step < last and self.signal is None:
                before, began = md.step, time.monotonic()
                try:
                    md.run(min(self._next_event(), last, before + chunk) - before)
                    self._watch()
                except Diverged as error:
                    self._keep_diverged(error)
                    raise
                if md.step > before:
                    self._write()
                now = time.monotonic()
                pace = (md.step - before) / max(now - began, 1e-9)
                chunk = max(1, min(int(CHUNK * pace), 2 * chunk))
                self._report()
                if now - saved >= self.settings.output.checkpoint_seconds:
                    self._save()
                    saved = now
            self._save()
        stopped = f"stopped by signal {self.signal}; --resume goes on" if self.signal else "done"
        self.progress.line(f"step {md.step}: {stopped}")
        result = md.rdf.result() if md.rdf and md.rdf.core.get()[1] else None
        return Result(self.folder, md, result, self.signal)

    def _next_event(self):
        """The first step past this one at which something is written."""
        step, o = self.md.step, self.settings.output
        looks = self.settings.md.outside_every if self.watch.limit is not None else 0
        events = [(step // every + 1) * every for every in (o.thermo, o.trajectory, looks) if every]
        return min(events, default=self.settings.md.steps)

    def _write(self):
        md, o = self.md, self.settings.output
        step = md.step
        due = {
            "thermo.csv": o.thermo and step % o.thermo == 0,
            "traj.xyz": o.trajectory and step % o.trajectory == 0,
        }
        if not any(due.values()):
            return
        t = md.thermo(stress=bool(due["thermo.csv"]))
        if due["thermo.csv"]:
            self.files["thermo.csv"].write(thermo_row(t))
        if due["traj.xyz"]:
            self.files["traj.xyz"].write(self.writer.frame(md.state, t))

    def _watch(self):
        """Look whether too many atoms are outside the training range; a first time that ends the run leaves files that
        are whole up to there."""
        try:
            self.watch.look(self.progress.line)
        except Extrapolated:
            self._write()
            self._save()
            raise

    def _report(self):
        step = self.md.step
        self.progress.update(step)
        if time.monotonic() - self.reported >= REPORT:
            self.reported, t = time.monotonic(), self.md.thermo(False)
            energy = t["conserved"] / max(len(self.md), 1)
            text = f"step {step}  T {t['temperature']:.1f} K  E {energy:.8f} eV/atom"
            self.progress.line(f"{text}  {self.progress.eta(step)}", always=False)

    # -- checkpoints --

    def _state(self):
        md, state = self.md, self.md.state
        arrays = {key: state[key] for key in ("x", "v", "x_list", "cell")}
        arrays |= {"species": md.species.astype(np.int64), "masses": md.masses, "pbc": md.pbc.astype(np.int64)}
        document = {"kind": "md", "step": state["step"], "heat": state["heat"], "has_cell": md.cell is not None}
        document |= {"identity": self.identity, "outside": self.watch.event}
        if md.rdf:
            more, document["rdf"] = md.rdf.state()
            arrays |= more
        return arrays, document

    def _save(self):
        arrays, document = self._state()
        document["lengths"] = {name: file.sync() for name, file in self.files.items()}
        checkpoint.save(self.path, arrays, document)
        if self.md.rdf and document["rdf"]["samples"]:
            checkpoint.write_atomic(self.folder / "rdf.csv", rdf_text(self.md.rdf.result()).encode())

    def _keep_diverged(self, error):
        self.progress.line(f"diverged: {error}; the state before is in diverged.ckpt")
        arrays, document = self._state()
        document["lengths"] = {}
        checkpoint.save(self.folder / "diverged.ckpt", arrays, document)

    # -- signals --

    @contextlib.contextmanager
    def _signals(self):
        """SIGINT and SIGTERM let the step end and stop the loop."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number, _):
            self.signal = number
            self.md.stop()

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def close(self):
        """Close the files; may follow any failure."""
        for file in self.files.values():
            file.close()
        self.progress.close()


def _fixed(settings):
    """The settings that a resumed run keeps, as JSON values."""
    table = msgspec.to_builtins(settings)
    return {
        section: {k: v for k, v in values.items() if k not in FREE.get(section, ())}
        for section, values in table.items()
        if values is not None
    }


def _compare(old, new, path):
    for section in sorted({*old, *new}):
        a, b = old.get(section), new.get(section)
        if a is None or b is None:
            how = "without" if a is None else "with"
            raise ConfigError(f"{path}: the run was begun {how} [{section}]; a resumed run keeps it")
        for key in sorted({*a, *b}):
            if a.get(key) != b.get(key):
                raise ConfigError(
                    f"{section}.{key}: {b.get(key)!r}, but {path} was begun with {a.get(key)!r}; a resumed run keeps it"
                )


__all__ = ["InputError", "Result", "describe", "load_model", "load_structure", "run"]
