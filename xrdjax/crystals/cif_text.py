"""The text of a CIF: bytes to characters, characters to data blocks, a block to columns of texts by tag.

gemmi parses the syntax of CIF 1.1. Tags are compared in small letters, and those with a dot (CIF 2.0 core, mmCIF) as if
it were the underscore of core CIF. A tag that stands twice is an error only where the two differ and it is asked for.
"""

import codecs
import re
from collections.abc import Iterator

import gemmi

MAX_BYTES = 16_000_000  # larger text of many short values would take more than 1 GB while it is parsed
UNKNOWN = frozenset(("?", ".", ""))
_TAGS_OF_A_CRYSTAL = (
    "_atom_site",
    "_atom_type_symbol",
    "_cell_",
    "_chemical_formula_sum",
    "_exptl_crystal_density_diffrn",
    "_space_group",
    "_symmetry_",
    "_parent_space_group",
)
_LONGEST_NAME = 200  # of a symbol; caches keep them
_MOST_BLOCKS = 100_000
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_IN_TEXT = re.compile(r"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")
_QUOTES = "'\";"
_LOOK_ALIKES = {0x2212: "-", 0x2010: "-", 0x2011: "-", 0x2013: "-", 0xA0: " ", 0x2009: " ", 0x202F: " ", 0xFEFF: ""}


class Block:
    """One data block: the texts that stand under each tag which describes a crystal, quotes taken off."""

    def __init__(self, block: gemmi.cif.Block) -> None:
        """Index the items; loops of other tags are left unread."""
        self.name = block.name.strip()
        self.has_dots = False
        self._columns: dict[str, list[str]] = {}
        self._loop: dict[str, int] = {}
        self._contradicted: set[str] = set()
        for number, item in enumerate(block):
            self._add_item(number, item)

    def column(self, tag: str) -> list[str]:
        """Return all texts under a tag, none if it is absent. Raises ValueError if it stands twice and differs."""
        tag = tag.lower()
        if tag in self._contradicted:
            raise ValueError(f"{tag} stands twice in the data block, with different values; keep the right one")
        return self._columns.get(tag, [])

    def has_column(self, tag: str) -> bool:
        """Tell whether a tag is there, if once or twice, known or not."""
        return tag.lower() in self._columns

    def text(self, tag: str) -> str:
        """Return the first text under a tag, empty if it is absent."""
        texts = self.column(tag)
        return texts[0].strip() if texts else ""

    def known(self, *tags: str) -> Iterator[tuple[str, str]]:
        """Yield each tag that has a known value, with the beginning of that."""
        for tag in tags:
            if (text := self.text(tag)) not in UNKNOWN:
                yield tag, text[:_LONGEST_NAME]

    def has(self, prefixes: tuple[str, ...]) -> bool:
        """Tell whether a tag with one of these beginnings has a known value."""
        tags = [tag for tag in self._columns if tag.startswith(prefixes)]
        return any(text not in UNKNOWN for tag in tags for text in self._columns[tag])

    def are_parallel(self, tag: str, other: str) -> bool:
        """Tell whether both tags are there, in one loop or both outside of any."""
        loops = self._loop.get(tag.lower()), self._loop.get(other.lower())
        return None not in loops and loops[0] == loops[1]

    def _add_item(self, number: int, item: gemmi.cif.Item) -> None:
        match item.pair:
            case (str(name), str(value)) if tag := self._tag(name):
                self._add(tag, [_text(value)], -1)
        if (loop := item.loop) is not None:
            tags = [self._tag(tag) for tag in loop.tags]
            if any(tags):
                values = loop.values
                for column, tag in enumerate(tags):
                    if tag:
                        self._add(tag, _texts(values[column :: len(tags)]), number)

    def _tag(self, tag: str) -> str:
        """Return the tag as it is looked up, empty if it says nothing of a crystal."""
        lower = tag.lower()
        if "." in lower and not lower.startswith("_["):
            lower = lower.replace(".", "_")
            self.has_dots |= lower.startswith(_TAGS_OF_A_CRYSTAL)
        return lower if lower.startswith(_TAGS_OF_A_CRYSTAL) else ""

    def _add(self, tag: str, texts: list[str], loop: int) -> None:
        before = self._columns.get(tag)
        if before is None or UNKNOWN.issuperset(before):
            self._columns[tag], self._loop[tag] = texts, loop
        elif not UNKNOWN.issuperset(texts) and texts != before:
            self._contradicted.add(tag)


def decode_cif(data: bytes) -> str:
    """Return the characters of a file: UTF-8, UTF-16 with a mark, else those of Western Europe (cp1252).

    Raises ValueError for what is plainly no text.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(
            f"{len(data) / 1e6:.0f} MB are more than one crystal needs; expected {MAX_BYTES / 1e6:.0f} or less"
        )
    if data.startswith(_UTF_16_MARKS):
        text = data.decode("utf-16", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", errors="replace")
    if "\0" in text:
        raise ValueError("binary data (NUL characters), not the text of a CIF; export it as text")
    if len(_NOT_IN_TEXT.findall(text[:10_000])) > len(text[:10_000]) // 50:
        raise ValueError("binary data (control characters), not the text of a CIF; export it as text")
    return text


def blocks_of(text: str) -> list[Block]:
    """Return the data blocks of a CIF. Raises ValueError where it breaks the syntax."""
    text = text.removeprefix("\ufeff").rstrip("\x1a \r\n\t") + "\n"  # a Ctrl-Z ended files under DOS
    if not text.isascii():
        text = _ascii(text)
    try:
        document = gemmi.cif.read_string(text, 0)
    except (ValueError, RuntimeError) as error:
        raise ValueError(_syntax_error(text, str(error))) from None
    if len(document) > _MOST_BLOCKS:
        raise ValueError(f"{len(document)} data blocks; expected {_MOST_BLOCKS} or less")
    return [Block(block) for block in document]


def _ascii(text: str) -> str:
    """Return the text with look-alikes of ASCII replaced, and all else that is not ASCII by a question mark."""
    return text.translate(_LOOK_ALIKES).encode("ascii", errors="replace").decode()


def _syntax_error(text: str, error: str) -> str:
    reason = f"not CIF syntax: line {error.removeprefix('string:')}"
    if text.lstrip().startswith("#\\#CIF_2.0"):
        return f"{reason}; lists, tables and triple quotes of CIF 2.0 are not read, export it as CIF 1.1"
    return reason


def _texts(values: list[str]) -> list[str]:
    return [_text(value) if value[:1] in _QUOTES else value for value in values]


def _text(value: str) -> str:
    """Return a value without its quotes."""
    if value[:1] in ("'", '"'):
        return value[1:-1]
    return gemmi.cif.as_string(value) if value.startswith(";") and "\n" in value else value
