"""What a training run is made of beside its loop (nnpcore/training.py): state, columns of metrics.csv, bounds."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import checkpoint
from .evaluate import COLUMNS

TERMS = ("loss[1]", "loss_energy[1]", "loss_force[1]", "loss_stress[1]")
HEADER = (
    "epoch[1]",
    "step[1]",
    "learning_rate[1]",
    *(f"train_{name}" for name in TERMS),
    "bound[1]",
    *(f"valid_{name}" for name in TERMS),
    *(f"valid_{name}" for name in COLUMNS),
    "best[1]",
)
# settings that may differ between a run and its resumption: they do not touch the path of the weights
# (the data are compared by content, the model is in the checkpoint)
FREE = {
    "data": ("train", "valid", "test"),
    "model": ("init_from",),
    "train": ("folder", "epochs", "max_seconds", "threads", "device", "checkpoint_seconds"),
}


class Diverged(RuntimeError):
    """The loss or its gradient stopped being finite; the last checkpoint and best.nnp are from before."""


@dataclass
class Result:
    """What a run leaves: the best model, its score and epoch, metrics rows, and why it stopped.

    stopped: "epochs", "seconds", "callback" or "signal"; signal: its number, or None.
    """

    model: object
    score: float
    epoch: float
    history: list = field(default_factory=list)
    stopped: str = "epochs"
    signal: int | None = None


@dataclass
class State:
    """Everything that decides how a run goes on; what a checkpoint holds."""

    theta: np.ndarray  # [P]
    optimizer: object  # adam.Adam or EigenAdam
    average: np.ndarray  # [P] moving average of theta (theta itself while train.ema is 0)
    best: np.ndarray  # [P]
    order: np.ndarray  # [n_train] of the epoch that runs
    sums: np.ndarray  # [5] loss terms and bound, summed over the frames of this epoch
    epoch: int = 0
    batch: int = 0
    best_score: float = float("inf")
    best_epoch: float = 0.0
    metrics_bytes: int = 0
    elapsed: float = 0.0

    COUNTERS = ("epoch", "batch", "best_epoch", "metrics_bytes")

    def arrays(self):
        """{name: array} for the checkpoint."""
        names = ("theta", "average", "best", "order", "sums")
        score = {"best_score": np.array([self.best_score])}
        return {**{n: getattr(self, n) for n in names}, **self.optimizer.arrays(), **score}

    def counters(self):
        """{name: number} for the checkpoint."""
        return {**{n: getattr(self, n) for n in self.COUNTERS}, **self.optimizer.counters()}

    def restore(self, arrays, counters):
        """Take the state of a checkpoint; CheckpointError where sizes differ."""
        for name, now in self.arrays().items():
            if name not in arrays or arrays[name].shape != now.shape:
                raise checkpoint.CheckpointError(f"{name} is missing or of another size than the model or the data")
        self.theta, self.average, self.best = arrays["theta"], arrays["average"], arrays["best"]
        self.order, self.sums, self.best_score = arrays["order"], arrays["sums"], float(arrays["best_score"][0])
        self.optimizer.restore(arrays, counters)
        for name in self.COUNTERS:
            setattr(self, name, counters[name])
        self.elapsed = counters.get("elapsed", 0.0)


EXPONENT_LIMIT = 25.0
"""|a|, |b|, |beta|, |alpha| stay within it: a + b + beta < 80, which float32 holds (csrc/engine.c). What the loss does
not feel may wander there; nothing pulls it back from below."""


WEIGHT_LIMIT = 1e9
"""Weights of a network that learns are of the order of 1: far beyond, tanh has saturated and hides a runaway loss."""


def bound_penalty(theta, exponents, bound, weight):
    """(R, dR/dtheta [P]) of R = weight sum max(0, phi - bound)^2 over the exponents phi; exponents is a mask [P]."""
    excess = np.where(exponents, np.maximum(theta - bound, 0.0), 0.0)
    with np.errstate(over="ignore"):  # the caller finds an infinite one out
        return weight * float(excess @ excess), 2.0 * weight * excess


def changed(old, new):
    """['loss.energy', ...]: where two nested dicts differ."""
    keys = sorted(set(old) | set(new))
    pairs = [(k, old.get(k) or {}, new.get(k) or {}) for k in keys]
    return [f"{k}.{n}" for k, a, b in pairs for n in sorted(set(a) | set(b)) if a.get(n) != b.get(n)]


def read_metrics(path):
    """Rows of a metrics.csv as [{column: float}]."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    head = lines[0].split(",") if lines else []
    return [dict(zip(head, map(float, line.split(",")), strict=True)) for line in lines[1:]]
