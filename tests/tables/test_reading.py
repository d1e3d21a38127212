"""Files and ready tables become data frames, or an error that says what is wrong with them."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest

from glassprop.tables.reading import READY, default_target, read_table


@pytest.fixture
def write(tmp_path):
    """Write a file and give its path."""

    def make(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


@pytest.mark.parametrize("name", READY)
def test_ready_tables(name):
    table = read_table(f"sklearn:{name}")
    assert list(table.columns)[-1] == default_target(f"sklearn:{name}") == "target"
    assert len(table) > 100


def test_classes_of_ready_tables_have_their_names():
    assert set(read_table("sklearn:breast_cancer").target) == {"malignant", "benign"}
    assert list(read_table("sklearn:digits").target[:3]) == [0, 1, 2]
    assert read_table("sklearn:iris").target.value_counts().to_dict() == {"setosa": 50, "versicolor": 50, "virginica": 50}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators(write, separator):
    table = read_table(write('"a,;|x",b,y\n1,2.5,u\n3,4,v\n'.replace(",", separator).replace(f"a{separator};|x", "a,;|x")))
    assert list(table.columns) == ["a,;|x", "b", "y"]
    assert table.b.tolist() == [2.5, 4.0]


def test_numbers_are_read_exactly(write):
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    path = write(pd.DataFrame({"a": values}).to_csv(index=False))
    np.testing.assert_allclose(read_table(path).a, values, rtol=4e-16)


def test_a_byte_order_mark_compression_and_line_ends(write):
    assert list(read_table(write(b"\xef\xbb\xbfa,b\r\n1,2\r\n")).columns) == ["a", "b"]
    assert read_table(write(gzip.compress(b"a,b\n1,2\n"), "t.csv.gz")).b.tolist() == [2]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (gzip.compress(b"a,b\n1,2\n")[:-9], "ended before the end-of-stream marker was reached"),
        (b"a,b\n1,2\n", r"Not a gzipped file \(b'a,'\)"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 99)[:-8] + b"damaged!", "CRC check failed"),
        (gzip.compress(b"a,b\n")[:10] + b"\xff" * 20, "invalid block type"),
    ],
    ids=["cut short", "plain", "another end", "another middle"],  # the time is in the files
)
def test_a_damaged_gzip_file(write, data, why):
    with pytest.raises(ValueError, match=rf"table\.csv\.gz: not a whole gzip file \(.*{why}"):
        read_table(write(data, "table.csv.gz"))


def test_texts_that_are_read_as_missing_are_kept(write):
    table = read_table(write("a,b,c\n1,None,\n2,NA,\n\nNA,,u\n"))
    assert table.attrs == {"read_as_missing": {"a": ["NA"], "b": ["None", "NA"]}}
    assert read_table(write("a,b\n1,\n")).attrs == {"read_as_missing": {}}
    assert read_table(write("a,b\n1,2\n")).attrs == {}


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
    assert read_table("-").b.tolist() == [2]


def test_columns_without_names_and_names_that_look_numbered(write):
    assert list(read_table(write("a,a.1,,\n5,6,7,8\n")).columns) == ["a", "a.1", "Unnamed: 2", "Unnamed: 3"]


def test_names_are_text(write):
    assert list(read_table(write("0,1\n5,6\n")).columns) == ["0", "1"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "the file is empty; a table has a line of column names and rows below it"),
        ("a,b\n", "the table has no rows, only column names"),
        (b"PK\x03\x04\0\0", r"not a CSV file \(it holds bytes that are not text\)"),
        (b"a,b\n\xe4,1\n", r"not a CSV file in UTF-8 \(.*\); save it as UTF-8"),
        (
            "a,b\n1,2\n".encode("utf-16"),
            r"not a CSV file in UTF-8 \(it is in UTF-16, Excel's \"Unicode text\"\); save it as UTF-8",
        ),
        ('{"a":[1,2],"b":[3,4]}', r"not a CSV file \(it looks like JSON\)"),
        ('[\n {"a": 1},\n {"a": 2}\n]\n', r"not a CSV file \(it looks like JSON\)"),
        ('{"a": 1, "b": 2}\n{"a": 3, "b": 4}\n', r"not a CSV file \(it looks like JSON\)"),
        (
            "a,b,c\n1,2,3\n\n \n1,2,\n1,2\n",
            r"row 3 \(counted from 1 below the column names\) has 2 of the 3 fields: fill it up",
        ),
        ("a,b,c\n1,2,3\n,\n", r"row 2 .* has 2 of the 3 fields"),
        ("a,b\n1,2\n1,2,3\n", r"not a CSV table \(Expected 2 fields in line 3, found 3\)"),
        ("a,b\n1,2,3\n1,2,3\n", r"not a CSV table \(the rows have more fields than the first line has column names\)"),
        ("a,b,a\n1,2,3\n", "2 columns are named 'a'; rename all but one"),
        (
            "0,0,2.5\n1,2,3\n",
            "2 columns are named '0'; these look like numbers of a first row: put a line of column names above it",
        ),
        ('a,b\n"1,2\n', r"not a CSV table \(EOF inside string starting at row 1\)"),
    ],
)
def test_files_that_are_no_tables(write, content, why):
    with pytest.raises(ValueError, match=r"table\.csv: " + why):
        read_table(write(content))


def test_brackets_and_missing_values_are_in_tables_too(write):
    assert list(read_table(write("[m],{s},b\n1,2,3\n")).columns) == ["[m]", "{s}", "b"]
    assert read_table(write("a,b\n1,\n\n,\n")).isna().to_numpy().tolist() == [[False, True], [True, True]]
    assert read_table(write("a,b\n" + "x" * 200_000 + ",\n")).b.isna().all()


def test_files_that_are_not_there(write, tmp_path):
    write("a\n1\n", "houses.csv")
    with pytest.raises(FileNotFoundError, match=r"house\.csv: no such file; did you mean '.*houses\.csv'\?"):
        read_table(tmp_path / "house.csv")
    with pytest.raises(FileNotFoundError, match=r"^iris: no such file; did you mean 'sklearn:iris'\?"):
        read_table("iris")
    with pytest.raises(IsADirectoryError, match="is a folder; give a CSV file"):
        read_table(tmp_path)
    with pytest.raises(
        ValueError, match=r"a table from scikit-learn must be one of 'iris', .* got 'digit'; did you mean 'digits'\?"
    ):
        read_table("sklearn:digit")
    assert default_target("houses.csv") is None
