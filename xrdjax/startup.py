"""What a script settles before JAX starts: where compiled programs are kept, who shares the work, what is printed.

Only scripts call this. Whatever the environment says by JAX's own variables goes before.
"""

import hashlib
import logging
import os
import platform
from pathlib import Path

from xrdjax.hosts import join_hosts

MOST_BUCKETS_PER_BATCH = 16  # as in patterns/planning.py, which would start JAX; a test compares them


def prepare_jax(batch_size: int | None = None) -> bool:
    """Keep what is compiled for the next start and, given the size of a batch to share, find those to share it with.

    These are the processes that were started together, or else all cores of a CPU. Return whether there are other
    processes. JAX_COMPILATION_CACHE_DIR and JAX_NUM_CPU_DEVICES choose otherwise. Raises ConfigError.
    """
    # Every start would print pages about two CPU features that are none: the compiler's own names for preferences.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_directory()))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if batch_size is None:
        return False
    if join_hosts():
        return True
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", cpu_devices(batch_size, num_cores()))
    return False


def show_progress() -> logging.Logger:
    """Print what the package logs, and the warnings of others, with the time of day; return the package's logger."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    log = logging.getLogger("xrdjax")
    log.setLevel(logging.INFO)
    return log


def cache_directory() -> Path:
    """Return the user's directory of compiled programs, one for each kind of processor that shares a home."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "xrdjax" / f"compiled-{hashlib.sha256(_processor().encode()).hexdigest()[:12]}"


def cpu_devices(batch_size: int, cores: int) -> int:
    """Return how many devices can share every bucket of such a batch: a power of two, at most one a core and eight."""
    devices = 1
    while 2 * devices <= min(cores, 8) and batch_size % (2 * devices * MOST_BUCKETS_PER_BATCH) == 0:
        devices *= 2
    return devices


def num_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    """Return what tells processors apart that cannot run each other's programs."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
