"""Cost of a training step: loss with forces and its gradient against the same model's energies and forces.

    python bench/bench_train.py [--threads 1 2] [--runs 7] [--json FILE]

mW liquid of 216 and 1000 molecules with MSR 5 + 5, 25-25; and 256 water molecules (768 atoms, two species) with 10
radial fingerprints a partner, 14, 13 and 13 triplet ones, 140-140, 4.5 A: the size for which the authors of MSR give
91.5 ms a frame on a V100 and 61.5 ms on an A100 (float32, their TensorFlow and CUDA code). Medians.
"""

import argparse
import json
import time

import numpy as np

from nnpcore import __version__, _core, structures
from nnpcore.bench import processor
from nnpcore.model import Model

OH, HALF_ANGLE = 0.9572, np.radians(104.52 / 2)  # A; a water molecule
PRECISION = {"float64": 0, "float32": 1}


def ice_like(n_side, rng):
    """mW at 1 g/cm3, displaced: (species, positions, cell)."""
    x, cell = structures.diamond((8 * structures.density_to_volume(1.0, 18.015)) ** (1 / 3), repeats=n_side)
    return ["O"] * len(x), x + rng.normal(0, 0.25, x.shape), cell


def water(rng):
    """256 molecules at 1 g/cm3, turned at random: (species, positions, cell)."""
    a = (4 * structures.density_to_volume(1.0, 18.015)) ** (1 / 3)
    sites, cell = structures.fcc(a, repeats=4)
    hydrogens = OH * np.array([[0, np.sin(s * HALF_ANGLE), np.cos(HALF_ANGLE)] for s in (1, -1)])
    atoms = []
    for site in sites:
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        atoms += [site, *(site + hydrogens @ turn)]
    return ["O", "H", "H"] * len(sites), np.array(atoms), cell


CASES = {
    "mW 216, MSR 5+5 25-25": (lambda rng: ice_like(3, rng), {"rc": 4.54575, "rc3": 4.3065, "hidden": [25, 25]}),
    "mW 1000, MSR 5+5 25-25": (lambda rng: ice_like(5, rng), {"rc": 4.54575, "rc3": 4.3065, "hidden": [25, 25]}),
    "water 768, MSR 20+40 140-140": (
        water,
        {"rc": 4.5, "n2": [[10, 10], [10, 10]], "n3": [[14, 13, 13], [14, 13, 13]], "hidden": [140, 140]},
    ),
}


def measure(case, precision, threads, runs):
    """{"gradient[ms]", "evaluation[ms]", "ratio[1]", "atoms[1]"} of one frame."""
    species, x, cell = case[0](np.random.default_rng(1))
    model = Model.msr(sorted(set(species)), seed=1, cutoff="smooth", **case[1])
    trainer = _core.Trainer(model.to_bytes(), threads, PRECISION[precision])
    kinds = np.array([model.species.index(s) for s in species], dtype=np.intc)
    trainer.add(kinds, x, cell, np.ones(3, dtype=np.intc), 0.0, np.zeros_like(x), None, 1.0)
    theta, frame = np.array(model.theta), np.zeros(1, dtype=np.int32)
    work = {
        "gradient[ms]": lambda: trainer.gradient(theta, frame, w_energy=1.0, w_force=1.0),
        "evaluation[ms]": lambda: trainer.predict(theta, frame),
    }
    times = {name: [] for name in work}
    for run in range(runs + 1):
        for name, function in work.items():
            repeat = max(1, 4000 // len(x))
            began = time.perf_counter()
            for _ in range(repeat):
                function()
            if run:  # the first one warms up
                times[name].append(1e3 * (time.perf_counter() - began) / repeat)
    row = {name: float(np.median(values)) for name, values in times.items()}
    return {**row, "ratio[1]": row["gradient[ms]"] / row["evaluation[ms]"], "atoms[1]": len(x)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    rows = {}
    print(f"{processor()}, {_core.isa()}")
    for name, case in CASES.items():
        for precision in PRECISION:
            for threads in args.threads:
                row = rows[f"{name}, {precision}, {threads} threads"] = measure(case, precision, threads, args.runs)
                print(
                    f"{name:30s} {precision} {threads} threads: gradient {row['gradient[ms]']:8.3f} ms a frame, "
                    f"energies and forces {row['evaluation[ms]']:8.3f}, ratio {row['ratio[1]']:.2f}",
                    flush=True,
                )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"version": __version__, "machine": processor(), "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
