"""The atom sites of a data block as arrays, every value checked.

Displacements are U_iso or B_iso/8π² in Å²; `.`, `?` or no value at all is 0 there, and 1 for an occupancy. Any other
text must be a number, with or without a standard uncertainty; coordinates and occupancies may be fractions as 1/3.
Anisotropic ones are U_ij or B_ij/8π² of the aniso loop. A row with an unknown value, or with six zeros, says that its
site is isotropic. U_iso, where absent or 0, is then the mean of the principal displacements, U_eq.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from jaxtyping import Bool, Float64

from xrdjax.crystals.cif_text import UNKNOWN, Block
from xrdjax.crystals.formula import Evidence
from xrdjax.crystals.species import Reading, element_of, exact_species, labelled_species
from xrdjax.crystals.symmetry import principal_displacements

MOST_SITES = 100_000
MAX_OCCUPANCY = 1.01  # allows for occupancies that were rounded to two digits
_COORDINATES = ("fract_x", "fract_y", "fract_z")
_TENSOR = ("11", "22", "33", "12", "13", "23")
_LEAST_DISPLACEMENT = -0.01  # Å², by rounding and uncertainty; exp(−2π² U s²) is then below 1.4 for s to 1.3 Å⁻¹
_MAX_COORDINATE = 1000.0  # cycles; more is no fraction of an edge, and costs digits modulo 1
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\(\d+\))?")
_FRACTION = re.compile(r"([+-]?\d{1,3})/(\d{1,3})")
_SEVERAL = re.compile(r"\d.*[A-Za-z]|[A-Z][a-z].*[A-Z][a-z]")  # a type symbol with letters after a number
_LONGEST_NUMBER = 60
_LONGEST_LABEL = 80  # caches keep them
_MOST_NAMED = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Sites:
    """The n rows of the atom loop.

    Attributes:
        labels: n, "in row 3" where there is none.
        species: n names of `SPECIES`.
        fract: (n, 3) as written.
        occupancy: (n,) in (0, 1].
        u_iso: (n,) in Å², 0 where unknown.
        u_aniso: (n, 6) in Å², NaN for isotropic sites; None where all are.
        notes: what was decided on the way.
        question: what has to be asked unless the cell then holds what the formula says; empty for nothing.
    """

    labels: tuple[str, ...]
    species: tuple[str, ...]
    fract: Float64[np.ndarray, "n 3"]
    occupancy: Float64[np.ndarray, "n"]
    u_iso: Float64[np.ndarray, "n"]
    u_aniso: Float64[np.ndarray, "n 6"] | None
    notes: tuple[str, ...]
    question: str


def sites_of(block: Block, evidence: Evidence, metric: Float64[np.ndarray, "3 3"]) -> Sites:
    """Return the sites of a block. Raises ValueError that names site, field and value."""
    notes: list[str] = []
    key = _key_column(block)
    names = _names(block, key)
    fract = np.stack([_coordinates(block, key, name, names) for name in _COORDINATES], axis=1)
    species, question = _species(block, key, names, evidence, notes)
    occupancy = _occupancies(block, key, names, notes)
    u_iso = _isotropic(block, key, names, notes)
    tensors = _tensors(block, names, u_iso)
    if tensors is not None:
        u_iso = _equivalent(names, tensors, u_iso, metric)
    return Sites(
        labels=names,
        species=species,
        fract=fract,
        occupancy=occupancy,
        u_iso=u_iso,
        u_aniso=tensors,
        notes=tuple(notes),
        question=question,
    )


def number_of(text: str) -> float:
    """Return the number that a text states before its standard uncertainty, NaN where it is none."""
    match = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    return float(match[1]) if match else np.nan


def joined(names: Sequence[str]) -> str:
    """Return names in one phrase: "O1, O2 and O3", the first few of many."""
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _key_column(block: Block) -> str:
    """Return the tag that tells the loop of the atoms: its labels, or else its type symbols."""
    for name in ("label", "type_symbol"):
        tag = f"_atom_site_{name}"
        for coordinate in _COORDINATES if block.column(tag) else ():
            if not block.are_parallel(tag, f"_atom_site_{coordinate}"):
                raise ValueError(
                    f"the atom loop has no _atom_site_{coordinate}; add the coordinate to the loop of the labels"
                )
        if block.column(tag):
            return tag
    raise ValueError("the atom loop has no _atom_site_label and no _atom_site_type_symbol; add one label an atom")


def _names(block: Block, key: str) -> tuple[str, ...]:
    """Return what to call the sites in messages: their labels, or their rows."""
    texts = block.column(key)
    if len(texts) > MOST_SITES:
        raise ValueError(f"{len(texts)} atom sites; expected {MOST_SITES} or less")
    has_labels = key == "_atom_site_label"
    known = [text if has_labels and text not in UNKNOWN else "" for text in texts]
    return tuple(text[:40] or f"in row {row}" for row, text in enumerate(known, start=1))


def _column(block: Block, key: str, name: str) -> list[str]:
    """Return a column of the atom loop, empty if it is not there."""
    tag = f"_atom_site_{name}"
    return block.column(tag) if block.are_parallel(key, tag) else []


def _coordinates(block: Block, key: str, name: str, names: tuple[str, ...]) -> Float64[np.ndarray, "n"]:
    values = np.array([_number_or_fraction(text) for text in _column(block, key, name)])
    bad = ~(np.abs(values) <= _MAX_COORDINATE)
    if bad.any():
        row = int(bad.argmax())
        text = _column(block, key, name)[row]
        if text in UNKNOWN:
            raise ValueError(f"a coordinate of site {names[row]} is unknown; give it a number or leave the site out")
        if np.isnan(values[row]):
            raise ValueError(f"_atom_site_{name} is {text[:40]} at site {names[row]}; expected a number")
        expected = f"expected a fraction of the edge, within ±{_MAX_COORDINATE:g}"
        raise ValueError(f"coordinate {values[row]:g} of site {names[row]}; {expected}")
    return values


def _number_or_fraction(text: str) -> float:
    if "/" in text and (match := _FRACTION.fullmatch(text)) and int(match[2]):
        return int(match[1]) / int(match[2])
    return number_of(text)


def _species(
    block: Block, key: str, names: tuple[str, ...], evidence: Evidence, notes: list[str]
) -> tuple[tuple[str, ...], str]:
    """Return the species of the sites, and what to ask if a label may mean another element."""
    for name, flag in zip(names, _column(block, key, "calc_flag"), strict=False):
        if flag.lower() == "dum":
            raise ValueError(f"site {name} is a dummy atom (_atom_site_calc_flag dum); leave it out")
    types = _column(block, key, "type_symbol") or ["?"] * len(names)
    labels = block.column(key)
    found = [exact_species(text[:_LONGEST_LABEL]) for text in types]
    inexact = [row for row, species in enumerate(found) if species is None]
    elements = _elements(block, evidence) if inexact else frozenset()
    unlike, questions = {}, []
    for row in inexact:
        reading = _labelled(types[row][:_LONGEST_LABEL], labels[row][:_LONGEST_LABEL], names[row], elements)
        found[row] = reading.species
        questions += [reading.question] if reading.question else []
        if not reading.is_symbol:
            unlike[f"{types[row] if types[row] not in UNKNOWN else names[row]} as {reading.species}"] = None
    if unlike:
        notes.append(f"elements told by labels: {joined(list(unlike))}")
    return tuple(species for species in found if species), questions[0] if questions else ""


def _labelled(type_symbol: str, label: str, name: str, elements: frozenset[str]) -> Reading:
    """Return the species of a site whose type symbol is unknown or more than a symbol."""
    try:
        if type_symbol in UNKNOWN or type_symbol == label:
            return labelled_species(label, elements)
        if _SEVERAL.search(type_symbol):
            raise ValueError(f"'{type_symbol[:40]}' is not one element symbol, such as Fe or Fe3+")
        return labelled_species(type_symbol, elements)
    except ValueError as error:
        raise ValueError(f"site {name}: {error}") from None


def _elements(block: Block, evidence: Evidence) -> frozenset[str]:
    """Return the elements that the file has besides its atoms: in the formula and in the list of atom types."""
    declared = [exact_species(text[:_LONGEST_LABEL]) for text in block.column("_atom_type_symbol")]
    return frozenset({element_of(species) for species in declared if species} | set(evidence.formula or ()))


def _occupancies(block: Block, key: str, names: tuple[str, ...], notes: list[str]) -> Float64[np.ndarray, "n"]:
    texts = _column(block, key, "occupancy")
    if UNKNOWN.issuperset(texts):
        _refuse_alternatives(block, key)
        return np.ones(len(names))
    values = _numbers("occupancy", texts, names, unknown=1)
    bad = ~((values > 0) & (values <= MAX_OCCUPANCY))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"occupancy {values[row]:g} at site {names[row]}; expected (0, 1]")
    if (over := np.flatnonzero(values > 1)).size:
        notes.append(f"occupancies just above 1 are 1: {joined([names[row] for row in over])}")
    return np.minimum(values, 1.0)


def _refuse_alternatives(block: Block, key: str) -> None:
    """Refuse sites that are alternatives by their disorder groups, but have no occupancies."""
    groups = _column(block, key, "disorder_group")
    assemblies = _column(block, key, "disorder_assembly") or ["."] * len(groups)
    known = {pair for pair in zip(assemblies, groups, strict=True) if pair[1] not in UNKNOWN}
    if len({assembly for assembly, _ in known}) < len(known):
        raise ValueError(
            "sites of several _atom_site_disorder_group but none has an occupancy; add _atom_site_occupancy"
        )


def _isotropic(block: Block, key: str, names: tuple[str, ...], notes: list[str]) -> Float64[np.ndarray, "n"]:
    """Return U_iso of each site, from B where U is unknown, 0 where both are."""
    u_iso = np.zeros(len(names))
    for name, per_u in (("B_iso_or_equiv", 8 * np.pi**2), ("U_iso_or_equiv", 1.0)):
        if texts := _column(block, key, name):
            values = _numbers(name, texts, names, unknown=0) / per_u
            u_iso = np.where(values != 0, values, u_iso)
    if (bad := ~(u_iso >= _LEAST_DISPLACEMENT)).any():
        row = int(bad.argmax())
        raise ValueError(f"u_iso {u_iso[row]:g} Å² at site {names[row]}; expected 0 or more")
    if (below := np.flatnonzero(u_iso < 0)).size:
        notes.append(f"displacements just below 0 are 0: {joined([names[row] for row in below])}")
    return np.maximum(u_iso, 0.0)


def _numbers(name: str, texts: list[str], names: tuple[str, ...], *, unknown: float) -> Float64[np.ndarray, "n"]:
    parse = _number_or_fraction if name == "occupancy" else number_of
    values = np.array([unknown if text in UNKNOWN else parse(text) for text in texts], float)
    if (bad := ~np.isfinite(values)).any():
        row = int(bad.argmax())
        expected = f"expected a number, or ? for {unknown:g}"
        raise ValueError(f"_atom_site_{name} is {texts[row][:40]} at site {names[row]}; {expected}")
    return values


def _tensors(
    block: Block, names: tuple[str, ...], u_iso: Float64[np.ndarray, "n"]
) -> Float64[np.ndarray, "n 6"] | None:
    """Return the displacement tensor of each site, NaN for an isotropic one; None where all are.

    Of sites that share a label each has its own row, in their order, or all have the same one.
    """
    by_label = defaultdict(list)
    for label, tensor in _aniso_rows(block):
        by_label[label].append(tensor)
    if not by_label:
        return None
    num_sites = Counter(names)
    for label, tensors in by_label.items():
        if num_sites[label] and len(tensors) not in (1, num_sites[label]):
            expected = f"expected 1 or as many as sites, {num_sites[label]}"
            raise ValueError(f"_atom_site_aniso_label {label} has {len(tensors)} rows; {expected}")
    dealt = {label: cycle(tensors) for label, tensors in by_label.items()}
    isotropic = np.full(6, np.nan)
    tensors = np.stack([next(dealt[name]) if name in dealt else isotropic for name in names])
    is_isotropic = np.isnan(tensors[:, 0])
    _refuse_strays(by_label.keys() - num_sites.keys(), names, is_isotropic & (u_iso == 0))
    return None if is_isotropic.all() else tensors


def _aniso_rows(block: Block) -> Iterator[tuple[str, Float64[np.ndarray, "6"]]]:
    """Yield label and U in Å² of each row of the aniso loop, NaN for a row that says nothing."""
    key = next((tag for tag in ("_atom_site_aniso_label", "_atom_site_label") if block.column(tag)), "")
    for letter, per_u in (("U", 1.0), ("B", 8 * np.pi**2)):
        names = [f"aniso_{letter}_{indices}" for indices in _TENSOR]
        absent = [name for name in names if not block.are_parallel(key, f"_atom_site_{name}")]
        if len(absent) == len(names):
            continue
        if absent:
            raise ValueError(f"the loop of {key} has no _atom_site_{absent[0]}; add the column")
        columns = [block.column(f"_atom_site_{name}") for name in names]
        if len(columns[0]) > MOST_SITES:
            raise ValueError(f"{len(columns[0])} rows of _atom_site_aniso_label; expected {MOST_SITES} or less")
        for label, *texts in zip(block.column(key), *columns, strict=True):
            yield label[:40], _tensor(label, names, texts, per_u)
        return


def _tensor(label: str, names: list[str], texts: list[str], per_u: float) -> Float64[np.ndarray, "6"]:
    """Return the tensor of a row, all NaN where it is unknown or zero."""
    tensor = np.array([number_of(text) for text in texts]) / per_u
    for name, text, value in zip(names, texts, tensor.tolist(), strict=True):
        if text not in UNKNOWN and not np.isfinite(value):
            expected = "expected a number, or ? for an isotropic site"
            raise ValueError(f"_atom_site_{name} is {text[:40]} at site {label[:40]}; {expected}")
    return tensor if np.isfinite(tensor).all() and tensor.any() else np.full(6, np.nan)


def _refuse_strays(labels: set[str], names: tuple[str, ...], is_bare: Bool[np.ndarray, "n"]) -> None:
    """Refuse tensors of no site if a site is left without displacement; else they are remains of a refinement."""
    if labels and is_bare.any():
        expected = f"expected that of a site, such as {names[is_bare.argmax()]}, which has no displacement"
        raise ValueError(f"_atom_site_aniso_label {min(labels)} is no site's; {expected}")


def _equivalent(
    names: tuple[str, ...],
    tensors: Float64[np.ndarray, "n 6"],
    u_iso: Float64[np.ndarray, "n"],
    metric: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, "n"]:
    """Return the isotropic displacements, given or equivalent, after a check of the tensors."""
    rows = np.flatnonzero(~np.isnan(tensors[:, 0]))
    if np.abs(tensors[rows]).max() > 1e6:
        raise ValueError(f"a displacement of {np.abs(tensors[rows]).max():.3g} Å²; expected less than a million")
    principal = principal_displacements(tensors[rows], metric)
    if (bad := ~(principal.min(axis=1) >= _LEAST_DISPLACEMENT)).any():
        row = int(bad.argmax())
        values = " ".join(f"{value:.4g}" for value in tensors[rows[row]])
        reason = f"of {principal[row].min():.4g} Å² along one axis; expected {_LEAST_DISPLACEMENT:g} or more along each"
        raise ValueError(f"U11 U22 U33 U12 U13 U23 of {values} at site {names[rows[row]]} are a mean square {reason}")
    mean = np.maximum(principal.mean(axis=1), 0.0)
    equivalent = u_iso.copy()
    equivalent[rows] = np.where(u_iso[rows] != 0, u_iso[rows], mean)
    return equivalent
