"""bench/sanitize_gpu.py: its case launches every kernel, and it is skipped with a reason without a GPU."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nnpcore.gpu import sources

SCRIPT = Path(__file__).parent.parent.parent / "bench" / "sanitize_gpu.py"
ELSEWHERE = {"nnp_peak_fma", "nnp_bp_sizes"}  # of bench_gpu.py, of tests


def test_the_case_launches_every_kernel(emulated):
    spec = importlib.util.spec_from_file_location("sanitize_gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = []
    module.case("float32", lines.append)
    assert len(lines) == 6 and not any("nan" in line for line in lines)
    text = "".join((sources.root() / file).read_text() for file in sources.files())
    wanted = set(re.findall(r"NNP_KERNEL\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)", text)) - ELSEWHERE
    assert wanted - set(emulated.launches) == set()


def test_without_a_device_it_is_skipped():
    if importlib.util.find_spec("cupy"):
        pytest.skip("CuPy is here")
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, cwd=SCRIPT.parents[1])
    assert done.returncode == 0 and "skipped" in done.stdout and "needs CuPy" in done.stdout
