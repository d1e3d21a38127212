"""Labels in several columns, each with classes of its own, as columns of 0 and 1: what LabelBinarizer does for one column.

It knows labels, not networks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target

SEVERAL = "multiclass-multioutput"  # scikit-learn's name for such labels


class ColumnsBinarizer:
    """LabelBinarizer's methods for a table of labels, (rows, columns).

    Attributes
    ----------
    classes_ : list of ndarray
        The classes of each column, sorted.
    """

    y_type_ = SEVERAL

    def fit(self, y: Any) -> ColumnsBinarizer:
        """Learn the classes of each column."""
        self.classes_ = [np.unique(column) for column in np.asarray(y).T]
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
        for number, (column, classes) in enumerate(zip(y.T, self.classes_, strict=True)):
            if len(np.setdiff1d(column, classes)):
                raise ValueError(f"`y` has classes not in `self.classes_` in column {number}: {np.setdiff1d(column, classes)}")
        return np.hstack([column[:, None] == classes for column, classes in zip(y.T, self.classes_, strict=True)])

    def parts(self, outputs: np.ndarray) -> list[np.ndarray]:
        """The outputs of each column's classes."""
        return np.split(outputs, np.cumsum([len(classes) for classes in self.classes_])[:-1], axis=1)

    def inverse_transform(self, outputs: np.ndarray) -> np.ndarray:
        """The class of the largest output, for each column, (rows, columns)."""
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
    several = y.ndim == 2 and type_of_target(y) == SEVERAL
    return (ColumnsBinarizer() if several else LabelBinarizer()).fit(y)
