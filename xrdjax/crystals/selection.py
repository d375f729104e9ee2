"""Which crystals of a store a run uses, and which of them it trains on: a view that changes without packing again.

The division comes first and looks at the whole store, duplicates aside, so that a crystal's part follows from store,
label and seed alone: whatever is filtered out later, what one run tests on no other run has trained on. Then filters by
label, element and size; then groups that are left too small; then the cap, which takes the same share of each part.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt8

from xrdjax.config import DataConfig, SelectionConfig
from xrdjax.crystals.species import SPECIES, element_of, parse_species
from xrdjax.crystals.splits import PARTS, Part, random_split, type_split
from xrdjax.crystals.store import CrystalStore
from xrdjax.errors import ConfigError

NO_PART = 255


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Some crystals of a store, each in one part.

    Attributes:
        part: (n,) index in `PARTS`, or `NO_PART` for a crystal that is left out.
        left_out: how many crystals each step left out, by what it is called.
    """

    part: UInt8[np.ndarray, "n"]
    left_out: dict[str, int]

    def crystals(self, part: Part) -> Int64[np.ndarray, "p"]:
        """Return the numbers of the crystals of one part, ascending."""
        return np.flatnonzero(self.part == PARTS.index(part))

    def __len__(self) -> int:
        """Return the number of crystals that are left."""
        return int((self.part != NO_PART).sum())


def select(store: CrystalStore, config: SelectionConfig) -> Selection:
    """Return the selection. Raises ConfigError for an unknown element, a list that cannot be read, or another label.

    The store has to be opened with the configured label.
    """
    if store.label != config.label:
        raise ConfigError(f"data.label = {config.label!r}: the store was opened with label {store.label!r}")
    part = _divide(store, config)
    steps = {
        "duplicates": config.duplicates or store.duplicate_of == np.arange(len(store)),
        f"not in {config.split}": part != NO_PART,
        "found group differs": config.label != "agreed" or _agrees(store),
        "elements": _allowed_elements(store, config),
        "too many atoms": config.max_atoms is None or store.num_atoms <= config.max_atoms,
    }
    left_out, chosen = {}, np.ones(len(store), bool)
    for name, passes in steps.items():
        left_out[name] = int((chosen & ~np.asarray(passes)).sum())
        chosen = chosen & passes
    for name, keep in (("group too small", _large_enough), ("cap", _within_cap)):
        fewer = keep(chosen, part, store, config)
        left_out[name] = int(chosen.sum() - fewer.sum())
        chosen = fewer
    return Selection(
        part=np.where(chosen, part, NO_PART).astype(np.uint8), left_out={k: v for k, v in left_out.items() if v}
    )


def open_selected(data: DataConfig) -> CrystalStore:
    """Open the configured store, with the configured label. Raises StoreError."""
    return CrystalStore.open(data.store, data.label)


def select_crystals(store: CrystalStore, data: DataConfig, part: Part) -> Int64[np.ndarray, "p"]:
    """Return the numbers of the selected crystals of one part. Raises ConfigError if there is none."""
    selection = select(store, data)
    crystals = selection.crystals(part)
    if not len(crystals):
        lost = ", ".join(f"{name}: {count:,}" for name, count in selection.left_out.items()) or "nothing"
        raise ConfigError(
            f"data.store '{data.store}': no crystal in the part '{part}' of the split '{data.split}' (left out of "
            f"{len(store):,}: {lost}); choose another data.split, let more through, or pack more crystals of one group"
        )
    return crystals


def _divide(store: CrystalStore, config: SelectionConfig) -> UInt8[np.ndarray, "n"]:
    """Return the part of every crystal; a duplicate goes with what it repeats."""
    if config.split not in ("random", "type"):
        return _listed_parts(store, Path(config.split))
    first = store.duplicate_of == np.arange(len(store))
    part = np.zeros(len(store), np.uint8)
    if config.split == "random":
        part[first] = random_split(store.space_group[first], config.split_seed)
    else:
        part[first] = type_split(store.structure_type[first], store.space_group[first], config.split_seed)
    return part[store.duplicate_of]


