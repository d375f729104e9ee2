"""Many crystals in one file: a safetensors file of ragged arrays, checked against its own checksum when opened.

A site's coordinates are fixed-point cycles, x·2³² as uint32, so that symmetry operations wrap modulo 1 by integer
overflow; the step, 2.3e-10 of a cell edge, is far below what any diffraction experiment sees. The operations that make
a site's atoms are an *orbit*: a list of indices in one table of operations. Equal orbits are stored once, and so is
each crystal's full list of operations. Displacements are isotropic: of an anisotropic crystal the store keeps u_iso
alone, and gives it back without u_aniso. Crystals, sites and orbits are ragged: item i owns offset[i] to offset[i + 1].
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import resources
from itertools import repeat
from pathlib import Path
from typing import Literal, SupportsIndex

import numpy as np
from jaxtyping import Float32, Float64, Int16, Int32, Int64, Shaped, UInt8, UInt32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import species_numbers
from xrdjax.crystals.splits import PARTS, random_split, structure_type, type_split
from xrdjax.crystals.symmetry import Operations, into_cell
from xrdjax.errors import StoreError

FORMAT = "xrdjax crystals"  # the key of the header in the file's metadata
VERSION = 1
_FIRST_BYTES = b'{"__metadata__"'  # of a store, behind the eight that give the header's length
EMBEDDED = ("open",)

SplitKind = Literal["random", "type"]
Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where crystals came from and on what terms they may be passed on."""

    name: str
    provider: str
    licence: str
    attribution: str


UNKNOWN_SOURCE = Source(name="unknown", provider="unknown", licence="unknown", attribution="")


@dataclass(frozen=True, kw_only=True, eq=False)
class Atoms:
    """Every atom of every cell of a store; those of crystal i are offset[i] to offset[i + 1].

    Attributes:
        fract: (m, 3) fixed-point cycles, x·2³² modulo 2³².
        species: (m,) index in `xrdjax.crystals.species.SPECIES`.
        occupancy: (m,) in (0, 1].
        u_iso: (m,) in Å².
        site: (m,) number of the site within its crystal.
        offset: (n + 1,) first atom of each crystal, then m.
    """

    fract: UInt32[np.ndarray, "m 3"]
    species: Int16[np.ndarray, "m"]
    occupancy: Float32[np.ndarray, "m"]
    u_iso: Float32[np.ndarray, "m"]
    site: Int32[np.ndarray, "m"]
    offset: Int64[np.ndarray, "offsets"]


