"""What a training step takes and gives: parameters, batch statistics, optimiser, step."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Int, Key, PyTree

from xrdjax.config import TrainConfig
from xrdjax.learning.models import build_model

# Named streams of random numbers under a run's root key.
STREAM_INITIAL, STREAM_DATA, STREAM_DROPOUT, STREAM_VALIDATION, STREAM_VIEWS = range(5)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TrainState:
    """All that changes from step to step."""

    step: Int[Array, ""]
    """Steps done."""
    params: PyTree
    statistics: PyTree
    """Running means of batch normalisation; empty without it."""
    optimizer: PyTree
    average: PyTree
    """Running mean of the pair of parameters and statistics, with `optim.ema_decay`; None without it."""

    @property
    def predictor(self) -> tuple[PyTree, PyTree]:
        """Return the parameters and statistics to predict with: the running mean if there is one."""
        return (self.params, self.statistics) if self.average is None else self.average


def initial_state(
    config: TrainConfig,
    optimizer: optax.GradientTransformation,
    placed: Callable[[TrainState], PyTree] | None = None,
) -> tuple[nnx.GraphDef, TrainState]:
    """Return the structure of the configured network and its state before the first step.

    `placed` says by the shapes of the state how it is to be spread over devices.
    """
    key = jax.random.fold_in(jax.random.key(config.seed), STREAM_INITIAL)

    def split(key: Key[Array, ""]) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
        graph, params, statistics = nnx.split(build_model(config.model, config.pattern, key), nnx.Param, ...)
        return graph, params, statistics

    def initialize(key: Key[Array, ""]) -> TrainState:
        params, statistics = (nnx.to_pure_dict(part) for part in split(key)[1:])
        average = None if config.optim.ema_decay is None else (params, statistics)
        moments = optimizer.init(params)
        return TrainState(step=jnp.int32(0), params=params, statistics=statistics, optimizer=moments, average=average)

    shardings = None if placed is None else placed(jax.eval_shape(initialize, key))
    # Run once: the compiler's optimiser would take four times as long as it saves on all but enormous networks.
    options = {"xla_backend_optimization_level": 1}
    start = jax.jit(initialize, compiler_options=options, out_shardings=shardings)
    return nnx.eval_shape(lambda: split(key))[0], start(key)
