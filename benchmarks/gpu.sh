#!/usr/bin/env bash
# Speed and exactness on a GPU, in at most eight minutes; `--help` says what is measured.
set -euo pipefail
cd "$(dirname "$0")/.."
exec timeout 480 python -m benchmarks.gpu "$@"
