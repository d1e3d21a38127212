"""Columns to inputs and targets: what is decided, standardised, held out, and refused."""

import numpy as np
import pandas as pd
import pytest

import glassprop as gp
from glassprop.tables.preparation import Preparation, decide_task, prepare, split_rows

RNG = np.random.default_rng(0)


def frame(rows=40, **columns):
    """Two columns of numbers, a text target and whatever is added or replaced."""
    made = {"a": RNG.normal(5, 3, rows), "b": RNG.integers(0, 9, rows), "y": ["u", "v"] * (rows // 2)}
    return pd.DataFrame(made | columns)


# --- the task ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "task", "reason"),
    [
        (["u", "v"] * 50, "classification", "'y' holds text"),
        ([True, False] * 50, "classification", "'y' holds truth values"),
        ([0, 1] * 2, "classification", "'y' holds 2 different whole numbers"),
        ([0.0, 1.0] * 50, "classification", "'y' holds 2 different whole numbers"),
        (list(range(5)) * 20, "classification", "'y' holds 5 different whole numbers"),
        (list(range(6)) * 16, "regression", "'y' holds 6 different numbers"),  # more than 5 % of the rows
        (list(range(20)) * 20, "classification", "'y' holds 20 different whole numbers"),
        (list(range(21)) * 50, "regression", "'y' holds 21 different numbers"),
        ([0.5, 1.0] * 50, "regression", "'y' holds 2 different numbers"),
    ],
)
def test_decided_by_the_target(values, task, reason):
    loss = {"classification": "cross_entropy", "regression": "half_squared_error"}[task]
    assert decide_task(pd.Series(values), "y", None) == (task, gp.Loss(loss), reason)


@pytest.mark.parametrize("loss", gp.LOSSES)
def test_decided_by_the_loss(loss):
    task = "classification" if "entropy" in loss else "regression"
    assert decide_task(pd.Series([0, 1]), "y", loss) == (task, gp.Loss(loss), f"the loss is {loss}")


# --- numbers -------------------------------------------------------------------------------------------------------------


def test_standardised_by_the_training_rows_alone():
    table = frame(100)
    ready = prepare(table, "y", validation=0.2, test=0.2, dtype="float64")
    train = table.iloc[ready.train.rows][["a", "b"]]
    np.testing.assert_allclose(ready.preparation.means, train.mean())
    np.testing.assert_allclose(ready.preparation.scales, train.std(ddof=0))
    np.testing.assert_allclose(ready.train.X.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(ready.train.X.std(0), 1)
    for part in (ready.train, ready.validation, ready.test):
        np.testing.assert_array_equal(part.X, ready.preparation.inputs_of(table.iloc[part.rows], "float64"))


@pytest.mark.parametrize("value", [0.0, 0.1, -1e-300, 1e300, 12345.678])
def test_constant_columns_get_scale_1(value):
    ready = prepare(frame(a=value), "y", dtype="float64")
    assert ready.preparation.scales[0] == 1
    np.testing.assert_allclose(ready.train.X[:, 0], 0, atol=1e-12 * max(1, abs(value)))


def test_huge_numbers_do_not_overflow():
    ready = prepare(frame(a=[1e300, -1e300] * 20), "y")
    np.testing.assert_allclose(np.abs(ready.train.X[:, 0]), 1)


def test_truth_values_and_numbers_as_text_are_numbers():
    table = frame(4, a=[True, False, True, False], b=pd.Series(["1", "2", "3", "4"], dtype=object))
    ready = prepare(table, "y", dtype="float64")
    np.testing.assert_allclose(ready.train.X[:, 0], [1, -1, 1, -1])
    assert ready.preparation.means[1] == 2.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype(dtype):
    ready = prepare(frame(w=1.0), "y", weights="w", dtype=dtype)
    assert ready.train.X.dtype == ready.train.Y.dtype == ready.train.weights.dtype == dtype


# --- targets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["v", "u", "v", "w"] * 10, ("u", "v", "w")),
        ([3, 1, 2, 3] * 20, (1, 2, 3)),
        ([2.0, -1.0] * 10, (-1, 2)),
        ([True, False] * 10, (False, True)),
    ],
)
def test_classes_are_numbered_in_sorted_order(values, classes):
    table = frame(len(values), y=values)
    ready = prepare(table, "y")
    assert ready.preparation.classes == classes
    assert [type(value) for value in ready.preparation.classes] == [type(value) for value in classes]
    assert [classes[int(number)] for number in ready.train.Y] == values
    np.testing.assert_allclose(ready.preparation.class_shares, [values.count(value) / len(values) for value in classes])
    assert ready.network((3,)).layers == (2, 3, len(classes))


