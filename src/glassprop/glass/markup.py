"""An explanation as Markdown with formulas in LaTeX, as a LaTeX document, and as HTML for a notebook's cell.

All walk through the same outline; none knows what an equation is about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

from glassprop.glass.explanation import Explanation
from glassprop.glass.formula import Equation, Expr
from glassprop.glass.outline import Block, Lines, Note, Table, Title, outline
from glassprop.glass.typeset import Latex, MathML, Plain, tex_text

LINE = 84  # letters of plain text in a line of a formula, about what fits on a page

PREAMBLE = r"""% For pdflatex, run twice: the first run measures the columns of tables.
% U+ and a number is a letter that its fonts lack.
\documentclass[10pt,a4paper]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{textcomp}
\usepackage{amsmath}
\usepackage{longtable}
\usepackage[margin=18mm]{geometry}
\setlength{\parindent}{0pt}
\setlength{\tabcolsep}{4pt}
\sloppy
\allowdisplaybreaks
\begin{document}
"""


def _aligned(equations: Iterable[Equation], digits: int) -> str:
    """Equations below one another, aligned at their first relation, long ones over several lines."""
    latex, plain = Latex(digits), Plain(digits)
    lines = []
    for equation in equations:
        text, length = "", 0
        for number, (piece, measure) in enumerate(zip(latex.pieces(equation), plain.pieces(equation), strict=True)):
            length += len(measure)
            if number > 1 and length > LINE:
                text += "\\\\\n  &\\quad "
                length = len(measure) + 4
            text += ("&" if number == 1 else "") + piece
        lines.append(text)
    return "\\\\\n".join(lines)


# --- Markdown ------------------------------------------------------------------------------------------------------------


def to_markdown(explanation: Explanation, digits: int) -> str:
    """Markdown in which formulas stand between dollars."""
    return "\n\n".join(_markdown(block, digits) for block in outline(explanation)) + "\n"


def _markdown(block: Block, digits: int) -> str:
    match block:
        case Title(text, level):
            return "#" * level + " " + _markdown_text(text)
        case Note(text):
            return _markdown_text(text)
        case Lines(equations):
            return f"$$\n\\begin{{aligned}}\n{_aligned(equations, digits)}\n\\end{{aligned}}\n$$"
        case Table(header, rows):
            latex = Latex(digits)

            def line(cells: Iterable[Expr | str]) -> str:
                texts = (_markdown_text(cell) if isinstance(cell, str) else f"${latex(cell)}$" for cell in cells)
                return f"| {' | '.join(texts)} |"

            rule = "| --- |" + " --: |" * (len(header) - 1)
            return "\n".join([line(header), rule, *map(line, rows)])


def _markdown_text(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]$#])", r"\\\1", text)


# --- LaTeX ---------------------------------------------------------------------------------------------------------------

_SECTIONS = {1: "section", 2: "subsection", 3: "subsubsection"}


def to_latex(explanation: Explanation, digits: int) -> str:
    """A document for pdflatex, with packages that every installation has."""
    return PREAMBLE + "\n\n".join(_latex(block, digits) for block in outline(explanation)) + "\n\n\\end{document}\n"


def _latex(block: Block, digits: int) -> str:
    match block:
        case Title(text, level):
            return f"\\{_SECTIONS[level]}*{{{tex_text(text)}}}"
        case Note(text):
            return tex_text(text)
        case Lines(equations):
            return f"\\begin{{align*}}\n{_aligned(equations, digits)}\n\\end{{align*}}"
        case Table(header, rows):
            latex = Latex(digits)

            def line(cells: Iterable[Expr | str]) -> str:
                return " & ".join(tex_text(cell) if isinstance(cell, str) else f"${latex(cell)}$" for cell in cells) + r" \\"

            columns = "l" + "r" * (len(header) - 1)
            body = "\n".join(map(line, rows))
            table = f"\\begin{{longtable}}[l]{{{columns}}}\n{line(header)}[4pt] \\hline \\endhead\n{body}\n\\end{{longtable}}"
            return f"{{\\footnotesize\n{table}}}"


# --- notebook ------------------------------------------------------------------------------------------------------------


def to_notebook(explanation: Explanation, digits: int = 6) -> str:
    """HTML with formulas in MathML, without styles that would reach beyond it."""
    mathml = MathML(digits)
    return "<div>" + "\n".join(_notebook(block, mathml) for block in outline(explanation)) + "</div>"


def _notebook(block: Block, mathml: MathML) -> str:
    match block:
        case Title(text, level):
            return f"<h{level + 1}>{escape(text)}</h{level + 1}>"
        case Note(text):
            return f"<p>{escape(text)}</p>"
        case Lines(equations):
            return "".join(f'<p style="margin:.3em 0 .3em 1em">{mathml.equation(equation)}</p>' for equation in equations)
        case Table(header, rows):

            def line(cells: Iterable[Expr | str], tag: str) -> str:
                texts = (escape(cell) if isinstance(cell, str) else f"<math>{mathml(cell)}</math>" for cell in cells)
                return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

            body = "".join(line(row, "td") for row in rows)
            return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"
