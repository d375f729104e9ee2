"""The networks: the paper's sizes, and that inputs which should not matter do not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from xrdjax.config import ModelConfig, PatternConfig
from xrdjax.learning.models import average_pool, build_model, max_pool

TINY = ModelConfig(channels=(4, 8), convolutions=(1,), hidden=(16,), features=4)
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
    model = build_model(replace(TINY, normalize="batch"), PICTURE, jax.random.key(0))
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


@pytest.mark.long
def test_deep_variant_is_vgg19():
    config = ModelConfig(channels=(64, 128, 256, 512, 512), convolutions=(2, 2, 4, 4, 4))
    abstract = nnx.eval_shape(lambda: build_model(config, PatternConfig(height=224, width=224), jax.random.key(0)))
    shapes = [leaf.shape for leaf in jax.tree.leaves(nnx.state(abstract, nnx.Param))]
    assert sum(len(shape) == 4 for shape in shapes) == 16
    assert (7 * 7 * 512, 4096) in shapes


RESIDUAL = replace(TINY, architecture="residual", features=1, normalize="group")


@pytest.mark.parametrize(
    "normalize", ["batch", *(pytest.param(way, marks=pytest.mark.long) for way in ("none", "group"))]
)
def test_a_new_residual_unit_passes_on_what_it_gets(image, normalize):
    """At first its last convolution is zero, so its depth does not matter."""
    shallow, deep = (
        build_model(replace(RESIDUAL, normalize=normalize, convolutions=(depth,)), PICTURE, jax.random.key(0))
        for depth in (1, 3)
    )
    for unit in deep.blocks[0].units:
        x = jax.random.normal(jax.random.key(2), (2, 4, 4, 4))
        np.testing.assert_array_equal(unit(x, training=True), x)
    assert len(shallow.blocks[0].units) == 1


def test_residual_network_knows_where_a_spot_is():
    """A spot near the centre and the same spot further out differ, though their maps have the same mean."""
    near, far = (jnp.zeros((1, 16, 20, 1)).at[0, 8, x : x + 2, 0].set(1) for x in (8, 12))
    model = build_model(RESIDUAL, PICTURE, jax.random.key(0))
    first, second = (model(picture, jnp.zeros((1, 3), int)).space_group for picture in (near, far))
    assert not np.allclose(first, second, rtol=1e-3)


@pytest.mark.parametrize("fuse", ["mean", "attention"])
def test_order_and_number_of_views_do_not_matter(fuse):
    """Views that are not seen change nothing, nor does the order of those that are."""
    config = replace(TINY, fuse=fuse)
    model = build_model(config, PICTURE, jax.random.key(0))
    pictures = jax.random.uniform(jax.random.key(1), (6, 16, 20, 1))
    uvw = jnp.zeros((6, 3), int)
    said = model(pictures, uvw, views=3, num_seen=jnp.array([3, 2])).space_group
    shuffled = model(pictures[jnp.array([2, 0, 1, 4, 3, 5])], uvw, views=3, num_seen=jnp.array([3, 2])).space_group
    np.testing.assert_allclose(shuffled, said, atol=1e-6)
    of_two = model(pictures[3:5], uvw[:2], views=2).space_group
    np.testing.assert_allclose(of_two[0], said[1], atol=1e-6)
    alone = model(pictures[3:4], uvw[:1]).space_group
    of_one = model(pictures, uvw, views=3, num_seen=jnp.array([3, 1])).space_group
    np.testing.assert_allclose(alone[0], of_one[1], atol=1e-6)


def test_axis_is_said_of_every_picture(image):
    logits = build_model(replace(TINY, says_axis=True), PICTURE, jax.random.key(0))(
        image, jnp.zeros((2, 3), int), views=2
    )
    assert logits.axis.shape == (2, 3, 11)
    assert logits.space_group.shape == (1, 230)
