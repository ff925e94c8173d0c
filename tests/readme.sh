#!/usr/bin/env bash
# The commands of the README's first screen, as they stand there, in a throw-away home folder.
# Called by tests/run after the release build.
set -euo pipefail
cd "$(dirname "$0")/.."

# The n-th `sh` block of the README.
block() {
    awk -v want="$1" '/^```sh$/ { n++; on = (n == want); next } /^```$/ { on = 0 } on' README.md
}

scratch=$(mktemp -d)
trap 'HOME=$scratch/home target/release/reseal vault lock >/dev/null 2>&1 || true; rm -rf "$scratch"' EXIT
mkdir "$scratch/home"
# What opens the vault is given as a service manager gives it, so that nothing prompts.
mkdir -m 700 "$scratch/credentials"
printf 'a passphrase for the smoke test\n' >"$scratch/credentials/reseal.passphrase"
chmod 400 "$scratch/credentials/reseal.passphrase"
in_scratch() {
    env -i HOME="$scratch/home" PATH="$PWD/target/release:$PATH" \
        CREDENTIALS_DIRECTORY="$scratch/credentials" OPENAI_API_KEY=sk-smoke-0123456789 "$@"
}

# A line that fails stops a person, so it stops this.
block 2 >"$scratch/six-lines.sh"
[ "$(wc -l <"$scratch/six-lines.sh")" -eq 6 ]
in_scratch bash -euxo pipefail "$scratch/six-lines.sh" >"$scratch/out"
grep -q 'the program got a key of 19 bytes' "$scratch/out"
if grep -rq sk-smoke-0123456789 "$scratch/home"; then
    echo "the key rests readable in the state folder"
    exit 1
fi

# The first command of the README, without cargo around it.
block 1 | grep -qx 'cargo run --release -- quickstart'
in_scratch target/release/reseal quickstart --state-dir "$scratch/state" --sample </dev/null
in_scratch target/release/reseal --state-dir "$scratch/state" vault status --json |
    grep -q '"state": *"unlocked"'
in_scratch target/release/reseal --state-dir "$scratch/state" vault lock
