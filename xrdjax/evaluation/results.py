"""Figures of merit of answers, fractions from 0 to 1, as they stand in a report.

Intervals hold the middle 95 % of what 500 samples of the crystals, drawn with replacement, give: patterns of one
crystal are no independent trials. `weighted` is the mean over classes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import pairwise

import gemmi
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from xrdjax.config import Axis
from xrdjax.crystals.friedel import friedel_classes, reference_operations
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS, crystal_system_index
from xrdjax.diffraction.zone_symmetry import ZoneSigns, zone_signs
from xrdjax.evaluation.answers import BEST
from xrdjax.evaluation.ceiling import ceilings
from xrdjax.evaluation.protocols import Protocol
from xrdjax.learning.measures import accuracy

HEADS = {"crystal_system": "crystal system", "space_group": "space group"}
SAMPLES, COVERED = 500, (2.5, 97.5)
TRAINING_STEPS = (0, 10, 25, 50, 100, 200, 350, 1_000_000)
"""Bounds between which groups are counted together, by how many crystals of each were trained on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What patterns show and what the network said, the likeliest first."""

    crystal: Int[np.ndarray, "n"]
    uvw: Int[np.ndarray, "n 3"]
    condition: Int[np.ndarray, "n"]
    space_group: Int[np.ndarray, "n"]
    """1 to 230."""
    space_group_ranks: Int[np.ndarray, "n 3"]
    crystal_system_ranks: Int[np.ndarray, "n 3"]

    @property
    def crystal_system(self) -> Int[np.ndarray, "n"]:
        """Index in `CRYSTAL_SYSTEMS`."""
        return crystal_system_index(self.space_group)

    def select(self, chosen: Shaped[np.ndarray, "m"]) -> "Outcome":
        """Return some of them, by number or by a mask."""
        return Outcome(**{name: values[chosen] for name, values in vars(self).items()})


def protocol_results(protocol: Protocol, outcome: Outcome, commonest: Mapping[str, int], seed: int) -> dict:
    """Return the figures of a protocol: its headline's heads, its unions, and each condition."""

    def of(numbers: Iterable[int]) -> Outcome:
        return outcome.select(np.isin(outcome.condition, list(numbers)))

    unions = {name: heads(of(numbers), commonest, seed) for name, numbers in protocol.unions.items()}
    conditions = [
        {**asdict(one), "heads": heads(of((number,)), commonest, seed)}
        for number, one in enumerate(protocol.conditions)
    ]
    return {
        "title": protocol.title,
        "patterns": len(outcome.crystal),
        "crystals": len(np.unique(outcome.crystal)),
        "heads": next(iter(unions.values())),
        "level": protocol.level,
        "sees": "all zones" if protocol.fuses else "one zone",
        "unions": unions,
        "conditions": [one for one in conditions if one["heads"]],
    }


def heads(outcome: Outcome, commonest: Mapping[str, int], seed: int) -> dict[str, dict]:
    """Return the figures of both heads; of no patterns, none."""
    if not len(outcome.crystal):
        return {}
    figures = {}
    for head in HEADS:
        true, ranks = getattr(outcome, head), getattr(outcome, f"{head}_ranks")
        figures[head] = asdict(accuracy(true, ranks, commonest[head]))
        figures[head]["interval"] = bootstrap_interval(outcome.crystal, true == ranks[:, 0], seed)
    said, classes = outcome.space_group_ranks[:, 0], friedel_classes()
    figures["space_group"]["friedel_class"] = float((classes[outcome.space_group - 1] == classes[said - 1]).mean())
    figures["space_group"]["zone_class"] = float(looks_alike(outcome.space_group, said, outcome.uvw).mean())
    return figures


def looks_alike(
    first: Int[np.ndarray, "n"], second: Int[np.ndarray, "n"], uvw: Int[np.ndarray, "n 3"]
) -> Bool[np.ndarray, "n"]:
    """Tell where two groups, in their standard settings, have the same signs in the picture along an axis."""
    kinds, which = np.unique(np.column_stack([first, second, uvw]), axis=0, return_inverse=True)
    alike = [_signs(one, (u, v, w)) == _signs(other, (u, v, w)) for one, other, u, v, w in kinds.tolist()]
    return np.array(alike, bool)[which.ravel()]


@cache
def _signs(group: int, axis: Axis) -> ZoneSigns:
    return zone_signs(reference_operations(group), axis)


def bootstrap_interval(
    crystal: Int[np.ndarray, "n"], is_right: Bool[np.ndarray, "n"], seed: int
) -> tuple[float, float]:
    """Return the interval of the mean when crystals, each with all its patterns, are drawn again."""
    _, which = np.unique(crystal, return_inverse=True)
    total = np.bincount(which)
    right = np.bincount(which, weights=is_right)
    drawn = np.random.default_rng(seed).integers(len(total), size=(SAMPLES, len(total)))
    low, high = np.percentile(right[drawn].sum(1) / total[drawn].sum(1), COVERED)
    return float(low), float(high)


