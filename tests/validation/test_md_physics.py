"""The MD loop against statistical mechanics: energy drift, and the ensembles through physical_validation.

Liquid mW water; acceptance items 11 and 13. Control: a Berendsen thermostat must fail where Bussi's passes.
"""

import numpy as np
import pytest

from nnpcore import analysis, md_start
from nnpcore.md import MD
from nnpcore.model import Model

KB = 8.617333262e-5
MW = Model.stillinger_weber("mW")
EV_PS2_A2 = 1.0364269574711572e-4  # 1 amu A^2/ps^2 in eV


def liquid(cells, temperature, steps=2000, **options):
    s = md_start.displace(md_start.lattice("diamond", cells, "O", density=0.99, mass=18.015), 0.1, seed=4)
    md = MD(MW, s.positions, s.symbols, s.cell, ensemble="bussi", temperature=1000.0, dt=5.0, threads=1, seed=1)
    md.run(steps)
    md.set(temperature=temperature, tau=20.0)
    state = md.run(steps).state
    return MD(
        MW, state["x"], "O", state["cell"], velocities=state["v"], dt=5.0, threads=1, temperature=temperature, **options
    )


@pytest.mark.parametrize(("precision", "limit"), [("float64", 1e-5), ("float32", 1e-4)])
def test_energy_drift_of_a_liquid(precision, limit):
    md = liquid(3, 300.0, precision=precision)
    md.remove_momentum()
    time, energy = [], []
    for _ in range(1000):
        md.run(20)
        t = md.thermo(False)
        time.append(t["time"] / 1e6)  # ns
        energy.append(t["conserved"] / len(md))
    slope, error = analysis.drift(time, energy)
    assert time[-1] == pytest.approx(0.1)
    assert abs(slope) < max(limit, 3 * error)
    assert error < 20 * limit  # else the statement above says nothing


def test_fluctuations_of_a_liquid_scale_as_dt_squared():
    """Short stretches from the same states, so that the trajectories stay together."""
    md, variance = liquid(3, 300.0), np.zeros(3)
    for _ in range(6):
        start = md.run(200).state
        for k, dt in enumerate((10.0, 5.0, 2.5)):
            one = MD(MW, start["x"], "O", start["cell"], velocities=start["v"], dt=dt, threads=1)
            variance[k] += np.var([one.run(round(20 / dt)).thermo(False)["conserved"] for _ in range(60)])
    ratio = np.sqrt(variance[:-1] / variance[1:])
    assert np.all(np.abs(ratio - 4.0) < 0.5), ratio


# ---- ensembles ----


def kinetic_energies(ensemble, temperature, n=3000, every=20, **extra):
    md = liquid(2, temperature, ensemble=ensemble, **extra)
    md.run(1000)
    kinetic, potential, velocities = [], [], []
    for k in range(n):
        md.run(every)
        t = md.thermo(False)
        kinetic.append(t["kinetic"])
        potential.append(t["potential"])
        if k % 10 == 0:
            velocities.append(md.velocities * 1000)  # A/ps
    return np.array(kinetic), np.array(potential), np.array(velocities), md


def berendsen(temperature, n=3000, every=20, tau=20.0):
    """Kinetic energies under weak coupling (Berendsen 1984), done from outside between short NVE runs."""
    md = liquid(2, temperature)
    kinetic, t = [], md.thermo(False)
    for k in range(n * every // 4):
        md.run(4)
        t = md.thermo(False)
        state = md.state
        state["v"] *= np.sqrt(1 + 4 * md.dt / tau * (temperature / t["temperature"] - 1))
        md.state = state
        if k % (every // 4) == 0:
            kinetic.append(md.thermo(False)["kinetic"])
    return np.array(kinetic)


def chi_square_z(kinetic, temperature, free):
    """Deviation of the variance of 2K/kT from 2 free, in standard errors (decorrelated by blocking)."""
    u = 2 * kinetic / (KB * temperature)
    square = (u - u.mean()) ** 2
    mean, error = analysis.mean_error(square)
    return (mean - 2 * free) / error


CASES = [("bussi", {"tau": 20.0}, 3), ("langevin", {"friction": 0.02}, 0)]


@pytest.mark.parametrize(("ensemble", "extra", "kept"), CASES)
def test_kinetic_energy_has_its_variance(ensemble, extra, kept):
    kinetic, _, _, md = kinetic_energies(ensemble, 300.0, **extra)
    assert abs(chi_square_z(kinetic, 300.0, 3 * len(md) - kept)) < 4


def test_berendsen_control_fails():
    kinetic = berendsen(300.0, n=800)
    assert chi_square_z(kinetic, 300.0, 3 * 64 - 3) < -6


def trajectory(pv, kinetic, potential, velocities, md, temperature, kept):
    """physical_validation's data: it converts no units in its equipartition test, hence masses in eV ps^2/A^2."""
    units = pv.data.UnitData(
        kb=KB,
        energy_conversion=96.48533212331,
        length_conversion=0.1,
        volume_conversion=1e-3,
        temperature_conversion=1,
        pressure_conversion=1,
        time_conversion=1,
        energy_str="eV",
        length_str="A",
        volume_str="A^3",
        temperature_str="K",
        pressure_str="bar",
        time_str="ps",
    )
    n = len(md)
    system = pv.data.SystemData(
        natoms=n,
        nconstraints=0,
        ndof_reduction_tra=kept,
        ndof_reduction_rot=0,
        mass=md.masses * EV_PS2_A2,
        molecule_idx=np.arange(n),
        nconstraints_per_molecule=np.zeros(n),
    )
    volume = float(abs(np.linalg.det(md.cell)))
    ensemble = pv.data.EnsembleData("NVT", natoms=n, volume=volume, temperature=temperature)
    observables = pv.data.ObservableData(
        kinetic_energy=kinetic, potential_energy=potential, total_energy=kinetic + potential
    )
    frames = pv.data.TrajectoryData(position=np.zeros_like(velocities), velocity=velocities)
    return pv.data.SimulationData(
        units=units, dt=0.1, system=system, ensemble=ensemble, observables=observables, trajectory=frames
    )


@pytest.mark.slow
@pytest.mark.parametrize(("ensemble", "extra", "kept"), CASES)
def test_ensembles_by_physical_validation(ensemble, extra, kept):
    pv = pytest.importorskip("physical_validation")
    data = []
    for temperature in (300.0, 320.0):
        sampled = kinetic_energies(ensemble, temperature, n=4000, **extra)
        data.append(trajectory(pv, *sampled, temperature, kept))
    for one in data:
        assert pv.kinetic_energy.distribution(one, strict=True, verbosity=0) > 0.01
        assert np.all(np.abs(pv.kinetic_energy.distribution(one, strict=False, verbosity=0)) < 3)
    slope = pv.ensemble.check(data[0], data[1], verbosity=0)
    assert np.all(np.abs(slope) < 3)
    assert np.all(np.abs(pv.kinetic_energy.equipartition(data[0], strict=False, verbosity=0)) < 3)


@pytest.mark.slow
def test_berendsen_fails_physical_validation():
    pv = pytest.importorskip("physical_validation")
    kinetic = berendsen(300.0, n=1000)
    _, _, velocities, md = kinetic_energies("bussi", 300.0, n=20)
    one = trajectory(pv, kinetic, kinetic, velocities, md, 300.0, 3)
    assert pv.kinetic_energy.distribution(one, strict=True, verbosity=0) < 1e-4
