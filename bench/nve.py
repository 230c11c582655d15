"""Energy conservation of a trained network: drift and fluctuation of the total energy in NVE.

    python bench/nve.py MODEL.nnp [--molecules 1000] [--ps 100] [--density 1.0] [--temperature 270.9] [--json FILE]

Liquid mW water, settled with the network itself, then NVE at 5 and 2.5 fs in float64 and float32, one thread each, as
many at once as there are processors. Second order: the fluctuation falls fourfold when the step is halved.
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


def liquid(model, n, density, temperature):
    """A settled state of the network: (positions, velocities, cell)."""
    repeats = round((n / 8) ** (1 / 3))
    a = (8 * structures.density_to_volume(density, float(model.mass[0]))) ** (1 / 3)
    x, cell = structures.diamond(a, repeats=repeats)
    x = x + np.random.default_rng(1).normal(0, 0.2, x.shape)
    options = dict(temperature=900.0, ensemble="langevin", friction=0.02, dt=5.0, seed=1)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--molecules", type=int, default=1000)
    parser.add_argument("--ps", type=float, default=100.0)
    parser.add_argument("--density", type=float, default=1.0)
    parser.add_argument("--temperature", type=float, default=270.9)
    parser.add_argument("--json")
    args = parser.parse_args()
    model = load(args.model)
    start = liquid(model, args.molecules, args.density, args.temperature)
    cases = [(dt, precision) for precision in ("float64", "float32") for dt in (5.0, 2.5)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = list(pool.map(lambda case: conserved(model, start, *case, args.ps), cases))
    result = {}
    for (dt, precision), (time, energy) in zip(cases, runs, strict=True):
        slope, error = drift(time, energy)
        rest = energy - np.polyval(np.polyfit(time, energy, 1), time)
        result[f"{precision} {dt:g} fs"] = {
            "drift[eV/atom/ns]": slope,
            "drift_error[eV/atom/ns]": error,
            "fluctuation[eV/atom]": float(rest.std()),
        }
    for precision in ("float64", "float32"):
        coarse, fine = (result[f"{precision} {dt} fs"]["fluctuation[eV/atom]"] for dt in ("5", "2.5"))
        result[f"{precision} ratio of fluctuations"] = coarse / fine
    for name, row in result.items():
        print(name, row if isinstance(row, float) else {key: float(f"{value:.3g}") for key, value in row.items()})
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
