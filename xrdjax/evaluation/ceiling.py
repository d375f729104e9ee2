"""The most that symmetry and absent reflections alone can tell: the ceiling beside a network's accuracy.

Patterns fall into classes of equal signs. Whoever sees nothing else can at best name each class's commonest label: no
such classifier is right more often on these patterns. A network may be, for cell lengths, intensities and repeated
structure types tell more. Signs come from each crystal's own operations, whatever its setting.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Int, Integer

from xrdjax.config import Axis
from xrdjax.crystals.friedel import friedel_classes
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import Operations, crystal_system_index
from xrdjax.diffraction.zone_symmetry import IndexedSigns, ZoneSigns, indexed_signs, zone_signs

Knowledge = Literal["one zone", "one zone, axis given", "one zone, indexed", "all zones", "all of reciprocal space"]


@dataclass(frozen=True, kw_only=True)
class Best:
    """Fractions of patterns that can be right at most: the first guess, or one of three."""

    top1: float
    top3: float


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """What can be reached with one kind of knowledge."""

    classes: int
    """How many kinds of patterns there are among those at hand."""
    space_group: Best
    space_group_in_system: Best
    """The space group's where the crystal system is known besides."""
    crystal_system: Best


def ceilings(
    store: CrystalStore, crystal: Integer[np.ndarray, "n"], uvw: Integer[np.ndarray, "n 3"]
) -> dict[Knowledge, Ceiling]:
    """Return what can be reached on patterns of a store's crystals along coprime axes.

    "one zone" sees a picture and nothing else, "axis given" knows uvw besides, "indexed" also hkl of each spot;
    "all zones" sees all pictures of a crystal that are among the patterns, without their axes. Loose where a class has
    few patterns: what occurs once is always right.
    """
    signs, which = _pattern_signs(store, crystal, uvw)
    axes = list(map(tuple, uvw.tolist()))
    seen = [signs[i][0] for i in which]
    groups = store.space_group[crystal].astype(int)
    views = _views(crystal, seen)
    return {
        "one zone": _ceiling(seen, groups),
        "one zone, axis given": _ceiling(list(zip(axes, seen, strict=True)), groups),
        "one zone, indexed": _ceiling([(axis, signs[i][1]) for axis, i in zip(axes, which, strict=True)], groups),
        "all zones": _ceiling([views[i] for i in crystal.tolist()], groups),
        "all of reciprocal space": _ceiling(friedel_classes()[groups - 1].tolist(), groups),
    }


def best_of_classes(classes: Sequence[Hashable], labels: Int[np.ndarray, "n"]) -> Best:
    """Return how often the commonest label, or one of the three commonest, of a pattern's class is its own."""
    number = _numbered(classes)
    kinds, count = np.unique(np.stack([number, labels]), axis=1, return_counts=True)
    order = np.lexsort((-count, kinds[0]))
    owner, count = kinds[0][order], count[order]
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    return Best(top1=float(count[rank < 1].sum() / len(labels)), top3=float(count[rank < 3].sum() / len(labels)))


def _ceiling(classes: Sequence[Hashable], groups: Int[np.ndarray, "n"]) -> Ceiling:
    systems = crystal_system_index(groups)
    return Ceiling(
        classes=len(set(classes)),
        space_group=best_of_classes(classes, groups),
        space_group_in_system=best_of_classes(list(zip(classes, systems.tolist(), strict=True)), groups),
        crystal_system=best_of_classes(classes, systems),
    )


def _numbered(classes: Sequence[Hashable]) -> Int[np.ndarray, "n"]:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in classes], int)


def _views(crystal: Integer[np.ndarray, "n"], seen: Sequence[ZoneSigns]) -> dict[int, Hashable]:
    """Return what all pictures of each crystal show together, in no order."""
    number = _numbered(seen)
    order = np.lexsort((number, crystal))
    distinct, start = np.unique(crystal[order], return_index=True)
    views = (tuple(part.tolist()) for part in np.split(number[order], start[1:]))
    return dict(zip(distinct.tolist(), views, strict=True))


def _pattern_signs(
    store: CrystalStore, crystal: Integer[np.ndarray, "n"], uvw: Integer[np.ndarray, "n 3"]
) -> tuple[list[tuple[ZoneSigns, IndexedSigns]], list[int]]:
    """Return the signs of each setting and axis that occurs, and which of them are each pattern's."""
    keys = np.column_stack([store.setting[crystal].astype(np.int64), uvw])
    distinct, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    signs = []
    for (_, u, v, w), pattern in zip(distinct.tolist(), first.tolist(), strict=True):
        own = store.operations(int(crystal[pattern]))
        signs.append(_signs(own.rotation.tobytes(), own.translation.tobytes(), (u, v, w)))
    return signs, which.reshape(-1).tolist()


@lru_cache(maxsize=2**17)
def _signs(rotation: bytes, translation: bytes, uvw: Axis) -> tuple[ZoneSigns, IndexedSigns]:
    operations = Operations(
        rotation=np.frombuffer(rotation, np.int8).reshape(-1, 3, 3),
        translation=np.frombuffer(translation, np.uint8).reshape(-1, 3),
    )
    return zone_signs(operations, uvw), indexed_signs(operations, uvw)
