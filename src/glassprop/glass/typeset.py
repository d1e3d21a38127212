"""Formulas set in type, as text, LaTeX and MathML: each one class over the same trees. Here alone numbers are rounded.

It knows signs, not what they mean.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from html import escape

from glassprop.glass.formula import (
    HALF,
    Call,
    Choice,
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
)  # fmt: skip

# How tightly a text holds together: what is looser than its surroundings asks for goes into parentheses.
CHOICE, SUM, PRODUCT, POWER, ATOM = range(5)

Set = tuple[str, int]  # a text, and how tightly it holds together


def round_number(value: float, digits: int) -> tuple[str, str]:
    """A number as digits and a power of ten: so many significant digits, fewer only where they are the number exactly."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "NaN"), ""
    exact = f"{value:.{digits}g}"
    text = exact if float(exact) == value else f"{value:#.{digits}g}"
    mantissa, _, exponent = text.partition("e")
    mantissa = mantissa.rstrip(".").replace("-", "−")
    return ("0" if mantissa == "−0" else mantissa), exponent and str(int(exponent)).replace("-", "−")


class Typesetter:
    """What all forms share: which parts stand where, what goes into parentheses, how signs meet.

    Parameters
    ----------
    digits : int
        Significant digits of numbers.
    """

    times, space, minus, plus = "·", " ", "−", "+"

    def __init__(self, digits: int = 6) -> None:
        self.digits = digits

    def __call__(self, expr: Expr) -> str:
        return self.set(expr)[0]

    def number(self, value: float) -> str:
        """A number alone."""
        return self.set(Num(value))[0]

    def pieces(self, equation: Equation) -> list[str]:
        """An equation in pieces between which a line may be broken: before relations and before the terms of sums."""
        result = []
        for relation, expr in equation.parts:
            terms = expr.terms if isinstance(expr, Sum) else (expr,)
            for number, term in enumerate(terms):
                before = self.relation(relation) if number == 0 and relation else ""
                result.append(before + (self.term(term, number == 0) if len(terms) > 1 else self(term)))
        return result

    def equation(self, equation: Equation) -> str:
        """An equation in one piece."""
        return "".join(self.pieces(equation))

    # --- what stands where ---

    def set(self, expr: Expr) -> Set:
        match expr:
            case Num(value):
                mantissa, exponent = round_number(value, self.digits)
                return self.scientific(mantissa, exponent), (SUM if mantissa.startswith("−") else POWER if exponent else ATOM)
            case Sym(name, subs):
                return self.symbol(name, [str(sub) for sub in subs]), ATOM
            case Sum(terms):
                return "".join(self.term(term, number == 0) for number, term in enumerate(terms)), SUM
            case Neg(of):
                return self.minus + self.at(of, PRODUCT), SUM
            case Product((Num(value), *_), _) if value < 0:
                return self.term(expr, True), SUM
            case Product(factors, sign):
                return self.product(factors, sign), PRODUCT
            case Quotient(top, bottom):
                return self.quotient(top, bottom)
            case Power(base, exponent):
                return self.power(self.at(base, ATOM), exponent), POWER
            case Call("√", (of,)):
                return self.root(of), ATOM
            case Call("|", (of,)):
                return self.absolute(self(of)), ATOM
            case Call(name, arguments):
                return self.call(name, [self(argument) for argument in arguments]), ATOM
            case Total(body):
                return self.sigma() + self.at(body, PRODUCT), PRODUCT
            case Choice(value, left, relation, right, otherwise):
                condition = self(left) + self.relation(relation) + self(right)
                return self.choice(self(value), condition, self(otherwise)), CHOICE
        raise TypeError(f"not a formula: {expr!r}")

    def at(self, expr: Expr, level: int) -> str:
        """In parentheses where it is looser than `level`."""
        text, own = self.set(expr)
        return text if own >= level else self.parentheses(text)

    def term(self, term: Expr, first: bool) -> str:
        """A term with the sign before it."""
        match term:  # the sign of a number becomes that of the term
            case Num(value) if round_number(value, self.digits)[0].startswith("−"):
                term = Neg(Num(-value))
            case Product((Num(value), *others), sign) if value < 0:
                term = Neg(Product((Num(-value), *others), sign))
        if isinstance(term, Neg):
            return (self.minus if first else self.sign(self.minus)) + self.at(term.of, PRODUCT)
        return ("" if first else self.sign(self.plus)) + self.at(term, SUM)

    def product(self, factors: Sequence[Expr], sign: str) -> str:
        """Numbers with a point between them, letters side by side."""
        text = ""
        for number, factor in enumerate(factors):
            last = number == len(factors) - 1  # a Σ reaches to the end
            here = self(factor) if last and isinstance(factor, Total) else self.at(factor, POWER)
            if number:
                letters = isinstance(factors[number - 1], Sym | Power | Quotient) and not isinstance(factor, Num | Sum | Choice)
                text += self.sign(sign) if sign else self.space if letters and not _numeric(factor) else self.times
            text += here
        return text

    # --- hooks ---

    def scientific(self, mantissa: str, exponent: str) -> str:
        raise NotImplementedError

    def symbol(self, name: str, subs: list[str]) -> str:
        raise NotImplementedError

    def relation(self, sign: str) -> str:
        return f" {sign} "

    def sign(self, sign: str) -> str:
        return f" {sign} "

    def quotient(self, top: Expr, bottom: Expr) -> Set:
        raise NotImplementedError

    def power(self, base: str, exponent: Expr) -> str:
        raise NotImplementedError

    def root(self, of: Expr) -> str:
        raise NotImplementedError

    def absolute(self, text: str) -> str:
        raise NotImplementedError

    def call(self, name: str, arguments: list[str]) -> str:
        raise NotImplementedError

    def choice(self, value: str, condition: str, otherwise: str) -> str:
        raise NotImplementedError

    def sigma(self) -> str:
        raise NotImplementedError

    def parentheses(self, text: str) -> str:
        raise NotImplementedError


