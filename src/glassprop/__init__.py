"""glassprop: multilayer perceptrons by backpropagation, at the speed of the machine, with every number in sight."""

from glassprop.core.activations import ACTIVATIONS, Activation
from glassprop.core.initializers import INITIALIZERS
from glassprop.core.losses import LOSSES, Loss
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import Backward, Forward, backward, forward, update
from glassprop.core.schedules import Cosine, Exponential, InverseScaling, OneCycle
from glassprop.core.update import OPTIMIZERS, SGD, Adagrad, Adam, AdamW, RMSprop, Rprop
from glassprop.errors import CompileNotice, DivergenceWarning
from glassprop.glass.check import GradientCheck, check_gradients
from glassprop.glass.diagnose import Diagnosis, diagnose
from glassprop.glass.explain import explain
from glassprop.glass.explanation import Explanation
from glassprop.glass.replay import Replay, replay
from glassprop.glass.verify import StepCheck, verify_step
from glassprop.tables.model import Model, load, save
from glassprop.training.many import train_many
from glassprop.training.run import Epoch, Run, train

__version__ = "0.1.0"

# in the order of docs/layout.md: the way of the data
__all__ = [  # noqa: RUF022
    "ACTIVATIONS", "Activation", "LOSSES", "Loss", "Network", "Parameters", "INITIALIZERS",
    "forward", "Forward", "backward", "Backward", "update",
    "OPTIMIZERS", "SGD", "RMSprop", "Rprop", "Adagrad", "Adam", "AdamW",
    "InverseScaling", "Exponential", "Cosine", "OneCycle",
    "train", "train_many", "Run", "Epoch", "DivergenceWarning", "CompileNotice",
    "explain", "Explanation",
    "check_gradients", "GradientCheck", "verify_step", "StepCheck", "diagnose", "Diagnosis", "replay", "Replay",
    "Model", "save", "load",
]  # fmt: skip
