"""glassprop: multilayer perceptrons by backpropagation, at the speed of the machine, with every number in sight."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from glassprop.core.activations import ACTIVATIONS, Activation
from glassprop.core.initializers import INITIALIZERS
from glassprop.core.losses import LOSSES, Loss
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import Backward, Forward, backward, forward, update
from glassprop.core.schedules import Cosine, Exponential, InverseScaling, OneCycle
from glassprop.core.update import OPTIMIZERS, SGD, Adagrad, Adam, AdamW, RMSprop, Rprop
from glassprop.errors import CompileNotice, DivergenceWarning
from glassprop.tables.model import Model, load, save
from glassprop.training.many import train_many
from glassprop.training.run import Epoch, Run, train

if TYPE_CHECKING:
    from glassprop.estimators.classifier import MLPClassifier
    from glassprop.estimators.regressor import MLPRegressor
    from glassprop.glass.check import GradientCheck, check_gradients
    from glassprop.glass.diagnose import Diagnosis, diagnose
    from glassprop.glass.explain import explain
    from glassprop.glass.explanation import Explanation
    from glassprop.glass.replay import Replay, replay
    from glassprop.glass.verify import StepCheck, verify_step

__version__ = "0.1.0"

# in the order of docs/layout.md: the way of the data
__all__ = [  # noqa: RUF022
    "ACTIVATIONS", "Activation", "LOSSES", "Loss", "Network", "Parameters", "INITIALIZERS",
    "forward", "Forward", "backward", "Backward", "update",
    "OPTIMIZERS", "SGD", "RMSprop", "Rprop", "Adagrad", "Adam", "AdamW",
    "InverseScaling", "Exponential", "Cosine", "OneCycle",
    "train", "train_many", "Run", "Epoch", "DivergenceWarning", "CompileNotice",
    "MLPClassifier", "MLPRegressor",
    "explain", "Explanation",
    "check_gradients", "GradientCheck", "verify_step", "StepCheck", "diagnose", "Diagnosis", "replay", "Replay",
    "Model", "save", "load",
]  # fmt: skip

# names whose modules take their time, or import heavy libraries, which are made when they are first asked for
_LATER = {
    "MLPClassifier": "glassprop.estimators.classifier",
    "MLPRegressor": "glassprop.estimators.regressor",
    "GradientCheck": "glassprop.glass.check",
    "check_gradients": "glassprop.glass.check",
    "Diagnosis": "glassprop.glass.diagnose",
    "diagnose": "glassprop.glass.diagnose",
    "explain": "glassprop.glass.explain",
    "Explanation": "glassprop.glass.explanation",
    "Replay": "glassprop.glass.replay",
    "replay": "glassprop.glass.replay",
    "StepCheck": "glassprop.glass.verify",
    "verify_step": "glassprop.glass.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
