"""Lists of more than 2^31 pairs (tests/capi/far_pairs.c, far_forces.c)."""

import shutil
import subprocess

import pytest
from test_capi import CC, ENVIRONMENT, HERE, MODELS, works

from nnpcore import sources

pytestmark = pytest.mark.skipif(shutil.which(CC) is None, reason=f"no C compiler ({CC})")


@pytest.mark.parametrize(("host", "included"), [("far_pairs", "neigh_export.c"), ("far_forces", "")])
def test_offsets_beyond_2_to_the_31(host, included, tmp_path):
    """No sanitizers here: their own maps leave less room."""
    flags = ["-g", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-DNNP_BASELINE_ONLY", f"-I{sources.folder()}"]
    flags += [f for f in ("-fopenmp",) if works(tmp_path, [f])]
    files = [p for p in sorted(sources.folder().glob("*.c")) if p.name != included]
    command = [CC, *flags, *map(str, files), str(HERE / f"{host}.c"), "-lm", "-o", "far"]
    subprocess.run(command, cwd=tmp_path, check=True)
    MODELS["msr over classical"]().save(tmp_path / "model.nnp")
    done = subprocess.run(["./far", "model.nnp"], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
    if done.returncode == 77:
        pytest.skip("the system does not map 50 GB that are never touched (ulimit -v, overcommit)")
    assert done.returncode == 0, done.stderr
