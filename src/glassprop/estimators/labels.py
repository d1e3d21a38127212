"""Labels of every kind as columns of 0 and 1; where columns have classes of their own, what LabelBinarizer does for one.

It knows labels, not networks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import type_of_target

from glassprop.errors import is_number

ONE_COLUMN = ("binary", "multiclass")
SEVERAL = "multiclass-multioutput"  # scikit-learn's name for such labels


class ColumnsBinarizer:
    """LabelBinarizer's methods for a table of labels, (rows, columns).

    Attributes
    ----------
    classes_ : list of ndarray
        The classes of each column, sorted.
    """

    y_type_ = SEVERAL

    def __init__(self, classes: list[np.ndarray] | None = None) -> None:
        if classes is not None:  # those that will ever come
            self.classes_ = classes

    def fit(self, y: Any) -> ColumnsBinarizer:
        """Learn the classes of each column."""
        self.classes_ = [np.unique(column) for column in _columns(np.asarray(y))]
        return self

    def transform(self, y: np.ndarray) -> np.ndarray:
        """0 and 1 for every class of every column, (rows, classes of all columns).

        Raises
        ------
        ValueError
            Where y has another number of columns, or a label that is new.
        """
        if y.ndim != 2 or y.shape[1] != len(self.classes_):
            raise ValueError(f"y must have {len(self.classes_)} columns of labels; got shape {y.shape}")
        given = list(zip(_columns(y), self.classes_, strict=True))
        for number, (column, classes) in enumerate(given):
            unknown = sorted({*column.tolist()} - {*classes.tolist()})
            if unknown:
                raise ValueError(f"`y` has classes not in `self.classes_` in column {number}: {unknown}")
        return np.hstack([column[:, None] == classes for column, classes in given])

    def parts(self, outputs: np.ndarray) -> list[np.ndarray]:
        """The outputs of each column's classes."""
        return np.split(outputs, np.cumsum([len(classes) for classes in self.classes_])[:-1], axis=1)

    def inverse_transform(self, outputs: np.ndarray) -> np.ndarray:
        """The class of the largest output, for each column, (rows, columns); of objects where texts are beside numbers."""
        chosen = [classes[part.argmax(1)] for part, classes in zip(self.parts(outputs), self.classes_, strict=True)]
        return np.stack(chosen, axis=1)


def fit_binarizer(y: Any) -> LabelBinarizer | ColumnsBinarizer:
    """The binarizer for labels of this kind, fitted."""
    if y.ndim == 1 and y.dtype.kind in "biu":  # as its fit, which asks of every label what kind it is
        binarizer, classes = LabelBinarizer(), np.unique(y)
        binarizer.y_type_ = "binary" if len(classes) <= 2 else "multiclass"
        binarizer.sparse_input_ = False
        binarizer.classes_ = classes.astype(classes.dtype.newbyteorder("="))
        return binarizer
    return (ColumnsBinarizer() if several_columns(y) else LabelBinarizer()).fit(y)


def several_columns(y: Any) -> bool:
    """Whether each column of y has classes of its own. A table of 0 and 1 says of each label whether it is there instead.

    scikit-learn calls that any dense table of two numbers, in which every other number than 0 is a 1: columns of 1 and 2 would
    all be there, and some folds of a table of more numbers would be of another kind than it is.
    """
    if not issparse(y) and _of_several_kinds(np.asarray(y)):
        return True
    kind = type_of_target(y)
    return kind == SEVERAL or (kind == "multilabel-indicator" and not issparse(y) and not np.isin(y, (0, 1)).all())


def classes_by_column(classes: Any) -> list[np.ndarray] | None:
    """The classes of each of several columns, sorted, where a list of them is given; None where they are of one column."""
    if not isinstance(classes, (list, tuple)) or not classes or not all(np.ndim(each) == 1 for each in classes):
        return None
    return [np.unique(_of_its_kind(np.array([*each], dtype=object))) for each in classes]


