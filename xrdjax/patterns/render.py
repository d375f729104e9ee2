"""From reflections of a zone to a picture of soft discs, spots bright on a dark ground.

A disc of radius r covers of a pixel at distance d from its centre the overlap of the intervals [d − w/2, d + w/2] and
[−r, r], divided by w, the width of the soft edge (one pixel by default). That is the usual linear edge for discs larger
than a pixel, and grey proportional to r for smaller ones, so that nothing flickers and an absent reflection leaves no
trace. Where discs overlap the largest coverage counts.

The picture is gathered, not scattered: the discs that can cover a pixel are centred on the few lattice nodes around
the pixel's own lattice coordinates. The cost does not depend on the number of spots, and the order of summation does
not exist. How many nodes must be looked at follows from the largest radius and the spacing of the lattice lines:
`num_nodes`.

Frame: x to the right, y upwards, origin in the middle of the picture.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xrdjax.config import PatternConfig
from xrdjax.diffraction.zone import Rows, plane_heights


def pixel_centres(pattern: PatternConfig) -> tuple[Float[np.ndarray, "width"], Float[np.ndarray, "height"]]:
    """Return x of the columns and y of the rows in 1/Å; the first row is the uppermost."""
    x = (np.arange(pattern.width) + 0.5 - pattern.width / 2) * pattern.pixel
    y = (pattern.height / 2 - np.arange(pattern.height) - 0.5) * pattern.pixel
    return x, y


def spot_radius(intensity: Float[Array, "spots"], pattern: PatternConfig) -> Float[Array, "spots"]:
    """Return disc radii in 1/Å: `disc_radius` for the strongest of these spots, by `radius_law` for the others."""
    strongest = intensity.max()
    relative = intensity / jnp.where(strongest > 0, strongest, 1)
    if pattern.radius_law == "sqrt":
        is_positive = relative > 0
        relative = jnp.where(is_positive, jnp.sqrt(jnp.where(is_positive, relative, 1)), 0)
    return pattern.disc_radius * relative


def disc_coverage(distance: Float[Array, "*n"], radius: Float[Array, "*n"], edge: float) -> Float[Array, "*n"]:
    """Return the covered fraction of pixels at a distance from a disc's centre; all lengths in the same unit."""
    overlap = jnp.minimum(distance + edge / 2, radius) - jnp.maximum(distance - edge / 2, -radius)
    return jnp.clip(overlap / edge, 0, 1)


def disc_reach(pattern: PatternConfig) -> float:
    """Return the largest distance in 1/Å at which a disc can touch a pixel's centre."""
    return pattern.disc_radius + pattern.softness * pattern.pixel / 2


def radius_grid(radius: Float[Array, "spots"], rows: Rows, max_column: int) -> Float[Array, "rows_1 columns"]:
    """Spread the half list over nodes (j, i) with 0 ≤ j ≤ max row + 1, |i| ≤ max_column + 1; no spot, no radius.

    The outermost nodes hold none, so that an index clipped to the grid finds nothing. In row 0 negative i repeat the
    positive ones.
    """
    column = jnp.arange(-max_column - 1, max_column + 2)
    rest = rows.start[:, None] + column - rows.low[:, None]
    exists = (column >= rows.low[:, None]) & (column <= rows.high[:, None])
    grid = jnp.where(exists, radius[jnp.clip(rest, 0, radius.shape[0] - 1)], 0)
    grid = grid.at[0].max(grid[0, ::-1])
    return jnp.pad(grid, ((0, 1), (0, 0)))


def num_nodes(xy: Float[Array, "2 2"], pattern: PatternConfig) -> Int[Array, "2"]:
    """Return how many nodes of a plane lattice, along each basis vector, can lie within a disc's reach of a pixel."""
    return jnp.floor(2 * disc_reach(pattern) / plane_heights(xy) * (1 + 1e-4)).astype(jnp.int32) + 1


def render_discs(
    xy: Float[Array, "2 2"],
    radius: Float[Array, "rows columns"],
    nodes: Int[Array, "2"] | tuple[int, int],
    pattern: PatternConfig,
) -> Float[Array, "height width"]:
    """Return the union of discs of `radius` at the nodes i xy₀ + j xy₁ of a plane lattice and at their negatives.

    `radius` is `radius_grid`'s; `nodes` is `num_nodes`' or larger. Traced numbers of nodes let a batch look no further
    than its densest lattice; Python integers keep reverse differentiation.
    """
    x, y = (jnp.asarray(centre, xy.dtype) for centre in pixel_centres(pattern))
    x, y = x[None, :], y[:, None]
    area = xy[0, 0] * xy[1, 1] - xy[0, 1] * xy[1, 0]
    u = (xy[1, 1] * x - xy[1, 0] * y) / area
    v = (xy[0, 0] * y - xy[0, 1] * x) / area
    reach = disc_reach(pattern) / plane_heights(xy)
    first_i, first_j = jax.lax.stop_gradient((jnp.ceil(u - reach[0]), jnp.ceil(v - reach[1])))

    def add_node(node: Int[Array, ""], picture: Float[Array, "height width"]) -> Float[Array, "height width"]:
        i, j = first_i + node // nodes[1], first_j + node % nodes[1]
        dx = x - i * xy[0, 0] - j * xy[1, 0]
        dy = y - i * xy[0, 1] - j * xy[1, 1]
        square = dx * dx + dy * dy
        distance = jnp.sqrt(jnp.where(square > 0, square, 1e-30))
        coverage = disc_coverage(distance, _look_up(radius, i, j), pattern.softness * pattern.pixel)
        return jnp.maximum(picture, coverage)

    dark = jnp.zeros((pattern.height, pattern.width), xy.dtype)
    return jax.lax.fori_loop(0, nodes[0] * nodes[1], add_node, dark)


def _look_up(radius: Float[Array, "rows columns"], i: Float[Array, "*n"], j: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return the radius at node (i, j), which is that at (−i, −j); zero outside the grid."""
    num_rows, num_columns = radius.shape
    sign = jnp.where(j < 0, -1, 1)
    row = jnp.minimum(sign * j, num_rows - 1)
    column = jnp.clip(sign * i + num_columns // 2, 0, num_columns - 1)
    node: Int[Array, "*n"] = (row * num_columns + column).astype(jnp.int32)
    return radius.reshape(-1)[node]
