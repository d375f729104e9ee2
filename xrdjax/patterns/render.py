"""From reflections of a zone to a picture of soft discs or Gaussians, spots bright on a dark ground.

A disc of radius r covers of a pixel at distance d from its centre the overlap of the intervals [d − w/2, d + w/2] and
[−r, r], divided by w, the width of the soft edge (one pixel by default). That is the usual linear edge for discs larger
than a pixel, and grey proportional to r for smaller ones, so that nothing flickers and an absent reflection leaves no
trace. Where discs overlap the largest coverage counts; overlapping Gaussians add up, to 1 at most.

The picture is gathered, not scattered: the spots that can reach a pixel are centred on the few lattice nodes around
the pixel's own lattice coordinates. The cost does not depend on the number of spots, and the order of summation does
not exist. How many nodes must be looked at follows from the reach of a spot and the spacing of the lattice lines:
`num_nodes`. Where Friedel's law holds, the upper half of a picture is drawn and turned over.

Frame: x to the right, y upwards, origin in the middle of the picture.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xrdjax.config import PatternConfig
from xrdjax.diffraction.zone import Rows, plane_heights

LOG_RANGE = 1e3  # radius_law "log" is log(1 + 1000 I/I_max): straight below a thousandth
GAUSSIAN_REACH = (
    4.5  # standard deviations; Gaussians are lowered by their height there, so that they end without a step
)
GAUSSIAN_FOOT = math.exp(-(GAUSSIAN_REACH**2) / 2)  # 4e-5
FAINT_PIXELS = 0.35  # discs with a smaller radius have a thinner outline, and none at zero, as in those pictures


def pixel_centres(pattern: PatternConfig) -> tuple[Float[np.ndarray, "width"], Float[np.ndarray, "height"]]:
    """Return x of the columns and y of the rows in 1/Å; the first row is the uppermost."""
    x = (np.arange(pattern.width) + 0.5 - pattern.width / 2) * pattern.pixel
    y = (pattern.height / 2 - np.arange(pattern.height) - 0.5) * pattern.pixel
    return x, y


def spot_size(
    intensity: Float[Array, "spots"], strongest: Float[Array, ""], pattern: PatternConfig
) -> Float[Array, "spots"]:
    """Return what tells a spot's intensity: the radius of its disc in 1/Å, or the height of its Gaussian."""
    relative = intensity / jnp.where(strongest > 0, strongest, 1)
    if pattern.spot_shape == "gaussian":
        return relative
    if pattern.radius_law == "log":
        relative = jnp.log1p(LOG_RANGE * relative) / np.log1p(LOG_RANGE)
    elif pattern.radius_law == "sqrt":
        relative = _sqrt(relative)
    radius = pattern.disc_radius * relative
    if not pattern.edge_pixels:
        return radius
    outline = jnp.minimum(_sqrt(radius / (FAINT_PIXELS * pattern.pixel)), 1)
    return radius + pattern.edge_pixels * pattern.pixel * outline


