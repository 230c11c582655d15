"""What the demo says at its end: a summary as text, report.html, PNGs."""

import sys

import numpy as np

from . import plot
from .demo_metrics import slug
from .evaluate import Labels
from .report import Report

GOALS = {"energy": 1.0, "force": 10.0, "trained": 0.05, "untrained": 0.08, "crystal": 5.0}


def write(demo):
    """report.html and, with matplotlib, the figures as files of their own."""
    metrics = demo.metrics()
    report = Report("nnpcore demo: mW water learned by a neural network")
    report.text(
        f"Reference: the mW model. Network: 5 + 5 MSR fingerprints, 25-25, {demo.model.n_parameters} parameters, "
        f"trained on {len(demo.train)} frames of {demo.plan.n_train} molecules. Seed {demo.seed}"
        f"{', quick: too small to be accurate' if demo.quick else ''}. {_wall(metrics)}"
    )
    for warning in demo.warnings:
        report.text(f"Warning: {warning}")
    report.heading(f"Errors on unseen frames of {demo.plan.n_test} molecules")
    report.errors(demo.table["trained"])
    report.text("Densities and temperatures that the training did not have:")
    report.errors(demo.table["untrained"])
    report.heading("Molecular dynamics, network against mW")
    report.text(
        f"NVT, {demo.plan.n_test} molecules; g(r) in bins of {demo.plan.bin_width} A. "
        "Errors: one standard error, by blocking."
    )
    report.table(*_liquid_rows(demo, metrics))
    report.heading("Crystals, which the training did not have")
    report.table(*_crystal_rows(metrics))
    report.heading("Figures")
    if plot.available():
        for name, caption, make, args in figures(demo):
            report.figure(make, *args, caption=caption, path=demo.folder / f"{name}.png")
    else:
        report.text("Figures need matplotlib: pip install nnpcore[plot]")
        print("no figures: matplotlib is not installed (pip install nnpcore[plot])", file=sys.stderr)
    report.write(demo.folder / "report.html")


def figures(demo):
    """[(file name, caption, function of plot, its arguments)]"""
    found = [
        ("learning_curve", "Errors on the validation frames during training.", plot.learning_curves, (demo.history,))
    ]
    found.append(("parity", "Network against mW, unseen frames.", plot.parity, (parity_sets(demo),)))
    found.append(("pair_functions", "The learned 2-body functions.", plot.pair_functions, (demo.model,)))
    panels = []
    for point in demo.reference:
        a, b = demo.reference[point], demo.network[point]
        if a.g is not None and b.g is not None:
            panels.append((point, a.r, {"mW": a.g, "network": b.g}))
    if panels:
        found.append(("rdf", "g(r) of all liquids, shifted by 1 each.", plot.rdf_stack, (panels,)))
    for point, r, curves in panels:
        found.append((f"rdf_{slug(point)}", point, plot.rdf_pair, (r, curves, point)))
    return found


def parity_sets(demo):
    """{name: arrays as plot.parity() wants them}"""
    sets = {}
    for name, (frames, predicted) in demo.parity.items():
        labels = Labels(frames)
        arrays = {"size": labels.size, "energy": labels.energy, "forces": labels.forces, "stress": labels.stress}
        names = ("predicted_energy", "predicted_forces", "predicted_stress")
        sets[name] = {**arrays, **dict(zip(names, predicted, strict=True))}
    return sets


def _liquid_rows(demo, metrics):
    header = ["state point", "trained", "max |Δg|", "±", "E mW (meV)", "E network", "±", "P mW (GPa)", "P network", "±"]
    rows = []
    for name, point in metrics["state_points"].items():
        e, p = metrics["energy_meV_per_molecule"][name], metrics["pressure_GPa"][name]
        row = [name, "yes" if point["trained"] else "no"]
        row += [metrics["rdf_max_difference"][name], metrics["rdf_max_difference_error"][name]]
        for q in (e, p):
            row += [q["mW"]["mean"], q["network"]["mean"], q["difference"]["error"]]
        rows.append(row)
    return header, rows


def _crystal_rows(metrics):
    header = ["crystal", "mW (eV)", "network − mW (meV)", "both relaxed (meV)", "mW (g/cm3)", "network (g/cm3)"]
    keys = ("mW_eV", "error_meV", "relaxed_error_meV", "mW_density", "network_density")
    return header, [[name, *(row[key] for key in keys)] for name, row in metrics["crystals"].items()]


def _wall(metrics):
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in metrics["wall_seconds"].items())
    return f"Wall time: {parts}."


def summary(metrics):
    """Text for the terminal, one line a figure of merit, with the figure that a full run should reach."""

    def worst(table):
        values = [np.nan if v is None else abs(v) for v in table.values()]
        return f"{np.max(values):.3g}"

    def of(table, trained):
        return {k: v for k, v in table.items() if metrics["state_points"][k]["trained"] == trained}

    g = metrics["rdf_max_difference"]
    figures_of_merit = [
        ("energy, unseen frames", metrics["energy_rmse_meV_per_atom"], "meV/atom RMSE", "energy"),
        ("forces, unseen frames", metrics["force_rmse_meV_per_A"], "meV/A RMSE", "force"),
        ("g(r), trained densities", of(g, True), "largest difference", "trained"),
        ("g(r), untrained densities", of(g, False), "largest difference", "untrained"),
        ("crystals", metrics["crystal_energy_error_meV"], "meV/molecule", "crystal"),
    ]
    lines = [
        *(f"{what:<26} {worst(table):>7} {unit} (goal {GOALS[key]:g})" for what, table, unit, key in figures_of_merit),
        *(f"warning: {text}" for text in metrics["warnings"]),
        _wall(metrics),
    ]
    return "\n".join(lines)