class CrystalStore:
    """Crystals of one file, opened with `CrystalStore.open`.

    Attributes:
        title: one line about the set.
        species: names that the file's sites index.
        sources: the sources of the crystals, with licence and attribution.
        seed: seed of the two splits.
        checksum: SHA-256 of arrays and header as the file states it, equal for stores of equal content.
    """

    def __init__(self, arrays: dict[str, np.ndarray], header: dict) -> None:
        """Wrap what `open` has read and checked."""
        self._arrays = arrays
        self.title: str = header["title"]
        self.species: tuple[str, ...] = tuple(header["species"])
        self.sources: tuple[Source, ...] = tuple(Source(**entry) for entry in header["sources"])
        self.seed: int = header["seed"]
        self.checksum: str = header["sha256"]

    @classmethod
    def open(cls, name_or_path: str | Path) -> "CrystalStore":
        """Open the set that comes with the package ("open") or a file; raise StoreError if it cannot be trusted."""
        if name_or_path in EMBEDDED:
            with resources.as_file(resources.files("xrdjax") / "data" / f"{name_or_path}.safetensors") as path:
                return cls(*_read(path))
        return cls(*_read(Path(name_or_path)))

    def __len__(self) -> int:
        """Return the number of crystals."""
        return len(self.space_group)

    @property
    def cell(self) -> Float64[np.ndarray, "n 6"]:
        """Edges in Å and angles in degrees."""
        return self._arrays["cell"]

    @property
    def space_group(self) -> UInt8[np.ndarray, "n"]:
        """Space-group numbers, 1 to 230."""
        return self._arrays["space_group"]

    @property
    def structure_type(self) -> Shaped[np.ndarray, "n"]:
        """Number of the structure type, the same for isostructural crystals."""
        return self._arrays["structure_type"]

    @property
    def setting(self) -> Shaped[np.ndarray, "n"]:
        """Number of the list of all operations of each crystal's group: equal numbers are one group in one setting."""
        return self._arrays["crystal_operations"]

    @cached_property
    def num_atoms(self) -> Int64[np.ndarray, "n"]:
        """Number of atoms in each crystal's cell; species that share a place count each."""
        num_images = np.diff(self._arrays["orbit_offset"].astype(np.int64))[self._arrays["site_orbit"]]
        first_atom = np.concatenate([[0], np.cumsum(num_images)])
        return np.diff(first_atom[self._arrays["crystal_offset"]])

    def names(self, index: SupportsIndex) -> str:
        """Return the name of crystal `index`."""
        index = range(len(self))[index]
        start, stop = self._arrays["name_offset"][index : index + 2]
        return self._arrays["name"][start:stop].tobytes().decode()

    def source(self, index: SupportsIndex) -> Source:
        """Return the source of crystal `index`."""
        return self.sources[self._arrays["source"][index]]

    def split(self, kind: SplitKind) -> UInt8[np.ndarray, "n"]:
        """Return the part of each crystal: 0 train, 1 validation, 2 test."""
        return self._arrays[f"split_{kind}"]

    def part(self, kind: SplitKind, part: Part) -> Int64[np.ndarray, "p"]:
        """Return the indices of the crystals of one part of a split."""
        return np.flatnonzero(self.split(kind) == PARTS.index(part))

    def crystal(self, index: SupportsIndex) -> Crystal:
        """Return one crystal, coordinates right to 4e-10 of a cell edge."""
        arrays, index = self._arrays, range(len(self))[index]
        sites = slice(*arrays["crystal_offset"][index : index + 2].tolist())
        group = self._orbit(arrays["crystal_operations"][index])
        operations = Operations(
            rotation=arrays["operation_rotation"][group], translation=arrays["operation_translation"][group]
        )
        position = {number: i for i, number in enumerate(group.tolist())}
        orbits = [[position[number] for number in self._orbit(i).tolist()] for i in arrays["site_orbit"][sites]]
        site = np.repeat(np.arange(len(orbits)), [len(orbit) for orbit in orbits])
        first = arrays["site_fract"][sites] / 2.0**32
        images = [operations.apply(fract)[orbit] for fract, orbit in zip(first, orbits, strict=True)]
        return Crystal(
            name=self.names(index),
            cell=self.cell[index].copy(),
            fract=into_cell(np.concatenate(images)),
            species=tuple(self.species[i] for i in arrays["site_species"][sites][site]),
            occupancy=arrays["site_occupancy"][sites][site].astype(float),
            u_iso=self._site_u_iso[sites][site].astype(float),
            space_group=int(self.space_group[index]),
            site=site,
            operation=np.concatenate(orbits),
            operations=operations,
        )

    def expand(self) -> Atoms:
        """Return the atoms of all cells as flat arrays; whole-array work only, about a microsecond an atom."""
        arrays = self._arrays
        orbit = arrays["site_orbit"]
        num_images = np.diff(arrays["orbit_offset"].astype(np.int64))[orbit]
        first_atom = np.concatenate([[0], np.cumsum(num_images)])
        site = np.repeat(np.arange(len(orbit)), num_images)
        image = np.arange(first_atom[-1]) - first_atom[site]
        operation = arrays["orbit_operation"][arrays["orbit_offset"][orbit[site]] + image]
        crystal_offset = arrays["crystal_offset"].astype(np.int64)
        first_site = np.repeat(crystal_offset[:-1], np.diff(crystal_offset))
        package_species = species_numbers(self.species).astype(np.int16)
        return Atoms(
            fract=self._images(site, operation),
            species=package_species[arrays["site_species"]][site],
            occupancy=arrays["site_occupancy"][site],
            u_iso=self._site_u_iso[site],
            site=(site - first_site[site]).astype(np.int32),
            offset=first_atom[crystal_offset],
        )

    def _images(self, site: Int64[np.ndarray, "m"], operation: Shaped[np.ndarray, "m"]) -> UInt32[np.ndarray, "m 3"]:
        """Return R x + t in fixed point; uint32 arithmetic wraps modulo 2³², which is modulo 1."""
        rotation = self._arrays["operation_rotation"].astype(np.uint32)
        translation = ((self._arrays["operation_translation"].astype(np.uint64) * 2**32 + 12) // 24).astype(np.uint32)
        images = translation[operation]
        for column in range(3):
            coordinate = self._arrays["site_fract"][:, column][site]
            for row in range(3):
                images[:, row] += rotation[:, row, column][operation] * coordinate
        return images

    def _orbit(self, number: SupportsIndex) -> Shaped[np.ndarray, "m"]:
        start, stop = self._arrays["orbit_offset"][int(number) : int(number) + 2]
        return self._arrays["orbit_operation"][start:stop]

    @cached_property
    def _site_u_iso(self) -> Float32[np.ndarray, "s"]:
        return self._arrays.get("site_u_iso", np.zeros(len(self._arrays["site_orbit"]), np.float32))


def write_store(
    path: str | Path,
    crystals: Iterable[Crystal],
    *,
    title: str,
    sources: Sequence[Source] = (UNKNOWN_SOURCE,),
    source: Sequence[int] | None = None,
    seed: int = 0,
) -> None:
    """Write crystals to one file, in their order, with both splits drawn from `seed`.

    `source` gives the index in `sources` of each crystal, all the first by default. The file appears whole or not at
    all. Displacements are written as u_iso. Raises StoreError when there is no crystal or the file cannot be written.
    """
    columns = _Columns()
    for crystal, index in zip(crystals, repeat(0) if source is None else source, strict=source is not None):
        columns.add(crystal, index)
    if not columns.space_group:
        raise StoreError(f"{path}: no crystals to write")
    arrays = columns.arrays(seed)
    header = {
        "version": VERSION,
        "title": title,
        "species": list(columns.species),
        "sources": [asdict(entry) for entry in sources],
        "seed": seed,
    }
    header["sha256"] = _checksum(arrays, header)
    _write_whole(Path(path), save(arrays, {FORMAT: json.dumps(header)}))


class _Columns:
    """The columns of a store that is being written: lists that grow by crystal, tables in which equals are one."""

    def __init__(self) -> None:
        self.species: dict[str, int] = {}
        self.operations: dict[bytes, int] = {}
        self.orbits: dict[tuple[int, ...], int] = {}
        self.types: dict[object, int] = {}
        self.cell, self.space_group, self.source, self.structure_type, self.name = [], [], [], [], []
        self.crystal_operations, self.num_sites = [], []
        self.site_fract, self.site_species, self.site_occupancy, self.site_u_iso, self.site_orbit = [], [], [], [], []

    def add(self, crystal: Crystal, source: int) -> None:
        first = crystal.first_atoms
        self.cell.append(crystal.cell)
        self.space_group.append(crystal.space_group)
        self.source.append(source)
        self.structure_type.append(_number(self.types, structure_type(crystal)))
        self.name.append(crystal.name.encode())
        self.num_sites.append(len(first))
        self.site_fract.append(np.rint(crystal.fract[first] * 2.0**32).astype(np.uint64).astype(np.uint32))
        self.site_species.append([_number(self.species, crystal.species[atom]) for atom in first])
        self.site_occupancy.append(crystal.occupancy[first].astype(np.float32))
        self.site_u_iso.append(crystal.u_iso[first].astype(np.float32))
        operations = zip(crystal.operations.rotation, crystal.operations.translation, strict=True)
        numbers = np.array([_number(self.operations, r.tobytes() + t.tobytes()) for r, t in operations])
        self.crystal_operations.append(_number(self.orbits, tuple(numbers.tolist())))
        orbits = np.split(numbers[crystal.operation], first[1:])
        self.site_orbit.append([_number(self.orbits, tuple(orbit.tolist())) for orbit in orbits])

    def arrays(self, seed: int) -> dict[str, np.ndarray]:
        space_group = np.array(self.space_group, np.uint8)
        types = np.array(self.structure_type)
        operations = np.frombuffer(b"".join(self.operations), np.int8).reshape(-1, 12)
        u_iso = np.concatenate(self.site_u_iso)
        return {
            "cell": np.array(self.cell),
            "space_group": space_group,
            "crystal_offset": _offset(self.num_sites),
            "crystal_operations": _compact(self.crystal_operations),
            "source": _compact(self.source),
            "structure_type": _compact(types),
            "split_random": random_split(space_group, seed),
            "split_type": type_split(types, space_group, seed),
            "name": np.frombuffer(b"".join(self.name), np.uint8),
            "name_offset": _offset([len(name) for name in self.name]),
            "site_fract": np.concatenate(self.site_fract),
            "site_species": _compact(np.concatenate(self.site_species)),
            "site_occupancy": np.concatenate(self.site_occupancy),
            "site_orbit": _compact(np.concatenate(self.site_orbit)),
            "orbit_offset": _offset([len(orbit) for orbit in self.orbits]),
            "orbit_operation": _compact(np.concatenate(list(self.orbits))),
            "operation_rotation": np.ascontiguousarray(operations[:, :9]).reshape(-1, 3, 3),
            "operation_translation": np.ascontiguousarray(operations[:, 9:]).view(np.uint8),
            **({"site_u_iso": u_iso} if u_iso.any() else {}),
        }


def _number(table: dict, entry: object) -> int:
    """Return the number of an entry in a table that grows by what it has not seen."""
    return table.setdefault(entry, len(table))


def _offset(lengths: Sequence[int]) -> Shaped[np.ndarray, "offsets"]:
    return _compact(np.concatenate([[0], np.cumsum(lengths)]))


def _compact(values: Sequence[int] | np.ndarray) -> Shaped[np.ndarray, "n"]:
    """Return the values in the smallest unsigned type that holds them."""
    values = np.asarray(values)
    return values.astype(np.min_scalar_type(int(values.max())))


def _checksum(arrays: dict[str, np.ndarray], header: dict) -> str:
    """Return the SHA-256 of the arrays, with names, types and shapes, and of the header but for the checksum itself."""
    rest = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from None


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Return arrays and header of a store whose version and checksum are right."""
    if not path.is_file():
        raise StoreError(f"{path}: no such file; `xrdjax pack` makes a store from CIFs, 'open' is the one included")
    try:
        with safe_open(path, framework="np") as file:
            header = _checked_header(path, file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file, not a dict)
    except SafetensorError:
        raise StoreError(f"{path}: {_diagnosis(path)}") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    if header["sha256"] != _checksum(arrays, header):
        raise StoreError(f"{path}: altered since it was written (wrong checksum); copy or pack it again")
    return arrays, header


def _checked_header(path: Path, metadata: dict[str, str]) -> dict:
    if FORMAT not in metadata:
        raise StoreError(f"{path}: a safetensors file, but not a crystal store; make one with `xrdjax pack`")
    try:
        header = json.loads(metadata[FORMAT])
    except ValueError as error:
        raise StoreError(f"{path}: its header is not JSON: {error}; copy or pack it again") from None
    version = header.get("version") if isinstance(header, dict) else None
    if type(version) is not int:
        raise StoreError(f"{path}: its header's version is {version!r}, not an integer; copy or pack it again")
    if version != VERSION:
        remedy = "upgrade xrdjax" if version > VERSION else "pack it again"
        raise StoreError(f"{path}: store version {version}, but this xrdjax reads {VERSION}; {remedy}")
    if not isinstance(header.get("sha256"), str):
        raise StoreError(f"{path}: its header has no checksum (sha256); copy or pack it again")
    return header


def _diagnosis(path: Path) -> str:
    """Tell a store cut short, of which the beginning may be all there is, from another kind of file."""
    with path.open("rb") as file:
        beginning = file.read(8 + len(_FIRST_BYTES))[8:]
    if _FIRST_BYTES.startswith(beginning):
        return "cut short or damaged, perhaps while it was copied; copy or pack it again"
    return "not a crystal store; make one with `xrdjax pack`"
