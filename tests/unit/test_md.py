"""The MD loop: integrator, thermostats, guard, determinism, restart, g(r)."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from nnpcore import _core, md_start
from nnpcore.md import MD, Diverged
from nnpcore.model import Model
from nnpcore.sample import RDF
from nnpcore.units import GPA
from nnpcore.validate import InputError

KB = 8.617333262e-5
AMU = 1.66053906660e-17 / 1.602176634e-19  # eV fs^2/A^2
MW = Model.stillinger_weber("mW")


def water(cells=2, sigma=0.1, **options):
    s = md_start.displace(md_start.lattice("diamond", cells, "O", density=0.99, mass=18.015), sigma, seed=4)
    options = {"temperature": 350.0, "dt": 5.0, "seed": 7, "threads": 1} | options
    return MD(MW, s.positions, s.symbols, s.cell, **options)


def bits(md):
    state = md.state
    return {k: np.asarray(state[k]).tobytes() for k in ("step", "heat", "x", "v", "f", "x_list")}


# ---- random numbers ----


def test_philox_known_answers():
    # Random123 1.14, kat_vectors, philox4x32 10
    assert _core.philox(0, 0, 0, 0, 0, 0) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    ones = [0xFFFFFFFF] * 6
    assert _core.philox(*ones) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    key, counter = (0xA4093822, 0x299F31D0), (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert _core.philox(*key, *counter) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


def test_normals_are_normal_and_reproducible():
    g = _core.normals(3, 5, 7, 1, 50000)
    n = len(g)
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((g**power).mean() - mean) < 5 * np.sqrt(variance / n)
    assert abs(g).max() < 6.8
    assert np.array_equal(g, _core.normals(3, 5, 7, 1, 50000))
    for other in ((4, 5, 7, 1), (3, 6, 7, 1), (3, 5, 8, 1), (3, 5, 7, 2)):
        h = _core.normals(*other, 50000)
        assert abs((g * h).mean()) < 5 / np.sqrt(n)


def test_normals_tail_against_the_error_function():
    from math import erfc, sqrt

    g = abs(_core.normals(1, 1, 1, 1, 200000))
    for x in (0.5, 1.0, 2.0, 3.0, 4.0):
        p = erfc(x / sqrt(2))
        assert abs((g > x).mean() - p) < 5 * np.sqrt(p / len(g))


# ---- integrator ----


def test_energy_fluctuation_scales_as_dt_squared():
    spread = []
    for dt in (8.0, 4.0, 2.0):
        md = water(dt=dt)
        energies = []
        for _ in range(60):
            md.run(round(16 / dt))
            energies.append(md.thermo(False)["conserved"])
        spread.append(np.std(energies))
    assert 3.5 < spread[0] / spread[1] < 4.7
    assert 3.5 < spread[1] / spread[2] < 4.5


def test_time_reversal():
    md = water(sigma=0.02)
    start = md.state
    md.run(200).set(dt=-5.0)
    moved = np.abs(md.positions - start["x"]).max()
    md.run(200)
    assert moved > 0.3
    assert np.abs(md.positions - start["x"]).max() < 1e-9
    assert np.abs(md.velocities - start["v"]).max() < 1e-10


def test_momentum_is_conserved():
    md = water().run(400)
    assert np.abs(md.velocities.sum(axis=0)).max() * 1000 < 1e-12 * len(md)  # A/ps


def test_one_particle_flies_straight():
    md = MD(MW, [[0.0, 0, 0]], "O", velocities=[[0.01, -0.02, 0.03]], dt=2.0).run(50)
    assert np.allclose(md.positions, [[1.0, -2.0, 3.0]], rtol=0, atol=1e-12)
    t = md.thermo()
    assert t["kinetic"] == pytest.approx(0.5 * 18.015 * AMU * 14e-4, rel=1e-13)
    assert np.isnan(t["pressure"]) and t["volume"] == 0 and t["time"] == 100.0


def test_no_atoms():
    md = MD(MW, np.empty((0, 3)), [], np.eye(3) * 10, temperature=300.0, ensemble="bussi").run(3)
    assert md.step == 3 and md.thermo()["kinetic"] == 0


def test_verlet_against_numpy():
    md = water()
    x, v, f = (md.state[k].copy() for k in "xvf")
    md.run(10)
    for _ in range(10):
        v += 2.5 * f / (18.015 * AMU)
        x += 5.0 * v
        f = MW.compute(x, "O", md.cell).forces
        v += 2.5 * f / (18.015 * AMU)
    assert np.abs(md.positions - x).max() < 1e-11 and np.abs(md.velocities - v).max() < 1e-13


def test_masses_are_used():
    light = water(masses=np.full(64, 1.5), temperature=300.0)
    v = light.velocities
    assert light.thermo()["kinetic"] == pytest.approx(0.5 * 1.5 * AMU * (v**2).sum(), rel=1e-12)
    with pytest.raises(InputError, match="masses"):
        water(masses=np.zeros(64))


# ---- thermodynamics ----


def test_stress_is_that_of_the_model_plus_the_kinetic_part():
    md = water().run(20)
    s, t = md.state, md.thermo()
    static = MW.compute(s["x"], "O", s["cell"]).stress
    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    moving = np.array([(s["v"][:, a] * s["v"][:, b]).sum() for a, b in pairs]) * 18.015 * AMU / t["volume"]
    assert np.abs(t["stress"] - (static - moving)).max() < 1e-13
    assert t["pressure"] == pytest.approx(-GPA * t["stress"][:3].mean(), rel=1e-13)
    assert t["potential"] == pytest.approx(MW.compute(s["x"], "O", s["cell"]).energy, rel=1e-13)
    assert np.isnan(md.thermo(stress=False)["pressure"])


def test_virial_along_with_the_forces_or_on_demand():
    one, other = water(virial_every=5).run(20), water().run(20)
    assert bits(one) == bits(other)
    assert np.array_equal(one.thermo()["stress"], other.thermo()["stress"])


def test_drawn_velocities():
    md = water(4, temperature=None)
    assert not md.velocities.any()
    md.draw_velocities(321.0)
    assert md.thermo()["temperature"] == pytest.approx(321.0, rel=1e-12)
    v = md.velocities
    assert np.abs(v.sum(axis=0)).max() < 1e-12
    z = v.ravel() / np.sqrt(KB * 321 / (18.015 * AMU))
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / z.size)


@pytest.mark.parametrize(("ensemble", "extra"), [("bussi", {"tau": 20.0}), ("langevin", {"friction": 0.02})])
def test_thermostat_mean_and_variance(ensemble, extra):
    md = water(1, sigma=0.05, ensemble=ensemble, temperature=300.0, **extra).run(1000)
    kinetic = []
    for _ in range(1500):
        md.run(20)
        kinetic.append(md.thermo(False)["kinetic"])
    free = 3 * len(md) - (3 if ensemble == "bussi" else 0)
    u = np.array(kinetic) / (0.5 * KB * 300)  # chi-square with `free` degrees
    error = np.sqrt(2 * free / len(u))
    assert abs(u.mean() - free) < 4.5 * error + 0.01 * free  # 0.01: error of the time step
    assert abs(u.var() / (2 * free) - 1) < 4.5 * np.sqrt((2 + 12 / free) / len(u)) + 0.02


def test_thermostats_reach_their_temperature_and_book_their_heat():
    for ensemble, extra in (("bussi", {"tau": 50.0}), ("langevin", {"friction": 0.01})):
        md = water(2, ensemble=ensemble, temperature=300.0, dt=2.0, **extra)
        md.draw_velocities(30.0)
        before = md.thermo()["conserved"]
        md.run(1500)
        t = md.thermo()
        assert 180 < t["temperature"] < 420
        assert md.state["heat"] > 1.0  # eV
        assert abs(t["conserved"] - before) < 0.02  # time-step error of 64 molecules


def test_momentum_removal():
    md = water(ensemble="langevin", momentum_every=10).run(10)
    assert np.abs(md.velocities.sum(axis=0)).max() < 1e-14
    md.run(5)
    assert np.abs(md.velocities.sum(axis=0)).max() > 1e-6
    md.remove_momentum()
    assert np.abs(md.velocities.sum(axis=0)).max() < 1e-14


def test_momentum_removal_books_its_energy():
    md = water(ensemble="langevin", momentum_every=1)
    state = md.state
    state["v"] += [0.01, 0, 0]
    md.state = state
    before = md.thermo()
    after = md.run(1).thermo()
    assert before["kinetic"] - after["kinetic"] > 4.0
    assert abs(after["conserved"] - before["conserved"]) < 0.01


# ---- determinism and restart ----


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "bussi"])
def test_same_bits_for_any_number_of_threads(ensemble):
    seen = set()
    for threads in (1, 2, 3):
        md = water(5, ensemble=ensemble, threads=threads, momentum_every=7)
        rdf = md.sample_rdf(6.0, 50, every=10)
        md.run(40)
        assert md.n_builds > 1
        t = md.thermo()
        state = (*bits(md).values(), rdf.core.get()[0].tobytes(), t["conserved"], t["stress"].tobytes())
        seen.add(state)
    assert len(seen) == 1


@pytest.mark.parametrize("ensemble", ["nve", "langevin", "bussi"])
def test_restart_goes_on_to_the_same_bits(ensemble):
    whole = water(3, ensemble=ensemble, tau=30.0)
    whole.run(33)
    kept = whole.state
    whole.run(33)
    again = water(3, sigma=0.3, ensemble=ensemble, tau=30.0, seed=7, temperature=350.0)  # other atoms' places
    again.state = kept
    assert bits(again) == {k: np.asarray(kept[k]).tobytes() for k in bits(again)}
    again.run(33)
    assert whole.n_builds > 2 and bits(again) == bits(whole)
    assert again.thermo()["conserved"] == whole.thermo()["conserved"]


def test_a_state_whose_list_cannot_be_built():
    """An error, and then the positions are the state's, not those of its list."""
    md = water()
    md.run(3)
    kept = md.state
    with pytest.raises(_core.NnpError, match="beyond"):
        md.state = {**kept, "x_list": kept["x_list"] + [1e13, 0, 0]}
    assert np.array_equal(md.positions, kept["x"]) and md.step == 3
    md.run(2)
    md.state = kept
    assert bits(md) == {k: np.asarray(kept[k]).tobytes() for k in bits(md)}


