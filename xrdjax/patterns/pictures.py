"""Pictures of one crystal: zones, stills, lists of spots; and as functions of a structure, for gradients."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, ScalarLike

from xrdjax.config import PatternConfig, check_pattern
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import species_numbers
from xrdjax.diffraction.lattice import direct_basis, reciprocal_basis, star_tensor
from xrdjax.diffraction.layer import layer_plane, make_scatterers
from xrdjax.diffraction.sphere import row_box
from xrdjax.diffraction.spots import crystal_plane, layer_size, nothing_left, round_up, scatterers
from xrdjax.diffraction.still import REACH, excited_indices, list_still, still_intensities
from xrdjax.diffraction.structure_factor import Scatterers
from xrdjax.diffraction.zone import ZonePlane, combine, coprime_axis, plane_heights, zone_basis, zone_frame
from xrdjax.errors import XrdjaxError
from xrdjax.patterns.draw import LoopLimits, draw_plane, loop_limits, turn, turn_positions
from xrdjax.patterns.planning import Bucket
from xrdjax.patterns.render import half_window, num_nodes, render_list, spot_size


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
        warnings.warn(nothing_left(axes[number], pattern), stacklevel=2)
    views = jax.tree.map(lambda *leaves: jnp.stack(leaves), *planes)
    return np.asarray(_draw_crystal(atoms, views, reciprocal, crystal.num_atoms, bucket, pattern))


def render_still(
    crystal: Crystal,
    direction: tuple[float, float, float],
    pattern: PatternConfig = PatternConfig(),  # noqa: B008 (frozen)
    *,
    relrod: float = 0.0,
    mosaicity_deg: float = 0.5,
    angle_deg: float = 0.0,
) -> Float[np.ndarray, "height width"]:
    """Return the picture of what a beam against any real-space direction excites, see `still_spots`.

    The scale is that of the detector over wavelength times distance, in 1/Å. Radiation, wavelength and the like are the
    pattern's; its layer, precession, frame and normalisation have no meaning here.
    """
    spots = list_still(crystal, direction, pattern, relrod, mosaicity_deg, "float32")
    return render_spots(spots.xy, spots.intensity, pattern, angle_deg=angle_deg)


def render_spots(
    xy: Float[np.ndarray, "spots 2"],
    intensity: Float[np.ndarray, "spots"],
    pattern: PatternConfig = PatternConfig(),  # noqa: B008 (frozen)
    *,
    angle_deg: float = 0.0,
) -> Float[np.ndarray, "height width"]:
    """Return the picture of any list of spots, positions in 1/Å, measured by the strongest of them.

    Raises XrdjaxError for an intensity that is negative or no number.
    """
    pattern = check_pattern(pattern)
    xy, intensity = np.asarray(xy, np.float32).reshape(-1, 2), np.asarray(intensity, np.float32)
    if len(xy) != len(intensity) or not np.all(np.isfinite(xy)) or not np.all(intensity >= 0):
        raise XrdjaxError(
            f"{len(xy)} positions and {len(intensity)} intensities: expected as many, finite, none negative"
        )
    padding = (0, round_up(len(xy)) - len(xy))
    angle = np.float32(np.radians(angle_deg))
    picture = _draw_list(np.pad(xy, (padding, (0, 0))), np.pad(intensity, padding), len(xy), angle, pattern)
    return np.asarray(picture)


@partial(jax.jit, static_argnames="pattern")
def _draw_list(
    xy: Float[ArrayLike, "spots 2"],
    intensity: Float[ArrayLike, "spots"],
    num_spots: int | Int[Array, ""],
    angle: Float[ArrayLike, ""],
    pattern: PatternConfig,
) -> Float[Array, "height width"]:
    xy, intensity = turn_positions(jnp.asarray(xy), jnp.asarray(angle)), jnp.asarray(intensity)
    return render_list(xy, spot_size(intensity, intensity.max(), pattern), num_spots, half_window(pattern), pattern)


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
        box=tuple(row_box(direct_basis(crystal.cell), pattern.g_max).tolist())
        if pattern.normalize == "sphere"
        else (0, 0),
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
    u_aniso: Float[Array, "atoms 6"] | None = None
    """U11 U22 U33 U12 U13 U23 in Å², in place of `u_iso`."""


def structure_of(crystal: Crystal) -> Structure:
    """Return a crystal's numbers in JAX's default precision: float32, or float64 under `jax.enable_x64`."""
    numbers = (crystal.cell, crystal.fract, crystal.occupancy, crystal.u_iso)
    cell, fract, occupancy, u_iso = (jnp.asarray(value, float) for value in numbers)
    u_aniso = None if crystal.u_aniso is None else jnp.asarray(crystal.u_aniso, float)
    return Structure(cell=cell, fract=fract, occupancy=occupancy, u_iso=u_iso, u_aniso=u_aniso)


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
    uvw = coprime_axis(uvw)
    basis, widest = jnp.array(zone_basis(uvw)), check_pattern(pattern).widened(1 + margin)
    plane = crystal_plane(crystal, uvw, "float32", widest)
    bucket, _ = _bucket_of(crystal, [plane], round_up(crystal.num_atoms), widest)
    row, column = (int(count) for count in num_nodes(plane.drawn_xy / (1 + margin), pattern))
    species = jnp.asarray(species_numbers(crystal.species))
    limits = LoopLimits(atoms=crystal.num_atoms, spots=bucket.spots, nodes=(row, column))
    default = pattern

    def draw(
        structure: Structure, angle_deg: float | Float[Array, ""] = 0.0, pattern: PatternConfig | None = None
    ) -> Float[Array, "height width"]:
        pattern = pattern or default
        direct, reciprocal = direct_basis(structure.cell), reciprocal_basis(structure.cell)
        angle = jnp.asarray(angle_deg, direct.dtype) * (math.pi / 180)
        plane = turn(layer_plane(direct, reciprocal, jnp.array(uvw), basis, pattern), angle)
        atoms = _structure_scatterers(structure, reciprocal, species, bucket.atoms, pattern)
        return draw_plane(atoms, plane, reciprocal, limits, bucket, pattern)

    return draw


def still_picture(
    crystal: Crystal,
    direction: tuple[float, float, float],
    pattern: PatternConfig,
    *,
    relrod: float = 0.0,
    mosaicity_deg: float = 0.5,
    tilt_deg: float = 1.0,
    margin: float = 0.02,
) -> Callable[..., Float[Array, "height width"]]:
    """Return draw(structure, rotation_deg=(0, 0, 0), pattern=pattern), differentiable in all it is given.

    `rotation_deg` is a rotation vector of the crystal in degrees about e1, e2 (tilts) and e3 (in the picture): any
    orientation. Reflections that become excited within `tilt_deg` and a change of the cell by `margin` are listed.
    """
    widest = replace(check_pattern(pattern).widened(1 + margin), wavelength=pattern.wavelength)
    reach = mosaicity_deg + (tilt_deg + math.degrees(margin)) / REACH
    hkl = excited_indices(crystal, direction, widest, relrod, reach)
    size, num_atoms, half = round_up(len(hkl)), round_up(crystal.num_atoms), half_window(pattern)
    hkl = jnp.asarray(np.pad(hkl, ((0, size - len(hkl)), (0, 0))), jnp.int32)
    species = jnp.asarray(species_numbers(crystal.species))
    default = pattern

    def draw(
        structure: Structure,
        rotation_deg: tuple[ScalarLike, ScalarLike, ScalarLike] | Float[Array, "3"] = (0.0, 0.0, 0.0),
        pattern: PatternConfig | None = None,
    ) -> Float[Array, "height width"]:
        pattern = pattern or default
        direct, reciprocal = direct_basis(structure.cell), reciprocal_basis(structure.cell)
        frame = zone_frame(direct, jnp.asarray(direction, direct.dtype))
        frame = combine(_rotation(jnp.asarray(rotation_deg, direct.dtype) * (math.pi / 180)), frame)
        atoms = _structure_scatterers(structure, reciprocal, species, num_atoms, pattern)
        excited, intensity = still_intensities(atoms, reciprocal, frame, hkl, num_atoms, pattern, relrod, mosaicity_deg)
        return render_list(excited.xy, spot_size(intensity, intensity.max(), pattern), size, half, pattern)

    return draw


def _rotation(vector: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """Return the matrix of a rotation vector in radians (Rodrigues), smooth at zero."""
    square = (vector**2).sum()
    is_large = square > 1e-8
    angle = jnp.sqrt(jnp.where(is_large, square, 1))
    first = jnp.where(is_large, jnp.sin(angle) / angle, 1 - square / 6)
    second = jnp.where(is_large, (1 - jnp.cos(angle)) / angle**2, 0.5 - square / 24)
    x, y, z = vector
    zero = jnp.zeros_like(x)
    cross = jnp.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    return jnp.eye(3, dtype=vector.dtype) + first * cross + second * combine(cross, cross)


def _structure_scatterers(
    structure: Structure,
    reciprocal: Float[Array, "3 3"],
    species: Int[Array, "atoms"],
    num_atoms: int,
    pattern: PatternConfig,
) -> Scatterers:
    fract, kind, occupancy, u_iso = (
        _pad_atoms(value, num_atoms) for value in (structure.fract, species, structure.occupancy, structure.u_iso)
    )
    u_star = None
    if structure.u_aniso is not None:
        u_star = _pad_atoms(star_tensor(structure.u_aniso, reciprocal), num_atoms)
    return make_scatterers(fract, kind, occupancy, u_iso, pattern, u_star)


def _pad_atoms(values: Array, size: int) -> Array:
    return jnp.pad(values, [(0, size - len(values))] + [(0, 0)] * (values.ndim - 1))
