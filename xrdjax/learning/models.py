"""The network: convolutions, then two heads, 230 space groups and 7 crystal systems.

With the default `ModelConfig` it is the seed paper's VGG: four blocks of 64 to 512 channels, two fully connected layers
of 4096. The other architecture is a residual network, activations before convolutions (He et al. 2016,
arXiv:1603.05027). Width, depth and picture size are configuration. Several pictures of one crystal are seen
one by one; what the fully connected layers make of each is fused, whatever their order and number, before the heads.
Dropout takes its key with the call, so that a step is a pure function of its arguments. A convolution that
normalisation follows has no bias: its gradient would be rounding noise, which Adam amplifies.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from math import gcd

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from xrdjax.config import LARGEST_AXIS_INDEX, ModelConfig, PatternConfig

NUM_GROUPS, NUM_SYSTEMS = 230, 7
NUM_INDICES = 2 * LARGEST_AXIS_INDEX + 1
MOST_GROUPS = 32  # of channels, in group normalisation


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Logits:
    """Unnormalised log-probabilities of the heads, in float32."""

    space_group: Float[Array, "crystals 230"]
    crystal_system: Float[Array, "crystals 7"]
    axis: Float[Array, "pictures 3 11"] | None = None
    """Of u, v and w from −5 to 5, if the network says them."""


class Norm(nnx.Module):
    """Batch or group normalisation, or none."""

    def __init__(self, channels: int, config: ModelConfig, rngs: nnx.Rngs) -> None:
        dtype, layers = jnp.dtype(config.compute_dtype), []
        if config.normalize == "batch":
            layers = [nnx.BatchNorm(channels, momentum=0.9, dtype=dtype, rngs=rngs)]
        elif config.normalize == "group":
            layers = [nnx.GroupNorm(channels, num_groups=gcd(channels, MOST_GROUPS), dtype=dtype, rngs=rngs)]
        self.layers = nnx.List(layers)

    def __call__(self, x: Float[Array, "batch h w c"], *, training: bool) -> Float[Array, "batch h w c"]:
        """Return the map, normalised; by the statistics of the batch if training, by running means otherwise."""
        for layer in self.layers:
            x = layer(x, use_running_average=not training) if isinstance(layer, nnx.BatchNorm) else layer(x)
        return x


class VGGBlock(nnx.Module):
    """Convolutions with ReLU and a max-pool, which comes before the last ReLU: the same at less cost."""

    def __init__(self, before: int, channels: int, depth: int, config: ModelConfig, rngs: nnx.Rngs) -> None:
        widths = [before, *[channels] * depth]
        self.convolutions = nnx.List(_convolution(*pair, config, rngs) for pair in pairwise(widths))
        self.norms = nnx.List(Norm(channels, config, rngs) for _ in range(depth))

    def __call__(self, x: Float[Array, "batch h w c"], *, training: bool) -> Float[Array, "batch h2 w2 c2"]:
        """Return the block's map, of half the size."""
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = convolution(x)
            if number == len(self.norms) - 1:
                x = max_pool(x)
            x = nnx.relu(norm(x, training=training))
        return x


