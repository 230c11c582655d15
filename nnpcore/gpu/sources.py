"""Kernel sources as one text each: local includes are put in, so that a compiled kernel depends on its text alone.

CuPy keeps compiled kernels by a key that does not see what `#include` brings in; with the includes expanded the key is
the text. `#line` directives keep the compiler's errors at the file and line that a person would open.
"""

import re
from pathlib import Path

from ..sources import folder

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(?:"([^"]+)"|<[^>]+>)[^\n]*$', re.M)
_KERNEL = re.compile(r"^NNP_KERNEL\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(", re.M)


def root():
    """Folder of the kernels' sources, csrc. Raises FileNotFoundError."""
    return folder()


def files():
    """Names of all kernel files, as expand() takes them."""
    return sorted(f"cuda/{path.name}" for path in (root() / "cuda").glob("*.cu"))


def _find(name, includer, base):
    """Path of an included file: beside its includer, else from csrc."""
    for path in (includer.parent / name, base / name):
        if path.is_file():
            return path.resolve()
    raise FileNotFoundError(f"{includer}: includes {name!r}, which is not in {base}")


def expand(name, base=None):
    """Text of csrc/name with every local include replaced by the file's text, each once, and system includes left
    out: the compilers of kernels bring what those declare. Raises FileNotFoundError."""
    base = Path(base or root()).resolve()
    return _expand(base / name, base, set())


def _expand(path, base, seen):
    seen.add(path)
    shown = path.relative_to(base).as_posix()
    text = path.read_text(encoding="utf-8")
    out, line, position = [f'#line 1 "{shown}"\n'], 1, 0
    for match in _INCLUDE.finditer(text):
        out.append(text[position : match.start()])
        line += text.count("\n", position, match.start())
        position = match.end()
        if match[1] is not None:
            inner = _find(match[1], path, base)
            if inner not in seen:
                out.append(_expand(inner, base, seen) + "\n")
        out.append(f'#line {line} "{shown}"\n' if out[-1].endswith("\n") else "")
    out.append(text[position:])
    return "".join(out)


def kernels(text):
    """Names of the kernels in a source text."""
    return _KERNEL.findall(text)
