"""Crystals on the device: flat arrays of all atoms of all cells of a store, and what others are made from.

Stored crystals have numbers from 0 on; −1, −2, … are the templates of made-up ones. Nothing stored is padded. A
picture takes as many atoms as its bucket holds, from its crystal's first atom on, and empties those that belong to the
next crystal.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from xrdjax.crystals.procedural import Factory, make_crystal, make_crystals
from xrdjax.crystals.store import Atoms, CrystalStore
from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class DeviceStore:
    """All crystals of a store, on the device."""

    fract: UInt32[Array, "atoms 3"]
    """Fractional coordinates in 2⁻³² of a cell edge."""
    species: Int[Array, "atoms"]
    rank: Int[Array, "atoms"]
    """0, 1, … for the different species of one crystal."""
    occupancy: Float[Array, "atoms"]
    u_iso: Float[Array, "atoms"]
    offset: Int[Array, "crystals"]
    num_atoms: Int[Array, "crystals"]
    direct: Float[Array, "crystals 3 3"]
    """a, b, c as rows, Å."""
    reciprocal: Float[Array, "crystals 3 3"]
    """a*, b*, c* as rows, 1/Å."""
    space_group: Int[Array, "crystals"]
    """1 to 230."""
    factory: Factory | None = None
    """Where made-up crystals come from, if a plan has any."""

    def group_of(self, crystal: Int[Array, "*n"]) -> Int[Array, "*n"]:
        """Return the space groups of stored and made-up crystals."""
        if self.factory is None:
            return self.space_group[crystal]
        made = self.factory.space_group[jnp.maximum(-1 - crystal, 0)]
        return jnp.where(crystal < 0, made, self.space_group[jnp.maximum(crystal, 0)])


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Cell:
    """The atoms of one crystal, padded with atoms of zero occupancy and rank."""

    fract: UInt32[Array, "*batch atoms 3"]
    species: Int[Array, "*batch atoms"]
    rank: Int[Array, "*batch atoms"]
    occupancy: Float[Array, "*batch atoms"]
    u_iso: Float[Array, "*batch atoms"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Sample:
    """One crystal, stored or made up."""

    cell: Cell
    num_atoms: Int[Array, "*batch"]
    direct: Float[Array, "*batch 3 3"]
    """a, b, c as rows, Å."""
    reciprocal: Float[Array, "*batch 3 3"]
    """a*, b*, c* as rows, 1/Å."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class OwnPictures:
    """All pictures of a folder on the device, and what they show."""

    image: Float[Array, "n height width 1"]
    space_group: Int[Array, "n"]
    crystal_system: Int[Array, "n"]
    uvw: Int[Array, "n 3"]
    """Zone axes; 0 0 0 where not known."""
    names: tuple[str, ...] = field(metadata={"static": True})
    share: float = field(metadata={"static": True})
    """Probability of each picture of a batch to be one of these."""


def to_device(store: CrystalStore) -> DeviceStore:
    """Expand a store to full cells and put it on the device, in float32 and fixed-point coordinates."""
    atoms = store.expand()
    return DeviceStore(
        fract=jnp.asarray(atoms.fract),
        species=jnp.asarray(atoms.species, jnp.int32),
        rank=jnp.asarray(species_rank(atoms), jnp.int32),
        occupancy=jnp.asarray(atoms.occupancy, jnp.float32),
        u_iso=jnp.asarray(atoms.u_iso, jnp.float32),
        offset=jnp.asarray(atoms.offset[:-1], jnp.int32),
        num_atoms=jnp.asarray(np.diff(atoms.offset), jnp.int32),
        direct=jnp.asarray(direct_basis(store.cell), jnp.float32),
        reciprocal=jnp.asarray(reciprocal_basis(store.cell), jnp.float32),
        space_group=jnp.asarray(store.space_group, jnp.int32),
    )


def species_rank(atoms: Atoms) -> Int[np.ndarray, "atoms"]:
    """Number the species of each crystal 0, 1, … by their place in `SPECIES`."""
    crystal = np.repeat(np.arange(len(atoms.offset) - 1), np.diff(atoms.offset))
    distinct, which = np.unique(crystal * 1024 + atoms.species, return_inverse=True)
    owner = distinct // 1024
    return which - np.searchsorted(owner, owner)[which]


def take_cell(store: DeviceStore, crystal: Int[Array, ""], num_atoms: int) -> Cell:
    """Return the first `num_atoms` atoms of one crystal."""
    place = jnp.arange(num_atoms)
    is_real = place < store.num_atoms[crystal]
    atom = jnp.minimum(store.offset[crystal] + place, store.species.shape[0] - 1)
    return Cell(
        fract=store.fract[atom],
        species=store.species[atom],
        rank=jnp.where(is_real, store.rank[atom], 0),
        occupancy=jnp.where(is_real, store.occupancy[atom], 0),
        u_iso=store.u_iso[atom],
    )


def take_sample(store: DeviceStore, crystal: Int[Array, ""], num_atoms: int) -> Sample:
    """Return a stored crystal, with room for `num_atoms` atoms."""
    return Sample(
        cell=take_cell(store, crystal, num_atoms),
        num_atoms=store.num_atoms[crystal],
        direct=store.direct[crystal],
        reciprocal=store.reciprocal[crystal],
    )


def make_samples(key: Key[Array, "n"], factory: Factory, crystal: Int[Array, "n"], num_atoms: int) -> Sample:
    """Return the made-up crystals that belong to keys and templates, with room for `num_atoms` atoms.

    On a CPU none waits for another's second attempt; elsewhere each stays on the device that has its key.
    """
    template = -1 - crystal
    if jax.default_backend() == "cpu":
        made = make_crystals(key, factory, template, num_atoms)
    else:
        made = jax.vmap(make_crystal, in_axes=(0, None, 0, None))(key, factory, template, num_atoms)
    cell = Cell(
        fract=made.fract,
        species=made.species,
        rank=made.rank,
        occupancy=made.occupancy,
        u_iso=jnp.zeros_like(made.occupancy),
    )
    return Sample(cell=cell, num_atoms=factory.num_atoms[template], direct=made.direct, reciprocal=made.reciprocal)
