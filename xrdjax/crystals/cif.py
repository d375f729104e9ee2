"""Read a CIF as one crystal, or refuse with one line that names the file, the field and the value.

gemmi parses the syntax. Symmetry comes from the listed operations; without them from the Hall symbol, then the
Hermann–Mauguin symbol, then the number, and what the file says twice has to agree. Displacements are U_iso or
B_iso/8π² in Å²; `.`, `?` or no value at all is 0 there, and 1 for an occupancy. Any other text must be a number.
Anisotropic ones are U_ij or B_ij/8π² of the aniso loop. A row with an unknown value, or with six zeros, says that its
site is isotropic. U_iso, where absent or 0, is then the mean of the principal displacements, U_eq.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import gemmi
import numpy as np
from jaxtyping import Float64, Int64

from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import parse_species
from xrdjax.crystals.symmetry import (
    Operations,
    coincident_pairs,
    expand_site,
    expand_tensor,
    isotropic_tensor,
    metric_mismatch,
    metric_tensor,
    operations_from_triplets,
    principal_displacements,
)
from xrdjax.errors import CifError

MAX_ATOMS = 100_000
_CELL_TAGS = (
    "_cell_length_a",
    "_cell_length_b",
    "_cell_length_c",
    "_cell_angle_alpha",
    "_cell_angle_beta",
    "_cell_angle_gamma",
)
_OPERATION_TAGS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_HALL_TAGS = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_NAME_TAGS = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M")
_NUMBER_TAGS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_COORDINATES = ("fract_x", "fract_y", "fract_z")
_DEFAULTS = {"occupancy": 1, "U_iso_or_equiv": 0, "B_iso_or_equiv": 0}  # columns that may be absent or unknown
_TENSOR = ("11", "22", "33", "12", "13", "23")
_LEAST_DISPLACEMENT = -0.01  # Å², by rounding and uncertainty; exp(−2π² U s²) is then below 1.4 for s to 1.3 Å⁻¹
_EDGE_RANGE = (0.5, 10_000.0)  # Å; below lies no atom's distance to its image, above are numbers in another unit
_MAX_COORDINATE = 1000.0  # cycles; more is no fraction of an edge, and costs digits modulo 1
_MAX_SHARED_OCCUPANCY = 1.01  # allows for occupancies that were rounded to two digits
_CELL_TOLERANCE = 0.01  # relative, on edge products; a cell further from its group's shape is another cell


class _Site(NamedTuple):
    label: str
    species: str
    fract: Float64[np.ndarray, "3"]
    occupancy: float
    u_iso: float
    u_aniso: Float64[np.ndarray, "6"] | None


def read_cif(path: str | Path) -> Crystal:
    """Return the crystal in a CIF file, named after the file. Raises CifError, whatever is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise CifError(path, f"cannot be read: {error.strerror}") from None
    return _read(text, Path(path).stem, path)


def crystal_from_cif_text(text: str, name: str) -> Crystal:
    """Return the crystal in the text of a CIF. Raises CifError, with the name in place of a path."""
    return _read(text, name, name)


def _read(text: str, name: str, path: object) -> Crystal:
    try:
        block = _block_with_atoms(text)
        cell = _cell(block)
        operations, space_group = _symmetry(block, cell)
        return _expand(name, cell, operations, space_group, _sites(block, metric_tensor(cell)))
    except ValueError as error:
        raise CifError(path, " ".join(str(error).split())) from None


def _block_with_atoms(text: str) -> gemmi.cif.Block:
    try:
        blocks = list(gemmi.cif.read_string(text))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"not CIF syntax: line {str(error).removeprefix('string:')}") from None
    with_atoms = [block for block in blocks if len(block.find_values("_atom_site_fract_x"))]
    if not with_atoms:
        raise ValueError("no atoms (_atom_site_fract_x) in any data block")
    if len(with_atoms) > 1:
        names = ", ".join(block.name for block in with_atoms[:5])
        raise ValueError(f"{len(with_atoms)} data blocks have atoms ({names}); keep one per file")
    return with_atoms[0]


def _cell(block: gemmi.cif.Block) -> Float64[np.ndarray, "6"]:
    cell = np.array([_number(block, tag) for tag in _CELL_TAGS])
    low, high = _EDGE_RANGE
    for tag, edge in zip(_CELL_TAGS[:3], cell[:3], strict=True):
        if not low <= edge <= high:
            raise ValueError(f"{tag} is {edge:g} Å; expected {low:g} to {high:g} Å; correct the value or its unit")
    if np.any(cell <= 0) or np.any(cell[3:] >= 180) or np.linalg.det(metric_tensor(cell)) < 1e-6 * cell[:3].prod() ** 2:
        raise ValueError(f"cell {' '.join(f'{value:g}' for value in cell)} encloses no volume")
    return cell


