"""A layer of reciprocal space perpendicular to a zone axis, and the list of its reflections.

The reflections of zone [uvw], hu + kv + lw = 0, form a two-dimensional lattice hkl = i g1 + j g2; layer n,
hu + kv + lw = n, is the same lattice about an origin of its own. An integer basis follows from uvw alone (host); it is
then Gauss-reduced in the crystal's own metric (traced), so that a disc of radius |G| < g_max is a short list of rows:
row j holds i = low_j … high_j. In the zero layer without anomalous scattering |F(−h)| = |F(h)|, so only the half j > 0,
or j = 0 and i > 0, is listed.

Frame: e3 = t/|t| with t = u a + v b + w c; e1 = Cartesian x without its e3 part, normalised (y where x ∥ e3);
e2 = e3 × e1. The crystal is seen from +t. Positions are G·e1, G·e2 in 1/Å without 2π. Products are written out as
multiply-adds: a matrix product may run in TF32 on a GPU, whose ten mantissa bits would move spots.
"""

import math
import warnings
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Real

from xrdjax.errors import XrdjaxError

LARGEST_INDEX = 1000  # of a zone axis: products of two indices and a reflection's must fit 32 bits
REDUCTION_STEPS = 16  # each shrinks |g2|² at least threefold until reduced: enough for 3**16 in edge ratio squared


