"""The crystals and zone axes that every way of making patterns is given, and the clock that all of them are under."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np

WAVELENGTH = 1.5406  # Å
G_MAX = 2 / WAVELENGTH  # 1/Å
EXTENT = 1.4  # half of a picture's side in 1/Å
DISC_RADIUS = 0.1  # of the strongest spot, in 1/Å
MOST_FAILURES = 20  # before the first success: then there will be none


@dataclass(frozen=True, kw_only=True, eq=False)
class Zone:
    """One crystal, every atom of its cell written out (P1), and one zone axis."""

    number: int
    """In the store."""
    name: str
    cell: np.ndarray
    """(6,) a, b, c in Å and α, β, γ in degrees."""
    fract: np.ndarray
    """(n, 3)."""
    elements: tuple[str, ...]
    occupancy: np.ndarray
    """(n,)."""
    uvw: tuple[int, int, int]

    @property
    def direct(self) -> np.ndarray:
        """a, b, c as rows in Å: a along x, b in the xy plane."""
        a, b, c = self.cell[:3]
        cos_alpha, cos_beta, cos_gamma = np.cos(np.radians(self.cell[3:]))
        sine_gamma = np.sqrt(1 - cos_gamma**2)
        c_y = (cos_alpha - cos_beta * cos_gamma) / sine_gamma
        c_z = np.sqrt(1 - cos_beta**2 - c_y**2)
        return np.array([[a, 0, 0], [b * cos_gamma, b * sine_gamma, 0], [c * cos_beta, c * c_y, c * c_z]])

    @property
    def frame(self) -> np.ndarray:
        """e1, e2 and e3 ∥ [uvw] as rows; e1 is x without its part along e3."""
        e3 = np.asarray(self.uvw) @ self.direct
        e3 /= np.linalg.norm(e3)
        start = np.eye(3)[1 if abs(e3[0]) > 1 - 1e-8 else 0]
        e1 = start - (start @ e3) * e3
        e1 /= np.linalg.norm(e1)
        return np.stack([e1, np.cross(e3, e1), e3])


@dataclass(kw_only=True)
class Tally:
    """How many patterns were made in how many seconds, and which crystals were not."""

    patterns: int = 0
    seconds: float = 0.0
    failures: dict[str, list[str]] = field(default_factory=partial(defaultdict, list))
    """Names of crystals by what went wrong."""

    def attempt(self, zone: Zone, call: Callable[[], object]) -> float:
        """Make one pattern, count it or its failure and return the seconds it took, none for a failure."""
        started = time.perf_counter()
        try:
            call()
        except Exception as error:  # whatever a peer may raise is a result
            self.fail(zone, error)
            return 0.0
        self.patterns += 1
        return time.perf_counter() - started

    def fail(self, zone: Zone, error: Exception) -> None:
        """Name a crystal that could not be drawn."""
        self.failures[f"{type(error).__name__}: {error}"[:120]].append(zone.name)

    def add(self, other: "Tally") -> None:
        """Count another tally's patterns and failures; the seconds are the caller's."""
        self.patterns += other.patterns
        for message, names in other.failures.items():
            self.failures[message] += names


def half_zone(zone: Zone) -> tuple[np.ndarray, np.ndarray]:
    """Return hkl of one of each Friedel pair of a zone within the limiting sphere, and x, y in 1/Å."""
    plane = np.linalg.inv(zone.direct).T @ zone.frame[:2].T
    basis = _reduced(axis_basis(zone.uvw), plane)
    g = basis @ plane
    i_max, j_max = (G_MAX * np.linalg.norm(g[::-1], axis=1) / abs(np.linalg.det(g))).astype(int)
    i, j = np.meshgrid(np.arange(-i_max, i_max + 1), np.arange(j_max + 1))
    index = np.stack([i.ravel(), j.ravel()], axis=1)[i_max + 1 :]
    xy = index @ g
    inside = np.einsum("ij,ij->i", xy, xy) < G_MAX**2
    return index[inside] @ basis, xy[inside]


@cache
def axis_basis(uvw: tuple[int, int, int]) -> np.ndarray:
    """Return two integer rows that span all hkl with hu + kv + lw = 0: independent ones whose cross product is uvw."""
    index = np.arange(-max(map(abs, uvw)), max(map(abs, uvw)) + 1)
    hkl = np.stack(np.meshgrid(index, index, index), axis=-1).reshape(-1, 3)
    hkl = hkl[hkl @ uvw == 0]
    first, second = np.nonzero((abs(np.cross(hkl[:, None], hkl)) == np.abs(uvw)).all(-1))
    return hkl[[first[0], second[0]]]


def _reduced(basis: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Return the Lagrange–Gauss reduced basis of the same plane lattice."""
    first, second = basis
    while True:
        g1, g2 = first @ plane, second @ plane
        if g2 @ g2 < g1 @ g1:
            first, second, g1, g2 = second, first, g2, g1
        ratio = (g1 @ g2) / (g1 @ g1)
        if abs(ratio) < 0.5 + 1e-9:  # a rounded half would be subtracted back and forth
            return np.stack([first, second])
        second = second - round(ratio) * first


def time_calls(zones: Iterable[Zone], prepare: Callable[[Zone], Callable[[], object]], seconds: float) -> Tally:
    """Make patterns, zone by zone, until they have taken `seconds`; what `prepare` does is not timed."""
    tally = Tally()
    for zone in zones:
        try:
            call = prepare(zone)
        except Exception as error:  # whatever a peer may raise is a result
            tally.fail(zone, error)
        else:
            tally.seconds += tally.attempt(zone, call)
        if tally.seconds > seconds or (not tally.patterns and sum(map(len, tally.failures.values())) >= MOST_FAILURES):
            break
    return tally


def write_cif(zone: Zone, path: Path) -> None:
    """Write a crystal in P1."""
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    cell = [f"_cell_{name} {value:.6f}" for name, value in zip(names, zone.cell, strict=True)]
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
    atoms = [
        f"{element}{number} {element} {x:.9f} {y:.9f} {z:.9f} {occupancy:.6f}"
        for number, (element, (x, y, z), occupancy) in enumerate(
            zip(zone.elements, zone.fract, zone.occupancy, strict=True), start=1
        )
    ]
    group = ["_space_group_IT_number 1", "_space_group_name_H-M_alt 'P 1'"]
    symmetry = ["loop_", "_space_group_symop_operation_xyz", "'x, y, z'"]
    header = ["loop_", *(f"_atom_site_{column}" for column in columns)]
    path.write_text("\n".join(["data_crystal", *cell, *group, *symmetry, *header, *atoms, ""]), encoding="utf-8")