def test_chunks_and_looking_change_nothing():
    whole, parts = water(ensemble="bussi").run(50), water(ensemble="bussi")
    for steps in (1, 2, 3, 4, 40):
        parts.run(steps).thermo()
    assert bits(whole) == bits(parts)


def test_the_order_of_atoms_does_not_matter():
    md = water(3, ensemble="langevin")
    s, p = md.state, np.random.default_rng(0).permutation(len(md))
    other = MD(MW, s["x"][p], "O", s["cell"], velocities=s["v"][p], dt=5.0, threads=1)
    same = MD(MW, s["x"], "O", s["cell"], velocities=s["v"], dt=5.0, threads=1)
    assert np.abs(other.run(20).positions - same.run(20).positions[p]).max() < 1e-11


def test_rebuilds_follow_the_skin():
    md = water(3)
    start, n = md.positions, md.n_builds
    while md.n_builds == n:
        assert np.linalg.norm(md.positions - start, axis=1).max() <= 0.5
        md.run(1)
    assert np.linalg.norm(md.positions - start, axis=1).max() > 0.5
    md.rebuild()
    assert md.n_builds == n + 2


@pytest.mark.parametrize("dt", [5.0, -5.0])
def test_lists_are_made_for_where_the_atoms_go(dt):
    """Forces are those of a fresh list at every step, and a list outlives one that is made where the atoms are."""
    md = water(3, dt=dt)
    while md.n_builds < 2:
        md.run(1)
    lives, at_rest = [0], []
    start = md.positions
    for _ in range(100):
        builds = md.n_builds
        md.run(1)
        fresh = MW.compute(md.positions, "O", cell=md.state["cell"])
        assert np.abs(md.forces - fresh.forces).max() < 1e-11
        lives[-1] += 1
        far = np.linalg.norm(md.positions - start, axis=1).max() > 0.5
        if len(at_rest) < len(lives) and (far or md.n_builds > builds):
            at_rest.append(lives[-1])
        if md.n_builds > builds:
            lives.append(0)
            start = md.positions
    full = len(lives) - 1
    assert full > 3 and sum(lives[:full]) > 1.4 * sum(at_rest[:full])


