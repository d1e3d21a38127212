"""Formulas as data: a small tree for every formula shown, which can be filled in with numbers, and worked out.

It knows neither networks, nor how a formula is read (notation.py) or set in type (typeset.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Num:
    """A number, at full precision."""

    value: float


@dataclass(frozen=True)
class Sym:
    """A letter with subscripts, such as W with 2, 1, 1; or a word."""

    name: str
    subs: tuple[int | str, ...] = ()


@dataclass(frozen=True)
class Sum:
    """Terms added up; a term that is taken away is a `Neg`."""

    terms: tuple[Expr, ...]


@dataclass(frozen=True)
class Neg:
    """The opposite."""

    of: Expr


@dataclass(frozen=True)
class Product:
    """Factors; `sign` is what stands between them, nothing or ⊙."""

    factors: tuple[Expr, ...]
    sign: str = ""


@dataclass(frozen=True)
class Quotient:
    """A fraction."""

    top: Expr
    bottom: Expr


@dataclass(frozen=True)
class Power:
    """A base and its exponent."""

    base: Expr
    exponent: Expr


@dataclass(frozen=True)
class Call:
    """A function of some numbers; the functions "√" and "|" are written as signs."""

    function: str
    arguments: tuple[Expr, ...]


@dataclass(frozen=True)
class Total:
    """Σ over what the text around it says."""

    body: Expr


@dataclass(frozen=True)
class Choice:
    """One of two, by a comparison."""

    value: Expr
    left: Expr
    relation: str
    right: Expr
    otherwise: Expr


Expr = Union[Num, Sym, Sum, Neg, Product, Quotient, Power, Call, Total, Choice]  # noqa: UP007 (a name used before it is there)


HALF = Quotient(Num(1), Num(2))


@dataclass(frozen=True)
class Equation:
    """Expressions of one value, each with the relation before it: the first has none."""

    parts: tuple[tuple[str, Expr], ...]

    @property
    def value(self) -> float:
        """The number that it ends in."""
        last = self.parts[-1][1]
        assert isinstance(last, Num)
        return last.value


def equation(left: Expr, *stages: Expr, relation: str = "=") -> Equation:
    """left = stage = stage ..., without stages that repeat the one before; `relation` stands before the first stage."""
    parts: list[tuple[str, Expr]] = [("", left)]
    for stage in stages:
        if stage != parts[-1][1]:
            parts.append((relation if len(parts) == 1 else "=", stage))
    return Equation(tuple(parts))


def sym(name: str, *subs: int | str) -> Sym:
    """A letter with subscripts."""
    return Sym(name, subs)


def product(*factors: Expr) -> Product:
    """Factors."""
    return Product(factors)


def total(terms: Iterable[Expr]) -> Expr:
    """Terms added up; one alone is itself."""
    listed = tuple(terms)
    return listed[0] if len(listed) == 1 else Sum(listed)


# --- filling in, taking apart, working out -------------------------------------------------------------------------------


def _map(function: Callable[[Expr], Expr], expr: Expr) -> Expr:
    """The same node over parts that `function` has changed."""
    match expr:
        case Num() | Sym():
            return expr
        case Sum(terms):
            return Sum(tuple(map(function, terms)))
        case Neg(of):
            return Neg(function(of))
        case Product(factors, sign):
            return Product(tuple(map(function, factors)), sign)
        case Quotient(top, bottom):
            return Quotient(function(top), function(bottom))
        case Power(base, exponent):
            return Power(function(base), function(exponent))
        case Call(name, arguments):
            return Call(name, tuple(map(function, arguments)))
        case Total(body):
            return Total(function(body))
        case Choice(value, left, relation, right, otherwise):
            return Choice(function(value), function(left), relation, function(right), function(otherwise))


def fill(expr: Expr, values: Mapping[str, float | Expr]) -> Expr:
    """The formula with letters without subscripts replaced: by numbers, or by other formulas."""
    if isinstance(expr, Sym) and not expr.subs and expr.name in values:
        value = values[expr.name]
        return Num(float(value)) if isinstance(value, (int, float)) else value
    return _map(lambda part: fill(part, values), expr)


def letters_of(expr: Expr) -> set[str]:
    """The letters in a formula."""
    if isinstance(expr, Sym):
        return {expr.name}
    found: set[str] = set()

    def visit(part: Expr) -> Expr:
        found.update(letters_of(part))
        return part

    _map(visit, expr)
    return found


def summand(expr: Expr) -> Expr:
    """One term of the Σ in a formula, with what stands before the Σ."""
    return expr.body if isinstance(expr, Total) else _map(summand, expr)


def settle(expr: Expr) -> Expr:
    """A formula filled in, with every choice made."""
    if isinstance(expr, Choice):
        holds = _RELATIONS[expr.relation](work_out(settle(expr.left)), work_out(settle(expr.right)))
        return settle(expr.value if holds else expr.otherwise)
    return _map(settle, expr)


#: Functions of the tables' formulas.
FUNCTIONS: dict[str, Callable[..., float]] = {
    "tanh": math.tanh,
    "cosh": math.cosh,
    "log": lambda x: math.log(x) if x > 0 else -math.inf,
    "max": max,
    "min": min,
    "sign": lambda x: float((x > 0) - (x < 0)),
    "√": math.sqrt,
    "cos": math.cos,
    "|": abs,
    "σ": lambda x: 1 / (1 + math.exp(-x)),
    "Φ": lambda x: math.erfc(-x / math.sqrt(2)) / 2,
    "Φ′": lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
}
_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    "≤": lambda a, b: a <= b,
    "≥": lambda a, b: a >= b,
}


def work_out(expr: Expr) -> float:
    """The number that a formula filled in comes to; e is Euler's.

    Raises
    ------
    ValueError
        Where a letter is left.
    """
    match expr:
        case Num(value):
            return value
        case Sym("e", ()):
            return math.e
        case Sym("π", ()):
            return math.pi
        case Sum(terms):
            return math.fsum(map(work_out, terms))
        case Neg(of):
            return -work_out(of)
        case Product(factors):
            return _worked_product([work_out(factor) for factor in factors])
        case Quotient(top, bottom):
            return work_out(top) / work_out(bottom)
        case Power(Sym("e", ()), exponent):
            return math.exp(work_out(exponent))
        case Power(base, exponent):
            return work_out(base) ** work_out(exponent)
        case Call(name, arguments) if name in FUNCTIONS:
            return float(FUNCTIONS[name](*map(work_out, arguments)))
        case Choice(value, left, relation, right, otherwise):
            return work_out(value if _RELATIONS[relation](work_out(left), work_out(right)) else otherwise)
    raise ValueError(f"a formula with letters has no value: {expr}")


def _worked_product(factors: list[float]) -> float:
    return 0.0 if 0.0 in factors else math.prod(factors)  # 0 log 0 is 0 in the losses
