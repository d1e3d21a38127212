"""The forms of an explanation: text, Markdown, LaTeX, notebook; and the notation that they typeset."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

import glassprop as gp
from glassprop.core.losses import LOSSES, Loss
from glassprop.glass.formula import Num, Sum, fill, product, work_out
from glassprop.glass.notation import read, read_assignments
from glassprop.glass.typeset import Latex, MathML, Plain, round_number
from tests.glass.test_explain import mazur

# --- notation ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [row.formula for row in gp.ACTIVATIONS.values()] + [row.slope for row in gp.ACTIVATIONS.values() if row.slope]
    + [Loss(name).formula for name in LOSSES] + [Loss(name).slope_formula for name in LOSSES],
)  # fmt: skip
def test_every_formula_of_the_tables_is_read_and_typeset(text):
    formula = read(text)
    assert read(Plain()(formula)) == formula  # what is printed is in the same notation
    tex = Latex()(formula)
    assert tex.count("{") == tex.count("}")
    assert tex.count(r"\left") == tex.count(r"\right")
    assert ElementTree.fromstring(f"<math>{MathML()(formula)}</math>").tag == "math"


@pytest.mark.parametrize("rule", [*(rule() for rule in gp.OPTIMIZERS.values()), gp.SGD(momentum=0.9), gp.SGD(nesterov=True)])
def test_every_rule_is_read(rule):
    assert read_assignments(rule.formula)[-1][0] == "θ"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1 − 2 − 3", -4), ("2/4/2", 0.25), ("−2²", -4), ("(−2)²", 4), ("2 g²", 18), ("½ g", 1.5), ("|1 − g| |2|", 4),
     ("1 if g > 2 else 2 if g > 1 else 3", 1), ("e⁻ᵍ eᵍ", 1), ("√(g + 1) g", 6), ("t + 1, t = g g", 10),
     ("max(g, 4) − sign g", 3)],
)  # fmt: skip
def test_the_notation_means_what_it_says(text, value):
    assert work_out(fill(read(text), {"g": 3.0})) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("text", ["", "1 +", "(1", "1 if 2", "g g)", "|g", "a, b", "∫ g"])
def test_what_is_not_in_the_notation_is_refused(text):
    with pytest.raises(ValueError, match="not a formula in the notation of the tables"):
        read(text)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.05, 6, "0.05"), (0.59326999, 6, "0.593270"), (1 / 3, 3, "0.333"), (-2.5e-7, 6, "−2.5e-7"), (1e300, 6, "1e300"),
     (0.0, 6, "0"), (-0.0, 6, "0"), (2 / 3 * 1e-9, 2, "6.7e-10"), (123456789.0, 6, "1.23457e8"),
     (float("inf"), 6, "∞"), (100.0, 6, "100")],
)  # fmt: skip
def test_rounding(value, digits, text):
    assert Plain(digits).number(value) == text
    assert "".join(round_number(value, digits))


def test_signs_meet_well():
    expr = Sum((product(Num(-2.0), Num(3.0)), Num(-1.0), product(Num(4.0), Num(-5.0)), product(Num(-6.0), Num(-7.0))))
    assert Plain()(expr) == "−2·3 − 1 + 4·(−5) − 6·(−7)"
    assert Latex()(expr).replace(" ", "") == r"-2\cdot3-1+4\cdot\left(-5\right)-6\cdot\left(-7\right)"


# --- text ----------------------------------------------------------------------------------------------------------------

LINES = """
    g₁,₁ = W₁,₁,₁ x₁ + W₁,₂,₁ x₂ + b₁,₁ = 0.15·0.05 + 0.2·0.1 + 0.35 = 0.3775
    h₁,₁ = σ(g₁,₁) = 1/(1 + e^(−0.3775)) = 0.593269992
    ℓ₁ = ½ (y₁ − h₂,₁)² = ½ (0.01 − 0.751365070)² = 0.274811083
    ℓ = ℓ₁ + ℓ₂ = 0.274811083 + 0.0235600256 = 0.298371109
    δ₂,₂ = ∂ℓ/∂h₂,₂ φ′(g₂,₂) = −0.217071535·0.175510053 = −0.0380982365
    ∂ℓ/∂h₁,₁ = W₂,₁,₁ δ₂,₁ + W₂,₁,₂ δ₂,₂ = 0.4·0.138498562 + 0.5·(−0.0380982365) = 0.0363503064
    ∂L/∂W₂,₁,₁ = h₁,₁ δ₂,₁ = 0.593269992·0.138498562 = 0.0821670406
    W₂,₁,₁ := W₂,₁,₁ − η ∂L/∂W₂,₁,₁ = 0.4 − 0.5·0.0821670406 = 0.358916480
    b₁,₂       0.35   0.00995425471   −0.00497712735  0.345022873
    ℓ     0.298371109  0.280471447  −0.0178996620  −0.0177124520
