"""NVRTC takes exactly the text and the options that CuPy's RawModule gets; registers, stack and spills stay in budget.

Newest compiler found, sm_90; NNPCORE_NVRTC=all: every compiler found, sm_75 to sm_120.
"""

import hashlib
import json
import os
import re

import emulator
import nvrtc
import pytest

from nnpcore.gpu import backend, sources

LIBRARIES = nvrtc.libraries()
EVERYTHING = os.environ.get("NNPCORE_NVRTC") == "all"
ARCHITECTURES = [75, 80, 90, 100, 120] if EVERYTHING else [90]
VERSIONS = sorted(LIBRARIES, key=int)[0 if EVERYTHING else -1 :]
ALWAYS_DOUBLE = ("cuda/neigh.cu", "cuda/md.cu")  # launched as float64 whatever the model's precision is
MOST_REGISTERS = {"float32": 128, "float64": 168}
MORE_REGISTERS = {"cuda/bp.cu": {"float32": 168, "float64": 255}}  # fewer blocks from sm_100 on: no spills

needs_nvrtc = pytest.mark.skipif(not LIBRARIES, reason="no NVRTC: pip install nnpcore[gpu-test]")


def builds():
    return [(file, p) for file in sources.files() for p in backend.BITS if p == "float64" or file not in ALWAYS_DOUBLE]


def log_of(version, architecture, file, precision):
    """The compiler's log, kept under build/emu by all that it depends on."""
    text = sources.expand(file)
    options = (*backend.flags(precision), *nvrtc.CUPY_ADDS, "--ptxas-options=-v")
    key = hashlib.sha256("\0".join([str(LIBRARIES[version]), str(architecture), text, *options]).encode()).hexdigest()
    path = emulator.BUILD / f"nvrtc_{key[:16]}.json"
    if not path.exists():
        _, log = nvrtc.Nvrtc(LIBRARIES[version]).compile(text, file, architecture, options)
        emulator.BUILD.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(log))
    return text, json.loads(path.read_text())


@needs_nvrtc
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("file", "precision"), builds())
def test_compiles_within_budget(version, architecture, file, precision):
    text, log = log_of(version, architecture, file, precision)
    assert "warning" not in log, log
    found = nvrtc.resources(log)
    assert sorted(found) == sorted(sources.kernels(text))
    for kernel, (registers, stack, spills) in found.items():
        assert (stack, spills) == (0, 0), kernel
        assert registers <= MORE_REGISTERS.get(file, MOST_REGISTERS)[precision], kernel


@needs_nvrtc
@pytest.mark.parametrize("file", ["cuda/sw.cu", "cuda/pairpot.cu"])
def test_float32_computes_nothing_in_double(file):
    """Positions are subtracted, energies converted and added in double; nothing is multiplied or divided."""
    options = (*backend.flags("float32"), *nvrtc.CUPY_ADDS)
    ptx, _ = nvrtc.Nvrtc(LIBRARIES[VERSIONS[-1]]).compile(sources.expand(file), file, 90, options, "compute")
    assert re.findall(r"\b(?:mul|fma|div|sqrt|rcp)\b[\w.]*f64[^\n]*", ptx.decode()) == []


@needs_nvrtc
def test_errors_name_the_file_that_a_person_would_open():
    header = (sources.root() / "math" / "sw.h").read_text().splitlines()
    line = next(k for k, row in enumerate(header, 1) if "*g = e3;" in row)
    text = sources.expand("cuda/sw.cu").replace("*g = e3;", "*g = e33;")
    with pytest.raises(RuntimeError, match=rf'math/sw\.h\({line}\): error: identifier "e33"'):
        nvrtc.Nvrtc(LIBRARIES[VERSIONS[-1]]).compile(text, "cuda/sw.cu", 90, backend.flags("float32"))


def test_sources_have_no_includes_left_and_depend_on_every_header():
    for file in sources.files():
        text = sources.expand(file)
        assert not re.search(r"^\s*#\s*include", text, re.M)
        assert sources.kernels(text), file
        assert text.count("#ifndef NNP_CONFIG_H") == 1
