"""What every protocol at the paper's sizes costs, nearest neighbours aside (benchmarks/ceiling.py): evaluate.py.

python benchmarks/evaluation.py runs/demo
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from record import write_result

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Evaluate a run and write benchmarks/results/evaluation.json."""
    workdir = Path(sys.argv[1])
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "evaluate.py", "--workdir", str(workdir.resolve()), "--no-baseline"], cwd=ROOT, check=True
    )
    seconds = time.monotonic() - started
    report = json.loads((workdir / "evaluation" / "report.json").read_text(encoding="utf-8"))
    write_result("evaluation", {
        "seconds": round(seconds),
        "patterns": report["patterns"],
        "patterns_per_second": round(report["patterns"] / seconds),
        "crystals": report["crystals"],
        "step": report["step"],
        "protocols": {name: result["patterns"] for name, result in report["protocols"].items()},
    })  # fmt: skip


if __name__ == "__main__":
    main()
