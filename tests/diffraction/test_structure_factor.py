"""Structure factors: extinctions of the space groups, padding, precision."""

from dataclasses import replace
from functools import partial

import gemmi
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from xrdjax.config import DiffractionConfig
from xrdjax.crystals.store import CrystalStore
from xrdjax.diffraction.spots import crystal_plane, fixed_point, scatterers, zone_spots
from xrdjax.diffraction.structure_factor import _cos_sin, intensities, structure_factors
from xrdjax.diffraction.zone import disc_rows, list_spots

# Every crystal system, every centring, screw axes and glide planes of all kinds, d included.
GROUPS = (
    4, 5, 7, 9, 14, 15, 19, 20, 29, 33, 36, 43, 46, 52, 60, 61, 62, 63, 64, 66, 70, 72, 73, 74, 76, 80, 82, 88, 92, 96,
    110, 122, 136, 140, 141, 142, 146, 148, 152, 155, 161, 166, 167, 173, 176, 186, 190, 194, 198, 199, 205, 206, 213,
    216, 217, 220, 225, 227, 230,
)  # fmt: skip
ABSENCE_AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1))


@pytest.fixture(scope="module")
def one_of_each_group():
    """Return, for each group, the first crystal of the embedded store that is not large."""
    store = CrystalStore.open("open")
    small = np.where(store.num_atoms <= 64, store.space_group, 0)
    return [store.crystal(int(np.argmax(small == group))) for group in GROUPS if np.any(small == group)]


def operations_of(crystal):
    triplets = []
    for rotation, translation in zip(
        crystal.operations.rotation.tolist(), crystal.operations.translation.tolist(), strict=True
    ):
        operation = gemmi.Op("x,y,z")
        operation.rot, operation.tran = [[gemmi.Op.DEN * entry for entry in row] for row in rotation], translation
        triplets.append(operation)
    return gemmi.GroupOps(triplets)


def test_absent_reflections_vanish_in_real_crystals(one_of_each_group):
    """What should cancel leaves as much of F(000) as phases are wrong.

    The store's coordinates are right to 4e-10 of an edge, so phases to 2π · 60 · 4e-10; float32 adds 16 roundings.
    """
    unit = 2 * np.pi * 60 * 4e-10 + 16 * 2**-24
    num_absent = []
    for crystal in one_of_each_group:
        operations = operations_of(crystal)
        num_absent.append(0)
        for uvw in ABSENCE_AXES:
            spots = zone_spots(crystal, uvw, precision="float32")
            absent = np.array([operations.is_systematically_absent(hkl) for hkl in spots.hkl.tolist()])
            strongest, rest = spots.intensity.max(), spots.intensity[absent].max(initial=0)
            label = f"{crystal.name}, group {crystal.space_group}, zone {uvw}"
            assert rest <= (unit * reference.electrons(crystal)) ** 2, label
            assert rest < 1e-8 * strongest, label
            num_absent[-1] += absent.sum()
    assert len(num_absent) >= 40
    assert min(num_absent) > 0
    assert sum(num_absent) > 5000


@partial(jax.jit, static_argnames="num_spots")
def half_list(plane, num_spots):
    """Return (i, j), s² and the number of the reflections of a half disc."""
    rows = disc_rows(plane, 2 / reference.WAVELENGTH, 64, half=True)
    ij, _ = list_spots(rows, plane, num_spots)
    return ij, plane.s2(ij), rows.count


