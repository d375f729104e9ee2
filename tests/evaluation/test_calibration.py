"""Temperatures and reliability, on numbers whose truth is known."""

import numpy as np
import pytest
from scipy.special import softmax

from xrdjax.evaluation.calibration import fit_temperature, reliability


@pytest.fixture(scope="module")
def honest():
    """Logits whose probabilities are those of the labels drawn from them."""
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(20_000, 7))
    cumulated = softmax(logits, axis=1).cumsum(1)
    return logits, (random.uniform(size=(len(logits), 1)) > cumulated).sum(1).clip(max=6)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_factor(honest, factor):
    logits, labels = honest
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.03)


def test_temperature_of_hopeless_logits_is_bounded():
    assert 1 < fit_temperature(np.eye(3)[[0, 1, 2, 0]], np.array([1, 2, 0, 2])) < 1000


def test_honest_probabilities_are_reliable_and_overconfident_ones_are_not(honest):
    logits, labels = honest
    assert reliability(logits, labels).expected_error < 0.015  # of 20,000 patterns: noise of 0.005 a bin
    one = reliability(4 * logits, labels)
    assert one.expected_error > 0.1
    assert sum(one.patterns) == len(labels)
    assert reliability(4 * logits, labels, 4.0) == reliability(logits, labels)
