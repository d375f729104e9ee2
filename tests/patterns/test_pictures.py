"""Pictures of one crystal: views, lists, stills; and their gradients against central differences in float64."""

import inspect
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from xrdjax.config import PatternConfig
from xrdjax.diffraction.spots import zone_spots
from xrdjax.diffraction.still import still_spots
from xrdjax.errors import XrdjaxError
from xrdjax.patterns.pictures import (
    render_spots,
    render_still,
    render_zone,
    render_zones,
    still_picture,
    structure_of,
    zone_picture,
)

SMALL = PatternConfig(height=48, width=40, radius_law="sqrt")
PIXEL_ERROR = 4e-4
"""A spot off by 1e-6 1/Å, a radius by as much, and an F by 1e-6 of F(000), against pixels of 0.07 1/Å."""


@pytest.mark.long
def test_views_of_one_call_are_the_pictures_of_each():
    crystal, axes, angles = reference.crystal("gypsum"), [(1, 0, 0), (0, 1, 2), (1, 1, 1)], [0.0, 20.0, -65.0]
    views = render_zones(crystal, axes, SMALL, angle_deg=angles)
    assert views.shape == (3, 48, 40)
    for view, uvw, angle in zip(views, axes, angles, strict=True):
        np.testing.assert_allclose(view, render_zone(crystal, uvw, SMALL, angle_deg=angle), atol=1e-6)


VARIANTS = {
    "camera": {"precession_deg": 20.0, "layer": 1},
    "anomalous, logarithm": {"anomalous": True, "radius_law": "log"},
    "outlined": {"edge_pixels": 0.7, "direct_beam": 0.05},
    "Gaussian": {"spot_shape": "gaussian", "gaussian_sigma": 0.05},
    "odd and wide": {"height": 37, "width": 61},
    "by the sphere": {"normalize": "sphere", "radius_law": "linear", "disc_radius": 0.3},
    "electrons": {"radiation": "electron", "wavelength": 0.0251, "d_min": 0.8, "layer": 2},
    "paper's frame": {"frame": "paper"},
}


LONG = ("camera", "by the sphere", "electrons")


@pytest.mark.parametrize(
    "options",
    [pytest.param(way, marks=[pytest.mark.long] * (name in LONG), id=name) for name, way in VARIANTS.items()],
)
def test_every_kind_of_picture_is_its_list_drawn_spot_by_spot(options):
    """The lattice's gathered picture against a window per spot, from lists that other tests check."""
    crystal, uvw, pattern = reference.crystal("albite_C-1"), (1, 0, 1), replace(SMALL, **options)
    physics = {key: value for key, value in options.items() if key in inspect.signature(zone_spots).parameters}
    spots = zone_spots(crystal, uvw, **({"occupancy": True, "normalize": "none"} | physics))
    if pattern.normalize == "sphere":
        beyond = [[5.0, 5.0]], [100.0]  # far outside the picture, and the one that the others are measured by
        listed = render_spots(np.vstack([spots.xy, beyond[0]]), np.append(spots.intensity, beyond[1]), pattern)
    else:
        listed = render_spots(spots.xy, spots.intensity, pattern)
    picture = render_zone(crystal, uvw, pattern)
    assert picture.max() > 0.3
    # An outline grows as the square root of a radius from nothing: 1e-7 of F(000)² leaves up to 0.02 pixels.
    limit = 0.03 if pattern.edge_pixels else PIXEL_ERROR
    assert np.abs(picture - listed).max() <= limit


def test_lists_agree_with_a_brute_force_drawing():
    rng = np.random.default_rng(3)
    xy, intensity = rng.uniform(-1.6, 1.6, (70, 2)), rng.random(70)
    zone = reference.Zone(hkl=np.zeros((70, 3)), xy=xy, intensity=intensity)
    pattern = PatternConfig(height=64, width=96, extent=1.2, radius_law="sqrt")
    expected = reference.picture(zone, pattern, 25.0)
    assert np.abs(render_spots(xy, intensity, pattern, angle_deg=25.0) - expected).max() <= PIXEL_ERROR
    assert not render_spots(np.zeros((0, 2)), np.zeros(0), pattern).any()


