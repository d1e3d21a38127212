"""verify_step: steps of glassprop, PyTorch and JAX are recognised, and each planted mistake is named."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import cases
import glassprop as gp
import reference as ref

LAYERS = (3, 4, 4, 3)
NETWORK = gp.Network(LAYERS, activation="tanh", loss="cross_entropy")
CASE = cases.case(LAYERS, activation="tanh", loss="cross_entropy", rows=8)
BEFORE = CASE.parameters


def take(rule, network=NETWORK, case=CASE, steps=1, change=None):
    """Parameters before and after the last of so many steps, and the state before it; `change` spoils the last gradient."""
    state, parameters = np.zeros((2, case.parameters.theta.size)), case.parameters
    for number in range(steps):
        before, held = parameters, state.copy()
        fwd = gp.forward(network, parameters, case.X)
        back = gp.backward(network, parameters, fwd, case.Y, case.weights)
        if change and number == steps - 1:
            change(back)
        parameters = gp.update(parameters, back, optimizer=rule, state=state, step=number)
    return before, parameters, held


def verify(before, after, rule, network=NETWORK, case=CASE, **given):
    return gp.verify_step(network, before, after, case.X, case.Y, rule, weights=case.weights, **given)


# --- right steps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("name", cases.RULES)
def test_steps_of_the_reference_are_right(name, steps, dtype):
    case = cases.case((3, 5, 2), activation="silu", rows=7, weighted=True, l2=0.02)
    rule, twin = cases.rules(name, clip_norm=0.7, weight_decay=0.03)
    orders = cases.row_orders(7, steps)
    before, state, _ = cases.reference_train(case, twin, 7, steps - 1, orders[: steps - 1]) if steps > 1 else (None, [], None)
    after, _, _ = cases.reference_train(case, twin, 7, steps, orders)
    start = case.parameters if before is None else gp.Parameters.from_arrays(before.W, before.b)
    given = [gp.Parameters.from_arrays(part.W, part.b) for part in state]
    end = gp.Parameters.from_arrays(after.W, after.b)
    report = gp.verify_step(
        case.network, start.astype(dtype), end.astype(dtype), case.X, case.Y, rule, weights=case.weights,
        state=given or None, step=steps - 1,
    )  # fmt: skip
    assert report, report
    assert report.departs is None


def torch_step(make, steps=3):
    """Parameters before and after the last of some steps of PyTorch in float32, its model, and its state before."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)
    )
    linear = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for layer, W, b in zip(linear, BEFORE.W, BEFORE.b, strict=True):
            layer.weight.copy_(torch.tensor(W.T.copy()))
            layer.bias.copy_(torch.tensor(b))

    def arrays(of=lambda parameter: parameter.detach()):
        W, b = [of(layer.weight).numpy().T for layer in linear], [of(layer.bias).numpy() for layer in linear]
        return gp.Parameters.from_arrays(W, b)

    optimizer = make(torch, [layer.weight for layer in linear], [layer.bias for layer in linear])
    X, Y = torch.tensor(CASE.X, dtype=torch.float32), torch.tensor(CASE.Y)
    states = []
    for _ in range(steps):
        names = [n for n in ("exp_avg", "exp_avg_sq") if optimizer.state and n in next(iter(optimizer.state.values()))]
        states = [arrays(lambda p, name=name: optimizer.state[p][name].clone()) for name in names]
        before = arrays()
        optimizer.zero_grad()
        torch.nn.CrossEntropyLoss(label_smoothing=0.13)(model(X), Y).backward()
        optimizer.step()
    return before, arrays(), states or None


SMOOTHED = CASE.network  # with the label smoothing of cases.OPTIONS


def test_a_step_of_torch():
    before, after, _ = torch_step(lambda torch, W, b: torch.optim.SGD(W + b, lr=0.3), steps=1)
    assert before.dtype == np.float32
    assert verify(before, after, gp.SGD(0.3), SMOOTHED)
    report = verify(before, after, gp.SGD(0.3), NETWORK)
    assert not report, "the loss is another one"


