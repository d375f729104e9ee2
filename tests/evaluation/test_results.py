"""Figures of merit, against counting by hand and International Tables."""

import numpy as np
import pytest

from xrdjax.crystals.friedel import friedel_classes
from xrdjax.evaluation.results import (
    Outcome,
    bootstrap_interval,
    centre_confusion,
    centrosymmetric_groups,
    enantiomorphic_pairs,
    hand_confusion,
    heads,
    looks_alike,
)


def outcome(true, said):
    """Return patterns along [100], a crystal each, of which only the first guess is told."""
    true, said = np.array(true), np.array(said)
    ranks = np.stack([said, np.full(len(said), 1), np.full(len(said), 2)], axis=1)
    return Outcome(
        crystal=np.arange(len(true)),
        uvw=np.tile((1, 0, 0), (len(true), 1)),
        condition=np.zeros(len(true), int),
        space_group=true,
        space_group_ranks=ranks,
        crystal_system_ranks=np.zeros((len(true), 3), int),
    )


def test_lists_are_those_of_international_tables():
    assert len(centrosymmetric_groups()) == 92
    assert set(centrosymmetric_groups()) >= {2, *range(10, 16), *range(47, 75), *range(221, 231)}
    assert enantiomorphic_pairs() == (
        (76, 78), (91, 95), (92, 96), (144, 145), (151, 153), (152, 154), (169, 170), (171, 172), (178, 179),
        (180, 181), (212, 213),
    )  # fmt: skip


def test_centre_and_hand_are_counted_as_by_hand():
    answers = outcome([2, 2, 1, 76, 78, 76], [2, 1, 1, 78, 78, 4])
    assert centre_confusion(answers) == [[1, 1], [0, 4]]
    assert hand_confusion(answers) == [{"pair": [76, 78], "patterns": 3, "right": 1, "mirror_image": 1, "other": 1}]


def test_what_friedel_hides_is_counted_as_class():
    figures = heads(outcome([225, 16, 47, 2], [225, 47, 1, 1]), {"space_group": 225, "crystal_system": 6}, 0)[
        "space_group"
    ]
    assert figures["top1"] == 0.25
    assert figures["friedel_class"] == 0.75
    assert figures["commonest"] == 0.25


def test_groups_of_one_class_look_alike_along_every_axis():
    classes = friedel_classes()
    groups = np.arange(1, 231)
    partner = np.array([groups[classes == one][-1] for one in classes])
    is_alike = [looks_alike(groups, partner, np.tile(axis, (230, 1))).mean() for axis in ((1, 0, 0), (1, 2, 3))]
    # Settings of a class differ in a few groups, such as P3m1 and P31m: along a low axis their pictures do, too.
    assert min(is_alike) > 0.85
    assert looks_alike(groups, groups, np.tile((1, 1, 1), (230, 1))).all()
    assert not looks_alike(np.array([225]), np.array([1]), np.array([[1, 0, 0]])).any()


def test_interval_counts_crystals_and_not_patterns():
    random = np.random.default_rng(0)
    hit = random.uniform(size=400) < 0.4
    low, high = bootstrap_interval(np.arange(400), hit, 0)
    width = 2 * 1.96 * np.sqrt(hit.mean() * (1 - hit.mean()) / 400)
    assert high - low == pytest.approx(width, rel=0.15)
    assert low < hit.mean() < high
    copied = bootstrap_interval(np.repeat(np.arange(400), 20), np.repeat(hit, 20), 0)
    assert copied == pytest.approx((low, high))
    assert bootstrap_interval(np.zeros(9, int), np.arange(9) < 3, 0) == pytest.approx((1 / 3, 1 / 3))