def _numeric(expr: Expr) -> bool:
    """Whether it begins with a digit, so that it cannot stand right beside another number."""
    return isinstance(expr, Num) or (isinstance(expr, Power) and _numeric(expr.base))


_LOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_LOWERED = {"₀": "0", "₁": "1", "₂": "2"}  # at the end of a letter of the tables, such as β₁
_HIGH = {"2": "²", "T": "ᵀ", "g": "ᵍ", "h": "ʰ", "t": "ᵗ", "−g": "⁻ᵍ", "−h": "⁻ʰ"}


class Plain(Typesetter):
    """One line of Unicode, as in the core's tables."""

    def scientific(self, mantissa: str, exponent: str) -> str:
        return f"{mantissa}e{exponent.replace('−', '-')}" if exponent else mantissa

    def symbol(self, name: str, subs: list[str]) -> str:
        return name + ",".join(subs).translate(_LOW)

    def quotient(self, top: Expr, bottom: Expr) -> Set:
        if Quotient(top, bottom) == HALF:
            return "½", ATOM
        slope = isinstance(top, Sym) and top.name.startswith("∂")
        return f"{self.at(top, PRODUCT)}/{self.at(bottom, POWER)}", POWER if slope else PRODUCT

    def power(self, base: str, exponent: Expr) -> str:
        text = self(exponent)
        return base + (_HIGH[text] if text in _HIGH else "^" + self.at(exponent, ATOM))

    def root(self, of: Expr) -> str:
        return "√" + self.at(of, ATOM)

    def absolute(self, text: str) -> str:
        return f"|{text}|"

    def call(self, name: str, arguments: list[str]) -> str:
        return f"{name}({', '.join(arguments)})"

    def choice(self, value: str, condition: str, otherwise: str) -> str:
        return f"{value} if {condition} else {otherwise}"

    def sigma(self) -> str:
        return "Σ "

    def parentheses(self, text: str) -> str:
        return f"({text})"


