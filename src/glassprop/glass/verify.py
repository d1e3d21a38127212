"""Is this that rule's step? Parameters before and after a step taken anywhere, beside the step that the core takes.

It judges numbers; what mistakes would make of the step stands in mistakes.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from glassprop.core.arrays import check_inputs, check_parameters, check_targets, check_weights
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import check_factors
from glassprop.core.update import Optimizer, check_optimizer
from glassprop.errors import is_whole, names_arguments
from glassprop.glass.check import named_tensors
from glassprop.glass.mistakes import MISTAKES, Step

ROUNDING = 100.0  # machine epsilons of the terms of a sum, by which a gradient from elsewhere may be off
ABOUT = 0.1  # a mistake that leaves less than this share of the difference is named as the nearest


@dataclass(frozen=True)
class TensorStep:
    """How one parameter tensor moved.

    Attributes
    ----------
    name : str
        As W1 or b1, counted from one.
    shape : tuple of int
    error : float
        The largest difference between the step taken and the rule's, over the rule's largest step in the tensor.
    worst : tuple of int
        The entry that departs most beyond rounding.
    step, wanted : float
        The step taken there, and the rule's.
    departs : bool
        Whether it departs by more than rounding explains.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    worst: tuple[int, ...]
    step: float
    wanted: float
    departs: bool


@dataclass(frozen=True)
class StepCheck:
    """What `verify_step` found; true where the step is the rule's.

    Attributes
    ----------
    rule : str
        The rule's name.
    tensors : tuple of TensorStep
        W1, b1, W2 ...
    departs : str or None
        The first tensor that departs, in the order in which a backward pass comes to them, from the output down.
    mistake : str or None
        The known mistake that explains the step best.
    explained : bool
        Whether it does so to within rounding.
    unseen : tuple of str
        Mistakes that would make no difference to this step, so that it says nothing about them.
    """

    rule: str
    tensors: tuple[TensorStep, ...]
    departs: str | None
    mistake: str | None
    explained: bool
    unseen: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether this is the rule's step."""
        return self.departs is None

    def __bool__(self) -> bool:
        return self.passed

    @property
    def verdict(self) -> str:
        """The answer in a sentence or two."""
        if self.departs is None:
            return f"right: this is a step of {self.rule}, to within rounding"
        first = next(tensor for tensor in self.tensors if tensor.name == self.departs)
        text = (
            f"wrong: this is no step of {self.rule}; from the output down {first.name} departs first, by {first.error:.2g} of "
            f"its largest step, at {list(first.worst)}: {first.step:.7g} instead of {first.wanted:.7g}"
        )
        if self.mistake is None:
            return text + "; no mistake that is known explains it"
        return text + ("; it is explained by this: " if self.explained else "; nearest comes this: ") + self.mistake

    def __str__(self) -> str:
        lines = [f"{'':<6}{'shape':>12}{'error':>10}{'step':>16}{'wanted':>16}"]
        for t in self.tensors:
            shape = " × ".join(map(str, t.shape))
            told = "departs" if t.departs else "right"
            lines.append(f"{t.name:<6}{shape:>12}{t.error:>10.1e}{t.step:>16.8g}{t.wanted:>16.8g}  {told}")
        unseen = [f"This step cannot show whether {name}." for name in self.unseen]
        return "\n".join([*lines, "", self.verdict, *unseen])

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {"passed": self.passed, "verdict": self.verdict} | asdict(self)


