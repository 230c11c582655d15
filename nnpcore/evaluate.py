"""Errors of predictions against labels: MAE and RMSE in meV/atom, meV/A and GPa, in total and per config_type."""

import json
from pathlib import Path

import numpy as np

from .checkpoint import write_atomic
from .data import indices, read_frames
from .units import GPA

QUANTITIES = ("energy", "force", "stress")
UNIT = {"energy": "meV/atom", "force": "meV/A", "stress": "GPa"}
SCALE = {"energy": 1e3, "force": 1e3, "stress": GPA}
COLUMNS = tuple(f"{how}_{q}[{UNIT[q]}]" for q in QUANTITIES for how in ("rmse", "mae"))


class Labels:
    """Labels of frames as three flat arrays, NaN where there is none.

    size [B] atoms a frame; energy [B] eV; forces [sum n][3] eV/A; stress [B][6] eV/A^3; owner [sum n] frame of an atom.
    """

    def __init__(self, frames):
        self.size = np.array([len(f) for f in frames], dtype=np.int64)
        self.energy = np.array([np.nan if f.energy is None else f.energy for f in frames])
        self.forces = _stacked([np.full((len(f), 3), np.nan) if f.forces is None else f.forces for f in frames], 3)
        self.stress = np.array([np.full(6, np.nan) if f.stress is None else f.stress for f in frames]).reshape(-1, 6)
        self.weight = np.array([f.weight for f in frames])
        self.owner = np.repeat(np.arange(len(frames)), self.size)

    def differences(self, energies, forces, stresses):
        """(dE/N [B], dF [sum n][3], dS [B][6]): prediction minus label, NaN where there is no label."""
        per_atom = (energies - self.energy) / np.maximum(self.size, 1)
        return per_atom, forces - self.forces, stresses - self.stress


def _stacked(arrays, width):
    return np.concatenate(arrays) if arrays else np.zeros((0, width))


def summary(differences):
    """{column: error} for the COLUMNS; NaN where no label was there. differences as Labels.differences() gives them."""
    row = {}
    for quantity, difference in zip(QUANTITIES, differences, strict=True):
        d = difference[np.isfinite(difference)] * SCALE[quantity]
        row[f"rmse_{quantity}[{UNIT[quantity]}]"] = float(np.sqrt(np.mean(d * d))) if d.size else float("nan")
        row[f"mae_{quantity}[{UNIT[quantity]}]"] = float(np.mean(np.abs(d))) if d.size else float("nan")
    return row


def loss_terms(labels, differences, loss):
    """[4] total, energy, force and stress part of the mean loss over frames, as nnp_trainer_gradient() has it.

    loss: dict(kind, w_energy, w_force, w_stress, delta_energy, delta_force, delta_stress).
    """
    d_energy, d_force, d_stress = differences
    n = len(labels.size)

    def value(d, delta):
        if loss["kind"] == 0:
            return d * d
        return np.where(np.abs(d) < delta, 0.5 * d * d, delta * (np.abs(d) - 0.5 * delta))

    energy = np.nan_to_num(value(d_energy, loss["delta_energy"]))
    per_atom = np.nan_to_num(value(d_force, loss["delta_force"])).sum(axis=1)
    force = np.bincount(labels.owner, per_atom, minlength=n) / np.maximum(3 * labels.size, 1)
    stress = np.nan_to_num(value(d_stress, loss["delta_stress"])).mean(axis=1) if n else np.zeros(0)
    parts = [
        loss[f"w_{quantity}"] * float(labels.weight @ term) / max(n, 1)
        for quantity, term in zip(QUANTITIES, (energy, force, stress), strict=True)
    ]
    return np.array([sum(parts), *parts])


def by_config_type(frames, labels, differences):
    """{config_type: {"frames", "atoms", column: error}}, and "total" last."""
    d_energy, d_force, d_stress = differences
    kinds = [f.config_type for f in frames]
    table = {}
    for kind in [*sorted(set(kinds)), None]:
        chosen = np.array([kind is None or k == kind for k in kinds], dtype=bool)
        atoms = chosen[labels.owner]
        row = {"frames": int(chosen.sum()), "atoms": int(labels.size[chosen].sum())}
        row.update(summary((d_energy[chosen], d_force[atoms], d_stress[chosen])))
        table["total" if kind is None else kind or "(none)"] = row
    return table


