"""The loss gradient of a two-species water model: time a frame in batches, and each kernel's share on a GPU.

    python bench/bench_gpu_train.py [--device gpu] [--batches 1 4 16] [--precision float32] [--json FILE]

256 molecules (768 atoms) a frame, 20 fingerprints of O and 40 of H, networks 140-140, rc 6 Å, rc3 4.5 Å, made-up
molecules and labels: only the work counts. One gradient is what a training step takes from the trainer: both sweeps,
parameters to the device, loss terms and gradient back. --device cpu times the C core's trainer.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

BOX, GRID, BOND = 19.73, 7, 0.96  # Å


def water(rng, molecules=256):
    """(species [n], positions [n, 3] Å, cell): molecules of any orientation, their O near the points of a grid."""
    grid = np.stack(np.meshgrid(*[np.arange(GRID)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    oxygen = (rng.permutation(grid)[:molecules] + 0.5 + rng.uniform(-0.1, 0.1, (molecules, 3))) * (BOX / GRID)
    first = rng.normal(size=(molecules, 3))
    first /= np.linalg.norm(first, axis=1)[:, None]
    other = np.cross(first, rng.normal(size=(molecules, 3)))
    other /= np.linalg.norm(other, axis=1)[:, None]
    angle = np.radians(104.5)
    bonds = BOND * first, BOND * (np.cos(angle) * first + np.sin(angle) * other)
    positions = np.stack([oxygen, oxygen + bonds[0], oxygen + bonds[1]], axis=1).reshape(-1, 3)
    return np.tile(np.array([1, 0, 0], np.int32), molecules), positions, np.eye(3) * BOX


def model():
    """The model of the header, species H and O."""
    import nnpcore

    n2, n3 = [[8, 8], [4, 4]], [[8, 8, 8], [4, 4, 4]]
    made = nnpcore.Model.msr(["H", "O"], 6.0, rc3=4.5, n2=n2, n3=n3, hidden=[140, 140], cutoff="smooth", seed=1)
    return made


def trainer_of(model, frames, device, precision, rng):
    """A trainer with that many frames and labels of the size of forces."""
    from nnpcore.training import make_trainer

    trainer = make_trainer(model, 0, precision, device)
    for _ in range(frames):
        species, positions, cell = water(rng)
        forces = rng.normal(size=positions.shape)
        trainer.add(species, positions, cell, np.ones(3, np.int32), 0.0, forces, None, 1.0)
    return trainer


def seconds_of(trainer, theta, batch, repeats):
    """Of one gradient, the least of the repeats; parameters change each time, as in training."""
    best, frames = np.inf, np.arange(batch, dtype=np.int32)
    for k in range(repeats + 1):
        began = time.perf_counter()
        trainer.gradient(theta * (1 + 1e-6 * k), frames)
        best = min(best, time.perf_counter() - began) if k else best  # the first one compiles
    return best


def by_kernel(trainer, theta, batch):
    """{kernel: microseconds} of one gradient, with a wait after each kernel."""
    from bench_gpu import Timed

    trainer.gradient(theta, np.arange(batch, dtype=np.int32))
    timed = Timed(trainer.backend)
    for owner in (trainer, trainer.evaluator, trainer.evaluator.fingerprints, trainer.evaluator.networks):
        owner.backend = timed
    trainer.gradient(theta * 1.001, np.arange(batch, dtype=np.int32))
    rows = defaultdict(float)
    for name, seconds in timed.seconds.items():
        rows[name] += 1e6 * seconds
    return dict(sorted(rows.items(), key=lambda row: -row[1]))


def main():
    from nnpcore.validate import InputError

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "gpu"], default="gpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--precision", choices=["float32", "float64"], default="float32")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json")
    o = parser.parse_args()
    made = model()
    theta = np.array(made.theta)
    out = {"device": o.device, "precision": o.precision, "parameters": len(theta), "runs": []}
    try:
        trainer = trainer_of(made, max(o.batches), o.device, o.precision, np.random.default_rng(0))
        for batch in o.batches:
            seconds = seconds_of(trainer, theta, batch, o.repeats)
            out["runs"].append({"batch": batch, "ms/frame": 1e3 * seconds / batch})
            print(f"batch {batch:3d}: {1e3 * seconds / batch:8.3f} ms a frame")
        if o.device == "gpu":
            out["kernels[us]"] = by_kernel(trainer, theta, max(o.batches))
            for name, us in out["kernels[us]"].items():
                print(f"  {name:20s}{us:10.1f} us")
    except InputError as error:
        raise SystemExit(f"bench_gpu_train: {error}") from None
    if o.json:
        Path(o.json).write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