@pytest.mark.parametrize("loss", ["half_squared_error", "absolute_error", "huber", "quantile"])
def test_numbers_to_predict_are_standardised(loss):
    y = RNG.normal(100, 20, 40)
    ready = prepare(frame(y=y), "y", loss=loss, dtype="float64")
    np.testing.assert_allclose(ready.train.Y, (y - y.mean()) / y.std())
    center = np.quantile(y, 0.5, method="inverted_cdf") if loss == "quantile" else y.mean()
    assert ready.preparation.center == pytest.approx(center)
    assert ready.network(()).layers == (2, 1)


def test_counts_are_left_as_they_are():
    y = RNG.poisson(3, 40)
    ready = prepare(frame(y=y), "y", loss="poisson")
    np.testing.assert_array_equal(ready.train.Y, y)
    assert (ready.preparation.target_mean, ready.preparation.target_scale, ready.preparation.center) == (0, 1, y.mean())


def test_two_classes_with_one_output():
    ready = prepare(frame(), "y", loss="binary_cross_entropy")
    assert ready.network((3,)).layers == (2, 3, 1)


def test_weights_and_ignored_columns_are_no_inputs():
    table = frame(w=RNG.uniform(size=40), id=[f"row {i}" for i in range(40)])
    ready = prepare(table, "y", weights="w", ignore=["id"])
    assert ready.preparation.inputs == ("a", "b")
    np.testing.assert_allclose(ready.train.weights, table.w, rtol=1e-6)


def test_description_round_trip():
    preparation = prepare(frame(), "y").preparation
    assert Preparation.from_description(preparation.describe()) == preparation


# --- rows ----------------------------------------------------------------------------------------------------------------


def test_parts_are_disjoint_complete_and_in_proportion():
    classes = np.array([0] * 700 + [1] * 200 + [2] * 100)
    parts = split_rows(1000, 0.2, 0.1, 5, classes)
    assert [len(part) for part in parts] == [720, 80, 200]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(1000))
    for part in parts:
        np.testing.assert_allclose(np.bincount(classes[part]) / len(part), [0.7, 0.2, 0.1], atol=0.01)


def test_the_split_is_a_function_of_the_seed():
    first, again, other = (split_rows(100, 0.2, 0.1, seed, None) for seed in (1, 1, 2))
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    assert not np.array_equal(np.concatenate(first), np.concatenate(other))


def test_nothing_held_out():
    ready = prepare(frame(), "y")
    assert ready.validation is None
    assert ready.test is None
    np.testing.assert_array_equal(ready.train.rows, np.arange(40))


