"""The whole C core as one file: `python -m nnpcore.amalgamate FOLDER` writes nnpcore.c and nnpcore.h there.

cc -O3 -fopenmp -c nnpcore.c is then all it takes; -DNNP_BASELINE_ONLY leaves the AVX kernels out. The parts are those
of csrc/ in their own words, with two changes: private headers stand once at the top, and names that several parts
define for themselves get the part's name as a suffix. Headers written in nnp_real and nnp_vec, and what includes
them, mean another type in every part, and are repeated in each.
"""

import argparse
import posixpath
import re
from collections import Counter
from pathlib import Path

from .checkpoint import write_atomic
from .sources import folder as source_folder

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"[^\n]*\n', re.M)
TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)|(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<number>\.?\d[\w.]*)"""
    r"|(?P<name>[A-Za-z_]\w*)|(?P<arrow>->)|(?P<space>\s+)|(?P<other>.)",
    re.S,
)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.)*(?:\\\n(?:[^\n\\]|\\.)*)*", re.M | re.S)
DIALECT_WORDS = {"nnp_real", "nnp_vec", "nnp_mask", "NNP_REAL_BITS", "NNP_ISA", "NNP_W"}
HEAD = """\
/* nnpcore.c - all of nnpcore @VERSION@ in one file, made from csrc/ by python -m nnpcore.amalgamate; edit that instead.
 *
 *   cc -O3 -fopenmp -c nnpcore.c     (-DNNP_BASELINE_ONLY: no AVX kernels; without -fopenmp: one thread); link with -lm
 *
@LICENCE@
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized" /* gcc 12 at -O3 loses sight of what a status tells, */
#pragma GCC diagnostic ignored "-Wformat-truncation"    /* and sees how long an error text could become */
#pragma GCC diagnostic ignored "-Wpsabi"
#endif
"""
LICENCE = """\
BSD 3-Clause License

Copyright (c) 2026, the nnpcore authors

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this
   list of conditions and the following disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice,
   this list of conditions and the following disclaimer in the documentation
   and/or other materials provided with the distribution.

3. Neither the name of the copyright holder nor the names of its
   contributors may be used to endorse or promote products derived from
   this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""

STANDARD = re.compile(r"u?int\d+_t")


def tokens(text):
    return [(m.lastgroup, m[0]) for m in TOKEN.finditer(text)]


def words_of(text):
    return [value for kind, value in tokens(text) if kind == "name"]


class Source:
    """The files of csrc by name, and what includes what."""

    def __init__(self, folder):
        paths = [p for pattern in ("*.c", "*.h", "math/*.h") for p in sorted(folder.glob(pattern))]
        self.text = {p.relative_to(folder).as_posix(): p.read_text() for p in paths}
        self.dialect = {name for name, t in self.text.items() if DIALECT_WORDS & set(words_of(t))}
        self.includes = {name: [self._find(name, i) for i in INCLUDE.findall(t)] for name, t in self.text.items()}

    def _find(self, name, included):
        beside = posixpath.join(posixpath.dirname(name), included)
        return beside if beside in self.text else included

    def needs(self, name):
        """name and all that it includes, what is included first first."""
        found = []
        for included in self.includes[name]:
            found += [n for n in self.needs(included) if n not in found]
        return [*found, name]

    def repeated(self, name):
        return not self.dialect.isdisjoint(self.needs(name))

    def expanded(self, name, done):
        """Text of name with the repeated headers in place, each once; the others are at the top of the file."""

        def replace(match):
            header = self._find(name, match[1])
            if header in done or not self.repeated(header):
                return ""
            done.add(header)
            return self.expanded(header, done)

        return INCLUDE.sub(replace, self.text[name])


def private_names(text):
    """Names of a part's own at file scope: static functions and variables, types, tags, enumerators. Types of
    <stdint.h> are not its own: nnp_config.h has them for compilers of device code, which know no such header."""
    code = [t for t in tokens(DIRECTIVE.sub("", text)) if t[0] not in ("comment", "space")]
    names, start, depth, body = set(), 0, 0, None
    for place, (_, value) in enumerate(code):
        if value == "{":
            body = place if depth == 0 and body is None else body
            depth += 1
        elif value == "}":
            depth -= 1
        ends = value == ";" or (value == "}" and body is not None and code[body - 1][1] == ")")
        if depth == 0 and ends:
            names |= _declared(code[start : place + 1])
            start, body = place + 1, None
    return {name for name in names if not STANDARD.fullmatch(name)}


