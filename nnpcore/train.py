"""`nnpcore train`: from a configuration file to a run folder; the loop itself is nnpcore/training.py.

    result = nnpcore.train("train.toml")      # this module is callable

Run folder: config.resolved.toml train.log metrics.csv best.nnp last.ckpt parity_*.npz report.html
"""

import io
import os
import sys
import types
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from . import bp, checkpoint, config, data
from .elements import MASSES
from .evaluate import Labels, by_config_type, format_table, predict
from .model import Model, load
from .neighbors import neighbor_list
from .training import Diverged, Result, Training

__all__ = ["Diverged", "Result", "Training", "build_model", "load_frames", "train"]


def train(settings, overrides=(), resume=False, dry_run=False, callback=None, quiet=False):
    """Train as a configuration says; returns a training.Result (None for a dry run, which prints what it would do).

    settings: path of a TOML file, whose folder relative paths start from, or a config.TrainConfig with [data].
    overrides: "section.key=value" texts. resume: go on with the run in the folder, or begin it where there is none.
    Raises ConfigError, DataError, CheckpointError, FolderInUse, Diverged, OSError.
    """
    base = Path()
    if not isinstance(settings, config.TrainConfig):
        base = Path(settings).parent
        settings = config.load(settings, overrides=overrides)
    if settings.data is None:
        raise config.ConfigError("[data]: missing")
    folder = base / settings.train.folder
    sets = load_frames(settings, base)
    model = build_model(settings, sets["train"], base)
    if dry_run:
        print(describe(settings, sets, model))
        return None
    with checkpoint.FolderLock(folder) as lock:
        if not resume and any(p.exists() for p in (folder / "last.ckpt", checkpoint.previous(folder / "last.ckpt"))):
            raise config.ConfigError(
                f"{folder}: holds a run; --resume goes on with it, train.folder names another place"
            )
        training = Training(model, sets["train"], sets["valid"], settings, folder, quiet=quiet, lock=lock)
        resumed = resume and training.resume()
        if not resumed and settings.model.init_from is None:
            training.initialise()
        text = config.dumps(moved(settings, base, folder))
        checkpoint.write_atomic(folder / "config.resolved.toml", text.encode())
        result = training.run(callback)
        if result.stopped != "signal":
            finish(folder, training, result, sets.get("test"), quiet)
    return result


def load_frames(settings, base=Path()):
    """{"train": [Frame], "valid": [Frame], "test": [Frame] where given}: read, weighted, split, labels checked."""
    d = settings.data

    def read(value):
        return [f for path in config.files(value, base) for f in data.read_frames(path, units=d.units)]

    sets = {"train": read(d.train)}
    if d.weights:
        sets["train"] = data.weighted(sets["train"], d.weights)
    if isinstance(d.valid, float):
        sets["train"], sets["valid"] = data.split(sets["train"], d.valid, settings.train.seed)
    else:
        sets["valid"] = read(d.valid)
    if d.test is not None:
        sets["test"] = read(d.test)
    if d.missing == "error":
        wanted = {q: any(w > 0 for w in config.ends(getattr(settings.loss, q))) for q in ("energy", "force", "stress")}
        for name in ("train", "valid"):
            data.require_labels(sets[name], wanted["energy"], wanted["force"], wanted["stress"])
    return sets


def moved(settings, base, folder):
    """The settings with paths relative to the run folder: what `nnpcore train RUN/config.resolved.toml` needs."""

    def place(value):
        if isinstance(value, list):
            return [place(v) for v in value]
        return os.path.relpath(Path(base, value), folder) if isinstance(value, str) else value

    d, m = settings.data, settings.model
    return msgspec.structs.replace(
        settings,
        data=msgspec.structs.replace(d, train=place(d.train), valid=place(d.valid), test=place(d.test)),
        model=msgspec.structs.replace(
            m,
            init_from=place(m.init_from),
            functions=place(m.functions) if isinstance(m.functions, str) else m.functions,
        ),
        train=msgspec.structs.replace(settings.train, folder="."),
    )


