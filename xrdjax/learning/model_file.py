"""A trained network as one file: weights in safetensors form, with its configuration and a card of what it is.

Parameters and running means have the names of their places in the network, such as
`params.blocks.0.convolutions.0.kernel`. Arrays of two and more axes can be kept in half the size as bfloat16, or in a
quarter as int8 with one float32 scale for each channel of the last axis, NAME.scale; all others stay float32. The
header holds configuration and card as JSON; the card lies beside the file, too, for people to read. Nothing in it is
code.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int8, PyTree
from safetensors import SafetensorError, safe_open
from safetensors.flax import save

from xrdjax.config import TrainConfig
from xrdjax.config_sources import from_json, to_json
from xrdjax.errors import ModelError, XrdjaxError
from xrdjax.learning.models import build_model
from xrdjax.learning.optimizer import named_leaves
from xrdjax.learning.run import restore_run

HEADER = "xrdjax-model"
VERSION = 1
Precision = Literal["float32", "bfloat16", "int8"]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a network is, where it comes from and what it is good for."""

    title: str = ""
    licence: str = "unknown"
    data: str = ""
    """What it was trained on."""
    sources: tuple[str, ...] = ()
    """Whose crystals those were, with licences and what to cite."""
    recipe: str = ""
    """How it was trained."""
    accuracy: dict[str, dict[str, float]] | None = None
    """By protocol and head, in per cent of held-out crystals' patterns; None if it was never evaluated."""
    limits: str = ""
    temperatures: dict[str, float] | None = None
    """What the logits of each head are divided by to make probabilities honest; None if that was never fitted."""
    precision: Precision = "float32"
    steps: int = 0
    """Of training."""
    versions: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A network that can be put together by `nnx.merge(graph, params, statistics)`."""

    config: TrainConfig
    card: ModelCard
    graph: nnx.GraphDef
    params: PyTree
    statistics: PyTree


def save_weights(weights: Weights, path: Path, precision: Precision = "float32") -> None:
    """Write PATH, whole or not at all, and the card beside it as JSON, with the file's checksum."""
    card = asdict(weights.card) | {"precision": precision}
    config = json.loads(to_json(weights.config))
    arrays: dict[str, Array] = {}
    for name, value in named_leaves({"params": weights.params, "statistics": weights.statistics}).items():
        arrays |= _stored(name, value, precision)
    header = {"version": VERSION, "card": card, "config": config}
    data = save(arrays, {HEADER: json.dumps(header)})
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)
    beside = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), **card, "config": config}
    path.with_suffix(".json").write_text(json.dumps(beside, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_weights(path: Path) -> Weights:
    """Return the network of a file made by `save_weights`, in float32. Raises ModelError naming what is wrong."""
    try:
        with safe_open(str(path), framework="flax") as file:
            metadata = file.metadata() or {}
            if HEADER not in metadata:
                raise ModelError(
                    f"{path}: a safetensors file, but no network of xrdjax; make one by xrdjax export-model"
                )
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: cannot be read as a network ({error}); give a run's directory or a *.safetensors"
        ) from None
    config, card = _header(metadata[HEADER], path)
    graph, params, statistics = _abstract(config)
    return Weights(config=config, card=card, graph=graph, **_filled(params, statistics, arrays, path))


def run_weights(workdir: Path) -> Weights:
    """Return the newest network of a run, with a card of what its directory tells. Raises WorkdirError, ConfigError."""
    config, graph, state = restore_run(workdir)
    card = ModelCard(
        title=workdir.name, steps=int(state.step), temperatures=_json(workdir / "evaluation" / "calibration.json")
    )
    return Weights(config=config, card=card, graph=graph, params=state.params, statistics=state.statistics)


def quantize(value: Float[Array, "*shape"]) -> tuple[Int8[Array, "*shape"], Float[Array, "channels"]]:
    """Return whole numbers up to ±127 and the scales of the last axis' channels, so that both multiply to the value."""
    scale = jnp.abs(value).max(tuple(range(value.ndim - 1))) / 127
    return jnp.round(value / jnp.where(scale > 0, scale, 1)).astype(jnp.int8), scale


def _stored(name: str, value: Array, precision: Precision) -> dict[str, Array]:
    if value.ndim < 2 or precision == "float32":
        return {name: value}
    if precision == "bfloat16":
        return {name: value.astype(jnp.bfloat16)}
    whole, scale = quantize(value)
    return {name: whole, f"{name}.scale": scale}


def _filled(params: PyTree, statistics: PyTree, arrays: dict[str, Array], path: Path) -> dict[str, PyTree]:
    """Return both trees with the file's arrays in place of shapes. Raises ModelError unless all are there and fit."""

    def take(name: str, like: Array) -> Array:
        if name not in arrays or arrays[name].shape != like.shape:
            found = arrays[name].shape if name in arrays else "nothing"
            raise ModelError(f"{path}: {name}: the configuration wants {like.shape}, the file holds {found}")
        value = arrays[name].astype(jnp.float32)
        return value * arrays[f"{name}.scale"] if f"{name}.scale" in arrays else value

    tree = {"params": params, "statistics": statistics}
    leaves = [take(name, like) for name, like in named_leaves(tree).items()]
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


def _abstract(config: TrainConfig) -> tuple[nnx.GraphDef, PyTree, PyTree]:
    """Return structure and shapes of the configured network; nothing is calculated."""

    def split() -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
        network = build_model(config.model, config.pattern, jax.random.key(0))
        graph, params, statistics = nnx.split(network, nnx.Param, ...)
        return graph, params, statistics

    graph, params, statistics = nnx.eval_shape(split)
    return graph, nnx.to_pure_dict(params), nnx.to_pure_dict(statistics)


def _header(text: str, path: Path) -> tuple[TrainConfig, ModelCard]:
    try:
        header = json.loads(text)
        if header["version"] > VERSION:
            raise ModelError(f"{path}: written by a newer xrdjax (version {header['version']} of the format); upgrade")
        card = ModelCard(**header["card"] | {"sources": tuple(header["card"]["sources"])})
        return from_json(json.dumps(header["config"]), str(path)), card
    except XrdjaxError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: its header is damaged ({error}); get the file anew") from None


def _json(path: Path) -> dict[str, float] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
