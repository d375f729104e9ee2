"""The first hundred steps on the whole embedded set: configs/open.py at its own sizes.

python benchmarks/open_100.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from record import write_result

ROOT = Path(__file__).parent.parent
FLAGS = ("--steps", "100", "--validate-every", "100", "--checkpoint-every", "100", "--test-crystals", "50")


def main() -> None:
    """Run it and write benchmarks/results/open_100.json."""
    with tempfile.TemporaryDirectory() as workdir:
        command = ["train.py", "--config", "configs/open.py", "--workdir", f"{workdir}/open", *FLAGS]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
        lines = Path(workdir, "open", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    log = [line for line in map(json.loads, lines) if "train/loss" in line]
    write_result("open_100", {"flags": FLAGS, "log": log})


if __name__ == "__main__":
    main()