def build_model(settings, frames, base=Path()):
    """The model a run starts from: [model].init_from, or a new one with E0 from the frames."""
    m = settings.model
    if m.init_from is not None:
        return load(base / m.init_from)
    species = data.species_of(frames) if m.species == "auto" else m.species
    for frame in frames:
        data.indices(frame, species)  # before E0 are fitted to atoms that the model does not have
    common = {
        "species": species,
        "hidden": m.hidden,
        "baseline": [_baseline(term) for term in m.baseline] + (core(frames, m.rc) if m.core else []) or None,
        "mass": {s: m.mass.get(s, MASSES.get(s)) for s in species},
        "seed": settings.train.seed,
    }
    if m.method == "bp":
        functions = bp.read_functions(base / m.functions) if isinstance(m.functions, str) else m.functions
        model = Model.bp(functions=functions, activation=m.activation, **common)
    else:
        model = Model.msr(rc=m.rc, rc3=m.rc3, n2=m.n2, n3=m.n3, rs=m.rs, cutoff=m.cutoff, **common)
    if m.baseline:  # E0 are fitted to what it leaves: a network of zeros is the baseline alone (and a core is 0 here)
        energies = predict(model.replace(theta=np.zeros(model.n_parameters)), frames)[0]
        pairs = zip(frames, energies, strict=True)
        frames = [replace(f, energy=None if f.energy is None else f.energy - e) for f, e in pairs]
    return model.replace(e0=data.reference_energies(frames, species, settings.data.e0))


CORE = (0.45, 0.95)
"""Inner and outer radius of the core in units of the shortest distance of the data."""


def core(frames, cutoff):
    """[a ZBL term that vanishes at every distance of the frames], or [] where none is below the cutoff (Å).

    No data say what a network does below their shortest distance: a hot atom may find an attractive hole there.
    """
    distances = (neighbor_list("d", f.positions, f.cell, f.pbc, cutoff) for f in frames)
    shortest = min((d.min() for d in distances if d.size), default=0.0)
    if not shortest > 0:
        return []
    return [{"kind": "zbl", "inner": CORE[0] * shortest, "outer": CORE[1] * shortest}]


def _baseline(term):
    """A term of [model].baseline: as in docs/model-file.md, or {kind = "sw", name = "mW"}."""
    if term.get("kind") == "sw" and set(term) == {"kind", "name"}:
        return Model.stillinger_weber(term["name"])
    return term


def describe(settings, sets, model):
    """Text of a dry run: what would be trained on what."""
    lines = []
    for name, frames in sets.items():
        kinds = sorted({f.config_type for f in frames} - {""})
        labels = ", ".join(
            f"{sum(getattr(f, q) is not None for f in frames)} {q}" for q in ("energy", "forces", "stress")
        )
        lines.append(
            f"{name}: {len(frames)} frames, {sum(map(len, frames))} atoms; labels: {labels}; {' '.join(kinds)}"
        )
    lines.append(f"species: {' '.join(model.species)}; E0 eV: {' '.join(f'{e:.6g}' for e in model.e0)}")
    n_batches = -(-len(sets["train"]) // settings.train.batch)
    lines.append(f"model: {len(model.theta)} parameters; {n_batches} steps an epoch")
    return "\n".join(lines)


def finish(folder, training, result, test=None, quiet=False):
    """Predictions of the best model on every set into parity_*.npz, the error tables into train.log, the report."""
    s = training.state
    n_train = len(training.train_frames)
    sets = {"train": (training.train_frames, np.arange(n_train, dtype=np.int32))}
    if training.separate_validation:
        sets["valid"] = (training.valid_frames, training.valid_indices)
    predictions = {name: (frames, training.predict(indices, s.best)) for name, (frames, indices) in sets.items()}
    if test:
        predictions["test"] = (test, predict(result.model, test))
    tables = {}
    for name, (frames, predicted) in predictions.items():
        labels = Labels(frames)
        tables[name] = by_config_type(frames, labels, labels.differences(*predicted))
        write_parity(folder / f"parity_{name}.npz", labels, predicted)
    text = "\n\n".join(f"{name}\n{format_table(table)}" for name, table in tables.items())
    with open(folder / "train.log", "a", encoding="utf-8") as log:
        log.write(text + "\n")
    if not quiet:
        print(text)
    from .report import write_training_report

    write_training_report(folder, result, tables)


def write_parity(path, labels, predicted):
    """size [B] atoms; energy [B] eV, forces [sum n][3] eV/A, stress [B][6] eV/A^3; each also as predicted_ ..."""
    buffer = io.BytesIO()
    arrays = {"size": labels.size, "energy": labels.energy, "forces": labels.forces, "stress": labels.stress}
    arrays.update(zip(("predicted_energy", "predicted_forces", "predicted_stress"), predicted, strict=True))
    np.savez(buffer, **arrays)
    checkpoint.write_atomic(path, buffer.getvalue())


class _CallableModule(types.ModuleType):
    """Lets nnpcore.train be the function although importing this file binds that name to the module."""

    def __call__(self, *args, **kwargs):
        return train(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
