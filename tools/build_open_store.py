"""Build the crystal store that comes with the package from an archive of open CIFs and its index.

    python tools/build_open_store.py open_structures.tar.gz open_structures.csv xrdjax/data/open.safetensors

Left out: pseudo-symmetric structures (a looser tolerance finds another space group) and GPL-licensed rows. Of each
space group at most `--cap` structures are kept, those that have been observed first, then at random. Every file is
read with the package's own reader, and its group must be the one that the index gives. Entries of AMCSD and COD carry
their number there in the name, so that the article behind each can be found and cited.
"""

import argparse
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from xrdjax.config import SelectionConfig
from xrdjax.crystals.cif import crystal_from_cif_text
from xrdjax.crystals.columns import ColumnsBuilder, Source
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.describe import describe
from xrdjax.crystals.found_group import found_group
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.write import write_columns
from xrdjax.errors import CifError

TITLE = "Open inorganic crystal structures over the 230 space groups, conventional standard cells"
_TOPOLOGY = "from github.com/fxcoudert/topology_databases, doi 10.26434/chemrxiv-2024-gsk41"
_AMCSD = "American Mineralogist Crystal Structure Database; cite the article of the entry, by the number in the name"
_COD = "Crystallography Open Database; the article of the entry is found by the number in the name"
ATTRIBUTION = {
    "mp": f"Materials Project (Jain et al. 2013, doi 10.1063/1.4812323), DFT-relaxed, standardised; {_TOPOLOGY}",
    "3dsc": "3DSC_MP, github.com/aimat-lab/3DSC: Materials Project parents doped as measured, standardised",
    "aflow": "AFLOW prototype encyclopedia, through github.com/nomad-coe/nomad",
    "openchemistry": f"github.com/OpenChemistry/crystals: entries of COD, IZA and AMCSD. {_AMCSD}",
    "amcsd_larch": f"{_AMCSD}; through github.com/xraypy/xraylarch",
    "qzhu_xrd": f"{_AMCSD}; through github.com/qzhu2017/XRD",
    "codtools": f"{_COD}; through github.com/cod-developers/cod-tools",
    "cif2cell": f"{_COD}; through github.com/torbjornbjorkman/cif2cell",
    "raspa2": "IZA zeolite frameworks and literature, github.com/iRASPA/RASPA2",
    "ncrystal": "github.com/mctools/ncrystal",
    "gsas2tut": "github.com/AdvancedPhotonSource/GSAS-II-tutorials, (c) UChicago Argonne",
    "mtex": f"github.com/mtex-toolbox/mtex: entries of COD and AMCSD. {_AMCSD}",
    "maxrd": f"{_COD}; through github.com/Stianpr20/MaXrd",
    "objcryst": f"{_COD}; literature; through github.com/vincefn/pyobjcryst",
    "laurentrdc": f"{_COD}; through github.com/LaurentRDC/crystals",
    "structurefinder": f"{_COD}; through github.com/dkratzert/StructureFinder",
}


def main() -> None:
    """Select, read, check, write, and print what became of the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cap", type=int, default=500, help="structures kept of each space group")
    parser.add_argument("--seed", type=int, default=0, help="of the selection")
    arguments = parser.parse_args()
    started = time.monotonic()
    rows = select(pd.read_csv(arguments.index, keep_default_na=False, index_col="id"), arguments.cap, arguments.seed)
    crystals, rejected = read_rows(arguments.archive, rows)
    for reason, count in rejected.most_common():
        print(f"rejected {count}: {reason}")
    write_with_sources(arguments.out, crystals, rows)
    report(arguments.out)
    print(f"{time.monotonic() - started:.0f} s")


def select(rows: pd.DataFrame, cap: int, seed: int) -> pd.DataFrame:
    """Return the rows to keep, by space group, and say which groups lose all their rows."""
    pseudo_symmetric = rows["sg"] != rows["spglib_sg_0.1"]
    copyleft = rows["licence"].str.startswith("GPL")
    kept = rows[~pseudo_symmetric & ~copyleft]
    print(f"{len(rows)} rows, {pseudo_symmetric.sum()} pseudo-symmetric, {copyleft.sum()} under the GPL")
    for group in sorted(set(rows["sg"]) - set(kept["sg"])):
        print(f"space group {group} is empty after that")
    shuffled = kept.iloc[np.random.default_rng(seed).permutation(len(kept))]
    ranked = shuffled.sort_values(["sg", "observed"], ascending=[True, False], kind="stable")
    return ranked.groupby("sg", sort=False).head(cap)


def read_rows(archive: Path, rows: pd.DataFrame) -> tuple[list[Crystal], Counter[str]]:
    """Return the crystals of the rows, in their order, and the reasons why others were rejected."""
    crystals: dict[str, Crystal] = {}
    rejected: Counter[str] = Counter()
    with tqdm(total=len(rows), unit="cif") as progress:
        for name, text in members(archive, set(rows.index)):
            progress.update()
            try:
                crystal = crystal_from_cif_text(text, name)
            except CifError as error:
                rejected[error.reason] += 1
                continue
            if crystal.space_group == rows.at[name, "sg"]:
                crystals[name] = crystal
            else:
                rejected["the file and the index name different space groups"] += 1
    rejected.update("not in the archive" for name in rows.index[progress.n :])
    return [crystals[name] for name in rows.index if name in crystals], rejected


def write_with_sources(path: Path, crystals: list[Crystal], rows: pd.DataFrame) -> None:
    """Write the store, each crystal with the terms of its row."""
    terms = dict(zip(rows.index, zip(rows["source"], rows["provider"], rows["licence"], strict=True), strict=True))
    sources = sorted(set(terms.values()))
    builder = ColumnsBuilder()
    for crystal in tqdm(crystals, unit="crystal"):
        named = replace(crystal, name=citable_name(crystal.name, rows))
        builder.add(named, sources.index(terms[crystal.name]), found_group(crystal))
    known = [Source(name=n, provider=p, licence=li, attribution=ATTRIBUTION[n]) for n, p, li in sources]
    write_columns(path, builder.build(known), title=TITLE)


def citable_name(name: str, rows: pd.DataFrame) -> str:
    """Return the name with the number of the entry in its database, where it has one."""
    provider, code = rows.at[name, "provider"], rows.at[name, "origin_code"]
    return f"{name} ({provider} {code})" if provider in ("AMCSD", "COD") and code else name


def members(archive: Path, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Yield name and text of the wanted files, streaming through the archive once."""
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            name = Path(member.name).stem if member.name.endswith(".cif") else ""
            if name in wanted and (file := tar.extractfile(member)):
                yield name, file.read().decode()


def report(path: Path) -> None:
    """Print the size of a store and what is in it."""
    started = time.monotonic()
    store = CrystalStore.open(path)
    num_atoms = len(store.expand().site)
    seconds = time.monotonic() - started
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, opened and expanded to {num_atoms} atoms in {seconds:.2f} s")
    print(describe(store, SelectionConfig()))


if __name__ == "__main__":
    main()
