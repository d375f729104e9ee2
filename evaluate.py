"""Evaluate a run, or set finished evaluations side by side.

python evaluate.py --workdir runs/demo                                   # every protocol, the paper's sizes
python evaluate.py --workdir runs/demo --protocol seen strain --crystals 500
python evaluate.py --compare runs/a runs/b --out compared
"""

import logging
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge, Gt

from xrdjax.cli import exit_on_error
from xrdjax.errors import ConfigError


def evaluate(
    workdir: Path | None = None,
    protocol: tuple[str, ...] = ("all",),
    crystals: Annotated[int, Gt(0)] | None = None,
    seed: Annotated[int, Ge(0)] = 0,
    baseline: bool = True,
    compare: tuple[Path, ...] = (),
    out: Path = Path("compared"),
) -> None:
    """Evaluate a run into its evaluation/ directory, or compare runs that were evaluated.

    Args:
        workdir: directory of a run made by train.py.
        protocol: names of protocols (docs/evaluation.md), or all.
        crystals: at most this many crystals of each part; as many as the paper by default.
        seed: of the choice of crystals and of everything random that is done to them.
        baseline: set nearest neighbours beside the network where axes are seen and unseen: 20 s for each axis.
        compare: directories of runs whose evaluation/report.json are set side by side.
        out: where the comparison is written.
    """
    if (workdir is None) == (not compare):
        raise ConfigError("give either --workdir RUN or --compare RUN RUN…")
    if workdir is None:
        from xrdjax.evaluation.compare import compare_runs

        print(compare_runs(compare, out))
        return
    from xrdjax.startup import prepare_jax

    prepare_jax(128)
    from xrdjax.evaluation.report import evaluate_run

    logging.basicConfig(level=logging.WARNING)
    print(evaluate_run(workdir, protocol, crystals, seed, baseline=baseline))


if __name__ == "__main__":
    with exit_on_error():
        tyro.cli(evaluate, description=__doc__)
