"""Pictures against a brute-force drawing of every spot, and the laws of their geometry."""

from dataclasses import replace

import numpy as np
import pytest
import reference

from xrdjax.config import PatternConfig
from xrdjax.patterns.pictures import render_zone

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
