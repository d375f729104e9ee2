"""Train classifiers of 2D X-ray diffraction spot patterns, rendered on the accelerator inside the training step.

The names below are the public ones. Each is loaded when it is first used, so `import xrdjax` costs nothing.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xrdjax.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, PatternConfig, TrainConfig
    from xrdjax.crystals.cif import read_cif
    from xrdjax.crystals.crystal import Crystal
    from xrdjax.crystals.store import CrystalStore
    from xrdjax.diffraction.spots import Spots, zone_spots
    from xrdjax.errors import CifError, ConfigError, StoreError, XrdjaxError
    from xrdjax.patterns.generate import Batch, make_batch
    from xrdjax.patterns.pictures import render_zone, render_zones

_HOME = {
    "AugmentConfig": "config",
    "Batch": "patterns.generate",
    "CifError": "errors",
    "ConfigError": "errors",
    "Crystal": "crystals.crystal",
    "CrystalStore": "crystals.store",
    "DataConfig": "config",
    "ModelConfig": "config",
    "OptimConfig": "config",
    "PatternConfig": "config",
    "Spots": "diffraction.spots",
    "StoreError": "errors",
    "TrainConfig": "config",
    "XrdjaxError": "errors",
    "make_batch": "patterns.generate",
    "read_cif": "crystals.cif",
    "render_zone": "patterns.pictures",
    "render_zones": "patterns.pictures",
    "zone_spots": "diffraction.spots",
}

__all__ = [
    "AugmentConfig",
    "Batch",
    "CifError",
    "ConfigError",
    "Crystal",
    "CrystalStore",
    "DataConfig",
    "ModelConfig",
    "OptimConfig",
    "PatternConfig",
    "Spots",
    "StoreError",
    "TrainConfig",
    "XrdjaxError",
    "make_batch",
    "open_store",
    "read_cif",
    "render_zone",
    "render_zones",
    "zone_spots",
]


def open_store(name_or_path: str | Path = "open") -> "CrystalStore":
    """Open the set that comes with the package ("open") or a file; raise StoreError if it cannot be trusted."""
    from xrdjax.crystals.store import CrystalStore

    return CrystalStore.open(name_or_path)


def __getattr__(name: str) -> object:
    """Import a public name from the module that it lives in (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'xrdjax' has no attribute '{name}'")
    return getattr(import_module(f"xrdjax.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return __all__
