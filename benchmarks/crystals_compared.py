"""What a network learns from procedural crystals alone, from real ones alone, and from both, at the demo's size.

python benchmarks/crystals_compared.py [WORKDIRS]

All runs have the demo's network, pictures and steps, and are asked about the same real crystals that none was trained
on. With WORKDIRS, an interrupted benchmark goes on.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from record import write_result

ROOT = Path(__file__).parent.parent
RUNS = {
    "real": ("configs/demo.py",),
    "procedural, uniform": ("configs/procedural.py",),
    "procedural, statistics of the training split": (
        "configs/procedural.py", "--data.procedural.statistics", "training", "--data.procedural.groups", "training",
    ),
    "both": ("configs/mixed.py",),
}  # fmt: skip


def main() -> None:
    """Train and evaluate all runs, and write benchmarks/results/crystals_compared.json."""
    with tempfile.TemporaryDirectory() as folder:
        workdirs = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder)
        runs = {name: run(name, arguments, workdirs) for name, arguments in RUNS.items()}
    write_result("crystals_compared", {"runs": runs})


def run(name: str, arguments: tuple[str, ...], workdirs: Path) -> dict[str, object]:
    """Return what one run reaches."""
    workdir = workdirs / name.replace(" ", "_").replace(",", "")
    report = workdir / "evaluation" / "report.json"
    if not report.exists():
        command = [sys.executable, "train.py", "--config", *arguments, "--workdir", str(workdir)]
        subprocess.run(command, cwd=ROOT, check=True)
    content = json.loads(report.read_text(encoding="utf-8"))
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    rates = sorted(line["patterns_per_second"] for line in records if "patterns_per_second" in line)
    return {
        "arguments": arguments,
        "steps": content["config"]["steps"],
        "mixture": content["config"]["data"]["mixture"],
        "patterns": content["patterns"],
        "crystals": content["crystals"],
        "patterns_per_second": round(rates[len(rates) // 2]),
        "training_accuracy": {
            head: records_of(records, f"train/accuracy/{head}")[-1] for head in ("crystal_system", "space_group")
        },
        "protocols": {name: {"heads": table["heads"]} for name, table in content["protocols"].items()},
    }


def records_of(records: list[dict], name: str) -> list[float]:
    """Return all values of one scalar."""
    return [line[name] for line in records if name in line]


if __name__ == "__main__":
    main()
