"""One crystal: every atom of one conventional cell, on the host and in float64."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS, Operations, crystal_system_index


@dataclass(frozen=True, kw_only=True, eq=False)
class Crystal:
    """The atoms of one cell, grouped by the site of the asymmetric unit that they are images of.

    Attributes:
        name: what the crystal is called in messages and tables.
        cell: (6,) a, b, c in Å and α, β, γ in degrees.
        fract: (n, 3) fractional coordinates in [0, 1).
        species: n names of `xrdjax.crystals.species.SPECIES`.
        occupancy: (n,) in (0, 1]; several species may share one place.
        u_iso: (n,) mean-square displacement in Å², 0 where the source gives none.
        space_group: number in ITC vol. A, 1 to 230.
        site: (n,) number of the site; the atoms of one site are contiguous.
        operation: (n,) index in `operations` of the one that carries the site's first atom here, modulo 1.
        operations: all operations of the group in this setting, the identity first.
        u_aniso: (n, 6) U11 U22 U33 U12 U13 U23 in Å² as in a CIF, that is exp(−2π² Σ_ij U_ij a*_i a*_j h_i h_j) on the
            amplitude; for an isotropic atom the tensor that equals u_iso. None where all sites are isotropic.
        notes: what the reader of a file mended, decided or doubts, a sentence each.
    """

    name: str
    cell: Float64[np.ndarray, "6"]
    fract: Float64[np.ndarray, "n 3"]
    species: tuple[str, ...]
    occupancy: Float64[np.ndarray, "n"]
    u_iso: Float64[np.ndarray, "n"]
    space_group: int
    site: Int64[np.ndarray, "n"]
    operation: Int64[np.ndarray, "n"]
    operations: Operations
    u_aniso: Float64[np.ndarray, "n 6"] | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_atoms(self) -> int:
        """Number of atoms in the cell; species that share a place count each."""
        return len(self.fract)

    @property
    def crystal_system(self) -> str:
        """Name of the crystal system, one of `CRYSTAL_SYSTEMS`."""
        return CRYSTAL_SYSTEMS[int(crystal_system_index(self.space_group))]

    @property
    def first_atoms(self) -> Int64[np.ndarray, "s"]:
        """Index of the first atom of each site: the asymmetric unit."""
        return np.flatnonzero(np.diff(self.site, prepend=-1))
