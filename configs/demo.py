"""A network that learns in minutes on a laptop: small pictures, four zone axes, a narrow VGG.

    python train.py --config configs/demo.py --workdir runs/demo
"""

from xrdjax.config import SEEN_AXES, AugmentConfig, DataConfig, ModelConfig, OptimConfig, PatternConfig, TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(
        steps=1600,
        batch_size=128,
        log_every=50,
        validate_every=400,
        checkpoint_every=400,
        data=DataConfig(max_atoms=128),
        pattern=PatternConfig(axes=SEEN_AXES[:4], height=64, width=64, radius_law="sqrt"),
        augment=AugmentConfig(),
        model=ModelConfig(channels=(16, 32, 64, 128), convolutions=1, hidden=(256,), dropout=0.2, normalize=True),
        optim=OptimConfig(lr=2e-3, weight_decay=1e-2, warmup_steps=100, schedule="cosine"),
    )
