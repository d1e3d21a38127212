"""Multilayer-perceptron training in plain Python floats: the slow, obvious code that the compiled core is held against.

It does not import glassprop or NumPy, check its arguments, or try to be fast. Letters and conventions: docs/derivation.md.
Matrices are lists of rows: W[l][i][j] is (fan_in, fan_out), g[l][r][j], h[l][r][j] and delta[l][r][j] are (rows, fan_out).
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Vector = list[float]
Matrix = list[Vector]
Phi = Callable[[float], float]

# What is trained


@dataclass(frozen=True)
class Network:
    """A network and its objective.

    An activation is a name from ACTIVATIONS or a pair (phi, dphi) of functions of g; a loss is a name from LOSSES or a pair
    (value, slope) of functions of (h, y).
    """

    layers: Sequence[int]  # (inputs, width of layer 1, ..., outputs)
    activations: Sequence[Any] = ()  # one per hidden layer
    output_activation: Any = None  # None: the link of the loss
    loss: Any = "half_squared_error"
    options: dict[str, float] = field(default_factory=dict)  # delta (huber), quantile, label_smoothing
    l1: float = 0.0
    l2: float = 0.0
    dropout: Sequence[float] = ()  # one rate per hidden layer; empty: none


@dataclass
class Parameters:
    """Weights and biases, or anything of their shape: the gradient, one letter of the optimizer's state."""

    W: list[Matrix]
    b: list[Vector]


def cells(parameters: Parameters) -> Iterator[tuple[Vector, int, int, bool]]:
    """Every entry, as (list that holds it, index in that list, zero-based layer, is it a weight), in one fixed order."""
    for layer, (W, b) in enumerate(zip(parameters.W, parameters.b, strict=True)):
        for row in W:
            yield from ((row, j, layer, True) for j in range(len(row)))
        yield from ((b, j, layer, False) for j in range(len(b)))


def zeros_like(parameters: Parameters) -> Parameters:
    return Parameters([[[0.0] * len(row) for row in W] for W in parameters.W], [[0.0] * len(b) for b in parameters.b])


# Functions of one number that neither raise nor lose digits where the plain formula would


def exp(x: float) -> float:
    return math.exp(x) if x < 709.78 else math.inf


def times_log(t: float, h: float) -> float:
    """t log h, with 0 log 0 = 0."""
    return 0.0 if t == 0.0 else t * (math.log(h) if h > 0.0 else -math.inf)


def sign(x: float) -> float:
    return float((x > 0.0) - (x < 0.0))


def sech2(x: float) -> float:
    """1 - tanh(x)^2 = 1 / cosh(x)^2, without the cancellation of the first and the overflow of the second."""
    e = math.exp(-abs(x))
    sech = 2.0 * e / (1.0 + e * e)
    return sech * sech


def sigmoid(g: float) -> float:
    return 1.0 / (1.0 + math.exp(-g)) if g >= 0.0 else math.exp(g) / (1.0 + math.exp(g))


def softplus(g: float) -> float:
    """log(1 + e^g)."""
    return max(g, 0.0) + math.log1p(math.exp(-abs(g)))


def normal_cdf(g: float) -> float:
    """(1 + erf(g / sqrt 2)) / 2, by erfc(-x) = 1 + erf(x), which keeps its digits in the left tail."""
    return math.erfc(-g / math.sqrt(2.0)) / 2.0


def normal_density(g: float) -> float:
    return math.exp(-g * g / 2.0) / math.sqrt(2.0 * math.pi)


def log_sum_exp(g: Vector) -> tuple[float, float]:
    """log sum_k e^(g_k) as (largest g, what is above it): kept apart because their sum would lose the small part."""
    top = max(g)
    others = list(g)
    others.remove(top)
    return top, math.log1p(math.fsum(math.exp(x - top) for x in others))


def softmax(g: Vector) -> Vector:
    top, above = log_sum_exp(g)
    return [math.exp(x - top - above) for x in g]


