"""Numbers of the demo's metrics.json, and g(r) as CSV."""

import io
import os
import platform

import msgspec
import numpy as np

from . import __version__, _core
from .checkpoint import write_atomic

ERRORS = {"energy_rmse_meV_per_atom": "rmse_energy[meV/atom]", "force_rmse_meV_per_A": "rmse_force[meV/A]"}
LIQUIDS = (
    "rdf_max_difference",
    "rdf_max_difference_error",
    "rdf_max_difference_r_A",
    "energy_meV_per_molecule",
    "pressure_GPa",
)


def errors_by_state(table, column):
    """{state point: error} of a table of evaluate.by_config_type(), with "total"."""
    return {name: row[column] for name, row in table.items()}


def compare(reference, network):
    """The LIQUIDS numbers of two Samples; the error of the largest difference is that of its bin."""
    row = {
        "energy_meV_per_molecule": _pair([1e3 * x for x in reference.energy], [1e3 * x for x in network.energy]),
        "pressure_GPa": _pair(reference.pressure, network.pressure),
    }
    if reference.g is None or network.g is None:
        return {**row, **dict.fromkeys(LIQUIDS[:3], float("nan"))}
    difference = np.abs(network.g - reference.g)
    k = int(difference.argmax())
    error = float(np.hypot(reference.g_error[k], network.g_error[k]))
    return {**row, **dict(zip(LIQUIDS, (float(difference[k]), error, float(reference.r[k])), strict=False))}


def _pair(reference, network):
    difference = network[0] - reference[0], float(np.hypot(reference[1], network[1]))
    entries = {"mW": reference, "network": network, "difference": difference}
    return {key: {"mean": value[0], "error": value[1]} for key, value in entries.items()}


def settings_table(settings):
    """A config struct as nested dicts."""
    return msgspec.to_builtins(settings)


def versions():
    """What ran."""
    return {"nnpcore": __version__, "numpy": np.__version__, "python": platform.python_version()}


def machine():
    """Where it ran; cores are those this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"system": platform.platform(), "processor": platform.machine(), "cores": cores, "isa": _core.isa()}


def write_rdf(path, reference, network):
    """r, g(r) and errors of both potentials as CSV."""
    columns = {"r[A]": (reference.r if reference.r is not None else network.r)}
    for name, sample in (("mW", reference), ("network", network)):
        if sample.g is not None:
            columns |= {f"g_{name}": sample.g, f"g_{name}_error": sample.g_error}
    text = io.StringIO()
    np.savetxt(text, np.column_stack(list(columns.values())), fmt="%.6g", delimiter=",")
    write_atomic(path, (",".join(columns) + "\n" + text.getvalue()).encode())


def slug(name):
    """A state point's name as part of a file name."""
    return name.replace("/", "_").replace(" ", "_")
