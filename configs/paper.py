"""The seed paper's model-4: twenty zone axes, four blocks of 64 to 512 channels, two layers of 4096, Adam at 1e-4.

    python train.py --config configs/paper.py --workdir runs/paper

A hundred epochs of 36,500 crystals × 20 axes in batches of 128. The paper stores every picture once; here each is drawn
when it is needed, and turned within ± 90° as the released training code does. The network computes in
bfloat16 and does not see the zone axis.
Cost: for a GPU. Not run to its end yet.
"""

from xrdjax.config import SEEN_AXES, AugmentConfig, ModelConfig, PatternConfig, TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(
        steps=570_000,
        batch_size=128,
        steps_per_dispatch=50,
        log_every=500,
        validate_every=10_000,
        validation_patterns=8192,
        checkpoint_every=5000,
        pattern=PatternConfig(axes=SEEN_AXES, height=224, width=224),
        augment=AugmentConfig(rotation_deg=90),
        model=ModelConfig(compute_dtype="bfloat16"),
    )