# Activations. Softmax, a function of the whole row, is the only one that is not here.

SELU_ALPHA, SELU_LAMBDA = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946

ACTIVATIONS: dict[str, tuple[Phi, Phi]] = {  # name: (phi(g), phi'(g))
    "identity": (lambda g: g, lambda g: 1.0),
    "sigmoid": (sigmoid, lambda g: sigmoid(g) * sigmoid(-g)),
    "tanh": (math.tanh, sech2),
    "relu": (lambda g: g if g > 0.0 else 0.0, lambda g: 1.0 if g > 0.0 else 0.0),
    "leaky_relu": (lambda g: g if g > 0.0 else 0.01 * g, lambda g: 1.0 if g > 0.0 else 0.01),
    "elu": (lambda g: g if g > 0.0 else math.expm1(g), lambda g: 1.0 if g > 0.0 else math.exp(g)),
    "selu": (
        lambda g: SELU_LAMBDA * (g if g > 0.0 else SELU_ALPHA * math.expm1(g)),
        lambda g: SELU_LAMBDA * (1.0 if g > 0.0 else SELU_ALPHA * math.exp(g)),
    ),
    "gelu": (lambda g: g * normal_cdf(g), lambda g: normal_cdf(g) + g * normal_density(g)),
    "silu": (lambda g: g * sigmoid(g), lambda g: sigmoid(g) * (1.0 + g * sigmoid(-g))),
    "mish": (
        lambda g: g * math.tanh(softplus(g)),
        lambda g: math.tanh(softplus(g)) + g * sech2(softplus(g)) * sigmoid(g),
    ),
    "softplus": (softplus, sigmoid),
    "softsign": (lambda g: g / (1.0 + abs(g)), lambda g: 1.0 / (1.0 + abs(g)) / (1.0 + abs(g))),
    "exp": (exp, exp),  # output only
}


def phi_pair(activation: Any) -> tuple[Phi, Phi]:
    return ACTIVATIONS[activation] if isinstance(activation, str) else activation


# Losses of one output, whose sum is the loss of a row

LOSSES: dict[str, tuple[str, Callable[..., float], Callable[..., float]]] = {  # name: (link, value(h, y), dL/dh)
    "half_squared_error": ("identity", lambda h, y: (h - y) * (h - y) / 2.0, lambda h, y: h - y),
    "absolute_error": ("identity", lambda h, y: abs(h - y), lambda h, y: sign(h - y)),
    "huber": (
        "identity",
        lambda h, y, delta=1.0: (h - y) * (h - y) / 2.0 if abs(h - y) <= delta else delta * (abs(h - y) - delta / 2.0),
        lambda h, y, delta=1.0: max(min(h - y, delta), -delta),
    ),
    "quantile": (
        "identity",
        lambda h, y, quantile=0.5: quantile * max(y - h, 0.0) + (1.0 - quantile) * max(h - y, 0.0),
        lambda h, y, quantile=0.5: -quantile if h < y else 1.0 - quantile if h > y else 0.0,
    ),
    "poisson": ("exp", lambda h, y: h - times_log(y, h), lambda h, y: 1.0 - y / h),
    "binary_cross_entropy": (
        "sigmoid",
        lambda h, y: -times_log(y, h) - times_log(1.0 - y, 1.0 - h),
        lambda h, y: (1.0 - y) / (1.0 - h) - y / h,
    ),
    "cross_entropy": ("softmax", lambda h, t: -times_log(t, h), lambda h, t: -t / h),
}

# The same with the loss's own link h = link(g) fused in, stable for every finite g: value(g, y) and delta = dL/dg of one output


def cross_entropy_of_softmax(g: Vector, t: Vector) -> float:
    """-sum_k t_k log h_k = sum_k t_k (log sum exp(g) - g_k)."""
    top, above = log_sum_exp(g)
    return math.fsum(t_k * (top - g_k + above) for g_k, t_k in zip(g, t, strict=True) if t_k != 0.0)


