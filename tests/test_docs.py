"""Every piece of Python in the README, the documentation and the docstrings runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import glassprop

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


def test_pages_point_at_functions_that_exist():
    text = (ROOT / "docs/derivation.md").read_text()
    assert re.findall(r"`(core/\w+\.py)`", text)
    for path in set(re.findall(r"`(core/\w+\.py)`", text)):
        assert (ROOT / "src/glassprop" / path).exists(), path
    sources = "".join(p.read_text() for p in (ROOT / "src/glassprop/core").glob("*.py"))
    for name in [
        "layer_forward",
        "forward",
        "_softmax",
        "_panel_losses",
        "finish_block",
        "block_gradient",
        "layer_backward",
        "backward",
        "drop",
        "update",
        "cross_entropy_kernel",
    ]:
        assert f"`{name}`" in text
        assert f"def {name}(" in sources


def test_the_layout_page_names_every_file():
    text = (ROOT / "docs/layout.md").read_text()
    for package in ("core", "training", "estimators", "glass", "bench"):
        for path in (ROOT / "src/glassprop" / package).glob("[!_]*.py"):
            assert f"    {path.name} " in text or path.name.endswith("_peer.py"), path.name
