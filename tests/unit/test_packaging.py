"""What an installation carries: the C sources, one version everywhere."""

import contextlib
import re
from importlib import metadata

import nnpcore
from nnpcore import _core, sources


def test_sources_are_found_and_whole():
    folder = sources.folder()
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*.[ch]")}
    assert {"nnpcore.h", "neigh.c", "kernels_f64_avx2.c", "kernels_impl.h", "nnp_config.h"} <= names
    included = set()
    for name in names:
        text = (folder / name).read_text()
        included |= set(re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.M))
    assert included
    assert [name for name in included if name not in names and f"math/{name}" not in names] == []


def test_one_version():
    header = (sources.folder() / "nnpcore.h").read_text()
    numbers = [re.search(rf"NNP_VERSION_{part}\s+(\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH")]
    assert ".".join(numbers) == nnpcore.__version__
    assert _core.version() == int(numbers[0]) * 10000 + int(numbers[1]) * 100 + int(numbers[2])
    with contextlib.suppress(metadata.PackageNotFoundError):  # a checkout on PYTHONPATH
        assert metadata.version("nnpcore") == nnpcore.__version__
