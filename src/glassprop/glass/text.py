"""An explanation as lines of text that fit a width, plain or in a terminal's colours."""

from __future__ import annotations

from collections.abc import Iterator

from glassprop.glass.explanation import Explanation
from glassprop.glass.formula import Equation
from glassprop.glass.outline import Lines, Note, Table, Title, outline
from glassprop.glass.typeset import Plain

INDENT = "  "
SHORT = 12  # letters after which it is not worth beginning a new line
STYLES = {1: "bold", 2: "bold cyan", 3: "bold", "value": "bold green", "note": "dim"}


def to_text(explanation: Explanation, digits: int, width: int, color: bool) -> str:
    """The explanation in lines of at most `width` letters."""
    from io import StringIO

    from rich.console import Console
    from rich.text import Text

    plain, file = Plain(digits), StringIO()
    console = Console(
        file=file, width=max(width, 20), force_terminal=color, no_color=not color, highlight=False, legacy_windows=False
    )
    if not color:
        console._color_system = None
    for block in outline(explanation):
        match block:
            case Title(text, level):
                console.print(Text("\n" + INDENT * (level > 2) + text, STYLES[level]))
            case Note(text):
                console.print(Text(text), soft_wrap=False)
            case Lines(equations):
                for equation in equations:
                    for line in _wrapped(plain, equation, console.width):
                        console.print(Text(line), no_wrap=True, overflow="ignore", crop=False)
            case Table():
                _print_table(console, plain, block)
    return "\n".join(line.rstrip() for line in file.getvalue().split("\n")).strip("\n") + "\n"


def _wrapped(plain: Plain, equation: Equation, width: int) -> Iterator[str]:
    """An equation over as many lines as it takes, broken before signs."""
    from rich.cells import cell_len

    further = INDENT * 4
    line = INDENT * 2
    for piece in plain.pieces(equation):
        if len(line) <= SHORT or cell_len(line) + cell_len(piece) <= width:
            line += piece
        else:
            yield line
            line = further + piece.lstrip()
        while cell_len(line) > width and " " in line[len(further) : width]:  # a piece that is too long by itself
            at = line.rindex(" ", len(further), width)
            yield line[:at]
            line = further + line[at + 1 :]
    yield line


def _print_table(console: object, plain: Plain, table: Table) -> None:
    from rich.padding import Padding
    from rich.table import Table as RichTable

    def cell(content: object) -> str:
        return content if isinstance(content, str) else plain(content)  # type: ignore[arg-type]

    shown = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, title in enumerate(table.header):
        shown.add_column(cell(title), justify="right" if number else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*map(cell, row))
    console.print(Padding(shown, (0, 0, 0, 4)))  # type: ignore[attr-defined]
