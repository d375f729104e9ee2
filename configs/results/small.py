"""Is drawing fresh pictures worth it? Runs that differ in one thing each, of a size that two CPU cores train.

    xrdjax sweep configs/results/small.py --workdir runs/results-small

The demo's pictures and network along the four axes of the seed paper's model-2, at most fifty crystals of each space
group, and in each run the same number of steps of 128 pictures. `turned` draws every picture anew, turned by up to 90°;
all others differ from it in one thing. `stored` cycles through 220 batches, a little more than one picture of each
crystal and axis, as if they had been stored as the paper does. Cost: about five minutes a run, an hour in
all. Result: see docs/results.md.
"""

from pathlib import Path

from xrdjax.config import SEEN_AXES, TrainConfig
from xrdjax.config_sources import load_config_file, override

STRAIN, SPECIES, ATOMS, VACANCIES = (
    {"augment.strain": 0.1},
    {"augment.substitute_species": 0.3},
    {"augment.substitute_atoms": 0.1},
    {"augment.vacancies": 0.1},
)
RUNS = {
    "turned": {},
    "stored": {"repeat_after": 220},
    "axis-known": {"model.sees_axis": True},
    "multi-view": {"views": 4},
    "strain": STRAIN,
    "species": SPECIES,
    "atoms": ATOMS,
    "vacancies": VACANCIES,
    "all-changes": STRAIN | SPECIES | ATOMS | VACANCIES,
    "any-axis": {"pattern.max_index": 1, "augment.rotation_deg": 180},
    "procedural-half": {"data.mixture": 0.5, "data.procedural.statistics": "training"},
    "procedural-alone": {"data.mixture": 1.0, "data.procedural.statistics": "training"},
    "by-type": {"data.split": "type"},
    "residual": {"model.architecture": "residual", "model.features": 2},
}


def get_runs() -> dict[str, TrainConfig]:
    demo = load_config_file(Path(__file__).parent.parent / "demo.py")
    turned = {"steps": 1500, "validate_every": 750, "checkpoint_every": 750, "data.cap": 50}
    base = override(demo, turned | {"pattern.axes": SEEN_AXES[:4], "augment.rotation_deg": 90})
    return {name: override(base, changes) for name, changes in RUNS.items()}