# --- refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "target", "options", "message"),
    [
        ({}, "z", {}, "target must be a column of the table; got 'z'; it has a, b, y"),
        ({"price": 1.0}, "prcie", {}, r"got 'prcie', did you mean 'price'\?; it has a, b, y, price"),
        ({"sugar": 1.0}, "salary", {}, "got 'salary'; it has a, b, y, sugar"),  # unlike: no suggestion
        ({"Price": 1.0}, "PRICE", {}, r"got 'PRICE', did you mean 'Price'\?; it has"),
        ({}, "y", {"weights": "w"}, "weights must be a column of the table; got 'w'"),
        ({}, "y", {"ignore": ["c"]}, "ignore must be a column of the table; got 'c'"),
        ({}, "y", {"weights": "y"}, "weights must be another column than the target 'y'"),
        ({}, "y", {"ignore": ["a", "b"]}, "the table has no input columns: all are target, weights or ignored"),
        (
            {"b": [1, "x", 2, 3]},
            "y",
            {},
            r"column 'b' must hold numbers; it holds 'x' in row 2.*: leave it out \(--ignore\), or turn it into numbers first",
        ),
        ({"a": list("tuvw"), "b": list("tuvw")}, "y", {}, "column 'a' must hold numbers; .*; 2 columns hold text: a,b"),
        (
            {"b": [1, None, None, 3]},
            "y",
            {},
            r"column 'b' has 2 missing values, the first in row 2.*: fill in or leave out such rows",
        ),
        ({"b": ["u", None, "v", "w"]}, "y", {}, "column 'b' has 1 missing value, the first in row 2"),
        (
            {r"b": [1, 2, np.inf, 3]},
            "y",
            {},
            r"column 'b' holds infinity in row 3.*: correct it, or leave the row out",
        ),
        ({"b": [1, 2j, 3, 4]}, "y", {}, "column 'b' must hold real numbers; it holds complex128"),
        ({"y": ["u", None, "v", "u"]}, "y", {}, "column 'y' has 1 missing value, the first in row 2"),
        ({"y": "u"}, "y", {}, "column 'y' must hold at least two classes; all 4 rows are 'u'"),
        (
            {"y": list("tuvw")},
            "y",
            {},
            "column 'y' cannot be learnt as classes: its 4 rows hold 4 different texts, such as 't': is it an identifier",
        ),
        *(
            ({column: texts}, "y", {}, wanted + r"write numbers as 1000\.5, with a decimal point and without commas")
            for column, wanted in (("b", "holds '.*,.*' in row 1.*: "), ("y", "4 different texts, such as '.*': "))
            for texts in (["0,125", "-0,5", "12,", "1e3"], ["1,000.5", "900", "1,002", "7"])
        ),
        (
            {"y": [1, 2, 3, 4]},
            "y",
            {"loss": "cross_entropy"},
            "its 4 rows hold 4 different numbers: for regression choose the loss half_squared_error",
        ),
        ({"y": 1.5}, "y", {}, "column 'y' must vary to be predicted; all 4 rows are 1.5"),
        (
            {},
            "y",
            {"loss": "huber"},
            r"column 'y' must hold numbers; it holds 'u' in row 1.*: the loss 'huber' needs a number to predict",
        ),
        ({}, "y", {"loss": "hubr"}, r"loss must be one of .*; got 'hubr'; did you mean 'huber'\?"),
        (
            {"y": [1.5, -2, 3, 4]},
            "y",
            {"loss": "poisson"},
            "column 'y' must be at least 0 for loss 'poisson'; it holds -2 in row 2",
        ),
        ({"w": [1, -2, 1, 1]}, "y", {"weights": "w"}, "column 'w' must hold row weights of at least 0; it holds -2 in row 2"),
        (
            {"w": list("tuvw")},
            "y",
            {"weights": "w"},
            r"column 'w' must hold numbers; it holds 't' in row 1.*: row weights are numbers",
        ),
        ({}, "y", {"test": 1.0}, "test must be a fraction, at least 0 and below 1; got 1.0"),
        ({}, "y", {"validation": -0.1}, "validation must be a fraction, at least 0 and below 1; got -0.1"),
        ({}, "y", {"seed": -1}, "seed must be a whole number of at least 0; got -1"),
    ],
)
def test_refusals(columns, target, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(frame(4, **columns), target, **options)


def test_three_classes_are_too_many_for_one_output():
    with pytest.raises(
        ValueError, match="'binary_cross_entropy' needs a target of two classes; 'y' has 3: use 'cross_entropy'"
    ):
        prepare(frame(6, y=list("uvwuvw")), "y", loss="binary_cross_entropy")


def test_a_table_without_a_line_of_names():
    with pytest.raises(
        ValueError, match=r"it has 5\.1, 3\.5, s; these look like numbers of a first row: put a line of column names"
    ):
        prepare(pd.DataFrame([[1, 2, "u"]], columns=["5.1", "3.5", "s"]), "y")


def test_too_few_rows():
    with pytest.raises(ValueError, match="the table has 2 rows: too few to hold any out; set test and validation to 0"):
        split_rows(2, 0.2, 0.1, 0, None)
    assert [len(part) for part in split_rows(3, 0.2, 0.1, 0, None)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (2, {"test": 0.2}, r"1 row is left of 2 to train on, too few to learn from: hold out fewer \(--test 0 for none\)"),
        (40, {"test": 0.999}, r"1 row is left of 40 to train on, too few .* or give more rows"),
        (4, {"test": 0.5, "y": [1.5, 2.5, 1.5, 1.5], "seed": 3}, "2 rows are left of 4 to train on, all 1.5, too few"),
    ],
)
def test_too_few_rows_left_to_train_on(rows, options, message):
    columns = {"y": options["y"]} if "y" in options else {}
    options = {name: value for name, value in options.items() if name != "y"}
    with pytest.raises(ValueError, match=message):
        prepare(frame(rows, **columns), "y", **options)


def test_rows_are_counted_from_1():
    with pytest.raises(ValueError, match=r"the first in row 3 \(counted from 1 below the column names\): fill in"):
        prepare(frame(4, b=[1, 2, None, 4]), "y")