def test_padding_changes_nothing():
    """Whatever stands in padding atoms, and however far the loops run beyond what is real."""
    crystal = reference.crystal("gypsum")
    plane = crystal_plane(crystal, (1, 0, 2), "float32", DiffractionConfig())
    ij, s2, num_spots = half_list(plane, 512)
    atoms = scatterers(crystal, "float32", DiffractionConfig())
    rng = np.random.default_rng(2)
    wide = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:32]]), atoms)
    wide = replace(
        wide,
        fract=wide.fract.at[48:].set(rng.integers(2**32, size=(48, 3), dtype=np.uint32)),
        occupancy=wide.occupancy.at[48:].set(0),
    )
    run = jax.jit(intensities)
    tight = run(atoms, plane.hkl, ij, s2, 48, num_spots)
    np.testing.assert_array_equal(run(wide, plane.hkl, ij, s2, 96, num_spots), tight)
    np.testing.assert_array_equal(run(wide, plane.hkl, ij, s2, 48, 512)[:num_spots], tight[:num_spots])
    assert np.all(np.asarray(tight)[-(-num_spots // 64) * 64 :] == 0)


@pytest.mark.parametrize("num_atoms", [1, 31, 32, 33, 64])
def test_blocks_cover_all_atoms(num_atoms):
    rng = np.random.default_rng(num_atoms)
    crystal = reference.free_crystal([5, 6, 7, 80, 95, 100], rng.random((num_atoms, 3)), ["Fe"] * num_atoms)
    expected = reference.zone(crystal, (0, 1, 1))
    actual = zone_spots(crystal, (0, 1, 1), precision="float32").intensity
    error = 16 * 2**-24 * reference.electrons(crystal)
    assert np.all(np.abs(actual - expected.intensity) <= 2 * np.sqrt(expected.intensity) * error + error**2)


def test_sine_and_cosine_of_fixed_point_phases():
    """Taylor's remainder at π/4 is (π/4)¹⁰/10! = 2.5e-8; the rest is rounding of results up to 1 and of the angle."""
    rng = np.random.default_rng(0)
    edges = (np.arange(-8, 9, dtype=np.int64)[:, None] * 2**29 + np.arange(-2, 3)).ravel()
    phase = np.concatenate([edges, rng.integers(-(2**31), 2**31, 100_000)]).astype(np.uint32).view(np.int32)
    cosine, sine = jax.jit(_cos_sin)(jnp.asarray(phase))
    angle = 2 * np.pi * phase.astype(float) / 2**32
    np.testing.assert_allclose(cosine, np.cos(angle), rtol=0, atol=2.5e-8 + 3 * 2**-24)
    np.testing.assert_allclose(sine, np.sin(angle), rtol=0, atol=2.5e-8 + 3 * 2**-24)


def test_fixed_point_phases_stay_exact_at_large_indices():
    """At |h| = 60 float32 would be off by 1e-4 rad, TF32 by 0.24: this must hold wherever the tests run."""
    crystal = reference.free_crystal([90, 95, 100, 80, 95, 100], np.random.default_rng(4).random((8, 3)), ["Pb"] * 8)
    plane_hkl, ij, s2 = (
        jnp.array([[0, 1, 0], [0, 0, 1]]),
        jnp.array([[60, 3], [117, -120], [-9, 60], [1, 0]]),
        jnp.zeros(4),
    )
    atoms = jax.tree.map(lambda leaf: leaf[:32], scatterers(crystal, "float32", DiffractionConfig()))
    actual = structure_factors(atoms, plane_hkl, ij, s2)
    phase = np.asarray(ij) @ np.asarray(plane_hkl) @ crystal.fract.T
    expected = reference.form_factor("Pb", np.zeros(4)) * np.exp(2j * np.pi * phase).sum(1)
    unit = 16 * 2**-24 + 2 * np.pi * 240 * 2**-33
    np.testing.assert_allclose(actual[0] + 1j * actual[1], expected, rtol=0, atol=unit * reference.electrons(crystal))


def test_coordinates_become_the_nearest_fixed_point():
    fract = np.array([0.0, 0.5, 1 / 3, 1.0, -0.25, 1 - 2.0**-34, 7.125])
    np.testing.assert_array_equal(fixed_point(fract), [0, 2**31, 1431655765, 0, 3 * 2**30, 0, 2**29])
