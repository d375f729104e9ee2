"""What became of the files of a `pack`: nothing is left out, merged or decided that is not listed here.

Written next to the store twice, as Markdown for people and as JSON for programs.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from xrdjax.crystals.store import CrystalStore


@dataclass(frozen=True, kw_only=True, eq=False)
class PackReport:
    """What was read and what was not.

    Attributes:
        inputs: what was asked to be read.
        path: of the store.
        store: None if nothing could be read.
        num_documents: files looked at, those in archives included.
        refused: path and reason of each data block or file that gave no crystal.
        noted: name of a crystal, and what the reader mended or decided in it.
    """

    inputs: tuple[str, ...]
    path: Path
    store: CrystalStore | None
    num_documents: int
    refused: tuple[tuple[str, str], ...]
    noted: tuple[tuple[str, str], ...]

    @property
    def num_crystals(self) -> int:
        """Number of crystals in the store."""
        return 0 if self.store is None else len(self.store)

    @property
    def markdown_path(self) -> Path:
        """Where the report for people is written; the one for programs is beside it, with `.json`."""
        return self.path.with_name(f"{self.path.stem}.report.md")

    @cached_property
    def duplicates(self) -> list[tuple[str, str]]:
        """Names of crystals, and of the earlier ones that they repeat."""
        if self.store is None:
            return []
        repeated = np.flatnonzero(self.store.duplicate_of != np.arange(len(self.store)))
        return [(self.store.names(i), self.store.names(self.store.duplicate_of[i])) for i in repeated]

    @cached_property
    def other_groups(self) -> list[tuple[str, int, int]]:
        """Names of crystals in which a search found another space group than their files state; stated, found."""
        if self.store is None:
            return []
        stated, found = self.store.columns.space_group, self.store.columns.found_group
        differing = np.flatnonzero((found != 0) & (found != stated))
        return [(self.store.names(i), int(stated[i]), int(found[i])) for i in differing]

    @property
    def num_searched(self) -> int:
        """Number of crystals in which a search found a space group."""
        return 0 if self.store is None else int((self.store.columns.found_group > 0).sum())

    def summary(self) -> list[str]:
        """Return what there is to say in a few lines."""
        lines = [f"{self.num_crystals:,} crystals from {self.num_documents:,} files"]
        if self.num_searched:
            share = f"{len(self.other_groups):,} of {self.num_searched:,} crystals"
            lines.append(f"space group: a search found another than the file states in {share}")
        if self.duplicates:
            lines.append(f"{len(self.duplicates):,} crystals repeat an earlier one; they are kept, but not selected")
        if self.noted:
            lines.append(f"{len(self.noted):,} decisions of the reader are noted")
        if self.refused:
            lines.append(f"{len(self.refused):,} files refused; {self.markdown_path} tells why")
        return lines

    def write(self) -> None:
        """Write both files."""
        text = "\n".join(self._markdown()) + "\n"
        self.markdown_path.write_text(text, encoding="utf-8", errors="backslashreplace")
        content = {
            "store": str(self.path),
            "inputs": self.inputs,
            "num_files": self.num_documents,
            "num_crystals": self.num_crystals,
            "refused": [{"path": path, "reason": reason} for path, reason in self.refused],
            "noted": [{"name": name, "note": note} for name, note in self.noted],
            "duplicates": [{"name": name, "of": first} for name, first in self.duplicates],
            "searched": self.num_searched,
            "other_groups": [{"name": n, "stated": stated, "found": found} for n, stated, found in self.other_groups],
        }
        self.markdown_path.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _markdown(self) -> Iterator[str]:
        yield f"# {self.path.name}"
        yield ""
        yield f"Read from {', '.join(f'`{text}`' for text in self.inputs)}."
        yield ""
        yield from (f"* {line}" for line in self.summary())
        reasons = Counter(_kind(reason) for _, reason in self.refused).most_common()
        counts = Counter((stated, found) for _, stated, found in self.other_groups).most_common()
        yield from _table("Why files were refused", ("files", "reason"), ((n, kind) for kind, n in reasons))
        yield from _table("Refused", ("file", "reason"), self.refused)
        yield from _table("Other space groups", ("crystals", "stated", "found"), ((n, *pair) for pair, n in counts))
        yield from _table("Found another space group", ("crystal", "stated", "found"), self.other_groups)
        yield from _table("The same structure", ("crystal", "as"), self.duplicates)
        yield from _table("Decided by the reader", ("crystal", "decision"), self.noted)


def _kind(reason: str) -> str:
    """Return a reason without the numbers, labels and names in it, for counting."""
    words = ("…" if any(letter.isdigit() or letter in "'\"" for letter in word) else word for word in reason.split())
    return re.sub(r"…( …)+", "…", " ".join(words))[:80]


def _table(title: str, heading: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    """Yield a Markdown table, nothing if it has no row."""
    for number, row in enumerate(rows):
        if number == 0:
            yield from ("", f"## {title}", "", f"| {' | '.join(heading)} |", "| --- " * len(heading) + "|")
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
