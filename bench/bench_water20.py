"""Training on n2p2's water example: time to a force error on structures that the training never saw.

    python bench/bench_water20.py FOLDER [--optimizer kalman] [--left-out 0 1 ..] [--epochs 6 | --seconds 15]
                                  [--threads 2] [--cache MB] [--json FILE]

FOLDER holds examples/nnp-train/H2O_RPBE-D3 of n2p2 (input.data: 20 structures, 2,064 atoms; input.nn: its 27 + 30
symmetry functions; networks 25-25, 2,827 parameters). As nnp-train does there, all structures but a few are trained on;
here one is left out at a time, because the error depends far more on which one than on the training.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from nnpcore import __version__, bp, config, data
from nnpcore.bench import processor
from nnpcore.train import build_model
from nnpcore.training import Training

GOAL = 68.0  # meV/A, what nnp-train reaches in 92 s on two processes


def settings(folder, arguments):
    return config.convert(
        {
            "data": {"train": str(folder / "input.data"), "units": "Hartree/Bohr"},
            "model": {"method": "bp", "functions": bp.read_functions(folder / "input.nn"), "core": False},
            "optimizer": {"kind": arguments.optimizer},
            "schedule": {"kind": "cosine"},
            "loss": {"energy": 1.0},
            "train": {
                "max_seconds": arguments.seconds,
                "epochs": arguments.epochs,
                "batch": 1,
                "threads": arguments.threads,
                "precision": "float32",
                "cache_memory": arguments.cache,
            },
        }
    )


def leave_out(frames, k, c):
    """Times, processor times (of all threads) and errors at every validation, structure k left out."""
    began, spent, times, processor_times = time.perf_counter(), time.process_time(), [], []

    def note(_):
        times.append(time.perf_counter() - began)
        processor_times.append(time.process_time() - spent)

    kept = frames[:k] + frames[k + 1 :]
    with Training(build_model(c, kept), kept, [frames[k]], c, quiet=True) as training:
        training.initialise()
        result = training.run(note)
    column = {name: [row[name] for row in result.history] for name in result.history[0]}
    return {
        "times[s]": [round(t, 2) for t in times],
        "processor times[s]": [round(t, 2) for t in processor_times],
        "errors[meV/A]": [round(e, 1) for e in column["valid_rmse_force[meV/A]"]],
        "energies[meV/atom]": [round(e, 2) for e in column["valid_rmse_energy[meV/atom]"]],
        "atoms": len(frames[k]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--optimizer", default="kalman", choices=("kalman", "eigen", "adam"))
    parser.add_argument("--left-out", type=int, nargs="+", default=list(range(20)))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=float, default=1000.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.epochs is None and arguments.seconds is None:
        arguments.seconds = 15.0
    frames = data.read_frames(arguments.folder / "input.data", units="Hartree/Bohr")
    c, runs = settings(arguments.folder, arguments), {}
    for k in arguments.left_out:
        run = runs[k] = leave_out(frames, k, c)
        first = next((i for i, e in enumerate(run["errors[meV/A]"]) if e <= GOAL), None)
        run["goal[s]"] = None if first is None else run["times[s]"][first]
        run["goal, processor[s]"] = None if first is None else run["processor times[s]"][first]
        print(
            f"structure {k:2}, {run['atoms']:3} atoms: {run['errors[meV/A]'][-1]:6.1f} meV/A after"
            f" {run['times[s]'][-1]:.1f} s ({run['processor times[s]'][-1]:.1f} s of the processors);"
            f" {GOAL:g} after {run['goal[s]']} ({run['goal, processor[s]']}) s",
            flush=True,
        )
    last = np.array([run["errors[meV/A]"][-1] for run in runs.values()])
    reached = [run["goal[s]"] for run in runs.values() if run["goal[s]"] is not None]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    weights = np.array([run["atoms"] for run in runs.values()], dtype=float)
    together = float(np.sqrt((weights * last**2).sum() / weights.sum()))
    print(
        f"at the end: median {np.median(last):.1f}, all together {together:.1f} meV/A; {len(reached)} of {len(last)}"
        f" reach {GOAL:g}, median {np.median(reached) if reached else np.nan:.1f} s; peak {peak:.0f} MB"
    )
    if arguments.json:
        head = {"version": __version__, "processor": processor(), "load": os.getloadavg(), "peak[MB]": peak}
        options = {k: v for k, v in vars(arguments).items() if k not in ("folder", "json")}
        arguments.json.write_text(json.dumps({**head, "options": options, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
