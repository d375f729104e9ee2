"""What random atoms may be: a ladder of elements that nobody confuses, and how much room an element takes."""

from functools import lru_cache

import gemmi
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

from xrdjax.crystals.species import SPECIES, element_of

NUM_ELEMENTS = SPECIES.index("Cf") + 1  # species 0 to 97 are the neutral atoms of atomic number 1 to 98
# A ladder of atomic numbers from 5 to 82 that grow by a quarter: below 4.5 two rungs would round to the same element.
NUM_RUNGS, RUNG_RATIO, FIRST_RUNG = 13, 1.25, 4.5


def ladder_element(rung: Real[Array, "*n"]) -> Float[Array, "*n"]:
    """Return the atomic number at a height, 0 to 13, of a ladder on which a whole rung is at least an eighth of it."""
    return jnp.round(FIRST_RUNG * RUNG_RATIO**rung)


@lru_cache(maxsize=1)
def covalent_radii() -> Float[np.ndarray, "species"]:
    """Return the covalent radius in Å of the element of every species (Cordero et al. 2008, doi 10.1039/b801115j)."""
    return np.array([gemmi.Element(element_of(species)).covalent_r for species in SPECIES])


def neutral_numbers() -> Int[np.ndarray, "species"]:
    """Return, for every species, the number of the neutral atom of its element."""
    return np.array([SPECIES.index(element_of(species)) for species in SPECIES])
