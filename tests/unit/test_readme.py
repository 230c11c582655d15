"""README.md: its Python runs, its C compiles, its TOML is accepted, its commands exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnpcore import sources

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else ""


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.M | re.S)


def test_python_blocks_run(tmp_path):
    code = blocks("python")
    assert code
    for text in code:
        subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=True, timeout=120)


def test_c_block_compiles(tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    head, body = blocks("c")[0].split("\n\n", 1)
    (tmp_path / "a.c").write_text(f"#include <stdio.h>\n{head}\nvoid f(void);\nvoid f(void) {{\n{body}}}\n")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", f"-I{sources.folder()}", "-fsyntax-only"]
    subprocess.run(["cc", *flags, "a.c"], cwd=tmp_path, check=True)


def test_toml_blocks_are_configurations(tmp_path):
    from nnpcore import config, md_config

    train, md = blocks("toml")
    (tmp_path / "train.toml").write_text(train)
    (tmp_path / "md.toml").write_text(md)
    assert config.load(tmp_path / "train.toml").model.rc3 == 4.5
    assert config.load(tmp_path / "md.toml", md_config.MDConfig).md.steps == 100000


def test_command_table_names_verbs_that_exist():
    from nnpcore.cli import parser

    verbs = set(next(a for a in parser()._actions if a.dest == "verb").choices)
    documented = set(re.findall(r"^\| `nnpcore (\w+)", README, re.M))
    assert documented and documented <= verbs


def test_each_of_the_two_commands_is_one_line():
    for kind in ("sh demo", "sh test"):
        assert len(blocks(kind)) == 1 and len(blocks(kind)[0].splitlines()) == 1


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_to_files_exist(name):
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text())
    made_later = {"docs/figures/demo_rdf.png"}  # by `nnpcore demo`
    assert [link for link in links if link not in made_later and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("[mt]*.toml")), ids=lambda path: path.name)
def test_examples_are_configurations(path):
    from nnpcore import config, md_config

    config.load(path, md_config.MDConfig if path.name.startswith("md") else config.TrainConfig)