def test_every_column_with_gaps_is_named():
    table = frame(4, b=[1, None, 3, 4], y=["u", "v", None, "u"])
    with pytest.raises(
        ValueError, match=r"column 'y' has 1 missing value, .* or the column; 2 columns have missing values: y,b"
    ):
        prepare(table, "y")


def test_a_text_that_is_read_as_missing_is_named():
    table = frame(4, y=["u", None, "v", None])
    table.attrs["read_as_missing"] = {"y": ["None"], "a": ["NA"]}
    with pytest.raises(
        ValueError, match=r"column 'y' has 2 missing values \('None' is read as missing\), the first in .*, or write another"
    ):
        prepare(table, "y")
    table.attrs["read_as_missing"] = {"b": ["None"]}
    with pytest.raises(ValueError, match=r"column 'y' has 2 missing values, the first in row 2 .* or the column$"):
        prepare(table, "y")


@pytest.mark.parametrize("value", [10**400, "1e400", np.inf])
def test_numbers_too_large_for_float64(value):
    table = frame(4, b=pd.Series([1, 2, value, 4], dtype=object))
    with pytest.raises(ValueError, match=r"column 'b' holds infinity in row 3 .*, or a number too large for float64: correct"):
        prepare(table, "y")


def test_numbers_too_large_for_a_precision():
    told = r"holds a number in row 4 .* that is too large for a network in float32: correct it, .* --precision float64"
    table = frame(4, a=[0.0, 1.0, 0.0, 1e39], w=1.0)
    preparation = prepare(table.assign(a=[0.0, 1.0, 0.0, 1.0]), "y", weights="w").preparation
    with pytest.raises(ValueError, match="column 'a' " + told):
        preparation.inputs_of(table, "float32")
    assert preparation.inputs_of(table, "float64").max() > 1e38
    with pytest.raises(ValueError, match="column 'w' " + told):
        prepare(table.assign(a=1.0, w=[1, 1, 1, 1e39]), "y", weights="w")
    with pytest.raises(ValueError, match="column 'y' " + told):
        prepare(table.assign(a=1.0, y=[1, 2, 3, 1e39]), "y", loss="poisson")
    held = prepare(frame(40), "y", test=0.2).test.rows[0]
    with pytest.raises(ValueError, match=rf"column 'a' holds a number in row {held + 1} .* too large"):
        prepare(frame(40, a=np.where(np.arange(40) == held, 1e300, np.arange(40) % 2)), "y", test=0.2)
    table = frame(4, a=[1.7e308, -1.7e308, -1.7e308, -1.7e308])
    with pytest.raises(ValueError, match=r"in row 1 .* too large for a network in float64: correct it, or leave the row out$"):
        prepare(table, "y", dtype="float64")


def test_many_columns_take_no_time_each(monkeypatch):
    from glassprop.tables import columns

    monkeypatch.setattr(columns, "numbers", None)  # which takes a column by itself
    table = frame(40, t=RNG.uniform(size=40) < 0.5)
    assert prepare(table, "y").preparation.inputs == ("a", "b", "t")
    assert prepare(table, "y").preparation.inputs_of(table, "float32").shape == (40, 3)


def test_what_is_no_frame_or_has_no_rows():
    with pytest.raises(TypeError, match="table must be a data frame"):
        prepare([[1, 2]], "y")
    with pytest.raises(ValueError, match="the table has no rows"):
        prepare(frame().iloc[:0], "y")
    with pytest.raises(ValueError, match="the table has two columns named 'a'; rename one"):
        prepare(pd.DataFrame([[1, 2, 3]], columns=["a", "a", "y"]), "y")


def test_whole_numbers_beyond_64_bits_keep_their_value():
    ready = prepare(frame(y=[1e30, -1e30] * 20), "y", loss="cross_entropy")
    assert ready.preparation.classes == (-1e30, 1e30)


def test_a_name_that_is_there_but_for_spaces_is_told():
    with pytest.raises(ValueError, match=r"ignore must be a column of the table; got 'a ' \(spaces count: there is 'a'\)"):
        prepare(frame(), "y", ignore=["a "])
    ready = prepare(frame().rename(columns={"a": " a"}), "y")
    with pytest.raises(ValueError, match=r"the table lacks the column ' a' \(spaces count: there is 'a'\); it has a, b, y"):
        ready.preparation.check(frame())
