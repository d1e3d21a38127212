"""``glassprop bench``: a short run, and what it refuses."""

import json

import pytest

from glassprop.bench import compare


def test_one_tiny_task(run):
    ended = run("bench", "--task", "tiny", "--peer", "sklearn", "--threads", "1", "--rounds", "1", "--json")
    assert ended.code == 0
    told = json.loads(ended.out)
    [result] = told["results"]
    assert set(result["figures"]) == {"glassprop", "sklearn"}
    assert result["ratio"] > 1
    assert told["machine"]["versions"]["scikit-learn"]
    assert "round 1 of 1" in ended.err


@pytest.fixture
def result():
    """What is measured of one task."""
    figures = {
        "step_us": 5.0, "best_us": 4.0, "fit_seconds": 1.0, "epochs": 3, "gflops": 2.0, "of_peak": 0.5, "unsteady": False,
        "form": "", "import_seconds": 0.1, "first_fit_seconds": 0.2, "peak_bytes": 10**8,
    }  # fmt: skip
    result = {"task": "small", "threads": 1, "figures": {"glassprop": figures, "jax": figures | {"step_us": 10.0}}}
    return result | {"best_peer": "jax", "ratio": 2.0, "ratios": {"jax": 2.0}, "left_out": {}, "peak_gflops": 4.0}


def test_the_tables(run, monkeypatch, result):
    asked = []
    monkeypatch.setattr(compare, "compare_all", lambda *given: asked.append(given) or [result])
    ended = run("bench", "--task", "small,tiny", "--peer", "sklearn", "--threads", "1,all,1", "--rounds", "2")
    assert ended.code == 0
    assert "10.0 (4.00)" in ended.out
    assert "2.00" in ended.out
    assert "Measured on" in ended.out
    assert asked[0][:2] == (["small", "tiny"], ["glassprop", "sklearn"])
    assert asked[0][2] == list(dict.fromkeys((1, compare.processors())))
    assert asked[0][3] == 2


@pytest.mark.parametrize("done", [0, 1])
def test_ctrl_c_shows_what_was_measured(run, monkeypatch, result, done):
    def interrupted(*given):
        yield from [result] * done
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "compare_all", interrupted)
    ended = run("bench", "--task", "small,tiny", "--peer", "sklearn")
    assert ended.code == 130
    assert ("10.0 (4.00)" in ended.out) == bool(done)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "smal"), "--task must be one of 'tiny', 'small'"),
        (("--peer", "jaxx"), "got 'jaxx'; did you mean 'jax'?"),
        (("--threads", "0"), "--threads must be numbers from 1 to"),
        (("--threads", "x"), "or all, with commas between them; got 'x'"),
        (("--rounds", "0"), "Invalid value for '--rounds'"),
    ],
)
def test_refusals(refused, arguments, message):
    assert message in refused("bench", *arguments)


def test_a_peer_that_is_not_installed(refused, monkeypatch):
    from glassprop.bench.peers import Competitor

    monkeypatch.setattr(Competitor, "absent", lambda self: "torch is not installed" if self.name == "torch" else "")
    assert refused("bench", "--peer", "torch") == "--peer torch: torch is not installed"
