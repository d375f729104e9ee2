"""The plane of reciprocal space that belongs to a zone axis, and the list of its reflections.

The reflections of zone [uvw], hu + kv + lw = 0, form a two-dimensional lattice hkl = i g1 + j g2. An integer basis of
it follows from uvw alone (host); it is then Gauss-reduced in the crystal's own metric (traced), so that a disc of
radius |G| < g_max is a short list of rows: row j holds i = low_j … high_j. Without anomalous scattering
|F(−h)| = |F(h)|, so only the half j > 0, or j = 0 and i > 0, is listed.

Frame: e3 = t/|t| with t = u a + v b + w c; e1 = Cartesian x without its e3 part, normalised (y where x ∥ e3);
e2 = e3 × e1. The crystal is seen from +t. Positions are G·e1, G·e2 in 1/Å without 2π. Products are written out as
multiply-adds: a matrix product may run in TF32 on a GPU, whose ten mantissa bits would move spots.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from xrdjax.errors import XrdjaxError

LARGEST_INDEX = 1000  # of a zone axis: products of two indices and a reflection's must fit 32 bits
REDUCTION_STEPS = 16  # each shrinks |g2|² at least threefold until reduced: enough for 3**16 in edge ratio squared


def coprime_axis(uvw: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the zone axis divided by its greatest common divisor.

    Raises XrdjaxError for [0 0 0], for what is no integer and for indices above `LARGEST_INDEX`.
    """
    if len(uvw) != 3 or any(int(index) != index or abs(index) > LARGEST_INDEX for index in uvw):
        raise XrdjaxError(f"zone axis {tuple(uvw)}: expected three integers up to {LARGEST_INDEX}, such as 1 1 0")
    divisor = math.gcd(*(int(index) for index in uvw))
    if divisor == 0:
        raise XrdjaxError("zone axis (0, 0, 0) is no direction: give three integers, at least one of them not zero")
    u, v, w = (int(index) // divisor for index in uvw)
    return u, v, w


def zone_basis(uvw: tuple[int, int, int]) -> Int[np.ndarray, "2 3"]:
    """Return an integer basis (rows) of all hkl with hu + kv + lw = 0, for a coprime axis."""
    u, v, w = uvw
    if u == v == 0:
        return np.array([[1, 0, 0], [0, 1, 0]], np.int32)
    divisor, x, y = _bezout(u, v)
    return np.array([[v // divisor, -u // divisor, 0], [x * w, y * w, -divisor]], np.int32)


def _bezout(a: int, b: int) -> tuple[int, int, int]:
    """Return (gcd, x, y) with a x + b y = gcd(a, b) > 0."""
    if b == 0:
        return abs(a), 1 if a >= 0 else -1, 0
    divisor, x, y = _bezout(b, a % b)
    return divisor, y, x - (a // b) * y


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class ZonePlane:
    """Reduced basis of a zone's reflections: `hkl` (2, 3) integer and `xy` (2, 2), in-plane positions in 1/Å."""

    hkl: Int[jax.Array, "*batch 2 3"]
    xy: Float[jax.Array, "*batch 2 2"]


def zone_plane(
    direct: Float[jax.Array, "3 3"],
    reciprocal: Float[jax.Array, "3 3"],
    uvw: Int[jax.Array, "3"],
    basis: Int[jax.Array, "2 3"],
) -> ZonePlane:
    """Return the zone's basis, shortest first and reduced (|g1·g2| ≤ |g1|²/2), and where it lies in the plane."""
    hkl = reduce_basis(basis, reciprocal)
    frame = zone_frame(direct, uvw)
    g = combine(hkl, reciprocal)
    return ZonePlane(hkl=hkl, xy=(g[:, None, :] * frame[None, :2, :]).sum(-1))


def combine(coefficients: Int[jax.Array, "*n k"], vectors: Float[jax.Array, "k d"]) -> Float[jax.Array, "*n d"]:
    """Return Σ_k coefficients_k vectors_k in the vectors' own precision, never in TF32."""
    return (coefficients.astype(vectors.dtype)[..., None] * vectors).sum(-2)


def zone_frame(direct: Float[jax.Array, "3 3"], uvw: Int[jax.Array, "3"]) -> Float[jax.Array, "3 3"]:
    """Return e1, e2, e3 (rows) of the picture plane seen from +[uvw]."""
    t = combine(uvw, direct)
    e3 = t / jnp.sqrt((t * t).sum())
    # |x·e3| > 1 − 1e-8, asked through the sine, which float32 can hold: 1 − cos² = 2e-8.
    x_along_e3 = e3[1] ** 2 + e3[2] ** 2 < 2e-8
    start = jnp.where(x_along_e3, jnp.array([0, 1, 0], e3.dtype), jnp.array([1, 0, 0], e3.dtype))
    e1 = start - (start * e3).sum() * e3
    e1 = e1 / jnp.sqrt((e1 * e1).sum())
    return jnp.stack([e1, jnp.cross(e3, e1), e3])


def reduce_basis(basis: Int[jax.Array, "2 3"], reciprocal: Float[jax.Array, "3 3"]) -> Int[jax.Array, "2 3"]:
    """Return the Lagrange–Gauss reduced basis of the same plane lattice, shortest vector first."""

    def shortest_first(hkl: Int[jax.Array, "2 3"]) -> tuple[Int[jax.Array, "2 3"], Float[jax.Array, "2 3"]]:
        g = combine(hkl, reciprocal)
        swap = (g[1] ** 2).sum() < (g[0] ** 2).sum()
        return jnp.where(swap, hkl[::-1], hkl), jnp.where(swap, g[::-1], g)

    def step(_: Int[jax.Array, ""], hkl: Int[jax.Array, "2 3"]) -> Int[jax.Array, "2 3"]:
        hkl, g = shortest_first(hkl)
        multiple = jnp.round((g[0] * g[1]).sum() / (g[0] ** 2).sum()).astype(hkl.dtype)
        return hkl.at[1].add(-multiple * hkl[0])

    reciprocal = jax.lax.stop_gradient(reciprocal)
    return shortest_first(jax.lax.fori_loop(0, REDUCTION_STEPS, step, basis))[0]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Rows:
    """The half disc |i g1 + j g2| < g_max: in row j the i from `low` to `high`, the first being spot `start`."""

    low: Int[jax.Array, "rows"]
    high: Int[jax.Array, "rows"]
    start: Int[jax.Array, "rows"]

    @property
    def count(self) -> Int[jax.Array, ""]:
        """Number of reflections in the half disc."""
        return self.start[-1] + jnp.maximum(self.high[-1] - self.low[-1] + 1, 0)


def plane_heights(xy: Float[jax.Array, "2 2"]) -> Float[jax.Array, "2"]:
    """Return the distances, in 1/Å, between neighbouring lattice lines of constant i and of constant j."""
    area = jnp.abs(xy[0, 0] * xy[1, 1] - xy[0, 1] * xy[1, 0])
    return area / jnp.sqrt((xy[::-1] ** 2).sum(-1))


def half_disc(xy: Float[jax.Array, "2 2"], g_max: float | Float[jax.Array, ""], max_row: int) -> Rows:
    """Return rows j = 0 … `max_row` of the half disc; rows beyond its edge are empty (high < low)."""
    xy = jax.lax.stop_gradient(xy)
    row = jnp.arange(max_row + 1)
    length = jnp.sqrt((xy[0] ** 2).sum())
    height = row * plane_heights(xy)[1]
    inside = height < g_max
    half_width = jnp.sqrt(jnp.where(inside, g_max**2 - height**2, 0.0)) / length
    centre = -row * (xy[0] * xy[1]).sum() / length**2
    low = jnp.where(row == 0, 1, jnp.ceil(centre - half_width).astype(jnp.int32))
    high = jnp.where(inside, jnp.floor(centre + half_width).astype(jnp.int32), low - 1)
    count = jnp.maximum(high - low + 1, 0)
    return Rows(low=low, high=high, start=jnp.cumsum(count) - count)


def list_spots(rows: Rows, num_spots: int) -> tuple[Int[jax.Array, "spots 2"], Bool[jax.Array, "spots"]]:
    """Return (i, j) of the first `num_spots` reflections of the half disc, and which of them exist."""
    spot = jnp.arange(num_spots)
    row = (spot[:, None] >= rows.start[None, 1:]).sum(-1)
    ij = jnp.stack([rows.low[row] + spot - rows.start[row], row], axis=-1)
    return ij, spot < rows.count
