"""Many crystals as flat arrays: what a store holds, and how several such sets become one.

A site's coordinates are fixed-point cycles, x·2³² as uint32, so that symmetry operations wrap modulo 1 by integer
overflow; the step, 2.3e-10 of a cell edge, is far below what any diffraction experiment sees. The operations that make
a site's atoms are an *orbit*: a list of indices in one table of operations. Equal orbits are stored once, and so is
each crystal's full list of operations. Crystals, sites and orbits are ragged: item i owns offset[i] to offset[i + 1].
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float32, Float64, Int8, Int64, Shaped, UInt8, UInt32, UInt64

from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.splits import structure_type
from xrdjax.crystals.symmetry import Operations


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where crystals came from and on what terms they may be passed on."""

    name: str
    provider: str
    licence: str
    attribution: str


UNKNOWN_SOURCE = Source(name="unknown", provider="unknown", licence="unknown", attribution="")


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """n crystals with s sites in all, r orbits and k operations.

    Attributes:
        species: names that `site_species` indexes.
        sources: what `source` indexes.
        cell: edges in Å, angles in degrees.
        space_group: number, 1 to 230, by the symmetry that the file states.
        found_group: number that a symmetry search found; 0 where none was made, or none found.
        structure_type: a hash, equal for isostructural crystals.
        crystal_offset: first site of each crystal, then s.
        crystal_operations: the orbit that lists all operations of the crystal's group.
        name: all names in UTF-8, one after the other; `name_offset` says where each begins.
        site_fract: first atom of each site, in 2⁻³² of an edge.
        site_u_iso: Å².
        aniso_site: numbers of the sites that have an anisotropic displacement, ascending.
        aniso_u: U11 U22 U33 U12 U13 U23 of those in Å².
        orbit_operation: the orbits, one after the other, as numbers of operations.
        operation_translation: in 1/24 of an edge.
    """

    species: tuple[str, ...]
    sources: tuple[Source, ...]
    cell: Float64[np.ndarray, "n 6"]
    space_group: UInt8[np.ndarray, "n"]
    found_group: UInt8[np.ndarray, "n"]
    structure_type: UInt64[np.ndarray, "n"]
    source: Shaped[np.ndarray, "n"]
    crystal_offset: Shaped[np.ndarray, "n_1"]
    crystal_operations: Shaped[np.ndarray, "n"]
    name: UInt8[np.ndarray, "bytes"]
    name_offset: Shaped[np.ndarray, "n_1"]
    site_fract: UInt32[np.ndarray, "s 3"]
    site_species: Shaped[np.ndarray, "s"]
    site_occupancy: Float32[np.ndarray, "s"]
    site_u_iso: Float32[np.ndarray, "s"]
    site_orbit: Shaped[np.ndarray, "s"]
    aniso_site: Shaped[np.ndarray, "m"]
    aniso_u: Float32[np.ndarray, "m 6"]
    orbit_offset: Shaped[np.ndarray, "r_1"]
    orbit_operation: Shaped[np.ndarray, "entries"]
    operation_rotation: Int8[np.ndarray, "k 3 3"]
    operation_translation: UInt8[np.ndarray, "k 3"]

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.space_group)


ARRAYS = tuple(field.name for field in fields(Columns) if field.name not in ("species", "sources"))
_END_TO_END = (  # joined as they are
    *("cell", "space_group", "found_group", "structure_type", "name"),
    *("site_fract", "site_occupancy", "site_u_iso", "aniso_u"),
)


