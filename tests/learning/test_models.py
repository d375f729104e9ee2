"""The networks: the paper's sizes, and that inputs which should not matter do not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from xrdjax.config import ModelConfig, PatternConfig
from xrdjax.learning.models import average_pool, build_model, max_pool

TINY = ModelConfig(channels=(4, 8), convolutions=1, hidden=(16,), features=4)
PICTURE = PatternConfig(height=16, width=20)


def logits_of(config, image, uvw, dropout=None):
    model = build_model(config, PICTURE, jax.random.key(0))
    return model(image, jnp.asarray(uvw, jnp.int32), dropout)


@pytest.fixture(scope="module")
def image():
    return jax.random.uniform(jax.random.key(1), (2, 16, 20, 1))


def test_default_is_the_papers_network():
    abstract = nnx.eval_shape(
        lambda: build_model(ModelConfig(), PatternConfig(height=224, width=224), jax.random.key(0))
    )
    shapes = [leaf.shape for leaf in jax.tree.leaves(nnx.state(abstract, nnx.Param))]
    kernels = sorted(shape for shape in shapes if len(shape) == 4)
    assert [shape[3] for shape in sorted(kernels, key=lambda shape: shape[3])] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert all(shape[:2] == (3, 3) for shape in kernels)
    assert {(7 * 7 * 512, 4096), (4096, 4096), (4096, 230), (4096, 7)} <= set(shapes)


def test_both_heads_for_any_picture_size(image):
    logits = logits_of(TINY, image, [[1, 0, 0], [0, 1, 0]])
    assert logits.space_group.shape == (2, 230)
    assert logits.crystal_system.shape == (2, 7)
    assert logits.space_group.dtype == jnp.float32


def test_zone_axis_is_seen_only_if_configured(image):
    axes = [[1, 0, 0], [0, 1, 0]], [[1, -2, 3], [5, -5, 0]]
    blind = [logits_of(TINY, image, uvw).space_group for uvw in axes]
    np.testing.assert_array_equal(*blind)
    seeing = [logits_of(replace(TINY, sees_axis=True), image, uvw).space_group for uvw in axes]
    assert not np.allclose(*seeing)


def test_dropout_follows_its_key(image):
    uvw = [[1, 0, 0]] * 2
    config = replace(TINY, dropout=0.5)
    first, again, other = (logits_of(config, image, uvw, jax.random.key(k)).space_group for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_batch_normalisation_learns_running_means(image):
    model = build_model(replace(TINY, normalize=True), PICTURE, jax.random.key(0))
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.BatchStat))]
    model(image, jnp.ones((2, 3), jnp.int32), jax.random.key(0))
    after = jax.tree.leaves(nnx.state(model, nnx.BatchStat))
    assert all(not np.allclose(a, b) for a, b in zip(before, after, strict=True))


def test_max_pool_is_the_windowed_maximum():
    x = jax.random.normal(jax.random.key(2), (2, 7, 6, 3))
    expected = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    np.testing.assert_array_equal(max_pool(x), expected)


def test_average_pool_covers_the_map_evenly():
    x = jax.random.normal(jax.random.key(3), (2, 7, 12, 3))
    pooled = average_pool(x, (3, 4))
    np.testing.assert_allclose(pooled[:, 1, 2], x[:, 2:5, 6:9].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(average_pool(jnp.ones((1, 14, 14, 1)), (7, 7)), 1, rtol=1e-6)


def test_bfloat16_network_agrees_with_float32(image):
    exact = logits_of(TINY, image, [[1, 0, 0]] * 2).crystal_system
    rough = logits_of(replace(TINY, compute_dtype="bfloat16"), image, [[1, 0, 0]] * 2).crystal_system
    # Eight mantissa bits through four layers: 2⁻⁸ each.
    np.testing.assert_allclose(rough, exact, atol=0.05 * np.abs(exact).max())
    assert not np.array_equal(rough, exact)
