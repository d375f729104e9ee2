"""Protocols: which patterns of held-out crystals a run is asked about. All are recipes for the training renderer.

Every (crystal, zone axis) pair is drawn once, in an order and with in-plane rotations that follow from the seed. Only
the rotation of the training recipe is kept; crystals are neither strained nor changed.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Int, Key
from tqdm import tqdm

from xrdjax.config import SEEN_AXES, UNSEEN_AXES, AugmentConfig, Axis, PatternConfig, TrainConfig
from xrdjax.crystals.selection import open_selected, select_crystals
from xrdjax.crystals.splits import Part
from xrdjax.diffraction.zone import coprime_axis
from xrdjax.learning.models import Logits
from xrdjax.learning.run import restore_run
from xrdjax.learning.state import TrainState
from xrdjax.learning.workdir import check_store
from xrdjax.patterns.device_store import DeviceStore, to_device
from xrdjax.patterns.generate import by_bucket, draw_recipe, interleave
from xrdjax.patterns.planning import Plan, make_plan
from xrdjax.patterns.recipe import num_walk_batches, walk_recipe

BEST = 3  # ranks kept of each prediction


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """What a network said of n patterns, best first."""

    crystal: Int[np.ndarray, "n"]
    """Number in the store."""
    uvw: Int[np.ndarray, "n 3"]
    space_group: Int[np.ndarray, "n"]
    """The true one, 1 to 230."""
    crystal_system: Int[np.ndarray, "n"]
    """The true one, index in `CRYSTAL_SYSTEMS`."""
    space_group_ranks: Int[np.ndarray, "n 3"]
    crystal_system_ranks: Int[np.ndarray, "n 3"]

    def select(self, chosen: Bool[np.ndarray, "n"]) -> "Predictions":
        """Return some of them."""
        return Predictions(**{name: values[chosen] for name, values in vars(self).items()})

    def along(self, axes: tuple[Axis, ...]) -> "Predictions":
        """Return those of patterns along these axes."""
        return self.select((self.uvw[:, None] == np.array(axes)).all(-1).any(-1))


def protocol_axes(config: TrainConfig) -> dict[str, tuple[Axis, ...]]:
    """Return the axes of each protocol: those trained on (the paper's twenty if random), and the unseen four."""
    trained = tuple(map(coprime_axis, config.pattern.axes)) if not config.pattern.max_index else SEEN_AXES
    return {"seen": trained, "unseen": tuple(axis for axis in UNSEEN_AXES if axis not in trained)}


def predict_part(
    workdir: Path, axes: tuple[Axis, ...], part: Part = "test", max_crystals: int | None = None, seed: int = 0
) -> Predictions:
    """Return a run's predictions for one part of its split along these axes, at most `max_crystals` drawn by the seed.

    Shows progress. Raises WorkdirError, StoreError, ConfigError.
    """
    config, graph, state = restore_run(workdir)
    crystals = open_selected(config.data)
    check_store(config, crystals, workdir)
    store = to_device(crystals)
    chosen = select_crystals(crystals, config.data, part)
    if max_crystals is not None and max_crystals < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, max_crystals, replace=False))
    pattern = replace(config.pattern, axes=axes, max_index=0)
    augment = AugmentConfig(rotation_deg=config.augment.rotation_deg)
    plan = make_plan(store, chosen, pattern, augment, config.batch_size)
    predict = jax.jit(partial(_predict_batch, graph, pattern, augment))
    numbers = tqdm(range(num_walk_batches(plan)), desc="Evaluating", unit="batch", mininterval=1.0)
    batches = [jax.device_get(predict(state, store, plan, jax.random.key(seed), number)) for number in numbers]
    is_new, predictions = (
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts) for parts in zip(*batches, strict=True)
    )
    return Predictions(**predictions).select(is_new)


def _predict_batch(
    graph: nnx.GraphDef,
    pattern: PatternConfig,
    augment: AugmentConfig,
    state: TrainState,
    store: DeviceStore,
    plan: Plan,
    key: Key[Array, ""],
    number: Int[Array, ""] | int,
) -> tuple[Bool[Array, "batch"], dict[str, Array]]:
    recipe, is_new = walk_recipe(jax.random.fold_in(key, number), number, plan, augment)
    batch = draw_recipe(recipe, store, plan, pattern, augment)
    logits: Logits = nnx.merge(graph, state.params, state.statistics, copy=True)(batch.image, batch.recipe.uvw)
    return interleave(by_bucket(is_new, plan)), {
        "crystal": batch.recipe.crystal,
        "uvw": batch.recipe.uvw,
        "space_group": batch.space_group,
        "crystal_system": batch.crystal_system,
        "space_group_ranks": jax.lax.top_k(logits.space_group, BEST)[1] + 1,
        "crystal_system_ranks": jax.lax.top_k(logits.crystal_system, BEST)[1],
    }
