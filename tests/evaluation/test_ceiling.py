"""The ceiling: against counting by hand, and that knowing more never lowers it."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from xrdjax.config import SEEN_AXES
from xrdjax.crystals.store import CrystalStore
from xrdjax.evaluation.ceiling import best_of_classes, ceilings


@pytest.fixture(scope="module")
def found():
    """Return ceilings of some crystals along four axes, and the number of their groups."""
    store = CrystalStore.open("open")
    crystals = np.random.default_rng(0).choice(len(store), 400, replace=False)
    axes = np.array(SEEN_AXES[:4])
    return ceilings(store, np.repeat(crystals, len(axes)), np.tile(axes, (len(crystals), 1)))


def test_best_of_classes_counts_the_commonest_labels():
    generator = np.random.default_rng(1)
    classes, labels = generator.integers(7, size=300).tolist(), generator.integers(9, size=300)
    best = best_of_classes(classes, labels)
    for most, value in ((1, best.top1), (3, best.top3)):
        of_class = (Counter(labels[np.array(classes) == one].tolist()) for one in set(classes))
        hits = sum(count for counter in of_class for _, count in counter.most_common(most))
        assert value == pytest.approx(hits / 300)


def test_what_tells_everything_is_always_right():
    assert best_of_classes([3, 1, 2, 1], np.array([30, 10, 20, 10])).top1 == 1


def test_knowing_more_lowers_no_ceiling(found):
    order = ("one zone", "one zone, axis given", "one zone, indexed")
    for less, more in pairwise(order):
        for head in ("space_group", "space_group_in_system", "crystal_system"):
            assert getattr(found[less], head).top1 <= getattr(found[more], head).top1
    for ceiling in found.values():
        assert ceiling.space_group.top1 <= ceiling.space_group_in_system.top1
        assert ceiling.space_group.top1 <= ceiling.crystal_system.top1
        assert ceiling.space_group.top1 <= ceiling.space_group.top3 <= 1


def test_all_of_space_tells_the_system_but_not_every_group(found):
    everything = found["all of reciprocal space"]
    assert everything.crystal_system.top1 == 1
    assert found["one zone"].space_group.top1 < everything.space_group.top1 < 1