def coprime_axis(uvw: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the zone axis divided by its greatest common divisor; warn where that changes it.

    Raises XrdjaxError for [0 0 0], for what is no integer and for indices above `LARGEST_INDEX`.
    """
    if len(uvw) != 3 or any(int(index) != index or abs(index) > LARGEST_INDEX for index in uvw):
        raise XrdjaxError(f"zone axis {tuple(uvw)}: expected three integers up to {LARGEST_INDEX}, such as 1 1 0")
    divisor = math.gcd(*(int(index) for index in uvw))
    if divisor == 0:
        raise XrdjaxError("zone axis (0, 0, 0) is no direction: give three integers, at least one of them not zero")
    u, v, w = (int(index) // divisor for index in uvw)
    if divisor > 1:
        warnings.warn(f"zone axis {tuple(uvw)} is taken as its direction {(u, v, w)}", stacklevel=3)
    return u, v, w


def zone_basis(uvw: tuple[int, int, int]) -> Int[np.ndarray, "3 3"]:
    """Return an integer basis (rows) of all hkl, two of hu + kv + lw = 0 and one of 1, for a coprime axis."""
    u, v, w = uvw
    if u == v == 0:
        return np.array([[1, 0, 0], [0, 1, 0], [0, 0, w]], np.int32)
    divisor, x, y = _bezout(u, v)
    _, of_divisor, of_w = _bezout(divisor, w)
    upper = [x * of_divisor, y * of_divisor, of_w]
    return np.array([[v // divisor, -u // divisor, 0], [x * w, y * w, -divisor], upper], np.int32)


def _bezout(a: int, b: int) -> tuple[int, int, int]:
    """Return (gcd, x, y) with a x + b y = gcd(a, b) > 0."""
    if b == 0:
        return abs(a), 1 if a >= 0 else -1, 0
    divisor, x, y = _bezout(b, a % b)
    return divisor, y, x - (a // b) * y


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class ZonePlane:
    """Reduced basis of a layer's reflections, rows g1, g2 and, in an upper layer, the reflection nearest its centre."""

    hkl: Int[jax.Array, "*batch rows 3"]
    xy: Float[jax.Array, "*batch rows 2"]
    """In-plane positions in 1/Å."""
    height: Float[jax.Array, "*batch"] | None = None
    """Distance in 1/Å of an upper layer from the origin of reciprocal space, along +[uvw]."""
    drawn: Float[jax.Array, "*batch rows 3"] | None = None
    """Where the seed paper's pipeline puts the rows, and how far above its picture; None is `xy`."""

    @property
    def drawn_xy(self) -> Float[jax.Array, "*batch rows 2"]:
        """Positions in the picture in 1/Å."""
        return self.xy if self.drawn is None else self.drawn[..., :2]

    def s2(self, index: Int[jax.Array, "spots rows"]) -> Float[jax.Array, "spots"]:
        """Return (sin θ/λ)² = |G|²/4 in 1/Å² of reflections given by their coefficients."""
        square = (combine(index, self.xy) ** 2).sum(-1)
        return (square if self.height is None else square + self.height**2) / 4


def zone_plane(
    direct: Float[jax.Array, "3 3"],
    reciprocal: Float[jax.Array, "3 3"],
    uvw: Int[jax.Array, "3"],
    basis: Int[jax.Array, "3 3"],
    layer: int = 0,
) -> ZonePlane:
    """Return a layer's basis, shortest first and reduced (|g1·g2| ≤ |g1|²/2), and where it lies in the plane.

    `basis` is `zone_basis` of the axis or of its opposite.
    """
    hkl = reduce_basis(basis[:2], reciprocal)
    frame = zone_frame(direct, uvw)

    def in_frame(hkl: Int[jax.Array, "rows 3"]) -> Float[jax.Array, "rows 3"]:
        return (combine(hkl, reciprocal)[:, None, :] * frame[None]).sum(-1)

    if not layer:
        return ZonePlane(hkl=hkl, xy=in_frame(hkl)[:, :2])
    origin = layer * (uvw * basis[2]).sum() * basis[2]
    origin = _nearest_centre(origin, hkl, in_frame(jnp.concatenate([hkl, origin[None]])))
    hkl = jnp.concatenate([hkl, origin[None]])
    g = in_frame(hkl)
    return ZonePlane(hkl=hkl, xy=g[:, :2], height=g[2, 2])


def _nearest_centre(
    origin: Int[jax.Array, "3"], hkl: Int[jax.Array, "2 3"], g: Float[jax.Array, "3 3"]
) -> Int[jax.Array, "3"]:
    """Return the reflection of the same layer whose coefficients along g1 and g2 are within ±1/2."""
    area = g[0, 0] * g[1, 1] - g[0, 1] * g[1, 0]
    along_1 = (g[2, 0] * g[1, 1] - g[2, 1] * g[1, 0]) / area
    along_2 = (g[0, 0] * g[2, 1] - g[0, 1] * g[2, 0]) / area
    whole = jnp.round(jax.lax.stop_gradient(jnp.stack([along_1, along_2]))).astype(hkl.dtype)
    return origin - combine(whole, hkl)


def combine(coefficients: Real[jax.Array, "*n k"], vectors: Real[jax.Array, "k d"]) -> Real[jax.Array, "*n d"]:
    """Return Σ_k coefficients_k vectors_k in the vectors' own type, never in TF32."""
    return (coefficients.astype(vectors.dtype)[..., None] * vectors).sum(-2, dtype=vectors.dtype)


def zone_frame(direct: Float[jax.Array, "3 3"], uvw: Real[jax.Array, "3"]) -> Float[jax.Array, "3 3"]:
    """Return e1, e2, e3 (rows) of the picture plane seen from +[uvw], whole numbers or not."""
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
    """The reflections within a disc, row by row: in each the i from `low` to `high`, the first being spot `start`."""

    low: Int[jax.Array, "rows"]
    high: Int[jax.Array, "rows"]
    start: Int[jax.Array, "rows"]
    is_half: bool = field(metadata={"static": True})
    """Rows are j = 0, 1, … and each spot stands for its Friedel mate too; otherwise j = −n … n."""

    @property
    def count(self) -> Int[jax.Array, ""]:
        """Number of reflections in the list."""
        return self.start[-1] + jnp.maximum(self.high[-1] - self.low[-1] + 1, 0)

    @property
    def first(self) -> int:
        """j of the first row."""
        return 0 if self.is_half else -(self.low.shape[0] // 2)


def plane_heights(xy: Float[jax.Array, "rows 2"]) -> Float[jax.Array, "2"]:
    """Return the distances, in 1/Å, between neighbouring lattice lines of constant i and of constant j."""
    area = jnp.abs(xy[0, 0] * xy[1, 1] - xy[0, 1] * xy[1, 0])
    return area / jnp.sqrt((xy[1::-1] ** 2).sum(-1))


def disc_rows(plane: ZonePlane, g_max: float | Float[jax.Array, ""], max_row: int, *, half: bool) -> Rows:
    """Return rows up to |j| = `max_row` of the layer within the sphere |G| < g_max; those beyond it have high < low.

    The half list leaves 000 out, the full list of the zero layer has it.
    """
    xy = jax.lax.stop_gradient(plane.xy)
    radius2 = jnp.asarray(g_max**2 if plane.height is None else g_max**2 - jax.lax.stop_gradient(plane.height) ** 2)
    row = jnp.arange(0 if half else -max_row, max_row + 1)
    start_xy = row[:, None].astype(xy.dtype) * xy[1]
    if plane.height is not None:
        start_xy = start_xy + xy[2]
    length = jnp.sqrt((xy[0] ** 2).sum())
    height = (start_xy[:, 1] * xy[0, 0] - start_xy[:, 0] * xy[0, 1]) / length
    inside = height**2 < radius2
    half_width = jnp.sqrt(jnp.where(inside, radius2 - height**2, 0.0)) / length
    centre = -(start_xy * xy[0]).sum(-1) / length**2
    low = jnp.ceil(centre - half_width).astype(jnp.int32)
    low = jnp.where(row == 0, 1, low) if half else low
    high = jnp.where(inside, jnp.floor(centre + half_width).astype(jnp.int32), low - 1)
    count = jnp.maximum(high - low + 1, 0)
    return Rows(low=low, high=high, start=jnp.cumsum(count) - count, is_half=half)


def list_spots(
    rows: Rows, plane: ZonePlane, num_spots: int
) -> tuple[Int[jax.Array, "spots rows"], Bool[jax.Array, "spots"]]:
    """Return the coefficients of the first `num_spots` reflections in the plane's rows, and which of them exist.

    000 does not.
    """
    spot = jnp.arange(num_spots)
    row = (spot[:, None] >= rows.start[None, 1:]).sum(-1)
    index = [rows.low[row] + spot - rows.start[row], row + rows.first]
    exists = spot < rows.count
    if plane.height is not None:
        index.append(jnp.ones_like(row))
    elif not rows.is_half:
        exists &= (index[0] != 0) | (index[1] != 0)
    return jnp.stack(index, axis=-1), exists
