"""nnpcore suggest: grids by the papers' formulas, selection, survey of the data, a configuration that train takes."""

from itertools import pairwise

import numpy as np
import pytest

from nnpcore import cli, config, data, suggest
from nnpcore.data import Frame
from nnpcore.evaluate import write_predictions
from nnpcore.model import Model
from nnpcore.suggest_functions import candidates, cur, farthest, gastegger, gram, imbalzano, leading, select

pytest.importorskip("ase")


def test_gastegger_grid():
    # the grid of n2p2's copper sulfide potential: 1.5 to 5.5 A in steps of 0.5 for a cutoff of 6 A, eta 2.0; and 0.2222
    centred, shifted = gastegger(1.5, 6.0, 9)
    assert shifted[0] == pytest.approx((2.0, 1.5)) and shifted[-1] == pytest.approx((2.0, 5.5)) and len(shifted) == 9
    assert centred[0] == pytest.approx((0.2222, 0.0), abs=1e-4)
    assert [eta for eta, _ in gastegger(1.5, 6.0, 3)[0]] == pytest.approx([2.222e-1, 4.082e-2, 1.653e-2], rel=1e-3)


def test_imbalzano_grid():
    # n = 2, rc = 2 A by hand: rs = 2/sqrt(2), 2/2; eta = 1/(2 - sqrt 2)^2, 1/(sqrt 2 - 1)^2
    centred, shifted = imbalzano(2.0, 2)
    assert [eta for eta, _ in centred] == pytest.approx([0.25, 0.5, 1.0])
    assert shifted[0] == pytest.approx((1.5 + 2**0.5, 2**0.5)) and shifted[1] == pytest.approx((3 + 2**1.5, 1.0))


@pytest.mark.parametrize("grid", ["gastegger", "imbalzano", "both"])
def test_candidates_cover_every_channel_and_make_a_model(grid):
    pool = candidates("O", ["H", "O"], 6.0, 0.9, grid)
    radial = {f["partners"][0] for f in pool if f["type"] == 2}
    angular = {(*f["partners"], f["lambda"], f["zeta"]) for f in pool if f["type"] == 9}
    assert radial == {"H", "O"} and len(angular) == 3 * 2 * 4
    assert len({str(sorted(f.items())) for f in pool}) == len(pool)
    assert Model.bp(["H", "O"], {"H": pool, "O": pool}, [2]).cutoff == 6.0


@pytest.mark.parametrize("how", [cur, farthest])
def test_selection_leaves_copies_and_combinations_out(how, rng):
    """Of 4 independent columns, their scaled copies, and a constant, one of each kind is taken, and that is all."""
    x = rng.normal(size=(500, 4))
    x = np.linalg.qr(x - x.mean(axis=0))[0] * 10
    g = np.concatenate([x, 3 * x[:, :3] + 1, -2 * x[:, 1:2], np.ones((500, 1))], axis=1)
    live, c = gram(g)
    assert list(live) == list(range(8)) and np.diag(c) == pytest.approx(np.ones(8))
    taken, explained = how(c, 6)
    kinds = [k if k < 4 else k - 4 if k < 7 else 1 for k in taken[:4]]
    assert sorted(kinds) == [0, 1, 2, 3] and explained[3] == pytest.approx(1.0)
    assert all(b >= a - 1e-12 for a, b in pairwise(explained))


def test_cur_prefers_what_explains_most(rng):
    """A direction shared by many columns comes first, noise of one column last."""
    common, own = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 6))
    g = np.concatenate([common + 0.1 * own[:, :5], own[:, 5:]], axis=1)
    taken, explained = cur(gram(g)[1], 2)
    assert taken[0] < 5 and taken[1] == 5 and explained[1] > 0.95


def test_leading_eigenvector(rng):
    a = rng.normal(size=(40, 40))
    c = a @ a.T
    found = leading(c, np.linalg.qr(rng.normal(size=(40, 8)))[0])[:, -1]
    assert abs(found @ np.linalg.eigh(c)[1][:, -1]) > 0.99


def test_selection_of_nothing():
    assert select(np.ones((10, 3)), 2) == ([], 1.0) and select(np.zeros((0, 3)), 2) == ([], 1.0)


# ---- structures ----


def crystal(rng, species, a, spread=0.08, n=2):
    sites = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0], [1, 1, 1], [1, 3, 3], [3, 1, 3], [3, 3, 1]]) / 4
    cells = np.array([[i, j, k] for i in range(n) for j in range(n) for k in range(n)])
    x = (cells[:, None] + sites).reshape(-1, 3) * a
    names = [species[k % len(species)] for k in range(8)] * n**3
    return names, x + rng.normal(0, spread, x.shape), np.eye(3) * a * n


def labelled(frames, model):
    out = [model.compute(f.positions, list(f.species), cell=f.cell, pbc=f.pbc) for f in frames]
    return [o.energy for o in out], np.concatenate([o.forces for o in out]), [o.stress for o in out]