# ---- guard, stopping ----


def test_guard_names_step_and_atom_and_keeps_the_state():
    md = water().run(7)
    before = bits(md)
    largest = np.linalg.norm(md.forces, axis=1)
    md.set(f_max=1e-3)
    with pytest.raises(Diverged, match=r"step 8: force on atom (\d+) .* limit 0.001 .*step 7 kept") as error:
        md.run(5)
    after = bits(md)
    assert all(after[k] == before[k] for k in ("step", "heat", "x", "v"))
    named = int(str(error.value).split("atom ")[1].split()[0])
    assert largest[named] > 0.9 * largest.max()
    md.set(f_max=1000.0)
    assert md.run(5).step == 12


def test_guard_on_positions():
    md = water()
    state = md.state
    state["v"][17, 1] = 1e3
    md.state = state
    with pytest.raises(Diverged, match=r"step 1: atom 17 would move"):
        md.run(1)
    assert np.array_equal(md.positions, state["x"])


def test_guard_on_a_collision():
    """Two atoms shot at each other: whatever the potential makes of it, the run stops and the state is finite."""
    md = MD(MW, [[0.0, 0, 0], [4.2, 0, 0]], "O", velocities=[[0.5, 0, 0], [-0.5, 0, 0]], dt=4.0, f_max=100.0)
    with pytest.raises((Diverged, _core.NnpError)):
        md.run(50)
    assert np.isfinite(md.positions).all() and md.step < 50