def _sqrt(value: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return the square root, with no slope at zero."""
    is_positive = value > 0
    return jnp.where(is_positive, jnp.sqrt(jnp.where(is_positive, value, 1)), 0)


def disc_coverage(
    distance: Float[Array, "*#n"], radius: Float[Array, "*#n"], edge: float | Float[Array, ""]
) -> Float[Array, "*#n"]:
    """Return the covered fraction of pixels at a distance from a disc's centre; all lengths in the same unit."""
    overlap = jnp.minimum(distance + edge / 2, radius) - jnp.maximum(distance - edge / 2, -radius)
    return jnp.clip(overlap / edge, 0, 1)


def spot_reach(pattern: PatternConfig) -> float | Float[Array, ""]:
    """Return the largest distance in 1/Å at which a spot can touch a pixel's centre."""
    if pattern.spot_shape == "gaussian":
        return GAUSSIAN_REACH * pattern.gaussian_sigma
    return pattern.disc_radius + (pattern.edge_pixels + pattern.softness / 2) * pattern.pixel


def lattice_grid(size: Float[Array, "spots"], rows: Rows, max_column: int) -> Float[Array, "grid_rows columns"]:
    """Spread a list over lattice nodes (j, i), |i| ≤ max_column, with a rim of empty nodes; no spot, no size.

    An index clipped to the grid so finds nothing. Rows are j = 0 … of a half list, in whose row 0 negative i repeat the
    positive ones, and −n … n of a full one.
    """
    column = jnp.arange(-max_column - 1, max_column + 2)
    place = rows.start[:, None] + column - rows.low[:, None]
    exists = (column >= rows.low[:, None]) & (column <= rows.high[:, None])
    grid = jnp.where(exists, size[jnp.clip(place, 0, size.shape[0] - 1)], 0)
    if rows.is_half:
        grid = grid.at[0].max(grid[0, ::-1])
    return jnp.pad(grid, ((0 if rows.is_half else 1, 1), (0, 0)))


def num_nodes(xy: Float[Array, "rows 2"], pattern: PatternConfig) -> Int[Array, "2"]:
    """Return how many nodes of a plane lattice, along each basis vector, can lie within a spot's reach of a pixel."""
    return jnp.floor(2 * spot_reach(pattern) / plane_heights(xy) * (1 + 1e-4)).astype(jnp.int32) + 1


def render_lattice(
    xy: Float[Array, "rows 2"],
    size: Float[Array, "grid_rows columns"],
    nodes: Int[Array, "2"] | tuple[int, int],
    pattern: PatternConfig,
) -> Float[Array, "height width"]:
    """Return the picture of spots of `size` at the nodes i xy₀ + j xy₁ of a plane lattice, about xy₂ if there is one.

    `size` is `lattice_grid`'s; `nodes` is `num_nodes`' or larger. Traced numbers of nodes let a batch look no further
    than its densest lattice; Python integers keep reverse differentiation.
    """
    is_half = pattern.has_friedel_pairs
    x, y = (jnp.asarray(centre, xy.dtype) for centre in pixel_centres(pattern))
    x, y = x[None, :], y[: -(-pattern.height // 2) if is_half else pattern.height, None]
    picture = _gather(xy, size, nodes, x, y, pattern)
    if is_half:
        picture = jnp.concatenate([picture, picture[: pattern.height // 2][::-1, ::-1]])
    return _finish(picture, pattern)


def _finish(picture: Float[Array, "height width"], pattern: PatternConfig) -> Float[Array, "height width"]:
    """Return the picture with the direct beam, and nowhere brighter than 1."""
    if pattern.direct_beam:
        x, y = (jnp.asarray(centre, picture.dtype) for centre in pixel_centres(pattern))
        square = x[None, :] ** 2 + y[:, None] ** 2
        picture = _add_disc(picture, square, jnp.asarray(pattern.direct_beam, picture.dtype), pattern)
    return jnp.minimum(picture, 1)


def _add_spot(
    picture: Float[Array, "rows columns"],
    square: Float[Array, "rows columns"],
    size: Float[Array, "*#shape"],
    pattern: PatternConfig,
) -> Float[Array, "rows columns"]:
    """Return the picture with one spot more, whose centre is at this squared distance from each pixel's."""
    if pattern.spot_shape == "gaussian":
        height = jnp.exp(square * (-0.5 / pattern.gaussian_sigma**2)) - GAUSSIAN_FOOT
        return picture + size * jnp.maximum(height, 0) / (1 - GAUSSIAN_FOOT)
    return _add_disc(picture, square, size, pattern)


def _add_disc(
    picture: Float[Array, "rows columns"],
    square: Float[Array, "rows columns"],
    radius: Float[Array, "*#shape"],
    pattern: PatternConfig,
) -> Float[Array, "rows columns"]:
    distance = jnp.sqrt(jnp.where(square > 0, square, 1e-30))
    return jnp.maximum(picture, disc_coverage(distance, radius, pattern.softness * pattern.pixel))


def _gather(
    xy: Float[Array, "rows 2"],
    size: Float[Array, "grid_rows columns"],
    nodes: Int[Array, "2"] | tuple[int, int],
    x: Float[Array, "1 width"],
    y: Float[Array, "height 1"],
    pattern: PatternConfig,
) -> Float[Array, "height width"]:
    """Return what the spots leave in pixels at columns x and rows y."""
    if len(xy) > 2:
        x, y = x - xy[2, 0], y - xy[2, 1]
    area = xy[0, 0] * xy[1, 1] - xy[0, 1] * xy[1, 0]
    u = (xy[1, 1] * x - xy[1, 0] * y) / area
    v = (xy[0, 0] * y - xy[0, 1] * x) / area
    reach = spot_reach(pattern) / plane_heights(xy)
    first_i, first_j = jax.lax.stop_gradient((jnp.ceil(u - reach[0]), jnp.ceil(v - reach[1])))

    def add_node(node: Int[Array, ""], picture: Float[Array, "height width"]) -> Float[Array, "height width"]:
        i, j = first_i + node // nodes[1], first_j + node % nodes[1]
        dx = x - i * xy[0, 0] - j * xy[1, 0]
        dy = y - i * xy[0, 1] - j * xy[1, 1]
        here = _look_up(size, i, j, is_half=pattern.has_friedel_pairs)
        return _add_spot(picture, dx * dx + dy * dy, here, pattern)

    dark = jnp.zeros((y.shape[0], x.shape[1]), xy.dtype)
    return jax.lax.fori_loop(0, nodes[0] * nodes[1], add_node, dark)


def _look_up(
    size: Float[Array, "grid_rows columns"], i: Float[Array, "*n"], j: Float[Array, "*n"], *, is_half: bool
) -> Float[Array, "*n"]:
    """Return the size at node (i, j), in a half list that at (−i, −j) as well; zero outside the grid."""
    num_rows, num_columns = size.shape
    if is_half:
        sign = jnp.where(j < 0, -1, 1)
        i, row = sign * i, jnp.minimum(sign * j, num_rows - 1)
    else:
        row = jnp.clip(j + num_rows // 2, 0, num_rows - 1)
    column = jnp.clip(i + num_columns // 2, 0, num_columns - 1)
    node: Int[Array, "*n"] = (row * num_columns + column).astype(jnp.int32)
    return size.reshape(-1)[node]


def half_window(pattern: PatternConfig) -> int:
    """Return how many pixels from the one of its centre a spot can reach."""
    return math.ceil(spot_reach(pattern) / pattern.pixel + 0.5)


def render_list(
    xy: Float[Array, "spots 2"],
    size: Float[Array, "spots"],
    num_spots: int | Int[Array, ""],
    half: int,
    pattern: PatternConfig,
    *,
    mirrored: bool = False,
) -> Float[Array, "height width"]:
    """Return the picture of the first `num_spots` of any list of spots, each drawn in a window of its own.

    `size` is `spot_size`'s, `half` is `half_window` or larger; a `mirrored` list holds one of each pair of opposite
    spots. The cost is that of the windows. A Python integer of spots keeps reverse differentiation.
    """
    pixel = pattern.pixel
    offset = jnp.arange(-half, half + 1)
    height, width = pattern.height + 4 * half, pattern.width + 4 * half

    def add_spot(number: Int[Array, ""], picture: Float[Array, "padded_height padded_width"]) -> Array:
        # In pixels from the centre of the padded picture's first one, which lies 2 half outside the picture's own.
        column = xy[number, 0] / pixel + (width - 1) / 2
        row = (height - 1) / 2 - xy[number, 1] / pixel
        nearest = jax.lax.stop_gradient(jnp.round(jnp.stack([row, column]))).astype(jnp.int32)
        start = jnp.clip(nearest - half, 0, jnp.array([height, width]) - 2 * half - 1)
        rows, columns = start[0] + half + offset, start[1] + half + offset
        square = ((rows - row) ** 2)[:, None] + (columns - column) ** 2
        window = jax.lax.dynamic_slice(picture, (start[0], start[1]), (2 * half + 1, 2 * half + 1))
        window = _add_spot(window, square * pixel**2, size[number], pattern)
        return jax.lax.dynamic_update_slice(picture, window, (start[0], start[1]))

    dark = jnp.zeros((height, width), xy.dtype)
    picture = jax.lax.fori_loop(0, num_spots, add_spot, dark)
    picture = picture[2 * half : height - 2 * half, 2 * half : width - 2 * half]
    if mirrored:
        opposite = picture[::-1, ::-1]
        picture = picture + opposite if pattern.spot_shape == "gaussian" else jnp.maximum(picture, opposite)
    return _finish(picture, pattern)