class ResidualUnit(nnx.Module):
    """Two convolutions that are added to what they were made of; at first they add nothing."""

    def __init__(self, channels: int, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.norms = nnx.List(Norm(channels, config, rngs) for _ in range(2))
        self.convolutions = nnx.List(
            [
                _convolution(channels, channels, config, rngs),
                _convolution(channels, channels, config, rngs, starts_at_zero=True),
            ]
        )

    def __call__(self, x: Float[Array, "batch h w c"], *, training: bool) -> Float[Array, "batch h w c"]:
        """Return a map of the same size."""
        y = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            y = convolution(nnx.relu(norm(y, training=training)))
        return x + y


class ResidualBlock(nnx.Module):
    """A convolution with stride 2, then residual units."""

    def __init__(self, before: int, channels: int, depth: int, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.entry = _convolution(before, channels, config, rngs, strides=2)
        self.units = nnx.List(ResidualUnit(channels, config, rngs) for _ in range(depth))
        self.norm = Norm(channels, config, rngs)

    def __call__(self, x: Float[Array, "batch h w c"], *, training: bool) -> Float[Array, "batch h2 w2 c2"]:
        """Return the block's map, of half the size."""
        x = self.entry(x)
        for unit in self.units:
            x = unit(x, training=training)
        return nnx.relu(self.norm(x, training=training))


class Fusion(nnx.Module):
    """The mean over the views of a crystal, weighted alike or by learned attention (Ilse et al., arXiv:1802.04712)."""

    def __init__(self, width: int, config: ModelConfig, rngs: nnx.Rngs) -> None:
        self.attention = nnx.List(
            [nnx.Linear(width, 64, rngs=rngs), nnx.Linear(64, 1, rngs=rngs)] if config.fuse == "attention" else []
        )

    def __call__(
        self, x: Float[Array, "crystals views c"], is_seen: Bool[Array, "crystals views"]
    ) -> Float[Array, "crystals c"]:
        """Return one vector a crystal, made of those of its views that are seen."""
        scores = jnp.zeros(x.shape[:2])
        if self.attention:
            inner, outer = self.attention
            scores = outer(jnp.tanh(inner(x)))[..., 0].astype(jnp.float32)
        weight = jax.nn.softmax(scores, where=is_seen)
        return jnp.einsum("cv,cvf->cf", weight.astype(x.dtype), x)


class TwoHeadNetwork(nnx.Module):
    """Pictures (and zone axes, if configured) in, logits of space group and crystal system out."""

    def __init__(self, config: ModelConfig, pattern: PatternConfig, *, rngs: nnx.Rngs) -> None:
        dtype = jnp.dtype(config.compute_dtype)
        self.is_residual = config.architecture == "residual"
        channels = (2 if self.is_residual else 1, *config.channels)
        depths = config.convolutions * (1 if len(config.convolutions) > 1 else len(config.channels))
        block = ResidualBlock if self.is_residual else VGGBlock
        self.blocks = nnx.List(
            block(*widths, depth, config, rngs) for widths, depth in zip(pairwise(channels), depths, strict=True)
        )
        shrink = 2 ** len(config.channels)
        self.side = min(config.features, pattern.height // shrink), min(config.features, pattern.width // shrink)
        widths = (self.side[0] * self.side[1] * channels[-1], *config.hidden)
        self.hidden = nnx.List(
            nnx.Linear(before, after, kernel_init=nnx.initializers.he_normal(), dtype=dtype, rngs=rngs)
            for before, after in pairwise(widths)
        )
        self.dropout = nnx.Dropout(config.dropout)
        self.axis_embeddings = nnx.List(
            nnx.Embed(NUM_INDICES, widths[-1], rngs=rngs) for _ in range(3 if config.sees_axis else 0)
        )
        self.axis_heads = nnx.List(
            nnx.Linear(widths[-1], NUM_INDICES, dtype=dtype, rngs=rngs) for _ in range(3 if config.says_axis else 0)
        )
        self.fusion = Fusion(widths[-1], config, rngs)
        self.space_group = nnx.Linear(widths[-1], NUM_GROUPS, dtype=dtype, rngs=rngs)
        self.crystal_system = nnx.Linear(widths[-1], NUM_SYSTEMS, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        image: Float[Array, "pictures h w 1"],
        uvw: Int[Array, "pictures 3"],
        dropout: Key[Array, ""] | None = None,
        views: int = 1,
        num_seen: Int[Array, "crystals"] | None = None,
    ) -> Logits:
        """Return logits. A dropout key means training: activations are dropped and batch statistics used.

        Each crystal has `views` pictures in a row, of which the first `num_seen` count, all by default.
        """
        x = self.features(image, uvw, dropout)
        num_seen = jnp.full(len(x) // views, views) if num_seen is None else num_seen
        logits = self.classify(x.reshape(-1, views, x.shape[-1]), num_seen)
        if not self.axis_heads:
            return logits
        return replace(logits, axis=jnp.stack([head(x) for head in self.axis_heads], axis=1).astype(jnp.float32))

    def classify(self, features: Float[Array, "crystals views c"], num_seen: Int[Array, "crystals"]) -> Logits:
        """Return logits of crystals from the features of the first so many of their views."""
        views = features.shape[1]
        x = features[:, 0] if views == 1 else self.fusion(features, jnp.arange(views) < num_seen[:, None])
        return Logits(
            space_group=self.space_group(x).astype(jnp.float32),
            crystal_system=self.crystal_system(x).astype(jnp.float32),
        )

    def features(
        self,
        image: Float[Array, "pictures h w 1"],
        uvw: Int[Array, "pictures 3"],
        dropout: Key[Array, ""] | None = None,
    ) -> Float[Array, "pictures c"]:
        """Return what the fully connected layers make of each picture."""
        x = _with_radius(image) if self.is_residual else image
        for block in self.blocks:
            x = block(x, training=dropout is not None)
        x = average_pool(x, self.side).reshape(x.shape[0], -1)
        for number, layer in enumerate(self.hidden):
            x = nnx.relu(layer(x))
            if dropout is not None:
                x = self.dropout(x, deterministic=False, rngs=jax.random.fold_in(dropout, number))
        if self.axis_embeddings:
            gate = sum(embed(uvw[:, k] + LARGEST_AXIS_INDEX) for k, embed in enumerate(self.axis_embeddings))
            x = x * nnx.sigmoid(gate)
        return x


def build_model(config: ModelConfig, pattern: PatternConfig, key: Key[Array, ""]) -> TwoHeadNetwork:
    """Return a freshly initialised network for pictures of this size."""
    return TwoHeadNetwork(config, pattern, rngs=nnx.Rngs(key))


def _convolution(
    before: int,
    channels: int,
    config: ModelConfig,
    rngs: nnx.Rngs,
    *,
    strides: int = 1,
    starts_at_zero: bool = False,
) -> nnx.Conv:
    initializers = nnx.initializers
    return nnx.Conv(
        before,
        channels,
        (3, 3),
        strides=strides,
        use_bias=config.normalize == "none",
        kernel_init=initializers.zeros_init() if starts_at_zero else initializers.he_normal(),
        dtype=jnp.dtype(config.compute_dtype),
        rngs=rngs,
    )


def _with_radius(image: Float[Array, "pictures h w 1"]) -> Float[Array, "pictures h w 2"]:
    """Return pictures with a second channel, each pixel's |G| over the extent: means over a map forget where it was."""
    height, width = image.shape[1:3]
    y, x = ((np.arange(size) - (size - 1) / 2) / (min(height, width) / 2) for size in (height, width))
    radius = jnp.asarray(np.hypot(y[:, None], x)[..., None], image.dtype)
    return jnp.concatenate([image, jnp.broadcast_to(radius, image.shape)], axis=-1)


def max_pool(x: Float[Array, "batch h w c"]) -> Float[Array, "batch h2 w2 c"]:
    """Return the maxima of 2 × 2 cells, an odd last row or column left out.

    By reshaping: the gradient of a windowed maximum is a select-and-scatter, which deterministic GPU modes reject.
    """
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def average_pool(x: Float[Array, "batch h w c"], side: tuple[int, int]) -> Float[Array, "batch a b c"]:
    """Return the means over `side` cells that cover the map, of as equal size as its own size allows."""
    if x.shape[1:3] == side:
        return x
    rows, columns = (jnp.asarray(_cell_weights(n, s), x.dtype) for n, s in zip(x.shape[1:3], side, strict=True))
    return jnp.einsum("bhwc,ih,jw->bijc", x, rows, columns)


def _cell_weights(size: int, cells: int) -> Float[np.ndarray, "cells size"]:
    start = np.arange(cells) * size // cells
    stop = -(-(np.arange(cells) + 1) * size // cells)
    pixel = np.arange(size)
    inside = (pixel >= start[:, None]) & (pixel < stop[:, None])
    return inside / inside.sum(1, keepdims=True)
