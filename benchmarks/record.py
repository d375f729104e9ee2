"""Where and when a benchmark ran; results go to benchmarks/results/NAME.json, NAME-DEVICE.json off the CPU."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import jax

# A CPU draws one picture after the other on each device: as many devices as cores, a power of two up to eight, so that
# the smallest bucket of a batch of 128 can be shared.
jax.config.update("jax_num_cpu_devices", 1 << (min(os.cpu_count() or 1, 8).bit_length() - 1))

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, figures: Mapping[str, object]) -> None:
    """Write figures with machine, versions, commit and date, and say where."""
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "xrdjax") else ""),
        "machine": {
            "device": jax.devices()[0].device_kind,
            "processor": _processor(),
            "cores": os.cpu_count(),
            "devices": jax.device_count(),
            "python": platform.python_version(),
        },
        "versions": {package: version(package) for package in ("xrdjax", "jax", "jaxlib", "flax", "numpy")},
        **figures,
    }
    device = jax.devices()[0]
    suffix = "" if device.platform == "cpu" else f"-{device.device_kind.lower().replace(' ', '-')}"
    path = RESULTS / f"{name}{suffix}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(path)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
