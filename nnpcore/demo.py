"""`nnpcore demo`: everything once, with no input. mW reference data, training, errors, MD against mW, crystals.

    metrics = nnpcore.demo.run("nnpcore-demo", quick=True, seed=1)

Writes metrics.json, report.html, model.nnp, learning_curve.csv, rdf_STATE.csv and, with matplotlib, PNGs. docs/demo.md.
"""

import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from . import config, demo_crystals, demo_report
from .checkpoint import FolderLock, write_atomic
from .data import split
from .demo_liquid import (
    CAVITY,
    ICE_LIKE,
    MASS,
    STATE_POINTS,
    SYMBOL,
    TRAINED,
    Sample,
    labelled,
    melt,
    nvt,
    side_by_side,
    stream,
    training_frames,
)
from .demo_metrics import ERRORS, LIQUIDS, compare, errors_by_state, machine, settings_table, slug, versions, write_rdf
from .evaluate import evaluate, strict_json
from .model import Model
from .train import build_model
from .training import HEADER, Training
from .validate import InputError

SCHEMA = 1


@dataclass(frozen=True)
class Plan:
    """Sizes of a demo; steps of training data are 5 fs, of the g(r) runs 10 fs. At 221 K runs are longer."""

    n_train: int = 64  # molecules of a training box
    frames: int = 300  # a state point
    stride: int = 300  # steps between training frames
    n_test: int = 1000  # molecules of the unseen frames and of the g(r) runs
    test_frames: int = 10  # a state point
    settle: int = 2000  # steps before anything is sampled
    steps: int = 12000  # of a g(r) run
    every: int = 20  # steps between samples of g(r), energy, pressure
    r_max: float = 10.0  # A
    bin_width: float = 0.05  # A
    train_seconds: float = 330.0
    # what the stages take on a quiet 2-core machine, s: for the ETA, and for what is left to train
    expected: tuple = (17.0, 70.0, 330.0, 1.0, 80.0, 1.0, 3.0)


QUICK = Plan(
    n_train=64,
    frames=16,
    stride=100,
    n_test=216,
    test_frames=4,
    settle=300,
    steps=800,
    every=10,
    bin_width=0.1,
    train_seconds=0.0,
    expected=(1.0, 3.0, 5.0, 0.1, 3.0, 0.5, 3.0),
)
STAGES = ("data", "reference", "training", "errors", "network MD", "crystals", "report")
TOTAL_SECONDS = 570.0  # the training gets what the rest leaves of this, between half of and all train_seconds


def training_settings(quick, seed, seconds):
    """The recipe: a config.TrainConfig. Quick runs end by epochs, so that equal seeds give equal numbers.

    Small boxes and batches of two, because many cheap steps beat few dear ones; the energy's weight grows, because
    forces say more about the fingerprints. docs/training.md has the measurements behind it.
    """
    return config.TrainConfig(
        data=config.Data(train="mW, made by the demo"),  # here for E0
        model=config.Model(rc=4.54575, rc3=4.3065, n2=5, n3=5, hidden=[25, 25], mass={SYMBOL: MASS}),
        loss=config.Loss(kind="square", energy=[1.0, 30.0], force=1.0, bound=8.0),
        schedule=config.Schedule(kind="cosine"),
        train=config.Train(
            epochs=60 if quick else None,
            max_seconds=None if quick else seconds,
            batch=2,
            seed=stream(seed, "training"),
            precision="float32",
            validate_every=20,
        ),
    ).check()


class Stages:
    """Names the stage that runs and what is left; wall seconds by stage."""

    def __init__(self, plan):
        self.expected = dict(zip(STAGES, plan.expected, strict=True))
        self.seconds, self.began, self.name, self.spoke = {}, time.monotonic(), None, -1e300
        self.stage_began = self.began

    @contextlib.contextmanager
    def stage(self, name):
        self.name, self.stage_began = name, time.monotonic()
        self.say("")
        yield
        self.seconds[name] = time.monotonic() - self.stage_began

    def elapsed(self):
        return time.monotonic() - self.began

    def left(self, names=STAGES):
        """Seconds until those of the named stages that are not over yet are, at the pace of those that are."""
        over = sum(self.expected[n] for n in self.seconds if n != "training")
        spent = sum(t for n, t in self.seconds.items() if n != "training")
        pace = spent / over if over else 1.0
        rest = {n: self.expected[n] * (1.0 if n == "training" else pace) for n in names if n not in self.seconds}
        if self.name in rest:
            rest[self.name] = max(rest[self.name] - (time.monotonic() - self.stage_began), 0.0)
        return sum(rest.values())

    def say(self, text, interval=0.0):
        """A progress line, unless the last one is younger than interval seconds."""
        now = time.monotonic()
        if now - self.spoke < interval:
            return
        self.spoke, left = now, int(self.left())
        place = f"[{STAGES.index(self.name) + 1}/{len(STAGES)} {self.name}]"
        clock = f"{self.elapsed():.0f} s, ETA {left // 60}:{left % 60:02d}"
        print(f"{place} {text + '  ' if text else ''}({clock})", file=sys.stderr, flush=True)


