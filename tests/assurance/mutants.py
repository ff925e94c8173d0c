"""Tries every change of a module's code that cargo-mutants knows: does a test of the module notice?

    tests/assurance/mutants.py CARGO_MUTANTS PART MODULE [REGEX]

PART is what part.py made of MODULE; with REGEX, only changes are tried whose name it matches. A
build for each change takes hours. So one program gets all of them, each behind a switch, as
switches.py tells:

 1. cargo-mutants lists the changes, but those that .cargo/mutants.toml lists with a reason.
 2. The compiler says of a copy of PART with all the switches which of them it can't build. Those
    go, until the rest is built.
 3. Each test runs alone, with no change, and writes down which switches it comes by.
 4. For each change, the tests that come by its switch run with it on, the quick ones first, until
    one fails, or takes ten times as long as without: the change is noticed.
 5. What has no form with a switch (a constant, a `const fn`), or was refused for a reason that may
    be that form's, is built and tried by itself.

PART/mutants.txt then has a line for each: outcome, name, and by which test. The exit status is 1 if
a change was not noticed.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from switches import Change, Source, Switched, module

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / ".cargo/mutants.toml"
# What the compiler says against the code of a change, and would say as well if it stood there by
# itself: no such trait, type, operator or variant, or a constant that overflows.
REFUSED = {
    *("E0277", "E0308", "E0369", "E0599", "E0600", "E0614", "E0063", "E0423", "E0425", "E0433"),
    *("E0061", "E0107", "arithmetic_overflow", "unconditional_panic", "overflowing_literals"),
}
NOTICED, MISSED, UNREACHED, UNBUILT = "noticed", "not noticed", "not come by", "does not compile"
ALONE = "to be built alone"
WORKERS = 2
# A test that goes on for ever may also take memory for ever.
MEMORY = 4 << 30


def main() -> None:
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    tool, part, of = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), sys.argv[3]
    started = time.monotonic()
    changes = listed(tool, part, of, re.compile(sys.argv[4] if len(sys.argv) == 5 else ""))
    program = switched_program(part, changes)
    told(started, "built with switches")
    tests = tests_of(program, of)
    with ThreadPoolExecutor(WORKERS) as pool:
        reached = dict(pool.map(lambda test: unchanged(program, part, test), tests))
        took = {test: seconds for test, (seconds, _) in reached.items()}
        told(started, f"{len(tests)} tests ran alone, in {sum(took.values()):.0f} s")
        by_switch = [c for c in changes if not c.outcome]
        for _ in pool.map(lambda change: tried(program, part, change, reached), by_switch):
            pass
    told(started, f"{len(by_switch)} changes tried with a switch")
    write(part, changes)
    alone = [change for change in changes if change.outcome == ALONE]
    for change in alone:
        by_itself(part, change, took)
    told(started, f"{len(alone)} changes built and tried by themselves")
    missed = [line for line in write(part, changes) if line.startswith((MISSED, UNREACHED))]
    print("\n".join(missed))
    counts = [f"{n} {outcome}" for outcome, n in Counter(c.outcome for c in changes).items()]
    told(started, f"{of}: {len(changes)} changes: " + ", ".join(counts))
    sys.exit(bool(missed))


def write(part: Path, changes: list[Change]) -> list[str]:
    lines = [f"{c.outcome}: {c.name}" + (f" ({c.by})" if c.by else "") for c in changes]
    (part / "mutants.txt").write_text("\n".join(lines) + "\n")
    return lines


def told(started: float, what: str) -> None:
    print(f"{time.monotonic() - started:.0f} s: {what}", flush=True)


def listed(tool: Path, part: Path, of: str, wanted: re.Pattern) -> list[Change]:
    """The changes that cargo-mutants knows, numbered from 1."""
    words = [tool, "mutants", "--config", CONFIG, "--dir", part, "--list", "--json"]
    words += ["--file", f"src/{of}/**", "--file", f"src/{of}.rs"]
    found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    found = [change for change in found if wanted.search(change["name"])]
    return [Change(n, change) for n, change in enumerate(found, 1)]


def switched_program(part: Path, changes: list[Change]) -> Path:
    """The test program, with each change that can be built with a switch; others get an outcome."""
    crate = part.with_name(part.name + "-switched")
    shutil.rmtree(crate, ignore_errors=True)
    shutil.copytree(part, crate, symlinks=True)
    # Inputs that failed with one change are not to be tried again with others.
    for folder in (part, crate):
        (folder / "src/proptest-regressions").touch()
    lib = crate / "src/lib.rs"
    lib.write_text(lib.read_text() + module(len(changes) + 1))
    sources = {file: Source(part / file) for file in {c.listed["file"] for c in changes}}
    while True:
        files = {}
        for file, source in sources.items():
            here = [c for c in changes if c.listed["file"] == file and not c.outcome]
            files[file], others = source.switched(here)
            for change in others:
                change.outcome = ALONE
            (crate / file).write_bytes(files[file].text)
        program, errors = built(crate)
        if program:
            return program
        blame(errors, files, {c.number: c for c in changes})


def built(crate: Path) -> tuple[Path | None, list[dict]]:
    """The test program, or what the compiler says."""
    words = ["cargo", "test", "--lib", "--no-run", "--quiet", "--message-format", "json"]
    run = subprocess.run(words, cwd=crate, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said = [json.loads(line) for line in run.stdout.splitlines() if line.startswith(b"{")]
    if run.returncode == 0:
        return Path(next(m["executable"] for m in said if m.get("executable"))), []
    errors = [m["message"] for m in said if m["reason"] == "compiler-message"]
    errors = [e for e in errors if e["level"] == "error" and e["spans"]]
    if not errors:
        sys.exit(run.stderr.decode())
    return None, errors


def blame(errors: list[dict], files: dict[str, Switched], changes: dict[int, Change]) -> None:
    """Gives the changes that errors come from an outcome; there is one at least."""
    progress = False
    for error in errors:
        for span in sorted(error["spans"], key=lambda span: not span["is_primary"]):
            file = files.get(span["file_name"])
            if not file:
                continue
            numbers, own = file.blamed(span["byte_start"], span["byte_end"])
            code = error["code"]["code"] if error["code"] else ""
            for change in map(changes.get, numbers):
                sure = own and code in REFUSED and not change.may_be_opaque
                change.outcome = change.outcome or (UNBUILT if sure else ALONE)
                change.by = change.by or code
            progress = progress or bool(numbers)
            if numbers:
                break
    if not progress:
        sys.exit("no change explains this:\n" + "\n".join(e["rendered"] for e in errors))


def tests_of(program: Path, of: str) -> list[str]:
    words = [program, f"{of}::", "--list", "--format", "terse"]
    out = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.findall(r"^(.*): test$", out, re.MULTILINE)


def run_test(program: Path, part: Path, test: str, limit: float, **variables: str) -> bool:
    """True if a test passes within the limit of seconds, in a process group of its own."""
    words = [program, "--exact", test, "--quiet"]
    started = subprocess.Popen(
        words,
        # Where `cargo test` would start it.
        cwd=part,
        env=os.environ | {"PROPTEST_MAX_SHRINK_ITERS": "0", "RUST_BACKTRACE": "0"} | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    try:
        return started.wait(limit) == 0
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        return False


def unchanged(program: Path, part: Path, test: str) -> tuple[str, tuple[float, set[int]]]:
    """How long a test takes without a change, and which switches it comes by."""
    file = part / f"reached-{test.replace('::', '.')}"
    file.unlink(missing_ok=True)
    begin = time.monotonic()
    if not run_test(program, part, test, 600, SWITCHES_REACHED=str(file)):
        sys.exit(f"{test} fails without a change")
    took = time.monotonic() - begin
    seen = {int(n) for n in file.read_text().split()} if file.exists() else set()
    file.unlink(missing_ok=True)
    return test, (took, seen)


def tried(program: Path, part: Path, change: Change, reached: dict) -> None:
    """Runs the tests that come by a change, with it."""
    by = sorted((took, test) for test, (took, seen) in reached.items() if change.number in seen)
    change.outcome = MISSED if by else UNREACHED
    for took, test in by:
        if not run_test(program, part, test, 5 + 10 * took, SWITCH=str(change.number)):
            change.outcome, change.by = NOTICED, test
            return


def by_itself(part: Path, change: Change, took: dict[str, float]) -> None:
    """Builds and tries a change alone; which tests come by it is not known."""
    file = part / change.listed["file"]
    original = file.read_bytes()
    try:
        file.write_bytes(Source(file).changed(change))
        program, _ = built(part)
    finally:
        file.write_bytes(original)
    change.outcome, change.by = MISSED, "built alone"
    if not program:
        change.outcome = UNBUILT
        return
    for test in sorted(took, key=took.get):
        if not run_test(program, part, test, 5 + 10 * took[test]):
            change.outcome, change.by = NOTICED, test
            return


if __name__ == "__main__":
    main()
