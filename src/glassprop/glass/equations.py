"""The equations of a step: one description of every neuron, weight and loss, in symbols and numbers, for all forms.

It computes nothing but the values in between that the core does not keep (Adam's m̂, say), from the formulas that are shown.
Layers are counted from 1 here, as in the symbols; `i` and `j` are places among the neurons shown.
"""

from __future__ import annotations

from glassprop.glass.explanation import Layer, Step, Tensor
from glassprop.glass.formula import (
    Call,
    Equation,
    Expr,
    Neg,
    Num,
    Power,
    Product,
    Quotient,
    Sum,
    Sym,
    Total,
    equation,
    fill,
    product,
    settle,
    summand,
    sym,
    total,
    work_out,
)
from glassprop.glass.notation import read, read_assignments
from glassprop.glass.trace import CONSTANTS

E, Y, L_ROW, L, ETA, DELTA_T = sym("e"), sym("y"), sym("ℓ"), sym("L"), sym("η"), sym("Δθ")

# --- symbols -------------------------------------------------------------------------------------------------------------


def unit(step: Step, letter: str, l: int, j: int) -> Sym:
    """A neuron's letter: g, h, δ or b of layer l, or y of its target."""
    return sym(letter, l, step.layers[l - 1].units[j] + 1)


def below(step: Step, l: int, i: int) -> Sym:
    """What layer l reads: h of the layer below, or x."""
    number = step.layers[l - 1].inputs[i] + 1
    return sym("x", number) if l == 1 else sym("h", l - 1, number)


def parameter(step: Step, l: int, i: int | None, j: int, letter: str = "") -> Sym:
    """A weight, or where `i` is None a bias; after a letter such as ∂ or Δ."""
    layer = step.layers[l - 1]
    if i is None:
        return sym(letter + "b", l, layer.units[j] + 1)
    return sym(letter + "W", l, layer.inputs[i] + 1, layer.units[j] + 1)


def by(top: Sym, bottom: Sym) -> Quotient:
    """∂top/∂bottom."""
    return Quotient(Sym("∂" + top.name, top.subs), Sym("∂" + bottom.name, bottom.subs))


def function_name(layer: Layer) -> str:
    """How φ is written as a function."""
    return "σ" if layer.name == "sigmoid" else layer.name


def _rest(count: int, what: str) -> Sym:
    return sym(f"{count} more {what}" if count > 1 else f"1 more {what.removesuffix('s')}")


def _others(step: Step) -> Sym:
    return sym("1 other row" if step.rows == 2 else f"{step.rows - 1} other rows")


# --- forward -------------------------------------------------------------------------------------------------------------


def pre_activation(step: Step, l: int, j: int) -> Equation:
    """g = Σ W h + b."""
    layer = step.layers[l - 1]
    terms: list[Expr] = [product(parameter(step, l, i, j), below(step, l, i)) for i in range(len(layer.inputs))]
    numbers: list[Expr] = [
        product(Num(float(layer.factors[i, j])), Num(float(layer.below[i]))) for i in range(len(layer.inputs))
    ]
    hidden = layer.size_below - len(layer.inputs)
    if hidden:
        terms.append(_rest(hidden, "inputs" if l == 1 else "neurons"))
        numbers.append(Num(float(layer.rest[j])))
    terms.append(parameter(step, l, None, j))
    numbers.append(Num(float(layer.biases.old[j])))
    return equation(unit(step, "g", l, j), total(terms), total(numbers), Num(float(layer.g[j])))


def activation(step: Step, l: int, j: int) -> Equation:
    """h = φ(g), times what dropout makes of it."""
    layer, g = step.layers[l - 1], unit(step, "g", l, j)
    value = float(layer.g[j])
    if layer.name == "softmax":
        symbols, numbers = _softmax(step, l, j)
    elif layer.name == "identity":
        symbols, numbers = g, Num(value)
    else:
        symbols = Call(function_name(layer), (g,))
        numbers = _filled(layer, layer.formula, {"g": value}) if layer.formula else Call(layer.name, (Num(value),))
    if layer.kept is not None:
        symbols, numbers = product(sym("m"), symbols), product(Num(float(layer.kept[j])), numbers)
    return equation(unit(step, "h", l, j), symbols, numbers, Num(float(layer.h[j])))


