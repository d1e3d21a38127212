"""MLPClassifier: labels in, labels and probabilities out. What it shares with the regressor is in base.py."""

from __future__ import annotations

from functools import partial
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_array

from glassprop.core.losses import Loss
from glassprop.estimators.base import BaseMLP, goes_by_epochs
from glassprop.estimators.documentation import documented
from glassprop.estimators.judge import one_eval_set
from glassprop.estimators.labels import (
    ONE_COLUMN,
    SEVERAL,
    ColumnsBinarizer,
    as_table,
    balanced_weights,
    check_weights_by_class,
    classes_by_column,
    fit_binarizer,
    of_classes_in,
    several_columns,
)


@documented(
    score="accuracy",
    targets="Labels of any kind; or a column of 0 and 1 for each of several labels; or several columns of other labels.",
)
class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron for classes, by scikit-learn's rules and with its numbers, trained by the compiled core.

    It minimises the log loss: cross-entropy behind a softmax for more than two classes, binary cross-entropy behind a sigmoid
    for two, for each of several labels, and for each class where y has several columns of labels.

    Parameters
    ----------
    {parameters}
    label_smoothing : float, default=0.0
        Share of every target that is spread over the classes.
    class_weight : dict, list of dict, 'balanced' or None, default=None
        Weights of rows by their class; 'balanced' is rows / (classes · rows of the class) of the rows that `fit` is given, for
        those of an ``eval_set``, of `explain` and of a later `partial_fit`, too.
    {last_parameters}

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray where y has several columns of labels
        Labels, in the order of `predict_proba`.
    {attributes}

    See Also
    --------
    MLPRegressor : for numbers.
    glassprop.train : networks without labels, in numbers.

    Notes
    -----
    Where it departs from scikit-learn's MLPClassifier, and how fast it is beside it: docs/coming-from-scikit-learn.md.
    A log loss is printed as scikit-learn prints it, of probabilities clipped to [ε, 1 − ε]; its gradient is that of the loss
    without clipping.

    References
    ----------
    Kingma and Ba 2015, Adam. Glorot and Bengio 2010, starting weights. Byrd, Lu, Nocedal and Zhu 1995, L-BFGS-B.

    Examples
    --------
    >>> from glassprop import MLPClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(learning_rate_init=0.01, max_iter=1000, random_state=0).fit(X[::2], y[::2])
    >>> bool(model.score(X[1::2], y[1::2]) > 0.9)
    True
    """

    _y_numeric = False
    _parameter_constraints: ClassVar[dict] = {
        **BaseMLP._parameter_constraints,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dropout=0.0,
        weight_decay=None,
        l1=0.0,
        gradient_clip=None,
        label_smoothing=0.0,
        class_weight=None,
        scoring=None,
        n_jobs=None,
    ):
        self._take(locals())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        eval_set: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPClassifier:
        """Fit the network to labels.

        Parameters
        ----------
        {fit}
        {eval_set}

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            Where parameters or data cannot be trained on, or training diverged.

        Warns
        -----
        ConvergenceWarning
            Where `max_iter` was reached before training had converged.
        """
        return self._fit(X, y, sample_weight, eval_set=one_eval_set(eval_set, X_val, y_val, sample_weight_val))

    @available_if(goes_by_epochs)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> MLPClassifier:
        """Train one epoch on these rows; rule and learning rate are those of the first call, with all that they remember.

        Parameters
        ----------
        {fit}
        classes : array-like, or list of array-like where y has several columns of labels, optional
            All labels that will ever come, in each column; wanted at the first call.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True, begin=partial(self._take_classes, y, classes))

    def _take_classes(self, y: Any, classes: Any) -> None:
        """The labels that will ever come, at the first `partial_fit`; at a later one, whether they are the same."""
        y, columns = as_table(y), classes_by_column(classes)
        if columns is not None and not hasattr(self, "classes_"):
            self._label_binarizer = ColumnsBinarizer(columns)
            self.classes_ = columns
        elif self._several or columns is not None:
            known = [each.tolist() for each in self.classes_] if self._several else np.asarray(self.classes_).tolist()
            if classes is not None and (columns is None or [each.tolist() for each in columns] != known):
                raise ValueError(f"classes must be those of the calls before, {known}; got {classes!r}")
        elif several_columns(y):
            if not hasattr(self, "classes_"):
                raise ValueError(
                    "partial_fit needs the classes of each column, classes=[[...], [...]], or a call of fit before it where y "
                    "has several columns of labels"
                )
        elif _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer().fit(y if type_of_target(y).startswith("multilabel") else classes)

    def predict(self, X: Any) -> Any:
        """Labels of the rows of X, (rows, inputs).

        Parameters
        ----------
        X : array-like or sparse matrix, (rows, inputs)

        Returns
        -------
        ndarray, (rows,) or (rows, columns of y)
        """
        outputs = self._outputs(X)
        if self._label_binarizer.y_type_ in ONE_COLUMN:
            return self.classes_[self._class_numbers(outputs)]
        return self._label_binarizer.inverse_transform(outputs)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array-like or sparse matrix, (rows, inputs)

        Returns
        -------
        ndarray, (rows, classes)
            In the order of ``classes_``; where y had several columns of labels, a list with one for each column.
        """
        return self._probabilities(self._outputs(X))

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of the probabilities of the classes: small ones from the pre-activations, so that none is −∞.

        Parameters
        ----------
        X : array-like or sparse matrix, (rows, inputs)

        Returns
        -------
        ndarray, (rows, classes)
            Or a list, as `predict_proba`.
        """
        from scipy.special import log_expit, log_softmax

        parts: list[np.ndarray] = []
        probabilities = self._probabilities(self._outputs(X, parts))
        (g,) = parts
        if self._several:
            return [log_softmax(log_expit(part), axis=1) for part in self._label_binarizer.parts(g)]
        small = probabilities < np.sqrt(np.finfo(probabilities.dtype).eps)
        if not small.any():
            return np.log(probabilities)
        if self.out_activation_ == "softmax":
            exact = log_softmax(g, axis=1)
        else:
            exact = log_expit(np.hstack([-g, g]) if self.n_outputs_ == 1 else g)
        return np.where(small, exact, np.log(np.where(small, 1, probabilities)))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy; of several columns at once, the share of rows with all of them right.

        Parameters
        ----------
        X : array-like or sparse matrix, (rows, inputs)
        y : array-like, (rows,) or (rows, columns)
        sample_weight : array-like, (rows,), optional

        Returns
        -------
        float
        """
        binarizer = getattr(self, "_label_binarizer", None)
        if binarizer is None or binarizer.y_type_ in ONE_COLUMN or issparse(y):
            if sample_weight is None and type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biuU":
                predicted = self.predict(X)  # scikit-learn's checks of labels take as long
                if predicted.dtype.kind == y.dtype.kind and len(predicted) == len(y):
                    return float(np.average(predicted == y))
            return super().score(X, y, sample_weight)
        truth, predicted = check_array(as_table(y), ensure_2d=False, dtype=None), self.predict(X)
        predicted = predicted.toarray() if issparse(predicted) else predicted
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, truth)
        if truth.dtype.kind not in "biuf" and predicted.dtype.kind in "biuf":
            raise ValueError(f"y must have labels such as {predicted[0, 0]!r}; got {truth.ravel()[0]!r}")
        if truth.shape != predicted.shape:
            raise ValueError(f"y must have a label for each row and column, {predicted.shape}; got shape {truth.shape}")
        return float(np.average((predicted == truth).all(1), weights=sample_weight))

    def _class_numbers(self, outputs: np.ndarray) -> np.ndarray:
        """Of one column of labels, the number of the class of every row: the only one, where there is one."""
        return outputs.argmax(1) if len(self.classes_) > 2 else (outputs[:, 0] > 0.5) * (len(self.classes_) - 1)

    def _probabilities(self, outputs: np.ndarray) -> Any:
        if self._several:
            return [part / part.sum(1, keepdims=True) for part in self._label_binarizer.parts(outputs)]
        return np.hstack([1 - outputs, outputs]) if self.n_outputs_ == 1 else outputs

    @property
    def _several(self) -> bool:
        """Whether y had several columns of labels, each with classes of its own."""
        return hasattr(self, "_label_binarizer") and self._label_binarizer.y_type_ == SEVERAL

    def _core_loss(self) -> Loss:
        multiclass = self._label_binarizer.y_type_ == "multiclass"
        return Loss("cross_entropy" if multiclass else "binary_cross_entropy", label_smoothing=float(self.label_smoothing))

    def _check_arrays(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        return super()._check_arrays(X, as_table(y), reset)

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = self._check_arrays(X, y, reset)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = fit_binarizer(y)
            self.classes_ = self._label_binarizer.classes_
            self.__dict__.pop("_balanced", None)
        elif self.warm_start and not self._several and set(unique_labels(y)) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously got "
                f"{self.classes_}, `y` has {unique_labels(y)}"
            )
        return X, y

    def _targets(self, y: Any) -> tuple[np.ndarray, int]:
        classes, kind = self.classes_, self._label_binarizer.y_type_
        if kind in ONE_COLUMN and y.ndim == 1:
            numbers = np.searchsorted(classes, y)
            unknown = classes[np.minimum(numbers, len(classes) - 1)] != y
            if np.any(unknown):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {classes}. 'y' has {unique_labels(y)}."
                )
            return numbers[:, None], len(classes) if len(classes) > 2 else 1
        if not self._several and len(np.setdiff1d(unique_labels(y), classes)):
            raise ValueError(f"y must have {len(classes)} columns of labels; got shape {y.shape}")
        Y = self._label_binarizer.transform(y.astype(bool) if issparse(y) else y)  # what a sparse table holds is there
        return Y, Y.shape[1]

    def _row_weights(self, y: Any, sample_weight: Any, whole: bool) -> Any:
        if self.class_weight is None:
            return sample_weight
        by_class: Any = self.class_weight
        if isinstance(by_class, str):
            if whole:
                self._balanced = balanced_weights(y)
            elif not hasattr(self, "_balanced"):
                raise ValueError(
                    "class_weight='balanced' needs all rows at once: call fit with it before, or give partial_fit weights by "
                    "class, as sklearn.utils.class_weight.compute_class_weight('balanced', classes=classes, y=y) gives them"
                )
            by_class = self._balanced
        else:
            check_weights_by_class(y, by_class, whole)
        weights = compute_sample_weight(by_class if whole else of_classes_in(y, by_class), y)
        return weights if sample_weight is None else weights * sample_weight

    def _classes_to_stratify(self, Y: np.ndarray) -> np.ndarray | None:
        return Y.astype(bool) if self.n_outputs_ == 1 else None

    def _score_outputs(self, outputs: np.ndarray, Y: np.ndarray, weights: np.ndarray | None) -> float:
        """As `score`."""
        if self._several:
            parts = zip(self._label_binarizer.parts(outputs), self._label_binarizer.parts(Y), strict=True)
            right = np.all([part.argmax(1) == wanted.argmax(1) for part, wanted in parts], axis=0)
        elif self._label_binarizer.y_type_ in ONE_COLUMN:
            right = self._class_numbers(outputs) == Y[:, 0]
        else:
            right = ((outputs > 0.5) == Y).all(1)
        return np.average(right, weights=weights)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
