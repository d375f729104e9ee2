"""Pictures against a brute-force drawing of every spot, and the laws of their geometry."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from xrdjax.config import PatternConfig
from xrdjax.diffraction.spots import crystal_plane
from xrdjax.diffraction.structure_factor import Scatterers, intensities
from xrdjax.diffraction.zone import combine, half_disc, list_spots
from xrdjax.patterns.generate import render_zone
from xrdjax.patterns.render import num_nodes, radius_grid, render_discs, spot_radius

DEFAULT = PatternConfig()
SQUARE_ROOT = PatternConfig(height=64, width=96, radius_law="sqrt")
SOFT = PatternConfig(height=80, width=64, softness=2.0, disc_radius=0.06)
WIDE = PatternConfig(height=64, width=96)
FINE = PatternConfig(height=64, width=96, disc_radius=0.03)
PIXEL_ERROR = 2.4e-4
"""A spot off by 1e-6 1/Å, and a radius by as much, together move an edge by 2e-6 1/Å; it is 0.0087 1/Å wide or more."""


def largest_error(crystal, uvw, pattern, angle_deg=0.0):
    picture = render_zone(crystal, uvw, pattern, angle_deg=angle_deg)
    assert picture.dtype == np.float32
    assert picture.shape == (pattern.height, pattern.width)
    expected = reference.picture(reference.zone(crystal, uvw), pattern, angle_deg)
    assert expected.max() > 0.5
    return np.abs(picture - expected).max()


@pytest.mark.parametrize("name", reference.STORED)
def test_pictures_agree_with_every_spot_drawn_on_its_own(name):
    """All eight axes of three oblique cells, one of the others; NaA's lattice is as dense as discs are wide."""
    axes = reference.AXES if name in ("albite_C-1", "calcite_rhomb", "gypsum") else ((2, 1, 1),)
    crystal = reference.crystal(name)
    for uvw in axes:
        assert largest_error(crystal, uvw, DEFAULT) <= PIXEL_ERROR, uvw


@pytest.mark.parametrize(
    ("pattern", "angle_deg"),
    [(PatternConfig(height=321, width=322), 0.0), (SQUARE_ROOT, -71.0), (SOFT, 33.0)],
    ids=["paper's size", "square root, turned", "soft, turned"],
)
def test_options_of_a_pattern(pattern, angle_deg):
    crystal = reference.crystal("gypsum")
    assert largest_error(crystal, (1, 1, 1), pattern, angle_deg) <= PIXEL_ERROR


def large_cell(kind):
    rng = np.random.default_rng(8)
    cell = {"tetragonal": [100, 100, 8, 90, 90, 90], "triclinic": [100, 92, 97, 76, 101, 112]}[kind]
    return reference.free_crystal(cell, rng.random((5, 3)), ["Pb", "O2-", "C", "Fe", "Si"])


@pytest.mark.parametrize(
    ("kind", "uvw", "pattern", "angle_deg"),
    [
        ("tetragonal", (0, 0, 1), WIDE, 12.0),
        ("tetragonal", (1, 0, 0), SOFT, 0.0),
        ("triclinic", (1, -1, 2), WIDE, 0.0),
        ("triclinic", (1, -1, 2), FINE, 0.0),
    ],
    ids=["both lines dense", "one line dense", "oblique", "oblique, small discs"],
)
def test_pictures_of_dense_lattices(kind, uvw, pattern, angle_deg):
    """Lattice lines of 100 Å edges are 0.01 1/Å apart: hundreds of discs of 0.1 1/Å lie over each pixel."""
    assert largest_error(large_cell(kind), uvw, pattern, angle_deg) <= PIXEL_ERROR


