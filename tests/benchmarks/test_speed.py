"""The parts `speed`, `linear`, `rules`, `many` and `bfloat16`: small runs, and what they write where."""

import pytest

import cases
from benchmarks import __main__ as command
from benchmarks import bfloat16, linear, many, rules, speed
from glassprop.bench.compare import _result, processors
from glassprop.bench.machine import processor
from glassprop.bench.statistics import Sample
from glassprop.bench.tasks import TASKS

FACTS = {"form": "optax.adam", "import_seconds": 0.5, "first_fit_seconds": 1.0, "epochs": 9}


def results_of(names, peers, threads, rounds, say):
    """What `compare_all` would return if JAX took 5 ms and glassprop 1 ms a step."""
    found = []
    for count in threads:
        for name in names:
            samples = {"glassprop": [Sample(1.0, 1000, 10, 100.0)], "jax": [Sample(5.0, 1000, 10, 100.0)]}
            facts, memory = dict.fromkeys(samples, FACTS), dict.fromkeys(samples, 10**8)
            found.append(_result(TASKS[name], count, samples, facts, memory) | {"left_out": {}})
    return found


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(speed, "compare_all", results_of)
    monkeypatch.setattr(speed, "processors", lambda: 2)


def test_speed_writes_tables_and_picture(fast, tmp_path):
    path = tmp_path / "README.md"
    path.write_text("<!-- figures:speed -->\n<!-- /figures:speed -->\n")
    assert command.main(["speed", "--readme", str(path)]) == 0
    text = path.read_text()
    assert "| tiny: 2-8-1, 4 | 1 | 1,000 (1,000) | 5,000 (5,000) | 5.00 (jax) |" in text
    assert "| digits: 64-100-10, 200 | 2 |" in text
    assert "JAX, epoch in one scan (optax.adam)" in text
    assert "Measured on" in text
    assert (tmp_path / "docs" / "speed.png").stat().st_size > 10_000


def test_speed_holds_ratios_and_shares_against_their_bars(fast):
    reached = speed.measure(("tiny", "medium"))["reached"]
    assert reached["tiny, 1"]
    assert reached["tiny, 2"]
    assert not reached["medium, 1"]  # 61 of 100 GFLOP/s, where 83 % is aimed at
    assert reached["medium, 2"]


def test_many():
    found = many.measure(networks=3, rows=64, epochs=(1, 2), rounds=2)
    assert [line["epochs"] for line in found["lines"]] == [1, 2]
    assert all(line["gain"] > 0 and line["rounds"] >= 1 for line in found["lines"])
    assert "3 networks" in many.section(found)


def test_linear():
    found = linear.measure(rows=256, epochs=1, rounds=1)
    assert [size["rows"] for size in found["sizes"]] == [256, 512, 1280, 2560, 256]
    assert found["sizes"][0]["times_first"] == 1
    assert "| 2,560 | 1 |" in linear.section(found)


def test_rules_are_all_there_are():
    names = [rule.name for rule in rules.rules()]
    assert len(names) == len(set(names))
    assert {"float64", "tanh", "cross_entropy", "RMSprop", "AdamW"} <= set(names)
    assert "relu" not in names


def test_rules_beside_the_reference(monkeypatch):
    chosen = [rule for rule in rules.rules() if rule.name in ("float64", "tanh", "cross_entropy", "Rprop")]
    monkeypatch.setattr(rules, "rules", lambda: chosen)
    found = rules.measure(("small",), seconds=0.001, rounds=1)
    assert set(found["rules"]) == {rule.name for rule in chosen}
    assert all(of["small"]["speed"] > 0 for of in found["rules"].values())
    assert "| update rule | Rprop |" in rules.section(found)
    assert "of its peak" in rules.section(found)


@cases.needs_bfloat16
def test_bfloat16(monkeypatch, tmp_path):
    monkeypatch.setenv("GLASSPROP_DATA", str(tmp_path))
    found = bfloat16.measure(rounds=2, seconds=0.01, tasks=("medium",))
    assert {line["threads"] for line in found["lines"]} == {1, processors()}
    assert all(0.1 < line["gain"] < 10 for line in found["lines"])
    text = bfloat16.section(found | {"errors": {"float32": [1.0, 2.0], "bf16": [1.5, 1.5]}})
    assert "float32 1.50 % (1.00, 2.00); bf16 1.50 % (1.50, 1.50)" in text


def test_bfloat16_is_left_out_where_there_is_none(monkeypatch):
    monkeypatch.setattr(bfloat16, "has_bfloat16", lambda: False)
    assert bfloat16.measure() is None


GAINS = {"one_by_one": 2.0, "side_by_side": 1.0, "float32": 2.0, "bf16": 1.0, "gain": 2.0}
MANY = {"cores": 2, "networks": 3, "rows": 64, "lines": [GAINS | {"epochs": 1}]}
BFLOAT16 = {"lines": [GAINS | {"task": "2-1, 4", "threads": threads} for threads in (1, 2)], "errors": {}}


@pytest.mark.parametrize(("part", "figures"), [(many, MANY), (bfloat16, BFLOAT16)], ids=["many", "bfloat16"])
def test_under_a_table_of_several_threads_stands_how_many(part, figures, monkeypatch, tmp_path):
    monkeypatch.setattr(part, "measure", lambda: figures)
    name, path = part.__name__.rpartition(".")[2], tmp_path / "page.md"
    path.write_text(f"<!-- figures:{name} -->\n<!-- /figures:{name} -->\n")
    assert command.main([name, "--readme", str(path)]) == 0
    assert f", up to 2 threads of {processor()}; Python" in path.read_text()
