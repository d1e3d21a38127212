"""MLPRegressor: numbers out. What it shares with the classifier is in base.py."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from glassprop.core.losses import Loss
from glassprop.estimators.base import BaseMLP, goes_by_epochs
from glassprop.estimators.documentation import documented
from glassprop.estimators.judge import one_eval_set
from glassprop.estimators.labels import holds_texts
from glassprop.estimators.outputs import plain
from glassprop.estimators.settings import CORE_LOSSES, core_loss


@documented(score="R²", targets="Numbers.")
class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron for numbers, by scikit-learn's rules and with its numbers, trained by the compiled core.

    Parameters
    ----------
    loss : {'squared_error', 'poisson', 'absolute_error', 'huber', 'quantile'} or Loss, default='squared_error'
        Half the squared error, half the Poisson deviance (behind an exponential, for y ≥ 0), and others. Constants are given as
        ``glassprop.Loss("quantile", quantile=0.9)``; a loss of your own as ``glassprop.Loss("mine", value=..., slope=...)``.
    {parameters}
    {last_parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    MLPClassifier : for classes.
    glassprop.train : networks in numbers.

    Notes
    -----
    Where it departs from scikit-learn's MLPRegressor, and how fast it is beside it: docs/coming-from-scikit-learn.md.
    For several outputs it descends the sum over outputs of half the squared errors, and prints their mean, as scikit-learn
    does.

    References
    ----------
    Kingma and Ba 2015, Adam. Glorot and Bengio 2010, starting weights. Byrd, Lu, Nocedal and Zhu 1995, L-BFGS-B.

    Examples
    --------
    >>> from glassprop import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> model = MLPRegressor(solver="lbfgs", random_state=1, max_iter=2000).fit(X[::2], y[::2] / y.std())
    >>> bool(model.score(X[1::2], y[1::2] / y.std()) > 0.9)
    True
    """

    _y_numeric = True
    _parameter_constraints: ClassVar[dict] = {**BaseMLP._parameter_constraints, "loss": [StrOptions(set(CORE_LOSSES)), Loss]}

    def __init__(
        self,
        loss="squared_error",
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
    ) -> MLPRegressor:
        """Fit the network to numbers.

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
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Train one epoch on these rows; rule and learning rate are those of the first call, with all that they remember.

        Parameters
        ----------
        {fit}

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """Predictions for the rows of X.

        Parameters
        ----------
        X : array-like or sparse matrix, (rows, inputs)

        Returns
        -------
        ndarray, (rows,) or (rows, outputs)
        """
        outputs = self._outputs(X)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R², the mean over outputs.

        Parameters
        ----------
        X : array-like or sparse matrix, (rows, inputs)
        y : array-like, (rows,) or (rows, outputs)
        sample_weight : array-like, (rows,), optional

        Returns
        -------
        float
        """
        if sample_weight is None and type(y) is np.ndarray and plain(y):
            predicted = self.predict(X)
            if predicted.dtype == y.dtype and predicted.shape == y.shape:
                return self._score_outputs(predicted.reshape(len(y), -1), y.reshape(len(y), -1), None)
        return super().score(X, y, sample_weight)

    def _core_loss(self) -> Loss:
        return core_loss(self.loss)

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        try:
            X, checked = self._check_arrays(X, y, reset)
        except ValueError:
            if not holds_texts(y):
                raise
            checked = None
        if checked is None or checked.dtype.kind in "US":
            raise ValueError("y must be numbers, and holds texts. Labels are for MLPClassifier.")
        return X, checked

    def _targets(self, y: Any) -> tuple[np.ndarray, int]:
        Y = y[:, None] if y.ndim == 1 else y
        return Y, Y.shape[1]

    def _score_outputs(self, outputs: np.ndarray, Y: np.ndarray, weights: np.ndarray | None) -> float:
        """R², the mean over outputs: scikit-learn's `r2_score`, whose checks take longer than an epoch of few rows."""
        if len(Y) < 2:
            from sklearn.metrics import r2_score

            return r2_score(Y, outputs, sample_weight=weights)  # says that it is none
        weight: Any = 1.0 if weights is None else weights[:, None]
        left = np.sum(weight * (Y - outputs) ** 2, axis=0)
        there = np.sum(weight * (Y - np.average(Y, axis=0, weights=weights)) ** 2, axis=0)
        scores = (left == 0).astype(left.dtype)  # where all targets are the same
        scores[there != 0] = 1 - left[there != 0] / there[there != 0]
        return float(np.average(scores))
