"""Evaluate a run on the crystals of its test part, and write tables and figures into its workdir.

python evaluate.py --workdir runs/demo
"""

import logging
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt

from xrdjax.cli import exit_on_error


def evaluate(
    workdir: Path,
    protocol: tuple[Literal["seen", "unseen"], ...] = (),
    crystals: Annotated[int, Gt(0)] | None = None,
    seed: Annotated[int, Ge(0)] = 0,
) -> None:
    """Evaluate a run.

    Args:
        workdir: directory of a run made by train.py.
        protocol: which zone axes: those of the training, or the paper's four unseen ones; both by default.
        crystals: at most this many crystals of the test part; all of them by default.
        seed: of the choice of crystals and of the in-plane rotations.
    """
    from xrdjax.startup import prepare_jax

    prepare_jax()
    from xrdjax.evaluation.report import evaluate_run

    logging.basicConfig(level=logging.WARNING)
    print(evaluate_run(workdir, protocol, crystals, seed))


if __name__ == "__main__":
    with exit_on_error():
        tyro.cli(evaluate, description=__doc__)
