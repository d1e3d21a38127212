"""Running a command inside the test's process."""

from typing import NamedTuple

import pytest

from glassprop.cli import main


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys):
    """``run("train", ...)`` gives exit code, standard output and standard error."""

    def command(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Ended(code, *capsys.readouterr())

    return command


@pytest.fixture
def refused(run):
    """``refused("train", ...)`` gives the one line on standard error, once the exit code is 2 and nothing else was said."""

    def command(*arguments):
        ended = run(*arguments)
        assert ended.code == 2
        assert ended.out == ""
        assert ended.err.startswith("glassprop: error: ")
        assert ended.err.count("\n") == 1
        return ended.err.removeprefix("glassprop: error: ").strip()

    return command
