"""The seed paper's model-1: configs/paper.py with one zone axis, [100].

    python train.py --config configs/paper_model_1.py --workdir runs/paper-1

A hundred epochs of 36,500 crystals × one zone axis in batches of 128. Cost: for a GPU. Not run to its end yet.
"""

from pathlib import Path

from xrdjax.config import TrainConfig
from xrdjax.config_sources import load_config_file, override


def get_config() -> TrainConfig:
    paper = load_config_file(Path(__file__).with_name("paper.py"))
    return override(paper, {"steps": 28_500, "pattern.axes": ((1, 0, 0),)})
