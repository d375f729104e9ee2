"""What is in a crystal store, in words and as a picture, for people who choose from it."""

import csv
import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xrdjax.config import SelectionConfig
from xrdjax.crystals.selection import NO_PART, Selection, select
from xrdjax.crystals.species import SPECIES, element_of
from xrdjax.crystals.splits import PARTS
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS, crystal_system_index

BARS = "·▁▂▃▄▅▆▇█"
BAR_STARTS = (1, 2, 4, 10, 30, 100, 200, 400)  # a bar stands for as many crystals or more
SHOWN_ELEMENTS = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class _Chosen:
    """A store, what was selected of it, and the numbers of those crystals."""

    store: CrystalStore
    selection: Selection
    crystals: Int64[np.ndarray, "c"]

    @property
    def space_group(self) -> Int64[np.ndarray, "c"]:
        return self.store.space_group[self.crystals].astype(int)


def describe(store: CrystalStore, config: SelectionConfig) -> str:
    """Return a page about the selected crystals of a store. Raises ConfigError as `select` does."""
    chosen = _choose(store, config)
    tables = (_totals, _system_table, _group_histogram, _element_list, _part_table, _source_list)
    return "\n\n".join([store.title, *("\n".join(table(chosen)) for table in tables)])


def list_parts(store: CrystalStore, config: SelectionConfig) -> str:
    """Return name and part of each selected crystal as CSV, which `split` takes as a user's own list."""
    part = select(store, config).part
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "part"])
    writer.writerows((store.names(index), PARTS[part[index]]) for index in np.flatnonzero(part != NO_PART))
    return text.getvalue().rstrip()


def draw_groups(store: CrystalStore, config: SelectionConfig, path: Path) -> None:
    """Write a picture of the number of selected crystals of each space group, one panel a crystal system."""
    chosen = _choose(store, config)
    count = np.bincount(chosen.space_group, minlength=231)
    system = crystal_system_index(np.arange(1, 231))
    figure = Figure(figsize=(11, 13), layout="constrained")
    FigureCanvasAgg(figure)
    present = int((count > 0).sum())
    figure.suptitle(f"{store.title}\n{len(chosen.crystals):,} crystals of {present} space groups", fontsize=12)
    for number, axes in enumerate(figure.subplots(7, 1)):
        groups = np.flatnonzero(system == number) + 1
        axes.bar(groups, count[groups], 0.85, color="#1b6ca8")
        axes.set_yscale("log")
        axes.set_ylim(0.6, 2 * max(10, count.max()))
        axes.set_xlim(groups[0] - 0.6, groups[-1] + 0.6)
        axes.set_xticks(groups[:: max(1, len(groups) // 15)])
        axes.set_ylabel(f"{CRYSTAL_SYSTEMS[number]}\n({count[groups].sum():,})")
        axes.grid(axis="y", color="0.85", lw=0.6)
        axes.set_axisbelow(True)
    figure.axes[-1].set_xlabel("space group")
    figure.savefig(path, dpi=110)


def _choose(store: CrystalStore, config: SelectionConfig) -> _Chosen:
    selection = select(store, config)
    return _Chosen(store=store, selection=selection, crystals=np.flatnonzero(selection.part != NO_PART))


def _totals(chosen: _Chosen) -> Iterator[str]:
    store, crystals = chosen.store, chosen.crystals
    lost = "".join(f"; {name}: {count:,}" for name, count in chosen.selection.left_out.items())
    yield f"crystals         {len(crystals):,}" + (f" of {len(store):,} (left out{lost[1:]})" if lost else "")
    if not len(crystals):
        return
    atoms = store.num_atoms[crystals]
    yield f"atoms            {atoms.sum():,}; {np.median(atoms):.0f} in the median cell, {atoms.max():,} in the largest"
    yield f"space groups     {len(np.unique(chosen.space_group))} of 230"
    yield f"structure types  {len(np.unique(store.structure_type[crystals])):,}"
    found, stated = store.columns.found_group[crystals], store.columns.space_group[crystals]
    if found.any():
        differing = int(((found != 0) & (found != stated)).sum())
        yield f"found group      searched in {int((found > 0).sum()):,}; not the stated one in {differing:,}"


def _system_table(chosen: _Chosen) -> Iterator[str]:
    """Yield one row a crystal system."""
    yield "crystal system  crystals   share  space groups  median atoms"
    system = crystal_system_index(chosen.space_group)
    num_atoms = chosen.store.num_atoms[chosen.crystals]
    for index, name in enumerate(CRYSTAL_SYSTEMS):
        members = np.flatnonzero(system == index)
        atoms = f"{np.median(num_atoms[members]):.0f}" if len(members) else "–"
        groups = len(np.unique(chosen.space_group[members]))
        share = len(members) / max(1, len(system))
        yield f"{name:14}{len(members):10,}{share:8.1%}{groups:14}{atoms:>14}"


def _group_histogram(chosen: _Chosen) -> Iterator[str]:
    """Yield one character a space group, fifty a line."""
    count = np.bincount(chosen.space_group, minlength=231)[1:]
    bars = np.array(list(BARS))[np.searchsorted(BAR_STARTS, count, side="right")]
    legend = "  ".join(f"{bar} {start}+" for bar, start in zip(BARS[1:], BAR_STARTS, strict=True))
    yield f"crystals of each space group    {BARS[0]} none  {legend}"
    for first in range(0, 230, 50):
        tens = ["".join(bars[start : start + 10]) for start in range(first, min(first + 50, 230), 10)]
        yield f"{first + 1:5}  {' '.join(tens)}"


def _element_list(chosen: _Chosen) -> Iterator[str]:
    """Yield in how many crystals each of the commonest elements is."""
    columns = chosen.store.columns
    element = np.array([SPECIES.index(element_of(name)) for name in columns.species])
    owner = np.repeat(np.arange(len(chosen.store)), np.diff(columns.crystal_offset.astype(np.int64)))
    distinct = np.unique(owner * len(SPECIES) + element[columns.site_species])
    distinct = distinct[np.isin(distinct // len(SPECIES), chosen.crystals)]
    count = np.bincount(distinct % len(SPECIES), minlength=len(SPECIES))
    yield f"{int((count > 0).sum())} elements; crystals with the commonest:"
    shown = [f"{SPECIES[i]}\xa0{count[i]:,}" for i in np.argsort(-count, kind="stable")[:SHOWN_ELEMENTS] if count[i]]
    for line in textwrap.wrap("  ".join(shown), 100, initial_indent="  ", subsequent_indent="  "):
        yield line.replace("\xa0", " ")


def _part_table(chosen: _Chosen) -> Iterator[str]:
    """Yield how many crystals and space groups each part has."""
    yield "part        crystals  space groups"
    for part in PARTS:
        crystals = chosen.selection.crystals(part)
        yield f"{part:12}{len(crystals):8,}{len(np.unique(chosen.store.space_group[crystals])):14}"


def _source_list(chosen: _Chosen) -> Iterator[str]:
    """Yield provider and licence of each source, the largest first, and below it what to cite."""
    yield "crystals  source"
    sources = chosen.store.sources
    count = np.bincount(chosen.store.columns.source[chosen.crystals], minlength=len(sources))
    for number in np.argsort(-count, kind="stable"):
        source = sources[number]
        if count[number]:
            yield f"{count[number]:8,}  {source.name}: {source.provider}; licence {source.licence}"
            yield from textwrap.wrap(source.attribution, 100, initial_indent=" " * 10, subsequent_indent=" " * 10)
