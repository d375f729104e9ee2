"""Runs that begin with what another one learned, keep parts of it, and predict with a running mean."""

import logging
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xrdjax.config_sources import override
from xrdjax.crystals.selection import open_selected
from xrdjax.errors import ConfigError, WorkdirError
from xrdjax.learning import training
from xrdjax.learning.checkpoint import Checkpoints, restore
from xrdjax.learning.optimizer import build_optimizer, named_leaves
from xrdjax.learning.run import restore_run
from xrdjax.learning.state import initial_state
from xrdjax.learning.step import _num_seen, _running_mean, empty_tally
from xrdjax.learning.warm_start import warm_start
from xrdjax.learning.workdir import check_workdir, claim_workdir


@pytest.fixture(scope="module")
def teacher(small_config, tmp_path_factory):
    """A run whose parameters are another seed's, for they need not be good."""
    workdir = tmp_path_factory.mktemp("teacher") / "run"
    check_workdir(small_config, workdir)
    claim_workdir(small_config, open_selected(small_config.data), workdir)
    state = initial_state(replace(small_config, seed=7), build_optimizer(small_config))[1]
    with Checkpoints(workdir, small_config) as checkpoints:
        checkpoints.save(8, state, empty_tally(), None)
    return workdir


@pytest.fixture(scope="module")
def pupil(small_config, teacher, tmp_path_factory):
    """A run that sees two views, with another fully connected layer; its convolutions are the teacher's and stay so."""
    changes = {"views": 2, "model.fuse": "attention", "model.hidden": (12,), "optim.ema_decay": 0.5, "steps": 6}
    config = override(small_config, {"start_from": str(teacher), "freeze": ("blocks",), **changes})
    workdir = tmp_path_factory.mktemp("pupil") / "run"
    training.train(config, workdir, jax.devices()[:1])
    return config, workdir


@pytest.mark.long
def test_frozen_parts_stay_what_they_were(teacher, pupil):
    taught, learned = (named_leaves(restore_run(workdir)[2].params) for workdir in (teacher, pupil[1]))
    frozen = [name for name in learned if name.startswith("blocks.")]
    assert frozen
    for name in frozen:
        np.testing.assert_allclose(learned[name], taught[name], rtol=1e-6)  # a mean of equal numbers rounds
    assert learned["hidden.0.kernel"].shape != taught["hidden.0.kernel"].shape


@pytest.mark.long
def test_a_run_predicts_with_the_running_mean(pupil):
    config, workdir = pupil
    kept = restore(workdir, initial_state(config, build_optimizer(config))[1])
    _, _, predicting = restore_run(workdir)
    means, _ = kept.average
    jax.tree.map(np.testing.assert_array_equal, predicting.params, means)
    assert not np.allclose(kept.params["space_group"]["kernel"], means["space_group"]["kernel"])


def test_running_mean_is_the_weighted_sum_of_all_steps(small_config):
    config = override(small_config, {"optim.ema_decay": 0.3})
    state = initial_state(config, build_optimizer(config))[1]
    state, expected = replace(state, average=(jnp.float32(2), {})), 2.0
    for step, value in enumerate((5.0, -1.0, 4.0)):
        mean = _running_mean(replace(state, step=jnp.int32(step)), (jnp.float32(value), {}), 0.3)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        state = replace(state, average=mean)
    np.testing.assert_allclose(state.average[0], expected, rtol=1e-6)


def test_what_is_taken_is_told(small_config, teacher, caplog):
    config = override(small_config, {"model.hidden": (12,)})
    state = initial_state(config, build_optimizer(config))[1]
    with caplog.at_level(logging.INFO, "xrdjax"):
        warmed = warm_start(state, teacher)
    assert "not crystal_system.kernel, hidden.0.bias, hidden.0.kernel, space_group.kernel" in caplog.text
    taught = restore_run(teacher)[2]
    block = warmed.params["blocks"][0]["convolutions"][0]["kernel"]
    np.testing.assert_array_equal(block, taught.params["blocks"][0]["convolutions"][0]["kernel"])
    np.testing.assert_array_equal(warmed.params["hidden"][0]["kernel"], state.params["hidden"][0]["kernel"])


def test_nothing_in_common_is_an_error(small_config, teacher):
    state = replace(
        initial_state(small_config, build_optimizer(small_config))[1], params={"other": jnp.zeros(3)}, statistics={}
    )
    with pytest.raises(WorkdirError, match=r"start_from = .*run: no array there has the name and shape"):
        warm_start(state, teacher)
    with pytest.raises(WorkdirError, match=r"holds no config\.json"):
        warm_start(state, Path("/nowhere"))


def test_unknown_part_to_freeze_is_named_before_anything_is_compiled(small_config, tmp_path):
    with pytest.raises(
        ConfigError, match=r"freeze = block\.0: no parameter's name begins so; did you mean blocks\.0\?"
    ):
        training.train(replace(small_config, freeze=("block.0",)), tmp_path / "run", jax.devices()[:1])
    assert not (tmp_path / "run" / "config.json").exists()


def test_training_shows_every_number_of_views_as_often(small_config):
    key = jax.random.key(0)
    seen = np.asarray(_num_seen(key, replace(small_config, views=3, batch_size=9000)))
    counts = np.bincount(seen, minlength=4)
    np.testing.assert_allclose(counts[1:] / 3000, 1 / 3, atol=5 * np.sqrt(2 / 9 / 3000))
    assert counts[0] == 0
    assert _num_seen(key, small_config) is None
