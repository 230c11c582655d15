"""Energy conservation of a trained network: drift and fluctuation of the total energy in NVE.

    python bench/nve.py MODEL.nnp [--molecules 1000] [--ps 50] [--replicas 6] [--density 1.0] [--json FILE]

Liquid mW water, settled with the network itself, then NVE at 5 fs from independent starts, and at 2.5 fs from the
first; in float64 and float32, one thread each. Two views of the drift: each run's line with its own error (the
acceptance test: --replicas 1 --ps 100), and the mean over starts with its standard error, which is far less sharp.
Second order: the fluctuation falls fourfold when the step is halved.
"""

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from nnpcore import load, structures
from nnpcore.analysis import drift
from nnpcore.md import MD

SAMPLE = 50.0  # fs between samples


def liquid(model, n, density, temperature, seed=1):
    """A settled state of the network: (positions, velocities, cell)."""
    repeats = round((n / 8) ** (1 / 3))
    a = (8 * structures.density_to_volume(density, float(model.mass[0]))) ** (1 / 3)
    x, cell = structures.diamond(a, repeats=repeats)
    x = x + np.random.default_rng(seed).normal(0, 0.2, x.shape)
    options = dict(temperature=900.0, ensemble="langevin", friction=0.02, dt=5.0, seed=seed, threads=1)
    md = MD(model, x, model.species[0], cell, **options)
    md.run(1000)
    for t in (600.0, temperature, temperature):
        md.set(temperature=t)
        md.run(1000)
    return md.positions, md.velocities, cell


def conserved(model, start, dt, precision, ps):
    """(times in ns, total energy per atom in eV) along NVE."""
    x, v, cell = start
    md = MD(model, x, model.species[0], cell, velocities=v, dt=dt, precision=precision, threads=1)
    rows = []
    for _ in range(round(1000 * ps / SAMPLE)):
        md.run(round(SAMPLE / dt))
        t = md.thermo(stress=False)
        rows.append((t["time"] * 1e-6, t["total"] / len(md)))
    return np.array(rows).T


def summary(time, energy):
    """(slope in eV/atom/ns, rms about the line in eV/atom, error of the slope)"""
    line = np.polyfit(time, energy, 1)
    return line[0], float((energy - np.polyval(line, time)).std()), drift(time, energy)[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--molecules", type=int, default=1000)
    parser.add_argument("--ps", type=float, default=50.0)
    parser.add_argument("--replicas", type=int, default=6)
    parser.add_argument("--density", type=float, default=1.0)
    parser.add_argument("--temperature", type=float, default=270.9)
    parser.add_argument("--json")
    args = parser.parse_args()
    model = load(args.model)
    result = {"replicas": args.replicas, "ps": args.ps, "molecules": args.molecules}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        seeds = range(1, args.replicas + 1)
        starts = list(pool.map(lambda s: liquid(model, args.molecules, args.density, args.temperature, s), seeds))
        for precision in ("float64", "float32"):
            cases = [(start, 5.0) for start in starts] + [(starts[0], 2.5)]
            runs = list(pool.map(lambda c, p=precision: summary(*conserved(model, *c, p, args.ps)), cases))
            slopes = np.array([run[0] for run in runs[:-1]])
            error = slopes.std(ddof=1) / np.sqrt(len(slopes)) if len(slopes) > 1 else np.nan
            result[precision] = {
                "drift[eV/atom/ns]": float(slopes.mean()),
                "drift_error[eV/atom/ns]": float(error),
                "drifts[eV/atom/ns]": slopes.tolist(),
                "line_errors[eV/atom/ns]": [run[2] for run in runs[:-1]],
                "drift_2.5fs[eV/atom/ns]": float(runs[-1][0]),
                "fluctuation_5fs[eV/atom]": runs[0][1],
                "fluctuation_2.5fs[eV/atom]": runs[-1][1],
            }
            print(precision, {k: np.round(v, 8).tolist() for k, v in result[precision].items()}, flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
