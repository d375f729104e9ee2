"""Make a store file, from crystals or from other stores.

Names are made unique on the way, so that a list of names can say which crystals belong where, and each crystal is told
from the ones of the same structure before it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np

from xrdjax.crystals.columns import UNKNOWN_SOURCE, Columns, ColumnsBuilder, Source, join
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.duplicates import find_duplicates
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.store_file import read_file, write_file
from xrdjax.errors import StoreError


def write_store(
    path: str | Path,
    crystals: Iterable[Crystal],
    *,
    title: str,
    sources: Sequence[Source] = (UNKNOWN_SOURCE,),
    source: Sequence[int] | None = None,
) -> None:
    """Write crystals to one file, in their order.

    `source` gives the index in `sources` of each crystal, all the first by default. The file appears whole or not at
    all. Raises StoreError when there is no crystal or the file cannot be written.
    """
    builder = ColumnsBuilder()
    for crystal, index in zip(crystals, repeat(0) if source is None else source, strict=source is not None):
        builder.add(crystal, index)
    write_columns(path, builder.build(sources), title=title)


def write_columns(path: str | Path, columns: Columns, *, title: str) -> CrystalStore:
    """Write crystals to one file, each told from those that it repeats, and return them.

    Raises StoreError when there is no crystal or the file cannot be written.
    """
    if not len(columns):
        raise StoreError(f"{path}: no crystals to write")
    columns = with_unique_names(columns)
    store = CrystalStore(columns, title=title)
    store.duplicate_of = find_duplicates(store)
    write_file(Path(path), columns, title, store.duplicate_of)
    return store


def merge_stores(paths: Sequence[str | Path], out: str | Path, *, title: str) -> CrystalStore:
    """Write all crystals of several stores to one. Raises StoreError for one that cannot be trusted."""
    return write_columns(out, join(read_file(Path(path))[0] for path in paths), title=title)


def with_unique_names(columns: Columns) -> Columns:
    """Return the crystals with a number behind each name that was there before: quartz, quartz (2), …"""
    names = [
        columns.name[a:b].tobytes() for a, b in zip(columns.name_offset[:-1], columns.name_offset[1:], strict=True)
    ]
    taken = set(names)
    if len(taken) == len(names):
        return columns
    seen: Counter[bytes] = Counter()
    for index, name in enumerate(names):
        seen[name] += 1
        while seen[name] > 1 and names[index] in taken:
            names[index] = name + f" ({seen[name]})".encode()
            seen[name] += names[index] in taken
        taken.add(names[index])
    offset = np.concatenate([[0], np.cumsum([len(name) for name in names])])
    return replace(columns, name=np.frombuffer(b"".join(names), np.uint8), name_offset=offset)
