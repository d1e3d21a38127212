"""Model: a trained network together with what its table taught, saved as one file and loaded again.

It knows predictions, scores and files; training is elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from glassprop.core.activations import Activation
from glassprop.core.arrays import check_parameters, check_weights
from glassprop.core.losses import Loss
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import predict
from glassprop.interop.safetensors import StoredModel, read_model, write_model
from glassprop.tables.columns import check_column, matrix, with_pandas
from glassprop.tables.metrics import Scores, classification_scores, pinball_loss, poisson_deviance, regression_scores
from glassprop.tables.preparation import Preparation
from glassprop.training.run import Run

#: Modules of the estimators, which are not imported to find that a model is none of them.
ESTIMATORS = ("glassprop.estimators.classifier", "glassprop.estimators.regressor")


class Model:
    """A trained network that takes rows of a table and answers in its labels or units.

    Parameters
    ----------
    network : Network
    parameters : Parameters
    preparation : Preparation, optional
        How a table becomes inputs and outputs become predictions. None: `predict` takes arrays of inputs and gives raw outputs.
    extra : mapping, optional
        Anything JSON can hold, saved beside it: how it was trained.

    Examples
    --------
    >>> import glassprop as gp
    >>> network = gp.Network((2, 1))
    >>> model = gp.Model(network, gp.Parameters.from_arrays([[[1.0], [2.0]]], [[0.5]]))
    >>> model.predict([[1.0, 1.0]])
    array([[3.5]])
    """

    def __init__(
        self,
        network: Network,
        parameters: Parameters,
        preparation: Preparation | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        check_parameters(network, parameters)
        self.network, self.parameters, self.preparation, self.extra = network, parameters, preparation, dict(extra or {})
        if preparation is not None:
            single = preparation.task == "regression" or network.loss.name == "binary_cross_entropy"
            outputs = 1 if single else len(preparation.classes)
            if (len(preparation.inputs), outputs) != (network.layers[0], network.layers[-1]):
                raise ValueError(
                    f"preparation must fit the network's {network.layers[0]} inputs and {network.layers[-1]} outputs; it has "
                    f"{len(preparation.inputs)} input columns and needs {outputs} outputs"
                )

    def predict(self, table: Any) -> np.ndarray:
        """Predictions, (rows,): class labels, or numbers in the target's own units; without preparation the outputs h_L.

        Parameters
        ----------
        table : data frame or array, (rows, inputs)
            A data frame's columns are found by name, in any order, others are ignored; an array's are taken in order.

        Raises
        ------
        ValueError
            Where input columns are missing, hold text or have gaps.
        """
        if self.preparation is None:
            return self._outputs(table)
        if self.preparation.task == "regression":
            return self._numbers(table)
        return np.array(self.preparation.classes)[self.predict_proba(table).argmax(1)]

    def predict_proba(self, table: Any) -> np.ndarray:
        """Probabilities of the classes, (rows, classes), in the order of ``preparation.classes``.

        Outputs of a network for cross_entropy without softmax are divided by their sum.

        Raises
        ------
        ValueError
            Where the model predicts numbers, and as for `predict`.
        """
        if self._prepared().task == "regression":
            raise ValueError("the model predicts numbers, not classes: it has no probabilities")
        outputs = self._outputs(table).astype(np.float64)
        if outputs.shape[1] == 1:
            return np.hstack([1 - outputs, outputs])
        return outputs / outputs.sum(1, keepdims=True)

    def evaluate(self, table: Any, weights: str | Any = None) -> Scores:
        """Scores of the predictions for a table that holds the target, by scikit-learn's names.

        Parameters
        ----------
        table : data frame
        weights : str or array, (rows,), optional
            Row weights, or the column that holds them.

        Returns
        -------
        dict
            ``accuracy``, ``log_loss`` and for two classes ``roc_auc``; or ``rmse``, ``mae``, ``r2``, with ``mean_pinball_loss``
            for a quantile and ``mean_poisson_deviance`` for poisson. None for a score that the rows do not define.

        Raises
        ------
        ValueError
            As for `predict`; where the target is missing, too, or holds a class that the model does not know.
        """
        preparation, table = self._prepared(), with_pandas(table)
        preparation.check(table)
        truth = preparation.truth_of(table)
        return self._scores(truth, self._predictions(table), row_weights(table, weights))

    def baseline(self, table: Any, weights: str | Any = None) -> Scores:
        """The same scores of what looks at no input: shares of the training rows' classes, their mean, or their quantile."""
        preparation, table = self._prepared(), with_pandas(table)
        truth = preparation.truth_of(table)
        if preparation.task == "regression":
            constant = np.full(len(truth), preparation.center)
        else:
            constant = np.tile(preparation.class_shares, (len(truth), 1))
        return self._scores(truth, constant, row_weights(table, weights))

    def __repr__(self) -> str:
        task = f"{self.preparation.task} of {self.preparation.target!r}" if self.preparation else "raw outputs"
        return f"Model({self.network}, {task})"

    def _prepared(self) -> Preparation:
        if self.preparation is None:
            raise ValueError("the model was saved without a table: it knows no columns or classes, and gives raw outputs only")
        return self.preparation

    def _outputs(self, table: Any) -> np.ndarray:
        if self.preparation is None:
            return predict(self.network, self.parameters, table)
        return predict(self.network, self.parameters, self.preparation.inputs_of(with_pandas(table), self.parameters.dtype))

    def _numbers(self, table: Any) -> np.ndarray:
        preparation = self._prepared()
        return self._outputs(table)[:, 0].astype(np.float64) * preparation.target_scale + preparation.target_mean

    def _predictions(self, table: Any) -> np.ndarray:
        return self._numbers(table) if self._prepared().task == "regression" else self.predict_proba(table)

    def _scores(self, truth: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None) -> Scores:
        return scores_of(self.network.loss, self._prepared().task, truth, predictions, weights)


