"""Every allocation of the core fails once (tests/capi/failing.c): an error, nothing leaks, and the next call works."""

import shutil
import subprocess

import pytest
from test_capi import CC, ENVIRONMENT, HERE, MODELS, SANITIZE, works

from nnpcore import Model, sources

WRAP = ["-Wl,--wrap=malloc,--wrap=calloc,--wrap=aligned_alloc,--wrap=free"]
WRAPPED = "#include <stdlib.h>\nvoid* __wrap_malloc(size_t n) { return n ? NULL : NULL; }\n" + (
    "int main(void) { return malloc(3) != NULL; }\n"
)

pytestmark = pytest.mark.skipif(shutil.which(CC) is None, reason=f"no C compiler ({CC})")


def test_every_allocation_fails_once(tmp_path):
    if not works(tmp_path, ["-Wl,--wrap=malloc"], WRAPPED):
        pytest.skip("the linker has no --wrap")
    flags = ["-g", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-DNNP_BASELINE_ONLY", f"-I{sources.folder()}"]
    flags += [f for f in ("-fopenmp",) if works(tmp_path, [f])]
    flags += SANITIZE if works(tmp_path, SANITIZE) else []
    files = [*sorted(sources.folder().glob("*.c")), HERE / "failing.c"]
    subprocess.run([CC, *flags, *map(str, files), *WRAP, "-lm", "-o", "failing"], cwd=tmp_path, check=True)
    radial = {"type": 2, "partners": ["O"], "rc": 4.5, "eta": 0.2}
    angular = {"type": 9, "partners": ["O", "O"], "rc": 4.0, "eta": 0.1, "lambda": 1, "zeta": 2}
    for model in (MODELS["msr"](), Model.bp(["O"], [radial, angular], hidden=[6, 5])):
        model.save(tmp_path / "model.nnp")
        command = ["./failing", "model.nnp"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        counts = {name: int(n) for name, n in map(str.split, done.stdout.splitlines())}
        least = {"load": 10, "compute": 50, "host_list": 10, "neighbours": 20, "dynamics": 50, "training": 50}
        assert all(counts[name] > n for name, n in {**least, "filtering": 4}.items()), counts