def _declared(code):
    """Names that one declaration or definition at file scope introduces."""
    words = [value for _, value in code]
    names = set()
    for place, word in enumerate(words):  # enumerators and tags, in a typedef too
        if word in ("struct", "union", "enum") and "{" in words[place + 1 : place + 3]:
            opening = words.index("{", place)
            names |= {words[place + 1]} if opening == place + 2 else set()
            if word == "enum":
                names |= {words[k + 1] for k in range(opening, words.index("}", opening)) if words[k] in "{,"} - {"}"}
            break
    outside = _outside(words)
    if outside[0] == "typedef":
        last = outside[outside.index("[" if "[" in outside else ";") - 1]  # of an array, or of anything but a function
        names.add(last if last != ")" else words[words.index("(") + 2])
    elif {"static", "NNP_FN", "NNP_TABLE_OF"} & set(outside) and "_Static_assert" not in outside:
        stop = min(outside.index(mark) if mark in outside else len(outside) for mark in ("(", "=", "[", ";"))
        names.add(outside[stop - 1])
    return names


def _outside(words):
    """words without what stands in braces and without attributes."""
    kept, depth, k = [], 0, 0
    while k < len(words):
        if words[k] == "__attribute__":
            level = 0
            while True:
                k += 1
                level += {"(": 1, ")": -1}.get(words[k], 0)
                if level == 0:
                    break
        elif words[k] in "{}":
            depth += 1 if words[k] == "{" else -1
        elif depth == 0:
            kept.append(words[k])
        k += 1
    return kept


def renamed(text, names, suffix):
    """text with each of the names suffixed, except where it is a member: after . or ->, or declared in a struct."""
    code, out, braces, last, before = tokens(text), [], [], "", ""
    for place, (kind, value) in enumerate(code):
        if kind == "name" and value in names and last not in (".", "->"):
            following = next((v for k, v in code[place + 1 :] if k not in ("space", "comment")), "")
            member = braces and braces[-1] and last != "[" and following in (";", ",", "[", ")")
            out.append(value if member else value + suffix)
        else:
            out.append(value)
        if kind in ("space", "comment"):
            continue
        if value == "{":
            braces.append("struct" in (last, before) or "union" in (last, before))
        elif value == "}" and braces:
            braces.pop()
        before, last = last, value
    return "".join(out)


def without_comments(text):
    bare = "".join(" " if kind == "comment" else value for kind, value in tokens(text))
    return re.sub(r"\n[ \t]*(?=\n)", "", re.sub(r"[ \t]+\n", "\n", bare))


def macros(text):
    return set(re.findall(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", text, re.M))


def part(name, text, earlier):
    """One .c file's text as it stands in the whole: its macros end with it, and so do its target pragmas."""
    begun, ended = ("".join(f"#undef {m}\n" for m in sorted(s)) for s in (macros(text) & earlier, macros(text)))
    if "#pragma GCC target" in text:
        text = f"#pragma GCC push_options\n{text}\n#pragma GCC pop_options\n"
    return f"\n/* ==== {name} ==== */\n\n{begun}{text}{ended}"


def amalgamate(folder=None):
    """Text of nnpcore.c from the folder with the sources (sources.folder() by default)."""
    source = Source(Path(folder or source_folder()))
    units = sorted((name for name in source.text if name.endswith(".c")), key=lambda n: (source.repeated(n), n))
    texts = {name: source.expanded(name, set()) for name in units}
    names = {name: private_names(text) for name, text in texts.items()}
    count = Counter(n for own in names.values() for n in own)
    top = []
    for name in units:
        top += [n for n in source.needs(name)[:-1] if not source.repeated(n) and n not in top]
    version = ".".join(re.findall(r"#define NNP_VERSION_(?:MAJOR|MINOR|PATCH)\s+(\d+)", source.text["nnpcore.h"]))
    licence = "".join(f" * {line}".rstrip() + "\n" for line in LICENCE.splitlines())
    out = [HEAD.replace("@VERSION@", version).replace("@LICENCE@\n", licence)]
    out += [f"\n/* ==== {name} ==== */\n\n{INCLUDE.sub('', source.text[name])}" for name in top]
    earlier, repeated_before = macros("".join(out)), False
    for name in units:
        suffix = "_" + Path(name).stem.removeprefix("kernels_")
        text = renamed(texts[name], {n for n in names[name] if count[n] > 1}, suffix)
        out.append(part(name, without_comments(text) if repeated_before else text, earlier))
        repeated_before = source.repeated(name)
    return "".join(out)


def main(argv=None):
    """Write both files; prints their paths."""
    parser = argparse.ArgumentParser(prog="python -m nnpcore.amalgamate", description=__doc__.split(":")[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    target = parser.parse_args(argv).folder
    target.mkdir(parents=True, exist_ok=True)
    write_atomic(target / "nnpcore.c", amalgamate().encode())
    write_atomic(target / "nnpcore.h", (source_folder() / "nnpcore.h").read_bytes())
    print(target / "nnpcore.c", target / "nnpcore.h")


if __name__ == "__main__":
    main()
