"""The demo's network and pictures, trained on made-up crystals alone: fresh ones every step, all groups equally often.

    python train.py --config configs/procedural.py --workdir runs/procedural

Validation and evaluation are of real crystals, as in configs/demo.py; of the training crystals only the shapes and
volumes of their cells are used. `--data.procedural.statistics training` imitates their occupied positions and elements
too. Cost: a few minutes more than the demo, most of them for compiling. Result: see docs/procedural.md.
"""

from xrdjax.config import CR_K_ALPHA1, SEEN_AXES, DataConfig, ModelConfig, OptimConfig, PatternConfig, TrainConfig


def get_config() -> TrainConfig:
    return TrainConfig(
        steps=1700,
        batch_size=128,
        log_every=100,
        validate_every=850,
        checkpoint_every=850,
        data=DataConfig(max_atoms=128, mixture=1.0),
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
