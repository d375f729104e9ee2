"""What the demo reaches and costs, from an empty directory: train.py with its evaluation, as a newcomer runs it.

python benchmarks/demo.py
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import write_result

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run the demo and write benchmarks/results/demo.json."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "demo"
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "train.py", "--config", "configs/demo.py", "--workdir", str(workdir)],
            cwd=ROOT, check=True, text=True, stderr=subprocess.PIPE,
        )  # fmt: skip
        seconds = time.monotonic() - started
        print(done.stderr)
        report = json.loads((workdir / "evaluation" / "report.json").read_text(encoding="utf-8"))
        records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = sorted(line["patterns_per_second"] for line in records if "patterns_per_second" in line)
    compiling = re.findall(r"Compiled the training step in ([\d.]+) s", done.stderr)
    write_result("demo", {
        "seconds": {
            "whole command": round(seconds),
            "evaluation": round(report["seconds"]),
            "training": round(seconds - report["seconds"]),
            "compiling the step": float(compiling[0]),
        },
        "patterns_per_second": {
            "median": round(rates[len(rates) // 2]), "least": round(rates[0]), "most": round(rates[-1]),
        },
        "steps": report["config"]["steps"],
        "batch_size": report["config"]["batch_size"],
        "crystals": report["crystals"],
        "patterns": report["patterns"],
        "protocols": {name: {"heads": table["heads"]} for name, table in report["protocols"].items()},
    })  # fmt: skip


if __name__ == "__main__":
    main()