def _number(block: gemmi.cif.Block, tag: str) -> float:
    text = block.find_value(tag)
    value = gemmi.cif.as_number(text) if text else np.nan
    if not np.isfinite(value):
        raise ValueError(f"{tag} is {text or 'absent'}; a number is expected")
    return value


def _symmetry(block: gemmi.cif.Block, cell: Float64[np.ndarray, "6"]) -> tuple[Operations, int]:
    operations, space_group = operations_from_triplets(_triplets(block, cell))
    for source, declared in _declared_groups(block, cell):
        if declared != space_group:
            raise ValueError(f"{source} says space group {declared}, the symmetry operations say {space_group}")
    if (mismatch := metric_mismatch(operations, metric_tensor(cell))) > _CELL_TOLERANCE:
        raise ValueError(f"the cell contradicts space group {space_group}: edges differ by {mismatch:.1%} under it")
    return operations, space_group


def _triplets(block: gemmi.cif.Block, cell: Float64[np.ndarray, "6"]) -> tuple[str, ...]:
    """Return the symmetry operations by the best source that the block has."""
    for tag in _OPERATION_TAGS:
        if listed := [gemmi.cif.as_string(text) for text in block.find_values(tag) if not gemmi.cif.is_null(text)]:
            return tuple(listed)
    for _, triplets in _hall_operations(block):
        return triplets
    return tuple(operation.triplet() for operation in _group_by_symbol(block, cell).operations())


