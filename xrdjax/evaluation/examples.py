"""Single crystals on their way to b.c.c. or f.c.c., as in the paper's figures 12 and 13 and tables 7 and 8."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from xrdjax.config import PatternConfig
from xrdjax.crystals.store import CrystalStore
from xrdjax.evaluation.depletion import AIM, without
from xrdjax.evaluation.protocols import STRAINED_AXES, Protocol, axis_label
from xrdjax.evaluation.results import Outcome
from xrdjax.patterns.pictures import render_zones

EXAMPLES = 5  # of each lattice


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """What a search finds in the atoms that are left, and what the network says of the pictures."""

    name: str
    target: str
    is_chosen: bool
    """Right at both ends along both axes, as the paper chose its examples."""
    levels: tuple[float, ...]
    """Removed atoms in %."""
    found: tuple[int, ...]
    predicted: dict[str, tuple[int, ...]]
    """By axis."""
    pictures: dict[str, Float[np.ndarray, "levels height width"]]

    def as_dict(self) -> dict:
        """Return all but the pictures."""
        return {name: value for name, value in vars(self).items() if name != "pictures"}


def depletion_examples(
    protocol: Protocol, outcome: Outcome, left: np.ndarray, crystals: CrystalStore, pattern: PatternConfig
) -> list[Example]:
    """Return five crystals for each lattice, those that the network has right at both ends before others.

    `left` tells which atoms each request leaves.
    """
    label = np.array([one.label for one in protocol.conditions])[protocol.condition]
    examples = []
    for target, aim in AIM.items():
        own = {
            crystal: np.flatnonzero((label == target) & (outcome.crystal == crystal))
            for crystal in np.unique(outcome.crystal[label == target]).tolist()
        }
        order = sorted(
            own, key=lambda crystal, own=own, aim=aim: not _is_right_at_ends(protocol, outcome, own[crystal], aim)
        )
        examples += [
            _example(target, own[crystal], protocol, outcome, left, crystals, pattern) for crystal in order[:EXAMPLES]
        ]
    return examples


def _is_right_at_ends(protocol: Protocol, outcome: Outcome, own: Int[np.ndarray, "n"], aim: tuple[int, ...]) -> bool:
    level = _levels(protocol, own)
    said = outcome.space_group_ranks[own, 0]
    starts, ends = level == 0, level == level.max()
    return bool((said[starts] == outcome.space_group[own][starts]).all() and np.isin(said[ends], aim).all())


def _levels(protocol: Protocol, own: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    return np.array([protocol.conditions[number].level for number in protocol.condition[own]], float)


def _example(
    target: str,
    own: Int[np.ndarray, "n"],
    protocol: Protocol,
    outcome: Outcome,
    left: np.ndarray,
    crystals: CrystalStore,
    pattern: PatternConfig,
) -> Example:
    """Return one crystal's example; its requests are ordered by axis, then level."""
    by_axis = own.reshape(len(STRAINED_AXES), -1)
    number = int(outcome.crystal[own[0]])
    crystal = crystals.crystal(number)
    pictures = [render_zones(without(crystal, left[request]), STRAINED_AXES, pattern) for request in by_axis[0]]
    labels = [axis_label(axis) for axis in STRAINED_AXES]
    return Example(
        name=crystals.names(number),
        target=target,
        is_chosen=_is_right_at_ends(protocol, outcome, own, AIM[target]),
        levels=tuple(_levels(protocol, by_axis[0]).tolist()),
        found=tuple(outcome.space_group[by_axis[0]].tolist()),
        predicted={
            label: tuple(outcome.space_group_ranks[row, 0].tolist()) for label, row in zip(labels, by_axis, strict=True)
        },
        pictures={label: np.stack([both[n] for both in pictures]) for n, label in enumerate(labels)},
    )
