"""configs/residual.py shown one to four patterns of each crystal together, along different axes.

    python train.py --config configs/multiview.py --workdir runs/multiview

What the network makes of each view is weighted by learned attention and averaged; it takes any number of views.
Cost: for a GPU. Not run to its end yet.
"""

from pathlib import Path

from xrdjax.config import TrainConfig
from xrdjax.config_sources import load_config_file, override


def get_config() -> TrainConfig:
    residual = load_config_file(Path(__file__).with_name("residual.py"))
    return override(residual, {"batch_size": 512, "views": 4, "model.fuse": "attention"})
