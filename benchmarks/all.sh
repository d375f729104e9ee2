#!/usr/bin/env bash
# Tests and all benchmarks on this machine's device, one after the other; results go to benchmarks/results/.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m pytest -q
for script in kernels render procedural demo open_100; do
  python "benchmarks/$script.py"
done
