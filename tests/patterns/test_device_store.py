"""What is on the device is what the store holds, and a crystal's atoms can be taken out again."""

import jax
import numpy as np
import pytest
import reference

from xrdjax.crystals.species import SPECIES
from xrdjax.patterns.device_store import take_cell, to_device


@pytest.fixture(scope="module")
def resident(tiny_store):
    return to_device(tiny_store)


def test_a_cell_is_the_crystal_and_inert_padding(tiny_store, resident):
    """The last crystals have fewer atoms behind them than a bucket holds."""
    num_padded = 64
    numbers = np.arange(len(tiny_store))
    cells = jax.jit(jax.vmap(lambda number: take_cell(resident, number, num_padded)))(numbers)
    for number in numbers:
        crystal, cell = tiny_store.crystal(number), jax.tree.map(lambda leaf, number=number: leaf[number], cells)
        real, padding = slice(crystal.num_atoms), slice(crystal.num_atoms, num_padded)
        difference = np.asarray(cell.fract[real]) / 2.0**32 - crystal.fract
        assert np.abs(difference - np.round(difference)).max() <= 4e-10
        assert [SPECIES[species] for species in np.asarray(cell.species[real])] == list(crystal.species)
        np.testing.assert_array_equal(cell.occupancy[real], crystal.occupancy.astype(np.float32))
        np.testing.assert_array_equal(cell.u_iso[real], crystal.u_iso.astype(np.float32))
        assert not np.any(cell.occupancy[padding])
        # Padding of a rank of its own would count as one more species.
        assert not np.any(cell.rank[padding])
        in_order = sorted(set(crystal.species), key=SPECIES.index)
        np.testing.assert_array_equal(cell.rank[real], [in_order.index(species) for species in crystal.species])


def test_bases_and_labels_are_those_of_the_store(tiny_store, resident):
    np.testing.assert_array_equal(resident.space_group, tiny_store.space_group)
    np.testing.assert_array_equal(resident.num_atoms, tiny_store.num_atoms)
    for number, cell in enumerate(tiny_store.cell):
        direct = reference.edges(cell)
        np.testing.assert_allclose(resident.direct[number], direct, rtol=0, atol=2**-22 * np.abs(direct).max())
        np.testing.assert_allclose(resident.reciprocal[number], np.linalg.inv(direct).T, rtol=0, atol=2**-23)
