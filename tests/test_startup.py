"""What scripts settle before JAX starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xrdjax import startup
from xrdjax.patterns import planning

SHOW = """
from xrdjax.startup import prepare_jax
prepare_jax(128)
import jax
print(jax.config.jax_compilation_cache_dir, jax.config.jax_num_cpu_devices)
"""


def settled(tmp_path, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    environment |= {"XDG_CACHE_HOME": str(tmp_path)} | variables
    shown = subprocess.run([sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, check=True)
    return shown.stdout.split()


def test_compiled_programs_are_kept_in_the_users_cache(tmp_path):
    directory, devices = settled(tmp_path)
    assert Path(directory).is_relative_to(tmp_path / "xrdjax")
    assert int(devices) == startup.cpu_devices(128, startup.num_cores())


def test_the_environment_goes_before(tmp_path):
    chosen = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine"), "JAX_NUM_CPU_DEVICES": "1"}
    assert settled(tmp_path, **chosen) == [str(tmp_path / "mine"), "1"]


@pytest.mark.parametrize(
    ("batch_size", "cores", "devices"), [(128, 1, 1), (128, 2, 2), (128, 6, 4), (128, 64, 8), (32, 8, 2), (6, 8, 1)]
)
def test_every_bucket_can_be_shared(batch_size, cores, devices):
    assert startup.cpu_devices(batch_size, cores) == devices
    assert startup.MOST_BUCKETS_PER_BATCH == planning.MOST_BUCKETS_PER_BATCH
