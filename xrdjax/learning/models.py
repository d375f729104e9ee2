"""The network: a VGG of 3 × 3 convolutions with two heads, 230 space groups and 7 crystal systems.

With the default `ModelConfig` it is the seed paper's: four blocks of 64 to 512 channels, two fully connected layers
of 4096. Width, depth and picture size are configuration. Dropout takes its key with the call, so that a step is a
pure function of its arguments. A convolution that batch normalisation follows has no bias: its gradient would be
rounding noise, which Adam amplifies.
"""

from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from xrdjax.config import LARGEST_AXIS_INDEX, ModelConfig, PatternConfig

NUM_GROUPS, NUM_SYSTEMS = 230, 7


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Logits:
    """Unnormalised log-probabilities of both heads, in float32."""

    space_group: Float[Array, "batch 230"]
    crystal_system: Float[Array, "batch 7"]


class Block(nnx.Module):
    """Convolutions with ReLU and a max-pool, which comes before the last ReLU: the same at less cost."""

    def __init__(self, channels_in: int, channels: int, config: ModelConfig, rngs: nnx.Rngs) -> None:
        dtype = jnp.dtype(config.compute_dtype)
        widths = [channels_in, *[channels] * config.convolutions]
        self.convolutions = nnx.List(
            nnx.Conv(
                width_in,
                channels,
                (3, 3),
                use_bias=not config.normalize,
                kernel_init=nnx.initializers.he_normal(),
                dtype=dtype,
                rngs=rngs,
            )
            for width_in in widths[:-1]
        )
        self.norms = nnx.List(
            nnx.BatchNorm(channels, momentum=0.9, dtype=dtype, rngs=rngs) if config.normalize else None
            for _ in range(config.convolutions)
        )

    def __call__(self, x: Float[Array, "batch h w c"], *, training: bool) -> Float[Array, "batch h2 w2 c2"]:
        """Return the block's map, of half the size."""
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = convolution(x)
            if number == len(self.norms) - 1:
                x = max_pool(x)
            if norm is not None:
                x = norm(x, use_running_average=not training)
            x = nnx.relu(x)
        return x


class TwoHeadVGG(nnx.Module):
    """Picture (and zone axis, if configured) in, logits of space group and crystal system out."""

    def __init__(self, config: ModelConfig, pattern: PatternConfig, *, rngs: nnx.Rngs) -> None:
        dtype = jnp.dtype(config.compute_dtype)
        channels = (1, *config.channels)
        self.blocks = nnx.List(Block(before, after, config, rngs) for before, after in pairwise(channels))
        shrink = 2 ** len(config.channels)
        self.side = min(config.features, pattern.height // shrink), min(config.features, pattern.width // shrink)
        widths = (self.side[0] * self.side[1] * channels[-1], *config.hidden)
        self.hidden = nnx.List(
            nnx.Linear(before, after, kernel_init=nnx.initializers.he_normal(), dtype=dtype, rngs=rngs)
            for before, after in pairwise(widths)
        )
        self.dropout = nnx.Dropout(config.dropout)
        num_indices = 2 * LARGEST_AXIS_INDEX + 1
        self.axis_embeddings = nnx.List(
            nnx.Embed(num_indices, widths[-1], rngs=rngs) for _ in range(3 if config.sees_axis else 0)
        )
        self.space_group = nnx.Linear(widths[-1], NUM_GROUPS, dtype=dtype, rngs=rngs)
        self.crystal_system = nnx.Linear(widths[-1], NUM_SYSTEMS, dtype=dtype, rngs=rngs)

    def __call__(
        self, image: Float[Array, "batch h w 1"], uvw: Int[Array, "batch 3"], dropout: Key[Array, ""] | None = None
    ) -> Logits:
        """Return logits. A dropout key means training: activations are dropped and batch statistics used."""
        x = image
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
        return Logits(
            space_group=self.space_group(x).astype(jnp.float32),
            crystal_system=self.crystal_system(x).astype(jnp.float32),
        )


def build_model(config: ModelConfig, pattern: PatternConfig, key: Key[Array, ""]) -> TwoHeadVGG:
    """Return a freshly initialised network for pictures of this size."""
    return TwoHeadVGG(config, pattern, rngs=nnx.Rngs(key))


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
