"""Read a CIF as crystals, or refuse with one line that names the file, the field and the value.

Here a block's cell, symmetry and sites come together. Where the block leaves open what it means (two origins, fewer
operations than its symbol has, a site listed beside its image), every reading is tried, and the one is taken that
holds what the formula says; what was decided is a note of the crystal. Where none or several do, the block is refused.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from xrdjax.crystals.cell_contents import fill_cell, have_same_atoms, tightness
from xrdjax.crystals.cif_sites import Sites, number_of, sites_of
from xrdjax.crystals.cif_symmetry import Setting, Symmetry, symmetry_of
from xrdjax.crystals.cif_text import Block, blocks_of, decode_cif
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.formula import CONTRADICTS, FITS, Evidence, evidence_of
from xrdjax.crystals.symmetry import metric_tensor
from xrdjax.errors import CifError

__all__ = ["crystal_from_cif_text", "crystals_from_cif_text", "decode_cif", "read_cif"]

_CELL_TAGS = (
    "_cell_length_a",
    "_cell_length_b",
    "_cell_length_c",
    "_cell_angle_alpha",
    "_cell_angle_beta",
    "_cell_angle_gamma",
)
_EDGE_RANGE = (0.5, 10_000.0)  # Å; below lies no atom's distance to its image, above are numbers in another unit
_VOLUME_TOLERANCE = 0.01  # relative; a volume further from the cell's says that one of them is mistyped
_SHORT, _IMPOSSIBLE = 0.55, 0.4  # of the sum of the covalent radii; a triple bond has 0.78
_LONGEST_REASON = 500
_MOST_NAMED = 8


def read_cif(path: str | Path, block: str | None = None) -> Crystal:
    """Return the crystal in a CIF file, named after the file. Raises CifError, whatever is wrong.

    Of several data blocks with atoms, `block` names the one to read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CifError(path, f"cannot be read: {error.strerror}") from None
    try:
        text = decode_cif(data)
    except ValueError as error:
        raise CifError(path, str(error)) from None
    return _one_crystal(text, Path(path).stem, path, block)


def crystal_from_cif_text(text: str, name: str) -> Crystal:
    """Return the crystal in the text of a CIF. Raises CifError, with the name in place of a path."""
    return _one_crystal(text, name, name, None)


def crystals_from_cif_text(text: str, name: str) -> list[Crystal | CifError]:
    """Return the crystal of each data block with atoms, or why there is none; one error if no block has atoms.

    One block is called `name`, of several each is `name#block`. Never raises.
    """
    try:
        blocks = _blocks_with_atoms(text)
    except ValueError as error:
        return [_error(name, error)]
    names = [name] if len(blocks) == 1 else [f"{name}#{block.name}" for block in blocks]
    return [_crystal_or_error(block, own, own) for block, own in zip(blocks, names, strict=True)]


def _one_crystal(text: str, name: str, path: object, wanted: str | None) -> Crystal:
    try:
        block, is_alone = _chosen_block(_blocks_with_atoms(text), wanted)
    except ValueError as error:
        raise _error(path, error) from None
    crystal = _crystal_or_error(block, name if is_alone else f"{name}#{block.name}", path)
    if isinstance(crystal, CifError):
        raise crystal
    return crystal


def _error(path: object, error: Exception) -> CifError:
    return CifError(path, " ".join(str(error).split())[:_LONGEST_REASON])


def _blocks_with_atoms(text: str) -> list[Block]:
    blocks = blocks_of(text)
    if with_atoms := [block for block in blocks if block.has_column("_atom_site_fract_x")]:
        return with_atoms
    if any(block.has_column("_atom_site_Cartn_x") for block in blocks):
        raise ValueError("only Cartesian coordinates (_atom_site_Cartn_x); add fractional ones (_atom_site_fract_x)")
    raise ValueError("no atoms (_atom_site_fract_x) in any data block")


def _chosen_block(blocks: list[Block], wanted: str | None) -> tuple[Block, bool]:
    """Return the block to read, and whether it is the only one with atoms."""
    names = ", ".join([block.name[:60] or "unnamed" for block in blocks[:_MOST_NAMED]])
    names += ", …" if len(blocks) > _MOST_NAMED else ""
    if wanted is not None:
        blocks = [block for block in blocks if block.name == wanted]
        if not blocks:
            raise ValueError(f"no data block '{wanted}' with atoms; there are {names}")
        return blocks[0], False
    if len(blocks) > 1:
        advice = "choose one with block=, or let `xrdjax pack` take all"
        raise ValueError(f"{len(blocks)} data blocks have atoms ({names}); {advice}")
    return blocks[0], True


def _crystal_or_error(block: Block, name: str, path: object) -> Crystal | CifError:
    try:
        return _crystal(block, name)
    except ValueError as error:
        return _error(path, error)


