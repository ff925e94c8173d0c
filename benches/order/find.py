#!/usr/bin/env python3
"""Writes benches/order/start.ld: the functions that a `secrets get` runs, for the linker.

Needs valgrind and some ten minutes: it builds the program as a release is built, but with its
symbols, and has valgrind note which functions run. To be run when the way of a short command has
changed; a script that is out of date costs speed and nothing else."""

import os
import re
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))
HEAD = """/* Which functions a `secrets get` runs, so that they lie side by side: each 64 KiB of code in which
   one lies is a page fault. Made by find.py beside this file. The hashes in their names are left out,
   so that a name can mean more functions; those that mean least come first. */
"""


def run(*command, **options):
    return subprocess.run(command, check=True, **options)


def build():
    """The program with its symbols, which have the names of a release."""
    root = os.path.dirname(os.path.dirname(FOLDER))
    run("cargo", "rustc", "--locked", "--release", "--bin", "reseal", "--", "-Cstrip=none", cwd=root)
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target"))
    return os.path.join(target, "release", "reseal")


def functions_run(program):
    """The mangled names of all functions of the program that a `secrets get` runs."""
    with tempfile.TemporaryDirectory() as folder:
        key, out = os.path.join(folder, "key"), os.path.join(folder, "out")
        with open(key, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(os.urandom(32))
        reseal = [program, "-q", "--state-dir", os.path.join(folder, "state")]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        run(*reseal, "init", "--key-file", key, **quiet)
        run(*reseal, "secrets", "set", "a/b", "--key-file", key, input=b"a value", **quiet)
        run(*reseal, "vault", "unlock", "--key-file", key, **quiet)
        try:
            callgrind = ["valgrind", "-q", "--tool=callgrind", "--demangle=no"]
            run(*callgrind, f"--callgrind-out-file={out}", *reseal, "secrets", "get", "a/b",
                **quiet)
        finally:
            run(*reseal, "vault", "lock")
        with open(out, encoding="utf-8") as file:
            return set(re.findall(r"^c?fn=\(\d+\) ((?:_ZN|_R)[^\s']+)", file.read(), re.MULTILINE))


def pattern(name):
    """A name without the hashes of crates and types, as the linker matches it."""
    if name.startswith("_ZN"):
        name = re.sub("17h[0-9a-f]{16}E$", "17h*", name)
    else:
        name = re.sub("Cs[0-9A-Za-z]{8,}_", "Cs*_", name)
    return name.replace("$", "?")


def sizes(program):
    """How many bytes of functions there are under each pattern."""
    listed = run("nm", "-S", "--defined-only", program, capture_output=True, text=True).stdout
    found = {}
    for line in listed.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] in "tTwW":
            shape = pattern(fields[3])
            found[shape] = found.get(shape, 0) + int(fields[1], 16)
    return found


def main():
    program = build()
    size = sizes(program)
    shapes = {pattern(name) for name in functions_run(program)}
    shapes = sorted((size[shape], shape) for shape in shapes if shape in size)
    if not shapes:
        sys.exit("find.py: valgrind saw no function of the program")
    lines = [f"    *(.text.{shape} .text.unlikely.{shape})\n" for _, shape in shapes]
    script = HEAD + "SECTIONS {\n  .text.start : {\n" + "".join(lines) + "  }\n} INSERT BEFORE .text;\n"
    with open(os.path.join(FOLDER, "start.ld"), "w", encoding="ascii") as file:
        file.write(script)
    print(f"{len(shapes)} names, {sum(size for size, _ in shapes)} bytes of code")


main()
