"""Random changes of one crystal's atoms. Padding may be changed too: its occupancy is zero, so nothing is seen."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from xrdjax.crystals.elements import NUM_RUNGS, ladder_element
from xrdjax.crystals.species import SPECIES

LAST_ELEMENT = SPECIES.index("Pu")  # heavier ones are in no crystal that anyone diffracts


def substitute_atoms(key: Key[Array, ""], species: Int[Array, "atoms"], probability: float) -> Int[Array, "atoms"]:
    """Replace each atom, with this probability, by an element drawn uniformly from H to Pu. Breaks the symmetry."""
    choose, element = jax.random.split(key)
    is_replaced = jax.random.bernoulli(choose, float(probability), species.shape)
    return jnp.where(is_replaced, jax.random.randint(element, species.shape, 0, LAST_ELEMENT + 1), species)


def substitute_species(
    key: Key[Array, ""], species: Int[Array, "atoms"], rank: Int[Array, "atoms"], probability: float
) -> Int[Array, "atoms"]:
    """Exchange, with this probability, all species of a crystal for other elements; the symmetry stays exactly.

    `rank` numbers the crystal's species 0, 1, …; different ranks get elements whose atomic numbers differ by at
    least an eighth, so that no two become alike. Crystals with more species than there are such steps stay as they are.
    """
    choose, ladder, order = jax.random.split(key, 3)
    start = jax.random.uniform(ladder)
    rung = jax.random.permutation(order, NUM_RUNGS)[jnp.minimum(rank, NUM_RUNGS - 1)]
    atomic_number = ladder_element(rung + start).astype(species.dtype)
    is_exchanged = jax.random.bernoulli(choose, float(probability)) & (rank.max() < NUM_RUNGS)
    return jnp.where(is_exchanged, atomic_number - 1, species)


def remove_atoms(key: Key[Array, ""], occupancy: Float[Array, "atoms"], probability: float) -> Float[Array, "atoms"]:
    """Empty each atom's place with this probability."""
    return jnp.where(jax.random.bernoulli(key, float(probability), occupancy.shape), 0, occupancy)
