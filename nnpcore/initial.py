"""Starting values that suit the data: independent fingerprints, inputs of mean 0 and variance 1, their ranges.

Looks at the network inputs G of the core (Trainer.fingerprints) on a few frames; labels play no part.
"""

import numpy as np

from . import bp
from .data import indices
from .model import Model
from .validate import InputError

N_FRAMES = 20  # looked at, evenly chosen
N_CANDIDATES = 8  # drawn per fingerprint wanted
SMALLEST = 0.05  # standard deviation of an input below which it is taken for noise


def initialise(model, frames, seed, make_trainer):
    """A new model, ready to be trained on the frames (list of data.Frame).

    Behler-Parrinello: scaled(). MSR: of N_CANDIDATES times as many fingerprints, drawn as published (msr.init_msr),
    every channel keeps those that are most independent over the atoms seen: with 8 + 8 on silicon, four seeds, the
    force error after 50 epochs spread over 192-216 meV/A instead of 188-286. Then the inputs are standardised.
    make_trainer(model) gives an empty trainer.
    """
    if model.method == "bp":
        return scaled(model, frames, make_trainer)
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, min(N_FRAMES, len(frames))).astype(int))]
    model = independent(model, chosen, seed, make_trainer)
    return standardised(model, inputs(model, chosen, make_trainer))


def inputs(model, frames, make_trainer):
    """Network inputs by species: [G [n_atoms][n_fingerprints] for every species] over all atoms of the frames."""
    trainer, found = make_trainer(model), []
    for k, f in enumerate(frames):
        add_frame(trainer, model, f)
        found.append(trainer.fingerprints(model.theta, k))
    found, elements = np.concatenate(found), np.concatenate([np.array(f.species) for f in frames])
    return [found[elements == x][:, :n] for x, n in zip(model.species, model.n_fingerprints, strict=True)]


def scaled(model, frames, make_trainer):
    """A Behler-Parrinello model whose inputs have mean 0 and variance 1 over all atoms of the frames.

    Keeps the range of every symmetry function there. One that never changes is switched off (factor 0).
    """
    ones = [np.ones(n) for n in model.n_fingerprints]
    raw = bp.rescaled(model, [np.zeros_like(n) for n in ones], ones)
    found = inputs(raw, frames, make_trainer)
    missing = [s for s, g in zip(model.species, found, strict=True) if not len(g)]
    if missing:
        raise InputError(f"species: {missing[0]} is in the model, but not in the training frames")
    centre, factor = [g.mean(axis=0) for g in found], []
    for g in found:
        spread, size = g.std(axis=0), np.abs(g).max(axis=0)
        alive = spread > 1e-9 * size
        factor.append(np.where(alive, 1.0 / np.where(alive, spread, 1.0), 0.0))
    return bp.rescaled(model, centre, factor, [g.min(axis=0) for g in found], [g.max(axis=0) for g in found])


def add_frame(trainer, model, frame):
    """Give a frame with its labels to the core's trainer."""
    species, pbc = indices(frame, model.species), np.array(frame.pbc, dtype=np.int32)
    trainer.add(species, frame.positions, frame.cell, pbc, frame.energy, frame.forces, frame.stress, frame.weight)


def standardised(model, g):
    """The model with mu and first-layer weights such that inputs have mean 0 and act as if of variance 1.

    mu takes the mean of ln(F + 1e-3) in; the weights are divided by the standard deviation, at least SMALLEST.
    g: inputs() of this model.
    """
    theta = np.array(model.theta)
    for symbol, own in zip(model.species, g, strict=True):
        if own.size:
            theta[model.slices[f"msr.{symbol}.mu"]] += own.mean(axis=0)
            weight = theta[model.slices[f"net.{symbol}.0.weight"]].reshape(own.shape[1], -1)
            weight /= np.maximum(own.std(axis=0), SMALLEST)[:, None]
    return model.replace(theta=theta)


def independent(model, frames, seed, make_trainer):
    """The model with exponents chosen by pivots() among candidates drawn with the seed, channel by channel."""
    shape = model.metadata["msr"]
    many = {n: [[count * N_CANDIDATES for count in row] for row in shape[n]] for n in ("n2", "n3")}
    same = {"rs": shape["rs"], "cutoff": shape.get("cutoff", "cosine")}
    drawn = Model.msr(model.species, shape["rc"], shape["rc3"], hidden=[1], seed=seed, **same, **many)
    theta = np.array(model.theta)
    for s, (symbol, g) in enumerate(zip(model.species, inputs(drawn, frames, make_trainer), strict=True)):
        if len(g) < 2:
            continue
        wanted = [*shape["n2"][s], *shape["n3"][s]]
        taken = pivots(g, wanted)
        n_pair, n_channels = sum(many["n2"][s]), len(shape["n2"][s])
        alpha = [c for channel in taken[:n_channels] for c in channel]
        triplet = [c - n_pair for channel in taken[n_channels:] for c in channel]
        theta[model.slices[f"msr.{symbol}.alpha"]] = drawn.tensors[f"msr.{symbol}.alpha"][alpha]
        theta[model.slices[f"msr.{symbol}.triplet"]] = drawn.tensors[f"msr.{symbol}.triplet"][triplet].ravel()
    return model.replace(theta=theta)


def pivots(g, wanted):
    """Columns of g [n][m] that are as independent as can be had, by group: [[column, ...], ...].

    Group k owns the next N_CANDIDATES * wanted[k] columns and gives wanted[k]. Greedy: of the groups not yet full, the
    column with the largest standardised part that those taken do not explain.
    """
    group = np.repeat(np.arange(len(wanted)), N_CANDIDATES * np.array(wanted, dtype=int))
    left, taken, spread = np.array(wanted), [[] for _ in wanted], g.std(axis=0)
    rest = (g - g.mean(axis=0)) / np.maximum(spread, SMALLEST)
    free = np.ones(len(group), dtype=bool)
    while left.any():
        size = np.where(free & (left[group] > 0), (rest * rest).sum(axis=0), -1.0)
        best = int(np.argmax(size))
        free[best] = False
        left[group[best]] -= 1
        taken[group[best]].append(best)
        if size[best] > 0:
            rest = rest - np.outer(rest[:, best], rest[:, best] @ rest) / size[best]
    return taken