def _crystal(block: Block, name: str) -> Crystal:
    cell = _cell(block)
    symmetry = symmetry_of(block, cell)
    evidence = evidence_of(block)
    sites = sites_of(block, evidence, metric_tensor(cell))
    crystal = _decided(name, cell, symmetry, sites, evidence)
    if sites.question and not evidence.misfit(crystal) <= FITS:
        raise ValueError(sites.question)
    if symmetry.is_assumed and tightness(crystal) < _SHORT:
        advice = "give the Hermann–Mauguin symbol or the operations"
        raise ValueError(f"in the standard setting of space group {crystal.space_group} atoms are too close; {advice}")
    notes = (*symmetry.notes, *crystal.notes, *_doubts(block, crystal, evidence))
    return replace(crystal, notes=notes) if notes else crystal


def _cell(block: Block) -> Float64[np.ndarray, "6"]:
    cell = np.array([_number(block, tag) for tag in _CELL_TAGS])
    low, high = _EDGE_RANGE
    for tag, edge in zip(_CELL_TAGS[:3], cell[:3], strict=True):
        if not low <= edge <= high:
            raise ValueError(f"{tag} is {edge:g} Å; expected {low:g} to {high:g} Å; correct the value or its unit")
    if np.any(cell <= 0) or np.any(cell[3:] >= 180) or np.linalg.det(metric_tensor(cell)) < 1e-6 * cell[:3].prod() ** 2:
        raise ValueError(f"cell {' '.join(f'{value:g}' for value in cell)} encloses no volume")
    return cell


def _number(block: Block, tag: str) -> float:
    text = block.text(tag)
    value = number_of(text)
    if not np.isfinite(value):
        raise ValueError(f"{tag} is {text[:40] or 'absent'}; a number is expected")
    return value


def _decided(
    name: str, cell: Float64[np.ndarray, "6"], symmetry: Symmetry, sites: Sites, evidence: Evidence
) -> Crystal:
    """Return the crystal of the one reading that fits the evidence."""
    question = symmetry.question
    if not question:
        contents = fill_cell(name, cell, symmetry.settings[0], sites)
        if not contents.is_ambiguous:
            return contents.crystal
        question = "sites that are images of each other may be one atom or share its place; keep one of them"
    readings = list(_readings(name, cell, symmetry.settings, sites))
    possible, is_clear = _possible(readings, can_exclude=symmetry.are_origins)
    return _fitting(possible, evidence, question, is_clear=is_clear)


def _possible(readings: list[tuple[str, Crystal]], *, can_exclude: bool) -> tuple[list[tuple[str, Crystal]], bool]:
    """Return the readings without too short bonds, and whether those of the others are beyond all doubt."""
    gaps = [tightness(crystal) for _, crystal in readings]
    possible = [reading for reading, gap in zip(readings, gaps, strict=True) if gap >= _SHORT]
    return possible, can_exclude and not any(_IMPOSSIBLE < gap < _SHORT for gap in gaps)


def _readings(
    name: str, cell: Float64[np.ndarray, "6"], settings: tuple[Setting, ...], sites: Sites
) -> Iterator[tuple[str, Crystal]]:
    """Yield each reading that can be a crystal, with what it takes for granted."""
    for setting in settings:
        for images_add in (True, False):
            try:
                contents = fill_cell(name, cell, setting, sites, images_add=images_add)
            except ValueError:
                break
            source = [setting.source] if setting.source else []
            if contents.is_ambiguous:
                source.append("occupancies of images " + ("added" if images_add else "not added"))
            yield ", ".join(source) or "the only reading", contents.crystal
            if not contents.is_ambiguous:
                break


def _fitting(readings: list[tuple[str, Crystal]], evidence: Evidence, question: str, *, is_clear: bool) -> Crystal:
    """Return the first reading that fits where all others contradict or hold the same atoms.

    `is_clear` says that the one reading which is left needs no formula.
    """
    misfits = [evidence.misfit(crystal) for _, crystal in readings]
    is_stated = not np.isnan(misfits).any()
    fitting = [reading for reading, misfit in zip(readings, misfits, strict=True) if not is_stated or misfit <= FITS]
    if not fitting:
        raise ValueError(f"{question}; no reading fits the formula and usual distances")
    is_open = any(FITS < misfit <= CONTRADICTS for misfit in misfits) if is_stated else not is_clear
    source, crystal = fitting[0]
    if is_open or not all(have_same_atoms(crystal, other) for _, other in fitting[1:]):
        raise ValueError(f"{question}; formula, density and distances leave it open")
    return replace(crystal, notes=(*crystal.notes, f"{source}: told by the {'contents' if is_stated else 'distances'}"))


def _doubts(block: Block, crystal: Crystal, evidence: Evidence) -> Iterator[str]:
    """Yield what speaks against the crystal, or has been taken as something else."""
    if complaint := evidence.complaint(crystal):
        yield complaint
    stated = number_of(block.text("_cell_volume"))
    volume = float(np.sqrt(np.linalg.det(metric_tensor(crystal.cell))))
    if abs(volume / stated - 1) > _VOLUME_TOLERANCE if stated > 0 else False:
        yield f"the cell's volume is {volume:.6g} Å³, _cell_volume says {stated:.6g}"
    if block.has_dots:
        yield "tags with dots (mmCIF, CIF 2.0) are read as those of core CIF"