def test_later_steps_of_torch_with_their_state():
    before, after, state = torch_step(lambda torch, W, b: torch.optim.Adam(W + b, lr=0.01))
    assert verify(before, after, gp.Adam(0.01), SMOOTHED, state=state, step=2)
    assert not verify(before, after, gp.Adam(0.01), SMOOTHED, state=state, step=3)


def test_torch_with_swapped_betas_is_found_out():
    before, after, state = torch_step(lambda torch, W, b: torch.optim.Adam(W + b, lr=0.01, betas=(0.999, 0.9)))
    report = verify(before, after, gp.Adam(0.01), SMOOTHED, state=state, step=2)
    assert (report.mistake, report.explained) == ("β1 and β2 are swapped", True)


def test_torch_adamw_decays_biases_too():
    before, after, _ = torch_step(lambda torch, W, b: torch.optim.AdamW(W + b, lr=0.01, weight_decay=0.1), steps=1)
    report = verify(before, after, gp.AdamW(0.01, weight_decay=0.1), SMOOTHED)
    assert report.mistake == "the biases decayed, too, as by PyTorch's AdamW of all parameters"
    assert [tensor.departs for tensor in report.tensors] == [False, True] * 3

    def groups(torch, W, b):
        return torch.optim.AdamW([{"params": W, "weight_decay": 0.1}, {"params": b, "weight_decay": 0}], lr=0.01)

    before, after, _ = torch_step(groups, steps=1)
    assert verify(before, after, gp.AdamW(0.01, weight_decay=0.1), SMOOTHED)


def test_torch_adam_with_weight_decay_is_l2_not_decay():
    def groups(torch, W, b):
        return torch.optim.Adam([{"params": W, "weight_decay": 0.1}, {"params": b, "weight_decay": 0}], lr=0.01)

    before, after, _ = torch_step(groups, steps=1)
    report = verify(before, after, gp.AdamW(0.01, weight_decay=0.1), SMOOTHED)
    assert report.mistake.startswith("L2 was used where decoupled weight decay was meant: λ W")
    assert report.explained


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
def test_steps_of_optax(name):
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")
    weights = {"W": [True] * 3, "b": [False] * 3}
    make, rule = {
        "sgd": (optax.sgd(0.2), gp.SGD(0.2)),
        "adam": (optax.adam(0.01), gp.Adam(0.01)),
        "adamw": (optax.adamw(0.01, weight_decay=0.1, mask=weights), gp.AdamW(0.01, weight_decay=0.1)),
        "rmsprop": (optax.rmsprop(0.01, decay=0.8, eps=1e-7, eps_in_sqrt=False), gp.RMSprop(0.01, rho=0.8, epsilon=1e-7)),
        "adagrad": (optax.adagrad(0.1, initial_accumulator_value=0.0, eps=1e-10), gp.Adagrad(0.1)),
    }[name]
    tree = {"W": [W.astype("f4") for W in BEFORE.W], "b": [b.astype("f4") for b in BEFORE.b]}

    def loss(tree):
        h = CASE.X.astype("f4")
        for W, b in list(zip(tree["W"], tree["b"], strict=True))[:-1]:
            h = jax.numpy.tanh(h @ W + b)
        return optax.softmax_cross_entropy_with_integer_labels(h @ tree["W"][-1] + tree["b"][-1], CASE.Y).mean()

    updates, _ = make.update(jax.grad(loss)(tree), make.init(tree), tree)
    new = optax.apply_updates(tree, updates)
    before = gp.Parameters.from_arrays(tree["W"], tree["b"])
    after = gp.Parameters.from_arrays([np.asarray(W) for W in new["W"]], [np.asarray(b) for b in new["b"]])
    report = verify(before, after, rule)
    if name == "adagrad":  # optax has 1/sqrt(s + eps)
        assert (report.mistake, report.explained) == ("ε stands inside the root", True)
    else:
        assert report, report


