"""Answers: what a network makes of requests.

Every device draws and predicts whole batches of its own by one compiled program, so that no number depends on how many
devices there are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped, UInt8
from tqdm import tqdm

from xrdjax.config import PatternConfig, TrainConfig
from xrdjax.crystals.selection import open_selected
from xrdjax.crystals.store import CrystalStore
from xrdjax.evaluation.requests import Requests, Walk, bases_of, plan_walk, recipes_of
from xrdjax.learning.models import Logits
from xrdjax.learning.run import restore_run
from xrdjax.learning.workdir import check_store
from xrdjax.patterns.device_store import DeviceStore, to_device
from xrdjax.patterns.generate import draw_in_order
from xrdjax.patterns.planning import Bucket

BATCH = 128  # patterns that one device works on at a time
BEST = 3  # ranks of each answer


@dataclass(frozen=True, kw_only=True)
class Network:
    """A trained network, and the crystals that it is asked about."""

    config: TrainConfig
    step: int
    graph: nnx.GraphDef
    params: PyTree
    statistics: PyTree
    crystals: CrystalStore
    store: DeviceStore
    """As the network was trained to see crystals: sites full, or atoms at rest, where the training pattern says so."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What a network said of n requests."""

    group_ranks: UInt8[np.ndarray, "n 3"]
    """Space groups, 1 to 230, the likeliest first."""
    system_ranks: UInt8[np.ndarray, "n 3"]
    """Indices in `CRYSTAL_SYSTEMS`."""
    group_scores: Float[np.ndarray, "kept 230"]
    """Log-probabilities, of the requests whose scores were to be kept."""
    system_scores: Float[np.ndarray, "kept 7"]
    features: Float[np.ndarray, "kept width"]
    """What a network that was trained on several views makes its answer of; none of others."""


def load_network(workdir: Path) -> Network:
    """Return a run's newest network. Raises WorkdirError, StoreError, ConfigError."""
    config, graph, state = restore_run(workdir)
    crystals = open_selected(config.data)
    check_store(config, crystals, workdir)
    store = to_device(crystals)
    if not config.pattern.occupancy:
        store = replace(store, occupancy=(store.occupancy > 0).astype(store.occupancy.dtype))
    if not config.pattern.debye_waller:
        store = replace(store, u_iso=jnp.zeros_like(store.u_iso))
    return Network(
        config=config,
        step=int(state.step),
        graph=graph,
        params=state.params,
        statistics=state.statistics,
        crystals=crystals,
        store=store,
    )


def answer(
    network: Network,
    requests: Requests,
    keeps_scores: Bool[np.ndarray, "n"],
    seed: int,
    devices: Sequence[jax.Device] | None = None,
) -> Answers:
    """Ask a network; show progress. The answers are the same on any number of devices, by default this process's."""
    pattern = replace(network.config.pattern, occupancy=True, debye_waller=True)  # off where the store has it off
    devices = devices or jax.local_devices()
    mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
    walk = plan_walk(requests, network.store, pattern, BATCH)
    predict = _predictor(network, walk.buckets, pattern, seed, mesh)
    kept_row = np.cumsum(keeps_scores) - 1
    columns: list[np.ndarray] = []
    for place, said in _answered(walk, requests, predict, mesh.size):
        columns = columns or [
            _column(leaf, len(requests if n < 2 else kept_row[keeps_scores])) for n, leaf in enumerate(said)
        ]
        kept = keeps_scores[place]
        for n, (column, leaf) in enumerate(zip(columns, said, strict=True)):
            rows, values = (place, leaf) if n < 2 else (kept_row[place[kept]], leaf[kept])
            column[rows] = values
    return _answers(columns)


def _column(leaf: Shaped[np.ndarray, "batch ..."], length: int) -> Shaped[np.ndarray, "n ..."]:
    return np.zeros((length, *leaf.shape[1:]), leaf.dtype)


def _answers(columns: Sequence[Shaped[np.ndarray, "_ ..."]]) -> Answers:
    groups, systems, group_scores, system_scores, features = columns
    return Answers(
        group_ranks=(groups + 1).astype(np.uint8),
        system_ranks=systems.astype(np.uint8),
        group_scores=group_scores,
        system_scores=system_scores,
        features=features,
    )


def split_answers(answers: Answers, keeps: Sequence[Bool[np.ndarray, "_"]]) -> list[Answers]:
    """Cut answers to lists of requests that were joined, given which scores of each were kept."""
    stops = np.cumsum([len(own) for own in keeps])[:-1]
    kept = np.cumsum([own.sum() for own in keeps])[:-1]
    columns = [np.split(values, stops if name.endswith("ranks") else kept) for name, values in vars(answers).items()]
    return [Answers(**dict(zip(vars(answers), own, strict=True))) for own in zip(*columns, strict=True)]