def predict(model, frames):
    """(energies [B] eV, forces [sum n][3] eV/A, stresses [B][6] eV/A^3, NaN for frames not fully periodic)."""
    energies, forces, stresses = [], [], []
    for frame in frames:
        out = model.compute(frame.positions, indices(frame, model.species), cell=frame.cell, pbc=frame.pbc)
        energies.append(out.energy)
        forces.append(out.forces)
        stresses.append(out.stress if all(frame.pbc) else np.full(6, np.nan))
    return np.array(energies), _stacked(forces, 3), np.array(stresses).reshape(-1, 6)


def evaluate(model, frames):
    """Errors of a model on frames: the table of by_config_type(), and the predictions."""
    labels = Labels(frames)
    predictions = predict(model, frames)
    return by_config_type(frames, labels, labels.differences(*predictions)), predictions


def format_table(table):
    """Text table, one line a config_type; '-' where there were no labels."""
    width = max(len(name) for name in [*table, "config_type"])
    head = f"{'config_type':<{width}} {'frames':>7} {'atoms':>8}"
    head += "".join(f" {q + ' ' + UNIT[q]:>20}" for q in QUANTITIES)
    lines = [head, f"{'':<{width}} {'':>7} {'':>8}" + f" {'MAE':>10}{'RMSE':>10}" * 3]
    for name, row in table.items():
        cells = ""
        for q in QUANTITIES:
            cells += " " + "".join(f"{_number(row[f'{how}_{q}[{UNIT[q]}]']):>10}" for how in ("mae", "rmse"))
        lines.append(f"{name:<{width}} {row['frames']:>7} {row['atoms']:>8}{cells}")
    return "\n".join(lines)


def _number(value):
    return "-" if not np.isfinite(value) else f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"


def strict_json(value):
    """The same with None for NaN, as strict JSON wants it."""
    if isinstance(value, dict):
        return {k: strict_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict_json(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def write_predictions(path, frames, predictions):
    """Extended XYZ with predicted energy, forces and stress, and the labels as REF_energy, REF_forces, REF_stress."""
    import io

    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    images, start = [], 0
    for b, frame in enumerate(frames):
        energy, stress, forces = predictions[0][b], predictions[2][b], predictions[1][start : start + len(frame)]
        start += len(frame)
        atoms = Atoms(frame.species, frame.positions, cell=frame.cell, pbc=frame.pbc)
        stress = {"stress": stress} if np.isfinite(stress).all() else {}
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, **stress)
        if frame.config_type:
            atoms.info["config_type"] = frame.config_type
        if frame.energy is not None:
            atoms.info["REF_energy"] = frame.energy
        if frame.stress is not None:
            atoms.info["REF_stress"] = frame.stress
        if frame.forces is not None:
            atoms.arrays["REF_forces"] = frame.forces
        images.append(atoms)
    text = io.StringIO()
    write(text, images, format="extxyz")
    write_atomic(path, text.getvalue().encode())


def eval_main(model_path, data_path, out=None, json_path=None, units=None):
    """`nnpcore eval`: print the table; write predictions and JSON where asked. Returns the table.

    units: of the data; by default eV/A, and for input.data those of the n2p2 folder that the model came from. An out
    that ends on .data is written as input.data, predicted energies and forces in these units.
    """
    from .extrapolation import count as extrapolation
    from .input_data import is_input_data, write_predicted
    from .model import load
    from .n2p2 import model_units

    model = load(model_path)
    if units is None and is_input_data(data_path):
        units = model_units(model) or "Hartree/Bohr"
        print(f"{data_path}: taken as {units}; --units for others")
    frames = read_frames(data_path, units=units)
    table, predictions = evaluate(model, frames)
    print(format_table(table))
    beyond = extrapolation(model, frames)
    if beyond is not None:
        print(beyond)
    if out and Path(out).suffix == ".data":
        write_predicted(out, frames, predictions, units or model_units(model))
    elif out:
        write_predictions(out, frames, predictions)
    if json_path:
        document = {"model": str(model_path), "data": str(data_path), "errors": strict_json(table)}
        if beyond is not None:
            document["extrapolation"] = beyond.document()
        write_atomic(Path(json_path), (json.dumps(document, indent=1) + "\n").encode())
    return table