# --- planted mistakes ----------------------------------------------------------------------------------------------------


def hand_made(rule, number, held, change):
    """A step of Adam in plain floats, with `change` made to its constants: inside, corrected, swapped."""
    fwd = gp.forward(NETWORK, BEFORE, CASE.X)
    G = gp.backward(NETWORK, BEFORE, fwd, CASE.Y).gradient.theta.tolist()
    beta1, beta2 = (rule.beta2, rule.beta1) if change == "swapped" else (rule.beta1, rule.beta2)
    theta = []
    for old, g, m, v in zip(BEFORE.theta.tolist(), G, *held.tolist(), strict=True):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        if change != "uncorrected":
            m, v = m / (1 - beta1 ** (number + 1)), v / (1 - beta2 ** (number + 1))
        root = math.sqrt(v + rule.epsilon) if change == "inside" else math.sqrt(v) + rule.epsilon
        theta.append(old - rule.learning_rate * m / root)
    return BEFORE.with_theta(np.array(theta))


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ("", None),
        ("inside", "ε stands inside the root"),
        ("uncorrected", "the bias correction was left out"),
        ("swapped", "β1 and β2 are swapped"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_adam_written_by_hand(change, mistake, dtype):
    rule = gp.Adam(0.01, epsilon=1e-4)
    rng = np.random.default_rng(0)
    held = np.stack([rng.normal(0, 0.01, BEFORE.theta.size), rng.uniform(1e-6, 1e-3, BEFORE.theta.size)])
    after = hand_made(rule, 5, held, change).astype(dtype)
    report = verify(BEFORE.astype(dtype), after, rule, state=held, step=5)
    assert bool(report) == (mistake is None), report
    assert (report.mistake, report.explained) == (mistake, mistake is not None)


def test_a_first_step_does_not_show_swapped_betas():
    rule = gp.Adam(0.01, beta1=0.999, beta2=0.9)
    before, after, _ = take(rule)
    report = verify(before, after, gp.Adam(0.01))
    assert report
    assert report.unseen == ("β1 and β2 are swapped",)
    assert "This step cannot show whether β1 and β2 are swapped." in str(report)


def spoil(**factors):
    """A change to a gradient: each tensor named times its factor."""

    def change(back):
        for name, factor in factors.items():
            {"W": back.dW, "b": back.db}[name[0]][int(name[1]) - 1][...] *= factor

    return change


def times(factor):
    def change(back):
        back.gradient.theta[:] *= factor

    return change


@pytest.mark.parametrize(
    ("change", "mistake", "departs"),
    [
        (times(-1), "the sign of the gradient is wrong: the step goes uphill", "b3"),
        (times(8), "the gradient is the sum over the rows, not their mean", "b3"),
        (times(1 / 8), "the mean over the rows was taken twice", "b3"),
        (times(1 / 3), "the loss is the mean over outputs, too", "b3"),
        (times(0), "nothing was changed", "b3"),
        (times(1.001), "the whole step is 1.001 times the rule's: look at the learning rate", "b3"),
        (spoil(b1=0, b2=0, b3=0), "the gradient of the biases was forgotten", "b3"),
        (spoil(W2=1.001), None, "W2"),
        (spoil(W1=2.5, b1=-1), None, "b1"),
    ],
)
def test_wrong_gradients_in_a_plain_step(change, mistake, departs):
    before, after, _ = take(gp.SGD(0.1), change=change)
    report = verify(before, after, gp.SGD(0.1))
    assert not report
    assert report.departs == departs
    assert report.mistake == mistake, report
    assert report.explained == (mistake is not None)


def test_wrong_ways_down():
    """δ through weights transposed, updated already, or without φ′: as the reference, by hand, has them."""
    twin = ref.forward(CASE.twin, cases.lists(BEFORE), CASE.X.tolist())
    h = [np.array(CASE.X), *(np.array(part) for part in twin.h)]
    top = gp.backward(NETWORK, BEFORE, gp.forward(NETWORK, BEFORE, CASE.X), CASE.Y).delta[-1]
    new = take(gp.SGD(0.1))[1]

    def step(weights, slopes=True):
        delta, after = top, BEFORE.copy()
        for l in (2, 1, 0):
            after.W[l][...] -= 0.1 * h[l].T @ delta / 8
            after.b[l][...] -= 0.1 * delta.mean(0)
            delta = (delta @ weights[l].T) * ((1 - h[l] ** 2) if slopes else 1)
        return after

    assert verify(BEFORE, step(BEFORE.W), gp.SGD(0.1))
    for weights, slopes, mistake in (
        ([BEFORE.W[0], BEFORE.W[1].T, BEFORE.W[2]], True, "δ went down through weights used transposed"),
        (new.W, True, "δ went down through weights that had been updated already"),
        (BEFORE.W, False, "φ′ of the hidden layers was left out"),
    ):
        report = verify(BEFORE, step(weights, slopes), gp.SGD(0.1))
        assert (report.mistake, report.explained) == (mistake, True), report
        assert report.departs == ("b1" if "transposed" in mistake else "b2")


DECAYING = gp.AdamW(0.01, weight_decay=0.1)
PENALISED = gp.Network(LAYERS, activation="tanh", loss="cross_entropy", l2=0.05)


def add(factor, of):
    """A change to a gradient: a multiple of the weights, biases or both added."""

    def change(back):
        for l in range(3):
            back.dW[l][...] += factor * BEFORE.W[l] * ("W" in of)
            back.db[l][...] += factor * BEFORE.b[l] * ("b" in of)

    return change


@pytest.mark.parametrize(
    ("taken", "network", "change", "meant", "mistake"),
    [
        (gp.Adam(0.01), NETWORK, add(0.1, "W"), DECAYING, "L2 was used where decoupled weight decay was meant: λ W"),
        (gp.Adam(0.01), NETWORK, add(0.1, "Wb"), DECAYING, "L2 was used where decoupled weight decay was meant, for"),
        (gp.Adam(0.01), NETWORK, None, DECAYING, "the weight decay was left out"),
        (replace(DECAYING, weight_decay=10.0), NETWORK, None, DECAYING, "the weight decay was not multiplied by"),
        (gp.SGD(0.1), NETWORK, None, gp.SGD(0.1, clip_norm=0.01), "the gradient was not clipped"),
        (gp.Adam(0.1), PENALISED, add(-0.05, "W"), gp.Adam(0.1), "the penalty was left out"),
        (gp.Adam(0.1), PENALISED, add(0.05, "W"), gp.Adam(0.1), "the penalty l2/2 Σ W² was taken without its ½"),
        (gp.Adam(0.1), PENALISED, add(0.05, "b"), gp.Adam(0.1), "the penalty was put on the biases, too"),
        (gp.AdamW(0.1, weight_decay=0.05), PENALISED, add(-0.05, "W"), gp.Adam(0.1), "decoupled weight decay was used where"),
    ],
)  # fmt: skip
def test_penalties_decay_and_clipping(taken, network, change, meant, mistake):
    case = replace(CASE, network=network)
    before, after, _ = take(taken, network, case, change=change)
    report = verify(before, after, meant, network, case)
    assert not report
    assert report.mistake.startswith(mistake), report
    assert report.explained


@pytest.mark.parametrize(
    ("taken", "meant", "mistake"),
    [
        (gp.SGD(0.1), gp.SGD(0.1, momentum=0.9), "the momentum was left out"),
        (gp.SGD(0.1, momentum=0.9), gp.SGD(0.1, momentum=0.9, nesterov=True), "the momentum is not Nesterov's"),
        (gp.SGD(0.1, momentum=0.9, nesterov=True), gp.SGD(0.1, momentum=0.9), "the momentum is Nesterov's"),
        (gp.RMSprop(0.1, rho=0.1), gp.RMSprop(0.1, rho=0.9), "ρ and 1 − ρ are swapped"),
        (gp.Adam(0.02), gp.Adam(0.01), "the whole step is 2 times the rule's: look at the learning rate"),
    ],
)
def test_settings_of_the_rule(taken, meant, mistake):
    _, _, state = take(meant, steps=3)
    fwd = gp.forward(NETWORK, BEFORE, CASE.X)
    back = gp.backward(NETWORK, BEFORE, fwd, CASE.Y)
    after = gp.update(BEFORE, back, optimizer=taken, state=state.copy(), step=2)
    report = verify(BEFORE, after, meant, state=state, step=2)
    assert (report.mistake, report.explained) == (mistake, True), report


@pytest.mark.parametrize("rule", [gp.RMSprop(0.01, epsilon=1e-4), gp.Adagrad(0.01, epsilon=1e-4)])
def test_the_root_of_rmsprop_and_adagrad(rule):
    before, after, _ = take(rule)
    fwd = gp.forward(NETWORK, before, CASE.X)
    G = gp.backward(NETWORK, before, fwd, CASE.Y).gradient.theta
    s = (1 - rule.rho if rule.name == "rmsprop" else 1) * G * G
    wrong = before.with_theta(before.theta - 0.01 * G / np.sqrt(s + 1e-4))
    assert verify(before, after, rule)
    assert verify(before, wrong, rule).mistake == "ε stands inside the root"


def test_squared_error_without_its_half():
    case = cases.case((3, 4, 1), rows=6)
    before, after, _ = take(gp.SGD(0.1), case.network, case, change=times(2))
    report = verify(before, after, gp.SGD(0.1), case.network, case)
    assert report.mistake == "the squared error was taken without its ½"


# --- how it is asked and told --------------------------------------------------------------------------------------------


def test_told_as_text_and_as_data():
    before, after, _ = take(gp.SGD(0.1), change=times(8))
    report = verify(before, after, gp.SGD(0.1))
    assert report.verdict.startswith(
        "wrong: this is no step of sgd; from the output down b3 departs first, by 7 of its largest"
    )
    assert report.verdict.endswith("it is explained by this: the gradient is the sum over the rows, not their mean")
    facts = json.loads(json.dumps(report.as_dict()))
    assert (facts["passed"], facts["departs"], len(facts["tensors"])) == (False, "b3", 6)
    assert str(report).splitlines()[1].startswith("W1")
    assert str(verify(before, take(gp.SGD(0.1))[1], gp.SGD(0.1))).count("right") == 7


def test_parameters_that_are_not_finite_depart():
    before, after, _ = take(gp.SGD(0.1))
    after.W[0][0, 0] = np.nan
    report = verify(before, after, gp.SGD(0.1))
    assert (report.departs, report.mistake) == ("W1", None)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"after": [1.0]}, TypeError, "after must be a glassprop.Parameters"),
        ({"before": gp.Parameters((3, 3))}, ValueError, "before must be of the network's layers"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be an update rule"),
        ({"step": -1}, ValueError, "step must be a whole number of at least 0; got -1"),
        ({"step": 1}, ValueError, "state must be given for step 1 of adam: m, v before the step"),
        ({"state": np.zeros(3)}, ValueError, r"state must be of shape \(2, \d+\), or 2 Parameters; got \(3,\)"),
        ({"state": [BEFORE]}, ValueError, "state must be one Parameters for each of m, v; got"),
        ({"state": [BEFORE, gp.Parameters((3, 3))]}, ValueError, "state must be of the network's layers"),
        ({"optimizer": gp.Adam(layer_factors=(1.0,))}, ValueError, "layer_factors must be one for each of the 3 layers"),
    ],
)
def test_refusals(given, error, message):
    arguments = {"before": BEFORE, "after": BEFORE, "X": CASE.X, "Y": CASE.Y, "optimizer": gp.Adam()} | given
    with pytest.raises(error, match=message):
        gp.verify_step(NETWORK, **arguments)


