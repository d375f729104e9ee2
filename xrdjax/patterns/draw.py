"""One picture of one layer of one crystal, traced: intensities, their scale, spots."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from xrdjax.config import PatternConfig
from xrdjax.diffraction.layer import layer_intensities, layer_rows, sphere_maximum
from xrdjax.diffraction.structure_factor import Scatterers
from xrdjax.diffraction.zone import ZonePlane, combine
from xrdjax.patterns.planning import Bucket
from xrdjax.patterns.render import half_window, lattice_grid, num_nodes, render_lattice, render_list, spot_size


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class LoopLimits:
    """How far the loops over atoms, reflections and lattice nodes must run for all of some pictures.

    Python integers keep reverse differentiation.
    """

    atoms: int | Int[Array, ""]
    spots: int | Int[Array, ""]
    nodes: tuple[int, int] | Int[Array, "2"]


def loop_limits(
    num_atoms: int | Int[Array, "*batch"], planes: ZonePlane, max_row: int, pattern: PatternConfig
) -> LoopLimits:
    """Return what the neediest of some pictures needs."""
    spots = jax.vmap(lambda plane: layer_rows(plane, max_row, pattern).count)(planes)
    nodes = jax.vmap(lambda plane: num_nodes(plane.drawn_xy, pattern))(planes)
    return LoopLimits(atoms=jnp.max(jnp.asarray(num_atoms)), spots=spots.max(), nodes=nodes.max(0))


def draw_plane(
    atoms: Scatterers,
    plane: ZonePlane,
    reciprocal: Float[Array, "3 3"],
    limits: LoopLimits,
    bucket: Bucket,
    pattern: PatternConfig,
    *,
    spot_by_spot: bool = False,
) -> Float[Array, "height width"]:
    """Draw one layer of one crystal: gathered pixel by pixel, or `spot_by_spot`, each in a window of its own."""
    rows = layer_rows(plane, bucket.rows, pattern)
    index, _, intensity = layer_intensities(
        atoms, plane, reciprocal, rows, bucket.spots, limits.atoms, limits.spots, pattern
    )
    if pattern.normalize == "sphere":
        strongest = sphere_maximum(atoms, reciprocal, limits.atoms, bucket.box, pattern)
    else:
        strongest = intensity.max()
    size = spot_size(intensity, strongest, pattern)
    if spot_by_spot:
        xy = combine(index, plane.drawn_xy)
        return render_list(xy, size, limits.spots, half_window(pattern), pattern, mirrored=pattern.has_friedel_pairs)
    return render_lattice(plane.drawn_xy, lattice_grid(size, rows, bucket.columns), limits.nodes, pattern)


def turn(plane: ZonePlane, angle: Float[Array, ""]) -> ZonePlane:
    """Turn a plane counter-clockwise by an angle in radians."""
    drawn = None if plane.drawn is None else turn_positions(plane.drawn, angle)
    return replace(plane, xy=turn_positions(plane.xy, angle), drawn=drawn)


def turn_positions(rows: Float[Array, "rows dimensions"], angle: Float[Array, ""]) -> Float[Array, "rows dimensions"]:
    """Turn x and y, the first two columns, counter-clockwise by an angle in radians."""
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    x, y = rows[:, 0], rows[:, 1]
    return rows.at[:, :2].set(jnp.stack([x * cosine - y * sine, x * sine + y * cosine], axis=-1))
