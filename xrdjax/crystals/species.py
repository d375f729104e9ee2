"""The scatterers that have an X-ray factor: what a CIF type symbol or atom label stands for.

A type symbol names its element. A label only starts with it, and may say more: Ow is an oxygen of water, HO1 a hydrogen
at O1 or holmium. Which is meant is told by the elements that the file has elsewhere, such as in its formula.

`SPECIES` lists the entries of the four-Gaussian table of ITC vol. C, 6.1.1.4 (IT92): the neutral elements up to
californium, deuterium, then the ions. A species' number everywhere in the package is its index in that tuple.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

_TABLE = """
H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo
Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl
Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf
D
H1- Li1+ Be2+ O1- O2- F1- Na1+ Mg2+ Al3+ Si4+ Cl1- K1+ Ca2+ Sc3+ Ti2+ Ti3+ Ti4+ V2+ V3+ V5+ Cr2+ Cr3+ Mn2+ Mn3+ Mn4+
Fe2+ Fe3+ Co2+ Co3+ Ni2+ Ni3+ Cu1+ Cu2+ Zn2+ Ga3+ Ge4+ Br1- Rb1+ Sr2+ Y3+ Zr4+ Nb3+ Nb5+ Mo3+ Mo5+ Mo6+ Ru3+ Ru4+
Rh3+ Rh4+ Pd2+ Pd4+ Ag1+ Ag2+ Cd2+ In3+ Sn2+ Sn4+ Sb3+ Sb5+ I1- Cs1+ Ba2+ La3+ Ce3+ Ce4+ Pr3+ Pr4+ Nd3+ Pm3+ Sm3+
Eu2+ Eu3+ Gd3+ Tb3+ Dy3+ Ho3+ Er3+ Tm3+ Yb2+ Yb3+ Lu3+ Hf4+ Ta5+ W6+ Os4+ Ir3+ Ir4+ Pt2+ Pt4+ Au1+ Au3+ Hg1+ Hg2+
Tl1+ Tl3+ Pb2+ Pb4+ Bi3+ Bi5+ Ra2+ Ac3+ Th4+ U3+ U4+ U6+ Np3+ Np4+ Np6+ Pu3+ Pu4+ Pu6+
"""
SPECIES: tuple[str, ...] = tuple(_TABLE.split())

_KNOWN = frozenset(SPECIES)
_NO_FACTOR = "Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
_WITHOUT_FACTOR = frozenset(_NO_FACTOR.split())
ELEMENTS = frozenset(re.findall(r"(?<!\S)[A-Z][a-z]?(?!\S)", _TABLE)) | _WITHOUT_FACTOR - {"D"}
_DUMMIES = frozenset(("DU", "VA", "X", "XX", "Q", "LP", "CG", "BQ"))  # lone pairs, centroids, ghosts, peaks
_DUMMY_STEMS = ("DUM", "VAC", "WAT", "CEN", "CTR", "CNT")  # "WatII" is a water molecule, not tungsten
_SYMBOL = re.compile(r"(?P<letters>[A-Za-z]+)(?P<rest>[\w+\-'\"*()#]*)")
_LABEL = re.compile(r"(?P<letters>[A-Za-z]+)(?P<rest>[^\s/.,;A-Za-z][^\s/.,;]*)?")
_WATER = re.compile(r"H2O\d*|D2O\d*", re.IGNORECASE)  # the molecule, or H2 of O1: nobody can tell
_ION = re.compile(r"(?P<letters>[A-Za-z]{1,2})(?P<rest>\d*|\d?[+-]\d?|\d?\.\d+[+-]|[+-]\d?\.\d+)")
_CHARGE = re.compile(r"(?P<before>\d?)(?P<sign>[+-])(?P<after>\d?)")


def parse_species(symbol: str) -> str:
    """Return the name in `SPECIES` of a type symbol ("Ca2+", "Ca+2", "CA") or of a label that starts with one ("Fe1A").

    An ion that the table lacks becomes the neutral atom. Two letters that name an element win over one ("Co1" is
    cobalt). Raises ValueError for an unknown element, a dummy atom and an element without a scattering factor.
    """
    match = _SYMBOL.fullmatch(symbol.strip())
    if match is None:
        raise ValueError(f"'{symbol}' is not one element symbol, such as Fe or Fe3+")
    element = _element(match["letters"], symbol)
    ion = element + _charge(match["rest"])
    return ion if ion in _KNOWN else element


@lru_cache(maxsize=65536)
def exact_species(symbol: str) -> str | None:
    """Return the name in `SPECIES` of a symbol that is an element or ion and no more; None for any other text."""
    match = _ION.fullmatch(symbol.strip())
    if match is None or match["letters"].capitalize() not in _KNOWN:
        return None
    element = match["letters"].capitalize()
    ion = element + _charge(match["rest"])
    return ion if ion in _KNOWN else element


class Reading(NamedTuple):
    """What a label means: the species, whether its letters are that symbol, and a question if they may be another."""

    species: str
    is_symbol: bool
    question: str = ""


@lru_cache(maxsize=65536)
def labelled_species(label: str, elements: frozenset[str]) -> Reading:
    """Return the species that a label means in a file with these elements.

    `elements` is empty where they are unknown. Raises ValueError for dummies and where the meaning is not certain.
    """
    match = _LABEL.fullmatch(label.strip())
    if match is None:
        raise ValueError(f"'{label[:40]}' is not one element symbol, such as Fe or Fe3+")
    letters = match["letters"]
    _refuse_dummy(letters, label)
    readings = [symbol for symbol in _readings(letters) if symbol in ELEMENTS or symbol == "D"]
    if not readings:
        raise ValueError(f"'{label[:40]}' names no known element")
    element, question = _chosen(readings, letters, label[:40], elements)
    if element in _WITHOUT_FACTOR:
        raise ValueError(f"'{label[:40]}' has no X-ray scattering factor; the table ends at Cf")
    ion = element + _charge(match["rest"] or "")
    return Reading(ion if ion in _KNOWN else element, letters.capitalize() == element, question)


def _readings(letters: str) -> list[str]:
    """Return two letters, as one symbol, before one."""
    return [letters[:2].capitalize(), letters[0].upper()] if len(letters) > 1 else [letters.upper()]


def _chosen(readings: list[str], letters: str, label: str, elements: frozenset[str]) -> tuple[str, str]:
    """Return the reading that the file's elements have, and a question where it has both."""
    declared = [symbol for symbol in readings if ("H" if symbol == "D" else symbol) in elements]
    if elements and not declared:
        raise ValueError(f"label '{label}' reads as {readings[0]}, which the formula lacks; add _atom_site_type_symbol")
    element = (declared or readings)[0]
    if _is_second_element(letters.removeprefix(element), element, elements):
        raise ValueError(f"label '{label}' may mean {element} and another element; add _atom_site_type_symbol")
    if len(declared or readings) == 1 or letters[1].islower():
        return element, ""
    question = f"label '{label}' may mean {readings[0]} or {readings[1]}; add _atom_site_type_symbol"
    if not declared and letters[0] in "CH":  # carbon or hydrogen with another letter are as frequent as metals
        raise ValueError(question)
    return element, question if declared else ""


