"""Every option of the physics against float64 NumPy: layers, cameras, displacements, anomalous atoms, scales."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from xrdjax.config import CR_K_ALPHA1, PatternConfig
from xrdjax.crystals.store import CrystalStore
from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis
from xrdjax.diffraction.layer import sphere_maximum
from xrdjax.diffraction.scattering import electron_wavelength
from xrdjax.diffraction.sphere import row_box, sphere_indices
from xrdjax.diffraction.spots import round_up, scatterers, zone_spots
from xrdjax.errors import XrdjaxError

FLOAT64 = 1e-12  # relative to F(000)²: 2π h·x of some hundred radians, summed over a dozen atoms


@pytest.fixture(scope="module")
def mixed():
    """Return a triclinic cell with ions, shared and partly empty places and anisotropic displacements."""
    rng = np.random.default_rng(21)
    root = rng.normal(0, 0.1, (12, 3, 3))
    u = root @ root.transpose(0, 2, 1)
    crystal = reference.free_crystal(
        [5.1, 6.3, 7.9, 81, 99, 107],
        rng.random((12, 3)),
        ["Fe3+", "Fe3+", "O2-", "O1-", "Si", "Si4+", "Cl1-", "D", "U6+", "C", "Ba", "I"],
        occupancy=rng.uniform(0.2, 1, 12),
        u_iso=rng.uniform(0, 0.05, 12),
    )
    return replace(crystal, u_aniso=u[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]])


def s2_of(zone, crystal):
    return ((zone.hkl @ np.linalg.inv(reference.edges(crystal.cell)).T) ** 2).sum(1) / 4


def assert_close(actual, expected, crystal, unit=FLOAT64):
    assert np.abs(actual - expected).max() <= unit * reference.electrons(crystal) ** 2
    assert expected.max() > 1e-3 * reference.electrons(crystal) ** 2


@pytest.mark.parametrize("layer", [1, -1, 2, 5])
@pytest.mark.parametrize("uvw", [(0, 0, 1), (1, 0, 0), (1, -1, 2), (-1, 2, 3)], ids=str)
def test_upper_layers_hold_every_reflection_of_theirs(mixed, uvw, layer):
    expected, spots = reference.zone(mixed, uvw, layer=layer), zone_spots(mixed, uvw, layer=layer)
    np.testing.assert_array_equal(spots.hkl, expected.hkl)
    np.testing.assert_allclose(spots.xy, expected.xy, rtol=0, atol=1e-13)
    assert_close(spots.intensity, expected.intensity, mixed)
    sine = np.sqrt(s2_of(expected, mixed)) * reference.WAVELENGTH
    np.testing.assert_allclose(np.sin(np.radians(spots.two_theta_deg / 2)), sine, atol=1e-12)


@pytest.mark.parametrize("layer", [0, 1, 3])
def test_a_precession_camera_records_what_crosses_the_ewald_sphere(mixed, layer):
    """The beam k0 circles the axis at angle µ. G is recorded if |k0 + G| = |k0| somewhere: |G|² λ = −2 λ k0·G.

    With height ζ and distance ξ from the axis −λ k0·G runs from ζ cos µ − ξ sin µ to ζ cos µ + ξ sin µ.
    """
    angle, uvw = 25.0, (1, 0, 2)
    whole = reference.zone(mixed, uvw, layer=layer)
    length2, from_axis = 4 * s2_of(whole, mixed), np.hypot(*whole.xy.T)
    height = np.sqrt(np.maximum(length2 - from_axis**2, 0))
    middle, half = height * np.cos(np.radians(angle)), from_axis * np.sin(np.radians(angle))
    recorded = np.abs(length2 * reference.WAVELENGTH / 2 - middle) <= half
    spots = zone_spots(mixed, uvw, layer=layer, precession_deg=angle)
    np.testing.assert_array_equal(spots.hkl, whole.hkl[recorded])
    assert 10 < recorded.sum() < len(recorded)
    inside_blind_centre = ~recorded & (from_axis < from_axis[recorded].min())
    assert inside_blind_centre.any() == (layer == 3)


@pytest.mark.parametrize("wavelength", [reference.WAVELENGTH, CR_K_ALPHA1, 0.71073])
def test_anomalous_scattering_parts_friedel_mates(mixed, wavelength):
    uvw = (1, 1, 0)
    whole = reference.zone(mixed, uvw, wavelength)
    s2 = s2_of(whole, mixed)
    expected = reference.intensities(mixed, whole.hkl, s2, anomalous_at=wavelength)
    spots = zone_spots(mixed, uvw, wavelength=wavelength, anomalous=True)
    np.testing.assert_array_equal(spots.hkl, whole.hkl)
    assert_close(spots.intensity, expected, mixed)
    mates = {tuple(hkl): value for hkl, value in zip(spots.hkl.tolist(), spots.intensity, strict=True)}
    gap = max(abs(value - mates[tuple(-index for index in hkl)]) for hkl, value in mates.items())
    assert gap > 1e-3 * spots.intensity.max()


def test_centrosymmetric_crystals_keep_friedel_s_law():
    crystal = reference.crystal("gypsum")
    spots = zone_spots(crystal, (1, 0, 0), anomalous=True)
    np.testing.assert_allclose(spots.intensity, spots.intensity[::-1], rtol=0, atol=1e-7 * spots.intensity.max())
    np.testing.assert_array_equal(spots.hkl, -spots.hkl[::-1])


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_anisotropic_displacements(mixed, precision):
    whole = reference.zone(mixed, (1, -1, 1))
    expected = reference.intensities(mixed, whole.hkl, s2_of(whole, mixed), thermal=True)
    spots = zone_spots(mixed, (1, -1, 1), debye_waller=True, precision=precision)
    assert_close(spots.intensity, expected, mixed, {"float64": FLOAT64, "float32": 1e-5}[precision])
    isotropic = zone_spots(replace(mixed, u_aniso=None), (1, -1, 1), debye_waller=True)
    assert np.abs(spots.intensity - isotropic.intensity).max() > 0.01 * spots.intensity.max()


def test_equal_anisotropic_displacements_are_isotropic_ones(mixed):
    """U_ij = u G*_ij / a*_i a*_j is a sphere in any cell."""
    reciprocal = reciprocal_basis(mixed.cell)
    length = np.linalg.norm(reciprocal, axis=1)
    sphere = 0.03 * (reciprocal @ reciprocal.T) / np.outer(length, length)
    u_aniso = np.tile(sphere[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]], (12, 1))
    first = zone_spots(replace(mixed, u_aniso=u_aniso), (1, 2, 0), debye_waller=True)
    second = zone_spots(replace(mixed, u_aniso=None, u_iso=np.full(12, 0.03)), (1, 2, 0), debye_waller=True)
    assert_close(first.intensity, second.intensity, mixed)


def test_electrons_have_their_own_wavelength_and_form_factors(mixed):
    """0.0251 Å at 200 kV, 0.0370 Å at 100 kV (Williams and Carter, Transmission Electron Microscopy, table 1.2)."""
    assert electron_wavelength(200e3) == pytest.approx(0.02508, abs=5e-6)
    assert electron_wavelength(100e3) == pytest.approx(0.03701, abs=5e-6)
    wavelength = electron_wavelength(200e3)
    spots = zone_spots(mixed, (1, 1, 1), radiation="electron", wavelength=wavelength, d_min=0.6)
    expected = reference.zone(mixed, (1, 1, 1), 1.2)
    np.testing.assert_array_equal(spots.hkl, expected.hkl)
    intensity = reference.intensities(mixed, spots.hkl, s2_of(expected, mixed), radiation="electron")
    np.testing.assert_allclose(spots.intensity, intensity, rtol=0, atol=1e-11 * intensity.max())


SPHERES = {
    "plain": {},
    "Lorentz–polarisation": {"lorentz_polarization": "single_crystal"},
    "anomalous, at rest no longer": {"anomalous": True, "debye_waller": True},
}


@pytest.mark.parametrize("options", SPHERES.values(), ids=SPHERES.keys())
def test_percent_of_the_strongest_of_the_sphere(mixed, options):
    hkl = reference.sphere_indices(reference.edges(mixed.cell), 2 / reference.WAVELENGTH)
    s2 = ((hkl @ np.linalg.inv(reference.edges(mixed.cell)).T) ** 2).sum(1) / 4
    every = reference.intensities(
        mixed,
        hkl,
        s2,
        anomalous_at=reference.WAVELENGTH if "anomalous" in options else None,
        thermal="debye_waller" in options,
    )
    if "lorentz_polarization" in options:
        theta = np.arcsin(reference.WAVELENGTH * np.sqrt(s2))
        every *= (1 + np.cos(2 * theta) ** 2) / (2 * np.sin(2 * theta))
    plain = zone_spots(mixed, (1, 1, 2), **options)
    percent = zone_spots(mixed, (1, 1, 2), normalize="sphere", **options)
    np.testing.assert_allclose(percent.intensity, 100 * plain.intensity / every.max(), rtol=1e-9)
    zone = zone_spots(mixed, (1, 1, 2), normalize="zone", **options)
    np.testing.assert_allclose(zone.intensity, 100 * plain.intensity / plain.intensity.max(), rtol=1e-12)
    assert every.max() > 1.01 * plain.intensity.max()


def test_the_strongest_reflection_is_found_without_looking_at_all():
    """In float32, on crystals of the store of all sizes, strained: the same as a maximum over every reflection."""
    store, rng = CrystalStore.open("open"), np.random.default_rng(6)
    config = PatternConfig()
    run = jax.jit(sphere_maximum, static_argnames=("box", "config"))
    sizes = [
        rng.choice(np.flatnonzero((store.num_atoms > low) & (store.num_atoms <= 2 * low)), 4) for low in (1, 8, 32)
    ]
    for number in np.concatenate(sizes):
        crystal = store.crystal(int(number))
        crystal = replace(crystal, cell=crystal.cell * [1.07, 1.07, 1.07, 1, 1, 1])
        hkl = reference.sphere_indices(reference.edges(crystal.cell), config.g_max)
        s2 = ((hkl @ np.linalg.inv(reference.edges(crystal.cell)).T) ** 2).sum(1) / 4
        expected = reference.intensities(crystal, hkl, s2).max()
        box = tuple(round_up(side) for side in row_box(direct_basis(crystal.cell), config.g_max).tolist())
        reciprocal = jnp.asarray(reciprocal_basis(crystal.cell), jnp.float32)
        found = run(scatterers(crystal, "float32", config), reciprocal, crystal.num_atoms, box, config)
        assert float(found) == pytest.approx(expected, rel=1e-5), crystal.name


@pytest.mark.parametrize("cell", [[3, 4, 5, 90, 90, 90], [4, 9, 21, 62, 71, 108]], ids=str)
def test_the_sphere_holds_every_reflection_once(cell):
    direct = direct_basis(np.array(cell, float))
    expected = reference.sphere_indices(reference.edges(np.array(cell, float)), 1.1)
    np.testing.assert_array_equal(sphere_indices(direct, 1.1), expected[np.lexsort(expected.T[::-1])])


BAD = {
    "wavelength": {"wavelength": 0.0},
    "d_min": {"d_min": 0.5},
    "precession_deg": {"precession_deg": 120.0},
    "layer": {"layer": 5000},
    "radiation": {"radiation": "neutron"},
    "electrons need a limit": {"radiation": "electron", "wavelength": 0.025},
    "anomalous": {"radiation": "electron", "wavelength": 0.025, "d_min": 1.0, "anomalous": True},
    "normalize": {"normalize": "crystal"},
    "precision": {"precision": "float16"},
    "reflections within": {"wavelength": 0.0001},
    "frame": {"frame": "paper", "layer": 1},
}


@pytest.mark.parametrize(("field", "options"), BAD.items(), ids=BAD.keys())
@pytest.mark.usefixtures("unchecked_types")
def test_options_out_of_range_are_named(mixed, field, options):
    with pytest.raises(XrdjaxError, match=field):
        zone_spots(mixed, (1, 0, 0), **options)


def test_limits_that_leave_nothing_warn_and_give_an_empty_list(mixed):
    for options in ({"layer": 40}, {"precession_deg": 1.0}, {"d_min": 50.0}, {"layer": 40, "normalize": "sphere"}):
        with pytest.warns(UserWarning, match="no reflection"):
            spots = zone_spots(mixed, (1, 0, 0), **options)
        assert spots.hkl.shape == (0, 3)
        assert spots.intensity.shape == (0,)