def test_a_loss_of_ones_own():
    own = gp.Loss("own", value=lambda h, y: (h - y) ** 4, slope=lambda h, y: 4 * (h - y) ** 3)
    case = cases.case((3, 4, 2))
    network = gp.Network((3, 4, 2), "tanh", loss=own)
    before, after, _ = take(gp.Adam(0.01), network, case)
    assert verify(before, after, gp.Adam(0.01), network, case)
    before, after, _ = take(
        gp.SGD(0.01), network, case, change=lambda back: np.negative(back.gradient.theta, back.gradient.theta)
    )
    report = verify(before, after, gp.SGD(0.01), network, case)
    assert not report
    assert "sign" in report.mistake


@pytest.mark.parametrize(
    ("taken", "meant", "mistake"),
    [
        (gp.SGD(0.01), gp.Adam(0.01), "the step is one of plain gradient descent"),
        (gp.SGD(0.01), gp.RMSprop(0.01), "the step is one of plain gradient descent"),
        (gp.SGD(0.01, weight_decay=0.1), gp.AdamW(0.01, weight_decay=0.1), "the step is one of plain gradient descent"),
        (gp.Adam(0.01), gp.SGD(0.01), "the step is one of Adam"),
        (gp.Adam(0.01, clip_norm=0.1), gp.SGD(0.01, momentum=0.9, clip_norm=0.1), "the step is one of Adam"),
    ],
)
def test_steps_of_another_rule(taken, meant, mistake):
    before, after, _ = take(taken)
    report = verify(before, after, meant)
    assert (report.mistake, report.explained) == (mistake, True)


