"""What is wrong with a network, in words: its facts layer by layer, and the rules that they break.

What a person calls and gets back; measure.py measures and rules.py judges.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from glassprop.core.network import Parameters
from glassprop.core.update import Optimizer, check_optimizer
from glassprop.errors import is_whole, names_arguments
from glassprop.glass.measure import Facts, LayerFacts, Subject, checked, measure
from glassprop.glass.moment import check_by_name, network_of
from glassprop.glass.rules import RULES
from glassprop.training.run import Run


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: its name, the facts, and what to try."""

    name: str
    facts: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: {self.facts}. Try this: {self.advice}."


class Diagnosis:
    """What `diagnose` found; true where nothing is wrong.

    Attributes
    ----------
    findings : tuple of Finding
        What explains most first.
    layers : tuple of LayerFacts
    loss, baseline : float
        On the rows looked at, without penalty; the latter of the best constant outputs.
    facts : Facts
        Everything that was measured.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts, self.layers, self.loss, self.baseline = facts, facts.layers, facts.loss, facts.baseline
        findings: list[Finding] = []
        for rule in RULES:
            if not (rule.alone and findings) and (text := rule.seen(facts)):
                findings.append(Finding(rule.name, text, rule.advice))
        self.findings = tuple(findings)

    def __bool__(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        head = (
            f"{'layer':<6}{'units':>6} {'activation':<11}{'g':>16}{'h':>16}{'dead':>6}{'flat':>6}{'same':>6}{'useless':>9}"
            f"{'δ':>10}{'∂L/∂W':>10}{'W':>10}{'ΔW/W':>10}"
        )
        lines = [f"loss {self.loss:.4g}; of the best constant outputs {self.baseline:.4g}", "", head]
        lines += [_line(layer) for layer in self.layers]
        return "\n".join([*lines, "", *(map(str, self.findings) if self.findings else ["nothing is found to be wrong"])])

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """Everything told as plain data; what is not finite is None."""
        facts: dict[str, Any] = {"healthy": not self.findings, "loss": self.loss, "baseline": self.baseline}
        facts |= {"validation_loss": self.facts.validation_loss, "learning_rate": self.facts.learning_rate}
        trials = {
            f"{factor:g}": {name: _finite(loss) for name, loss in trial._asdict().items()}
            for factor, trial in self.facts.trials.items()
        }
        layers = [{name: _finite(value) for name, value in asdict(layer).items()} for layer in self.layers]
        return (
            {name: _finite(value) for name, value in facts.items()}
            | {"findings": [asdict(finding) for finding in self.findings]}
            | {"layers": layers, "trials": trials}
        )

    def plot(self) -> Any:
        """A matplotlib figure: g, δ and gradients, steps, neurons by layer; the history, or the trials where there is none."""
        from glassprop.glass.pictures import draw_diagnosis

        return draw_diagnosis(self.facts)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _line(layer: LayerFacts) -> str:
    update = "" if layer.update is None else f"{layer.update:.1e}"
    g, h = f"{layer.g_mean:.2g} ± {layer.g_std:.2g}", f"{layer.h_mean:.2g} ± {layer.h_std:.2g}"
    shares = f"{layer.dead:>6.0%}{layer.saturated:>6.0%}{layer.duplicates:>6.0%}{layer.useless:>9.0%}"
    return (
        f"{layer.layer:<6}{layer.units:>6} {layer.activation:<11} {g:>15} {h:>15}{shares}"
        f"{layer.delta:>10.1e}{layer.gradient:>10.1e}{layer.weight:>10.1e}{update:>10}"
    )


@names_arguments
def diagnose(
    subject: Any,
    parameters: Parameters | None = None,
    X: Any = None,
    Y: Any = None,
    *,
    weights: Any = None,
    validation: Any = None,
    optimizer: Optimizer | None = None,
    batch_size: int = 32,
    diverged: str = "",
) -> Diagnosis:
    """Measure a network layer by layer, and say in words what is wrong with it and what to try.

    At most 2000 rows are looked at. Where the update rule is known, a few steps more are tried with a tenth of its highest
    learning rate, with it and with ten times as much, and with still more where that hardly changes the loss.

    Parameters
    ----------
    subject : Run, Network, loaded model or estimator
        A run knows everything else; a network needs `parameters`, X and Y, a loaded model X and Y as its network takes them.
        Of an estimator, X and Y are what its `fit` takes, and the rule and its steps are its own.
    parameters : Parameters
    X : array, (rows, inputs)
    Y : array, (rows, outputs) or (rows,)
    weights : array, (rows,), optional
        Row weights.
    validation : (X, Y) or (X, Y, weights), optional
        Rows that were not trained on.
    optimizer : update rule, optional
        The one it is trained with.
    batch_size : int
        Rows of its steps.
    diverged : str
        Where numbers ceased to be finite when it was trained, as ``run.stopped`` says it.

    Returns
    -------
    Diagnosis
        Printed, a table of the layers and the findings; true where nothing is wrong.

    Raises
    ------
    ValueError, TypeError
        Where something is missing or does not fit.

    Examples
    --------
    >>> import glassprop as gp
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> run = gp.train(gp.Network((10, 16, 1)), X, y, epochs=5, seed=0)
    >>> for finding in gp.diagnose(run).findings[:2]:
    ...     print(f"{finding.name}: {finding.facts}")
    unscaled inputs: no input has a standard deviation above 0.048
    target scale: targets have mean 152 and standard deviation 77
    """
    given = {"parameters": parameters, "X": X, "Y": Y}
    if isinstance(subject, Run):
        others = given | {"weights": weights, "validation": validation, "optimizer": optimizer, "diverged": diverged or None}
        extra = next((name for name, value in others.items() if value is not None), None)
        if extra:
            raise ValueError(f"{extra} must not be given beside a run, which has its own")
        return _diagnosis(_of_run(subject))
    if hasattr(subject, "diagnose"):
        check_by_name("diagnose", parameters, X, Y)
        if optimizer is not None:
            raise ValueError("optimizer must not be given beside an estimator, which has its own")
        return subject.diagnose(X, Y, sample_weight=weights, validation=validation)
    network, parameters = network_of(subject, parameters)
    for name, value in (("X", X), ("Y", Y)):
        if value is None:
            raise ValueError(f"{name} must be given: a run alone has its own rows")
    if optimizer is not None:
        check_optimizer(optimizer)
    if not is_whole(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1; got {batch_size!r}")
    if validation is not None and not (isinstance(validation, tuple) and len(validation) in (2, 3)):
        raise TypeError(f"validation must be (X, Y) or (X, Y, weights); got {type(validation).__name__}")
    rows = checked(network, X, Y, weights)
    own = parameters.astype(np.float64)
    return _diagnosis(Subject(network, own, *rows, validation, optimizer, None, 0, int(batch_size), None, diverged))


def _diagnosis(subject: Subject) -> Diagnosis:
    if len(subject.X) < 2:
        raise ValueError("X must have at least two rows: what differs between rows is asked; got 1")
    return Diagnosis(measure(subject))


def _of_run(run: Run) -> Subject:
    """A run with its rows, its state and its history."""
    data, checkpoint, settings = run._data, run._checkpoint, run._settings
    rows = slice(None) if data.chosen is None else data.chosen
    weights = None if data.weights is None else data.weights[rows]
    X, Y, w = checked(run.network, data.X[rows], data.Y[rows], weights)
    state, step = None, 0
    if checkpoint is not None:
        vectors = [run.parameters.with_theta(vector).astype(np.float64).theta for vector in checkpoint["state"]]
        state, step = np.array(vectors), int(checkpoint["progress"]["step"][0])
    last = run.parameters.with_theta(run._theta)
    restored = not all(np.array_equal(a, b) for a, b in zip(last.W, run.parameters.W, strict=True))
    return Subject(
        run.network, run.parameters.astype(np.float64), X, Y, w, data.validation, run.optimizer, state, step,
        settings.batch_size, run.history if run.epochs else None, run.stopped if run.diverged else "", restored,
    )  # fmt: skip
