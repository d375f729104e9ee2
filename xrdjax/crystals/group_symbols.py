"""Which tabulated settings a Hermann–Mauguin symbol or a group number can mean.

Symbols come in many hands: "P21/c", "P 21 /m", "P2(1)/c", "F d 3 m" and "F m 3- m" before 1983, full ones such as
"F 4/m -3 2/m", with ":1" or "(origin choice 2)", with the suffixes of ICSD (S, Z: origin 1, 2; H, R: axes). Where a
symbol has two origins and says neither, both are returned; hexagonal angles of the cell tell the axes of rhombohedral
groups.
"""

import re
from functools import lru_cache

import gemmi

_ORIGIN = re.compile(r"[\s({\[:,;]*(?:origin|o\.?c\.?)\D{0,20}([12])\W*$", re.IGNORECASE)
_AXES = re.compile(r"[\s({\[:,;]*(hex|rhomb)[a-z]*(\s+(axes|setting|cell))?\W*$", re.IGNORECASE)
_EXTENSION = re.compile(
    r"\s*:\s*O?([12HR])\s*$|\s+O([12])\s*$|\s+([HRSZ]|HR|[HR][SZ])\s*$|\s*([SZ])\s*$", re.IGNORECASE
)
_NUMBER = re.compile(r"\s*\((?:no\.?|#)?\s*\d{2,3}\)\s*$", re.IGNORECASE)
_ICSD = {"S": "1", "Z": "2"}


@lru_cache(maxsize=4096)
def settings_of_symbol(symbol: str, is_hexagonal: bool) -> tuple[gemmi.SpaceGroup, ...]:
    """Return the settings that a symbol may mean, none if it is unknown, two if it leaves the origin open."""
    plain, extension = _split(symbol[:80])
    plain = _short(_spaced(plain))
    group = gemmi.find_spacegroup_by_name(plain, 90.0, 120.0 if is_hexagonal else 90.0) if plain else None
    if group is None or not _has_numbers_of(plain, group):
        return ()
    settings = _extended(group.number, group.hm)
    if extension in settings:
        return (settings[extension],)
    return (settings["1"], settings["2"]) if "2" in settings else (group,)


@lru_cache(maxsize=4096)
def settings_of_number(number: int, is_hexagonal: bool) -> tuple[gemmi.SpaceGroup, ...]:
    """Return the standard setting of a group, with both origins where it has two."""
    return settings_of_symbol(gemmi.find_spacegroup_by_number(number).hm, is_hexagonal)


@lru_cache(maxsize=1024)
def settings_of_code(number: int, code: str) -> tuple[gemmi.SpaceGroup, ...]:
    """Return the settings of a group with a code of International Tables, such as -b1, cab, 2 or 1ba-c."""
    wanted = code.lower().removesuffix("abc")
    groups = [group for group in gemmi.spacegroup_table() if group.number == number]
    return tuple(group for group in groups if (group.ext.strip("\0") + group.qualifier).lower() == wanted)


@lru_cache(maxsize=1024)
def _extended(number: int, symbol: str) -> dict[str, gemmi.SpaceGroup]:
    """Return the settings that share a symbol, by their extension."""
    same = [group for group in gemmi.spacegroup_table() if group.number == number and group.hm == symbol]
    return {group.ext: group for group in same if group.ext.strip("\0")}


def _split(symbol: str) -> tuple[str, str]:
    """Return the symbol without what it says of origin or axes, and that as an extension of gemmi's: 1, 2, H, R."""
    text = _NUMBER.sub("", symbol.strip().strip("'\"").strip())
    if match := _ORIGIN.search(text):
        return text[: match.start()], match[1]
    if match := _AXES.search(text):
        return text[: match.start()], match[1][0].upper()
    if match := _EXTENSION.search(text):
        code = (match[1] or match[2] or match[3] or match[4]).upper()
        is_rhombohedral = text[0].upper() == "R"
        code = next((letter for letter in code if letter in "HR"), "") if is_rhombohedral else code[-1]
        return text[: match.start()], _ICSD.get(code, code)
    return text, ""


def _spaced(symbol: str) -> str:
    """Return the symbol with screw axes and bars as gemmi writes them: "P 21/c" of "P 2(1) /c", "P -1" of "P 1-"."""
    text = re.sub(r"\(([1-6])\)|[_~$^{}]+([1-6])[~$^{}]*", lambda match: f"{match[1] or match[2]} ", symbol)
    text = re.sub(r"\s*/\s*", "/", text.replace("_", " ").strip())
    text = re.sub(r"(?<![\d-])([1346])\s?(?:-(?![1-6])|\(?bar\)?)", r"-\1", text)  # 3- and 3bar are -3
    text = re.sub(r"\(?bar\)?\s*([1346])|-\s+([1346])", lambda match: f"-{match[1] or match[2]}", text)
    return re.sub(r"\b2 1/", "21/", text)


def _short(symbol: str) -> str:
    """Return the short form of a full symbol: "F m -3 m" of "F 4/m -3 2/m", "P n m a" of "P 21/n 21/m 21/a"."""
    lattice, *axes = symbol.split() or [""]
    is_cubic = len(axes) > 1 and axes[1].lstrip("-") == "3"
    if sum("/" in axis for axis in axes) < 2 and not (is_cubic or axes[:1] == ["-3"]):
        return symbol
    keeps_first = axes[0][0] in "46" and not is_cubic
    return " ".join([lattice, *(axis if keeps_first and not i else axis.split("/")[-1] for i, axis in enumerate(axes))])


def _has_numbers_of(symbol: str, group: gemmi.SpaceGroup) -> bool:
    """Tell whether the axes are those of the group: gemmi, which drops blanks, would find P 3 1 2 for "P 31 2"."""
    if not any(blank in symbol for blank in " \t"):
        return True
    written, tabulated = (
        [number for number in re.findall(r"\d+", text) if number != "1"] for text in (symbol[1:], group.hm[1:])
    )
    return written == tabulated
