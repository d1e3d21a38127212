"""Figures as rows of text."""

import pytest

from glassprop.bench import show
from glassprop.bench.machine import describe_machine, machine_facts


def found(us, **more):
    base = {"step_us": us, "best_us": 0.9 * us, "fit_seconds": 1.25, "epochs": 7, "gflops": 33.0, "of_peak": 0.183}
    return (
        base | {"import_seconds": 0.3, "first_fit_seconds": 0.5, "peak_bytes": 2 * 10**8, "unsteady": False, "form": ""} | more
    )


def result(task="small", unsteady=False):
    figures = {"glassprop": found(5.34), "jax": found(6.79, form="optax.adam", unsteady=unsteady), "sklearn": found(1234.5)}
    ratio = {"best_peer": "jax", "ratio": 1.2715, "ratios": {"jax": 1.2715, "sklearn": 231.2}}
    return {"task": task, "threads": 1, "peak_gflops": 180.0, "figures": figures, "left_out": {}} | ratio


def test_steps():
    header, rows = show.step_table([result(), result("digits")])
    assert rows == [
        ["small: 20-64-1, 32", "1", "5.34 (4.81)", "6.79 (6.11)", "1,234 (1,111)", "1.27 (jax)", "33.0, 18 %"],
    ]
    assert len(header) == len(rows[0])
    assert header[2:5] == ["glassprop", "JAX, epoch in one scan", "scikit-learn"]


def test_fits():
    header, rows = show.fit_table([result(), result("digits")])
    assert rows == [["digits: 64-100-10, 200", "1", "1.25 s, 7", "1.25 s, 7", "1.25 s, 7", "1.27 (jax)"]]
    assert len(header) == len(rows[0])


def test_waits():
    header, rows = show.wait_table([result()], "small")
    assert rows[1] == ["JAX, epoch in one scan (optax.adam)", "0.30 s", "0.50 s", "200 MB"]
    assert len(header) == len(rows[0])
    assert show.wait_table([result()], "large")[1] == []


def test_a_row_each():
    header, rows = show.long_table([result(unsteady=True)])
    assert rows[0] == ["small", "1", "glassprop", "5.34 (4.81)", "", "33.00, 18 %"]
    assert rows[1][3:5] == ["6.79 (6.11) unsteady", "1.27"]
    assert len(header) == len(rows[0])


def test_an_unsteady_machine_and_the_lack_of_a_peer_are_said():
    assert show.ratio_text(result(unsteady=True)) == "1.27 (jax) (unsteady)"
    assert show.ratio_text(result() | {"ratio": None}) == "–"


@pytest.mark.parametrize(
    ("value", "text"), [(0.304, "0.30"), (1.4832, "1.48"), (65.01, "65.0"), (478.8, "479"), (15597.3, "15,597")]
)
def test_three_digits(value, text):
    assert show._three(value) == text


def test_what_a_table_has_to_state():
    text = describe_machine(machine_facts(["glassprop", "sklearn"]))
    for part in ("glassprop ", "numba ", "numpy ", "scikit-learn ", "Python "):
        assert part in text
