"""The released network of several views: configs/laptop.py's, taught to see one to four patterns of a crystal together.

    python train.py --config configs/laptop_views.py --workdir runs/laptop-views --start_from runs/laptop

Cost: about 25 minutes of one CPU core, after the network that it starts from. Result: see docs/results.md.
"""

from pathlib import Path

from xrdjax.config import TrainConfig
from xrdjax.config_sources import load_config_file, override


def get_config() -> TrainConfig:
    laptop = load_config_file(Path(__file__).with_name("laptop.py"))
    return override(
        laptop,
        {
            "steps": 2000,
            "validate_every": 500,
            "checkpoint_every": 500,
            "batch_size": 256,
            "views": 4,
            "optim.lr": 1e-3,
            "optim.ema_decay": 0.995,
        },
    )
