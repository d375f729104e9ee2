"""Figures of merit of predictions, as fractions from 0 to 1."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often a head is right."""

    patterns: int
    top1: float
    top3: float
    weighted: float
    """Mean over the classes that occur of the fraction of their patterns that is recognised."""
    commonest: float
    """What always naming the class that is commonest among the training crystals would reach."""


def accuracy(true: Int[np.ndarray, "n"], ranks: Int[np.ndarray, "n 3"], commonest_class: int) -> Accuracy:
    """Return the accuracy of ranked predictions, best first."""
    hits = ranks == true[:, None]
    classes, which = np.unique(true, return_inverse=True)
    recall = np.bincount(which, weights=hits[:, 0]) / np.bincount(which)
    return Accuracy(
        patterns=len(true),
        top1=float(hits[:, 0].mean()),
        top3=float(hits.any(1).mean()),
        weighted=float(recall.mean()) if len(classes) else 0.0,
        commonest=float((true == commonest_class).mean()),
    )


def confusion_matrix(
    true: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], num_classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Return counts: rows are true classes, columns predicted ones, numbered from 0."""
    return np.bincount(true * num_classes + predicted, minlength=num_classes**2).reshape(num_classes, num_classes)