class Demo:
    """One run: each method is a stage and leaves its results in self; metrics() gathers them."""

    def __init__(self, folder, quick=False, seed=1):
        if seed < 0:
            raise InputError(f"--seed: expected an integer of at least 0, got {seed}")
        self.folder, self.quick, self.seed = Path(folder), quick, seed
        self.plan = QUICK if quick else Plan()
        self.stages, self.warnings = Stages(self.plan), []
        self.mw = Model.stillinger_weber("mW")
        self.train, self.valid, self.starts = [], [], {}
        self.reference, self.network = {}, {}  # {state point name: Sample}

    def data(self):
        """Small boxes of mW at the trained state points, split into training and validation frames."""

        def work(point):
            self.stages.say(f"{self.plan.frames} frames of {self.plan.n_train} molecules: {point.name}")
            seed = stream(self.seed, "data", point.name)
            return training_frames(self.mw, self.plan.n_train, point, self.plan, seed)

        frames = []
        for point, (found, ice) in zip(TRAINED, side_by_side(work, TRAINED), strict=True):
            self._check_ice("training data", point, ice)
            frames += found
        self.train, self.valid = split(frames, 0.1, stream(self.seed, "split"))

    def run_reference(self):
        """NVT with mW in large boxes, from melts of their own: g(r), energy, pressure, and the unseen frames."""

        def work(point):
            self.stages.say(f"mW, {self.plan.n_test} molecules: {point.name}")
            seed = stream(self.seed, "reference", point.name)
            self.starts[point] = melt(self.mw, self.plan.n_test, point, seed)
            return self._nvt(self.mw, "mW", point, seed, "float64")

        self.reference = self._runs(work)

    def training(self):
        """Train on what data() made; self.model, self.history."""
        seconds = self.plan.train_seconds
        if seconds:
            rest = self.stages.left([name for name in STAGES if name != "training"])
            seconds = min(max(TOTAL_SECONDS - self.stages.elapsed() - rest, 0.5 * seconds), seconds)
        settings = training_settings(self.quick, self.seed, seconds)
        self.settings = settings
        with Training(build_model(settings, self.train), self.train, self.valid, settings, quiet=True) as training:
            training.initialise()
            result = training.run(self._training_row)
        if result.stopped == "signal":
            raise KeyboardInterrupt(result.signal)
        self.model, self.history = result.model, result.history
        info = {**self.model.info, "name": "mW by MSR (nnpcore demo)", "demo": {"seed": self.seed, "quick": self.quick}}
        self.model = self.model.replace(info=info)
        write_atomic(self.folder / "model.nnp", self.model.to_bytes())
        rows = [",".join(HEADER), *(",".join(f"{row[name]:.9g}" for name in HEADER) for row in self.history)]
        write_atomic(self.folder / "learning_curve.csv", ("\n".join(rows) + "\n").encode())

    def _training_row(self, row):
        energy, force = row["valid_rmse_energy[meV/atom]"], row["valid_rmse_force[meV/A]"]
        self.stages.say(f"epoch {row['epoch[1]']:.0f}  E {energy:.3g} meV/atom  F {force:.3g} meV/A", interval=10.0)

    def errors(self):
        """Errors on the unseen frames, by state point."""
        self.table, self.parity = {}, {}
        for trained in (True, False):
            frames = [
                labelled(self.mw, x, self.reference[point.name].cell, point, k)
                for point in STATE_POINTS
                if point.trained == trained
                for k, x in enumerate(self.reference[point.name].frames)
            ]
            if not frames:
                raise RuntimeError("no unseen frames: every reference run diverged")
            table, predictions = evaluate(self.model, frames)
            self.parity["unseen" if trained else "unseen, untrained density"] = (frames, predictions)
            self.table["trained" if trained else "untrained"] = table

    def run_network(self):
        """The same NVT runs with the network, in float32, from the same melts."""

        def work(point):
            self.stages.say(f"network, {self.plan.n_test} molecules: {point.name}")
            seed = stream(self.seed, "network", point.name)
            return self._nvt(self.model, "network", point, seed, "float32")

        self.network = self._runs(work)

    def crystals(self):
        """Crystals that no training frame looks like."""
        self.crystal_table = demo_crystals.compare(self.mw, self.model, self.stages.say)
        for name, row in self.crystal_table.items():
            if not (row["mW_converged"] and row["network_converged"]):
                self._warn(f"crystal {name}: the relaxation did not converge")

    @staticmethod
    def _runs(work):
        """{name: Sample} of all state points; those that are slow to come to rest first."""
        order = sorted(STATE_POINTS, key=lambda point: point.temperature)
        samples = dict(zip(order, side_by_side(work, order), strict=True))
        return {point.name: samples[point] for point in STATE_POINTS}

    def _nvt(self, model, what, point, seed, precision):
        sample = nvt(model, self.starts[point], point, self.plan, seed, precision)
        if sample.failure:
            self._warn(f"{what}, {point.name}: MD diverged: {sample.failure}")
        else:
            self._check_ice(what, point, sample.ice)
            if sample.void > CAVITY:
                self._warn(
                    f"{what}, {point.name}: a cavity of {sample.void:.1f} A: not one homogeneous liquid any more"
                )
        return sample

    def _check_ice(self, what, point, ice):
        if ice > ICE_LIKE:
            self._warn(f"{what}, {point.name}: {100 * ice:.0f} % of the molecules are ice-like: not a liquid any more")

    def _warn(self, text):
        self.warnings.append(text)
        print(f"warning: {text}", file=sys.stderr, flush=True)

    # ---- results ----

    def write(self):
        """g(r) as CSV, report.html, figures."""
        for point in STATE_POINTS:
            pair = self.reference[point.name], self.network[point.name]
            if any(sample.r is not None for sample in pair):
                write_rdf(self.folder / f"rdf_{slug(point.name)}.csv", *pair)
        demo_report.write(self)

    def metrics(self):
        """The document of metrics.json: NaN for what could not be measured."""
        liquids = {point.name: compare(self.reference[point.name], self.network[point.name]) for point in STATE_POINTS}
        diverged = [p for p, s in self.network.items() if s.failure]
        return {
            "schema": SCHEMA,
            "status": "diverged" if diverged else "warnings" if self.warnings else "ok",
            "warnings": sorted(self.warnings),  # state points run side by side
            **{key: errors_by_state(self.table["trained"], column) for key, column in ERRORS.items()},
            **{f"untrained_{key}": errors_by_state(self.table["untrained"], column) for key, column in ERRORS.items()},
            **{key: {name: row[key] for name, row in liquids.items()} for key in LIQUIDS},
            "crystal_energy_error_meV": {k: row["error_meV"] for k, row in self.crystal_table.items()},
            "crystals": self.crystal_table,
            "ice_like_fraction": self._of_samples("ice"),
            "largest_void_A": self._of_samples("void"),
            "attempts": self._of_samples("attempts"),
            "state_points": {point.name: asdict(point) for point in STATE_POINTS},
            "training": {
                "epochs": self.history[-1]["epoch[1]"],
                "steps": self.history[-1]["step[1]"],
                "frames": len(self.train),
                "validation_frames": len(self.valid),
                "validation_rmse_energy_meV_per_atom": self.history[-1]["valid_rmse_energy[meV/atom]"],
                "validation_rmse_force_meV_per_A": self.history[-1]["valid_rmse_force[meV/A]"],
            },
            "model_parameters": self.model.n_parameters,
            "wall_seconds": {**self.stages.seconds, "total": self.stages.elapsed()},
            "seed": self.seed,
            "quick": self.quick,
            "settings": {"plan": asdict(self.plan), "training": settings_table(self.settings)},
            "versions": versions(),
            "machine": machine(),
        }

    def _of_samples(self, name):
        pairs = {point.name: (self.reference[point.name], self.network[point.name]) for point in STATE_POINTS}
        return {point: {"mW": getattr(a, name), "network": getattr(b, name)} for point, (a, b) in pairs.items()}


