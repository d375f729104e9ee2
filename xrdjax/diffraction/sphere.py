"""All reflections within a sphere |G| < g_max, and the strongest of them.

Rows of reflections follow each other, along one axis; since |h| = |G·a| < g_max |a|, and so for k and l, a box of rows
bounds the sphere for any cell.

The strongest reflection is searched from inside out. No |F| can exceed Σ occ |f|, which falls with |G|, so the search
ends, exactly, where that bound falls below what was already found: for a typical cell after a small part of the
sphere. It is found anew for every changed crystal; nothing is assumed about which reflection it is.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from xrdjax.diffraction.scattering import form_factor
from xrdjax.diffraction.structure_factor import SPOT_BLOCK, Scatterers, block_intensities, num_blocks
from xrdjax.diffraction.zone import combine
from xrdjax.errors import XrdjaxError

MOST_SPOTS = 1 << 24  # in one list
BOUND_STEPS = 64  # of |G|, at which the bound on |F| is worked out
FIRST_SHELL = 256  # reflections in the first sphere that is searched; each further one has twice the volume
Keep = Callable[[Int[Array, "spots 3"]], Bool[Array, "spots"]]
Factor = Callable[[Float[Array, "spots"]], Float[Array, "spots"]]


def sphere_indices(direct: Float[np.ndarray, "3 3"], g_max: float) -> Int[np.ndarray, "spots 3"]:
    """Return all hkl ≠ 000 with |G| < g_max in 1/Å, both Friedel mates, sorted by h, k, l. On the host, in float64.

    Raises XrdjaxError for over `MOST_SPOTS`.
    """
    if 4 / 3 * math.pi * g_max**3 * abs(np.linalg.det(direct)) >= MOST_SPOTS:
        raise XrdjaxError(f"over {MOST_SPOTS:,} reflections within |G| < {g_max:g} 1/Å; give a larger d_min")
    reciprocal = np.linalg.inv(direct).T
    reach = np.floor(g_max * np.linalg.norm(direct, axis=1)).astype(int)
    k, l = (np.arange(-size, size + 1) for size in reach[1:])  # noqa: E741 (the field's letter)
    rest = k[:, None, None] * reciprocal[1] + l[:, None] * reciprocal[2]
    length = np.linalg.norm(reciprocal[0])
    centre = -(rest @ reciprocal[0]) / length**2
    half_width2 = (g_max**2 - (rest**2).sum(-1)) / length**2 + centre**2
    half_width = np.sqrt(np.maximum(half_width2, 0))
    low, high = np.ceil(centre - half_width).astype(int), np.floor(centre + half_width).astype(int)
    count = np.where(half_width2 > 0, np.maximum(high - low + 1, 0), 0)
    row_k, row_l = np.repeat(np.nonzero(np.ones_like(count)), count.ravel(), axis=1)
    first = np.cumsum(count.ravel()) - count.ravel()
    h = np.arange(count.sum()) - np.repeat(first, count.ravel()) + np.repeat(low.ravel(), count.ravel())
    hkl = np.stack([h, k[row_k], l[row_l]], axis=1)
    inside = (np.linalg.norm(hkl @ reciprocal, axis=1) < g_max) & hkl.any(axis=1)
    hkl = hkl[inside]
    return hkl[np.lexsort(hkl.T[::-1])]


def row_box(direct: Float[np.ndarray, "*batch 3 3"], g_max: float) -> Int[np.ndarray, "*batch 2"]:
    """Return bounds of the indices along the second longest and the shortest edge: rows run along the longest.

    Whole multiples of 8: few shapes that are ever compiled.
    """
    edge = np.sort(np.sqrt((np.asarray(direct, float) ** 2).sum(-1)))[..., 1::-1]
    return 8 * np.ceil(g_max * edge / 8).astype(int)


def strongest_reflection(
    atoms: Scatterers,
    reciprocal: Float[Array, "3 3"],
    g_max: float | Float[Array, ""],
    num_atoms: int | Int[Array, ""],
    box: tuple[int, int],
    factor: Factor | None = None,
    keep: Keep | None = None,
) -> Int[Array, "3"]:
    """Return hkl of the largest factor(s²) |F|² within 0 < |G| < g_max, one of a Friedel pair; 000 where none is.

    `box` is `row_box`, `factor` a Lorentz–polarisation factor, `keep` tells which hkl count. With
    anomalous scattering the stronger mate counts. Not differentiable; the intensity of the returned reflection is.
    """
    atoms, reciprocal, g_max = jax.lax.stop_gradient((atoms, reciprocal, jnp.asarray(g_max, reciprocal.dtype)))
    order = _longest_first(reciprocal)
    bound = _intensity_bound(atoms, g_max) if factor is None else jnp.full(BOUND_STEPS, jnp.inf, reciprocal.dtype)
    volume = jnp.abs((reciprocal[0] * jnp.cross(reciprocal[1], reciprocal[2])).sum())
    first = (FIRST_SHELL * volume * 3 / (2 * math.pi)) ** (1 / 3)

    def goes_on(state: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        searched, best, _ = state
        step = jnp.minimum((searched / g_max * BOUND_STEPS).astype(jnp.int32), BOUND_STEPS - 1)
        return (searched < g_max) & (bound[step] >= best)

    def search(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        searched, best, best_hkl = state
        radius = jnp.minimum(jnp.maximum(first, searched * 2 ** (1 / 3)), g_max)
        found, hkl = _strongest_within(atoms, reciprocal, order, radius, num_atoms, box, factor, keep)
        return radius, jnp.maximum(found, best), jnp.where(found > best, hkl, best_hkl)

    zero = jnp.zeros((), reciprocal.dtype)
    return jax.lax.while_loop(goes_on, search, (zero, zero, jnp.zeros(3, jnp.int32)))[2]


def _longest_first(reciprocal: Float[Array, "3 3"]) -> Int[Array, "3"]:
    """Return the axes from the longest real edge, |b* × c*| over the volume, to the shortest."""
    normals = jnp.stack([jnp.cross(reciprocal[(k + 1) % 3], reciprocal[(k + 2) % 3]) for k in range(3)])
    return jnp.argsort(-(normals**2).sum(-1))


def _intensity_bound(atoms: Scatterers, g_max: Float[Array, ""]) -> Float[Array, "steps"]:
    """Return what |F|² cannot exceed from |G| = g_max k/`BOUND_STEPS` on."""
    g = jnp.arange(BOUND_STEPS) * (g_max / BOUND_STEPS)
    f = form_factor(atoms.coefficients[:, None], g**2 / 4)
    if atoms.anomalous is None:
        largest = jnp.abs(f)
    else:
        largest = jnp.abs(f + atoms.anomalous[:, :1]) + jnp.abs(atoms.anomalous[:, 1:])
    total = (jnp.abs(atoms.occupancy)[:, None] * largest).sum(0)
    return jax.lax.cummax(total**2, reverse=True) * (1 + 1e-3)  # f may rise a little between two steps


def _strongest_within(
    atoms: Scatterers,
    reciprocal: Float[Array, "3 3"],
    order: Int[Array, "3"],
    radius: Float[Array, ""],
    num_atoms: int | Int[Array, ""],
    box: tuple[int, int],
    factor: Factor | None,
    keep: Keep | None,
) -> tuple[Float[Array, ""], Int[Array, "3"]]:
    """Return the strongest intensity of a half sphere and whose it is; rows run along the first axis of `order`."""
    kl, low, start, count = _half_sphere_rows(reciprocal[order], radius, box)
    unit = jnp.eye(3, dtype=jnp.int32)
    place_of = jnp.argsort(order)

    def block(number: Int[Array, ""], best: tuple[Array, Array]) -> tuple[Array, Array]:
        spot = number * SPOT_BLOCK + jnp.arange(SPOT_BLOCK)
        row = jnp.searchsorted(start, spot, side="right") - 1
        hkl = jnp.concatenate([(low[row] + spot - start[row])[:, None], kl[row]], axis=1)
        hkl = hkl[:, place_of].astype(jnp.int32)
        s2 = (combine(hkl, reciprocal) ** 2).sum(-1) / 4
        exists = spot < count if keep is None else (spot < count) & keep(hkl)
        intensity = block_intensities(atoms, unit, hkl, s2, num_atoms)
        if atoms.anomalous is not None:
            intensity = jnp.maximum(intensity, block_intensities(atoms, -unit, hkl, s2, num_atoms))
        intensity = jnp.where(exists, intensity if factor is None else intensity * factor(s2), 0)
        place = intensity.argmax()
        better = intensity[place] > best[0]
        return jnp.where(better, intensity[place], best[0]), jnp.where(better, hkl[place], best[1])

    nothing = (jnp.zeros((), reciprocal.dtype), jnp.zeros(3, jnp.int32))
    return jax.lax.fori_loop(0, num_blocks(count, SPOT_BLOCK), block, nothing)


def _half_sphere_rows(
    reciprocal: Float[Array, "3 3"], radius: Float[Array, ""], box: tuple[int, int]
) -> tuple[Int[Array, "rows 2"], Int[Array, "rows"], Int[Array, "rows"], Int[Array, ""]]:
    """Return k and l of every row, its lowest h, how many reflections precede it, and how many there are in all."""
    k, l = jnp.meshgrid(jnp.arange(-box[0], box[0] + 1), jnp.arange(box[1] + 1), indexing="ij")  # noqa: E741
    kl = jnp.stack([k.reshape(-1), l.reshape(-1)], axis=-1).astype(jnp.int32)
    rest = combine(kl, reciprocal[1:])
    length2 = (reciprocal[0] ** 2).sum()
    centre = -(rest * reciprocal[0]).sum(-1) / length2
    half_width2 = (radius**2 - (rest**2).sum(-1)) / length2 + centre**2
    half_width = jnp.sqrt(jnp.maximum(half_width2, 0))
    is_zero_row = (kl == 0).all(-1)
    low = jnp.where(is_zero_row, 1, jnp.ceil(centre - half_width).astype(jnp.int32))
    high = jnp.floor(centre + half_width).astype(jnp.int32)
    is_listed = (half_width2 > 0) & ((kl[:, 1] > 0) | (kl[:, 0] >= 0))
    count = jnp.where(is_listed, jnp.maximum(high - low + 1, 0), 0)
    return kl, low, jnp.cumsum(count) - count, count.sum()