def as_table(y: Any) -> Any:
    """Labels as scikit-learn's checks take them: those would make numbers of a frame's categories that are texts, and texts of
    the numbers beside texts in a list of rows.
    """
    if isinstance(y, (list, tuple)) and y and isinstance(y[0], (list, tuple)):
        table = np.array(y, dtype=object)
        return table if _of_several_kinds(table) and holds_texts(table) else y
    kinds = y.dtypes if getattr(y, "ndim", 0) == 2 and hasattr(y, "dtypes") else ()
    texts = any(hasattr(kind, "categories") and getattr(kind.categories, "inferred_type", None) == "string" for kind in kinds)
    return np.asarray(y) if texts else y


def holds_texts(y: Any) -> bool:
    """Whether there are texts among targets, given in whatever form."""
    return any(isinstance(label, str) for label in np.asarray(y, dtype=object).flat)


def _of_several_kinds(y: np.ndarray) -> bool:
    """Whether y is a table of objects that are not all texts, as data frames make of columns of several types."""
    return y.dtype == object and y.ndim == 2 and y.shape[1] > 1 and not all(isinstance(label, str) for label in y.flat)


def _columns(y: Any) -> list[np.ndarray]:
    """The columns of y, each of its own type where texts are beside numbers."""
    if y.ndim == 1:
        return [y]
    table = y.toarray() if issparse(y) else y
    return [_of_its_kind(column) for column in table.T] if _of_several_kinds(table) else list(table.T)


def _of_its_kind(column: np.ndarray) -> np.ndarray:
    labels = column.tolist()
    texts = [label for label in labels if isinstance(label, str)]
    if texts and len(texts) < len(labels):
        other = next(label for label in labels if not isinstance(label, str))
        raise TypeError(f"labels of one column must be all texts or all numbers; got {texts[0]!r} and {other!r}")
    return column if texts else np.array(labels)


def check_weights_by_class(y: Any, by_class: Any, whole: bool) -> None:
    """Raise for weights by class that are no weights; and for labels that are not in the `whole` y while others have none."""
    columns = _columns(y)
    several = y.ndim == 2
    if several != isinstance(by_class, list) or (several and len(by_class) != len(columns)):
        wanted = f"a list with a dict for each of the {len(columns)} columns of labels" if several else "a dict"
        raise ValueError(f"class_weight must be 'balanced' or {wanted}; got {by_class!r}")
    for number, (weights, column) in enumerate(zip(by_class if several else [by_class], columns, strict=True)):
        place = f" in column {number}" if several else ""
        for label, weight in weights.items():
            if not (is_number(weight) and 0 <= weight < np.inf):
                raise ValueError(f"class_weight of {label!r}{place} must be a finite number, at least 0; got {weight!r}")
        known = {*column.tolist()}
        if whole and {*weights} - known and known - {*weights}:
            unknown, labels = ([*map(repr, each)] for each in ({*weights} - known, known))
            raise ValueError(f"class_weight has {', '.join(unknown)}, but the labels{place} are {', '.join(sorted(labels))}")


def of_classes_in(y: Any, by_class: Any) -> Any:
    """Of weights by class those of classes in y, in each of its columns: scikit-learn takes others for a mistake."""
    several = isinstance(by_class, list)
    found = [
        {label: weight for label, weight in weights.items() if label in set(column.tolist())}
        for column, weights in zip(_columns(y), by_class if several else [by_class], strict=several)
    ]
    return found if several else found[0]


def balanced_weights(y: Any) -> dict[Any, float] | list[dict[Any, float]]:
    """Weights by class, rows / (classes · rows of the class), for each column of y where it has several."""
    weights = []
    for column in _columns(y):
        classes = np.unique(column)
        of_classes = compute_class_weight("balanced", classes=classes, y=column)
        weights.append(dict(zip(classes, map(float, of_classes), strict=True)))
    return weights[0] if y.ndim == 1 else weights
