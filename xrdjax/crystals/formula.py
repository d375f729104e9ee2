"""What a file says its cell holds, against what a reading of it puts there.

Evidence, in the order of its weight: the formula times the number of formula units, the measured or calculated density,
the formula alone as ratios. Hydrogen is often left out of the atoms, so its absence is no evidence.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import gemmi
import numpy as np

from xrdjax.crystals.cif_text import Block
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import ELEMENTS, element_of
from xrdjax.crystals.symmetry import metric_tensor

FITS = 0.03  # largest relative deviation of an element's count that rounded occupancies explain
CONTRADICTS = 0.12  # and the smallest that they do not
_DENSITY_FITS, _DENSITY_CONTRADICTS = 0.06, 0.2  # hydrogen that is left out is a few per cent of the mass
_AMU = 1.66053907  # Å³ g/cm³ per atomic mass unit
_PART = re.compile(r"(?P<element>[A-Z][a-z]?)(?P<count>\d*\.?\d*)|(?P<open>[(\[])|[)\]](?P<times>\d*\.?\d*)|[\s,·*]+")
_LONGEST = 1000


@dataclass(frozen=True)
class Evidence:
    """What the file states of its cell's content.

    Attributes:
        formula: atoms of each element in one unit; None where unknown.
        num_units: formula units in the cell, 0 where unknown.
        density: in g/cm³, 0 where unknown.
    """

    formula: dict[str, float] | None
    num_units: float
    density: float

    def misfit(self, crystal: Crystal) -> float:
        """Return the largest relative deviation of the crystal from what is stated; NaN where nothing is."""
        if self.formula and self.num_units:
            return self._deviation(crystal, self.num_units)
        misfits = [self._deviation(crystal, _num_units(crystal, self.formula))] if self.formula else []
        if self.density:
            deviation = abs(density(crystal) / self.density - 1)
            scale = [0, _DENSITY_FITS, _DENSITY_CONTRADICTS, 100]
            misfits.append(float(np.interp(deviation, scale, [0, FITS, CONTRADICTS, 1])))
        return max(misfits, default=np.nan)

    def complaint(self, crystal: Crystal) -> str:
        """Return a sentence on how the crystal deviates from the formula; empty where it does not."""
        if not self.formula:
            return ""
        num_units = self.num_units or _num_units(crystal, self.formula)
        is_of_cell = all(count % (self.num_units or 1) == 0 for count in self.formula.values())
        if self._deviation(crystal, num_units) <= FITS or (is_of_cell and self._deviation(crystal, 1) <= FITS):
            return _missing_hydrogen(crystal, self.formula)
        times = f" times {num_units:g}" if self.num_units else ""
        return f"the cell holds {_written(_contents(crystal))}, the formula says {_written(self.formula)}{times}"

    def _deviation(self, crystal: Crystal, num_units: float) -> float:
        found, stated = _contents(crystal), self.formula or {}
        elements = {element for element in found.keys() | stated.keys() if element in found or element != "H"}
        stated_count = {element: stated.get(element, 0) * num_units for element in elements}
        return max(
            abs(found[element] - count) / max(count, 1.0) if count else 1.0 for element, count in stated_count.items()
        )


def evidence_of(block: Block) -> Evidence:
    """Return what a data block states; a formula that cannot be read or stands twice says nothing."""
    try:
        formula = parse_formula(block.text("_chemical_formula_sum")[: _LONGEST + 1])
    except ValueError:
        formula = None
    return Evidence(
        formula=formula,
        num_units=_positive(block, "_cell_formula_units_z"),
        density=_positive(block, "_exptl_crystal_density_diffrn"),
    )


@lru_cache(maxsize=4096)
def parse_formula(text: str) -> dict[str, float] | None:
    """Return the atoms of each element in a formula such as "(Mg1.9 Fe0.1) Si2 O6", D as H; None if it is none."""
    levels: list[defaultdict[str, float]] = [defaultdict(float)]
    end = 0
    for part in _PART.finditer(text[:_LONGEST]):
        if part.start() != end or not _take(part, levels):
            return None
        end = part.end()
    if end != len(text) or len(levels) != 1 or not levels[0]:
        return None
    return dict(levels[0])


def density(crystal: Crystal) -> float:
    """Return the mass of the cell's atoms over its volume, in g/cm³."""
    mass = sum(gemmi.Element(element).weight * count for element, count in _contents(crystal).items())
    return mass * _AMU / float(np.sqrt(np.linalg.det(metric_tensor(crystal.cell))))


def _take(part: re.Match[str], levels: list[defaultdict[str, float]]) -> bool:
    """Count one part of a formula; False if it is in no formula."""
    if element := part["element"]:
        element = "H" if element == "D" else element
        levels[-1][element] += _count(part["count"])
        return element in ELEMENTS
    if part["open"]:
        levels.append(defaultdict(float))
    elif part["times"] is not None:
        if len(levels) == 1:
            return False
        for element, count in levels.pop().items():
            levels[-1][element] += count * _count(part["times"])
    return True


def _count(text: str) -> float:
    return 1.0 if text in ("", ".") else float(text)


def _contents(crystal: Crystal) -> defaultdict[str, float]:
    contents: defaultdict[str, float] = defaultdict(float)
    for species, occupancy in zip(crystal.species, crystal.occupancy.tolist(), strict=True):
        contents[element_of(species)] += occupancy
    return contents


def _num_units(crystal: Crystal, formula: dict[str, float]) -> float:
    """Return the number of units that the cell would hold by its atoms other than hydrogen."""
    found, stated = (
        sum(count for element, count in counts.items() if element != "H") for counts in (_contents(crystal), formula)
    )
    return found / stated if stated else _contents(crystal)["H"] / formula["H"] if formula.get("H") else 1.0


def _missing_hydrogen(crystal: Crystal, formula: dict[str, float]) -> str:
    if "H" in formula and "H" not in _contents(crystal):
        return "the formula has hydrogen, the atoms have none"
    return ""


def _written(counts: dict[str, float]) -> str:
    return " ".join(f"{element}{count:.4g}" for element, count in sorted(counts.items()))[:120]


def _positive(block: Block, tag: str) -> float:
    try:
        value = float(block.text(tag).partition("(")[0])
    except ValueError:
        return 0.0
    return value if 0 < value < 1e5 else 0.0
