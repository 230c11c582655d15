"""Build nnpcore._core: the C core and its Cython binding in one extension, with OpenMP where it works.

Environment: NNPCORE_OPENMP=0 builds the serial version; NNPCORE_CFLAGS replaces "-O3 -fno-math-errno"; NNPCORE_JOBS is
the number of compilers that run at once (the processors by default).
"""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

OPENMP_TEST = r"""
#include <omp.h>
#include <stdio.h>
int main(void) {
    int n = 0;
#pragma omp parallel
    {
#pragma omp atomic
        n++;
    }
    printf("%d %d\n", n, omp_get_max_threads());
    return 0;
}
"""


def openmp_flags(compiler):
    """(compile flags, link flags) that enable OpenMP, ([], []) if a test program does not run with it."""
    if os.environ.get("NNPCORE_OPENMP", "1") == "0":
        return [], []
    if sys.platform == "darwin":
        candidates = [(["-Xpreprocessor", "-fopenmp"], ["-lomp"]), (["-fopenmp"], ["-fopenmp"])]
    else:
        candidates = [(["-fopenmp"], ["-fopenmp"])]
    for compile_flags, link_flags in candidates:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "omp.c")
            source.write_text(OPENMP_TEST)
            try:
                objects = compiler.compile([str(source)], output_dir=folder, extra_postargs=compile_flags)
                compiler.link_executable(objects, "omp", output_dir=folder, extra_postargs=link_flags)
                out = subprocess.run([str(Path(folder, "omp"))], capture_output=True, check=True).stdout.split()
            except Exception as error:
                print(f"nnpcore: OpenMP test with {compile_flags} failed: {error}", file=sys.stderr)
                continue
            if out[0] == out[1]:
                return compile_flags, link_flags
    return [], []


def compile_in_parallel(compiler):
    """Let compiler.compile() run one compiler a source at once: the kernels_*.c take nearly all the time."""
    compile_some = compiler.compile
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

    def compile_all(sources, *args, **kwargs):
        with ThreadPoolExecutor(int(os.environ.get("NNPCORE_JOBS") or processors or 1)) as pool:
            slow_first = sorted(sources, key=lambda source: "kernels_" not in source)
            jobs = {source: pool.submit(compile_some, [source], *args, **kwargs) for source in slow_first}
        objects = [name for source in sources for name in jobs[source].result()]
        compiler.core_objects = [name for name in objects if "csrc" in Path(name).parts]
        return objects

    compiler.compile = compile_all


class BuildExt(build_ext):
    """build_ext that adds OpenMP flags once the compiler is known; says so when it builds serially."""

    def build_extensions(self):
        compile_flags, link_flags = openmp_flags(self.compiler)
        if not compile_flags:
            print("nnpcore: building the serial version (no OpenMP)", file=sys.stderr)
            compile_flags = ["-Wno-unknown-pragmas"]
        for extension in self.extensions:
            extension.extra_compile_args += compile_flags
            extension.extra_link_args += link_flags
        compile_in_parallel(self.compiler)
        super().build_extensions()
        self.archive_core()

    def archive_core(self):
        """nnpcore/libnnpcore.a: the C core once more, for plugins that are compiled later (nnpcore/lammps.py)."""
        objects = getattr(self.compiler, "core_objects", None)
        if objects:
            folder = Path(self.get_ext_fullpath("nnpcore._core")).parent
            self.compiler.create_static_lib(objects, "nnpcore", output_dir=str(folder))

    def copy_extensions_to_source(self):
        """In place: the archive as well."""
        super().copy_extensions_to_source()
        archive = Path(self.build_lib, "nnpcore", "libnnpcore.a")
        if archive.is_file():
            self.copy_file(str(archive), "nnpcore/libnnpcore.a")


core = Extension(
    "nnpcore._core",
    ["nnpcore/_core.pyx", *sorted(str(p) for p in Path("csrc").glob("*.c"))],
    include_dirs=["csrc"],
    depends=sorted(str(p) for p in [*Path("csrc").rglob("*.h"), *Path("nnpcore").glob("*.pxi")]),
    extra_compile_args=[*os.environ.get("NNPCORE_CFLAGS", "-O3 -fno-math-errno").split(), "-fvisibility=hidden"],
)

setup(
    packages=["nnpcore", "nnpcore.csrc"],
    package_dir={"nnpcore.csrc": "csrc"},
    package_data={
        "nnpcore": ["bench_peak.c", "mw_msr.nnp"],
        "nnpcore.csrc": ["*.h", "*.c", "math/*.h", "cuda/*.cu", "lammps/*"],
    },
    ext_modules=cythonize([core], compiler_directives={"language_level": 3}),
    cmdclass={"build_ext": BuildExt},
    zip_safe=False,
)
