"""Is drawing fresh pictures worth it? Runs that differ in one thing each, of a size that two CPU cores train.

    xrdjax sweep configs/results/small.py --workdir runs/results-small

The demo's pictures and network, at most twenty crystals of each space group, and in each run the same number of steps
of 128 pictures. `paper` sees the seed paper's twenty axes turned by up to 90°, in 500 batches that come again and
again as if they had been stored; `fresh` and what follows it see every integer axis up to 3, turned by any angle, and
never the same picture twice. Cost: about five minutes a run, an hour in all. Result: see docs/results.md.
"""

from pathlib import Path

from xrdjax.config import SEEN_AXES, TrainConfig, load_config_file, override

PAPER = {"pattern.axes": SEEN_AXES, "augment.rotation_deg": 90}
FRESH = {"pattern.axes": SEEN_AXES, "pattern.max_index": 3, "augment.rotation_deg": 180}
SPECIES, VACANCIES, STRAIN = (
    {"augment.substitute_species": 0.3},
    {"augment.vacancies": 0.05},
    {"augment.strain": 0.05},
)
RUNS = {
    "paper": PAPER | {"repeat_after": 500},
    "paper-axis-known": PAPER | {"repeat_after": 500, "model.sees_axis": True},
    "paper-turned-anew": PAPER,
    "fresh": FRESH,
    "fresh-species": FRESH | SPECIES,
    "fresh-vacancies": FRESH | VACANCIES,
    "fresh-strain": FRESH | STRAIN,
    "fresh-all": FRESH | SPECIES | VACANCIES | STRAIN,
    "procedural-half": FRESH | {"data.mixture": 0.5, "data.procedural.statistics": "training"},
    "procedural-alone": FRESH | {"data.mixture": 1.0, "data.procedural.statistics": "training"},
    "multi-view": FRESH | {"views": 4},
    "residual": FRESH | {"model.architecture": "residual", "model.features": 2},
}


def get_runs() -> dict[str, TrainConfig]:
    demo = load_config_file(Path(__file__).parent.parent / "demo.py")
    small = override(demo, {"steps": 2000, "validate_every": 1000, "checkpoint_every": 1000, "data.cap": 20})
    return {name: override(small, changes) for name, changes in RUNS.items()}
