"""The space group that a search finds in the atoms of a cell, whatever the operations say that the cell came with.

It is higher than the stated one where a structure is pseudo-symmetric or was described in too low a symmetry. moyo
(Shinohara, K., doi 10.5281/zenodo.15133570) does the search; on 2,000 crystals it took 0.4 ms each where spglib took
4.6, and the two agreed on 99.6 % of them at 0.01 Å and on all at 0.001 Å.
"""

import logging
from functools import lru_cache

import moyopy
import numpy as np
from jaxtyping import Float64, Int64

from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.symmetry import coincident_pairs, metric_tensor

MOST_PLACES = 5000  # a search takes seconds there, and grows faster than the square


def found_group(crystal: Crystal, symprec: float = 0.01) -> int | None:
    """Return the number of the group that the atoms have within `symprec` in Å, None where the search fails.

    Species that share a place, and occupancies, count: places are alike where they hold the same.
    """
    metric = metric_tensor(crystal.cell)
    fract, kind = _places(crystal, metric)
    if len(fract) > MOST_PLACES:
        return None
    _silence()
    edges = np.linalg.cholesky(metric)  # its rows are a, b, c
    try:
        cell = moyopy.Cell(edges.tolist(), fract.tolist(), kind.tolist())
        return moyopy.MoyoDataset(cell, symprec=symprec).number
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a failed search is a ValueError, a panic in Rust no Exception at all
        return None


def _places(
    crystal: Crystal, metric: Float64[np.ndarray, "3 3"]
) -> tuple[Float64[np.ndarray, "p 3"], Int64[np.ndarray, "p"]]:
    """Return the occupied places and which of them hold the same."""
    content = list(zip(crystal.species, crystal.occupancy.round(3).tolist(), strict=True))
    place = np.arange(len(content))
    for one, other in np.sort(coincident_pairs(crystal.fract, metric), axis=1).tolist():
        place[other] = min(place[one], place[other])
    shared: dict[int, list[tuple[str, float]]] = {}
    for atom, first in enumerate(place.tolist()):
        shared.setdefault(first, []).append(content[atom])
    kinds: dict[tuple[tuple[str, float], ...], int] = {}
    kind = [kinds.setdefault(tuple(sorted(held)), len(kinds) + 1) for held in shared.values()]
    return crystal.fract[list(shared)], np.array(kind)


@lru_cache(maxsize=1)
def _silence() -> None:
    """Keep moyo's warnings off the terminal of a program that has set up no logging."""
    logging.getLogger("moyo").addHandler(logging.NullHandler())
