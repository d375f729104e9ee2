"""How fast CIFs become a store, beside pymatgen's parser; what memory that takes; how fast a large store loads.

pip install -e ".[peers]" && python benchmarks/ingest.py ARCHIVE

ARCHIVE is a .tar.gz of CIFs: 139,526 of them for the figures in the docs.
"""

import argparse
import os
import tarfile
import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from record import write_result

from xrdjax.crystals.columns import join
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.found_group import found_group
from xrdjax.crystals.ingest import PackOptions, pack, read_document
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.store_file import read_file, write_file
from xrdjax.crystals.write import merge_stores
from xrdjax.errors import CifError

SAMPLE, ROUNDS = 240, 5
LARGE = 10_000_000  # atoms
MILLION = 1_000_000  # crystals


def main() -> None:
    """Measure and write benchmarks/results/ingest.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    archive = parser.parse_args().archive
    with TemporaryDirectory() as name:
        folder = Path(name)
        figures: dict[str, object] = {"parsers": time_parsers(sample(archive))}
        figures["pack"] = time_pack(archive, folder / "all")
        figures["load"] = time_load(folder / "all", folder / "large")
        figures["million"] = time_merge(folder / "all", folder / "million")
    write_result("ingest", figures)


def sample(archive: Path) -> list[tuple[str, bytes]]:
    """Return name and bytes of CIFs spread evenly over the archive."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.name.endswith(".cif")]
        chosen = members[:: len(members) // SAMPLE]
        return [(member.name, file.read()) for member in chosen if (file := tar.extractfile(member))]


def time_parsers(texts: list[tuple[str, bytes]]) -> dict[str, object]:
    """Return CIFs a second of one process, ours and pymatgen's in turn on the same files."""
    ways: dict[str, Callable[[str, bytes], object]] = {
        "xrdjax": read_ours,
        "xrdjax, group searched": lambda name, data: found_group(read_ours(name, data)),
        "pymatgen": read_pymatgen,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, read in ways.items():
            started = time.perf_counter()
            for entry in texts:
                read(*entry)
            rates[name].append(len(texts) / (time.perf_counter() - started))
    ratios = [ours / theirs for ours, theirs in zip(rates["xrdjax"], rates["pymatgen"], strict=True)]
    return {
        "files": len(texts),
        "cifs_per_second": {name: round(median(values), 1) for name, values in rates.items()},
        "times_as_fast_as_pymatgen": [round(value, 1) for value in sorted(ratios)],
    }


def read_ours(name: str, data: bytes) -> Crystal:
    """Return the crystal."""
    (crystal,) = read_document(data, name)
    if isinstance(crystal, CifError):
        raise crystal
    return crystal


def read_pymatgen(_: str, data: bytes) -> object:
    """Return pymatgen's structure of the conventional cell, all its sites expanded."""
    from pymatgen.io.cif import CifParser  # ty: ignore[import-not-found] (an extra)

    with warnings.catch_warnings(action="ignore"):
        return CifParser.from_str(data.decode()).parse_structures(primitive=False)[0]


def time_pack(archive: Path, out: Path) -> dict[str, object]:
    """Return rate and memory of a whole `pack`, joining and the search for duplicates included."""
    started = time.perf_counter()
    with watched_memory() as memory:
        report = pack([str(archive)], out, title="Benchmark", overwrite=True, options=PackOptions())
    seconds = time.perf_counter() - started
    return {
        "files": report.num_documents,
        "crystals": report.num_crystals,
        "refused": len(report.refused),
        "duplicates": len(report.duplicates),
        "other_groups": len(report.other_groups),
        "seconds": round(seconds, 1),
        "cifs_per_second": round(report.num_documents / seconds, 1),
        "peak_gib_all_processes": round(max(memory) / 2**30, 2),
        "gib_halfway": round(memory[len(memory) // 2] / 2**30, 2),
        "store_mb": round(out.stat().st_size / 1e6, 1),
    }


def time_load(path: Path, out: Path) -> dict[str, object]:
    """Return the seconds to open a store of ten million atoms and to expand all its cells."""
    columns, _, _ = read_file(path)
    atoms = int(CrystalStore(columns).num_atoms.sum())
    copies = -(-LARGE // atoms)
    write_file(out, join([columns] * copies), "Large")
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        store = CrystalStore.open(out)
        opened = time.perf_counter()
        expanded = store.expand()
        seconds.append((opened - started, time.perf_counter() - opened))
    opening, expanding = np.median(seconds, axis=0)
    return {
        "atoms": len(expanded.site),
        "file_mb": round(out.stat().st_size / 1e6, 1),
        "open_s": round(float(opening), 3),
        "expand_s": round(float(expanding), 3),
    }


def time_merge(path: Path, out: Path) -> dict[str, object]:
    """Return seconds and memory to join stores of a million crystals in all."""
    copies = -(-MILLION // len(CrystalStore.open(path)))
    started = time.perf_counter()
    with watched_memory() as memory:
        merged = merge_stores([path] * copies, out, title="Million")
    return {
        "crystals": len(merged),
        "seconds": round(time.perf_counter() - started, 1),
        "peak_gib": round(max(memory) / 2**30, 2),
    }


@contextmanager
def watched_memory() -> Generator[list[int]]:
    """Collect, five times a second, the bytes that this process and all below it hold, shared pages once."""
    samples, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            samples.append(sum(map(_held, _family(os.getpid()))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _family(process: int) -> list[int]:
    """Return a process and all its descendants."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return [process]
    return [process, *(one for child in text.split() for one in _family(int(child)))]


def _held(process: int) -> int:
    """Return the bytes of memory that a process holds, not those of files that it maps."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))


if __name__ == "__main__":
    main()