def _softmax(step: Step, l: int, j: int) -> tuple[Expr, Expr]:
    layer = step.layers[l - 1]
    top = unit(step, "g", l, j)
    every: list[Expr] = [Power(E, Num(float(g))) for g in layer.g]
    if layer.size > len(layer.units):
        every.append(Num(layer.exponentials))
    return Quotient(Power(E, top), Total(Power(E, sym("g", l, "k")))), Quotient(Power(E, Num(float(layer.g[j]))), total(every))


def _filled(layer: Layer, formula: str, values: dict[str, float]) -> Expr:
    return settle(fill(read(formula), values | CONSTANTS.get(layer.name, {})))


# --- loss ----------------------------------------------------------------------------------------------------------------


def _row_formula(step: Step) -> Expr:
    """ℓ, of a loss without a formula by its name."""
    return read(step.loss.formula) if step.loss.formula else Total(Call(step.loss.name, (sym("h"), Y)))


def loss_term(step: Step, o: int) -> Equation:
    """The part of ℓ that belongs to an output."""
    loss, layer, l = step.loss, step.layers[-1], len(step.layers)
    term = summand(_row_formula(step))
    symbols = fill(term, {"h": unit(step, "h", l, o), "y": sym("y", layer.units[o] + 1)})
    numbers = settle(fill(term, {"h": float(layer.h[o]), "y": float(loss.y[o])} | loss.options))
    left = L_ROW if layer.size == 1 else sym("ℓ", layer.units[o] + 1)
    return equation(left, symbols, numbers, Num(float(loss.terms[o])))


def row_loss(step: Step) -> Equation:
    """ℓ, the sum over outputs."""
    loss, layer = step.loss, step.layers[-1]
    terms: list[Expr] = [sym("ℓ", number + 1) for number in layer.units]
    numbers: list[Expr] = [Num(float(term)) for term in loss.terms]
    if layer.size > len(layer.units):
        terms.append(_rest(layer.size - len(layer.units), "outputs"))
        numbers.append(Num(loss.rest))
    return equation(L_ROW, total(terms), total(numbers), Num(loss.row))


def batch_matters(step: Step) -> bool:
    """Whether the objective is anything but ℓ of the row."""
    return step.rows > 1 or step.l2 > 0 or step.l1 > 0 or step.loss.weight != 1


def objective(step: Step) -> Equation:
    """L, the mean over rows, and the penalty."""
    loss = step.loss
    mean, numbers = _mean(step, L_ROW, loss.row * loss.weight if loss.weight != 1 else loss.row, loss.others)
    if step.l2 or step.l1:
        parts = [product(Quotient(sym("λ₂"), Num(2)), Total(Power(sym("W"), Num(2))))] if step.l2 else []
        parts += [product(sym("λ₁"), Total(Call("|", (sym("W"),))))] if step.l1 else []
        mean, numbers = total((mean, *parts)), total((numbers, Num(loss.penalty)))
    return equation(L, mean, numbers, Num(loss.objective))


def _mean(step: Step, own: Expr, share: float, others: float) -> tuple[Expr, Expr]:
    """(own + those of the other rows)/Σ w, in symbols and in numbers; `share` holds the row's weight."""
    loss = step.loss
    weighted = loss.weight != 1 or loss.weight_sum != step.rows
    first: Expr = product(sym("w"), own) if weighted and own == L_ROW else own
    symbols, numbers = first, Num(share)
    if step.rows > 1:
        symbols, numbers = total((first, _others(step))), total((Num(share), Num(others)))  # type: ignore[assignment]
    if loss.weight_sum == 1:
        return symbols, numbers
    below_line = Total(sym("w")) if weighted else Num(step.rows)
    return Quotient(symbols, below_line), Quotient(numbers, Num(loss.weight_sum))


