"""Batches of stored and made-up crystals: each kind has its own slots, its own list of pairs and its own buckets.

How large a made-up crystal is, is known only when it has been made. Its bucket is therefore bounded by the limits
within which crystals are accepted: volume V, longest edge E, smallest height H between lattice planes. The zone [uvw]
of a cell has one reflection in each A* = |t|/V of its plane, where |t| ≥ H max(|u|, |v|, |w|), and no reflection is
shorter than 1/E. Rows in a disc of radius g, at least √3/(2E) apart, then hold at most π g²/A* + (2 + 4/√3) g E + 1
reflections.
"""

import math
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Integer

from xrdjax.config import AugmentConfig, Axis, PatternConfig, TrainConfig
from xrdjax.crystals.procedural import FLATTEST, MAX_EDGE, MIN_HEIGHT, Factory
from xrdjax.crystals.repertoire import make_repertoire
from xrdjax.crystals.store import CrystalStore
from xrdjax.patterns.device_store import DeviceStore
from xrdjax.patterns.own_pictures import own_pictures
from xrdjax.patterns.planning import MARGIN, MOST_BUCKETS_PER_BATCH, Plan, make_plan, plan_pairs, zone_axes
from xrdjax.patterns.render import spot_reach

MOST_BUCKETS = 4  # of made-up crystals: making some has a cost, and each bucket's code takes seconds to compile


def training_source(
    crystals: CrystalStore, store: DeviceStore, training: Int[np.ndarray, "crystals"], config: TrainConfig
) -> tuple[DeviceStore, Plan]:
    """Return what training batches are drawn from: the store, with a factory where needed, and the plan."""
    num_made_up = config.views * made_up_slots(config.data.mixture, config.batch_size // config.views)
    num_stored = config.batch_size - num_made_up
    plans = []
    if num_stored:
        drawn = balanced(training, crystals.space_group[training], config.data.balance)
        plans.append(
            make_plan(store, drawn, config.pattern, config.augment, config.batch_size, num_stored, config.views)
        )
    if num_made_up:
        repertoire = make_repertoire(crystals, training, config.data.procedural, config.data.max_atoms)
        store = replace(store, factory=repertoire.factory)
        size = bounds_of_entries(repertoire.factory, repertoire.entries, config.pattern, config.augment)
        plan = plan_pairs(
            -1 - repertoire.entries, size, config.pattern, num_made_up, config.batch_size, MOST_BUCKETS, config.views
        )
        plans.append(replace(plan, buckets=tuple(replace(bucket, is_made_up=True) for bucket in plan.buckets)))
    plan = plans[0] if len(plans) == 1 else join_plans(*plans)
    return store, replace(plan, own=own_pictures(config))


def balanced(
    crystals: Int[np.ndarray, "crystals"], space_group: Integer[np.ndarray, "crystals"], balance: float
) -> Int[np.ndarray, "drawn"]:
    """Return the crystals, those of smaller groups repeated: n crystals (largest n / n)^balance times, rounded."""
    members = np.bincount(space_group)[space_group]
    return np.repeat(crystals, np.rint((members.max() / members) ** balance).astype(int))


def made_up_slots(mixture: float, batch_size: int) -> int:
    """Return how many slots of a batch are made up: sixteenths of it, where it has such, so that devices can share."""
    unit = batch_size // MOST_BUCKETS_PER_BATCH if batch_size % MOST_BUCKETS_PER_BATCH == 0 else 1
    return round(mixture * batch_size / unit) * unit


def join_plans(first: Plan, second: Plan) -> Plan:
    """Return the plan of a batch that has the slots of one after those of the other, along the same axes."""
    num_first = first.pair.shape[0]
    return replace(
        first,
        pair=jnp.concatenate([first.pair, second.pair]),
        slot_start=jnp.concatenate([first.slot_start, second.slot_start + num_first]),
        slot_stop=jnp.concatenate([first.slot_stop, second.slot_stop + num_first]),
        slot_offset=jnp.concatenate([first.slot_offset, second.slot_offset]),
        slot_width=jnp.concatenate([first.slot_width, second.slot_width]),
        buckets=first.buckets + second.buckets,
    )


def bounds_of_entries(
    factory: Factory, entries: Int[np.ndarray, "entries"], pattern: PatternConfig, augment: AugmentConfig
) -> Int[np.ndarray, "entries axes 7"]:
    """Return what no crystal of a template exceeds along an axis: atoms, spots, columns, rows, nodes, box.

    Nodes, which only decide how pairs are sorted, are those of a cube of the largest volume.
    """
    g_max = pattern.g_max * (1 + augment.strain) * (1 + MARGIN)
    volume = np.asarray(factory.max_volume, float)
    side = np.full(len(volume), math.floor(2 / math.sqrt(3) * g_max * MAX_EDGE) + 1)
    nodes = (np.floor(2 * float(spot_reach(pattern)) * np.cbrt(volume)) + 1) ** 2
    product = volume / math.sqrt(FLATTEST)  # of the three edges
    box = 8 * np.ceil(g_max * np.stack([np.sqrt(product / MIN_HEIGHT), np.cbrt(product)]) / 8)
    count = np.stack([_most_spots(volume, g_max, axis, pattern) for axis in zone_axes(pattern)], axis=1)
    of_template = np.stack([np.asarray(factory.num_atoms), side, side, nodes, *box], axis=-1)
    size = np.repeat(of_template[:, None], count.shape[1], axis=1)
    return np.insert(size, 1, count, axis=-1).astype(int)[entries]


def _most_spots(
    volume: Float[np.ndarray, "n"], g_max: float, axis: Axis, pattern: PatternConfig
) -> Float[np.ndarray, "n"]:
    area = MIN_HEIGHT * max(map(abs, axis)) / volume
    full = math.pi * g_max**2 / area + (2 + 4 / math.sqrt(3)) * g_max * MAX_EDGE + 1
    return np.ceil(full / 2 if pattern.has_friedel_pairs else full)
