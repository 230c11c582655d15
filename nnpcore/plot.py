"""Figures: learning curves, parity, radial distribution functions, pair functions. Matplotlib is imported here only.

Every function returns a matplotlib Figure that belongs to no window; available() tells whether there is matplotlib.
"""

import numpy as np

from .units import GPA


def available():
    """Whether matplotlib can be imported."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def _figure(n_columns=1, width=4.2, height=3.2):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n_columns, height), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(1, n_columns))


def learning_curves(history):
    """Loss, force and energy error against the epoch. history: rows of metrics.csv, [{column: number}]."""
    figure, axes = _figure(3)
    epoch = [row["epoch[1]"] for row in history]
    panels = (
        ("loss", {"train": "train_loss[1]", "validation": "valid_loss[1]"}),
        ("force error (meV/Å)", {"RMSE": "valid_rmse_force[meV/A]", "MAE": "valid_mae_force[meV/A]"}),
        ("energy error (meV/atom)", {"RMSE": "valid_rmse_energy[meV/atom]", "MAE": "valid_mae_energy[meV/atom]"}),
    )
    for ax, (title, curves) in zip(axes, panels, strict=True):
        for label, column in curves.items():
            values = np.array([row[column] for row in history])
            if np.isfinite(values).any():
                ax.plot(epoch, values, label=label, lw=1.2)
        ax.set(xlabel="epoch", ylabel=title, yscale="log")
        ax.legend(frameon=False)
    return figure


def parity(sets, max_points=20000):
    """Predicted against labelled energy per atom, force component and stress component.

    sets: {name: arrays of parity_NAME.npz}. Of more than max_points points every k-th is drawn.
    """
    panels = [
        ("energy (eV/atom)", lambda a, p: a[f"{p}energy"] / a["size"]),
        ("force (eV/Å)", lambda a, p: a[f"{p}forces"].ravel()),
    ]
    if any(np.isfinite(a["stress"]).any() for a in sets.values()):
        panels.append(("stress (GPa)", lambda a, p: a[f"{p}stress"].ravel() * GPA))
    figure, axes = _figure(len(panels), height=3.6)
    for ax, (title, values) in zip(axes, panels, strict=True):
        for name, arrays in sets.items():
            x, y = values(arrays, ""), values(arrays, "predicted_")
            known = np.isfinite(x) & np.isfinite(y)
            step = max(1, int(known.sum()) // max_points)
            ax.plot(x[known][::step], y[known][::step], ".", ms=2, label=name, rasterized=True)
        ax.axline((0, 0) if "energy" not in title else (ax.get_xlim()[0],) * 2, slope=1, color="0.3", lw=0.8)
        ax.set(xlabel=f"label: {title}", ylabel=f"model: {title}")
        ax.legend(frameon=False, markerscale=4)
    return figure


def rdf_pair(r, curves, title=""):
    """g(r) of several sources in one panel. r [n] A; curves {label: g [n]}."""
    figure, (ax,) = _figure(1)
    for k, (label, g) in enumerate(curves.items()):
        ax.plot(r, g, label=label, lw=1.4, ls="-" if k == 0 else "--")
    ax.axhline(1.0, color="0.7", lw=0.6)
    ax.set(xlabel="r (Å)", ylabel="g(r)", title=title)
    ax.legend(frameon=False)
    return figure


def rdf_stack(panels, shift=1.0):
    """g(r) of several liquids above each other: panels [(name, r [n] A, {label: g [n]})], each shifted up by shift."""
    figure, (ax,) = _figure(1, 6.4, 4.6)
    styles = ({"color": "0.25", "lw": 2.2}, {"color": "tab:red", "lw": 1.2, "ls": "--"})
    for k, (name, r, curves) in enumerate(panels):
        for (label, g), style in zip(curves.items(), styles, strict=False):
            ax.plot(r, g + k * shift, label=label if k == 0 else None, **style)
        ax.text(r[-1], 1.08 + k * shift, name, ha="right", fontsize=8)
    ax.set(xlabel="r (Å)", ylabel="g(r), shifted", xlim=(2.2, None), ylim=(0, None))
    ax.legend(frameon=False, loc="upper right")
    return figure


def pair_functions(model, n_points=200):
    """Learned 2-body functions x(r) exp(alpha x(r)) of an MSR model, one panel a centre species, colours by partner.

    x(r) = [1 + cos(pi r/rc)]/2, J. Chem. Phys. 158, 104501 (2023); the short-range branch of rs > 0 is not drawn.
    """
    spec = model.metadata["msr"]
    r = np.linspace(max(spec["rs"], 0.25 * spec["rc"]), spec["rc"], n_points)
    x = 0.5 * (1.0 + np.cos(np.pi * r / spec["rc"]))
    figure, axes = _figure(len(model.species))
    for s, (ax, symbol) in enumerate(zip(axes, model.species, strict=True)):
        alpha, start = model.tensors[f"msr.{symbol}.alpha"], 0
        for t, partner in enumerate(model.species):
            for k, a in enumerate(alpha[start : start + spec["n2"][s][t]]):
                y = x * np.exp(a * x)
                ax.plot(r, y / y.max(), color=f"C{t}", lw=1, label=f"{symbol}-{partner}" if k == 0 else None)
            start += spec["n2"][s][t]
        ax.set(xlabel="r (Å)", ylabel="2-body function / its maximum")
        ax.legend(frameon=False)
    return figure