# --- backward ------------------------------------------------------------------------------------------------------------


def error_terms(step: Step, l: int, j: int) -> list[Equation]:
    """How δ of a neuron comes about: ∂ℓ/∂h, φ′, and their product; or in one where the loss stands on its own link."""
    layer, delta = step.layers[l - 1], unit(step, "δ", l, j)
    if layer.slope is None:
        return [_linked_error(step, j)]
    last = l == len(step.layers)
    slope, above = Num(float(layer.slope[j])), Num(float(layer.above[j]))
    symbols: list[Expr] = [by(L_ROW, unit(step, "h", l, j)), Call("φ′", (unit(step, "g", l, j),))]
    numbers: list[Expr] = [above, slope]
    if last and step.loss.weight != 1:
        symbols.insert(0, sym("w"))
        numbers.insert(0, Num(step.loss.weight))
    if layer.kept is not None:
        symbols.insert(1, sym("m"))
        numbers.insert(1, Num(float(layer.kept[j])))
    first = _output_slope(step, j) if last else _paths(step, l, j)
    return [first, _slope(step, l, j), equation(delta, product(*symbols), product(*numbers), Num(float(layer.delta[j])))]


def _linked_error(step: Step, j: int) -> Equation:
    layer, loss, l = step.layers[-1], step.loss, len(step.layers)
    formula = _linked_formula(step, unit(step, "h", l, j))
    if abs(loss.mass - 1) > 1e-12 and layer.name == "softmax":
        formula = Sum((product(sym("h"), Total(Y)), Neg(Y)))
    symbols = fill(formula, {"h": unit(step, "h", l, j), "y": sym("y", layer.units[j] + 1)})
    values = {"h": float(layer.h[j]), "y": float(loss.y[j])} | loss.options
    numbers = settle(fill(_with_total(formula, loss.mass), values)) if loss.linked_formula else Num(float(layer.above[j]))
    if loss.weight != 1:
        symbols, numbers = product(sym("w"), symbols), product(Num(loss.weight), numbers)
    return equation(unit(step, "δ", l, j), symbols, numbers, Num(float(layer.delta[j])))


def _linked_formula(step: Step, h: Sym) -> Expr:
    """δ of an output; of a loss without a formula, on the identity, ∂ℓ/∂h."""
    return read(step.loss.linked_formula) if step.loss.linked_formula else by(L_ROW, h)


def _with_total(formula: Expr, mass: float) -> Expr:
    match formula:
        case Sum((Product((h, Total())), Neg(y))):
            return Sum((product(h, Num(mass)), Neg(y)))
    return formula


def _output_slope(step: Step, j: int) -> Equation:
    layer, loss, l = step.layers[-1], step.loss, len(step.layers)
    h, y = unit(step, "h", l, j), sym("y", layer.units[j] + 1)
    if not loss.slope_formula:
        return equation(by(L_ROW, h), Num(float(layer.above[j])))
    formula = read(loss.slope_formula)
    numbers = settle(fill(formula, {"h": float(layer.h[j]), "y": float(loss.y[j])} | loss.options))
    return equation(by(L_ROW, h), fill(formula, {"h": h, "y": y}), numbers, Num(float(layer.above[j])))


def _paths(step: Step, l: int, j: int) -> Equation:
    """∂ℓ/∂h of a hidden neuron: the sum over the paths to the layer above."""
    layer, upper = step.layers[l - 1], step.layers[l]
    terms: list[Expr] = [product(parameter(step, l + 1, j, k), unit(step, "δ", l + 1, k)) for k in range(len(upper.units))]
    numbers: list[Expr] = [
        product(Num(float(upper.factors[j, k])), Num(float(upper.delta_factors[k]))) for k in range(len(upper.units))
    ]
    if upper.size > len(upper.units):
        terms.append(_rest(upper.size - len(upper.units), "paths"))
        numbers.append(Num(float(layer.rest_above[j])))
    return equation(by(L_ROW, unit(step, "h", l, j)), total(terms), total(numbers), Num(float(layer.above[j])))


