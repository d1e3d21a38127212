"""The command ``python -m benchmarks``: measure the parts asked for and write their tables into the README."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from benchmarks import readme
from benchmarks.surroundings import ROOT, machine, one_thread, say, statement

PARTS = {"uci": "accuracy", "mnist": "accuracy", "startup": "startup"}  # and the block of the README that each is in


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 when it is done, 2 on misuse."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and write the figures into the README.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any, all of them")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object and leave the README alone")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="another file with the marker comments")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.parts) - set(PARTS))
    if unknown:
        parser.error(f"PART must be one of {', '.join(PARTS)}; got {', '.join(unknown)}")
    parts = [part for part in PARTS if part in asked.parts or not asked.parts]

    if not asked.json:
        try:
            readme.check_markers(asked.readme.read_text(encoding="utf-8"), {PARTS[part] for part in parts})
        except (OSError, readme.MissingMarkers) as problem:
            say(f"nothing measured: {problem}")
            return 2

    one_thread()
    figures: dict[str, object] = {"machine": machine()}
    for part in parts:
        module = importlib.import_module(f"benchmarks.{part}")  # now, because it imports numpy
        figures[part] = found = module.measure()
        if found is not None and not asked.json:
            section = f"{module.section(found)}\n\n{statement(figures['machine'])}"
            text = asked.readme.read_text(encoding="utf-8")
            readme.write(asked.readme, readme.inject(text, PARTS[part], part, section))
    if asked.json:
        print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
