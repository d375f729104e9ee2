"""Integer bases of zones, their reduction, and the list of a half disc."""

import math
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis
from xrdjax.diffraction.zone import ZonePlane, coprime_axis, disc_rows, list_spots, reduce_basis, zone_basis, zone_frame
from xrdjax.errors import XrdjaxError

COPRIME = [axis for axis in product(range(-5, 6), repeat=3) if math.gcd(*axis) == 1]


def random_cells(number: int, shortest: float, longest: float) -> np.ndarray:
    """Return triclinic cells of any shape: Cartesian edges of random direction, of which no two are nearly parallel."""
    rng = np.random.default_rng(7)
    cells = []
    while len(cells) < number:
        length = np.exp(rng.uniform(np.log(shortest), np.log(longest), 3))
        angle = rng.uniform(40, 140, 3)
        cosine = np.cos(np.radians(angle))
        if 1 - (cosine**2).sum() + 2 * cosine.prod() > 0.05:
            cells.append([*length, *angle])
    return np.array(cells)


def test_zone_basis_spans_every_zone():
    """Two integer vectors with cross product ± [uvw], uvw coprime, generate every hkl with hu + kv + lw = 0.

    With a third of hu + kv + lw = 1 they generate every hkl.
    """
    for axis in COPRIME:
        first, second, upper = zone_basis(axis)
        crossed = np.cross(first, second)
        assert crossed.tolist() in ([*axis], [-index for index in axis]), axis
        assert upper @ np.array(axis) == 1, axis


def test_reduced_basis_is_reduced_and_spans_the_same_lattice():
    """Edges from 3 to 100 Å. Float32 leaves |g1·g2| ≤ |g1|²/2 and |g1| ≤ |g2| uncertain by rounding of the products."""
    cells = random_cells(200, 3, 100)
    axes = np.array(COPRIME)[np.random.default_rng(3).integers(len(COPRIME), size=200)]
    bases = np.stack([zone_basis(tuple(axis))[:2] for axis in axes.tolist()])
    reciprocal = reciprocal_basis(cells)
    reduced = np.asarray(jax.jit(jax.vmap(reduce_basis))(jnp.asarray(bases), jnp.asarray(reciprocal, jnp.float32)))
    crossed = np.cross(reduced[:, 0], reduced[:, 1])
    np.testing.assert_array_equal(np.abs(crossed), np.abs(axes))
    np.testing.assert_array_equal(np.abs((crossed * axes).sum(1)), (axes**2).sum(1))
    g = reduced @ reciprocal
    square = (g**2).sum(-1)
    assert np.all(np.abs((g[:, 0] * g[:, 1]).sum(1)) <= 0.5 * square[:, 0] * (1 + 1e-4))
    assert np.all(square[:, 0] <= square[:, 1] * (1 + 1e-5))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_frame_is_right_handed_and_seen_from_the_axis(precision):
    """[100] of any cell lies along x, where the frame starts from y instead; float32 must see that too."""
    cells, axes = random_cells(40, 3, 30), [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (5, -4, 3)]
    with jax.enable_x64(precision == "float64"):
        direct = jnp.asarray(direct_basis(cells), precision)
        frames = jax.jit(jax.vmap(jax.vmap(zone_frame, (None, 0)), (0, None)))(direct, jnp.array(axes, jnp.int32))
    frames = np.asarray(frames, float)
    tolerance = 20 * np.finfo(precision).eps  # one subtraction whose result may be a tenth of its terms
    np.testing.assert_allclose(np.linalg.det(frames), 1, atol=tolerance)
    for cell, row in zip(cells, frames, strict=True):
        for uvw, frame in zip(axes, row, strict=True):
            normal = np.array(uvw) @ reference.edges(cell)
            np.testing.assert_allclose(frame[2], normal / np.linalg.norm(normal), atol=tolerance)
            np.testing.assert_allclose(frame[:2], reference.picture_axes(reference.edges(cell), uvw), atol=tolerance)


@pytest.mark.parametrize(
    "xy",
    [[[0.3, 0.0], [0.0, 0.3]], [[0.3, 0.1], [-0.05, 0.4]], [[0.01, 0.0], [0.0, 0.9]], [[2, 0.0], [0, 3.0]]],
    ids=str,
)
def test_half_disc_lists_each_pair_of_opposite_reflections_once(xy):
    g_max = 1.2983
    num_spots = 384

    @jax.jit
    def listing(xy):
        plane = ZonePlane(hkl=jnp.zeros((2, 3), jnp.int32), xy=xy)
        rows = disc_rows(plane, g_max, 40, half=True)
        return rows.count, *list_spots(rows, plane, num_spots)

    count, ij, exists = (np.asarray(column) for column in listing(jnp.array(xy)))
    listed = ij[exists]
    assert len(listed) == count <= num_spots
    every = np.array(list(product(range(-150, 151), repeat=2)))
    every = every[(np.linalg.norm(every @ np.array(xy), axis=1) < g_max) & every.any(axis=1)]
    both = np.concatenate([listed, -listed])
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, every.tolist()))


@pytest.mark.usefixtures("unchecked_types")
def test_axes_are_made_coprime():
    with pytest.warns(UserWarning, match=r"\(2, 4, -6\) is taken as its direction \(1, 2, -3\)"):
        assert coprime_axis((2, 4, -6)) == (1, 2, -3)
    with pytest.warns(UserWarning, match="direction"):
        assert coprime_axis((0, 0, -3)) == (0, 0, -1)
    assert coprime_axis((1.0, 1.0, 0.0)) == (1, 1, 0)


@pytest.mark.parametrize("axis", [(0, 0, 0), (1, 0.5, 0), (1, 1), (1, 0, 0, 0)], ids=str)
@pytest.mark.usefixtures("unchecked_types")
def test_no_direction_is_refused(axis):
    with pytest.raises(XrdjaxError, match="zone axis"):
        coprime_axis(axis)