_TEX = {
    "δ": r"\delta", "η": r"\eta", "θ": r"\theta", "φ": r"\varphi", "σ": r"\sigma", "Φ": r"\Phi", "λ": r"\lambda",
    "α": r"\alpha", "β": r"\beta", "μ": r"\mu", "ρ": r"\rho", "ε": r"\varepsilon", "π": r"\pi", "κ": r"\kappa", "ℓ": r"\ell",
    "∂": r"\partial ", "Δ": r"\Delta ",
    "≤": r"\le", "≥": r"\ge", ":=": r"\mathrel{:=}", "⊙": r"\odot", "≈": r"\approx", "·": r"\cdot", "∞": r"\infty", "−": "-",
    "…": r"\dots", "‖": r"\|", "Σ": r"\sum",
}  # fmt: skip
_TEX_FUNCTIONS = {"log": r"\log", "max": r"\max", "min": r"\min", "tanh": r"\tanh", "cosh": r"\cosh", "cos": r"\cos"}
_TEX_SPECIAL = {sign: "\\" + sign for sign in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "−": "--", "\n": " ",
    "₀": r"\ensuremath{_0}", "₁": r"\ensuremath{_1}", "₂": r"\ensuremath{_2}", "′": "'", "–": "--", "“": "``", "”": "''",
    "€": r"\texteuro{}",
}  # fmt: skip


def tex_text(text: str) -> str:
    """Running text for LaTeX, in letters that its fonts have; another is its base letter, or else its code, as U+9AD8."""
    return "".join(map(_tex_letter, text))


def _tex_letter(letter: str) -> str:
    if letter in _TEX_SPECIAL:
        return _TEX_SPECIAL[letter]
    if letter in _TEX:
        return rf"\ensuremath{{{_TEX[letter].strip()}}}"
    if _in_fonts(letter):
        return letter
    base = "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))
    return tex_text(base) if base and _in_fonts(base) else f"U+{ord(letter):04X}"


def _in_fonts(text: str) -> bool:
    """Whether LaTeX's fonts in T1 have these letters."""
    return all(letter.isprintable() and ord(letter) < 0x180 and letter not in "ĦħĸĿŀŉŦŧſ" for letter in text)


class Latex(Typesetter):
    """LaTeX for mathematics mode; of packages amsmath alone is needed."""

    times, space, minus = r" \cdot ", r"\, ", "-"

    def scientific(self, mantissa: str, exponent: str) -> str:
        mantissa = mantissa.replace("−", "-").replace("∞", r"\infty").replace("NaN", r"\mathrm{NaN}")
        return rf"{mantissa} \cdot 10^{{{exponent.replace('−', '-')}}}" if exponent else mantissa

    def symbol(self, name: str, subs: list[str]) -> str:
        return _tex_name(name) + (f"_{{{','.join(subs)}}}" if subs else "")

    def relation(self, sign: str) -> str:
        return f" {_TEX.get(sign, sign)} "

    sign = relation

    def quotient(self, top: Expr, bottom: Expr) -> Set:
        return rf"\frac{{{self(top)}}}{{{self(bottom)}}}", POWER

    def power(self, base: str, exponent: Expr) -> str:
        return f"{base}^{{{self(exponent)}}}"

    def root(self, of: Expr) -> str:
        return rf"\sqrt{{{self(of)}}}"

    def absolute(self, text: str) -> str:
        return rf"\left\lvert {text}\right\rvert "

    def call(self, name: str, arguments: list[str]) -> str:
        return f"{_TEX_FUNCTIONS.get(name) or _tex_name(name)}{self.parentheses(', '.join(arguments))}"

    def choice(self, value: str, condition: str, otherwise: str) -> str:
        return rf"\begin{{cases}} {value} & {condition} \\ {otherwise} & \text{{else}} \end{{cases}}"

    def sigma(self) -> str:
        return r"\sum "

    def parentheses(self, text: str) -> str:
        return rf"\left({text}\right)"


