"""The C interface from C: headers, the whole core built by one compiler call, hosts that link it.

Built with sanitizers where they work (not under a limit of address space), and with the baseline kernels alone, which
compile fast.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import nnpcore
from nnpcore import sources

HERE = Path(__file__).parent
CC = os.environ.get("CC", "cc")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "2"}
CELL = np.array([[9.3, 0, 0], [0.4, 9.1, 0], [-0.3, 0.2, 9.5]])

pytestmark = pytest.mark.skipif(shutil.which(CC) is None, reason=f"no C compiler ({CC})")


def works(folder, flags, text="int main(void) { return 0; }\n"):
    """Whether a program built with these flags runs."""
    (folder / "probe.c").write_text(text)
    command = [CC, *flags, "probe.c", "-o", "probe"]
    if subprocess.run(command, cwd=folder, capture_output=True).returncode:
        return False
    return subprocess.run(["./probe"], cwd=folder, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """(folder with libnnpcore.so, compiler flags that a host of it needs)."""
    folder = tmp_path_factory.mktemp("core")
    flags = ["-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{sources.folder()}"]
    flags += [f for f in ("-fopenmp",) if works(folder, [f])]
    flags += SANITIZE if works(folder, SANITIZE) else []
    files = [str(p) for p in sorted(sources.folder().glob("*.c"))]
    command = [CC, *flags, "-DNNP_BASELINE_ONLY", "-fvisibility=hidden", "-shared", "-fPIC", *files, "-lm"]
    subprocess.run([*command, "-o", "libnnpcore.so"], cwd=folder, check=True)
    return folder, flags


def host(library, source, name):
    """Path of a program made of source and linked to the library."""
    folder, flags = library
    link = ["-L.", "-lnnpcore", f"-Wl,-rpath,{folder}", "-lm", "-lpthread"]
    subprocess.run([CC, *flags, str(source), *link, "-o", name], cwd=folder, check=True)
    return folder / name


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


MODELS = {
    "baseline": lambda: nnpcore.Model.stillinger_weber("mW"),
    "msr": lambda: nnpcore.Model.msr(species=["O"], rc=4.5, rc3=4.0, n2=3, n3=2, hidden=[6, 5], seed=3),
    "msr over classical": lambda: nnpcore.Model.msr(
        species=["O", "Si"],
        rc=4.5,
        n2=2,
        n3=2,
        hidden=[6],
        rs=1.5,
        seed=4,
        baseline=nnpcore.Model.zbl(["O", "Si"], 1.0, 2.5),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_host(library, tmp_path, name):
    """tests/capi/host.c finds everything as the header says, and the numbers are Python's."""
    model = MODELS[name]()
    model.save(tmp_path / "model.nnp")
    out = run([host(library, HERE / "host.c", "host"), tmp_path / "model.nnp"])
    rows = [line.split() for line in out.splitlines()]
    x, forces = (np.array([r[1:] for r in rows if r[0] == key], dtype=float) for key in ("x", "force"))
    energy = next(float(r[1]) for r in rows if r[0] == "energy")
    expected = model.compute(x, [model.species[0]] * len(x), cell=CELL)
    assert abs(energy - expected.energy) <= 1e-11 * max(1, abs(expected.energy))
    assert np.abs(forces - expected.forces).max() <= 1e-11 * max(1, np.abs(expected.forces).max())


@pytest.mark.parametrize("first, second", [("msr", "baseline"), ("baseline", "msr")])
def test_misuse(library, tmp_path, first, second):
    """tests/capi/misuse.c: NULLs, wrong sizes and lists, strangers together; threads with models of their own."""
    MODELS[first]().save(tmp_path / "a.nnp")
    MODELS[second]().save(tmp_path / "b.nnp")
    assert run([host(library, HERE / "misuse.c", "misuse"), tmp_path / "a.nnp", tmp_path / "b.nnp"]) == "good\n"


def test_example(library, tmp_path):
    """examples/host.c, where the repository is at hand: the energy of a dimer, and an error with its text."""
    source = HERE.parents[1] / "examples" / "host.c"
    if not source.exists():
        pytest.skip("no examples folder")
    program = host(library, source, "example")
    model = nnpcore.Model.stillinger_weber("mW")
    model.save(tmp_path / "mw.nnp")
    numbers = re.findall(r"(\S+) eV", run([program, tmp_path / "mw.nnp"]))
    expected = model.compute([[0, 0, 0], [0, 0, 2.8]], "O")
    assert [float(v) for v in numbers] == pytest.approx([expected.energy, expected.forces[1, 2]], rel=1e-10)
    missing = subprocess.run([program, tmp_path / "no.nnp"], capture_output=True, text=True, env=ENVIRONMENT)
    assert missing.returncode == 1 and "no.nnp" in missing.stderr


HEADERS = [("c", s) for s in ("c89", "c99", "c11", "c17")] + [("c++", s) for s in ("c++98", "c++11", "c++17", "c++20")]


@pytest.mark.parametrize("language, standard", HEADERS)
def test_header(tmp_path, language, standard):
    """The header alone, in every dialect, without a warning."""
    text = "#include <nnpcore.h>\nint f(void) { return nnp_version() + (int)NNP_ERR_MEMORY; }\n"
    (tmp_path / "a.txt").write_text(text)
    flags = ["-pedantic-errors", "-Wall", "-Wextra", "-Werror", f"-I{sources.folder()}", "-fsyntax-only"]
    if language == "c++":
        (tmp_path / "b.txt").write_text("int main() { return 0; }\n")
        if subprocess.run([CC, "-x", "c++", "-fsyntax-only", "b.txt"], cwd=tmp_path, capture_output=True).returncode:
            pytest.skip("no C++ compiler")
    subprocess.run([CC, "-x", language, f"-std={standard}", *flags, "a.txt"], cwd=tmp_path, check=True)


def test_every_declared_function_is_in_the_library(library):
    """What nnpcore.h declares is exported, and nothing else is."""
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    text = (sources.folder() / "nnpcore.h").read_text()
    declared = set(re.findall(r"^NNP_API [^;(]*?(nnp_\w+)\(", text, re.M))
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", "libnnpcore.so"], cwd=library[0], capture_output=True, text=True, check=True
    ).stdout
    exported = {line.split()[-1] for line in listing.splitlines() if line.split()[1] == "T"}
    assert len(declared) > 40
    assert {name for name in exported if not name.startswith("_")} <= declared
    assert declared - exported == set()