def fuse(scores: Float[np.ndarray, "crystals views classes"]) -> Int[np.ndarray, "crystals views 3"]:
    """Return the best classes, from 0 on, by the mean log-probability of the first view, the first two, and so on."""
    return np.argsort(-np.cumsum(scores.astype(np.float64), axis=1), axis=2, kind="stable")[..., :BEST]


def fused_outcome(
    outcome: Outcome, group_scores: Float[np.ndarray, "n 230"], system_scores: Float[np.ndarray, "n 7"], views: int
) -> Outcome:
    """Return what is said of each crystal after one view, two, and so on, its views standing together."""
    groups, systems = (fuse(scores.reshape(-1, views, scores.shape[1])) for scores in (group_scores, system_scores))
    return replace(
        outcome,
        space_group_ranks=groups.reshape(-1, BEST) + 1,
        crystal_system_ranks=systems.reshape(-1, BEST),
    )


def protocol_ceilings(protocol: Protocol, outcome: Outcome, store: CrystalStore) -> dict[str, dict]:
    """Return for each union what the symmetry and absences of the unchanged crystals' pictures can tell at most.

    Of views that are fused, what all pictures of a crystal up to the last that is counted can tell together.
    """
    found = {}
    for name, numbers in protocol.unions.items():
        counted = np.isin(outcome.condition, list(numbers))
        if protocol.fuses:
            counted = outcome.condition <= max(numbers)
        if counted.any():
            every = ceilings(store, outcome.crystal[counted], outcome.uvw[counted])
            found[name] = {kind: asdict(one) for kind, one in every.items()}
    return found


def by_class(outcome: Outcome, training: Int[np.ndarray, "231"]) -> dict[str, list[dict]]:
    """Return accuracy of each system and group, with the number of training crystals of each group."""
    groups = [
        {"space_group": group, "training_crystals": int(training[group]), **_share(outcome, "space_group", group)}
        for group in np.unique(outcome.space_group).tolist()
    ]
    systems = [
        {"crystal_system": CRYSTAL_SYSTEMS[system], **_share(outcome, "crystal_system", system)}
        for system in np.unique(outcome.crystal_system).tolist()
    ]
    return {"systems": systems, "groups": groups, "by_training_crystals": _by_training(outcome, training)}


def _share(outcome: Outcome, head: str, value: int) -> dict:
    own = getattr(outcome, head) == value
    hits = getattr(outcome, f"{head}_ranks")[own] == value
    return {"patterns": int(own.sum()), "top1": float(hits[:, 0].mean()), "top3": float(hits.any(1).mean())}


def _by_training(outcome: Outcome, training: Int[np.ndarray, "231"]) -> list[dict]:
    rows = []
    hit = outcome.space_group == outcome.space_group_ranks[:, 0]
    for low, high in pairwise(TRAINING_STEPS):
        inside = (training[outcome.space_group] >= low) & (training[outcome.space_group] < high)
        if inside.any():
            groups = np.unique(outcome.space_group[inside])
            row = {"from": low, "below": high, "groups": len(groups), "patterns": int(inside.sum())}
            rows.append(row | {"top1": float(hit[inside].mean())})
    return rows


@cache
def centrosymmetric_groups() -> tuple[int, ...]:
    """Return the 92 space groups with a centre of inversion."""
    return tuple(n for n in range(1, 231) if gemmi.get_spacegroup_reference_setting(n).is_centrosymmetric())


@cache
def enantiomorphic_pairs() -> tuple[tuple[int, int], ...]:
    """Return the 11 pairs of groups that are each other's mirror images."""
    pairs = []
    for number in range(1, 231):
        operations = gemmi.get_spacegroup_reference_setting(number).operations()
        operations.change_basis_forward(gemmi.Op("-x,-y,-z"))
        mirrored = gemmi.find_spacegroup_by_ops(operations)  # None: the same group about another origin
        if mirrored is not None and mirrored.number > number:
            pairs.append((number, mirrored.number))
    return tuple(pairs)


def centre_confusion(outcome: Outcome) -> list[list[int]]:
    """Return patterns with (first row) and without a centre, predicted with (first column) and without."""
    true, said = (
        ~np.isin(groups, centrosymmetric_groups()) for groups in (outcome.space_group, outcome.space_group_ranks[:, 0])
    )
    return np.bincount(2 * true + said, minlength=4).reshape(2, 2).tolist()


def hand_confusion(outcome: Outcome) -> list[dict]:
    """Return how the patterns of each enantiomorphic pair were taken: right, as mirror image, as another group."""
    rows = []
    said = outcome.space_group_ranks[:, 0]
    for pair in enantiomorphic_pairs():
        own = np.isin(outcome.space_group, pair)
        right, within = (own & (said == outcome.space_group)).sum(), (own & np.isin(said, pair)).sum()
        if own.any():
            counts = {"right": int(right), "mirror_image": int(within - right), "other": int(own.sum() - within)}
            rows.append({"pair": list(pair), "patterns": int(own.sum()), **counts})
    return rows