def run(folder, quick=False, seed=1):
    """Everything, into a folder; returns the document of metrics.json (None for what could not be measured).

    Files of an earlier demo there are removed first, so that a run that is cut short does not leave old results
    looking like its own. Raises InputError, FolderInUse, training.Diverged, OSError.
    """
    demo = Demo(folder, quick, seed)
    with FolderLock(folder):
        clear(demo.folder)
        methods = (
            demo.data,
            demo.run_reference,
            demo.training,
            demo.errors,
            demo.run_network,
            demo.crystals,
            demo.write,
        )
        for name, method in zip(STAGES, methods, strict=True):
            with demo.stages.stage(name):
                method()
        metrics = strict_json(demo.metrics())
        write_atomic(demo.folder / "metrics.json", (json.dumps(metrics, indent=1, allow_nan=False) + "\n").encode())
    return metrics


def clear(folder):
    """Remove what an earlier demo wrote."""
    for pattern in ("metrics.json", "report.html", "model.nnp", "learning_curve.csv", "rdf_*.csv", "*.png"):
        for path in Path(folder).glob(pattern):
            path.unlink()


def main(out="nnpcore-demo", quick=False, seed=1):
    """The verb: prints a summary; 0, or 3 where a simulation with the network diverged."""
    metrics = run(out, quick, seed)
    print(demo_report.summary(metrics))
    print(f"report: {Path(out) / 'report.html'}")
    return 3 if metrics["status"] == "diverged" else 0


__all__ = ["Demo", "Plan", "Sample", "main", "run", "training_settings"]
