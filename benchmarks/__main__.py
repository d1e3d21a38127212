"""The command ``python -m benchmarks``: measure the parts asked for and write their tables where they belong."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from benchmarks import readme
from benchmarks.surroundings import ROOT, machine, one_thread, say, statement

PERFORMANCE = "docs/performance.md"
PARTS = {  # and the document and its block that each is in
    "uci": ("README.md", "accuracy"),
    "mnist": ("README.md", "accuracy"),
    "startup": ("README.md", "startup"),
    "speed": ("README.md", "speed"),
    "linear": (PERFORMANCE, "linear"),
    "rules": (PERFORMANCE, "rules"),
    "many": (PERFORMANCE, "many"),
    "bfloat16": (PERFORMANCE, "bfloat16"),
    "estimators": ("docs/coming-from-scikit-learn.md", "estimators"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when it is done, 2 on misuse."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure, and write the figures into the README and docs."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any, all of them")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object and write nothing")
    parser.add_argument("--readme", type=Path, help="a file with the marker comments, instead of each part's own")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.parts) - set(PARTS))
    if unknown:
        parser.error(f"PART must be one of {', '.join(PARTS)}; got {', '.join(unknown)}")
    parts = [part for part in PARTS if part in asked.parts or not asked.parts]

    places = {part: (asked.readme or ROOT / PARTS[part][0], PARTS[part][1]) for part in parts}
    if not asked.json:
        try:
            for path, block in places.values():
                readme.check_markers(path.read_text(encoding="utf-8"), {block})
        except (OSError, readme.MissingMarkers) as problem:
            say(f"nothing measured: {problem}")
            return 2

    one_thread()
    figures: dict[str, object] = {"machine": machine()}
    for part in parts:
        module = importlib.import_module(f"benchmarks.{part}")  # now, because it imports numpy
        figures[part] = found = module.measure()
        if found is not None and not asked.json:
            path, block = places[part]
            stated = module.statement(found) if hasattr(module, "statement") else statement(figures["machine"])
            text = readme.inject(path.read_text(encoding="utf-8"), block, part, f"{module.section(found)}\n\n{stated}")
            readme.write(path, text)
            if hasattr(module, "draw"):
                module.draw(found, path.parent)
    if asked.json:
        print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