def _slope(step: Step, l: int, j: int) -> Equation:
    layer, g = step.layers[l - 1], unit(step, "g", l, j)
    assert layer.slope is not None
    left, value = Call("φ′", (g,)), Num(float(layer.slope[j]))
    raw = float(layer.h[j]) if layer.kept is None else float(layer.h[j] / layer.kept[j]) if layer.kept[j] else None
    if not layer.slope_formula or raw is None:
        return equation(left, value)
    symbols = fill(read(layer.slope_formula), {"g": g, "h": unit(step, "h", l, j)}) if layer.kept is None else left
    return equation(left, symbols, _filled(layer, layer.slope_formula, {"g": float(layer.g[j]), "h": raw}), value)


def gradients(step: Step, l: int, i: int | None, j: int) -> list[Equation]:
    """∂ℓ/∂W = h δ of the row, and where the batch is more than the row, ∂L/∂W."""
    tensor, place = tensor_of(step, l, i), j if i is None else (i, j)
    share = Num(float(tensor.share[place]))
    here, delta = parameter(step, l, i, j), unit(step, "δ", l, j)
    number = Num(float(step.layers[l - 1].delta_factors[j]))
    whole = L if not batch_matters(step) else L_ROW
    if i is None:
        lines = [equation(by(whole, here), delta, share)]
    else:
        h = Num(float(step.layers[l - 1].below[i]))
        lines = [equation(by(whole, here), product(below(step, l, i), delta), product(h, number), share)]
    if batch_matters(step):
        symbols, numbers = _mean(step, by(L_ROW, here), share.value, float(tensor.others[place]))
        if i is not None:
            old = Num(float(tensor.old[place]))
            for letter, amount in (("λ₂", step.l2), ("λ₁", step.l1)):
                if amount:
                    factors = (here, old) if letter == "λ₂" else (Call("sign", (here,)), Call("sign", (old,)))
                    symbols = total((symbols, product(sym(letter), factors[0])))
                    numbers = total((numbers, product(Num(amount), factors[1])))
        lines.append(equation(by(L, here), symbols, numbers, Num(float(tensor.gradient[place]))))
    return lines


def tensor_of(step: Step, l: int, i: int | None) -> Tensor:
    """The weights of layer l, or where `i` is None its biases."""
    layer = step.layers[l - 1]
    return layer.biases if i is None else layer.weights


# --- update --------------------------------------------------------------------------------------------------------------


def schedule(step: Step) -> Equation | None:
    """η as it follows from the number of the step, where a schedule of the core says so."""
    rule = step.rule
    if not rule.schedule_formula:
        return None
    formula = read(rule.schedule_formula)
    return equation(ETA, formula, settle(fill(formula, rule.schedule_constants)), Num(rule.learning_rate))


def clipping(step: Step) -> Equation | None:
    """What clipping multiplies the whole gradient by, where it acts."""
    rule = step.rule
    if not rule.clips or rule.clip_norm is None:
        return None
    factor = Quotient(Num(rule.clip_norm), Num(rule.gradient_norm))
    return equation(sym("c"), Quotient(sym("clip_norm"), sym("‖∂L/∂θ‖")), factor, Num(work_out(factor)))


