"""The LaTeX of an explanation, compiled: as a document of its own, and the formulas of its Markdown."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

import cases
import glassprop as gp
from glassprop.glass.markup import PREAMBLE
from glassprop.glass.typeset import tex_text
from tests.glass.test_explain_own import with_own_loss

PDFLATEX = shutil.which("pdflatex")
pytestmark = pytest.mark.skipif(
    PDFLATEX is None, reason="compiled where pdflatex is installed: apt-get install texlive-latex-base"
)


@pytest.fixture
def assert_compiles(tmp_path):
    """That pdflatex makes a document of a text: without an error, a letter that its fonts lack, or a line beyond the margin."""

    def check(text, fits=True):
        (tmp_path / "step.tex").write_text(text, encoding="utf-8")
        command = [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "-draftmode", "step.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True)
        log = (tmp_path / "step.log").read_text(encoding="latin-1")
        assert done.returncode == 0, "\n".join(re.findall(r"^!.*\n.*\n.*", log, re.M))
        assert not re.findall(r"Missing character.*", log)
        assert not fits or not re.findall(r"Overfull \\hbox.*\n.*", log)

    return check


def both(explanation):
    """The document, and one of the formulas in the Markdown form."""
    formulas = re.findall(r"\$\$(.*?)\$\$", explanation.to_markdown(), re.S)
    assert len(formulas) > 10
    return explanation.to_latex(), PREAMBLE + "".join(rf"\[{formula.strip()}\]" for formula in formulas) + r"\end{document}"


def explained(case, **options):
    return gp.explain(case.network, case.parameters, case.X, case.Y, weights=case.weights, **options)


@pytest.mark.parametrize("loss", cases.LOSSES)
def test_every_loss(loss, assert_compiles):
    for text in both(explained(cases.case((3, 4, 2), loss=loss, weighted=True, l2=0.1, l1=0.01))):
        assert_compiles(text)


@pytest.mark.parametrize("activation", cases.HIDDEN)
def test_every_activation(activation, assert_compiles):
    output = None if activation == "selu" else activation
    for text in both(explained(cases.case((3, 4, 2), activation=activation, output_activation=output, rows=1))):
        assert_compiles(text)


@pytest.mark.parametrize("rule", cases.RULES)
def test_every_rule(rule, assert_compiles):
    optimizer, _ = cases.rules(rule, gp.Cosine(0.01, steps=9, warmup=2), clip_norm=0.1, weight_decay=0.02)
    for text in both(explained(cases.case((3, 4, 2)), optimizer=optimizer)):
        assert_compiles(text)


@pytest.mark.parametrize("schedule", [gp.InverseScaling(0.1), gp.Exponential(0.1, 0.9), gp.OneCycle(0.1, steps=9)])
def test_every_schedule(schedule, assert_compiles):
    for text in both(explained(cases.case((2, 2, 1)), optimizer=gp.Adam(schedule), steps=2)):
        assert_compiles(text)


@pytest.mark.parametrize("formulas", [{}, {"formula": "log cosh(h − y)", "slope_formula": "tanh(h − y)"}])
@pytest.mark.parametrize("output", [None, "softplus"])
def test_a_loss_of_ones_own(formulas, output, assert_compiles):
    for text in both(explained(with_own_loss(output, **formulas))):
        assert_compiles(text)


def test_names_of_any_letters_and_large_layers(assert_compiles):
    network = gp.Network((12, 9, 12), "selu", loss=gp.Loss("cross_entropy", label_smoothing=0.1), l2=0.1, l1=0.01)
    rows = [[1e3 * i - 0.3 * j for i in range(12)] for j in range(3)]
    names = [f"größe_{i} #%&$ 深さ ~^\\{{}}" for i in range(12)]
    explanation = gp.explain(
        network, network.initialize(1), rows, [0, 2, 1], optimizer=gp.AdamW(clip_norm=0.1), neurons=4, input_names=names,
        output_names=names, weights=[1.0, 0.5, 2.0],
    )  # fmt: skip
    for digits in (3, 9, 17):
        assert_compiles(explanation.to_latex(digits), fits=digits < 17)


def test_letters_that_no_font_has_have_a_form_that_can_be_set(assert_compiles):
    letters = [chr(code) for code in (*range(0x250), *range(0x370, 0x400), *range(0x1E00, 0x1F00), 0x200B, 0x9AD8, 0x1F642)]
    assert_compiles(PREAMBLE + "\n\n".join(map(tex_text, letters)) + r"\end{document}")
    assert tex_text("größe €, Đạ ﬁ") == r"größe \texteuro{}, Đa fi"
    assert tex_text("高さ 🙂") == "U+9AD8U+3055 U+1F642"


def test_the_fonts_are_outlines_and_the_first_line_says_how_to_run_it(tmp_path, assert_compiles):
    text = explained(cases.case((3, 4, 2))).to_latex()
    assert text.splitlines()[0].startswith("% For pdflatex, run twice: the first run measures the columns of tables.")
    assert_compiles(text)
    log = (tmp_path / "step.log").read_text(encoding="latin-1")
    assert "lmodern.sty" in log or subprocess.run(["kpsewhich", "lmodern.sty"]).returncode


def test_dropout(tmp_path, assert_compiles):
    case = cases.case((3, 6, 2), dropout=[0.4], rows=20)
    gp.train(case.network, case.X, case.Y, epochs=3, seed=0, batch_size=5, record=tmp_path / "run")
    for text in both(gp.replay(tmp_path / "run", case.X, case.Y).explain(7, row=2)):
        assert_compiles(text)
