"""Pictures of one crystal: zones, stills, lists of spots; and as functions of a structure, for gradients."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xrdjax.config import PatternConfig, check_pattern
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import SPECIES
from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis
from xrdjax.diffraction.layer import layer_plane, make_scatterers
from xrdjax.diffraction.sphere import row_box
from xrdjax.diffraction.spots import crystal_plane, layer_size, round_up, scatterers
from xrdjax.diffraction.structure_factor import Scatterers
from xrdjax.diffraction.zone import ZonePlane, coprime_axis, plane_heights, zone_basis
from xrdjax.patterns.draw import LoopLimits, draw_plane, loop_limits, turn
from xrdjax.patterns.planning import Bucket
from xrdjax.patterns.render import num_nodes


def render_zone(
    crystal: Crystal,
    uvw: tuple[int, int, int],
    pattern: PatternConfig = PatternConfig(),  # noqa: B008 (frozen)
    *,
    angle_deg: float = 0.0,
) -> Float[np.ndarray, "height width"]:
    """Return the picture of one zone of one crystal, 0 to 1, spots bright, seen from +[uvw], y upwards.

    What is drawn, and how, is said by `pattern`; its zone axes are ignored. `angle_deg` turns the picture
    counter-clockwise. Warns if there is no reflection. Raises XrdjaxError for an axis without direction and a pattern
    out of range.
    """
    return render_zones(crystal, (uvw,), pattern, angle_deg=angle_deg)[0]


def render_zones(
    crystal: Crystal,
    axes: Sequence[tuple[int, int, int]],
    pattern: PatternConfig = PatternConfig(),  # noqa: B008 (frozen)
    *,
    angle_deg: float | Sequence[float] = 0.0,
) -> Float[np.ndarray, "views height width"]:
    """Return pictures of one crystal along several axes, drawn in one call: `render_zone` of each.

    `angle_deg` is one angle for all views or one for each.
    """
    pattern = check_pattern(pattern)
    angles = np.broadcast_to(np.radians(np.asarray(angle_deg, np.float32)), len(axes))
    planes = [
        turn(crystal_plane(crystal, coprime_axis(uvw), "float32", pattern), jnp.float32(angle))
        for uvw, angle in zip(axes, angles, strict=True)
    ]
    atoms = scatterers(crystal, "float32", pattern)
    reciprocal = jnp.asarray(reciprocal_basis(crystal.cell), jnp.float32)
    bucket, empty = _bucket_of(crystal, planes, len(atoms.occupancy), pattern)
    for number in empty:
        warnings.warn(f"zone {tuple(axes[number])}: no reflection within |G| < {pattern.g_max:g} 1/Å", stacklevel=2)
    views = jax.tree.map(lambda *leaves: jnp.stack(leaves), *planes)
    return np.asarray(_draw_crystal(atoms, views, reciprocal, crystal.num_atoms, bucket, pattern))


@partial(jax.jit, static_argnames=("bucket", "pattern"))
def _draw_crystal(
    atoms: Scatterers,
    views: ZonePlane,
    reciprocal: Float[Array, "3 3"],
    num_atoms: int | Int[Array, ""],
    bucket: Bucket,
    pattern: PatternConfig,
) -> Float[Array, "views height width"]:
    limits = loop_limits(num_atoms, views, bucket.rows, pattern)
    return jax.vmap(lambda plane: draw_plane(atoms, plane, reciprocal, limits, bucket, pattern))(views)


def _bucket_of(
    crystal: Crystal, planes: list[ZonePlane], num_atoms: int, pattern: PatternConfig
) -> tuple[Bucket, list[int]]:
    """Return the shapes for views of one crystal, and which views have no reflection.

    Lists are rounded up, so that similar crystals share a compiled function.
    """
    sizes = [layer_size(plane, pattern) for plane in planes]
    max_column = max(int(pattern.g_max / plane_heights(plane.xy)[0]) + 2 for plane in planes)
    bucket = Bucket(
        slots=len(planes),
        atoms=num_atoms,
        spots=round_up(max(spots for _, spots in sizes)),
        columns=round_up(max_column),
        rows=round_up(max(row for row, _ in sizes)),
        box=row_box(direct_basis(crystal.cell), pattern.g_max) if pattern.normalize == "sphere" else (0, 0),
    )
    return bucket, [number for number, (_, spots) in enumerate(sizes) if not spots]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Structure:
    """What a picture can be differentiated in, besides its angle and the numbers of its `PatternConfig`."""

    cell: Float[Array, "6"]
    """a, b, c in Å and α, β, γ in degrees."""
    fract: Float[Array, "atoms 3"]
    occupancy: Float[Array, "atoms"]
    u_iso: Float[Array, "atoms"]
    """In Å²; B = 8π² U. Seen where the pattern's `debye_waller` is on."""


