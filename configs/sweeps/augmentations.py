"""What each augmentation is worth, at the demo's size: one run without any, one with each, one with all.

    xrdjax sweep configs/sweeps/augmentations.py --workdir runs/augmentations

Cost: seven demos, half an hour on two CPU cores. A cluster runs one a job: `--index $SLURM_ARRAY_TASK_ID`.
"""

from pathlib import Path

from xrdjax.config import TrainConfig
from xrdjax.config_sources import load_config_file, override

EACH = {
    "rotation": {"augment.rotation_deg": 180},
    "strain": {"augment.strain": 0.05},
    "species": {"augment.substitute_species": 0.5},
    "atoms": {"augment.substitute_atoms": 0.02},
    "vacancies": {"augment.vacancies": 0.1},
}


def get_runs() -> dict[str, TrainConfig]:
    demo = load_config_file(Path(__file__).parent.parent / "demo.py")
    every = {name: value for changes in EACH.values() for name, value in changes.items()}
    return {name: override(demo, changes) for name, changes in {"plain": {}, **EACH, "all": every}.items()}
