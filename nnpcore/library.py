"""Where the C library of this installation lies: `python -m nnpcore.library --cflags --libs`; docs/hosts.md."""

import argparse
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def _existing(path):
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: not in this installation: pip install nnpcore; in a checkout python setup.py build_ext --inplace"
        )
    return path


def get_include():
    """Folder (str) with nnpcore.h, and nnpcore.f90 for Fortran, alone. Raises FileNotFoundError."""
    return str(_existing(PACKAGE / "include" / "nnpcore.h").parent)


def get_library(static=False):
    """Path (str) of libnnpcore.so, or of libnnpcore.a. Raises FileNotFoundError.

    The shared one needs only -lnnpcore (and a run path); the static one what get_static_flags() says besides.
    """
    return str(_existing(PACKAGE / "lib" / ("libnnpcore.a" if static else "libnnpcore.so")))


def get_static_flags():
    """What a program needs to link besides libnnpcore.a: a list of flags such as -fopenmp. Raises FileNotFoundError."""
    text = (Path(get_pkgconfig_dir()) / "nnpcore.pc").read_text()
    return next(line for line in text.splitlines() if line.startswith("Libs.private:")).split()[1:]


def get_cmake_dir():
    """Folder (str) of nnpcoreConfig.cmake: cmake -Dnnpcore_DIR=... Raises FileNotFoundError."""
    return str(_existing(PACKAGE / "lib" / "cmake" / "nnpcore" / "nnpcoreConfig.cmake").parent)


def get_pkgconfig_dir():
    """Folder (str) of nnpcore.pc, for PKG_CONFIG_PATH. Raises FileNotFoundError."""
    return str(_existing(PACKAGE / "lib" / "pkgconfig" / "nnpcore.pc").parent)


def _libs(static):
    if static:
        return " ".join([get_library(static=True), *get_static_flags()])
    folder = Path(get_library()).parent
    return f"-L{folder} -lnnpcore -Wl,-rpath,{folder}"


def main(argv=None):
    """Print what is asked for on one line, in the order below."""
    parser = argparse.ArgumentParser(prog="python -m nnpcore.library", description=__doc__.split(":")[0])
    texts = {
        "cflags": "compiler flags",
        "libs": "linker flags of the shared library, with a run path",
        "static": "linker flags of the static library",
        "include": "folder of nnpcore.h and nnpcore.f90",
        "library": "path of the shared library",
        "cmake": "folder for -Dnnpcore_DIR",
        "pkgconfig": "folder for PKG_CONFIG_PATH",
    }
    for name, text in texts.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    args = parser.parse_args(argv)
    made = {
        "cflags": lambda: f"-I{get_include()}",
        "libs": lambda: _libs(static=False),
        "static": lambda: _libs(static=True),
        "include": get_include,
        "library": get_library,
        "cmake": get_cmake_dir,
        "pkgconfig": get_pkgconfig_dir,
    }
    wanted = [name for name in texts if getattr(args, name)]
    if not wanted:
        parser.error(f"one or more of {', '.join('--' + name for name in texts)}")
    try:
        print(" ".join(made[name]() for name in wanted))
    except FileNotFoundError as error:
        parser.exit(1, f"nnpcore.library: {error}\n")


if __name__ == "__main__":
    main()