def test_stills_are_drawn_from_their_lists():
    crystal = reference.crystal("gypsum")
    pattern = replace(SMALL, extent=2.0)
    spots = still_spots(crystal, (0.1, 0.0, 1.0), relrod=0.02)
    picture = render_still(crystal, (0.1, 0.0, 1.0), pattern, relrod=0.02)
    np.testing.assert_allclose(picture, render_spots(spots.xy, spots.intensity, pattern), atol=1e-3)
    assert picture.max() > 0.5


@pytest.mark.parametrize("field", ["wavelength", "extent", "height", "width", "disc_radius"])
def test_a_pattern_out_of_range_is_named(field):
    with pytest.raises(XrdjaxError, match=field):
        render_zone(reference.crystal("Cu"), (1, 0, 0), replace(SMALL, **{field: 0}))


@pytest.mark.usefixtures("unchecked_types")
def test_a_list_without_sense_is_refused():
    with pytest.raises(XrdjaxError, match="2 positions and 3 intensities"):
        render_spots(np.zeros((2, 2)), np.ones(3), SMALL)
    with pytest.raises(XrdjaxError, match="negative"):
        render_spots(np.zeros((2, 2)), np.array([1.0, -1.0]), SMALL)


# ── gradients: float64, so that central differences with a step of 1e-5 are right to about 1e-7 of the picture


@pytest.fixture(scope="module")
def crystal():
    """Return a triclinic cell with no special angle, coordinate or occupancy, and two atoms on one place."""
    rng = np.random.default_rng(8)
    fract = rng.random((6, 3))
    fract[5] = fract[4]
    return reference.free_crystal(
        [4.1, 5.3, 4.9, 81, 99, 107],
        fract,
        ["Fe3+", "Si", "O", "Ba", "C", "N"],
        occupancy=[1, 0.8, 1, 0.9, 0.5, 0.5],
        u_iso=rng.uniform(0.005, 0.03, 6),
    )


SMOOTH = PatternConfig(height=32, width=32, spot_shape="gaussian", gaussian_sigma=0.08, debye_waller=True)
DISCS = PatternConfig(height=32, width=32, radius_law="sqrt", softness=3.0, disc_radius=0.15, debye_waller=True)
POLARISED = replace(SMOOTH, lorentz_polarization="single_crystal")
MODES = {
    "Gaussians, Lorentz–polarisation": (zone_picture, (1, 0, 1), POLARISED),
    "discs": (zone_picture, (1, 1, 0), DISCS),
    "upper layer, by the sphere": (
        zone_picture,
        (0, 0, 1),
        replace(SMOOTH, layer=1, anomalous=True, normalize="sphere"),
    ),
    "still": (still_picture, (0.2, 0.1, 1.0), replace(SMOOTH, extent=2.0)),
}


def picture_of(crystal, mode):
    """Return a scalar function of a dictionary of parameters, and where to take its gradient."""
    make, axis, pattern = MODES[mode]
    draw = make(crystal, axis, pattern)
    structure = structure_of(crystal)
    numbers = {"gaussian_sigma": pattern.gaussian_sigma} if pattern.spot_shape == "gaussian" else {}
    numbers |= {} if pattern.spot_shape == "gaussian" else {"softness": 3.0, "disc_radius": 0.15}
    numbers |= {} if pattern.anomalous else {"wavelength": pattern.wavelength}
    shown = jnp.asarray(np.random.default_rng(0).random((pattern.height, pattern.width)))

    def seen(parameters):
        changed = replace(pattern, **parameters["pattern"])
        return (shown * draw(parameters["structure"], parameters["angle"], changed)).sum()

    angle = jnp.array([0.2, -0.1, 4.0]) if mode == "still" else jnp.asarray(4.0)
    return seen, {
        "structure": structure,
        "angle": angle,
        "pattern": {name: jnp.asarray(value) for name, value in numbers.items()},
    }


