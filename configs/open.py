"""The whole embedded set along the paper's twenty zone axes, turned at random, with a VGG that a CPU can still run.

    python train.py --config configs/open.py --workdir runs/open
    python train.py --config configs/open.py --workdir runs/open-100 --steps 100 --optim.schedule constant

Cost: made for one GPU. On two CPU cores a hundred steps take a few minutes; see the README for what was measured.
"""

from xrdjax.config import AugmentConfig, ModelConfig, OptimConfig, PatternConfig, TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(
        steps=100_000,
        batch_size=128,
        log_every=20,
        validate_every=1000,
        validation_patterns=2048,
        checkpoint_every=1000,
        test_crystals=1000,
        pattern=PatternConfig(height=128, width=128, radius_law="sqrt"),
        augment=AugmentConfig(rotation_deg=180),
        model=ModelConfig(
            channels=(16, 32, 64, 128, 256), convolutions=(1,), hidden=(512,), dropout=0.2, normalize="batch"
        ),
        optim=OptimConfig(lr=1e-3, weight_decay=1e-2, warmup_steps=500, schedule="cosine"),
    )