def _tex_name(name: str) -> str:
    if name in _TEX:
        return _TEX[name]
    if name.endswith("\u0302"):
        return rf"\hat{{{_tex_name(name[:-1])}}}"
    if name.endswith("′"):
        return _tex_name(name[:-1]) + "'"
    if name[-1] in _LOWERED:
        return f"{_tex_name(name[:-1])}_{_LOWERED[name[-1]]}"
    if name[:1] in ("∂", "Δ", "‖") and len(name) > 1:
        return _TEX[name[0]] + _tex_name(name[1:]) if name[0] != "‖" else rf"\|{_tex_name(name.strip('‖'))}\|"
    if len(name) == 1:
        return name
    return rf"\text{{{tex_text(name)}}}"


class MathML(Typesetter):
    """MathML, which browsers draw by themselves. Pieces are whole ``math`` elements, so that lines break between them."""

    times, space, minus, plus = "<mo>·</mo>", '<mo rspace=".17em">\u2062</mo>', '<mo form="prefix">−</mo>', "+"

    def pieces(self, equation: Equation) -> list[str]:
        return [f"<math>{piece}</math>" for piece in super().pieces(equation)]

    def scientific(self, mantissa: str, exponent: str) -> str:
        sign, digits = (self.minus, mantissa[1:]) if mantissa.startswith("−") else ("", mantissa)
        power = f"<mo>·</mo><msup><mn>10</mn><mn>{exponent}</mn></msup>" if exponent else ""
        return f"{sign}<mn>{digits}</mn>{power}"

    def symbol(self, name: str, subs: list[str]) -> str:
        if name[-1] in _LOWERED:
            name, subs = name[:-1], [_LOWERED[name[-1]], *subs]
        letter = _ml_name(name)
        return f"<msub>{letter}<mn>{escape(','.join(subs))}</mn></msub>" if subs else letter

    def relation(self, sign: str) -> str:
        return f"<mo>{escape(sign)}</mo>"

    def sign(self, sign: str) -> str:
        if sign == "⊙":
            return f"<mo>{sign}</mo>"
        # said to stand between two expressions, also where it begins a piece and would be taken for a prefix
        return f'<mo form="infix">{"−" if sign == self.minus else sign}</mo>'

    def quotient(self, top: Expr, bottom: Expr) -> Set:
        return f"<mfrac><mrow>{self(top)}</mrow><mrow>{self(bottom)}</mrow></mfrac>", POWER

    def power(self, base: str, exponent: Expr) -> str:
        if base.startswith("<msub>") and base.endswith("</msub>"):
            return f"<msubsup>{base[6:-7]}<mrow>{self(exponent)}</mrow></msubsup>"
        return f"<msup><mrow>{base}</mrow><mrow>{self(exponent)}</mrow></msup>"

    def root(self, of: Expr) -> str:
        return f"<msqrt>{self(of)}</msqrt>"

    def absolute(self, text: str) -> str:
        return f"<mrow><mo>|</mo>{text}<mo>|</mo></mrow>"

    def call(self, name: str, arguments: list[str]) -> str:
        return f"{_ml_name(name)}{self.parentheses('<mo>,</mo>'.join(arguments))}"

    def choice(self, value: str, condition: str, otherwise: str) -> str:
        return (
            f"<mrow><mo>{{</mo><mtable><mtr><mtd>{value}</mtd><mtd><mtext>if\u00a0</mtext>{condition}</mtd></mtr>"
            f"<mtr><mtd>{otherwise}</mtd><mtd><mtext>else</mtext></mtd></mtr></mtable></mrow>"
        )

    def sigma(self) -> str:
        return "<mo>Σ</mo>"

    def parentheses(self, text: str) -> str:
        tall = "" if any(tag in text for tag in ("<mfrac>", "<msqrt>", "<mtable>")) else ' stretchy="false"'
        return f"<mrow><mo{tall}>(</mo>{text}<mo{tall}>)</mo></mrow>"


def _ml_name(name: str) -> str:
    if name[:1] in ("∂", "Δ") and len(name) > 1:
        return f"<mrow><mo>{name[0]}</mo>{_ml_name(name[1:])}</mrow>"
    if name.endswith("\u0302"):
        return f"<mover><mi>{escape(name[:-1])}</mi><mo>^</mo></mover>"
    return f"<mtext>{escape(name)}</mtext>" if " " in name else f"<mi>{escape(name)}</mi>"
