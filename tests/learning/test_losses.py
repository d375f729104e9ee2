"""What the loss is made of, against sums in float64 NumPy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from xrdjax.config import OptimConfig
from xrdjax.crystals.friedel import friedel_classes
from xrdjax.crystals.symmetry import crystal_system_index
from xrdjax.learning.losses import two_head_loss
from xrdjax.learning.models import Logits
from xrdjax.patterns.generate import Batch
from xrdjax.patterns.recipe import Recipe

SPACE_GROUP = np.array([16, 227, 16, 2])
UVW = np.array([[1, 0, 0], [1, -5, 3], [0, 1, 1], [2, 1, 0]])


@pytest.fixture(scope="module")
def batch():
    n = len(SPACE_GROUP)
    recipe = Recipe(
        crystal=jnp.arange(n), uvw=jnp.array(UVW), basis=jnp.zeros((n, 3, 3), int), angle=jnp.zeros(n),
        strain=jnp.zeros(n), key=jax.random.split(jax.random.key(0), n),
    )  # fmt: skip
    return Batch(
        image=jnp.zeros((n, 4, 4, 1)), space_group=jnp.array(SPACE_GROUP),
        crystal_system=jnp.array(crystal_system_index(SPACE_GROUP)), recipe=recipe,
    )  # fmt: skip


@pytest.fixture(scope="module")
def logits():
    groups, systems, axis = (
        jax.random.normal(key, shape)
        for key, shape in zip(jax.random.split(jax.random.key(1), 3), [(4, 230), (4, 7), (4, 3, 11)], strict=True)
    )
    return Logits(space_group=groups, crystal_system=systems, axis=axis)


def cross_entropies(logits):
    """Return those of both heads and of the axis, pattern by pattern."""
    group, system, axis = (
        log_softmax(np.asarray(leaf, float), axis=-1)
        for leaf in (logits.space_group, logits.crystal_system, logits.axis)
    )
    row = np.arange(4)
    of_axis = -sum(axis[row, k, UVW[:, k] + 5] for k in range(3))
    return -group[row, SPACE_GROUP - 1], -system[row, crystal_system_index(SPACE_GROUP)], of_axis


def test_heads_have_their_weights(batch, logits):
    group, system, axis = cross_entropies(logits)
    optim = OptimConfig(space_group_weight=0.5, crystal_system_weight=2.0, axis_weight=0.25)
    loss, sums = two_head_loss(logits, batch, optim)
    np.testing.assert_allclose(loss, (0.5 * group + 2 * system + 0.25 * axis).mean(), rtol=1e-5)
    np.testing.assert_allclose(sums.means()["loss"], (group + system).mean(), rtol=1e-5)


def test_a_part_of_the_target_goes_to_groups_that_cannot_be_told_apart(batch, logits):
    optim = OptimConfig(friedel_smoothing=0.3, crystal_system_weight=0, axis_weight=0)
    group = log_softmax(np.asarray(logits.space_group, float), axis=-1)
    classes = friedel_classes()
    spread = [group[row, classes == classes[number - 1]].mean() for row, number in enumerate(SPACE_GROUP)]
    expected = 0.7 * cross_entropies(logits)[0] - 0.3 * np.array(spread)
    np.testing.assert_allclose(two_head_loss(logits, batch, optim)[0], expected.mean(), rtol=1e-5)
    assert (classes == classes[15]).sum() == 3  # P222, Pmm2, Pmmm
    assert (classes == classes[226]).sum() == 1


def test_heads_that_agree_cost_nothing_more(batch, logits):
    """The divergence vanishes where one head says what the other implies, and nowhere else."""
    group = np.exp(log_softmax(np.asarray(logits.space_group, float), axis=-1))
    systems = crystal_system_index(np.arange(1, 231))
    implied = np.stack([group[:, systems == system].sum(1) for system in range(7)], axis=1)
    alone = OptimConfig(space_group_weight=0, crystal_system_weight=0, axis_weight=0, consistency_weight=1)
    agreeing = replace(logits, crystal_system=jnp.log(implied))
    assert abs(two_head_loss(agreeing, batch, alone)[0]) < 1e-5
    said = log_softmax(np.asarray(logits.crystal_system, float), axis=-1)
    divergence = (implied * (np.log(implied) - said)).sum(1).mean()
    np.testing.assert_allclose(two_head_loss(logits, batch, alone)[0], divergence, rtol=1e-4)


def test_views_of_a_crystal_have_one_label(batch, logits):
    two = jax.tree.map(lambda leaf: leaf[::2], replace(logits, axis=None))
    loss, sums = two_head_loss(two, batch, OptimConfig())
    group, system, _ = cross_entropies(logits)
    np.testing.assert_allclose(loss, (group + system)[::2].mean(), rtol=1e-5)
    assert sums.num_predictions == 2
