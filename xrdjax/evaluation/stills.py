"""Pictures of crystals whose zone axis is not quite along the beam.

A zone picture knows integer axes only. These are stills in the limit of a flat Ewald sphere (the wavelength goes to
zero, the resolution stays), of crystals 76 Å thick: reflections of the zone fade as the beam leaves the axis, those far
out first. With no tilt a still is the picture of the zone, but for cells so long that upper layers come in.
"""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from xrdjax.config import PatternConfig
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.store import CrystalStore
from xrdjax.diffraction.lattice import direct_basis
from xrdjax.diffraction.still import list_still
from xrdjax.diffraction.zone import zone_frame
from xrdjax.evaluation.requests import Requests
from xrdjax.patterns.pictures import render_spots

RELROD = 0.005  # 1/Å: 0.38 over the thickness
FLAT = 1e-4  # Å: at 2 1/Å the sphere is 2e-4 1/Å away from its plane


def tilted_pictures(
    requests: Requests, tilt_deg: Float[np.ndarray, "n 2"], crystals: CrystalStore, pattern: PatternConfig
) -> Float[np.ndarray, "n height width"]:
    """Return the pictures of requests, beams tilted by an angle towards an azimuth; show progress."""
    flat = replace(pattern, wavelength=FLAT, d_min=1 / pattern.g_max, anomalous=False, lorentz_polarization="none")
    numbers = tqdm(range(len(requests)), desc="Tilting", unit=" patterns", mininterval=1.0)
    return np.stack([_tilted_picture(requests, n, tilt_deg[n], crystals, flat) for n in numbers])


def _tilted_picture(
    requests: Requests, number: int, tilt_deg: Float[np.ndarray, "2"], crystals: CrystalStore, pattern: PatternConfig
) -> Float[np.ndarray, "height width"]:
    crystal, uvw = crystals.crystal(int(requests.crystal[number])), np.asarray(requests.uvw[number])
    direction = tilted_direction(crystal, uvw, *tilt_deg.tolist())
    spots = list_still(crystal, direction, pattern, RELROD, 0.0, "float32")
    angle = requests.angle[number] - _turn_of_frame(crystal, uvw, direction)
    return render_spots(spots.xy, spots.intensity, pattern, angle_deg=math.degrees(angle))


def _turn_of_frame(crystal: Crystal, uvw: Int[np.ndarray, "3"], direction: tuple[float, float, float]) -> float:
    """Return by how much, in radians, the picture of a direction near an axis is turned against the axis's own."""
    direct = jnp.asarray(direct_basis(crystal.cell), jnp.float32)
    first = _frame(direct, jnp.asarray(uvw, jnp.float32))[0]
    e1, e2, _ = _frame(direct, jnp.asarray(direction, jnp.float32))
    return math.atan2((first * e2).sum(), (first * e1).sum())


_frame = jax.jit(zone_frame)


def tilted_direction(
    crystal: Crystal, uvw: Int[np.ndarray, "3"], tilt_deg: float, azimuth_deg: float
) -> tuple[float, float, float]:
    """Return the direction, in cell edges, at an angle to an axis."""
    direct = direct_basis(crystal.cell)
    axis = uvw @ direct
    axis = axis / np.linalg.norm(axis)
    first = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    first /= np.linalg.norm(first)
    azimuth = math.radians(azimuth_deg)
    side = math.cos(azimuth) * first + math.sin(azimuth) * np.cross(axis, first)
    tilt = math.radians(tilt_deg)
    along = (math.cos(tilt) * axis + math.sin(tilt) * side) @ np.linalg.inv(direct)
    return tuple(along.tolist())