def answer_pictures(
    network: Network, pictures: Float[np.ndarray, "n height width"], uvw: Int[np.ndarray, "n 3"]
) -> Answers:
    """Ask a network about finished pictures."""
    ask = jax.jit(partial(_ask, network.graph, network.config.views))
    said = []
    for start in range(0, len(pictures), BATCH):
        some, axes = (_padded(values[start : start + BATCH]) for values in (pictures, uvw))
        stop = min(BATCH, len(pictures) - start)
        answers = jax.device_get(ask(network.params, network.statistics, some[..., None], axes))
        said.append([leaf[:stop] for leaf in answers])
    return _answers([np.concatenate(leaves) for leaves in zip(*said, strict=True)])


def fuse_features(network: Network, features: Float[np.ndarray, "crystals views width"]) -> Answers:
    """Return what the network makes of the first view of each crystal, the first two, and so on, view by view."""

    @jax.jit
    def classify(params: PyTree, statistics: PyTree, features: Array, num_seen: Array) -> tuple[Array, ...]:
        model = nnx.merge(network.graph, params, statistics, copy=True)
        return _ranked(model.classify(features, jnp.full(len(features), num_seen)), features[:, 0, :0])

    every = [
        jax.device_get(classify(network.params, network.statistics, features, jnp.int32(seen + 1)))
        for seen in range(features.shape[1])
    ]
    by_crystal = (np.stack(leaves, axis=1) for leaves in zip(*every, strict=True))
    return _answers([leaf.reshape(leaf.shape[0] * leaf.shape[1], leaf.shape[2]) for leaf in by_crystal])


def _padded(values: Shaped[np.ndarray, "n ..."]) -> Shaped[np.ndarray, "batch ..."]:
    return np.concatenate([values, np.repeat(values[-1:], BATCH - len(values), axis=0)])


def _predictor(
    network: Network, buckets: tuple[Bucket, ...], pattern: PatternConfig, seed: int, mesh: jax.sharding.Mesh
) -> Callable[[Requests], tuple[Array, ...]]:
    def predict(
        params: PyTree, statistics: PyTree, store: DeviceStore, requests: Requests, basis: Int[Array, "n 3 3"]
    ) -> tuple[Array, ...]:
        image = draw_in_order(recipes_of(requests, basis, seed), store, buckets, pattern)
        return _ask(
            network.graph, network.config.views, params, statistics, image[..., None], jnp.asarray(requests.uvw)
        )

    everywhere, shared = PartitionSpec(), PartitionSpec("data")
    specs = (everywhere, everywhere, everywhere, shared, shared)
    compiled = jax.jit(jax.shard_map(predict, mesh=mesh, in_specs=specs, out_specs=shared, check_vma=False))
    resident = jax.device_put((network.params, network.statistics, network.store), NamedSharding(mesh, everywhere))
    return lambda requests: compiled(*resident, requests, bases_of(requests.uvw))


def _ask(
    graph: nnx.GraphDef,
    views: int,
    params: PyTree,
    statistics: PyTree,
    image: Float[Array, "n height width 1"],
    uvw: Int[Array, "n 3"],
) -> tuple[Array, ...]:
    """Return ranks of groups, counted from 0, and systems, the log-probabilities of both, and features. Traced."""
    model = nnx.merge(graph, params, statistics, copy=True)
    features = model.features(image, uvw)
    logits = model.classify(features[:, None], jnp.ones(len(features), jnp.int32))
    return _ranked(logits, features if views > 1 else features[:, :0])


def _ranked(logits: Logits, features: Float[Array, "n width"]) -> tuple[Array, ...]:
    groups, systems = (jax.nn.log_softmax(scores) for scores in (logits.space_group, logits.crystal_system))
    return (
        jax.lax.top_k(groups, BEST)[1],
        jax.lax.top_k(systems, BEST)[1],
        groups,
        systems,
        features.astype(jnp.float32),
    )


def _answered(
    walk: Walk, requests: Requests, predict: Callable[[Requests], tuple[Array, ...]], num_devices: int
) -> Iterator[tuple[Int[np.ndarray, "m"], list[np.ndarray]]]:
    """Yield numbers of requests and the answers to them; the next batch is under way meanwhile."""
    fill = -len(walk.place) % num_devices
    place, is_new = (np.pad(part, ((0, fill), (0, 0)), mode="edge") for part in (walk.place, walk.is_new))
    is_new[len(walk.place) :] = False
    shape = (-1, num_devices * BATCH)
    with tqdm(total=len(requests), desc="Evaluating", unit=" patterns", unit_scale=True, mininterval=1.0) as bar:
        pending = None
        for batch in [*zip(place.reshape(shape), is_new.reshape(shape), strict=True), None]:
            started = None if batch is None else (*batch, predict(requests.select(batch[0])))
            if pending is not None:
                where, fresh, said = pending
                yield where[fresh], [leaf[fresh] for leaf in jax.device_get(said)]
                bar.update(int(fresh.sum()))
            pending = started
