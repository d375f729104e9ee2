"""Stated changes of one crystal's atoms: this many of them, not each with some probability as in `augment.py`.

Which atoms are hit follows from a key. Atoms stand in one random order, of which a larger fraction takes more: what is
changed at 5 % is changed at 10 % too.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from xrdjax.patterns.augment import LAST_ELEMENT, substitute_species
from xrdjax.patterns.device_store import Cell

SITES = {"none": (), "bcc": ((0, 0, 0), (1, 1, 1)), "fcc": ((0, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1))}
"""Places in half cell edges that a removal spares, by the lattice that they make."""
NEAR = np.uint32(2**18)  # of 2**32 parts of a cell edge: rounding of coordinates such as 0.5000


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class AtomChanges:
    """What happens to the atoms of a crystal."""

    substituted: Float[Array, "*batch"]
    """Fraction of the atoms, in whole atoms, that become random elements."""
    exchanged: Bool[Array, "*batch"]
    """Every species becomes another, distinct ones distinct ones."""
    removed: Float[Array, "*batch"]
    """Fraction of the atoms, in whole atoms, that are missing; spared ones do not count."""
    spared: Int[Array, "*batch"]
    """Which places in `SITES` no atom is removed from."""
    thinned: Float[Array, "*batch"]
    """What the occupancies of one random species are multiplied by."""
    u_iso: Float[Array, "*batch"]
    """Added to every atom's own, in Å²."""


def apply_changes(key: Key[Array, ""], cell: Cell, num_atoms: Int[Array, ""], changes: AtomChanges) -> Cell:
    """Return the changed cell of `num_atoms` atoms."""
    for_order, for_elements, for_species, for_thinning = jax.random.split(key, 4)
    is_real = jnp.arange(cell.species.shape[0]) < num_atoms
    is_free = is_real & ~_is_spared(cell.fract, changes.spared)
    order = jnp.where(is_free, jax.random.bits(for_order, cell.species.shape) >> 1, jnp.uint32(2**32 - 1))
    exchanged = substitute_species(for_species, cell.species, cell.rank, 1.0)
    species = jnp.where(changes.exchanged, exchanged, cell.species)
    element = jax.random.randint(for_elements, species.shape, 0, LAST_ELEMENT + 1)
    thin = jax.random.randint(for_thinning, (), 0, cell.rank.max() + 1)
    occupancy = jnp.where(_first(changes.removed, order, is_free), 0, cell.occupancy)
    return replace(
        cell,
        species=jnp.where(_first(changes.substituted, order, is_free), element, species),
        occupancy=jnp.where(cell.rank == thin, occupancy * changes.thinned, occupancy),
        u_iso=cell.u_iso + changes.u_iso,
    )


def _first(
    fraction: Float[Array, ""], order: UInt32[Array, "atoms"], is_free: Bool[Array, "atoms"]
) -> Bool[Array, "atoms"]:
    """Tell which free atoms are among the first of an order."""
    count = jnp.round(fraction * is_free.sum()).astype(jnp.int32)
    last = jnp.sort(order)[jnp.maximum(count - 1, 0)]
    return is_free & (order <= last) & (count > 0)


def _is_spared(fract: UInt32[Array, "atoms 3"], spared: Int[Array, ""]) -> Bool[Array, "atoms"]:
    found = [jnp.zeros(fract.shape[0], bool)]
    for sites in list(SITES.values())[1:]:
        places = jnp.asarray(np.array(sites, np.uint32) << 31)
        found.append((fract[:, None] - places + NEAR < 2 * NEAR).all(-1).any(-1))  # unsigned: wraps at the edges
    return jnp.stack(found)[spared]
