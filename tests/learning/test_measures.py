"""Figures of merit, against counting by hand."""

import numpy as np
import pytest

from xrdjax.learning.measures import accuracy, confusion_matrix

TRUE = np.array([1, 1, 1, 1, 2, 2, 7])
RANKS = np.array([[1, 2, 3], [1, 3, 2], [1, 2, 7], [2, 1, 3], [2, 1, 3], [1, 7, 3], [1, 2, 3]])


def test_accuracies_of_a_counted_example():
    found = accuracy(TRUE, RANKS, commonest_class=1)
    assert found.patterns == 7
    assert found.top1 == pytest.approx(4 / 7)
    assert found.top3 == pytest.approx(5 / 7)
    assert found.weighted == pytest.approx((3 / 4 + 1 / 2 + 0 / 1) / 3)
    assert found.commonest == pytest.approx(4 / 7)


def test_confusion_matrix_counts_true_rows_and_predicted_columns():
    counts = confusion_matrix(np.array([0, 0, 2]), np.array([0, 1, 1]), 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 0], [0, 1, 0]])