def test_stop_from_another_thread():
    md = water(3)
    timer = threading.Timer(0.3, md.stop)
    timer.start()
    began = time.monotonic()
    md.run(10**9)
    assert 0 < md.step < 10**9 and time.monotonic() - began < 30
    md.stop(False)
    step = md.step
    assert md.run(3).step == step + 3


def test_ctrl_c_leaves_a_usable_state():
    md = water(3)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        md.run(10**9)
    step = md.step
    assert 0 < step < 10**9 and md.run(2).step == step + 2


def test_one_caller_at_a_time():
    md = water(3)
    thread = threading.Thread(target=md._core.run, args=(10**9,))
    thread.start()
    while True:
        try:
            md.thermo()
        except RuntimeError as error:
            assert "another thread" in str(error)
            break
    md.stop()
    thread.join()
    md.stop(False)
    assert md.run(1).thermo()["step"] == md.step


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ensemble": "npt"}, "ensemble: 'npt' is not one of"),
        ({"ensemble": "bussi", "temperature": None}, "temperature: missing"),
        ({"precision": "half"}, "precision"),
        ({"velocities": np.zeros((3, 3))}, "velocities"),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(InputError, match=text):
        water(**options)


@pytest.mark.parametrize("options", [{"dt": 0.0}, {"dt": np.nan}, {"f_max": 0.0}, {"ensemble": "bussi", "tau": 0.0}])
def test_bad_numbers_are_refused_by_the_core(options):
    with pytest.raises(_core.NnpError, match="md: "):
        water(**options)


# ---- pair distribution ----


