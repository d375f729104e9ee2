"""The demo's pictures and crystals with a residual network that a laptop trains: configs/residual.py made small.

    python train.py --config configs/residual_small.py --workdir runs/residual-small

Cost: about ten minutes on two CPU cores. Result: see docs/training.md.
"""

from pathlib import Path

from xrdjax.config import TrainConfig
from xrdjax.config_sources import load_config_file, override


def get_config() -> TrainConfig:
    demo = load_config_file(Path(__file__).with_name("demo.py"))
    return override(
        demo,
        {
            "model.architecture": "residual",
            "model.features": 2,
            "optim.ema_decay": 0.99,
            "optim.friedel_smoothing": 0.1,
            "optim.consistency_weight": 0.1,
        },
    )