def scores_of(loss: Loss, task: str, truth: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None) -> Scores:
    """The scores that go with a task and a loss: of probabilities and class numbers, or of numbers; None where one is none."""
    if task == "classification":
        scores = classification_scores(truth, predictions, weights)
    else:
        scores = regression_scores(truth, predictions, weights)
    if loss.name == "quantile":
        scores["mean_pinball_loss"] = pinball_loss(truth, predictions, loss.options["quantile"], weights)
    if loss.name == "poisson":
        scores["mean_poisson_deviance"] = poisson_deviance(truth, predictions, weights)
    return {name: value if value is not None and np.isfinite(value) else None for name, value in scores.items()}


def row_weights(table: Any, weights: str | Any) -> np.ndarray | None:
    """Row weights, (rows,), from a column or an array."""
    if isinstance(weights, str):
        check_column(table, weights, "weights")
        weights = matrix(table, [weights])[:, 0]
    return check_weights(weights, len(table), np.float64)


def save(model: Model | Run | Any, path: str | os.PathLike[str]) -> None:
    """Save a model as one safetensors file: data, never code, and written whole or not at all.

    Parameters
    ----------
    model : Model, Run, MLPClassifier or MLPRegressor
        What `train` returned is saved as a network without a table: loaded, it gives raw outputs. Of a fitted estimator all is
        kept that predicting and continuing go by; callbacks and metadata requests are not.
    path : path
        An existing file is replaced.

    Raises
    ------
    TypeError
        For anything else, and where a parameter of an estimator is a function, or another thing that is no data.
    NotFittedError
        Where an estimator has not been fitted.
    OSError
        Where the file cannot be written.

    Notes
    -----
    The tensors are W1, b1, W2 ... with weights (fan_in, fan_out), in the precision they were trained in. Of a user's own
    activation or loss the file holds the name.

    Examples
    --------
    >>> import tempfile
    >>> import glassprop as gp
    >>> run = gp.train(gp.Network((1, 4, 1), activation="tanh"), [[0.0], [1.0]], [1.0, 0.0], epochs=5, seed=0)
    >>> path = tempfile.mkdtemp() + "/model.safetensors"
    >>> gp.save(run, path)
    >>> bool((gp.load(path).predict([[0.5]]) == run.predict([[0.5]])).all())
    True
    """
    if type(model).__module__ in ESTIMATORS:
        from glassprop.estimators.described import describe_estimator

        network, parameters, estimator, tensors = describe_estimator(model)
        write_model(path, network, parameters, {"estimator": estimator}, tensors)
        return
    if isinstance(model, Run):
        model = Model(model.network, model.parameters, extra={"training": training_facts(model)})
    if not isinstance(model, Model):
        raise TypeError(
            "model must be a glassprop.Model, what glassprop.train returned, or a fitted MLPClassifier or MLPRegressor; got "
            f"{type(model).__module__.split('.')[0]}.{type(model).__name__}"
        )
    preparation = model.preparation and model.preparation.describe()
    write_model(path, model.network, model.parameters, model.extra | {"preparation": preparation})


def load(
    path: str | os.PathLike[str],
    activations: Mapping[str, Activation] | None = None,
    losses: Mapping[str, Loss] | None = None,
) -> Any:
    """Load what `save` saved.

    Parameters
    ----------
    path : path
    activations : mapping of str to Activation, optional
        Your own activations by name, where the network has any.
    losses : mapping of str to Loss, optional
        Your own loss by its name, where the network has one.

    Returns
    -------
    Model, MLPClassifier or MLPRegressor

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    TypeError
        Where `activations` or `losses` is anything else.
    ValueError
        Where the file is no model of glassprop, is damaged or of a newer format, or an activation or a loss is not given.

    Examples
    --------
    >>> import tempfile
    >>> import glassprop as gp
    >>> network, path = gp.Network((2, 1)), tempfile.mkdtemp() + "/model.safetensors"
    >>> gp.save(gp.Model(network, network.initialize(seed=0), extra={"note": "untrained"}), path)
    >>> gp.load(path).extra
    {'note': 'untrained'}
    """
    stored = read_model(path, activations, losses)
    if "estimator" not in stored.extra:
        return _model_of(path, stored)
    from glassprop.estimators.described import estimator_of

    try:
        return estimator_of(stored.network, stored.parameters, stored.extra["estimator"], stored.tensors, activations, losses)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"{os.fspath(path)}: not a glassprop model (its estimator is damaged: {error})") from None


def _model_of(path: str | os.PathLike[str], stored: StoredModel) -> Model:
    network, parameters, extra, _ = stored
    description = extra.pop("preparation", None)
    try:
        preparation = None if description is None else Preparation.from_description(description)
        return Model(network, parameters, preparation, extra)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: not a glassprop model (its preparation is damaged: {error})") from None


def training_facts(run: Run) -> dict[str, Any]:
    """What is worth knowing of a run later, as plain data."""
    last = run.history[run.best_epoch - 1] if run.best_epoch else None
    numbers = {} if last is None else {name: float(last[name]) for name in ("loss", "validation_loss")}
    return {
        "optimizer": run.optimizer.describe(),
        "precision": run._settings.precision or run.parameters.dtype.name,
        "seed": run.seed,
        "epochs": run.epochs,
        "best_epoch": run.best_epoch,
        "stopped": run.stopped,
        "seconds": round(float(run.history.seconds.sum()), 3),
        **{name: value if np.isfinite(value) else None for name, value in numbers.items()},
    }