def _hall_operations(block: gemmi.cif.Block) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the Hall symbols and what they generate; a broken one says nothing, the other tags may do."""
    for hall in _texts(block, _HALL_TAGS):
        with suppress(ValueError, RuntimeError):
            yield hall, tuple(operation.triplet() for operation in gemmi.symops_from_hall(hall))


def _group_by_symbol(block: gemmi.cif.Block, cell: Float64[np.ndarray, "6"]) -> gemmi.SpaceGroup:
    """Return the group that the Hermann–Mauguin symbol or the number names, rhombohedral axes told by the angles."""
    names = _texts(block, _NAME_TAGS)
    names += [gemmi.find_spacegroup_by_number(number).hm for _, number in _declared_numbers(block)]
    if not names:
        raise ValueError("no symmetry: neither operations (_space_group_symop_operation_xyz) nor a symbol nor a number")
    group = gemmi.find_spacegroup_by_name(names[0], cell[3], cell[5])
    if group is None:
        raise ValueError(f"space-group symbol '{names[0]}' is unknown; list the symmetry operations")
    if group.ext == "1" and ":" not in names[0]:
        raise ValueError(f"'{names[0]}' has two origins; list the symmetry operations or append :1 or :2")
    return group


def _declared_groups(block: gemmi.cif.Block, cell: Float64[np.ndarray, "6"]) -> list[tuple[str, int]]:
    """Return what the symbols and numbers of the block say the group is; symbols that nobody knows say nothing."""
    names = [(name, gemmi.find_spacegroup_by_name(name, cell[3], cell[5])) for name in _texts(block, _NAME_TAGS)]
    by_name = [(f"'{name}'", group.number) for name, group in names if group is not None]
    by_hall = [(f"'{hall}'", operations_from_triplets(triplets)[1]) for hall, triplets in _hall_operations(block)]
    return by_name + by_hall + _declared_numbers(block)


def _declared_numbers(block: gemmi.cif.Block) -> list[tuple[str, int]]:
    pairs = [(tag, text) for tag in _NUMBER_TAGS for text in _texts(block, (tag,))]
    for tag, text in pairs:
        if not (text.isdecimal() and 1 <= int(text) <= 230):
            raise ValueError(f"{tag} is '{text}'; a number from 1 to 230 is expected")
    return [(tag, int(text)) for tag, text in pairs]


def _texts(block: gemmi.cif.Block, tags: Sequence[str]) -> list[str]:
    """Return the values of the tags that are present and known."""
    values = [block.find_value(tag) for tag in tags]
    return [gemmi.cif.as_string(value) for value in values if value and not gemmi.cif.is_null(value)]


def _sites(block: gemmi.cif.Block, metric: Float64[np.ndarray, "3 3"]) -> list[_Site]:
    """Return the rows of the atom loop with their displacement tensors, all values checked."""
    try:
        rows = list(gemmi.make_small_structure_from_block(block).sites)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"the atom loop cannot be read: {error}") from None
    if not rows:
        raise ValueError("the atom loop has no _atom_site_label; add one label an atom")
    _check_atom_loop(block)
    tensors = _tensors(block, rows)
    labels = [row.label or f"in row {number}" for number, row in enumerate(rows, start=1)]
    return [_site(label, row, tensor, metric) for label, row, tensor in zip(labels, rows, tensors, strict=True)]


def _check_atom_loop(block: gemmi.cif.Block) -> None:
    """Refuse what gemmi would replace by a default: an absent coordinate, and a text that is no number."""
    names = [*_COORDINATES, *_DEFAULTS]
    table = block.find("_atom_site_", ["label", *(f"?{name}" for name in names)])
    columns = {name: index for index, name in enumerate(names, start=1) if table.has_column(index)}
    for name in _COORDINATES:
        if name not in columns:
            raise ValueError(f"the atom loop has no _atom_site_{name}; add the coordinate to the loop of the labels")
    for row in table:
        for name in (name for name in _DEFAULTS if name in columns):
            _check_number(name, row[columns[name]], gemmi.cif.as_string(row[0]), unknown=f"{_DEFAULTS[name]}")


def _check_number(name: str, text: str, label: str, *, unknown: str) -> None:
    if not gemmi.cif.is_null(text) and not np.isfinite(gemmi.cif.as_number(text)):
        raise ValueError(f"_atom_site_{name} is {text[:40]} at site {label}; expected a number, or ? for {unknown}")


def _tensors(block: gemmi.cif.Block, rows: list[gemmi.SmallStructure.Site]) -> list[Float64[np.ndarray, "6"] | None]:
    """Return the displacement tensor of each site, None for an isotropic one.

    Of sites that share a label each has its own row, in their order, or all have the same one.
    """
    by_label = defaultdict(list)
    for label, tensor in _aniso_rows(block):
        by_label[label].append(tensor)
    num_sites = Counter(row.label for row in rows)
    for label, tensors in by_label.items():
        if len(tensors) not in (1, num_sites[label]):
            expected = f"expected 1 or as many as sites, {num_sites[label]}"
            raise ValueError(f"_atom_site_aniso_label {label} has {len(tensors)} rows; {expected}")
    dealt = {label: cycle(tensors) for label, tensors in by_label.items()}
    tensors = [next(dealt[row.label]) if row.label in dealt else None for row in rows]
    _refuse_strays(by_label.keys() - num_sites.keys(), rows, tensors)
    return tensors


def _aniso_rows(block: gemmi.cif.Block) -> Iterator[tuple[str, Float64[np.ndarray, "6"] | None]]:
    """Yield label and U in Å² of each row of the aniso loop, None for a row that says nothing."""
    for letter, per_u in (("U", 1.0), ("B", 8 * np.pi**2)):
        names = [f"aniso_{letter}_{indices}" for indices in _TENSOR]
        table = block.find("_atom_site_", ["aniso_label", *(f"?{name}" for name in names)])
        absent = [name for index, name in enumerate(names, start=1) if not table.has_column(index)]
        if not len(table) or len(absent) == len(names):
            continue
        if absent:
            raise ValueError(f"the loop of _atom_site_aniso_label has no _atom_site_{absent[0]}; add the column")
        for quoted, *texts in table:
            label = gemmi.cif.as_string(quoted)
            yield label, _tensor(label, names, texts, per_u)
        return


def _tensor(label: str, names: list[str], texts: list[str], per_u: float) -> Float64[np.ndarray, "6"] | None:
    for name, text in zip(names, texts, strict=True):
        _check_number(name, text, label, unknown="an isotropic site")
    tensor = np.array([gemmi.cif.as_number(text) for text in texts]) / per_u
    return tensor if np.all(np.isfinite(tensor)) and tensor.any() else None


def _refuse_strays(
    labels: Set[str],
    rows: list[gemmi.SmallStructure.Site],
    tensors: list[Float64[np.ndarray, "6"] | None],
) -> None:
    """Refuse tensors of no site if a site is left without displacement; else they are remains of a refinement."""
    bare = [row.label for row, tensor in zip(rows, tensors, strict=True) if tensor is None and row.u_iso == 0]
    if labels and bare:
        expected = f"expected that of a site, such as {bare[0]}, which has no displacement"
        raise ValueError(f"_atom_site_aniso_label {min(labels)} is no site's; {expected}")


def _site(
    label: str,
    row: gemmi.SmallStructure.Site,
    u_aniso: Float64[np.ndarray, "6"] | None,
    metric: Float64[np.ndarray, "3 3"],
) -> _Site:
    fract = np.array(row.fract.tolist())
    if not np.all(np.isfinite(fract)):
        raise ValueError(f"a coordinate of site {label} is unknown; give it a number or leave the site out")
    if abs(largest := fract[np.abs(fract).argmax()]) > _MAX_COORDINATE:
        raise ValueError(
            f"coordinate {largest:g} of site {label}; expected a fraction of the edge, within ±{_MAX_COORDINATE:g}"
        )
    if not 0 < row.occ <= 1:
        raise ValueError(f"occupancy {row.occ:g} at site {label}; expected (0, 1]")
    u_iso = _u_iso(label, row, u_aniso, metric)
    try:
        species = parse_species(row.type_symbol or row.label)
    except ValueError as error:
        raise ValueError(f"site {label}: {error}") from None
    return _Site(label=label, species=species, fract=fract, occupancy=row.occ, u_iso=u_iso, u_aniso=u_aniso)


def _u_iso(
    label: str,
    row: gemmi.SmallStructure.Site,
    u_aniso: Float64[np.ndarray, "6"] | None,
    metric: Float64[np.ndarray, "3 3"],
) -> float:
    """Return the isotropic displacement, given or equivalent, after a check of it and of the tensor."""
    if not (np.isfinite(row.u_iso) and row.u_iso >= 0):
        raise ValueError(f"u_iso {row.u_iso:g} Å² at site {label}; expected 0 or more")
    if u_aniso is None:
        return row.u_iso
    principal = principal_displacements(u_aniso, metric)
    if not principal.min() >= _LEAST_DISPLACEMENT:
        values = " ".join(f"{value:.4g}" for value in u_aniso)
        reason = f"of {principal.min():.4g} Å² along one axis; expected {_LEAST_DISPLACEMENT:g} or more along each"
        raise ValueError(f"U11 U22 U33 U12 U13 U23 of {values} at site {label} are a mean square {reason}")
    return row.u_iso or max(float(principal.mean()), 0.0)


def _expand(
    name: str, cell: Float64[np.ndarray, "6"], operations: Operations, space_group: int, sites: list[_Site]
) -> Crystal:
    """Return the crystal of all images of the sites."""
    metric = metric_tensor(cell)
    images, num_atoms = [], 0
    for site in sites:
        images.append(expand_site(site.fract, operations, metric))
        num_atoms += len(images[-1][0])
        if num_atoms > MAX_ATOMS:
            raise ValueError(f"more than {MAX_ATOMS} atoms in the cell")
    number = np.repeat(np.arange(len(sites)), [len(fract) for fract, _ in images])
    fract = np.concatenate([fract for fract, _ in images])
    pairs = coincident_pairs(fract, metric)
    _refuse_duplicates(sites, number[pairs])
    _refuse_overfull_places(sites, number, pairs)
    is_anisotropic = any(site.u_aniso is not None for site in sites)
    per_site = zip(sites, images, strict=True) if is_anisotropic else ()
    tensors = [_image_tensors(site, *image, operations, metric) for site, image in per_site]
    return Crystal(
        name=name,
        cell=cell,
        fract=fract,
        species=tuple(sites[i].species for i in number),
        occupancy=np.array([sites[i].occupancy for i in number]),
        u_iso=np.array([sites[i].u_iso for i in number]),
        space_group=space_group,
        site=number,
        operation=np.concatenate([operation for _, operation in images]),
        operations=operations,
        u_aniso=np.concatenate(tensors) if is_anisotropic else None,
    )


def _image_tensors(
    site: _Site,
    fract: Float64[np.ndarray, "m 3"],
    operation: Int64[np.ndarray, "m"],
    operations: Operations,
    metric: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, "m 6"]:
    if site.u_aniso is None:
        return np.tile(isotropic_tensor(site.u_iso, metric), (len(fract), 1))
    return expand_tensor(site.u_aniso, fract[0], operation, operations, metric)


def _refuse_duplicates(sites: list[_Site], pairs: Int64[np.ndarray, "p 2"]) -> None:
    """Refuse two sites of one species on one place; different species there are a mixed site."""
    for first, second in ((sites[i], sites[j]) for i, j in pairs):
        if first.species == second.species:
            raise ValueError(f"sites {first.label} and {second.label} are one {first.species} atom twice; keep one")


def _refuse_overfull_places(
    sites: list[_Site], number: Int64[np.ndarray, "n"], pairs: Int64[np.ndarray, "p 2"]
) -> None:
    """Refuse a place that species share with more than one atom in total; `pairs` are the atoms that share one."""
    occupancy = np.array([sites[i].occupancy for i in number])
    total = occupancy.copy()
    np.add.at(total, pairs, occupancy[pairs[:, ::-1]])
    atom = total.argmax()
    if total[atom] > _MAX_SHARED_OCCUPANCY:
        sharing = np.unique(number[pairs[(pairs == atom).any(axis=1)]])
        labels = ", ".join(sites[i].label for i in sharing[:5])
        raise ValueError(
            f"sites {labels} share one place with occupancies of {total[atom]:.4g} in all; expected 1 or less"
        )
