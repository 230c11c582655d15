"""Build nnpcore._core: the C core and its Cython binding in one extension, with OpenMP where it works; and of the same
objects libnnpcore.so and libnnpcore.a in nnpcore/lib, with what pkg-config and CMake want, for hosts in C and Fortran.

Environment: NNPCORE_OPENMP=0 builds the serial version; NNPCORE_CFLAGS replaces "-O3 -fno-math-errno"; NNPCORE_JOBS is
the number of compilers that run at once (the processors by default).
"""

import os
import re
import shutil
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
        return [name for source in sources for name in jobs[source].result()]

    compiler.compile = compile_all


HOST_FILES = {  # of csrc or csrc/hosts -> folder in the package
    "nnpcore.h": "include",
    "nnpcore.f90": "include",
    "nnpcore.pc.in": "lib/pkgconfig",
    "nnpcoreConfig.cmake.in": "lib/cmake/nnpcore",
    "nnpcoreConfigVersion.cmake.in": "lib/cmake/nnpcore",
}


def host_values(link_flags):
    """What stands for @NAME@ in csrc/hosts/*.in."""
    header = Path("csrc/nnpcore.h").read_text()
    major, minor, patch = (re.search(rf"NNP_VERSION_{part}\s+(\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH"))
    private = [*link_flags, "-lm"]
    return {
        "VERSION": f"{major}.{minor}.{patch}",
        "MAJOR": major,
        "MINOR": minor,
        "PRIVATE": " ".join(private),
        "PRIVATE_LIST": ";".join(private),
    }


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

    def build_extension(self, extension):
        super().build_extension(extension)
        sources = [source for source in extension.sources if source.startswith("csrc")]
        objects = self.compiler.object_filenames(sources, output_dir=self.build_temp)
        if not all(map(os.path.exists, objects)):  # the extension was up to date, the build folder was cleaned
            self.force = True
            super().build_extension(extension)
        self.build_library(objects, extension.extra_link_args)

    def build_library(self, objects, link_flags):
        """nnpcore/include and nnpcore/lib beside the extension; the objects export what nnpcore.h declares alone."""
        package = Path(self.get_ext_fullpath("nnpcore._core")).parent
        lib, values = package / "lib", host_values(link_flags)
        for name, folder in HOST_FILES.items():
            target = package / folder / name.removesuffix(".in")
            target.parent.mkdir(parents=True, exist_ok=True)
            source = Path("csrc/nnpcore.h" if name == "nnpcore.h" else f"csrc/hosts/{name}")
            target.write_text(re.sub(r"@(\w+)@", lambda m: values[m[1]], source.read_text()))
        (lib / "libnnpcore.a").unlink(missing_ok=True)  # ar adds to an archive that exists
        self.compiler.create_static_lib(objects, "nnpcore", output_dir=str(lib))
        if sys.platform != "darwin":  # Python links bundles there, which programs cannot link to
            soname = ["-Wl,-soname,libnnpcore.so", "-lm"]
            self.compiler.link_shared_object(objects, str(lib / "libnnpcore.so"), extra_postargs=link_flags + soname)

    def copy_extensions_to_source(self):  # in-place and editable builds
        super().copy_extensions_to_source()
        package = self.get_finalized_command("build_py").get_package_dir("nnpcore")
        for folder in ("include", "lib"):
            shutil.copytree(Path(self.build_lib, "nnpcore", folder), Path(package, folder), dirs_exist_ok=True)

    def get_outputs(self):
        package = Path(self.get_ext_fullpath("nnpcore._core")).parent
        made = [package / folder / name.removesuffix(".in") for name, folder in HOST_FILES.items()]
        made += [package / "lib" / "libnnpcore.a"] + [package / "lib" / "libnnpcore.so"] * (sys.platform != "darwin")
        return super().get_outputs() + [str(path) for path in made]


core = Extension(
    "nnpcore._core",
    ["nnpcore/_core.pyx", *sorted(str(p) for p in Path("csrc").glob("*.c"))],
    include_dirs=["csrc"],
    depends=sorted(str(p) for p in [*Path("csrc").rglob("*.h"), *Path("nnpcore").glob("*.pxi")]),
    extra_compile_args=[*os.environ.get("NNPCORE_CFLAGS", "-O3 -fno-math-errno").split(), "-fvisibility=hidden"],
)

setup(
    packages=["nnpcore", "nnpcore.csrc", "nnpcore.gpu"],
    package_dir={"nnpcore.csrc": "csrc"},
    package_data={
        "nnpcore": ["bench_*.c", "mw_msr.nnp"],
        "nnpcore.csrc": ["*.h", "*.c", "math/*.h", "cuda/*.cu*", "hosts/*", "lammps/*"],
    },
    ext_modules=cythonize([core], compiler_directives={"language_level": 3}),
    cmdclass={"build_ext": BuildExt},
    zip_safe=False,
)