@names_arguments
def verify_step(
    network: Network,
    before: Parameters,
    after: Parameters,
    X: Any,
    Y: Any,
    optimizer: Optimizer,
    *,
    weights: Any = None,
    state: Sequence[Parameters] | np.ndarray | None = None,
    step: int = 0,
) -> StepCheck:
    """Whether `after` is what one step of a rule makes of `before`; if not, where it departs and which mistake explains it.

    The step is taken again in float64 by the core, without dropout. What rounding may do is worked out for every entry, in the
    precision of the parameters given: a gradient may be off by 100 machine epsilons of the terms it is a sum of.

    Parameters
    ----------
    network : Network
    before, after : Parameters
        From PyTorch, JAX or anywhere: ``Parameters.from_arrays(W, b)``, each W as (fan_in, fan_out).
    X : array, (rows, inputs)
        The batch of the step.
    Y : array, (rows, outputs) or (rows,)
    optimizer : update rule
        The one that was meant.
    weights : array, (rows,), optional
        Row weights.
    state : sequence of Parameters, or ndarray (2, theta.size), optional
        The rule's state before the step, in the order of its ``states`` (for Adam m and v); None: zero, as at the first step.
    step : int
        Number of the step, from zero.

    Returns
    -------
    StepCheck
        Printed, a table and a verdict; true where it passes.

    Raises
    ------
    ValueError, TypeError
        Where shapes do not fit, or a state is needed and not given.

    Examples
    --------
    >>> import glassprop as gp
    >>> network = gp.Network((2, 3, 1), activation="tanh")
    >>> X, Y, before = [[0.5, -1.0], [1.0, 2.0]], [1.0, -1.0], network.initialize(seed=0)
    >>> back = gp.backward(network, before, gp.forward(network, before, X), Y)
    >>> after = gp.update(before, back, optimizer=gp.Adam(0.01))
    >>> bool(gp.verify_step(network, before, after, X, Y, gp.Adam(0.01)))
    True

    A step of plain gradient descent, on the sum over rows instead of their mean:

    >>> after = gp.update(before, back, learning_rate=0.2)
    >>> gp.verify_step(network, before, after, X, Y, gp.SGD(0.1)).mistake
    'the gradient is the sum over the rows, not their mean'
    """
    for name, value in (("before", before), ("after", after)):
        try:
            check_parameters(network, value)
        except (TypeError, ValueError) as error:
            raise type(error)(str(error).replace("parameters must", f"{name} must", 1)) from None
    check_optimizer(optimizer)
    if not is_whole(step) or step < 0:
        raise ValueError(f"step must be a whole number of at least 0; got {step!r}")
    check_factors(optimizer, network.layers)
    X = check_inputs(network, X, np.float64)
    Y, weights = check_targets(network, Y, len(X), X.dtype), check_weights(weights, len(X), X.dtype)
    own = before.astype(np.float64)
    vectors = _state(optimizer, before, state, int(step))
    taken = Step(network, own, X, Y, weights, optimizer, vectors, int(step))
    epsilon = max(np.finfo(parameters.dtype).eps for parameters in (before, after))
    got, wanted = after.astype(np.float64).theta, taken.after()
    allowed = _rounding(taken, wanted, float(epsilon))
    tensors = _compare(own, got, wanted, allowed)
    departs = next((tensor.name for tensor in reversed(tensors) if tensor.departs), None)
    steps = {m.name: m.theta(taken) for m in MISTAKES if m.possible(taken)}
    mistake, explained = None, False
    if departs is not None:
        steps |= dict([_by_a_factor(own.theta, got, wanted)])
        mistake, explained = _explain(steps, taken, got, wanted, allowed, float(epsilon))
    unseen = tuple(
        name
        for name, theta in steps.items()
        if departs is None and (np.abs(theta - wanted) <= allowed)[taken.is_parameter].all()
    )
    return StepCheck(optimizer.name, tuple(tensors), departs, mistake, explained, unseen)


def _state(optimizer: Optimizer, parameters: Parameters, state: Any, step: int) -> np.ndarray:
    """The state in float64, as it lies there: in another precision there is other room between layers."""
    names = optimizer.states
    vectors = np.zeros((2, parameters.astype(np.float64).theta.size))
    if state is None:
        needed = step > 0 and not (optimizer.name == "sgd" and not getattr(optimizer, "momentum", 0))
        if needed:
            raise ValueError(f"state must be given for step {step} of {optimizer.name}: {', '.join(names)} before the step")
        return vectors
    if isinstance(state, np.ndarray):
        like = parameters.astype(state.dtype) if state.dtype in (np.float32, np.float64) else parameters
        if state.shape != (2, like.theta.size):
            like = parameters  # of another precision, laid out as they are
        if state.shape != (2, like.theta.size):
            raise ValueError(f"state must be of shape {(2, like.theta.size)}, or {len(names)} Parameters; got {state.shape}")
        for vector, row in zip(vectors, state, strict=True):
            vector[...] = like.with_theta(np.ascontiguousarray(row, like.dtype)).astype(np.float64).theta
        return vectors
    given = list(state)
    if len(given) != len(names) or not all(isinstance(part, Parameters) for part in given):
        got = [type(part).__name__ for part in given]
        raise ValueError(f"state must be one Parameters for each of {', '.join(names)}; got {got}")
    for vector, part in zip(vectors, given, strict=False):
        if part.layers != parameters.layers:
            raise ValueError(f"state must be of the network's layers {parameters.layers}; got {part.layers}")
        vector[...] = part.astype(np.float64).theta
    return vectors


