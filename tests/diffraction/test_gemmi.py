"""Against gemmi: structure factors of real crystals, and the extinctions of every setting of every space group."""

import gemmi
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xrdjax.crystals.store import CrystalStore
from xrdjax.diffraction.spots import zone_spots
from xrdjax.diffraction.structure_factor import Scatterers, structure_factors

NUM_CRYSTALS, NUM_REFLECTIONS = 500, 8
NUM_ABSENT, NUM_PRESENT, ATOMS = 192, 64, 192  # the largest group has as many operations
LARGEST_INDEX = 30


def small_structure(crystal):
    """Return all atoms of the cell, without symmetry, as gemmi's."""
    structure = gemmi.SmallStructure()
    structure.cell = gemmi.UnitCell(*crystal.cell)
    for name, fract, occupancy in zip(crystal.species, crystal.fract.tolist(), crystal.occupancy, strict=True):
        site = gemmi.SmallStructure.Site()
        site.element = gemmi.Element(name.rstrip("+-0123456789"))
        site.fract, site.occ = gemmi.Fractional(*fract), float(occupancy)
        structure.add_site(site)
    return structure


@pytest.mark.long
def test_structure_factors_of_five_hundred_crystals():
    """In the float32 of training, along zones of any direction; gemmi keeps its table and f in single precision."""
    store, rng = CrystalStore.open("open"), np.random.default_rng(500)
    worst = 0.0
    for number in rng.choice(len(store), NUM_CRYSTALS, replace=False):
        crystal = store.crystal(int(number))
        uvw = tuple((rng.permutation([1, *rng.integers(-3, 4, 2)])).tolist())
        spots = zone_spots(crystal, uvw, precision="float32", ions=False)
        structure = small_structure(crystal)
        calculator = gemmi.StructureFactorCalculatorX(structure.cell)
        total = abs(calculator.calculate_sf_from_small_structure(structure, (0, 0, 0)))
        for row in rng.integers(len(spots.hkl), size=NUM_REFLECTIONS):
            expected = abs(calculator.calculate_sf_from_small_structure(structure, spots.hkl[row].tolist()))
            worst = max(worst, abs(np.sqrt(spots.intensity[row]) - expected) / total)
    assert worst < 1e-5


def candidates(rng):
    """Return reflections up to the largest index: on axes, in planes, on diagonals, anywhere."""
    index = np.arange(1, LARGEST_INDEX + 1)[:, None]
    axial = np.concatenate([index * axis for axis in np.vstack([np.eye(3, dtype=int), [[1, 1, 0], [1, -1, 0]]])])
    h, k, l = rng.integers(-LARGEST_INDEX, LARGEST_INDEX + 1, (3, 80))  # noqa: E741
    zero = np.zeros_like(h)
    planes = [(zero, k, l), (h, zero, l), (h, k, zero), (h, h, l), (h, -h, l), (h, k, k), (h, k, h), (h, k, l)]
    return np.concatenate([axial, *(np.stack(plane, axis=1) for plane in planes)])


def setting(group, rng):
    """Return a general position's images in 2⁻³² of an edge, and indices of absent and of present reflections."""
    operations = list(group.operations())
    rotation = np.array([operation.rot for operation in operations]) // gemmi.Op.DEN
    shift = np.array([operation.tran for operation in operations]) / gemmi.Op.DEN
    images = rotation @ rng.integers(0, 2**32, 3) + np.rint(shift * 2.0**32).astype(np.int64)
    hkl = candidates(rng)
    absent = np.array([group.operations().is_systematically_absent(index) for index in hkl.tolist()])
    return np.resize(images % 2**32, (ATOMS, 3)), len(operations), hkl[absent], hkl[~absent]


@jax.jit
def squared(fract, occupancy, hkl):
    """Return |F|² of iron atoms whose form factor falls with no angle."""

    def one(fract, occupancy, hkl):
        iron = jnp.zeros((ATOMS, 9)).at[:, 8].set(26.0)
        atoms = Scatterers(fract=fract, coefficients=iron, occupancy=occupancy)
        return (structure_factors(atoms, jnp.eye(3, dtype=jnp.int32), hkl, jnp.zeros(len(hkl))) ** 2).sum(0)

    return jax.vmap(one)(fract, occupancy, hkl)


def test_extinctions_of_every_setting_of_every_space_group():
    """Operations on fixed-point coordinates are exact but for thirds, so phases are right to 90 · 2⁻³³ cycles."""
    rng = np.random.default_rng(230)
    settings = {group.hall: group for group in gemmi.spacegroup_table()}
    columns, numbers = [], set()
    for group in settings.values():
        images, order, absent, present = setting(group, rng)
        if len(absent):
            numbers.add(group.number)
            hkl = np.concatenate([np.resize(rng.permutation(absent), (NUM_ABSENT, 3)), present[:NUM_PRESENT]])
            columns.append((images.astype(np.uint32), np.arange(ATOMS) < order, hkl.astype(np.int32), group.xhm()))
    assert len(numbers) > 170
    assert len(columns) > 480
    fract, occupancy, hkl, names = zip(*columns, strict=True)
    intensity = np.asarray(squared(np.stack(fract), np.stack(occupancy).astype(np.float32), np.stack(hkl)))
    ratio = intensity[:, :NUM_ABSENT].max(axis=1) / intensity[:, NUM_ABSENT:].max(axis=1)
    assert ratio.max() < 1e-9, names[ratio.argmax()]
    # A setting of another group would not do: half of these reflections would be there.
    other = [np.roll(np.stack(column), 97, axis=0) for column in (fract, occupancy)]
    shuffled = np.asarray(squared(other[0], other[1].astype(np.float32), np.stack(hkl)))
    assert (shuffled[:, :NUM_ABSENT].max(axis=1) / shuffled[:, NUM_ABSENT:].max(axis=1) > 1e-3).mean() > 0.5
