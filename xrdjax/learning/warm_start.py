"""What another network learned as the beginning of this one."""

import logging
from dataclasses import replace
from pathlib import Path

import jax
from jaxtyping import PyTree

from xrdjax.errors import WorkdirError
from xrdjax.learning.model_file import load_weights, run_weights
from xrdjax.learning.optimizer import named_leaves
from xrdjax.learning.state import TrainState

log = logging.getLogger(__name__)


def warm_start(state: TrainState, origin: Path) -> TrainState:
    """Return the state before the first step with the parameters of a run or file, where names and shapes agree.

    Says what was taken and what was not. Raises WorkdirError if nothing agrees, and WorkdirError or ModelError if there
    is nothing to read.
    """
    learned = load_weights(origin) if origin.is_file() else run_weights(origin)
    known = named_leaves((learned.params, learned.statistics))
    fresh = named_leaves((state.params, state.statistics))
    taken = {name: leaf for name, leaf in known.items() if name in fresh and fresh[name].shape == leaf.shape}
    if not taken:
        raise WorkdirError(f"start_from = {origin}: no array there has the name and shape of one of this network")
    left = sorted(name.partition(".")[2] for name in fresh.keys() - taken.keys())
    log.info("%s: took %d of %d arrays%s", origin, len(taken), len(fresh), f", not {', '.join(left)}" if left else "")

    def exchanged(name: str, leaf: PyTree) -> PyTree:
        return jax.device_put(taken[name], leaf.sharding) if name in taken else leaf

    leaves = [exchanged(name, leaf) for name, leaf in fresh.items()]
    params, statistics = jax.tree.unflatten(jax.tree.structure((state.params, state.statistics)), leaves)
    average = None if state.average is None else jax.tree.map(lambda leaf: leaf.copy(), (params, statistics))
    return replace(state, params=params, statistics=statistics, average=average)
