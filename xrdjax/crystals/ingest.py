"""Turn a directory of CIFs into one crystal store, and report every file that was refused, with the reason.

Files are read in their sorted order by all cores and streamed into the store. A crystal is named by its file's path
below the directory, so that equal file names in different folders stay apart.
"""

import json
import os
import signal
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from xrdjax.crystals.cif import read_cif
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.store import UNKNOWN_SOURCE, Source, write_store
from xrdjax.errors import CifError, XrdjaxError

CHUNK = 64  # files handed to a process at a time
MIN_FILES_FOR_PROCESSES = 500  # fewer are read in the time that the processes take to start


@dataclass(frozen=True, kw_only=True)
class PackReport:
    """What became of the files of a directory."""

    directory: Path
    store: Path
    num_files: int
    refused: tuple[CifError, ...]

    @property
    def num_crystals(self) -> int:
        """Number of files that were read."""
        return self.num_files - len(self.refused)

    @property
    def path(self) -> Path:
        """Where the report for people is written; the one for programs is beside it, with `.json`."""
        return self.store.with_name(f"{self.store.stem}.report.md")

    def write(self) -> None:
        """Write both files."""
        self.path.write_text(self._markdown(), encoding="utf-8", errors="backslashreplace")
        self.path.with_suffix(".json").write_text(self._json(), encoding="utf-8")

    def _markdown(self) -> str:
        lines = [
            f"# {self.store.name}",
            "",
            f"{self.num_crystals} crystals from {self.num_files} files below `{self.directory}`, "
            f"{len(self.refused)} refused.",
        ]
        if self.refused:
            lines += ["", "| file | reason |", "| --- | --- |"]
        for error in self.refused:
            path, reason = (text.replace("|", "\\|") for text in (error.path, error.reason))
            lines.append(f"| `{path}` | {reason} |")
        return "\n".join(lines) + "\n"

    def _json(self) -> str:
        content = {
            "store": str(self.store),
            "directory": str(self.directory),
            "num_files": self.num_files,
            "num_crystals": self.num_crystals,
            "refused": [{"path": error.path, "reason": error.reason} for error in self.refused],
        }
        return json.dumps(content, indent=2) + "\n"


def pack(
    directory: Path, out: Path, *, title: str, source: Source = UNKNOWN_SOURCE, overwrite: bool = False
) -> PackReport:
    """Write all CIFs below a directory to the store `out`, and the report beside it.

    Raises XrdjaxError before any work if there is nothing to read or nowhere to write, and after it if no file could
    be read; the report is written then too.
    """
    paths = find_cifs(directory)
    check_output(out, overwrite=overwrite)
    refused: list[CifError] = []
    with _readings(paths, directory) as readings:
        progress = tqdm(readings, total=len(paths), unit="cif", disable=None)  # disable=None: only in a terminal
        crystals = _accepted(iter(progress), refused)
        first = next(crystals, None)
        if first is not None:
            write_store(out, chain([first], crystals), title=title, sources=[source])
    report = PackReport(directory=directory, store=out, num_files=len(paths), refused=tuple(refused))
    report.write()
    if first is None:
        raise XrdjaxError(f"{directory}: none of its {len(paths)} CIFs could be read; {report.path} tells why")
    return report


def find_cifs(directory: Path) -> list[Path]:
    """Return all *.cif below a directory, sorted. Raises XrdjaxError if there is none."""
    if not directory.is_dir():
        raise XrdjaxError(f"{directory}: no such directory; name one that holds CIFs")
    paths = sorted(path for path in directory.rglob("*") if path.suffix.lower() == ".cif" and not path.is_dir())
    if not paths:
        raise XrdjaxError(f"{directory}: no *.cif in it or below")
    return paths


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise XrdjaxError if a file could not be written there, or would replace another unasked."""
    if path.is_dir():
        raise XrdjaxError(f"{path}: is a directory; name a file in it")
    if not path.parent.is_dir():
        raise XrdjaxError(f"{path}: the directory {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise XrdjaxError(f"{path}: the directory {path.parent} is not writable")
    if path.exists() and not overwrite:
        raise XrdjaxError(f"{path}: exists already; choose another name or add --overwrite")


@contextmanager
def _readings(paths: list[Path], directory: Path) -> Generator[Iterator[Crystal | CifError]]:
    """Read files, in their order, by as many processes as there are cores if there are many files."""
    read = partial(_read, directory=directory)
    if len(paths) < MIN_FILES_FOR_PROCESSES:
        yield map(read, paths)
        return
    # Spawned, for a forked copy of a process that runs JAX may hang; deaf to Ctrl-C, which the parent answers.
    processes = ProcessPoolExecutor(
        mp_context=get_context("spawn"), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    )
    try:
        yield processes.map(read, paths, chunksize=CHUNK)
    finally:
        processes.shutdown(cancel_futures=True)


def _read(path: Path, directory: Path) -> Crystal | CifError:
    """Return the crystal of a file, or why there is none."""
    try:
        name = path.relative_to(directory).with_suffix("")
        return replace(read_cif(path), name=os.fsencode(name.as_posix()).decode(errors="replace"))
    except CifError as error:
        return error


def _accepted(readings: Iterator[Crystal | CifError], refused: list[CifError]) -> Iterator[Crystal]:
    """Yield the crystals and collect the errors."""
    for reading in readings:
        if isinstance(reading, CifError):
            refused.append(reading)
        else:
            yield reading
