"""Seconds from the command to the first step of the demo, with nothing compiled yet and with everything.

python benchmarks/startup.py
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import write_result

ROOT = Path(__file__).parent.parent
WARM_STARTS = 3


def main() -> None:
    """Start the demo in a new compilation cache, then again and again, and write benchmarks/results/startup.json."""
    with tempfile.TemporaryDirectory() as folder:
        cold = start(Path(folder), "cold")
        warm = sorted((start(Path(folder), f"warm-{number}") for number in range(WARM_STARTS)), key=lambda s: s["wall"])
    before, _, _ = os.getloadavg()
    write_result("startup", {"cold_s": cold, "warm_s": warm[len(warm) // 2], "load_average_after": before})


def start(folder: Path, name: str) -> dict[str, float]:
    """Return the seconds that one start took: on the clock, and of processors, up to the first step's end."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "train.py", "--config", "configs/demo.py", "--workdir", str(folder / name)]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    compiling = next(found for line in process.stderr or () if (found := re.search(r"Compiled .* in ([\d.]+) s", line)))
    wall = time.monotonic() - started
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    process.kill()
    process.wait()
    return {"wall": round(wall, 1), "processors": round(cpu, 1), "first step": float(compiling[1])}


if __name__ == "__main__":
    main()