def test_turning_the_crystal_turns_the_picture():
    crystal, pattern = reference.crystal("albite_C-1"), PatternConfig(height=64, width=64, radius_law="sqrt")
    picture = render_zone(crystal, (0, 1, 2), pattern)
    for quarter in (1, 2, 3):
        turned = render_zone(crystal, (0, 1, 2), pattern, angle_deg=90.0 * quarter)
        np.testing.assert_allclose(turned, np.rot90(picture, quarter), rtol=0, atol=2e-4)
    np.testing.assert_allclose(picture, picture[::-1, ::-1], rtol=0, atol=2e-4)
    assert np.abs(picture - picture[:, ::-1]).max() > 0.5
    # [−u −v −w] has the same first frame vector: up becomes down.
    back = render_zone(crystal, (0, -1, -2), pattern)
    np.testing.assert_allclose(back, picture[::-1], rtol=0, atol=2e-4)


def test_no_reflection_is_a_dark_picture():
    pattern = PatternConfig(height=16, width=16, wavelength=20.0)
    assert not render_zone(reference.crystal("Cu"), (1, 0, 0), pattern).any()


def test_debye_waller_factor_shrinks_the_outer_discs():
    crystal = replace(reference.crystal("Cu"), u_iso=np.full(4, 0.05))
    pattern = PatternConfig(height=64, width=96, radius_law="sqrt", debye_waller=True)
    zone = reference.zone(crystal, (1, 1, 0))
    weaker = zone.intensity * np.exp(-16 * np.pi**2 * 0.05 * (zone.xy**2).sum(1) / 4)
    expected = reference.picture(replace(zone, intensity=weaker), pattern)
    assert np.abs(render_zone(crystal, (1, 1, 0), pattern) - expected).max() <= PIXEL_ERROR


@pytest.mark.parametrize("radius_law", ["linear", "sqrt"])
def test_gradient_is_finite_and_right(radius_law):
    """With Python integers as limits a picture is differentiable in coordinates; padding has no part in it."""
    num_atoms, num_spots, max_row = 9, 64, 8
    crystal = reference.crystal("quartz_P3121")
    pattern = PatternConfig(height=24, width=24, radius_law=radius_law, disc_radius=0.2)
    with jax.enable_x64(True):
        plane = crystal_plane(crystal, (1, 1, 1), "float64")
        rows = half_disc(plane.xy, pattern.g_max, max_row)
        assert int(rows.count) < num_spots
        nodes = tuple(np.asarray(num_nodes(plane.xy, pattern)).tolist())
        shown = jnp.asarray(np.random.default_rng(0).random((24, 24)))
        coefficients = np.zeros((32, 9))
        for atom, name in enumerate(crystal.species):
            s2 = np.linspace(0, 0.42, 40)  # any smooth factor will do: constant plus one Gaussian
            f = reference.form_factor(name, s2)
            coefficients[atom, [0, 4, 8]] = f[0] - f[-1], 8.0, f[-1]

        @jax.jit
        def seen(fract):
            atoms = Scatterers(
                fract=fract,
                coefficients=jnp.asarray(coefficients),
                occupancy=jnp.asarray(np.arange(32) < num_atoms, float),
                u_iso=None,
            )
            ij, exists = list_spots(rows, num_spots)
            s2 = (combine(ij, plane.xy) ** 2).sum(-1) / 4
            intensity = jnp.where(exists, intensities(atoms, plane.hkl, ij, s2, num_atoms, num_spots), 0)
            radius = radius_grid(spot_radius(intensity, pattern), rows, 8)
            return (shown * render_discs(plane.xy, radius, nodes, pattern)).sum()

        fract = np.zeros((32, 3))
        fract[:num_atoms] = crystal.fract
        gradient = np.asarray(jax.jit(jax.grad(seen))(jnp.asarray(fract)))
        assert np.isfinite(gradient).all()
        assert not gradient[num_atoms:].any()
        assert np.abs(gradient[:num_atoms]).max() > 0.1
        step = 1e-6  # error of the difference: step² of curvature, 1e-16/step of rounding; kinks of few pixels
        for atom, axis in ((0, 0), (4, 1), (8, 2)):
            there, back = fract.copy(), fract.copy()
            there[atom, axis] += step
            back[atom, axis] -= step
            slope = (float(seen(jnp.asarray(there))) - float(seen(jnp.asarray(back)))) / (2 * step)
            assert gradient[atom, axis] == pytest.approx(slope, rel=1e-4, abs=1e-4)
