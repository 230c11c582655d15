"""Where the C core's sources lie, for hosts that compile against it: `python -m nnpcore.sources` prints the folder."""

from pathlib import Path


def folder():
    """Path of csrc: nnpcore.h, the public header, and all *.c of the core. Raises FileNotFoundError.

    In an installed package it is nnpcore/csrc, in a checkout or an editable installation csrc beside nnpcore.
    """
    package = Path(__file__).resolve().parent
    for path in (package / "csrc", package.parent / "csrc"):
        if (path / "nnpcore.h").is_file():
            return path
    raise FileNotFoundError(f"{package / 'csrc'}: the C sources are not in this installation")


if __name__ == "__main__":
    print(folder())