def cross_entropy_of_softmax_delta(g: Vector, t: Vector) -> Vector:
    """h - t, where the t_k sum to 1."""
    return [h_k * math.fsum(t) - t_k for h_k, t_k in zip(softmax(g), t, strict=True)]


FUSED: dict[str, tuple[Callable[[float, float], float], Callable[[float, float], float]]] = {
    "poisson": (lambda g, y: exp(g) - y * g, lambda g, y: exp(g) - y),
    "binary_cross_entropy": (  # softplus(g) - y g
        lambda g, y: max(g, 0.0) - y * g + math.log1p(math.exp(-abs(g))),
        lambda g, y: sigmoid(g) - y,
    ),
}  # cross_entropy, a function of the whole row, is above; with the identity there is nothing to fuse


def loss_row(loss: Any) -> tuple[str, Callable[..., float], Callable[..., float]]:
    return LOSSES[loss] if isinstance(loss, str) else ("identity", *loss)


def output_activation(network: Network) -> Any:
    return loss_row(network.loss)[0] if network.output_activation is None else network.output_activation


def target_row(network: Network, y: Any) -> Vector:
    """A row's targets as one number per output: class numbers made indicators, labels smoothed."""
    row = [float(y_o) for y_o in (y if hasattr(y, "__len__") else [y])]
    K, s = network.layers[-1], network.options.get("label_smoothing", 0.0)
    if network.loss == "cross_entropy":
        t = [float(k == row[0]) for k in range(K)] if len(row) == 1 else row  # class number, or K probabilities
        return [(1.0 - s) * t_k + s / K for t_k in t]
    return [(1.0 - s) * y_o + s / 2.0 for y_o in row] if network.loss == "binary_cross_entropy" else row


def output_row(network: Network, g: Vector) -> Vector:
    """h_L of a row."""
    if output_activation(network) == "softmax":
        return softmax(g)
    phi, _ = phi_pair(output_activation(network))
    return [phi(g_o) for g_o in g]


def row_loss(network: Network, g: Vector, target: Any) -> tuple[float, Vector]:
    """The loss of a row with the pre-activations g of the output layer, and its delta_L = dL/dh_L phi'(g_L)."""
    y = target_row(network, target)
    activation = output_activation(network)
    if activation == "softmax":
        return cross_entropy_of_softmax(g, y), cross_entropy_of_softmax_delta(g, y)
    pairs = list(zip(g, y, strict=True))
    link, value, slope = loss_row(network.loss)
    if network.loss in FUSED and activation == link:
        fused_value, fused_delta = FUSED[network.loss]
        return math.fsum(fused_value(g_o, y_o) for g_o, y_o in pairs), [fused_delta(g_o, y_o) for g_o, y_o in pairs]
    phi, dphi = phi_pair(activation)
    options = {name: option for name, option in network.options.items() if name != "label_smoothing"}
    loss = math.fsum(value(phi(g_o), y_o, **options) for g_o, y_o in pairs)
    return loss, [slope(phi(g_o), y_o, **options) * dphi(g_o) for g_o, y_o in pairs]


# Dropout, and the order of rows


def mix(x: int) -> int:
    """One output of splitmix64 (Steele, Lea and Flood, 2014), on 64-bit wrap-around integers."""
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def row_order(numbers: list[int], seed: int, epoch: int) -> list[int]:
    """`numbers` in the order of an epoch, by the shuffle of Fisher and Yates."""
    order, key = list(numbers), mix((mix(seed ^ 0x6F7264657273) + epoch) % 2**64)
    for i in range(len(order) - 1, 0, -1):
        j = int((mix((key + i) % 2**64) >> 12) / 2**52 * (i + 1))
        order[i], order[j] = order[j], order[i]
    return order


def dropout_factors(rate: float, seed: int, step: int, layer: int, rows: int, units: int) -> Matrix:
    """What h_l is multiplied by, (rows, units): 1 / (1 - rate) where a unit is kept, 0 where not. `layer` counts from 1."""
    key = mix((mix((mix(seed % 2**64) + step) % 2**64) + layer) % 2**64)
    uniform = [[(mix((key + r * units + u) % 2**64) >> 40) / 2**24 for u in range(units)] for r in range(rows)]
    return [[1.0 / (1.0 - rate) if u01 >= rate else 0.0 for u01 in row] for row in uniform]