def structure_of(crystal: Crystal) -> Structure:
    """Return a crystal's numbers in JAX's default precision: float32, or float64 under `jax.enable_x64`."""
    numbers = (crystal.cell, crystal.fract, crystal.occupancy, crystal.u_iso)
    cell, fract, occupancy, u_iso = (jnp.asarray(value, float) for value in numbers)
    return Structure(cell=cell, fract=fract, occupancy=occupancy, u_iso=u_iso)


def zone_picture(
    crystal: Crystal, uvw: tuple[int, int, int], pattern: PatternConfig, *, margin: float = 0.1
) -> Callable[..., Float[Array, "height width"]]:
    """Return draw(structure, angle_deg=0, pattern=pattern), differentiable in all it is given.

    It draws one zone of any structure near `crystal` and can be traced: jit, grad, vmap. Species are the crystal's.
    Edges may grow by the fraction `margin`; beyond that outer reflections are lost. To differentiate in a number of the
    pattern, such as softness or wavelength, pass `dataclasses.replace(pattern, softness=traced)`. Where a reflection
    crosses the limiting sphere, or another becomes the strongest, the picture has a jump or a kink, which gradients do
    not see. A wavelength is not differentiable through f′ and f″.
    """
    uvw, basis = coprime_axis(uvw), jnp.array(zone_basis(coprime_axis(uvw)))
    d_min = None if pattern.d_min is None else pattern.d_min / (1 + margin)
    widest = replace(check_pattern(pattern), wavelength=pattern.wavelength / (1 + margin), d_min=d_min)
    plane = crystal_plane(crystal, uvw, "float32", widest)
    bucket, _ = _bucket_of(crystal, [plane], round_up(crystal.num_atoms), widest)
    row, column = (int(count) for count in num_nodes(plane.drawn_xy / (1 + margin), pattern))
    species = jnp.array([SPECIES.index(name) for name in crystal.species], jnp.int32)
    limits = LoopLimits(atoms=crystal.num_atoms, spots=bucket.spots, nodes=(row, column))
    default = pattern

    def draw(
        structure: Structure, angle_deg: float | Float[Array, ""] = 0.0, pattern: PatternConfig | None = None
    ) -> Float[Array, "height width"]:
        pattern = pattern or default
        direct, reciprocal = direct_basis(structure.cell), reciprocal_basis(structure.cell)
        angle = jnp.asarray(angle_deg, direct.dtype) * (math.pi / 180)
        plane = turn(layer_plane(direct, reciprocal, jnp.array(uvw), basis, pattern), angle)
        fract, kind, occupancy, u_iso = (
            _pad_atoms(value, bucket.atoms)
            for value in (structure.fract, species, structure.occupancy, structure.u_iso)
        )
        atoms = make_scatterers(fract, kind, occupancy, u_iso, pattern)
        return draw_plane(atoms, plane, reciprocal, limits, bucket, pattern)

    return draw


def _pad_atoms(values: Array, size: int) -> Array:
    return jnp.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1))
