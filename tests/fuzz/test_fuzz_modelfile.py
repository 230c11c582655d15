"""Builds fuzz_modelfile.c, with sanitizers where the compiler has them, and runs a short round of it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from reference.systems import bp_case

import nnpcore as nnp

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ["tests/fuzz/fuzz_modelfile.c"] + [
    f"csrc/{name}.c" for name in ("model", "modelfile", "modelmeta", "bp", "bp_rows", "bpmeta", "json", "error")
]
BP_FUNCTIONS = [
    {"type": 2, "partners": ["O"], "eta": 0.4, "rc": 4.0},
    {"type": 3, "partners": ["O", "O"], "eta": 0.1, "lambda": 1, "zeta": 2.5, "rc": 4.0},
    {"type": 9, "partners": ["O", "O"], "eta": 0.1, "lambda": -1, "zeta": 16, "rc": 4.0},
    {"type": 25, "r_low": 0.5, "r_high": 4.0, "theta_left": 0, "theta_right": 90, "subtype": "p2"},
]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def build(folder):
    compiler = os.environ.get("CC", "cc")
    if not shutil.which(compiler):
        pytest.skip(f"no C compiler {compiler!r}")
    if not (ROOT / SOURCES[0]).exists() or not (ROOT / "csrc/json.c").exists():
        pytest.skip("no C sources beside the tests")
    program = folder / "fuzz"
    common = [
        compiler,
        "-std=gnu11",
        "-O1",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Icsrc",
        *SOURCES,
        "-o",
        str(program),
    ]
    for extra in (SANITIZERS, []):
        done = subprocess.run([*common, *extra, "-lm"], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0 and subprocess.run([program], capture_output=True, check=False).returncode == 2:
            return program
    raise AssertionError(done.stderr)


def test_mutants_and_failing_allocations(tmp_path):
    program = build(tmp_path)
    ge_te = {"rc": 5.0, "n2": [[1, 0], [0, 0]], "n3": [[0, 1, 0], [1, 0, 2]], "hidden": ()}
    seeds = {
        "msr": nnp.Model.msr(["Si"], 5.0, 4.0, n2=2, n3=1, hidden=(2,)),
        "sw": nnp.Model.stillinger_weber("mW"),
        "msr+zbl": nnp.Model.msr(["Ge", "Te"], baseline=nnp.Model.zbl(["Ge", "Te"], 0.5, 1.0), **ge_te),
        "bp": nnp.Model.bp(["O"], BP_FUNCTIONS, hidden=(2,), minimum=[[0.0] * 4], maximum=[[1.0] * 4]),
        "bp3": bp_case(3).model,
        "lj": nnp.Model.lennard_jones(["Ar", "Kr"], 0.01, 3.4, 8.0),
    }
    for name, model in seeds.items():
        model.save(tmp_path / f"{name}.nnp")
    paths = [tmp_path / f"{name}.nnp" for name in seeds]
    count = os.environ.get("NNPCORE_FUZZ", "20000")
    done = subprocess.run([program, count, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    accepted = int(done.stdout.split()[1])
    assert 0 < accepted < int(count)
