"""Depletion towards b.c.c. and f.c.c., as in the paper: atoms leave a cubic cell, key sites are kept.

A crystal can be depleted if its cell is cubic, atoms of one kind stand on the key sites, (0, 0, 0) and (½, ½, ½) or
(0, 0, 0) and the three (½, ½, 0), if its lattice is not yet the one aimed at, and if it has at least six or eight
atoms. What symmetry the atoms that are left still have is searched for (`found_group`).
"""

from dataclasses import replace
from typing import Literal

import gemmi
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Int, UInt32

from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.found_group import found_group
from xrdjax.crystals.store import CrystalStore
from xrdjax.evaluation.requests import Requests, bases_of, recipes_of
from xrdjax.patterns.changes import NEAR, SITES, AtomChanges, apply_changes
from xrdjax.patterns.device_store import DeviceStore, take_cell

Target = Literal["bcc", "fcc"]
FEWEST_ATOMS = {"bcc": 6, "fcc": 8}
AIM = {
    target: tuple(n for n in range(195, 231) if gemmi.get_spacegroup_reference_setting(n).hm[0] == letter)
    for target, letter in (("bcc", "I"), ("fcc", "F"))
}
"""The cubic space groups of each lattice, which the paper counts as right at the end."""


def depletable(store: CrystalStore, target: Target) -> Bool[np.ndarray, "crystals"]:
    """Tell which crystals of a store can be depleted towards a lattice."""
    edge, angle = store.cell[:, :3], store.cell[:, 3:]
    is_cubic = (np.ptp(edge, axis=1) < 1e-3 * edge[:, 0]) & (np.abs(angle - 90) < 1e-3).all(1)
    is_cubic &= (store.space_group >= 195) & ~np.isin(store.space_group, AIM[target])
    is_cubic &= store.num_atoms >= FEWEST_ATOMS[target]
    atoms = store.expand()
    fitting = np.zeros(len(store), bool)
    for crystal in np.flatnonzero(is_cubic).tolist():
        own = slice(atoms.offset[crystal], atoms.offset[crystal + 1])
        on_site = _on_sites(atoms.fract[own], target)
        alone = on_site.sum() == len(SITES[target])
        alike = len(np.unique(atoms.species[own][on_site])) == len(np.unique(atoms.occupancy[own][on_site])) == 1
        fitting[crystal] = alone and alike
    return fitting


def _on_sites(fract: UInt32[np.ndarray, "atoms 3"], target: Target) -> Bool[np.ndarray, "atoms"]:
    sites = np.array(SITES[target], np.uint32) << 31
    return (fract[:, None] - sites + NEAR < 2 * NEAR).all(-1).any(-1)  # unsigned: wraps at the edges


def groups_left(requests: Requests, left: Bool[np.ndarray, "n atoms"], crystals: CrystalStore) -> Int[np.ndarray, "n"]:
    """Return the group of the atoms that are left of each request's crystal, 1 where none is found."""
    found: dict[tuple[int, bytes], int] = {}
    groups = np.zeros(len(requests), int)
    for number, (crystal, kept) in enumerate(zip(requests.crystal.tolist(), left, strict=True)):
        key = crystal, kept.tobytes()
        if key not in found:
            found[key] = found_group(without(crystals.crystal(crystal), kept)) or 1
        groups[number] = found[key]
    return groups


def atoms_left(requests: Requests, store: DeviceStore, seed: int) -> Bool[np.ndarray, "n atoms"]:
    """Return which atoms of its crystal each request leaves."""
    size = int(np.asarray(store.num_atoms)[requests.crystal].max(initial=1))
    recipes = recipes_of(requests, jnp.asarray(bases_of(requests.uvw)), seed)

    @jax.jit
    def occupancies(crystal: jax.Array, key: jax.Array, changes: AtomChanges) -> jax.Array:
        def one(crystal: jax.Array, key: jax.Array, changes: AtomChanges) -> jax.Array:
            return apply_changes(key, take_cell(store, crystal, size), store.num_atoms[crystal], changes).occupancy

        return jax.vmap(one)(crystal, key, changes)

    return np.asarray(occupancies(recipes.crystal, recipes.key, recipes.changes)) > 0


def without(crystal: Crystal, kept: Bool[np.ndarray, "atoms"]) -> Crystal:
    """Return a crystal with only some of its atoms; its group and sites mean nothing any more."""
    kept = kept[: crystal.num_atoms]
    u_aniso = None if crystal.u_aniso is None else crystal.u_aniso[kept]
    names = ("fract", "occupancy", "u_iso", "site", "operation")
    species = tuple(name for name, stays in zip(crystal.species, kept.tolist(), strict=True) if stays)
    return replace(crystal, species=species, u_aniso=u_aniso, **{name: getattr(crystal, name)[kept] for name in names})
