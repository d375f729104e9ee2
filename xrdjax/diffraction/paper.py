"""What the seed paper's pipeline makes of a crystal: another frame, another cut-off (doi:10.1107/S1600576726000099).

Its reciprocal vectors multiply hkl by the transposed basis, s = (a*·h, b*·h, c*·h), right only for orthogonal cells. It
takes [uvw] as a Cartesian vector, looks along it at the zone's reflections, in a left-handed frame (a mirror image),
and turns the picture by 120°. Reflections must lie within |s| < g_max as well as |G| < g_max, with indices up to one
bound for all three axes. Intensities are percent of the strongest reflection of that sphere; occupancies are ignored,
and coordinates rounded to seven decimals. Not taken over: images of a special position that differ in the last decimal
count as several atoms there; H, O2-, Tl3+ and six ions that the tables lack have form factors of other sources.
"""

import math
from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xrdjax.diffraction.zone import ZonePlane, combine

PAPER_DECIMALS = 7  # of fractional coordinates
TURN = math.radians(120)


def paper_plane(plane: ZonePlane, reciprocal: Float[Array, "3 3"], uvw: Int[Array, "3"]) -> ZonePlane:
    """Return the plane with the positions that the pipeline draws."""
    z = uvw / jnp.sqrt((uvw.astype(reciprocal.dtype) ** 2).sum())
    along_x = (uvw[1] == 0) & (uvw[2] == 0)
    x = jnp.where(along_x, jnp.array([0, 1, 0], z.dtype), jnp.array([1, 0, 0], z.dtype))
    first = jnp.cross(z, x)
    first = first / jnp.sqrt((first**2).sum())
    second = jnp.cross(first, z)
    cosine, sine = math.cos(TURN), math.sin(TURN)
    frame = jnp.stack([first * cosine - second * sine, first * sine + second * cosine, z])
    s = combine(plane.hkl, reciprocal.T)
    return replace(plane, drawn=(s[:, None] * frame).sum(-1))


def is_in_paper(
    hkl: Int[Array, "spots 3"], reciprocal: Float[Array, "3 3"], g_max: float | Float[Array, ""]
) -> Bool[Array, "spots"]:
    """Tell which reflections within the limiting sphere the pipeline keeps."""
    length = jnp.sqrt((reciprocal**2).sum(-1).min())
    largest = jnp.floor(g_max / length) + 1
    s2 = (combine(hkl, reciprocal.T) ** 2).sum(-1)
    return (s2 < g_max**2) & (jnp.abs(hkl).max(-1) <= largest)