def _rounding(step: Step, wanted: np.ndarray, epsilon: float) -> np.ndarray:
    """By how much each parameter may be off after the step, computed elsewhere in a precision of `epsilon`."""
    noise = step.before.with_theta(np.zeros_like(wanted))
    sizes = [np.abs(delta) for delta in step.back.delta]
    # δ of the output is a difference of numbers near 1 for the cross-entropies, and is rounded as such
    sizes[-1] = sizes[-1] + np.abs(step.forward.output)
    for l in range(len(sizes) - 1):  # φ′ is one, too, h (1 − h) or 1 − h²: near 0 there is nothing in it but rounding
        sizes[l] = np.maximum(sizes[l], np.abs(step.back.delta[l + 1]) @ np.abs(step.before.W[l + 1]).T)
    for l, size in enumerate(sizes):
        below = np.abs(step.X if l == 0 else step.forward.h[l - 1])
        noise.W[l][...] = below.T @ size / step.mass
        noise.b[l][...] = size.sum(0) / step.mass
    off = ROUNDING * epsilon * (noise.theta + np.abs(step.penalty))
    moved = np.maximum(*(np.abs(step.after(step.G + sign * off) - wanted) for sign in (1, -1)))
    return moved + _stored(step.theta, wanted, epsilon)


def _stored(theta: np.ndarray, after: np.ndarray, epsilon: float) -> np.ndarray:
    """By how much parameters are off because they, and the step to them, are rounded."""
    return 2 * epsilon * (np.abs(after) + np.abs(theta)) + ROUNDING * epsilon * np.abs(after - theta)


def _compare(before: Parameters, got: np.ndarray, wanted: np.ndarray, allowed: np.ndarray) -> list[TensorStep]:
    views = [dict(named_tensors(before.with_theta(v))) for v in (got - before.theta, wanted - before.theta, allowed)]
    tensors = []
    for name in views[0]:
        step, right, room = (view[name] for view in views)
        apart = np.abs(step - right)
        beyond = np.maximum(np.nan_to_num(apart - room, nan=np.inf), 0)
        worst = np.unravel_index(int(np.lexsort((apart.ravel(), beyond.ravel()))[-1]), apart.shape)
        size = float(np.abs(right).max())
        error = float(apart[worst]) / size if size else float(apart[worst])
        place = tuple(int(i) for i in worst)
        departs = bool(beyond[worst] > 0)
        tensors.append(TensorStep(name, apart.shape, error, place, float(step[worst]), float(right[worst]), departs))
    return tensors


def _explain(
    steps: dict[str, np.ndarray], step: Step, got: np.ndarray, wanted: np.ndarray, allowed: np.ndarray, epsilon: float
) -> tuple[str | None, bool]:
    """The mistake whose step is nearest to the one taken, if any is near, and whether it is the one to within rounding."""
    there = step.is_parameter

    def far(theta: np.ndarray) -> float:
        """Distance from the step taken, beyond rounding."""
        room = np.maximum(allowed, _stored(step.theta, theta, epsilon))
        return float(np.linalg.norm(np.maximum(np.abs(got - theta) - room, 0)[there]))

    distances = {name: far(theta) for name, theta in steps.items()}
    name = min(distances, key=lambda key: distances[key])  # of equals the first
    if not distances[name] < ABOUT * far(wanted):
        return None, False
    return name, distances[name] == 0


def _by_a_factor(before: np.ndarray, got: np.ndarray, wanted: np.ndarray) -> tuple[str, np.ndarray]:
    """A mistake of its own: the rule's step, times what comes closest."""
    right = wanted - before
    factor = float(right @ (got - before) / (right @ right)) if right.any() else 1.0
    look = "look at the learning rate" if factor >= 0 else "are before and after the right way round?"
    return f"the whole step is {factor:.6g} times the rule's: {look}", before + factor * right
