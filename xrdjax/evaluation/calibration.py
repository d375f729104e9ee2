"""How far a network's probabilities can be believed, and the temperature that mends them.

Logits divided by a temperature T keep their order; T is chosen such that the mean log-probability of the truth is
largest on validation crystals (Guo et al. 2017, arXiv:1706.04599). The expected calibration error is the mean, over
patterns, of the distance between confidence and accuracy in the pattern's bin of confidence.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

NUM_BINS = 10
WIDEST = 5.0  # of log T on either side of 0


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Accuracy by confidence, in bins of equal width; empty bins have zeros."""

    patterns: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    expected_error: float


def fit_temperature(logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, "n"]) -> float:
    """Return the temperature of least cross-entropy; logits may be log-probabilities, labels count from 0."""

    def loss(log_temperature: float) -> float:
        scores = log_softmax(logits.astype(np.float64) / np.exp(log_temperature), axis=1)
        return -float(scores[np.arange(len(labels)), labels].mean())

    best = minimize_scalar(loss, bounds=(-WIDEST, WIDEST), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))


def reliability(
    logits: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, "n"], temperature: float = 1.0
) -> Reliability:
    """Return accuracy by confidence of the likeliest class."""
    probability = softmax(logits.astype(np.float64) / temperature, axis=1)
    confidence, is_right = probability.max(1), probability.argmax(1) == labels
    which = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    patterns = np.bincount(which, minlength=NUM_BINS)
    sums = [np.bincount(which, weights=values, minlength=NUM_BINS) for values in (confidence, is_right)]
    means = [total / np.maximum(patterns, 1) for total in sums]
    return Reliability(
        patterns=tuple(patterns.tolist()),
        confidence=tuple(means[0].tolist()),
        accuracy=tuple(means[1].tolist()),
        expected_error=float(np.abs(sums[0] - sums[1]).sum() / max(len(labels), 1)),
    )