# Forward, objective, backward


@dataclass
class Forward:
    X: Matrix  # (rows, inputs)
    g: list[Matrix]
    h: list[Matrix]  # dropout applied
    factors: list[Matrix]  # of dropout, one per hidden layer


@dataclass
class Backward:
    loss: float  # penalty included
    delta: list[Matrix]
    dW: list[Matrix]
    db: list[Vector]


def forward(network: Network, parameters: Parameters, X: Matrix, dropout: tuple[int, int] | None = None) -> Forward:
    """g_l = W_l^T h_{l-1} + b_l, h_l = phi(g_l); in a training step dropout = (seed, step)."""
    g: list[Matrix] = []
    h: list[Matrix] = []
    factors: list[Matrix] = []
    for layer, (W, b) in enumerate(zip(parameters.W, parameters.b, strict=True)):
        before = h[-1] if h else X
        fan_in, fan_out = len(W), len(b)
        g.append([[math.fsum([b[j], *(W[i][j] * row[i] for i in range(fan_in))]) for j in range(fan_out)] for row in before])
        if layer == len(parameters.W) - 1:
            h.append([output_row(network, row) for row in g[-1]])
            break
        rate = network.dropout[layer] if dropout is not None and network.dropout else 0.0
        seed, step = dropout if dropout is not None else (0, 0)
        factors.append(dropout_factors(rate, seed, step, layer + 1, len(X), fan_out))
        phi, _ = phi_pair(network.activations[layer])
        h.append([[phi(x) * k for x, k in zip(*pair, strict=True)] for pair in zip(g[-1], factors[-1], strict=True)])
    return Forward(X, g, h, factors)


def penalty(network: Network, parameters: Parameters) -> float:
    weights = [row[j] for row, j, _, is_weight in cells(parameters) if is_weight]
    return network.l2 / 2.0 * math.fsum(w * w for w in weights) + network.l1 * math.fsum(abs(w) for w in weights)


def objective(network: Network, parameters: Parameters, fwd: Forward, Y: Sequence[Any], weights: Any = None) -> float:
    """sum_r w_r l_r / sum_r w_r + l2/2 sum W^2 + l1 sum |W|."""
    w = [1.0] * len(Y) if weights is None else list(weights)
    total = math.fsum(w_r * row_loss(network, g, y)[0] for w_r, g, y in zip(w, fwd.g[-1], Y, strict=True))
    return total / (math.fsum(w) or 1.0) + penalty(network, parameters)


def backward(network: Network, parameters: Parameters, fwd: Forward, Y: Sequence[Any], weights: Any = None) -> Backward:
    """delta_l = (W_{l+1} delta_{l+1}) phi'(g_l), a row's weight included; dW_l = sum_r h_{l-1} delta_l^T / sum w + penalty."""
    w = [1.0] * len(Y) if weights is None else list(weights)
    divisor = math.fsum(w) or 1.0
    rows, L = range(len(Y)), len(parameters.W)

    delta = [[[w[r] * d for d in row_loss(network, fwd.g[-1][r], Y[r])[1]] for r in rows]]
    for layer in reversed(range(L - 1)):
        W_next, delta_next = parameters.W[layer + 1], delta[0]
        _, dphi = phi_pair(network.activations[layer])
        back = [[math.fsum(a * d for a, d in zip(W_i, delta_next[r], strict=True)) for W_i in W_next] for r in rows]
        g, k = fwd.g[layer], fwd.factors[layer]
        delta.insert(0, [[back[r][i] * k[r][i] * dphi(g[r][i]) for i in range(len(W_next))] for r in rows])

    gradient = zeros_like(parameters)
    for layer, W in enumerate(parameters.W):
        h_before = fwd.h[layer - 1] if layer > 0 else fwd.X
        for j in range(len(W[0])):
            gradient.b[layer][j] = math.fsum(delta[layer][r][j] for r in rows) / divisor
            for i in range(len(W)):
                data = math.fsum(h_before[r][i] * delta[layer][r][j] for r in rows) / divisor
                gradient.W[layer][i][j] = data + network.l2 * W[i][j] + network.l1 * sign(W[i][j])
    return Backward(objective(network, parameters, fwd, Y, weights), delta, gradient.W, gradient.b)


