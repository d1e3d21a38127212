"""Figures in the README: tables between marker comments. It touches nothing outside them.

A block lies between ``<!-- figures:NAME -->`` and ``<!-- /figures:NAME -->``; in it each part has its section between
``<!-- PART -->`` and ``<!-- /PART -->``, so that a part that was not measured keeps its old figures.
"""

from __future__ import annotations

import os
from pathlib import Path


class MissingMarkers(ValueError):
    """The README has no place for a block of figures."""


def _between(text: str, name: str) -> tuple[int, int] | None:
    """Where the text between the two marker comments of `name` begins and ends."""
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    begin = text.find(opening)
    end = text.find(closing, begin)
    return None if begin < 0 or end < 0 else (begin + len(opening), end)


def check_markers(text: str, blocks: set[str]) -> None:
    """Raise `MissingMarkers` unless `text` has both markers of every block."""
    for block in sorted(blocks):
        if _between(text, f"figures:{block}") is None:
            raise MissingMarkers(f"the README lacks the comments <!-- figures:{block} --> and <!-- /figures:{block} -->")


def inject(text: str, block: str, part: str, section: str) -> str:
    """`text` with the section of `part` in `block` replaced, or put at the block's end."""
    check_markers(text, {block})
    begin, end = _between(text, f"figures:{block}")
    body = text[begin:end]
    place = _between(body, part)
    if place:
        body = f"{body[: place[0]]}\n{section}\n{body[place[1] :]}"
    else:
        others = body.rstrip() + "\n\n" if "<!-- /" in body else "\n"  # else a word in place of figures, which goes
        body = f"{others}<!-- {part} -->\n{section}\n<!-- /{part} -->\n"
    return text[:begin] + body + text[end:]


def write(path: Path, text: str) -> None:
    """Write beside, then rename: the README is never half a file."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
