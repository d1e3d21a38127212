"""What the docstrings of the two estimators share, written once. It holds text and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

PARAMETERS = """
hidden_layer_sizes : int or array-like of int, default=(100,)
    Units of each hidden layer; ``()`` is a linear model.
activation : str, Activation or list, default='relu'
    φ of the hidden layers: 'identity', 'logistic', 'tanh', 'relu', or any other of ``glassprop.ACTIVATIONS``; a
    ``glassprop.Activation`` of your own; or a list with one for each hidden layer.
solver : {'adam', 'sgd', 'lbfgs', 'adamw', 'rmsprop', 'rprop', 'adagrad'} or update rule, default='adam'
    'lbfgs' minimises over the whole table, the others go by minibatches. A rule such as ``glassprop.SGD(0.1, momentum=0.5)``
    brings its own constants and learning rate.
alpha : float, default=0.0001
    L2 penalty: ``alpha/2 Σ W²`` is added to the sum of the losses of a batch, so that it is divided by the batch's rows (or
    their weights).
batch_size : int or 'auto', default='auto'
    Rows of a minibatch; 'auto' is 200, or all where there are fewer.
learning_rate : {'constant', 'invscaling', 'adaptive'} or schedule, default='constant'
    Of ``learning_rate_init`` η: 'invscaling' takes η / (t + 1)^power_t after t rows; 'adaptive' divides it by 5 where training
    would stop, until it is 1e-6. Not used with 'adam', 'lbfgs' and rules that are given. Or a function of the step, such as
    ``glassprop.Cosine(0.01, steps=1000)``, with all but 'lbfgs'.
learning_rate_init : float, default=0.001
    Not used with 'lbfgs', nor where rule or schedule say it.
power_t : float, default=0.5
    See `learning_rate`.
max_iter : int, default=200
    Epochs (or iterations of 'lbfgs'), at most.
shuffle : bool, default=True
    New row order in every epoch.
random_state : int, RandomState or None, default=None
    Of starting weights, rows held out, row order and dropout. The same number as in scikit-learn draws the same.
tol : float, default=1e-4
    By how much loss (or score) must improve within `n_iter_no_change` epochs; for 'lbfgs' the largest entry of the gradient.
verbose : bool, default=False
    Print the loss of every epoch.
warm_start : bool, default=False
    `fit` goes on from where the last call ended, to the bit as if that had not: with the update rule's state, the random
    generator, the rows held out. Parameters that were changed since take effect. 'lbfgs' begins anew from the weights.
momentum, nesterovs_momentum : float, default=0.9, and bool, default=True
    Of 'sgd'.
early_stopping : bool, default=False
    Hold out `validation_fraction` of the rows (of two classes in proportion), stop when their score does not improve, and end
    with the parameters of the best epoch.
validation_fraction : float, default=0.1
    See `early_stopping`.
beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
    Of 'adam' and 'adamw'. With 'adam', ε is added to the root of the uncorrected second moment, as in scikit-learn.
n_iter_no_change : int or inf, default=10
    Epochs without improvement that are borne.
max_fun : int, default=15000
    Evaluations of loss and gradient by 'lbfgs', at most.
dropout : float or list of float, default=0.0
    Chance that a hidden unit is left out of a training step, for all or each hidden layer.
weight_decay : float or None, default=None
    Decoupled: W := W − η λ W at every step. None is the rule's own, 0 but for 'adamw', whose is 0.01.
l1 : float, default=0.0
    L1 penalty: ``l1 Σ |W|``, divided as that of `alpha`.
gradient_clip : float or None, default=None
    Longer gradients are shortened to this length. Not for 'lbfgs', nor are dropout and weight decay.
"""

LAST_PARAMETERS = """
scoring : str, callable or None, default=None
    With `early_stopping`, judge epochs by this scorer; None takes {score}. Row weights are given to a scorer that takes them.
n_jobs : int or None, default=None
    Threads of a fit or a prediction, at most; None and −1 take as many as the work keeps busy. Numbers do not depend on it.
"""

ATTRIBUTES = """
coefs_, intercepts_ : list of ndarray
    Weights, (fan_in, fan_out), and biases, (fan_out,), of every layer; after 'lbfgs' in float64.
loss_ : float
    Loss of the last epoch: the mean of its batches' before each update, with the penalty.
loss_curve_ : list of float
    That of every epoch. Not for 'lbfgs'.
best_loss_ : float or None
    The lowest of it; None with early stopping.
validation_scores_, best_validation_score_ : list of float and float, or None
    With early stopping, the score of the held-out rows after every epoch, and the highest.
validation_loss_curve_ : list of float or None
    Their loss, without penalty; also of an ``eval_set`` without early stopping.
n_iter_, t_ : int
    Epochs of the last call of `fit`; rows trained on in all.
n_features_in_, feature_names_in_ : int and ndarray
    Columns of X, and their names where all are text.
n_layers_, n_outputs_, out_activation_ : int, int and str
    Layers with input and output; outputs; φ of the output.
"""

FIT = """
X : array-like or sparse matrix, (rows, inputs)
    float32 is computed in float32, everything else in float64; a fit goes on in the precision of `coefs_`. A sparse one is
    multiplied as such.
y : array-like, (rows,) or (rows, outputs)
    {targets}
sample_weight : array-like, (rows,), optional
    Row weights.
"""

EVAL_SET = """
eval_set : (X, y) or (X, y, sample_weight), optional
    Rows whose loss is told in ``validation_loss_curve_``; with early stopping, those to judge by in place of a part of X.
X_val, y_val, sample_weight_val : as X, y and sample_weight, optional
    The same, one by one: ``Pipeline(..., transform_input=["X_val"])`` transforms the first.
"""

Class = TypeVar("Class", bound=type)


def documented(**words: str) -> Callable[[Class], Class]:
    """A decorator that fills the shared texts, and `words` in them, into the docstrings of a class and its methods."""

    def fill(cls: Class) -> Class:
        for thing in (cls, *(getattr(value, "fn", value) for value in vars(cls).values())):  # fn: behind available_if
            if callable(thing) and thing.__doc__ and "{" in thing.__doc__:
                thing.__doc__ = _filled(thing.__doc__, words)
        return cls

    return fill


def _filled(text: str, words: dict[str, str]) -> str:
    texts = {
        "parameters": PARAMETERS,
        "last_parameters": LAST_PARAMETERS,
        "attributes": ATTRIBUTES,
        "fit": FIT,
        "eval_set": EVAL_SET,
    }
    lines = []
    for line in text.splitlines():
        shared = texts.get(line.strip().strip("{}")) if line.strip().startswith("{") else None
        if shared is None:
            lines.append(line)
            continue
        for name, word in words.items():
            shared = shared.replace("{" + name + "}", word)
        indent = line[: len(line) - len(line.lstrip())]
        lines += [indent + each if each else "" for each in shared.strip("\n").splitlines()]
    return "\n".join(lines)