# Schedules: the learning rate at a step, counted from 0


def inverse_scaling(step: int, eta: float, power: float = 0.5) -> float:
    return eta / math.pow(step + 1, power)


def exponential(step: int, eta: float, decay: float, steps: int = 1) -> float:
    return eta * math.pow(decay, step / steps)


def cosine(step: int, eta: float, steps: int, warmup: int = 0, final: float = 0.0) -> float:
    """Up on a line for `warmup` steps, then half a cosine down to the rate `final` at `steps`."""
    if step < warmup:
        return eta * (step + 1) / warmup
    return final + (eta - final) * (1.0 + math.cos(math.pi * min((step - warmup) / (steps - warmup), 1.0))) / 2.0


def one_cycle(step: int, eta: float, steps: int, start: float = 0.04, final: float = 1e-4, rise: float = 0.3) -> float:
    """Half a cosine from start * eta up to eta at step rise * steps, then half a cosine down to final * eta at `steps`."""
    top = rise * steps
    if step < top:
        return eta * (start + (1.0 - start) * (1.0 - math.cos(math.pi * step / top)) / 2.0)
    return eta * (final + (1.0 - final) * (1.0 + math.cos(math.pi * min((step - top) / (steps - top), 1.0))) / 2.0)


# Update rules of one parameter: (theta, gradient G, its state, eta, step) -> (new theta, new state)

State = tuple[float, ...]


def sgd(theta: float, G: float, state: State, eta: float, step: int, momentum: float = 0.0, nesterov: bool = False) -> Any:
    (v,) = state
    v = momentum * v - eta * G
    return theta + (momentum * v - eta * G if nesterov else v), (v,)


def rmsprop(theta: float, G: float, state: State, eta: float, step: int, rho: float = 0.9, epsilon: float = 1e-8) -> Any:
    (s,) = state
    s = rho * s + (1.0 - rho) * G * G
    return theta - eta * G / (math.sqrt(s) + epsilon), (s,)


def rprop(theta: float, G: float, state: State, eta: float, step: int, shrink: float = 0.5, grow: float = 1.2,
          smallest: float = 1e-6, largest: float = 50.0) -> Any:  # fmt: skip
    p, d = state  # previous gradient, step size
    if step == 0:
        d = eta
    agreement = G * p
    if agreement > 0.0:
        d = min(d * grow, largest)
    elif agreement < 0.0:
        d = max(d * shrink, smallest)
        G = 0.0
    return theta - sign(G) * d, (G, d)


def adagrad(theta: float, G: float, state: State, eta: float, step: int, epsilon: float = 1e-10) -> Any:
    (s,) = state
    s = s + G * G
    return theta - eta * G / (math.sqrt(s) + epsilon), (s,)


def adam(theta: float, G: float, state: State, eta: float, step: int, beta1: float = 0.9, beta2: float = 0.999,
         epsilon: float = 1e-8, epsilon_hat: bool = False) -> Any:  # fmt: skip
    m, v = state
    m = beta1 * m + (1.0 - beta1) * G
    v = beta2 * v + (1.0 - beta2) * G * G
    m_hat = m / (1.0 - beta1 ** (step + 1))
    v_hat = v / (1.0 - beta2 ** (step + 1))
    if epsilon_hat:  # Kingma and Ba 2015, section 2, the efficient order of computation
        alpha_t = eta * math.sqrt(1.0 - beta2 ** (step + 1)) / (1.0 - beta1 ** (step + 1))
        return theta - alpha_t * m / (math.sqrt(v) + epsilon), (m, v)
    return theta - eta * m_hat / (math.sqrt(v_hat) + epsilon), (m, v)


