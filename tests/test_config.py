"""Configurations: ranges, and what the parts demand of each other."""

import pytest

from xrdjax.config import SEEN_AXES, AugmentConfig, ModelConfig, OptimConfig, PatternConfig, TrainConfig, validate
from xrdjax.errors import ConfigError


def test_the_papers_axes():
    assert len(set(SEEN_AXES)) == 20
    assert SEEN_AXES[:2] == ((1, 1, 1), (1, 0, 0))


def test_all_faults_are_named_at_once():
    wrong = TrainConfig(batch_size=0, augment=AugmentConfig(vacancies=1.5), optim=OptimConfig(lr=float("inf")))
    with pytest.raises(ConfigError) as caught:
        validate(wrong)
    for field in ("batch_size = 0", "augment.vacancies = 1.5", "optim.lr = inf"):
        assert field in str(caught.value)
    assert "\n" not in str(caught.value)


def test_intervals_are_multiples_of_a_dispatch():
    with pytest.raises(ConfigError, match="log_every = 50: expected a multiple of steps_per_dispatch = 20"):
        validate(TrainConfig(steps=1000, steps_per_dispatch=20, log_every=50))
    with pytest.raises(ConfigError, match="keep_every = 700: expected a multiple of checkpoint_every = 500"):
        validate(TrainConfig(keep_every=700))


def test_parts_that_do_not_fit_each_other():
    config = TrainConfig(
        model=ModelConfig(channels=(8,) * 5, sees_axis=True),
        pattern=PatternConfig(axes=((1, 7, 0),), height=16, width=40),
    )
    with pytest.raises(ConfigError, match=r"pattern\.height = 16: .*at least 32; pattern\.axes = \(1, 7, 0\)"):
        validate(config)


@pytest.mark.parametrize(
    ("axes", "message"), [(((0, 0, 0),), "expected a direction"), (((1, 0, 0), (2, 0, 0)), "twice")]
)
def test_axes_are_different_directions(axes, message):
    with pytest.raises(ConfigError, match=rf"pattern\.axes = .*{message}"):
        validate(TrainConfig(pattern=PatternConfig(axes=axes)))


def test_whole_numbers_become_floats():
    assert isinstance(validate(TrainConfig(augment=AugmentConfig(vacancies=1))).augment.vacancies, float)