def _is_second_element(rest: str, element: str, elements: frozenset[str]) -> bool:
    """Tell whether letters after a first element are another that it may share its place with, as in SiAl."""
    return len(rest) == 2 and rest.istitle() and rest in elements and element not in ("H", "C", "N", "O", "F")


def element_of(species: str) -> str:
    """Return the element of a species: "Fe" of "Fe3+", "H" of "D"."""
    return "H" if species == "D" else species.rstrip("0123456789+-")


def _element(letters: str, symbol: str) -> str:
    _refuse_dummy(letters, symbol)
    for candidate in _readings(letters):
        if candidate in _WITHOUT_FACTOR:
            raise ValueError(f"'{symbol}' has no X-ray scattering factor; the table ends at Cf")
        if candidate in _KNOWN:
            return candidate
    raise ValueError(f"'{symbol}' names no known element")


def _refuse_dummy(letters: str, symbol: str) -> None:
    if _WATER.fullmatch(symbol.strip()):
        raise ValueError(f"'{symbol[:40]}' may be a molecule of water; give its atoms")
    if letters.upper() in _DUMMIES or letters.upper().startswith(_DUMMY_STEMS):
        raise ValueError(f"'{symbol[:40]}' is a dummy atom, not an element")


def _charge(text: str) -> str:
    match = _CHARGE.fullmatch(text)
    if match is None:
        return ""
    return (match["before"] or match["after"] or "1") + match["sign"]


def species_numbers(names: Iterable[str]) -> Int[np.ndarray, "n"]:
    """Return the number, int32, of each name. Raises ValueError for one that is not in `SPECIES`."""
    return np.array([SPECIES.index(name) for name in names], np.int32)
