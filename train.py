"""Train a network on patterns rendered in every step, then evaluate it on crystals it was never shown.

python train.py --config configs/demo.py --workdir runs/demo
python train.py --config configs/demo.py --workdir runs/a --optim.lr 3e-4 --augment.rotation_deg 180

Started again in the same workdir, a run goes on from its newest checkpoint. SIGTERM and Ctrl-C save one first.
Several processes on one or many machines train as one: docs/distributed.md; evaluation is left to evaluate.py then.
--profile 100:120 traces these steps for TensorBoard. Every field of the configuration is a flag:
python train.py --config configs/demo.py --help
"""

import signal
import sys

from xrdjax.cli import exit_on_error
from xrdjax.config_sources import parse_run
from xrdjax.startup import prepare_jax, show_progress


def main() -> None:
    """Read the command line, train, evaluate."""
    with exit_on_error():
        config, workdir, profile = parse_run(sys.argv[1:], __doc__)
        log = show_progress()
        has_company = prepare_jax(config.batch_size)
        from xrdjax.learning.training import train

        stopped_by = train(config, workdir, profile=profile)
        if stopped_by == signal.SIGINT:
            raise KeyboardInterrupt
        if stopped_by is None and not has_company:
            from xrdjax.evaluation.report import evaluate_run  # slow to load: not before the first step

            print(evaluate_run(workdir))
        elif stopped_by is None:
            log.info("Evaluate it in one process: python evaluate.py --workdir %s", workdir)


if __name__ == "__main__":
    main()
