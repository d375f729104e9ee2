"""The seed paper's model-3: configs/paper.py with ten zone axes, the first of the twenty.

    python train.py --config configs/paper_model_3.py --workdir runs/paper-3

A hundred epochs of 36,500 crystals × ten zone axes in batches of 128. Cost: for a GPU. Not run to its end yet.
"""

from pathlib import Path

from xrdjax.config import SEEN_AXES, TrainConfig
from xrdjax.config_sources import load_config_file, override


def get_config() -> TrainConfig:
    paper = load_config_file(Path(__file__).with_name("paper.py"))
    return override(paper, {"steps": 285_000, "pattern.axes": SEEN_AXES[:10]})
