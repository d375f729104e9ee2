"""Pictures of one's own stand in place of drawn ones as often as asked, with their own labels."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import reference
from PIL import Image

from xrdjax import render_zone
from xrdjax.config import DataConfig, PatternConfig, TrainConfig, validate
from xrdjax.errors import ConfigError
from xrdjax.learning.replay import describe_batch
from xrdjax.patterns.device_store import to_device
from xrdjax.patterns.generate import draw_batch
from xrdjax.patterns.mixture import training_source
from xrdjax.patterns.own_pictures import own_pictures

PATTERN = PatternConfig(height=32, width=32, axes=((1, 0, 0), (1, 1, 1)))
SHOWN = {"a.png": ("Cu", 225), "b.png": ("quartz_P3121", 152)}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    lines = ["name,space_group,u,v,w"]
    for name, (crystal, group) in SHOWN.items():
        picture = 1 - render_zone(reference.crystal(crystal), (1, 0, 0), replace(PATTERN, height=96, width=96))
        Image.fromarray(np.round(255 * picture).astype(np.uint8)).save(folder / name)
        lines.append(f"{name},{group},1,0,0")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    data = DataConfig(pictures=str(folder), pictures_share=0.25)
    return validate(TrainConfig(batch_size=640, pattern=PATTERN, data=data))


@pytest.fixture(scope="module")
def batches(tiny_store, config):
    """A large batch with pictures of one's own, and the same without."""
    resident = to_device(tiny_store)
    draw = jax.jit(draw_batch, static_argnames=("pattern", "augment"))
    without = replace(config, data=replace(config.data, pictures_share=0.0))
    _, mixed = training_source(tiny_store, resident, np.arange(9), config)
    _, plain = training_source(tiny_store, resident, np.arange(9), without)
    return mixed, *(draw(jax.random.key(0), resident, plan, PATTERN, config.augment) for plan in (mixed, plain))


@pytest.mark.long
def test_they_stand_as_often_as_asked_and_leave_the_others_alone(batches):
    _, mixed, plain = batches
    is_own = np.asarray(mixed.own) >= 0
    assert abs(is_own.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / is_own.size)
    np.testing.assert_array_equal(np.asarray(mixed.image)[~is_own], np.asarray(plain.image)[~is_own])
    np.testing.assert_array_equal(np.asarray(mixed.space_group)[~is_own], np.asarray(plain.space_group)[~is_own])


@pytest.mark.long
def test_each_has_its_own_labels(batches, config):
    mixed = batches[1]
    own, number = own_pictures(config), np.asarray(mixed.own)
    groups = np.array([group for _, group in SHOWN.values()])
    assert set(number.ravel()) == {-1, 0, 1}
    is_own = number >= 0
    np.testing.assert_array_equal(np.asarray(mixed.space_group)[is_own], groups[number[is_own]])
    np.testing.assert_array_equal(np.asarray(mixed.crystal_system)[is_own], np.array([6, 4])[number[is_own]])
    np.testing.assert_array_equal(np.asarray(mixed.image)[is_own], np.asarray(own.image)[number[is_own]])
    assert (np.asarray(mixed.recipe.uvw)[is_own] == (1, 0, 0)).all()


@pytest.mark.long
def test_replay_names_them(batches, tiny_store):
    plan, mixed, _ = batches
    described = describe_batch(mixed, tiny_store, plan.own.names)
    for entry, number in zip(described, np.asarray(mixed.own), strict=True):
        assert entry.get("picture") == (["a.png", "b.png"][number] if number >= 0 else None)


def test_what_cannot_be_mixed_is_refused(config, tmp_path):
    with pytest.raises(ConfigError, match=r"data\.pictures_share = 0\.25: expected data\.pictures to name a directory"):
        validate(replace(config, data=replace(config.data, pictures=None)))
    with pytest.raises(ConfigError, match=r"expected 0 where views is above 1"):
        validate(replace(config, views=2))
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "labels.csv").write_text("name,space_group\na.png,225\n")
    Image.open(f"{config.data.pictures}/a.png").save(folder / "a.png")
    blind = replace(
        config, data=replace(config.data, pictures=str(folder)), model=replace(config.model, sees_axis=True)
    )
    with pytest.raises(ConfigError, match=r"no zone axis of 'a\.png'; give u,v,w"):
        own_pictures(blind)
