"""The demo's network and pictures, every batch half real and half made-up crystals.

    python train.py --config configs/mixed.py --workdir runs/mixed

Cost: as configs/procedural.py. Result: see docs/procedural.md.
"""

from xrdjax.config import CR_K_ALPHA1, SEEN_AXES, DataConfig, ModelConfig, OptimConfig, PatternConfig, TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(
        steps=1700,
        batch_size=128,
        log_every=100,
        validate_every=850,
        checkpoint_every=850,
        data=DataConfig(max_atoms=128, mixture=0.5),
        pattern=PatternConfig(
            axes=SEEN_AXES[:4],
            wavelength=CR_K_ALPHA1,
            height=64,
            width=64,
            extent=0.9,
            disc_radius=0.05,
            radius_law="sqrt",
        ),
        model=ModelConfig(
            channels=(8, 16, 32, 64, 128), convolutions=(1,), hidden=(256,), dropout=0.2, normalize="batch"
        ),
        optim=OptimConfig(lr=2e-3, weight_decay=1e-2, warmup_steps=100, schedule="cosine"),
    )
