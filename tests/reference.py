"""Slow float64 oracle of zone patterns and their pictures, which uses none of the package's own calculations.

It is built differently on purpose: the cell's basis by a Cholesky factor of the metric, reflections from an index box
without any reduced basis, all atoms and both halves of the plane in one plain sum, and a picture that draws each spot
of the list.
"""

from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from xrdjax.crystals.cif import read_cif
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.symmetry import Operations

DATA = Path(__file__).parent / "data"
WAVELENGTH = 1.5406
AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (1, 1, 0), (0, 1, 2), (2, 1, 1), (1, 2, 3))


STORED = tuple(sorted(path.stem for path in (DATA / "spots").glob("*.npz")))


def crystal(name: str) -> Crystal:
    """Return the crystal of one CIF of the tests."""
    return read_cif(DATA / "cifs" / f"{name}.cif")


def free_crystal(cell, fract, species, *, occupancy=1.0, u_iso=0.0) -> Crystal:
    """Return atoms without symmetry, each a site of its own."""
    fract = np.asarray(fract, float)
    identity = Operations(rotation=np.eye(3, dtype=np.int8)[None], translation=np.zeros((1, 3), np.uint8))
    return Crystal(
        name="made up",
        cell=np.asarray(cell, float),
        fract=fract % 1.0,
        species=tuple(species),
        occupancy=np.broadcast_to(np.asarray(occupancy, float), len(fract)),
        u_iso=np.broadcast_to(np.asarray(u_iso, float), len(fract)),
        space_group=1,
        site=np.arange(len(fract)),
        operation=np.zeros(len(fract), int),
        operations=identity,
    )


def electrons(crystal: Crystal) -> float:
    """Return F(000), the sum of all occupied form factors: the scale of rounding errors of F."""
    zero = np.zeros(1)
    return sum(occ * form_factor(name, zero)[0] for name, occ in zip(crystal.species, crystal.occupancy, strict=True))


@dataclass(frozen=True, kw_only=True)
class Zone:
    """Reflections of a zone, sorted by h, k, l."""

    hkl: np.ndarray
    xy: np.ndarray
    intensity: np.ndarray


def stored_zone(name: str, uvw: tuple[int, int, int]) -> Zone:
    """Return what data/spots has of a structure."""
    with np.load(DATA / "spots" / f"{name}.npz") as columns:
        hkl, intensity, x, y = (columns["{}_{}_{}.".format(*uvw) + column] for column in ("hkl", "F2", "x", "y"))
    return Zone(hkl=hkl.astype(int), xy=np.stack([x, y], axis=1), intensity=intensity)


def zone(crystal: Crystal, uvw: tuple[int, int, int], wavelength: float = WAVELENGTH, layer: int = 0) -> Zone:
    """Calculate a layer of a zone of a crystal."""
    direct = edges(crystal.cell)
    hkl = zone_indices(direct, uvw, 2 / wavelength, layer)
    g = hkl @ np.linalg.inv(direct).T
    return Zone(hkl=hkl, xy=g @ picture_axes(direct, uvw).T, intensity=intensities(crystal, hkl, (g**2).sum(1) / 4))


def edges(cell: np.ndarray) -> np.ndarray:
    """Return a, b, c as rows, a along x and b in the xy plane: the lower Cholesky factor of their dot products."""
    a, b, c = cell[:3]
    cos_alpha, cos_beta, cos_gamma = np.cos(np.deg2rad(cell[3:]))
    metric = [
        [a * a, a * b * cos_gamma, a * c * cos_beta],
        [a * b * cos_gamma, b * b, b * c * cos_alpha],
        [a * c * cos_beta, b * c * cos_alpha, c * c],
    ]
    return np.linalg.cholesky(np.array(metric))


def sphere_indices(direct: np.ndarray, g_max: float) -> np.ndarray:
    """Return all hkl ≠ 000 with |G| < g_max."""
    reach = np.ceil(g_max * np.linalg.norm(direct, axis=1)).astype(int)
    hkl = np.stack(np.meshgrid(*(np.arange(-size, size + 1) for size in reach), indexing="ij"), -1).reshape(-1, 3)
    return hkl[(np.linalg.norm(hkl @ np.linalg.inv(direct).T, axis=1) < g_max) & hkl.any(axis=1)]


def zone_indices(direct: np.ndarray, uvw: tuple[int, int, int], g_max: float, layer: int = 0) -> np.ndarray:
    """Return all hkl ≠ 000 with hu + kv + lw = layer and |G| < g_max; |h| = |G·a| ≤ g_max |a| bounds the box."""
    reach = np.ceil(g_max * np.linalg.norm(direct, axis=1)).astype(int)
    last = int(np.flatnonzero(uvw)[-1])  # this index follows from the other two
    others = [axis for axis in range(3) if axis != last]
    first, second = np.meshgrid(*(np.arange(-reach[axis], reach[axis] + 1) for axis in others), indexing="ij")
    hkl = np.zeros((first.size, 3), int)
    hkl[:, others[0]], hkl[:, others[1]] = first.ravel(), second.ravel()
    quotient, rest = np.divmod(layer - hkl @ np.array(uvw), uvw[last])
    hkl[:, last] = quotient
    length = np.linalg.norm(hkl @ np.linalg.inv(direct).T, axis=1)
    hkl = hkl[(rest == 0) & (length < g_max) & hkl.any(axis=1)]
    return hkl[np.lexsort(hkl.T[::-1])]


