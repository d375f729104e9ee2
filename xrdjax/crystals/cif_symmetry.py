"""The symmetry that a data block states, or what it may be where the block leaves that open.

The listed operations come first, then the Hall symbol, then the Hermann–Mauguin symbol, then the number; what the block
says twice has to agree. More than one `Setting` is returned where a symbol has two origins, and where the listed
operations are fewer than the symbol's group: then the contents of the cell have to decide.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import gemmi
import numpy as np
from jaxtyping import Float64

from xrdjax.crystals.cif_text import UNKNOWN, Block
from xrdjax.crystals.group_symbols import settings_of_code, settings_of_number, settings_of_symbol
from xrdjax.crystals.symmetry import Operations, metric_mismatch, metric_tensor, operations_from_triplets

_OPERATION_TAGS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_HALL_TAGS = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
_NAME_TAGS = (
    "_space_group_name_H-M_alt",
    "_symmetry_space_group_name_H-M",
    "_space_group_name_H-M_ref",
    "_space_group_name_H-M_full",
    "_symmetry_space_group_name_H-M_full",
)
_NUMBER_TAGS = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_CODE_TAG = "_space_group_IT_coordinate_system_code"
_MAGNETIC = ("_space_group_symop_magn_", "_space_group_magn_")
_MODULATED = (
    "_cell_wave_vector_",
    "_space_group_ssg_",
    "_space_group_symop_ssg_",
    "_cell_subsystem_",
    "_atom_site_fourier_",
)
_CELL_TOLERANCE = 0.01  # relative, on edge products; a cell further from its group's shape is another cell
_MOST_LISTED = 10_000
_TRIPLET = re.compile(r"[^\s,]+\s*,\s*[^\s,]+\s*,\s*[^\s,]+|\S+")  # the rest is refused as an operation
_LONGEST_TRIPLET = 200  # caches keep them


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One reading of a block's symmetry.

    Attributes:
        operations: all operations, centring included.
        space_group: number of the group.
        source: which reading it is, as a note says it; empty where the block leaves no choice.
    """

    operations: Operations
    space_group: int
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Symmetry:
    """The settings that a block may mean, the best first, and why one reading has to be chosen where they are several.

    Attributes:
        settings: one or more.
        question: what to say where nothing decides between them.
        are_origins: whether they differ in the origin; distances between atoms may decide then.
        notes: what was decided already.
        is_assumed: whether it is the standard setting of a number, for the block names no setting.
    """

    settings: tuple[Setting, ...]
    question: str = ""
    are_origins: bool = False
    notes: tuple[str, ...] = ()
    is_assumed: bool = False


def symmetry_of(block: Block, cell: Float64[np.ndarray, "6"]) -> Symmetry:
    """Return what a block may mean. Raises ValueError where it says nothing or contradicts itself."""
    _refuse_other_kinds(block)
    is_hexagonal = bool(cell[5] >= 1.125 * cell[3])
    if listed := _listed_operations(block):
        symmetry = _by_operations(block, listed, is_hexagonal)
    else:
        symmetry = _by_hall(block) or _by_symbol(block, is_hexagonal)
        for setting in symmetry.settings:
            _check_declared(block, setting.space_group, is_hexagonal)
    return replace(symmetry, settings=_fitting(symmetry, cell))


def _refuse_other_kinds(block: Block) -> None:
    if block.has(_MAGNETIC):
        raise ValueError("a magnetic structure (_space_group_symop_magn_…); give the cell and group of the nuclear one")
    dimension = next((text for _, text in block.known("_cell_modulation_dimension")), "0")
    if dimension != "0" or block.has(_MODULATED):
        raise ValueError("a modulated structure (superspace group); give the average structure in three dimensions")


def _listed_operations(block: Block) -> tuple[str, ...]:
    """Return the triplets that a block lists, one text or several in one."""
    for tag in _OPERATION_TAGS:
        lines = [line.strip() for text in block.column(tag) for line in re.split(r"[\n;]", text)]
        if len(lines) > _MOST_LISTED:
            raise ValueError(f"{tag} lists {len(lines)} operations; a conventional cell has at most 192")
        if any(line.endswith(",") for line in lines):  # blanks inside operations that are not quoted
            lines = _TRIPLET.findall(" ".join(lines))
        if known := tuple(line[:_LONGEST_TRIPLET] for line in lines if line not in UNKNOWN):
            return known
    return ()


def _by_operations(block: Block, listed: tuple[str, ...], is_hexagonal: bool) -> Symmetry:
    """Return the listed operations; where a symbol says another group that contains them, that one as well."""
    if any("x4" in triplet for triplet in listed):
        raise ValueError("a modulated structure (operations in x1 to x4); give the average one in three dimensions")
    operations, number = operations_from_triplets(listed)
    own = Setting(operations=operations, space_group=number, source=f"the {len(operations)} operations that are listed")
    contradiction = _contradiction(block, number, is_hexagonal)
    larger = _larger_groups(block, operations, is_hexagonal)
    if larger:
        contradiction = contradiction or f"the file lists {len(operations)} operations, its symbol has more"
        return Symmetry(settings=(*larger, own), question=contradiction)
    if contradiction:
        raise ValueError(contradiction)
    return Symmetry(settings=(own,))