@pytest.fixture
def silicon(tmp_path, monkeypatch):
    """Distorted crystals in data/si.xyz, Stillinger-Weber's labels; the folder is the working directory."""
    rng, frames = np.random.default_rng(8), []
    for k in range(6):
        names, x, cell = crystal(rng, ["Si"], 5.43 + 0.05 * (k - 3))
        frames.append(Frame(names, x, cell, True, config_type="crystal"))
    (tmp_path / "data").mkdir()
    write_predictions(tmp_path / "data" / "si.xyz", frames, labelled(frames, Model.stillinger_weber("Si")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_survey_counts_neighbours_and_finds_the_shells(silicon):
    found = suggest.survey(data.read_frames("data/si.xyz"))
    assert found.species == ["Si"] and found.atoms == 6 * 64 and found.counts == {"Si": 384}
    assert 1.9 < found.shortest["Si", "Si"][0] < 2.35
    assert found.within(3.0) == pytest.approx(4, abs=0.1) and found.within(4.2) == pytest.approx(16, abs=0.6)
    assert suggest.cutoff(found, 4, 2.0, 8.0) == pytest.approx(3.0, abs=0.25)  # between the first two shells
    assert 5.5 <= suggest.cutoff(found, 40, 5.5, 7.5) <= 6.6
    assert suggest.cutoff(found, 10**6, 4.0, 7.5) == pytest.approx(7.5, abs=0.6)


def test_remarks_name_what_is_odd(rng):
    frames = [Frame(["Si"] * 2, [[0, 0, 0], [2.4, 0, 0]], energy=-9.0 + 0.01 * k, source=f"f@{k}") for k in range(8)]
    frames += [Frame(["Si"] * 2, [[0, 0, 0], [2.4, 0, 0]], energy=30.0, forces=np.full((2, 3), 99.0), source="f@8")]
    text = "\n".join(suggest.remarks(frames, ["Si"]))
    assert "8 of 9 frames have no forces: f@0" in text and "forces above 30 eV/A in 1 frames: f@8" in text
    assert "energies far from the others in 1 frames: f@8" in text


def test_suggest_bp_is_a_model_for_train(silicon, capsys):
    assert cli.main(["suggest", "data/si.xyz", "-o", "runs/si.toml", "-n", "14"]) == 2  # no such folder
    assert cli.main(["suggest", "data/si.xyz", "-o", "si.toml", "-n", "14"]) == 0
    text = (silicon / "si.toml").read_text()
    table = config.tomllib.loads(text)
    functions = table["model"]["functions"]
    assert list(functions) == ["Si"] and len(functions["Si"]) == 14
    model = Model.bp(["Si"], functions, table["model"]["hidden"])
    assert model.cutoff == functions["Si"][0]["rc"] and 5.5 <= model.cutoff <= 7.5
    assert table["data"]["train"] == "data/si.xyz" and table["data"]["e0"] == "fit"
    assert "6 frames, 384 atoms" in capsys.readouterr().out and "shortest distances, A: Si-Si" in text


def test_suggest_train_eval(silicon):
    assert cli.main(["suggest", "data/si.xyz", "-o", "si.toml", "-n", "8"]) == 0
    assert cli.main(["train", "si.toml", "--set", "train.epochs=2", "--set", "train.threads=1"]) == 0
    assert cli.main(["eval", "run/best.nnp", "data/si.xyz"]) == 0


def test_suggest_msr_runs_in_train(silicon):
    assert cli.main(["suggest", "data/si.xyz", "--method", "msr", "--rc", "4.8", "-n", "6", "-o", "si.toml"]) == 0
    table = config.tomllib.loads((silicon / "si.toml").read_text())
    assert table["model"]["rc"] == 4.8 and 3 <= table["model"]["rc3"] <= 4.8
    assert sum(table["model"]["n2"][0]) + sum(table["model"]["n3"][0]) == 6
    assert cli.main(["train", "si.toml", "--dry-run"]) == 0


def test_two_species_and_isolated_atoms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng, lj = np.random.default_rng(2), Model.lennard_jones(["Ge", "Te"], 0.2, 2.3, 6.0)
    frames = [Frame(*crystal(rng, ["Te", "Ge"], 6.0, n=1), True) for _ in range(3)]
    frames += [Frame([s], np.zeros((1, 3)), energy=0.0) for s in ("Ge", "Te")]
    energies, forces, stresses = labelled(frames, lj)
    labels = [np.full(6, np.nan) if s is None else s for s in stresses]
    frames = [Frame(f.species, f.positions, f.cell, f.pbc, energy=e) for f, e in zip(frames, energies, strict=True)]
    write_predictions("a.xyz", frames, (energies, forces, labels))
    for method in ("bp", "msr"):
        text = suggest.suggest(["a.xyz"], method=method, n=8)
        table = config.tomllib.loads(text)
        assert table["data"]["e0"] == "isolated" and "Ge-Te" in text
        if method == "bp":
            assert {s: len(own) for s, own in table["model"]["functions"].items()} == {"Ge": 8, "Te": 8}
        else:
            assert np.shape(table["model"]["n2"]) == (2, 2) and np.shape(table["model"]["n3"]) == (2, 3)


def test_input_data_in_bohr(silicon):
    assert cli.main(["convert", "data/si.xyz", "input.data"]) == 0
    ours, theirs = (suggest.survey(data.read_frames(p)) for p in ("data/si.xyz", "input.data"))
    assert theirs.shortest["Si", "Si"][0] == pytest.approx(ours.shortest["Si", "Si"][0], rel=1e-7)


@pytest.mark.parametrize("options, word", [(["--rc", "0.5"], "cutoff is 0.5"), (["--rc", "nan"], "cutoff is nan")])
def test_bad_options(silicon, capsys, options, word):
    assert cli.main(["suggest", "data/si.xyz", *options]) == 2
    assert word in capsys.readouterr().err


def test_atoms_too_far_apart(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frames = [Frame(["H", "H"], [[0.0, 0, 0], [0, 0, 15.0]], energy=-1.0, forces=np.zeros((2, 3)))]
    write_predictions("far.xyz", frames, ([-1.0], np.zeros((2, 3)), [np.full(6, np.nan)]))
    assert cli.main(["suggest", "far.xyz"]) == 2
    assert "no symmetry function of H varies on the data" in capsys.readouterr().err