RULES: dict[str, tuple[Callable[..., Any], str]] = {  # name: (rule, letters of its state, all 0 before the first step)
    "sgd": (sgd, "v"),
    "rmsprop": (rmsprop, "s"),
    "rprop": (rprop, "pd"),
    "adagrad": (adagrad, "s"),
    "adam": (adam, "mv"),  # adamw is adam with weight_decay
}


@dataclass(frozen=True)
class Optimizer:
    rule: str
    learning_rate: float | Callable[[int], float]  # or a function of the step
    options: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the rule
    clip_norm: float | None = None
    weight_decay: float = 0.0  # decoupled; weights only
    layer_factors: Sequence[float] | None = None


def gradient_norm(gradient: Parameters) -> float:
    return math.sqrt(math.fsum(G[i] * G[i] for G, i, _, _ in cells(gradient)))


def clip(gradient: Parameters, clip_norm: float | None) -> Parameters:
    """The gradient, shortened to the length clip_norm where it is longer."""
    norm = gradient_norm(gradient)
    if clip_norm is None or norm <= clip_norm:
        return gradient
    clipped = copy.deepcopy(gradient)
    for G, i, _, _ in cells(clipped):
        G[i] *= clip_norm / norm
    return clipped


def start_state(parameters: Parameters, optimizer: Optimizer) -> dict[str, Parameters]:
    return {letter: zeros_like(parameters) for letter in RULES[optimizer.rule][1]}


def update(parameters: Parameters, gradient: Parameters, optimizer: Optimizer, state: dict[str, Parameters] | None = None,
           step: int = 0) -> tuple[Parameters, dict[str, Parameters]]:  # fmt: skip
    """Parameters and state after one step: clip, decay the weights, apply the rule to every entry."""
    rate = optimizer.learning_rate
    eta = rate(step) if callable(rate) else rate
    rule, letters = RULES[optimizer.rule]
    parameters = copy.deepcopy(parameters)
    state = start_state(parameters, optimizer) if state is None else copy.deepcopy(state)
    gradient = clip(gradient, optimizer.clip_norm)
    same_shaped = [parameters, gradient, *(state[letter] for letter in letters)]
    for (theta, i, layer, is_weight), (G, *_), *memory in zip(*map(cells, same_shaped), strict=True):
        eta_layer = eta * (optimizer.layer_factors[layer] if optimizer.layer_factors is not None else 1.0)
        if is_weight:
            theta[i] *= 1.0 - eta_layer * optimizer.weight_decay
        old = tuple(values[i] for values, *_ in memory)
        theta[i], new = rule(theta[i], G[i], old, eta_layer, step, **optimizer.options)
        for (values, *_), value in zip(memory, new, strict=True):
            values[i] = value
    return parameters, state


def train(network: Network, parameters: Parameters, X: Matrix, Y: Sequence[Any], minibatches: Sequence[Sequence[int]],
          optimizer: Optimizer, *, weights: Any = None, state: dict[str, Parameters] | None = None, first_step: int = 0,
          seed: int = 0) -> tuple[Parameters, dict[str, Parameters], list[float]]:  # fmt: skip
    """One step per minibatch (a list of row numbers): parameters, state, and each minibatch's objective before its update."""
    losses = []
    for step, batch in enumerate(minibatches, start=first_step):
        Y_batch = [Y[r] for r in batch]
        w_batch = None if weights is None else [weights[r] for r in batch]
        fwd = forward(network, parameters, [X[r] for r in batch], dropout=(seed, step))
        back = backward(network, parameters, fwd, Y_batch, w_batch)
        losses.append(back.loss)
        parameters, state = update(parameters, Parameters(back.dW, back.db), optimizer, state, step)
    return parameters, start_state(parameters, optimizer) if state is None else state, losses