def brute_force(x, species, cell, r_max, bins, n_species):
    counts = np.zeros((n_species, n_species, bins), dtype=np.int64)
    reach = range(-5, 6)
    for image in [np.array([a, b, c]) @ cell for a in reach for b in reach for c in reach]:
        d = np.linalg.norm(x[None, :] + image - x[:, None], axis=2)
        for i, j in np.argwhere((d < r_max) & (d > 0)):
            counts[species[i], species[j], int(d[i, j] * bins / r_max)] += 1
    return counts


def test_rdf_counts_against_numpy():
    rng = np.random.default_rng(1)
    cell = np.array([[5.03, 0, 0], [1.0, 6.0, 0], [-0.5, 0.7, 5.5]])  # smaller than r_max
    species = rng.integers(0, 2, 20)
    rdf = RDF(species, ["A", "B"], r_max=7.0, bins=35)
    expected = np.zeros((2, 2, 35), dtype=np.int64)
    for _ in range(3):
        x = rng.uniform(-5, 5, size=(20, 3))
        rdf.add(x, cell)
        expected += brute_force(x, species, cell, 7.0, 35, 2)
    counts, samples, inverse_volume = rdf.core.get()
    assert samples == 3 and inverse_volume == pytest.approx(3 / np.linalg.det(cell), rel=1e-14)
    assert np.array_equal(counts.sum(axis=0), expected)
    result = rdf.result()
    n = np.bincount(species)
    shell = 4 / 3 * np.pi * (7 / 35) ** 3 * (np.arange(1, 36) ** 3 - np.arange(35) ** 3)
    ideal = 3 * n[0] * n[1] / np.linalg.det(cell) * shell
    assert np.allclose(result.g[0, 1], expected[0, 1] / ideal, rtol=1e-12)
    assert np.allclose(result.coordination[1, 1][-1], expected[1, 1].sum() / 3 / n[1])


def test_rdf_of_independent_atoms_is_one_within_its_error():
    rng = np.random.default_rng(2)
    rdf = RDF(np.zeros(200, dtype=int), ["A"], r_max=6.0, bins=12)
    for _ in range(100):  # blocks merge twice
        rdf.add(rng.uniform(0, 10, size=(200, 3)), [10.0, 10.0, 10.0])
    result = rdf.result()
    assert result.samples == 100
    z = (result.total[3:] - 1) / result.total_error[3:]
    assert 0.2 < np.sqrt((z**2).mean()) < 2.2
    poisson = 1 / np.sqrt(rdf.core.get()[0].sum(axis=0)[0, 0, 3:] / 2)
    assert 0.5 < np.median(result.total_error[3:] / poisson) < 2


def test_rdf_blocks_merge():
    x, cell = [[0.0, 0, 0], [2.5, 0, 0]], [9.0, 9.0, 9.0]
    rdf = RDF([0, 0], ["A"], r_max=4.0, bins=8)
    for n in range(1, 101):
        rdf.add(x, cell)
        counts = rdf.core.get()[0][:, 0, 0, 5]
        length = 1
        while 32 * length < n:
            length *= 2
        expected = [2 * max(0, min(length, n - b * length)) for b in range(32)]
        assert counts.tolist() == expected
    arrays, document = rdf.state()
    other = RDF([0, 0], ["A"], r_max=4.0, bins=8)
    other.set_state(arrays, document)
    rdf.add(x, cell)
    other.add(x, cell)
    assert np.array_equal(rdf.core.get()[0], other.core.get()[0])


def test_rdf_in_the_loop_counts_the_frames_it_should():
    md = water(2)
    rdf = md.sample_rdf(5.0, 40, every=10, start=25)
    md.run(60)
    outside, other = RDF(md.species, md.names, 5.0, 40), water(2)
    other.run(20)
    for _ in range(4):
        other.run(10)
        outside.add(other.positions, other.cell)
    assert rdf.core.get()[1] == 4
    assert np.array_equal(rdf.core.get()[0], outside.core.get()[0])


def test_rdf_needs_a_periodic_cell():
    with pytest.raises(InputError, match="periodic"):
        MD(MW, [[0.0, 0, 0]], "O").sample_rdf()