@pytest.mark.parametrize("mode", [pytest.param(mode, marks=pytest.mark.long) for mode in MODES])
def test_gradients_are_central_differences(crystal, mode):
    """Of every parameter there is: coordinates, occupancies, U, cell, orientation, wavelength, softness.

    Softened discs have kinks, where pixels begin to be covered and where discs meet: a few of a thousand pixels cross
    one within a step, which costs up to a thousandth.
    """
    with jax.enable_x64(True):
        seen, parameters = picture_of(crystal, mode)
        seen = jax.jit(seen)
        gradient = jax.jit(jax.grad(seen))(parameters)
        leaves, tree = jax.tree.flatten(parameters)
        slopes = jax.tree.leaves(gradient)
        largest = max(float(jnp.abs(slope).max()) for slope in slopes)
        assert all(np.isfinite(slope).all() for slope in slopes)
        for which, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
            for entry in range(min(leaf.size, 6)):
                step = 1e-5 * max(abs(float(leaf.reshape(-1)[entry])), 1e-2)
                there, back = (
                    [leaf.reshape(-1).at[entry].add(sign * step).reshape(leaf.shape) if n == which else other
                     for n, other in enumerate(leaves)]
                    for sign in (1, -1)
                )  # fmt: skip
                difference = float(seen(tree.unflatten(there))) - float(seen(tree.unflatten(back)))
                expected = difference / (2 * step)
                tolerance = 1e-3 if mode == "discs" else 1e-5
                limit = tolerance * (abs(expected) + float(jnp.abs(slope).max())) + 1e-9 * largest
                assert abs(slope.reshape(-1)[entry] - expected) <= limit, (which, entry)


@pytest.mark.long
def test_gradients_in_what_cannot_be_seen_are_zero_not_nan():
    """Zero intensities, atoms of no occupancy, a pixel on a spot's centre: all at once in copper."""
    copper = reference.crystal("Cu")
    pattern = PatternConfig(
        height=33, width=33, radius_law="sqrt", edge_pixels=0.7, direct_beam=0.02, debye_waller=True
    )
    draw = zone_picture(copper, (1, 0, 0), pattern)
    structure = structure_of(copper)
    empty = replace(structure, occupancy=structure.occupancy.at[1:].set(0.0))
    for some in (structure, empty, replace(structure, occupancy=jnp.zeros(4))):
        gradient = jax.jit(jax.grad(lambda one: draw(one, 0.0).sum()))(some)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.abs(gradient.fract).max() == 0


@pytest.mark.long
def test_a_traced_picture_is_the_rendered_one():
    crystal = reference.crystal("quartz_P3121")
    for pattern in (SMALL, replace(SMALL, frame="paper")):
        draw = jax.jit(zone_picture(crystal, (1, 1, 1), pattern))
        expected = render_zone(crystal, (1, 1, 1), pattern, angle_deg=10.0)
        # Floating-point phases of h·x ≤ 30 cycles: 1e-5 rad.
        np.testing.assert_allclose(draw(structure_of(crystal), 10.0), expected, atol=5e-3)
    quartz = replace(crystal, u_aniso=np.tile([0.02, 0.05, 0.01, 0.01, 0.0, 0.005], (crystal.num_atoms, 1)))
    thermal = replace(SMALL, debye_waller=True)
    draw = jax.jit(zone_picture(quartz, (1, 1, 1), thermal))
    np.testing.assert_allclose(draw(structure_of(quartz)), render_zone(quartz, (1, 1, 1), thermal), atol=5e-3)
    still = jax.jit(still_picture(crystal, (1.0, 1.0, 1.1), SMALL, mosaicity_deg=1.0))
    expected = render_still(crystal, (1.0, 1.0, 1.1), SMALL, mosaicity_deg=1.0, angle_deg=10.0)
    np.testing.assert_allclose(still(structure_of(crystal), (0.0, 0.0, 10.0)), expected, atol=5e-3)
