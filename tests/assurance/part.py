#!/usr/bin/env python3
"""Cuts a crate of some layers, and of what they import, out of this one.

    tests/assurance/part.py FOLDER MODULE...

Mutants and sanitizers build the same code many times; a part of fourteen thousand lines without a
network is built in seconds. Sources are copied, so that they may be changed there. The layers import
downwards only (tests/tidy.rs), so the tests of a module run in such a crate as they do in the whole.
"""

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
# What stays of Cargo.toml, besides the dependencies.
SECTIONS = re.compile(r"\[(package|workspace|lints\..*|profile\.dev.*)\]")
# But for what names files that a part does not have.
LEFT_OUT = ("default-run", "readme", "exclude", "build", "members", "default-members")


def sources(module: str) -> list[Path]:
    """The files of a module."""
    alone = SRC / f"{module}.rs"
    return [alone] if alone.exists() else sorted((SRC / module).rglob("*.rs"))


def text_of(modules: set[str]) -> str:
    """The code of modules, without whole lines of comments."""
    lines = (line for m in sorted(modules) for f in sources(m) for line in f.read_text().split("\n"))
    return "\n".join(line for line in lines if not line.lstrip().startswith("//"))


def closure(wanted: set[str], known: set[str]) -> set[str]:
    """The modules, and all that they import, tests included."""
    unknown = wanted - known
    if unknown:
        sys.exit(f"part.py: no such module: {' '.join(sorted(unknown))}")
    while True:
        text = text_of(wanted)
        named = set(re.findall(r"\bcrate::(\w+)", text))
        for group in re.findall(r"\bcrate::\{(.*?)\};", text, re.DOTALL):
            named |= set(re.findall(r"\w+", group))
        more = wanted | (named & known)
        if more == wanted:
            return wanted
        wanted = more


def manifest(part: str, whole: str) -> str:
    """Cargo.toml for the code of a part; of the dependencies, those that it names."""
    kept, section = [], ""
    for line in (ROOT / "Cargo.toml").read_text().split("\n"):
        if line.startswith("["):
            section = line
        if section in ("[dependencies]", "[dev-dependencies]"):
            name = re.match(r"([\w-]+) = ", line)
            crate = name and name[1].replace("-", "_")
            uses = crate and re.compile(rf"(?<![:\w]){crate}::")
            # What no code names is there for the features that it switches on.
            for_features = uses and section == "[dependencies]" and not uses.search(whole)
            if uses and not uses.search(part) and not for_features:
                continue
        elif not SECTIONS.match(section) or line.startswith(LEFT_OUT):
            continue
        kept.append(line)
        if line == "[package]":
            kept += ["autotests = false", "autobenches = false"]
    return "\n".join(kept)


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, wanted = Path(sys.argv[1]), set(sys.argv[2:])
    declared = (SRC / "lib.rs").read_text().split("\n")
    known = set(re.findall(r"^pub mod (\w+);", "\n".join(declared), re.MULTILINE))
    modules = closure(wanted, known)
    shutil.rmtree(folder / "src", ignore_errors=True)
    for module in modules:
        for file in sources(module):
            copy = folder / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    lib = [f"pub mod {module};" for module in sorted(modules)]
    text = "//! A part of Reseal, to be tested.\n\n" + "\n".join(lib) + "\n"
    (folder / "src/lib.rs").write_text(text)
    (folder / "Cargo.toml").write_text(manifest(text_of(modules), text_of(known)))
    # Cargo drops from the copy what the part does not need; what stays keeps its version.
    shutil.copyfile(ROOT / "Cargo.lock", folder / "Cargo.lock")
    link = folder / "tests"
    if not link.is_symlink():
        os.symlink(ROOT / "tests", link)
    print(" ".join(sorted(modules)))


main()