def _listed_parts(store: CrystalStore, path: Path) -> UInt8[np.ndarray, "n"]:
    """Return the parts that a user's list gives. Raises ConfigError naming the line that cannot be understood."""
    number = {store.names(index): index for index in range(len(store))}
    part = np.full(len(store), NO_PART, np.uint8)
    for line, row in _rows(path):
        if len(row) != 2 or row[1].strip() not in PARTS:
            raise ConfigError(
                f"{path}, line {line}: {','.join(row)!r}; expected name,part with part {', '.join(PARTS)}"
            )
        name = row[0].strip()
        if name not in number:
            raise ConfigError(
                f"{path}, line {line}: no crystal '{name}' in the store; `xrdjax info --names` lists them"
            )
        if part[number[name]] != NO_PART:
            raise ConfigError(f"{path}, line {line}: '{name}' is listed twice; keep one line")
        part[number[name]] = PARTS.index(row[1].strip())
    return part


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return number and cells of each line that says something, a heading left out."""
    if not path.is_file():
        raise ConfigError(f"data.split = '{path}': expected random, type, or the path of a CSV file with name,part")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(line, row) for line, row in enumerate(csv.reader(file), start=1) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"data.split = '{path}': cannot be read as CSV: {error}") from None
    return rows[1:] if rows and rows[0][1] == ["name", "part"] else rows


def _agrees(store: CrystalStore) -> Bool[np.ndarray, "n"]:
    columns = store.columns
    return (columns.found_group == 0) | (columns.found_group == columns.space_group)


def _allowed_elements(store: CrystalStore, config: SelectionConfig) -> Bool[np.ndarray, "n"]:
    """Tell which crystals have only elements that are asked for and none that is not wanted."""
    columns = store.columns
    own = np.array([SPECIES.index(element_of(name)) for name in columns.species], int)
    wanted, unwanted = (_numbers(name, getattr(config, name)) for name in ("elements", "without_elements"))
    passes = ~np.isin(own, unwanted) & (np.isin(own, wanted) if len(wanted) else True)
    first = columns.crystal_offset[:-1].astype(np.int64)
    return np.logical_and.reduceat(passes[columns.site_species], first)


def _numbers(field: str, elements: tuple[str, ...]) -> Int64[np.ndarray, "elements"]:
    try:
        return np.array([SPECIES.index(element_of(parse_species(element))) for element in elements], int)
    except ValueError as error:
        raise ConfigError(f"data.{field} = {elements}: {error}; expected symbols such as Fe") from None


def _large_enough(
    chosen: Bool[np.ndarray, "n"], _: UInt8[np.ndarray, "n"], store: CrystalStore, config: SelectionConfig
) -> Bool[np.ndarray, "n"]:
    size = np.bincount(store.space_group[chosen], minlength=231)
    return chosen & (size >= config.min_members)[store.space_group]


def _within_cap(
    chosen: Bool[np.ndarray, "n"], part: UInt8[np.ndarray, "n"], store: CrystalStore, config: SelectionConfig
) -> Bool[np.ndarray, "n"]:
    """Leave at most `cap` crystals of each group, the same share of each part, at random by the seed."""
    if config.cap is None:
        return chosen
    kept = chosen.copy()
    for group in np.flatnonzero(np.bincount(store.space_group[chosen]) > config.cap):
        members = np.flatnonzero(chosen & (store.space_group == group))
        order = np.random.default_rng([config.split_seed, int(group), 1]).permutation(members)
        kept[members] = False
        kept[_evenly(order, part[order], config.cap)] = True
    return kept


def _evenly(members: Int64[np.ndarray, "m"], part: UInt8[np.ndarray, "m"], number: int) -> Shaped[np.ndarray, "number"]:
    """Return the first members of each part, as many as make its share of `number`."""
    rank = np.empty(len(members))
    for own in (part == value for value in np.unique(part)):
        rank[own] = (np.arange(own.sum()) + 0.5) / own.sum()
    return members[np.argsort(rank, kind="stable")[:number]]
