"""The MD loop on the device against the C loop: same numbers, errors, restarts and files."""

import numpy as np
import pytest

import nnpcore
from nnpcore import md as md_module
from nnpcore.gpu.backend import GpuError
from nnpcore.validate import InputError

ENSEMBLES = {
    "nve": {"ensemble": "nve"},
    "langevin": {"ensemble": "langevin", "friction": 0.02, "momentum_every": 3},
    "bussi": {"ensemble": "bussi", "tau": 20.0},
}


def water(n=4, seed=3):
    """mW in a cubic box, off its lattice."""
    from nnpcore.md_start import lattice

    s = lattice("diamond", n, "O", None, 1.0, 18.015)
    x = s.positions + np.random.default_rng(seed).normal(scale=0.1, size=s.positions.shape)
    return x, s.cell


def simulation(device, n=2, **options):
    x, cell = water(n)
    model = nnpcore.Model.stillinger_weber("mW")
    options = {"temperature": 320.0, "dt": 5.0, "skin": 0.4, "seed": 11, "threads": 1} | options
    return md_module.MD(model, x, "O", cell, device=device, **options)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_steps_as_on_the_cpu(device, name):
    a, b = (simulation(where, **ENSEMBLES[name]) for where in ("cpu", "gpu"))
    np.testing.assert_allclose(b.velocities, a.velocities, atol=1e-15)
    for steps in (1, 24):
        a.run(steps)
        b.run(steps)
        assert b.step == a.step
        one, two = a.state, b.state
        for key in ("x", "v", "f"):
            np.testing.assert_allclose(two[key], one[key], atol=1e-10 * (1 + np.abs(one[key]).max()))
        assert two["heat"] == pytest.approx(one["heat"], abs=1e-10)
        s, t = a.thermo(), b.thermo()
        assert set(s) == set(t)
        for key, value in s.items():
            np.testing.assert_allclose(t[key], value, rtol=1e-10, atol=1e-10)
    assert b.n_builds == a.n_builds > 1


def test_float32_conserves_energy(device):
    b = simulation("gpu", precision="float32", dt=2.0)
    before = b.thermo()["conserved"]
    b.run(20)
    assert b.thermo()["conserved"] == pytest.approx(before, abs=2e-4 * len(b))


@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_state_goes_on_to_the_same_bits(device, name):
    options = {"precision": "float32", **ENSEMBLES[name]}
    b = simulation("gpu", **options)
    b.run(7)
    state = b.state
    b.run(6)
    c = simulation("gpu", **options)
    c.state = state
    c.run(6)
    one, two = b.state, c.state
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert b.thermo()["pressure"] == c.thermo()["pressure"]


def test_results_do_not_depend_on_the_order_of_threads(emulated):
    states = []
    for seed in (0, 5):
        emulated.seed = seed
        states.append(simulation("gpu", **ENSEMBLES["bussi"]).run(5).state)
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])


def test_a_cluster_and_a_slab(device):
    model = nnpcore.Model.stillinger_weber("mW")
    x, cell = water(2)
    for cell_, pbc in ((None, None), (cell, (True, True, False))):
        runs = [
            md_module.MD(model, x, "O", cell_, pbc, temperature=200, dt=5.0, skin=0.3, threads=1, device=where)
            for where in ("cpu", "gpu")
        ]
        a, b = (run.run(12).state for run in runs)
        np.testing.assert_allclose(b["x"], a["x"], atol=1e-10)
        assert runs[1].thermo()["volume"] == runs[0].thermo()["volume"]


def test_a_bad_step_is_named_and_the_state_before_it_kept(device):
    for last in (False, True):  # seen by the next step, or by the end of run()
        runs = [simulation(where, n=1, f_max=1e3) for where in ("cpu", "gpu")]
        for run in runs:
            run.run(2)
            run.set(f_max=1e-3)
        before = runs[1].state
        texts = []
        for run in runs:
            with pytest.raises(md_module.Diverged) as caught:
                run._guarded(run._core.run, 1 if last else 3)
            texts.append(str(caught.value))
        assert texts[0] == texts[1]
        assert "step 3: force on atom" in texts[1]
        after = runs[1].state
        for key in ("x", "v", "step", "heat"):
            np.testing.assert_array_equal(after[key], before[key])
        for run in runs:
            run.set(f_max=1e3)
            run.run(3)
        np.testing.assert_allclose(runs[1].positions, runs[0].positions, atol=1e-10)


def test_an_atom_that_flies_away(device):
    texts = []
    for where in ("cpu", "gpu"):
        run = simulation(where, n=1, velocities=np.zeros((8, 3)))
        state = run.state
        state["v"][5] = [900.0, 0, 0]
        run.state = state
        with pytest.raises(md_module.Diverged) as caught:
            run.run(1)
        texts.append(str(caught.value))
        assert run.step == 0
        np.testing.assert_array_equal(run.positions, state["x"])
    assert texts[0] == texts[1]