def _larger_groups(block: Block, operations: Operations, is_hexagonal: bool) -> list[Setting]:
    """Return the groups of the symbols that contain all listed operations, in the settings of the symbols."""
    found = {}
    for _, name in block.known(*_NAME_TAGS):
        for group in settings_of_symbol(name, is_hexagonal):
            setting = _setting(group, f"all operations of {group.xhm()}, of which the file lists {len(operations)}")
            if _contains(setting.operations, operations) and _numbers_agree(block, setting.space_group):
                found[group.hall] = setting
    return list(found.values())


def _contains(larger: Operations, smaller: Operations) -> bool:
    def rows(operations: Operations) -> set[bytes]:
        pairs = zip(operations.rotation, operations.translation, strict=True)
        return {rotation.tobytes() + translation.tobytes() for rotation, translation in pairs}

    return len(smaller) < len(larger) and rows(smaller) < rows(larger)


def _by_hall(block: Block) -> Symmetry | None:
    """Return the group of the first Hall symbol that can be read; a broken one says nothing, the other tags may do."""
    for _, hall in block.known(*_HALL_TAGS):
        if found := _operations_of_hall(hall):
            return Symmetry(settings=(Setting(operations=found[0], space_group=found[1]),))
    return None


def _by_symbol(block: Block, is_hexagonal: bool) -> Symmetry:
    """Return the settings of the Hermann–Mauguin symbol, or of the number, narrowed by the code of the setting."""
    code = next((text for _, text in block.known(_CODE_TAG)), "")
    for _, name in block.known(*_NAME_TAGS):
        groups = settings_of_symbol(name, is_hexagonal)
        if not groups:
            raise ValueError(f"space-group symbol '{name[:40]}' is unknown; list the symmetry operations")
        return _choice(name, [group for group in groups if group.ext == code[:1]] or groups)
    for tag, number in _declared_numbers(block):
        if coded := settings_of_code(number, code) if code else ():
            return _choice(coded[0].hm, coded)
        groups = settings_of_number(number, is_hexagonal)
        standard = f"the standard setting {groups[0].hm} of space group {number}"
        return replace(
            _choice(groups[0].hm, groups), notes=(f"{standard}, for {tag} is all that the file says",), is_assumed=True
        )
    raise ValueError("no symmetry: neither operations (_space_group_symop_operation_xyz) nor a symbol nor a number")


def _choice(name: str, groups: Sequence[gemmi.SpaceGroup]) -> Symmetry:
    """Return one setting a group; several have different origins."""
    if len(groups) == 1:
        return Symmetry(settings=(_setting(groups[0]),))
    settings = tuple(_setting(group, f"origin {group.ext} of '{name[:40]}'") for group in groups)
    question = f"'{name[:40]}' has two origins; list the symmetry operations or append :1 or :2"
    return Symmetry(settings=settings, question=question, are_origins=True)


def _fitting(symmetry: Symmetry, cell: Float64[np.ndarray, "6"]) -> tuple[Setting, ...]:
    """Return the settings whose operations keep the cell's shape. Raises ValueError where none does."""
    metric = metric_tensor(cell)
    mismatches = [metric_mismatch(setting.operations, metric) for setting in symmetry.settings]
    pairs = zip(symmetry.settings, mismatches, strict=True)
    if fitting := tuple(setting for setting, mismatch in pairs if mismatch <= _CELL_TOLERANCE):
        return fitting
    number = symmetry.settings[0].space_group
    raise ValueError(f"the cell contradicts space group {number}: edges differ by {min(mismatches):.1%} under it")


def _check_declared(block: Block, number: int, is_hexagonal: bool) -> None:
    if contradiction := _contradiction(block, number, is_hexagonal):
        raise ValueError(contradiction)


def _contradiction(block: Block, number: int, is_hexagonal: bool) -> str:
    """Return how a symbol or number of the block contradicts a group, empty where none does."""
    for source, declared in _declared_groups(block, is_hexagonal):
        if declared != number:
            return f"{source} says space group {declared}, the symmetry operations say {number}"
    return ""


def _declared_groups(block: Block, is_hexagonal: bool) -> Iterator[tuple[str, int]]:
    """Yield what the symbols and numbers of the block say the group is; symbols that nobody knows say nothing."""
    for _, name in block.known(*_NAME_TAGS):
        if groups := settings_of_symbol(name, is_hexagonal):
            yield f"'{name[:40]}'", groups[0].number
    for _, hall in block.known(*_HALL_TAGS):
        if found := _operations_of_hall(hall):
            yield f"'{hall[:40]}'", found[1]
    yield from _declared_numbers(block)


def _declared_numbers(block: Block) -> list[tuple[str, int]]:
    pairs = [(tag, text) for tag, text in block.known(*_NUMBER_TAGS) if text != "0"]  # some programs' "unknown"
    for tag, text in pairs:
        if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= 3 and 1 <= int(text) <= 230):
            raise ValueError(f"{tag} is '{text[:40]}'; a number from 1 to 230 is expected")
    return [(tag, int(text)) for tag, text in pairs]


def _numbers_agree(block: Block, number: int) -> bool:
    return all(declared == number for _, declared in _declared_numbers(block))


def _setting(group: gemmi.SpaceGroup, source: str = "") -> Setting:
    found = _operations_of_hall(group.hall)
    if found is None:
        raise ValueError(f"the operations of '{group.xhm()}' are unknown; list them")
    return Setting(operations=found[0], space_group=found[1], source=source)


@lru_cache(maxsize=4096)
def _operations_of_hall(hall: str) -> tuple[Operations, int] | None:
    try:
        return operations_from_triplets(tuple(operation.triplet() for operation in gemmi.symops_from_hall(hall)))
    except (ValueError, RuntimeError):
        return None
