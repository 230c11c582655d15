"""nnpcore bench: a run small enough for a test, its system, and what it counts. No time is asserted."""

import json

import numpy as np
import pytest

from nnpcore import bench, bench_count, cli
from nnpcore.bench_native import Native
from nnpcore.model import Model
from nnpcore.validate import InputError


@pytest.fixture(scope="module")
def box():
    return bench.seed_box(Model.stillinger_weber("mW"))


def test_seed_box_is_liquid_water(box):
    x, v, cell = box
    mw = Model.stillinger_weber("mW")
    per_molecule = mw.compute(x, "O", cell=cell, n_threads=1).energy / len(x)
    assert -0.450 < per_molecule < -0.415  # -0.4362 eV at 298 K (LAMMPS); ice: -0.537
    kinetic = 0.5 * mw.mass[0] * 103.642697 * (v * v).sum() / len(x)  # eV of amu (A/fs)^2
    assert 0.5 < kinetic / (1.5 * 8.617333e-5 * 298) < 1.5


def test_enlarged_box_is_the_same_liquid(box):
    x, v, cell = bench.enlarge(box, 3000)
    mw = Model.stillinger_weber("mW")
    assert x.shape == v.shape == (3000, 3) and np.linalg.det(cell) == pytest.approx(6 * np.linalg.det(box[2]))
    small = mw.compute(box[0], "O", cell=box[2], n_threads=1).energy
    assert mw.compute(x, "O", cell=cell, n_threads=1).energy == pytest.approx(6 * small, rel=1e-12)


def test_repeats():
    assert sorted(bench.repeats(200)) == [5, 5, 8]
    assert all(np.prod(bench.repeats(n)) == n for n in (1, 2, 7, 2000))


def test_environment_is_counted(box):
    """Neighbours and triplets by species against all pairs of the box."""
    x, _, cell = box
    species = np.arange(len(x)) % 3
    d = x[None] - x[:, None]
    d -= np.round(d / np.diag(cell)) * np.diag(cell)
    r = np.sqrt((d * d).sum(-1)) + 100 * np.eye(len(x))
    e = bench_count.environment(x, cell, species, 3, 4.5, 4.0)
    assert e.listed == pytest.approx((r < 5.5).sum() / len(x))
    assert e.density == pytest.approx(len(x) / np.linalg.det(cell)) and e.share == pytest.approx(
        e.share.sum() / 3, 0.01
    )
    for s in range(3):
        of = species == s
        n = np.stack([(r[of] < 4.0)[:, species == t].sum(1) for t in range(3)])
        assert e.pairs[s] == pytest.approx([(r[of] < 4.5)[:, species == t].sum(1).mean() for t in range(3)])
        assert e.near[s] == pytest.approx(n.mean(1))
        assert e.triplets[s, 1, 1] == pytest.approx((n[1] * (n[1] - 1) / 2).mean())
        assert e.triplets[s, 0, 2] == pytest.approx((n[0] * n[2]).mean()) and e.triplets[s, 2, 0] == 0


def test_operations_add_up():
    """One species: the formula written out; three alike, sharing the same neighbours: no fewer operations."""
    one = bench_count.Environment(
        np.ones(1), np.full((1, 1), 13.0), np.full((1, 1), 11.0), np.full((1, 1, 1), 57.0), 24, 0.03
    )
    mw = Model.msr(species=["O"], rc=4.5, rc3=4.3, n2=5, n3=5, hidden=[25, 25], seed=1)
    pairs, sides, threes = 13 * (19 + 24 + 6 + 5 * 23), 11 * (24 + 26 + 5 * 38), 57 * (23 + 5 * 31)
    network = 4 * (10 * 25 + 25 * 25 + 25) + 50 * 23 + 10 * 25
    assert bench_count.flop_msr(mw, one, 32) == pytest.approx(pairs + sides + threes + network)
    assert 2 < bench_count.flop_gradient(mw, one, 32) / bench_count.flop_msr(mw, one, 32) < 4
    triplets = np.triu(np.full((3, 3), 57 / 6))
    three = bench_count.Environment(
        np.full(3, 1 / 3), np.full((3, 3), 13 / 3), np.full((3, 3), 11 / 3), np.stack([triplets] * 3), 24, 0.03
    )
    alike = Model.msr(species=["O", "S", "Si"], rc=4.5, rc3=4.3, n2=5, n3=5, hidden=[25, 25], seed=1)
    assert bench_count.flop_msr(alike, three, 32) > bench_count.flop_msr(mw, one, 32)


def test_parts_of_a_step(box):
    """Timed inside the core (bench_step.c): the parts make up the step, the list is rebuilt now and then."""
    native = Native()
    if native.step_library is None:
        pytest.skip("no C compiler, no libnnpcore.a, or a linker without --wrap")
    split = native.step(Model.stillinger_weber("mW"), box, "float64", 1, 20)
    assert all(split[part] > 0 for part in ("forces", "gather", "refresh", "list", "plan", "rest"))
    assert 0 < split["builds"] < 1 and 1 < split["halo"] < 20
    assert native.copy(1e6, 1) > 0 and native.fma("baseline", 64, 1, 0.001) > 0


@pytest.mark.parametrize("us, limit", [(1.0, "compute"), (100.0, "latency")])
def test_limit(box, us, limit):
    """At 10 GFLOP/s some 6000 operations an atom of the force field take 0.6 us."""
    models = {"sw": Model.stillinger_weber("mW"), "msr": Model.msr(species=["O"], rc=4.5, rc3=4.3, seed=1)}
    roofline = bench.Roofline(models, box, [])
    roofline.peaks = {(64, 1): 10.0}
    roofline.native.copy = lambda size, threads: 1000.0
    roofline.split = lambda *_: {"halo": 2.0, "builds": 0.1, "forces": 0.8, "step": 1.0}
    flop = bench_count.flop_msr(models["msr"], roofline.environments["msr"], 64)
    row = {"task": "md-msr", "precision": "float64", "threads": 1, "n_atoms": 500, "us_per_atom": us * flop * 1e-4}
    roofline.judge(row, box)
    assert row["limit"] == limit and row["not_forces"] == pytest.approx(0.2)
    assert row["share_of_peak"] == pytest.approx(1 / us, rel=0.2)


def test_run_and_json(tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert cli.main(["bench", "--sizes", "500", "--threads", "1", "--runs", "1", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert {(r["task"], r["precision"]) for r in result["rows"]} == {
        *((task, "float64") for task in bench.PREPARE),
        *((task, "float32") for task in bench.PREPARE if task != "list"),
    }
    assert all(r["us_per_atom"] > 0 and r["n_atoms"] == 500 for r in result["rows"])
    assert capsys.readouterr().out.count("\n") == 2 + 1 + 2 + len(result["rows"])


def test_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="nothing"):
        bench.bench(tasks=("nothing",))
    Model.stillinger_weber("Si").save(tmp_path / "si.nnp")
    with pytest.raises(InputError, match=r"si\.nnp"):
        bench.bench(model=tmp_path / "si.nnp")
