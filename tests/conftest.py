"""What must happen before any test imports jax or the package."""

import os
import sys
import tempfile
from pathlib import Path

import jaxtyping
import pytest

# Four virtual devices on a CPU, for the tests of what is spread over devices. Read when jax starts.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"

# What one test compiled the next one need not.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="xrdjax-tests-"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# Annotations are checked at run time; int passes for float, as it does for type checkers. The training state is left
# out: jax and Orbax rebuild it with stand-ins for arrays.
CHECKED = ("crystals", "diffraction", "patterns", "evaluation", "learning.models", "learning.pictures")
jaxtyping.install_import_hook(
    [f"xrdjax.{room}" for room in CHECKED], "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

sys.path.insert(0, str(Path(__file__).parent))  # for `import reference` and the fixtures of small_run.py
pytest_plugins = ["small_run"]


@pytest.fixture
def unchecked_types():
    """Let wrong types through to the code that refuses them itself."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory):
    """Return a store of the small crystals of the tests, one of each kind of cell."""
    import reference

    from xrdjax.crystals.store import CrystalStore
    from xrdjax.crystals.write import write_store

    crystals = [reference.crystal(name) for name in reference.STORED if name != "NaA_zeolite"]
    path = tmp_path_factory.mktemp("store") / "tiny.safetensors"
    write_store(path, crystals, title="Crystals of the tests")
    return CrystalStore.open(path)