def test_atoms_on_top_of_each_other(device):
    x, cell = water(1)
    x[3] = x[6] + 1e-5
    with pytest.raises(InputError, match="atoms 3 and 6 are closer"):
        md_module.MD(nnpcore.Model.stillinger_weber("mW"), x, "O", cell, device="gpu")


def test_pair_distribution(device):
    counts = []
    for where in ("cpu", "gpu"):
        run = simulation(where, n=1, dt=1.0)
        rdf = run.sample_rdf(7.0, 30, every=1)
        run.run(40)  # more than the blocks: they merge
        counts.append((*rdf.core.get(), rdf.result().g))
    for one, two in zip(*counts, strict=True):
        np.testing.assert_allclose(two, one)
    assert counts[1][1] == 40


def test_memory_is_estimated_before_the_start(emulated):
    emulated._memory = (20_000, 1 << 30)
    with pytest.raises(GpuError, match=r"64 atoms need about .* GB on the GPU .* about \d+ atoms fit"):
        simulation("gpu")


def write_toml(path, **more):
    text = """
[model]
builtin = "mW"
[structure]
lattice = "diamond"
cells = 1
density = 1.0
displace = 0.05
[md]
ensemble = "bussi"
dt = 5.0
steps = 12
threads = 1
skin = 0.4
device = "gpu"
[output]
thermo = 2
trajectory = 4
[rdf]
r_max = 5.0
bins = 20
every = 3
"""
    path.write_text(text)
    return path


def test_the_command_line_and_a_resumed_run(device, tmp_path):
    config = write_toml(tmp_path / "md.toml")
    whole = md_module.run(config, ["output.folder='whole'"], quiet=True).folder
    md_module.run(config, ["output.folder='parts'", "md.steps=5"], quiet=True)
    parts = md_module.run(config, ["output.folder='parts'"], resume=True, quiet=True).folder
    for name in ("thermo.csv", "traj.xyz", "rdf.csv"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    cpu = md_module.run(config, ["output.folder='cpu'", "md.device='cpu'"], quiet=True).folder
    one, two = (np.genfromtxt(folder / "thermo.csv", delimiter=",", names=True) for folder in (whole, cpu))
    for name in one.dtype.names:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-9, atol=1e-9)
    other = md_module.run(config, ["output.folder='cpu'", "md.steps=14"], resume=True, quiet=True)
    assert other.simulation.step == 14  # the device may change at a restart


def test_a_network_over_a_core(device):
    """MSR with a ZBL core, two species, triclinic."""
    zbl = nnpcore.Model.zbl(["O", "H"], 0.8, 1.6)
    model = nnpcore.Model.msr(["O", "H"], 4.0, n2=2, n3=1, hidden=(6,), seed=2, baseline=zbl, e0=[-3.0, 1.0])
    x, cell = water(1)
    cell = cell + np.array([[0, 0, 0], [1.0, 0, 0], [0.5, -0.7, 0]])
    species = np.array([0, 1] * 4, np.int32)
    runs = [
        md_module.MD(model, x, species, cell, temperature=300, dt=0.5, skin=0.5, threads=1, device=where)
        for where in ("cpu", "gpu")
    ]
    a, b = (run.run(6) for run in runs)
    np.testing.assert_allclose(b.positions, a.positions, atol=1e-11)
    assert b.thermo()["potential"] == pytest.approx(a.thermo()["potential"], rel=1e-12)


def test_symmetry_functions_and_their_training_range(device):
    functions = [{"type": 2, "partners": ["O"], "eta": 0.1 * k, "rs": 1.0 * k, "rc": 4.5} for k in range(3)]
    functions.append({"type": 3, "partners": ["O", "O"], "eta": 0.02, "lambda": 1, "zeta": 2, "rc": 4.0})
    narrow = {"minimum": {"O": [0.1] * 4}, "maximum": {"O": [0.6] * 4}}
    model = nnpcore.Model.bp(["O"], {"O": functions}, hidden=(5,), seed=4, **narrow)
    x, cell = water(1)
    runs = [
        md_module.MD(model, x, "O", cell, temperature=300, dt=1.0, ensemble="bussi", threads=1, device=where)
        for where in ("cpu", "gpu")
    ]
    a, b = (run.run(5) for run in runs)
    np.testing.assert_allclose(b.positions, a.positions, atol=1e-11)
    assert b.outside == a.outside
    assert b.outside[0] > 0


def test_ctrl_c_ends_a_step(emulated, monkeypatch):
    import signal

    run, whole = simulation("gpu", n=1), simulation("gpu", n=1)
    sample = type(run._core)._sample

    def interrupt(core):
        sample(core)
        if core.step == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(type(run._core), "_sample", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run._core.run(100)
    monkeypatch.undo()
    assert run.step == 3
    run.run(2)
    whole.run(5)
    np.testing.assert_array_equal(run.positions, whole.positions)
