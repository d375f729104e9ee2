"""Train classifiers of 2D X-ray diffraction spot patterns, rendered on the accelerator inside the training step.

The names below are the public ones. Each is loaded when it is first used, so `import xrdjax` costs nothing.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xrdjax.config import (
        PAPER_PATTERN,
        AugmentConfig,
        DataConfig,
        ModelConfig,
        OptimConfig,
        PatternConfig,
        ProceduralConfig,
        TrainConfig,
    )
    from xrdjax.crystals.cif import read_cif
    from xrdjax.crystals.crystal import Crystal
    from xrdjax.crystals.repertoire import procedural_crystals
    from xrdjax.crystals.store import CrystalStore
    from xrdjax.diffraction.powder import MarchDollase, PowderLines, powder_lines, powder_profile
    from xrdjax.diffraction.scattering import electron_wavelength
    from xrdjax.diffraction.spots import Spots, zone_spots
    from xrdjax.diffraction.still import StillSpots, still_spots
    from xrdjax.errors import CifError, ConfigError, ModelError, PictureError, StoreError, XrdjaxError
    from xrdjax.evaluation.predict import Model, Prediction, load_model
    from xrdjax.patterns.generate import Batch, make_batch
    from xrdjax.patterns.labelled_folder import LabelledPictures, read_labelled_folder
    from xrdjax.patterns.pictures import (
        Structure,
        render_spots,
        render_still,
        render_zone,
        render_zones,
        still_picture,
        structure_of,
        zone_picture,
    )
    from xrdjax.patterns.reading_options import Reading
    from xrdjax.patterns.rings import render_rings
    from xrdjax.patterns.torch_batches import torch_dataset

_HOME = {
    "PAPER_PATTERN": "config",
    "AugmentConfig": "config",
    "Batch": "patterns.generate",
    "CifError": "errors",
    "ConfigError": "errors",
    "Crystal": "crystals.crystal",
    "CrystalStore": "crystals.store",
    "DataConfig": "config",
    "LabelledPictures": "patterns.labelled_folder",
    "MarchDollase": "diffraction.powder",
    "Model": "evaluation.predict",
    "ModelConfig": "config",
    "ModelError": "errors",
    "OptimConfig": "config",
    "PatternConfig": "config",
    "PictureError": "errors",
    "PowderLines": "diffraction.powder",
    "Prediction": "evaluation.predict",
    "ProceduralConfig": "config",
    "Reading": "patterns.reading_options",
    "Spots": "diffraction.spots",
    "StillSpots": "diffraction.still",
    "StoreError": "errors",
    "Structure": "patterns.pictures",
    "TrainConfig": "config",
    "XrdjaxError": "errors",
    "electron_wavelength": "diffraction.scattering",
    "load_model": "evaluation.predict",
    "make_batch": "patterns.generate",
    "powder_lines": "diffraction.powder",
    "powder_profile": "diffraction.powder",
    "procedural_crystals": "crystals.repertoire",
    "read_cif": "crystals.cif",
    "read_labelled_folder": "patterns.labelled_folder",
    "render_rings": "patterns.rings",
    "render_spots": "patterns.pictures",
    "render_still": "patterns.pictures",
    "render_zone": "patterns.pictures",
    "render_zones": "patterns.pictures",
    "still_picture": "patterns.pictures",
    "still_spots": "diffraction.still",
    "structure_of": "patterns.pictures",
    "torch_dataset": "patterns.torch_batches",
    "zone_picture": "patterns.pictures",
    "zone_spots": "diffraction.spots",
}

__all__ = [
    "PAPER_PATTERN",
    "AugmentConfig",
    "Batch",
    "CifError",
    "ConfigError",
    "Crystal",
    "CrystalStore",
    "DataConfig",
    "LabelledPictures",
    "MarchDollase",
    "Model",
    "ModelConfig",
    "ModelError",
    "OptimConfig",
    "PatternConfig",
    "PictureError",
    "PowderLines",
    "Prediction",
    "ProceduralConfig",
    "Reading",
    "Spots",
    "StillSpots",
    "StoreError",
    "Structure",
    "TrainConfig",
    "XrdjaxError",
    "electron_wavelength",
    "load_model",
    "make_batch",
    "open_store",
    "powder_lines",
    "powder_profile",
    "procedural_crystals",
    "read_cif",
    "read_labelled_folder",
    "render_rings",
    "render_spots",
    "render_still",
    "render_zone",
    "render_zones",
    "still_picture",
    "still_spots",
    "structure_of",
    "torch_dataset",
    "zone_picture",
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