def picture_axes(direct: np.ndarray, uvw: tuple[int, int, int]) -> np.ndarray:
    """Return e1 and e2 as rows, seen from +[uvw]."""
    normal = np.array(uvw) @ direct
    normal /= np.linalg.norm(normal)
    start = np.eye(3)[1 if abs(normal[0]) > 1 - 1e-8 else 0]
    e1 = start - (start @ normal) * normal
    e1 /= np.linalg.norm(e1)
    return np.stack([e1, np.cross(normal, e1)])


def intensities(
    crystal: Crystal,
    hkl: np.ndarray,
    s2: np.ndarray,
    *,
    ions: bool = True,
    radiation: str = "xray",
    anomalous_at: float | None = None,
    thermal: bool = False,
) -> np.ndarray:
    """Return |F|² by a sum over all atoms, one after the other."""
    total = np.zeros(len(hkl), complex)
    for atom, name in enumerate(crystal.species):
        f = form_factor(name, s2, ions=ions) if radiation == "xray" else electron_form_factor(name, s2)
        if anomalous_at is not None:
            f = f + complex(*anomalous_shift(name, anomalous_at))
        if thermal:
            f = f * thermal_factor(crystal, atom, hkl, s2)
        total += crystal.occupancy[atom] * f * np.exp(2j * np.pi * (hkl @ crystal.fract[atom]))
    return np.abs(total) ** 2


def thermal_factor(crystal: Crystal, atom: int, hkl: np.ndarray, s2: np.ndarray) -> np.ndarray:
    """Return the Debye–Waller factor, in CIF's words: T = exp(−2π² Σ h_i h_j U_ij a*_i a*_j), or exp(−8π² U s²)."""
    if crystal.u_aniso is None:
        return np.exp(-8 * np.pi**2 * crystal.u_iso[atom] * s2)
    u11, u22, u33, u12, u13, u23 = crystal.u_aniso[atom]
    h, k, l = (hkl * np.linalg.norm(np.linalg.inv(edges(crystal.cell)), axis=0)).T  # noqa: E741
    form = h * h * u11 + k * k * u22 + l * l * u33 + 2 * (h * k * u12 + h * l * u13 + k * l * u23)
    return np.exp(-2 * np.pi**2 * form)


def anomalous_shift(species: str, wavelength: float) -> tuple[float, float]:
    """Return f′ and f″ as gemmi calculates them after Cromer and Liberman."""
    element = gemmi.Element(species.rstrip("+-0123456789"))
    return gemmi.cromer_liberman(element.atomic_number, gemmi.hc / wavelength)


def electron_form_factor(species: str, s2: np.ndarray) -> np.ndarray:
    """Return f of the neutral atom in Å."""
    row = gemmi.Element(species.rstrip("+-0123456789")).c4322
    return sum(a * np.exp(-b * s2) for a, b in zip(row.a, row.b, strict=True))


def form_factor(species: str, s2: np.ndarray, *, ions: bool = True) -> np.ndarray:
    """Return f0 of a name such as Fe, Fe3+ or O1- with the four Gaussians and the constant that gemmi carries."""
    element = gemmi.Element(species.rstrip("+-0123456789"))
    charge = int(f"{species[-1]}{species[-2]}") if ions and species[-1] in "+-" else 0
    gemmi.IT92_set_ignore_charge(False)
    row = gemmi.IT92_get_exact(element, charge) or element.it92
    gemmi.IT92_set_ignore_charge(True)
    return row.c + sum(a * np.exp(-b * s2) for a, b in zip(row.a, row.b, strict=True))


def picture(spots: Zone, pattern, angle_deg: float = 0.0) -> np.ndarray:
    """Draw every spot as a soft disc; where discs overlap the largest coverage counts.

    The overlap of [d − w/2, d + w/2] and [−r, r] over w, by the distance d from the spot's centre. It vanishes beyond
    d = r + w/2, so that each spot is drawn in a window of that size.
    """
    pixel = 2 * pattern.extent / min(pattern.height, pattern.width)
    edge = pattern.softness * pixel
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    x = (np.arange(pattern.width) - (pattern.width - 1) / 2) * pixel
    y = ((pattern.height - 1) / 2 - np.arange(pattern.height)) * pixel
    relative = spots.intensity / spots.intensity.max()
    radii = pattern.disc_radius * (relative if pattern.radius_law == "linear" else np.sqrt(relative))
    image = np.zeros((pattern.height, pattern.width))
    for (x0, y0), radius in zip(spots.xy @ turn, radii, strict=True):
        reach = radius + edge / 2
        columns = slice(*np.searchsorted(x, [x0 - reach, x0 + reach]))
        rows = slice(*np.searchsorted(-y, [-y0 - reach, -y0 + reach]))
        distance = np.hypot(x[columns] - x0, y[rows, None] - y0)
        overlap = np.minimum(distance + edge / 2, radius) - np.maximum(distance - edge / 2, -radius)
        image[rows, columns] = np.maximum(image[rows, columns], np.clip(overlap / edge, 0, 1))
    return image
