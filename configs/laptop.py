"""The released network of one view: what one core of a laptop learns in an hour.

    python train.py --config configs/laptop.py --workdir runs/laptop

All of the embedded set, seen along the seven axes with indices of 0 and 1, turned by any angle, cells up to 3 % larger
or smaller. The demo's pictures, three times the demo's network. Cost: about 70 minutes of one CPU core. Result: see
docs/results.md; it is what `xrdjax predict` asks where no other model is named.
"""

from pathlib import Path

from xrdjax.config import TrainConfig
from xrdjax.config_sources import load_config_file, override

AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))


def get_config() -> TrainConfig:
    demo = load_config_file(Path(__file__).with_name("demo.py"))
    return override(
        demo,
        {
            "steps": 12_000,
            "validate_every": 2000,
            "checkpoint_every": 1000,
            "pattern.axes": AXES,
            "augment.rotation_deg": 180,
            "augment.strain": 0.03,
            "model.channels": (8, 24, 64, 128, 256),
            "optim.ema_decay": 0.999,
        },
    )