def updates(step: Step, l: int, i: int | None, j: int) -> list[Equation]:
    """The assignments that take a parameter to its new value, in the order in which they are made."""
    rule, layer, tensor = step.rule, step.layers[l - 1], tensor_of(step, l, i)
    place = j if i is None else (i, j)
    here, gradient = parameter(step, l, i, j), by(L, parameter(step, l, i, j))
    theta, used, rate = float(tensor.old[place]), float(tensor.used[place]), layer.learning_rate
    lines = []
    letters: dict[str, float | Expr] = {"θ": here, "G": gradient}
    clip = clipping(step)
    if clip is not None:
        letters["G"] = sym("G")
        shrink = product(Num(clip.value), Num(float(tensor.gradient[place])))
        lines.append(equation(sym("G"), product(sym("c"), gradient), shrink, Num(used)))
    if rule.weight_decay and i is not None:
        keep = Sum((Num(1), Neg(product(Num(rate), Num(rule.weight_decay)))))
        decay = product(Sum((Num(1), Neg(product(ETA, sym("λ"))))), here)
        theta = float(tensor.decayed[place])
        lines.append(equation(here, decay, product(keep, Num(float(tensor.old[place]))), Num(theta), relation=":="))
    values = {"θ": theta, "G": used, "η": rate} | rule.constants
    values |= {letter: float(array[place]) for letter, array in tensor.before.items()}
    if rule.name == "rprop" and rule.constants["t"] == 1:
        values["d"] = rate
    for name, formula in read_assignments(rule.formula):
        numbers = fill(formula, values)
        value = float(tensor.after[name][place]) if name in tensor.after else None
        if name == "θ":
            value = float(tensor.new[place])
        values[name] = work_out(numbers) if value is None else value
        left = here if name == "θ" else sym(name)
        lines.append(equation(left, fill(formula, letters), settle(numbers), Num(values[name]), relation=":="))
        if name == "G":
            letters["G"] = sym("G")
    return lines


def rule_equations(step: Step) -> list[Equation]:
    """The rule in symbols, with what clipping and decay do before it."""
    rule = step.rule
    lines = [equation(sym("G"), by(L, sym("θ")))]
    if rule.clip_norm is not None:
        clip = Quotient(sym("clip_norm"), sym("‖∂L/∂θ‖"))
        lines[0] = equation(sym("G"), product(Call("min", (Num(1), clip)), by(L, sym("θ"))))
    if rule.weight_decay:
        lines.append(equation(sym("W"), product(Sum((Num(1), Neg(product(ETA, sym("λ"))))), sym("W")), relation=":="))
    lines += [equation(sym(name), formula, relation=":=") for name, formula in read_assignments(rule.formula)]
    return lines


# --- layers as wholes ----------------------------------------------------------------------------------------------------


def layer_forward(step: Step, l: int) -> list[Equation]:
    """g = Wᵀ h + b, h = φ(g)."""
    layer = step.layers[l - 1]
    source = sym("x") if l == 1 else sym("h", l - 1)
    sum_ = total((product(Power(sym("W", l), sym("T")), source), sym("b", l)))
    g, h = sym("g", l), sym("h", l)
    stages: list[Expr] = [g if layer.name == "identity" else Call(function_name(layer), (g,))]
    if layer.formula and layer.name not in ("identity", "tanh"):
        stages.append(fill(read(layer.formula), {"g": g}))
    return [equation(g, sum_), equation(h, *stages)]


def layer_backward(step: Step, l: int) -> list[Equation]:
    """δ, and the gradient of W and b."""
    layer, last = step.layers[l - 1], l == len(step.layers)
    slope = Call("φ′", (sym("g", l),))
    if not last:
        delta: Expr = Product((product(sym("W", l + 1), sym("δ", l + 1)), slope), "⊙")
    elif layer.slope is None:
        delta = fill(_linked_formula(step, sym("h", l)), {"h": sym("h", l)})
    else:
        delta = Product((by(L_ROW, sym("h", l)), slope), "⊙")
    source = sym("x") if l == 1 else sym("h", l - 1)
    lines = [equation(sym("δ", l), delta)]
    if layer.slope_formula and layer.slope is not None:
        lines.append(equation(slope, fill(read(layer.slope_formula), {"g": sym("g", l), "h": sym("h", l)})))
    gradient = product(source, Power(sym("δ", l), sym("T")))
    return [*lines, equation(by(L_ROW, sym("W", l)), gradient), equation(by(L_ROW, sym("b", l)), sym("δ", l))]


def loss_formula(step: Step) -> Equation:
    """ℓ in symbols."""
    return equation(L_ROW, _row_formula(step))
