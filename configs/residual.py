"""Ours: a residual network a tenth of the paper's size, any axis, every augmentation that keeps the group.

    python train.py --config configs/residual.py --workdir runs/residual

bfloat16 in the network, AdamW with warm-up and cosine, a running mean of the parameters, small groups drawn more often,
a part of the target for groups that Friedel's law joins. Cost: for a GPU. Not run to its end yet.
"""

from xrdjax.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, PatternConfig, TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(
        steps=200_000,
        batch_size=256,
        steps_per_dispatch=20,
        log_every=200,
        validate_every=5000,
        validation_patterns=8192,
        checkpoint_every=5000,
        data=DataConfig(balance=0.5),
        pattern=PatternConfig(max_index=3, height=128, width=128, radius_law="sqrt"),
        augment=AugmentConfig(rotation_deg=180, strain=0.02, substitute_species=0.3, vacancies=0.02),
        model=ModelConfig(
            architecture="residual",
            channels=(64, 128, 256, 512),
            convolutions=(1, 2, 3, 2),
            hidden=(),
            features=1,
            normalize="batch",
            dropout=0.0,
            compute_dtype="bfloat16",
        ),
        optim=OptimConfig(
            lr=1e-3,
            weight_decay=0.05,
            warmup_steps=2000,
            schedule="cosine",
            clip_norm=1.0,
            ema_decay=0.9995,
            friedel_smoothing=0.1,
            consistency_weight=0.1,
        ),
    )
