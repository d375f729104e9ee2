"""A small store and a run that takes seconds."""

import numpy as np
import pytest

from xrdjax.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, PatternConfig, TrainConfig
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.write import write_store


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    """Sixty real crystals of at most 16 atoms, ten of each of six space groups."""
    store = CrystalStore.open("open")
    numbers = []
    for group in (2, 62, 139, 166, 194, 225):
        fitting = np.flatnonzero((store.space_group == group) & (store.num_atoms <= 16))
        numbers.extend(fitting[:10])
    path = tmp_path_factory.mktemp("store") / "small.safetensors"
    write_store(path, [store.crystal(int(number)) for number in numbers], title="Sixty small crystals")
    return path


@pytest.fixture(scope="session")
def small_config(small_store):
    """Eight steps of six 16 × 16 pictures, drawn from two buckets."""
    return TrainConfig(
        steps=8,
        batch_size=6,
        log_every=2,
        validate_every=4,
        validation_patterns=12,
        checkpoint_every=4,
        data=DataConfig(store=str(small_store)),
        pattern=PatternConfig(axes=((1, 0, 0), (1, 1, 1)), height=16, width=16, radius_law="sqrt"),
        augment=AugmentConfig(rotation_deg=180),
        model=ModelConfig(channels=(4, 8), convolutions=(1,), hidden=(16,), features=4, dropout=0.2, normalize="batch"),
        optim=OptimConfig(lr=3e-3),
    )