class ColumnsBuilder:
    """Columns that grow by one crystal at a time."""

    def __init__(self) -> None:
        self._species: dict[str, int] = {}
        self._operations: dict[bytes, int] = {}
        self._settings: dict[bytes, Int64[np.ndarray, "k"]] = {}
        self._orbits: dict[tuple[int, ...], int] = {}
        self._crystals: list[tuple] = []
        self._sites: list[tuple] = []
        self._num_sites = 0
        self._aniso: list[tuple[int, Float64[np.ndarray, "6"]]] = []

    def __len__(self) -> int:
        """Return the number of crystals so far."""
        return len(self._crystals)

    def add(self, crystal: Crystal, source: int = 0, found_group: int | None = None) -> None:
        """Append a crystal, the number of its source, and the group that a symmetry search found in it."""
        first = crystal.first_atoms
        numbers = self._operation_numbers(crystal.operations)
        own = _number(self._orbits, tuple(numbers.tolist()))
        name = crystal.name.encode()
        type_hash = hash_type(structure_type(crystal))
        self._crystals.append(
            (crystal.cell, crystal.space_group, found_group or 0, type_hash, source, len(first), own, name)
        )
        orbits = numbers[crystal.operation].tolist()
        stops = [*first[1:].tolist(), len(orbits)]
        self._sites.append(
            (
                np.rint(crystal.fract[first] * 2.0**32).astype(np.uint64).astype(np.uint32),
                [_number(self._species, crystal.species[atom]) for atom in first.tolist()],
                crystal.occupancy[first].astype(np.float32),
                crystal.u_iso[first].astype(np.float32),
                [_number(self._orbits, tuple(orbits[a:b])) for a, b in zip(first.tolist(), stops, strict=True)],
            )
        )
        if crystal.u_aniso is not None:
            self._aniso += zip(
                range(self._num_sites, self._num_sites + len(first)), crystal.u_aniso[first], strict=True
            )
        self._num_sites += len(first)

    def _operation_numbers(self, operations: Operations) -> Int64[np.ndarray, "k"]:
        """Return the numbers of a crystal's operations; crystals of one setting are asked about once."""
        key = operations.rotation.tobytes() + operations.translation.tobytes()
        if key not in self._settings:
            rows = zip(operations.rotation, operations.translation, strict=True)
            self._settings[key] = _renumber(self._operations, (r.tobytes() + t.tobytes() for r, t in rows))
        return self._settings[key]

    def build(self, sources: Sequence[Source] = (UNKNOWN_SOURCE,)) -> Columns:
        """Return what was added."""
        cell, group, found, types, source, num_sites, own, names = (
            zip(*self._crystals, strict=True) if self._crystals else [()] * 8
        )
        no_sites = (np.zeros((0, 3), np.uint32), (), *[np.zeros(0, np.float32)] * 2, ())
        fract, species, occupancy, u_iso, orbit = zip(no_sites, *self._sites, strict=True)
        table = np.frombuffer(b"".join(self._operations), np.int8).reshape(-1, 12)
        return Columns(
            species=tuple(self._species),
            sources=tuple(sources),
            cell=np.array(cell, float).reshape(-1, 6),
            space_group=np.array(group, np.uint8),
            found_group=np.array(found, np.uint8),
            structure_type=np.array(types, np.uint64),
            source=np.array(source, np.int64),
            crystal_offset=_offset(num_sites),
            crystal_operations=np.array(own, np.int64),
            name=np.frombuffer(b"".join(names), np.uint8),
            name_offset=_offset([len(name) for name in names]),
            site_fract=np.concatenate(fract),
            site_species=np.concatenate(species).astype(np.int64),
            site_occupancy=np.concatenate(occupancy),
            site_u_iso=np.concatenate(u_iso),
            site_orbit=np.concatenate(orbit).astype(np.int64),
            aniso_site=np.array([site for site, _ in self._aniso], np.int64),
            aniso_u=np.array([tensor for _, tensor in self._aniso], np.float32).reshape(-1, 6),
            orbit_offset=_offset([len(orbit) for orbit in self._orbits]),
            orbit_operation=np.array([number for orbit in self._orbits for number in orbit], np.int64),
            operation_rotation=np.ascontiguousarray(table[:, :9]).reshape(-1, 3, 3),
            operation_translation=np.ascontiguousarray(table[:, 9:]).view(np.uint8),
        )


def join(parts: Iterable[Columns]) -> Columns:
    """Return all crystals of several sets, in order; species, sources, operations and orbits that are equal are one.

    Parts are taken one after the other, so that they may come from files.
    """
    species: dict[str, int] = {}
    sources: dict[Source, int] = {}
    operations: dict[bytes, int] = {}
    orbits: dict[bytes, int] = {}
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS}
    num_sites = 0
    for part in parts:
        operation = _renumber(operations, _operation_rows(part))
        orbit = _renumber(orbits, (numbers.tobytes() for numbers in _ragged(operation[part.orbit_operation], part)))
        renumbered = {
            "source": _renumber(sources, part.sources)[part.source],
            "site_species": _renumber(species, part.species)[part.site_species],
            "site_orbit": orbit[part.site_orbit],
            "crystal_operations": orbit[part.crystal_operations],
            "crystal_offset": np.diff(part.crystal_offset.astype(np.int64)),
            "name_offset": np.diff(part.name_offset.astype(np.int64)),
            "aniso_site": part.aniso_site.astype(np.int64) + num_sites,
        }
        num_sites += len(part.site_orbit)
        for name, values in {**{name: getattr(part, name) for name in _END_TO_END}, **renumbered}.items():
            pieces[name].append(values)
    return _joined(pieces, tuple(species), tuple(sources), operations, orbits)


def _joined(
    pieces: dict[str, list[np.ndarray]],
    species: tuple[str, ...],
    sources: tuple[Source, ...],
    operations: dict[bytes, int],
    orbits: dict[bytes, int],
) -> Columns:
    empty = ColumnsBuilder().build()
    whole = {name: np.concatenate([getattr(empty, name)[:0], *pieces.pop(name)]) for name in list(pieces)}
    lists = [np.frombuffer(orbit, np.int64) for orbit in orbits]
    table = np.frombuffer(b"".join(operations), np.int8).reshape(-1, 12)
    whole |= {
        "crystal_offset": _offset(whole["crystal_offset"]),
        "name_offset": _offset(whole["name_offset"]),
        "orbit_offset": _offset([len(orbit) for orbit in lists]),
        "orbit_operation": np.concatenate([np.zeros(0, np.int64), *lists]),
        "operation_rotation": np.ascontiguousarray(table[:, :9]).reshape(-1, 3, 3),
        "operation_translation": np.ascontiguousarray(table[:, 9:]).view(np.uint8),
    }
    return Columns(species=species, sources=sources, **whole)


def hash_type(key: object) -> int:
    """Return 64 bits that tell structure types apart, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")


def _operation_rows(part: Columns) -> list[bytes]:
    return [r.tobytes() + t.tobytes() for r, t in zip(part.operation_rotation, part.operation_translation, strict=True)]


def _ragged(values: Shaped[np.ndarray, "entries"], part: Columns) -> list[np.ndarray]:
    return np.split(values, part.orbit_offset[1:-1].astype(np.int64)) if len(part.orbit_offset) > 1 else []


def _renumber(table: dict, entries: Iterable[object]) -> Shaped[np.ndarray, "entries"]:
    """Return the number of each entry in a table that grows by what it has not seen."""
    return np.array([_number(table, entry) for entry in entries], np.int64)


def _number(table: dict, entry: object) -> int:
    return table.setdefault(entry, len(table))


def _offset(lengths: Sequence[int] | np.ndarray) -> Shaped[np.ndarray, "offsets"]:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))])
