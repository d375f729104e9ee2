"""The network that the seed paper's released code trains, not the one that its text describes.

    python train.py --config configs/paper_code.py --workdir runs/paper-code

VGG19; the zone axis is an input that gates the features, and three auxiliary heads say it back at a weight of 0.1;
batches of 32. Its accuracy presumes that the axis is known. The published model also starts from another VGG19, which
is not released. Cost: for a GPU. Not run to its end yet.
"""

from pathlib import Path

from xrdjax.config import TrainConfig
from xrdjax.config_sources import load_config_file, override


def get_config() -> TrainConfig:
    paper = load_config_file(Path(__file__).with_name("paper.py"))
    return override(
        paper,
        {
            "steps": 2_280_000,
            "batch_size": 32,
            "model.channels": (64, 128, 256, 512, 512),
            "model.convolutions": (2, 2, 4, 4, 4),
            "model.sees_axis": True,
            "model.says_axis": True,
        },
    )
