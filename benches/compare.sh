#!/usr/bin/env bash
# Whole processes of Reseal beside those of other programs, and the library's own figures; the
# numbers of docs/benchmarks.md. Needs Debian's `age`. Takes some minutes; run it on an idle machine.
#
#   benches/compare.sh           two Markdown tables
#   benches/compare.sh --json    two JSON documents, one a line
set -euo pipefail
cd "$(dirname "$0")/.."
command -v age >/dev/null || { echo "benches/compare.sh: install age first" >&2; exit 1; }
if [ "${1-}" != --json ]; then
    echo "$(uname -sr), $(nproc) processors, $(rustc --version), age $(age --version)"
    echo
fi
cargo bench -q --bench processes -- "$@"
[ "${1-}" = --json ] || echo
cargo bench -q --bench library -- "$@"
