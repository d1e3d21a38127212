"""The notation in which the core's tables write formulas, read into trees. It knows no formula by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from glassprop.glass.formula import (
    FUNCTIONS,
    HALF,
    Call,
    Choice,
    Expr,
    Neg,
    Num,
    Power,
    Product,
    Quotient,
    Sym,
    Total,
    fill,
    letters_of,
    total,
)  # fmt: skip

_SUPERSCRIPTS = {"⁻": "−", "ᵍ": "g", "ʰ": "h", "²": "2", "ᵗ": "t"}
_LETTER = "[^\\W\\d_ᵍʰ²ᵗ₀₁₂½]"
_TOKEN = re.compile(
    rf"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>Φ′|(?:{_LETTER}\u0302?)+[₀₁₂]?)|(?P<raised>[⁻ᵍʰ²ᵗ]+)|(?P<sign>\S))"
)


def read(text: str) -> Expr:
    """Read a formula of the core's tables, such as ``"h (1 − h)"``; what it defines after a comma is put in its place.

    Parameters
    ----------
    text : str
        Letters side by side are multiplied; Σ reaches as far to the right as it can; ``a if b > c else d`` chooses.

    Raises
    ------
    ValueError
        Where the text is not in the notation.

    Examples
    --------
    >>> from glassprop.glass.formula import fill, work_out
    >>> from glassprop.glass.notation import read
    >>> work_out(fill(read("h (1 − h)"), {"h": 0.25}))
    0.1875
    """
    return _Reader(text).formula()


def readable(text: str, letters: Iterable[str]) -> bool:
    """Whether a text is a formula of these letters, as one's own activation may come with any."""
    try:
        fill_in = dict.fromkeys([*letters, "e"], 1.0)
        return not letters_of(fill(read(text), fill_in))
    except ValueError:
        return False


def read_assignments(text: str) -> list[tuple[str, Expr]]:
    """Read ``"v := μ v − η G; θ := θ + v"`` as names and formulas, in their order."""
    result = []
    for line in text.split(";"):
        name, found, formula = line.partition(":=")
        if not found:
            raise ValueError(f"not an assignment: {line!r}")
        result.append((name.strip(), read(formula)))
    return result


class _Reader:
    """Reads one formula from left to right, by recursive descent."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.tokens = text, 0, []
        for match in _TOKEN.finditer(text.rstrip()):
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind]))

    def formula(self) -> Expr:
        main = self.choice()
        while self.take(","):
            name = self.next()[1]
            self.expect("=")
            main = fill(main, {name: self.choice()})
        if self.at < len(self.tokens):
            raise self.error()
        return main

    def choice(self) -> Expr:
        value = self.sum()
        if not self.take("if"):
            return value
        left, relation, right = self.sum(), self.next()[1], self.sum()
        self.expect("else")
        return Choice(value, left, relation, right, self.choice())

    def sum(self) -> Expr:
        terms = [Neg(self.product()) if self.take("−") else self.product()]
        while self.peek() in ("+", "−"):
            sign = self.next()[1]
            terms.append(Neg(self.product()) if sign == "−" else self.product())
        return total(terms)

    def product(self) -> Expr:
        result = [self.factor()]
        while True:
            if self.take("/"):
                result = [Quotient(_one(result), self.factor())]
            elif self.take("·") or self.begins_factor():
                result.append(self.factor())
            else:
                return _one(result)

    def begins_factor(self) -> bool:
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        return (
            (kind in ("name", "number") and token not in ("if", "else"))
            or token in ("(", "√", "Σ", "½")
            or (token == "|" and not self.bars)
        )

    bars = 0  # how many | are open

    def factor(self) -> Expr:
        result = self.atom()
        while True:
            kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
            if kind == "raised":
                self.at += 1
                result = Power(result, read("".join(_SUPERSCRIPTS[letter] for letter in token)))
            elif self.take("^"):
                result = Power(result, self.atom())
            else:
                return result

    def atom(self) -> Expr:
        kind, token = self.next()
        if kind == "number":
            return Num(float(token))
        if token == "½":
            return HALF
        if token == "Σ":
            return Total(self.choice())
        if token == "√":
            return Call("√", (self.atom(),))
        if token == "|":
            self.bars += 1
            inside = self.choice()
            self.bars -= 1
            self.expect("|")
            return Call("|", (inside,))
        if token == "(":
            inside = self.choice()
            self.expect(")")
            return inside
        if kind == "name" and token in FUNCTIONS:
            return self.call(token)
        if kind == "name":
            return Sym(token)
        raise self.error()

    def call(self, name: str) -> Expr:
        if not self.take("("):
            return Call(name, (self.factor(),))
        arguments = [self.choice()]
        while self.take(","):
            arguments.append(self.choice())
        self.expect(")")
        return Call(name, tuple(arguments))

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def next(self) -> tuple[str, Any]:
        if self.at == len(self.tokens):
            raise self.error()
        self.at += 1
        return self.tokens[self.at - 1]

    def take(self, token: str) -> bool:
        found = self.peek() == token
        self.at += found
        return found

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise self.error()

    def error(self) -> ValueError:
        return ValueError(f"not a formula in the notation of the tables: {self.text!r}, at part {self.at + 1}")


def _one(factors: list[Expr]) -> Expr:
    return factors[0] if len(factors) == 1 else Product(tuple(factors))
