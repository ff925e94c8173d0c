#!/usr/bin/env python3
"""Prints which part of the lines and functions of each module was run.

    llvm-cov export --summary-only ... | tests/assurance/coverage.py

Lines of files that hold tests alone are not counted; unit tests at the end of a file are.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def module(path: str) -> str | None:
    """The module under `src/` that a file belongs to, unless it is one of tests."""
    place = path.removeprefix(f"{ROOT}/src/")
    if place == path or place.endswith("tests.rs") or "/tests/" in place:
        return None
    return place.split("/")[0].removesuffix(".rs")


def main() -> None:
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    for file in json.load(sys.stdin)["data"][0]["files"]:
        name = module(file["filename"])
        if name is None:
            continue
        for what in ("lines", "functions"):
            summary = file["summary"][what]
            for key in (name, "all"):
                found[key][what][0] += summary["covered"]
                found[key][what][1] += summary["count"]
    if not found:
        sys.exit("coverage.py: no file of src is in the report")
    print(f"{'module':14}{'lines':>8}{'run':>9}{'functions':>12}{'run':>9}")
    for name in sorted(found, key=lambda name: (name == "all", name)):
        lines, functions = found[name]["lines"], found[name]["functions"]
        shares = [f"{100 * run / max(count, 1):.1f} %" for run, count in (lines, functions)]
        print(f"{name:14}{lines[1]:>8}{shares[0]:>9}{functions[1]:>12}{shares[1]:>9}")


main()