"""


def test_text_of_the_worked_example():
    lines = mazur().to_text(digits=9).splitlines()
    for line in LINES.strip("\n").splitlines():
        assert line in lines


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_text_fits_the_width(width):
    from rich.cells import cell_len

    network = gp.Network((12, 9, 3), "gelu", loss="cross_entropy", l2=0.1)
    explanation = gp.explain(
        network,
        network.initialize(1),
        [[0.1 * i for i in range(12)]] * 3,
        [0, 2, 1],
        optimizer=gp.AdamW(clip_norm=0.1),
        neurons=4,
    )
    text = explanation.to_text(width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "\x1b" in explanation.to_text(width=width, color=True)


def test_constants_and_weights_of_the_loss_are_told():
    huber = gp.Network((1, 1), loss=gp.Loss("huber", delta=0.3))
    weighted = gp.explain(huber, huber.initialize(0), [[1.0], [2.0]], [1.0, 4.0], weights=[0.5, 2.0])
    smooth = gp.Network((1, 2), loss=gp.Loss("cross_entropy", label_smoothing=0.1))
    smoothed = gp.explain(smooth, smooth.initialize(0), [[1.0]], [1])
    for form in ("text", "html"):
        text = weighted.to(form)
        assert "κ = 0.3." in text
        assert "The row's weight w is 0.5, the sum over the batch 2.5." in text.replace("&#39;", "'").replace("&#x27;", "'")
        assert "The targets are smoothed by 0.1." in smoothed.to(form)


def test_the_update_worked_out_is_of_a_weight_that_moves():
    """The first neuron is dead, so that the first weight stays."""
    network = gp.Network((1, 2, 1))
    parameters = gp.Parameters.from_arrays([[[-1.0, 1.0]], [[1.0], [1.0]]], [[0.0, 0.0], [0.0]])
    text = gp.explain(network, parameters, [[1.0]], [0.0]).to_text()
    assert "W₁,₁,₂ := W₁,₁,₂ − η ∂L/∂W₁,₁,₂ = 1 − 0.01·1 = 0.99" in text
    assert "W₁,₁,₁ :=" not in text


def test_printing_and_repr():
    explanation = mazur()
    assert str(explanation) == explanation.to_text()
    assert repr(explanation).startswith("Explanation(step 0, row 0 of 1; Network((2, 2, 2)")
    named = [line for line in str(mazur(steps=3)).splitlines() if line.startswith("Training step ")]
    assert named == [f"Training step {step}, counted from 0" for step in range(3)]
    late = mazur(step=40)
    assert str(late).startswith("Training step 40, counted from 0\n")
    assert "<title>Training step 40, counted from 0</title>" in late.to_html()
    assert "Training step <output" in mazur(steps=2).to_html()


# --- Markdown, LaTeX, notebook -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large():
    """An explanation with everything in it: totals of the rest, a batch, penalties, clipping, decay, choices, names."""
    network = gp.Network((12, 9, 12), "selu", loss="cross_entropy", l2=0.1, l1=0.01)
    rows = [[0.1 * i - 0.3 * j for i in range(12)] for j in range(3)]
    names = [f"größe_{i} #%&$ 深さ" for i in range(12)]
    return gp.explain(
        network, network.initialize(1), rows, [0, 2, 1], optimizer=gp.AdamW(clip_norm=0.1), neurons=4, input_names=names
    )


def test_markdown(large):
    text = mazur().to_markdown(digits=9)
    line = r"h_{1,1}& = \sigma\left(g_{1,1}\right) = \frac{1}{1 + e^{-0.3775}} = 0.593269992"
    assert any(part.startswith(line) for part in text.splitlines())
    assert "| $W_{2,1,1}$ | $0.4$ | $0.0821670406$ | $-0.0410835203$ | $0.358916480$ |" in text
    for markdown in (text, large.to_markdown()):
        assert markdown.count("$$") % 2 == 0
        assert markdown.count(r"\begin{aligned}") == markdown.count(r"\end{aligned}") == markdown.count("$$") // 2
        for formula in re.findall(r"\$\$(.*?)\$\$", markdown, re.S):
            assert_latex(formula)
        rows = [line for line in markdown.splitlines() if line.startswith("|")]
        assert all(len(re.findall(r"(?<!\\)\|", row)) == row.count(" | ") + 2 for row in rows)


def test_latex_is_a_whole_document(large):
    for text in (mazur().to_latex(), large.to_latex()):
        assert text.splitlines()[2].startswith(r"\documentclass")
        assert text.rstrip().endswith(r"\end{document}")
        assert_latex(text)
        # what pdflatex's fonts lack is not in it; ß and ö they have
        assert all(ord(letter) < 0x180 for letter in text)
        begun, ended = (re.findall(rf"\\{word}\{{(\w+\*?)\}}", text) for word in ("begin", "end"))
        assert sorted(begun) == sorted(ended)
    assert r"\_11 \#\%\&\$ U+6DF1U+3055" in large.to_latex()


def assert_latex(text: str) -> None:
    """Groups are closed, and in no alignment stands a second & before its line ends."""
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert text.count(r"\left") == text.count(r"\right")
    for block in re.findall(r"\\begin\{align(?:ed|\*)\}(.*?)\\end\{align(?:ed|\*)\}", text, re.S):
        plain = re.sub(r"\\begin\{cases\}.*\\end\{cases\}", "", block)
        assert all(line.count("&") == 1 for line in plain.split(r"\\"))


def test_notebooks_get_formulas(large):
    for explanation in (mazur(), large):
        root = ElementTree.fromstring(explanation._repr_html_())
        assert root.tag == "div"
        assert len(list(root.iter("math"))) > 50
    assert "0.593270" in mazur()._repr_html_()


@pytest.mark.parametrize("ending", [".txt", ".md", ".tex", ".html", ".json"])
def test_files_by_their_ending(tmp_path, ending):
    path = tmp_path / f"step{ending}"
    mazur().save(path)
    form = {".txt": "text", ".md": "markdown", ".tex": "latex", ".html": "html", ".json": "json"}[ending]
    assert path.read_text() == mazur().to(form)


def test_unknown_forms_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the ending of path must be one of '.html', .*; got '.htm'; did you mean '.html'\?"):
        mazur().save(tmp_path / "step.htm")
    with pytest.raises(ValueError, match="did you mean 'latex'"):
        mazur().to("latx")


@pytest.mark.parametrize("digits", [0, 18, -1, 2.5, True, "6"])
@pytest.mark.parametrize("form", ["text", "markdown", "latex", "html"])
def test_digits_that_no_number_has_are_refused(form, digits):
    with pytest.raises(ValueError, match="digits must be a whole number from 1 to 17, those of a double; got"):
        getattr(mazur(), f"to_{form}")(digits)