def test_before_and_after_the_wrong_way_round():
    before, after, _ = take(gp.SGD(1e-3))
    report = verify(after, before, gp.SGD(0.5e-3))
    assert report.mistake.endswith("times the rule's: are before and after the right way round?")
    assert report.mistake.startswith("the whole step is -2.0")


@pytest.mark.parametrize("layout", ["float32", "float64"])
def test_a_state_lies_as_in_its_own_precision(layout):
    before, after, held = take(gp.Adam(0.01), steps=3)
    start, end = before.astype("float32"), after.astype("float32")
    held = np.array([before.with_theta(row).astype(layout).theta for row in held])
    assert verify(start, end, gp.Adam(0.01), state=held, step=2)
    assert held.shape[1] == start.astype(layout).theta.size
    if layout == "float32":  # numbers of another type, laid out as the parameters are
        assert held.shape[1] != before.theta.size
        assert verify(start, end, gp.Adam(0.01), state=held.astype("float64"), step=2)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_the_slope_of_a_saturated_neuron_is_rounding(activation):
    """h (1 − h) and 1 − h² of an h that is 1 but for the last bits, as everybody computes them."""
    network = gp.Network((2, 3, 1), activation=activation)
    before = gp.Parameters.from_arrays(
        [np.full((2, 3), 4.0), np.full((3, 1), 0.5)], [np.full(3, 12.0 if activation == "tanh" else 24.0), [0.0]]
    )
    X, Y, eta = np.array([[0.5, 0.25], [0.25, -0.125]]), np.array([[3.0], [-2.0]]), 0.1
    (W1, W2), (b1, b2) = before.W, before.b
    g = X @ W1 + b1
    h = np.tanh(g) if activation == "tanh" else 1 / (1 + np.exp(-g))
    delta2 = h @ W2 + b2 - Y
    delta1 = delta2 @ W2.T * ((1 - h * h) if activation == "tanh" else h * (1 - h))
    gradients = [X.T @ delta1 / 2, h.T @ delta2 / 2], [delta1.mean(0), delta2.mean(0)]

    def moved(there, by):
        return [p - eta * G / (np.abs(G) + 1e-10) for p, G in zip(there, by, strict=True)]

    after = gp.Parameters.from_arrays(moved(before.W, gradients[0]), moved(before.b, gradients[1]))
    assert gp.verify_step(network, before, after, X, Y, gp.Adagrad(eta))
