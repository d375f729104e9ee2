"""Stills against a float64 NumPy Ewald construction, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from xrdjax.diffraction.lattice import reciprocal_basis
from xrdjax.diffraction.scattering import electron_wavelength
from xrdjax.diffraction.spots import zone_spots
from xrdjax.diffraction.still import excitation, still_spots
from xrdjax.errors import XrdjaxError

DIRECTION = (0.3, -1.0, 2.21)


@pytest.fixture(scope="module")
def crystal():
    rng = np.random.default_rng(31)
    return reference.free_crystal([5.1, 6.3, 7.9, 81, 99, 107], rng.random((5, 3)), ["Fe", "Si", "O2-", "Ba", "C"])


def ewald(crystal, direction, wavelength, g_max):
    """Return hkl, wave vectors of the diffracted beams in the frame of the detector, and |G|."""
    direct = reference.edges(crystal.cell)
    hkl = reference.sphere_indices(direct, g_max)
    hkl = hkl[np.lexsort(hkl.T[::-1])]
    g = hkl @ np.linalg.inv(direct).T
    normal = np.array(direction) @ direct
    frame = np.vstack([reference.picture_axes(direct, direction), normal / np.linalg.norm(normal)])
    return hkl, g @ frame.T + [0, 0, -1 / wavelength], np.linalg.norm(g, axis=1)


@pytest.mark.parametrize(
    ("relrod", "mosaicity"), [(0.01, 0.0), (0.0, 0.8), (0.004, 0.5)], ids=["relrod", "mosaic", "both"]
)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_excited_reflections_are_those_near_the_ewald_sphere(crystal, relrod, mosaicity, precision):
    hkl, beam, length = ewald(crystal, DIRECTION, reference.WAVELENGTH, 2 / reference.WAVELENGTH)
    error = 1 / reference.WAVELENGTH - np.linalg.norm(beam, axis=1)
    cosine = np.sqrt(np.maximum(1 - (length * reference.WAVELENGTH / 2) ** 2, 0))
    width = np.hypot(relrod, np.radians(mosaicity) * length * cosine)
    weight = np.exp(-0.5 * (error / width) ** 2)
    expected = reference.intensities(crystal, hkl, length**2 / 4) * weight
    spots = still_spots(crystal, DIRECTION, relrod=relrod, mosaicity_deg=mosaicity, precision=precision)
    listed = {tuple(index) for index in spots.hkl.tolist()}
    assert all(tuple(index) in listed for index in hkl[(weight > 4e-6) & (beam[:, 2] < 0)].tolist())
    rows = [row for row, index in enumerate(hkl.tolist()) if tuple(index) in listed]
    np.testing.assert_array_equal(spots.hkl, hkl[rows])
    unit = {"float64": 1e-12, "float32": 1e-6}[precision]
    on_detector = beam[rows, :2] / -beam[rows, 2:] / reference.WAVELENGTH
    np.testing.assert_allclose(spots.xy, on_detector, rtol=20 * unit, atol=unit)
    np.testing.assert_allclose(spots.excitation_error, error[rows], rtol=0, atol=unit)
    # An error of s changes the weight by up to 0.6/σ of itself; the narrowest width here is 0.002 1/Å.
    scale = reference.electrons(crystal) ** 2 * (1 if precision == "float64" else 20)
    np.testing.assert_allclose(spots.intensity, expected[rows], rtol=0, atol=20 * unit * scale)
    assert 5 < len(spots.hkl) < 0.2 * len(hkl)


def test_fast_electrons_along_a_zone_see_its_layer(crystal):
    """The Ewald sphere of 200 kV is nearly flat: |G|²λ/2 = 0.003 1/Å at 0.5 1/Å, where tan 2θ is 2e-4 more than 2θ."""
    wavelength = electron_wavelength(200e3)
    still = still_spots(
        crystal, (1, 0, 1), radiation="electron", wavelength=wavelength, d_min=2.0, relrod=0.03, mosaicity_deg=0.0
    )
    layer = zone_spots(crystal, (1, 0, 1), radiation="electron", wavelength=wavelength, d_min=2.0)
    place = {tuple(index): row for row, index in enumerate(still.hkl.tolist())}
    rows = [place[tuple(index)] for index in layer.hkl.tolist()]
    np.testing.assert_allclose(still.xy[rows], layer.xy, rtol=2e-4)
    weight = np.exp(-0.5 * (still.excitation_error[rows] / 0.03) ** 2)
    assert weight.min() > 0.98
    np.testing.assert_allclose(still.intensity[rows], layer.intensity * weight, rtol=1e-12)


def test_a_detector_at_a_distance_measures_tan_two_theta(crystal):
    spots = still_spots(crystal, DIRECTION, relrod=0.02, distance=80.0, wavelength=0.71073)
    radius = np.hypot(*spots.xy.T)
    assert radius.max() > 10
    angle = np.degrees(np.arctan(radius / 80))
    # Off the sphere the angle differs from 2θ by about s/(|k| …), bounded by the widths that were asked for.
    assert np.abs(angle - spots.two_theta_deg)[np.abs(spots.excitation_error) < 1e-3].max() < 0.1


def test_turning_the_crystal_about_the_beam_turns_the_spots(crystal):
    g = jnp.asarray(np.random.default_rng(0).normal(size=(40, 3)) @ reciprocal_basis(crystal.cell), jnp.float32)
    frame = jnp.asarray(np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0], jnp.float32)
    turned = jnp.stack([frame[1], -frame[0], frame[2]])
    run = jax.jit(excitation)
    first, second = run(g, frame, 1.54, 0.1, 0.5), run(g, turned, 1.54, 0.1, 0.5)
    np.testing.assert_allclose(second.xy, np.stack([first.xy[:, 1], -first.xy[:, 0]], axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(second.weight, first.weight)


def test_what_excites_nothing_warns(crystal):
    with pytest.warns(UserWarning, match="no reflection is excited"):
        spots = still_spots(crystal, DIRECTION, mosaicity_deg=1e-6)
    assert spots.xy.shape == (0, 2)


BAD = {
    "direction": {"direction": (0.0, 0.0, 0.0)},
    "relrod": {"relrod": -1.0},
    "a width": {"mosaicity_deg": 0.0},
    "distance": {"distance": 0.0},
    "wavelength": {"wavelength": -1.0},
    "d_min": {"radiation": "electron", "wavelength": 0.025},
}


@pytest.mark.parametrize(("field", "options"), BAD.items(), ids=BAD.keys())
def test_options_out_of_range_are_named(crystal, field, options):
    with pytest.raises(XrdjaxError, match=field):
        still_spots(crystal, **({"direction": DIRECTION} | options))
