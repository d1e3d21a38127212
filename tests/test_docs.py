"""Every piece of Python in the README, the documentation and the docstrings runs and prints what it says."""

from __future__ import annotations

import ast
import doctest
import fnmatch
import functools
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import glassprop
from glassprop.bench.tasks import TASKS
from glassprop.core import layout

ROOT = Path(__file__).parent.parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


PAGES = ["README.md", *(f"docs/{page}.md" for page in ("derivation", "coming-from-scikit-learn", "explain", "glass"))]


@pytest.mark.parametrize("page", PAGES)
def test_python_of_pages(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(ROOT / page), module_relative=False, optionflags=FLAGS)
    assert result.attempted > 5
    assert result.failed == 0


def modules():
    every = [m.name for m in pkgutil.walk_packages(glassprop.__path__, "glassprop.")]
    return sorted(name for name in every if not name.endswith(("__main__", "_peer")))  # peers need not be installed


@pytest.mark.parametrize("name", modules())
def test_python_of_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(importlib.import_module(name), optionflags=FLAGS).failed == 0


def test_every_public_name_has_an_example_or_is_data():
    for name in glassprop.__all__:
        thing = getattr(glassprop, name)
        if callable(thing):
            assert thing.__doc__, name
    shown = ("Network", "Parameters", "forward", "backward", "update", "train", "train_many", "Activation", "Loss", "save")
    shown += ("explain", "check_gradients", "verify_step", "diagnose", "replay")
    for name in (*shown, "load"):
        thing = getattr(glassprop, name)
        documented = thing.__doc__ + (getattr(thing, "from_arrays", None).__doc__ if name == "Parameters" else "")
        assert ">>>" in documented, name


def shell_commands():
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_shell_of_the_readme(tmp_path):
    """The commands in their order, in one folder; `make` is CI's own affair."""
    commands = [c for c in shell_commands() if c.startswith(("glassprop ", "echo "))]
    assert len(commands) >= 4
    for command in commands:
        if command.startswith("echo "):
            assert subprocess.run(command, shell=True, cwd=tmp_path).returncode == 0
            continue
        words = shlex.split(command.split(" > ")[0])
        words[:1] = [sys.executable, "-m", "glassprop"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
        assert done.returncode == 0, (command, done.stderr)
        if " > " in command:
            (tmp_path / command.split(" > ")[1].strip()).write_text(done.stdout)


PACKAGE = ROOT / "src/glassprop"
PAGES_OF_CODE = ("derivation", "layout", "performance")
# Words of processors, compilers and other libraries.
FOREIGN = {
    "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "NUMBA_CPU_FEATURES", "bfdot", "cldemote", "fastmath", "fmla", "lax",
    "vdpbf16ps",
}  # fmt: skip


@functools.cache
def parsed(path):
    return ast.parse(path.read_text())


def assigned(tree):
    """Names of all that is given a value in a part of a file."""
    stored = (node for node in ast.walk(tree) if isinstance(getattr(node, "ctx", None), ast.Store))
    return {getattr(node, "id", getattr(node, "attr", None)) for node in stored}


def defined_in(path):
    """Names of a file's functions and classes, and of its variables outside of them."""
    bodies = ast.FunctionDef | ast.ClassDef
    outside = (assigned(statement) for statement in parsed(path).body if not isinstance(statement, bodies))
    return {node.name for node in ast.walk(parsed(path)) if isinstance(node, bodies)}.union(*outside)


def used_in(path):
    """The same with arguments and all variables."""
    arguments = {node.arg for node in ast.walk(parsed(path)) if isinstance(node, ast.arg)}
    return defined_in(path) | arguments | assigned(parsed(path))


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"```.*?```", "", (ROOT / f"docs/{page}.md").read_text(), flags=re.S)


def in_backticks(page):
    return set(re.findall(r"`([^`\n]+)`", prose(page)))


def files_meant(path):
    """Those of the package, or of the repository, that a page may mean by `core/step.py`, `tests/reference.py` or `step.py`."""
    return [at for at in (PACKAGE / path, ROOT / path, PACKAGE / "core" / path) if at.is_file()]


@pytest.mark.parametrize("page", PAGES_OF_CODE)
def test_files_that_pages_point_at_exist(page):
    paths = {path for words in in_backticks(page) for path in re.findall(r"[\w/]+\.py", words)}
    assert len(paths) > 3
    assert not [path for path in paths if not files_meant(path)]


@pytest.mark.parametrize("page", PAGES_OF_CODE)
def test_functions_that_pages_point_at_are_in_those_files(page):
    """As `core/blocks.py`, `update`; as `core/step.py: run`; as `tile.columns_taken`."""
    pairs = [(files_meant(path), name) for path, name in re.findall(r"`([\w/]+\.py)(?:`,\s+`|: )(\w+)", prose(page))]
    for module, name in re.findall(r"`(\w+)\.(\w+)[`(]", prose(page)):
        if module == "gp":
            assert name in glassprop.__all__
        elif name != "py" and module not in FOREIGN:
            pairs.append(([*PACKAGE.rglob(f"{module}.py")], name))
    assert len(pairs) > 3
    assert not [name for paths, name in pairs if not any(name in defined_in(path) for path in paths)]


@pytest.mark.parametrize("page", PAGES_OF_CODE)
def test_names_in_pages_are_those_of_the_code(page):
    known = set().union(*map(used_in, PACKAGE.rglob("*.py")), TASKS, layout.LAYER.names, FOREIGN, packages())
    names = {words for words in in_backticks(page) if re.fullmatch(r"[A-Za-z_]\w*", words)}
    assert len(names) > 3
    assert not names - known


def test_pages_give_the_sizes_that_the_code_has():
    """Of a block of the gradient that the rule takes, and of what a thread takes of another's share."""
    assert f"up to {layout.BLOCK_ROWS} units ({layout.MATRIX_UNIT_BLOCK_ROWS} where" in " ".join(prose("layout").split())
    text = " ".join(prose("performance").split())
    assert f"lots of up to {layout.RESIDENT_ROWS} units ({layout.PORTION_ROWS} where" in text
    assert f"pieces of {layout.PIECE_ROWS} units ({layout.MATRIX_UNIT_PIECE_ROWS} where" in text


def packages():
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def listed_files():
    """The files that the layout page lists, in its order, by package; those of none by the name ""."""
    tree = re.search(r"```\nsrc/glassprop/\n(.*?)\ntests/", (ROOT / "docs/layout.md").read_text(), re.S)[1]
    found, package = {"": []}, ""
    for line in tree.splitlines():
        if entered := re.match(r"  (\w+)/", line):
            package = entered[1]
        found.setdefault(package, []).extend(dict.fromkeys(re.findall(r"[\w*]+\.py", line)))
    return found


def test_the_layout_page_names_every_file():
    listed = listed_files()
    assert set(listed) == {"", *packages()}
    for package, names in listed.items():
        files = {path.name for path in (PACKAGE / package).glob("*.py")} - {"__init__.py", "__main__.py"}
        named = {file for name in names for file in fnmatch.filter(files, name) or [name]} - {"__init__.py"}
        assert named == files, package


def test_the_layout_page_is_in_the_order_that_lint_holds():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    of_packages, of_core = ([layer.rpartition(".")[2] for layer in reversed(each["layers"])] for each in contracts)
    listed = listed_files()
    files = [name.removesuffix(".py") for name in listed[""][1:]]
    assert [*files, *(package for package in listed if package)] == of_packages
    assert [name.removesuffix(".py") for name in listed["core"]] == of_core
