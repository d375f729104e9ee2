"""The seed paper's experiment on open crystals, and what fresh drawing adds: runs that differ in one thing each.

    xrdjax sweep configs/results/full.py --workdir runs/results
    xrdjax sweep configs/results/full.py --workdir runs/results --index $SLURM_ARRAY_TASK_ID     # one job of an array

All of the embedded set. `paper` sees the paper's twenty axes turned by up to 90°, in 5,000 batches that come again and
again as if they had been stored; `fresh` and what follows it see every integer axis up to 3, turned by any angle, and
never the same picture twice. Cost: made for one GPU; not run yet. configs/results/small.py is the same question at the
size of a laptop.
"""

from pathlib import Path

from xrdjax.config import SEEN_AXES, TrainConfig
from xrdjax.config_sources import load_config_file, override

PAPER = {"pattern.axes": SEEN_AXES, "augment.rotation_deg": 90}
FRESH = {"pattern.max_index": 3, "augment.rotation_deg": 180}
STRAIN, SPECIES, VACANCIES = (
    {"augment.strain": 0.1},
    {"augment.substitute_species": 0.3},
    {"augment.vacancies": 0.05},
)
PROCEDURAL = {"data.procedural.statistics": "training"}
RUNS = {
    "paper": PAPER | {"repeat_after": 5000},
    "paper-axis-known": PAPER | {"repeat_after": 5000, "model.sees_axis": True},
    "fresh": FRESH,
    "fresh-species": FRESH | SPECIES,
    "fresh-vacancies": FRESH | VACANCIES,
    "fresh-strain": FRESH | STRAIN,
    "fresh-all": FRESH | STRAIN | SPECIES | VACANCIES,
    "procedural-half": FRESH | PROCEDURAL | {"data.mixture": 0.5},
    "procedural-alone": FRESH | PROCEDURAL | {"data.mixture": 1.0},
    "multi-view": FRESH | {"views": 4},
}
TRAINING = {
    "steps": 40_000,
    "batch_size": 256,
    "steps_per_dispatch": 20,
    "log_every": 200,
    "validate_every": 4000,
    "checkpoint_every": 4000,
    "model.compute_dtype": "bfloat16",
}


def get_runs() -> dict[str, TrainConfig]:
    open_set, residual = (
        load_config_file(Path(__file__).parent.parent / f"{name}.py") for name in ("open", "residual")
    )
    base = override(open_set, TRAINING)
    runs = {name: override(base, changes) for name, changes in RUNS.items()}
    return runs | {"modern": override(runs["fresh-all"], {"model": residual.model, "optim": residual.optim})}
