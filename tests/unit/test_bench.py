"""nnpcore bench: a run small enough for a test, its system, and what it counts. No time is asserted."""

import json

import numpy as np
import pytest

from nnpcore import bench, cli
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
    x, _, cell = box
    i, j = np.triu_indices(len(x), 1)
    d = x[i] - x[j]
    d -= np.round(d / np.diag(cell)) * np.diag(cell)
    near = np.bincount(np.concatenate([i, j])[np.tile((d * d).sum(1) < 4.0**2, 2)], minlength=len(x))
    ((n, triplets),) = bench.count_environment(x, cell, (4.0,))
    assert (n, triplets) == pytest.approx((near.mean(), (near * (near - 1) / 2).mean()))


def test_run_and_json(tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert cli.main(["bench", "--sizes", "500", "--threads", "1", "--runs", "1", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    assert {(r["task"], r["precision"]) for r in result["rows"]} == {
        *((task, "float64") for task in bench.PREPARE),
        *((task, "float32") for task in bench.PREPARE if task != "list"),
    }
    assert all(r["us_per_atom"] > 0 and r["n_atoms"] == 500 for r in result["rows"])
    assert capsys.readouterr().out.count("\n") == 2 + 2 + len(result["rows"])


def test_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="nothing"):
        bench.bench(tasks=("nothing",))
    Model.stillinger_weber("Si").save(tmp_path / "si.nnp")
    with pytest.raises(InputError, match=r"si\.nnp"):
        bench.bench(model=tmp_path / "si.nnp")
