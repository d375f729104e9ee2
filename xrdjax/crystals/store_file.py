"""The file that a store is: arrays and a header in safetensors form, memory-mapped, with a checksum of both.

A safetensors file is eight bytes that give the length of a JSON header, the header, and the arrays end to end; NumPy
alone can read it. The file appears under its name whole or not at all. What is wrong with a file that cannot be
trusted is told apart: half-written, cut short, altered, of another version, or no store at all.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.numpy import save_file

from xrdjax.crystals.columns import ARRAYS, Columns, Source
from xrdjax.errors import StoreError

FORMAT = "xrdjax crystals"  # the key of our header in the file's own
VERSION = 2
_TYPES = {"F64": "<f8", "F32": "<f4", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "I64": "<i8", "I8": "i1"}
_FIRST_BYTES = b'{"__metadata__"'  # of the JSON header of any store
_LONGEST_HEADER = 100_000_000  # bytes; safetensors has the same limit
_INDEX = (  # arrays of numbers that are written in the smallest unsigned type that holds them
    *("source", "crystal_offset", "crystal_operations", "name_offset", "site_species", "site_orbit", "aniso_site"),
    *("orbit_offset", "orbit_operation", "duplicate_of"),
)

_OPTIONAL = "site_u_iso"  # left out where it is zero everywhere


def write_file(path: Path, columns: Columns, title: str, duplicate_of: Shaped[np.ndarray, "n"] | None = None) -> None:
    """Write crystals to one file, which appears whole or not at all. Raises StoreError where it cannot be written.

    `duplicate_of` gives for each crystal the first one of the same structure; by default none is known to repeat.
    """
    arrays = {name: getattr(columns, name) for name in ARRAYS}
    arrays["duplicate_of"] = np.arange(len(columns)) if duplicate_of is None else duplicate_of
    arrays = {name: _compact(values) if name in _INDEX else values for name, values in arrays.items()}
    if not columns.site_u_iso.any():
        del arrays[_OPTIONAL]
    header = {
        "version": VERSION,
        "title": title,
        "species": list(columns.species),
        "sources": [asdict(entry) for entry in columns.sources],
    }
    header["sha256"] = checksum(arrays, header)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save_file(arrays, temporary, {FORMAT: json.dumps(header)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None
    except SafetensorError as error:  # how it reports a full disk, in many words
        reason = str(error).partition("I/O error: ")[2].partition(" (os error")[0]
        raise StoreError(f"{path}: cannot be written: {reason or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def read_file(path: Path) -> tuple[Columns, Shaped[np.ndarray, "n"], dict]:
    """Return crystals, which repeat which, and the header. Raises StoreError for a file that cannot be trusted."""
    try:
        file = np.memmap(path, np.uint8, mode="r")
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file; {_remedy(path)}") from None
    except ValueError:  # NumPy maps no empty file
        raise StoreError(f"{path}: half-written, it is empty; copy or pack it again") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    entries, start = _entries(path, file)
    header = _checked_header(path, entries.pop("__metadata__", {}))
    try:
        arrays = _arrays(path, file, entries, start)
    except (LookupError, TypeError, ValueError, AttributeError):  # whatever a header may say that no writer says
        raise StoreError(f"{path}: altered since it was written (bad header); copy or pack it again") from None
    if header["sha256"] != checksum(arrays, header):
        raise StoreError(f"{path}: altered since it was written (wrong checksum); copy or pack it again")
    duplicate_of = arrays.pop("duplicate_of")
    arrays.setdefault(_OPTIONAL, np.zeros(len(arrays["site_orbit"]), np.float32))
    sources = tuple(Source(**entry) for entry in header["sources"])
    return Columns(species=tuple(header["species"]), sources=sources, **arrays), duplicate_of, header


def checksum(arrays: Mapping[str, np.ndarray], header: dict) -> str:
    """Return the SHA-256 of the arrays, with names, types and shapes, and of the header but for the checksum itself."""
    rest = {key: value for key, value in header.items() if key != "sha256"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _compact(values: Shaped[np.ndarray, "n"]) -> Shaped[np.ndarray, "n"]:
    """Return whole numbers in the smallest unsigned type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _entries(path: Path, file: np.memmap) -> tuple[dict, int]:
    """Return the file's own header and where the arrays start."""
    length = int.from_bytes(file[:8].tobytes(), "little")
    beginning = file[8 : 8 + len(_FIRST_BYTES)].tobytes()
    if len(file) >= 8 and not (_FIRST_BYTES.startswith(beginning) and length <= _LONGEST_HEADER):
        raise StoreError(f"{path}: not a crystal store; make one with `xrdjax pack`")
    if len(file) < 8 + length or len(file) < 8:
        raise StoreError(f"{path}: half-written, its header is cut short; copy or pack it again")
    try:
        entries = json.loads(file[8 : 8 + length].tobytes())
    except ValueError:
        raise StoreError(
            f"{path}: altered since it was written (its header is not JSON); copy or pack it again"
        ) from None
    return entries, 8 + length


def _checked_header(path: Path, metadata: dict[str, str]) -> dict:
    if FORMAT not in metadata:
        raise StoreError(f"{path}: a safetensors file, but not a crystal store; make one with `xrdjax pack`")
    try:
        header = json.loads(metadata[FORMAT])
    except ValueError as error:
        raise StoreError(f"{path}: its header is not JSON: {error}; copy or pack it again") from None
    version = header.get("version") if isinstance(header, dict) else None
    if type(version) is not int:
        raise StoreError(f"{path}: its header's version is {version!r}, not an integer; copy or pack it again")
    if version != VERSION:
        remedy = "upgrade xrdjax" if version > VERSION else "pack it again"
        raise StoreError(f"{path}: store version {version}, but this xrdjax reads {VERSION}; {remedy}")
    if not isinstance(header.get("sha256"), str):
        raise StoreError(f"{path}: its header has no checksum (sha256); copy or pack it again")
    return header


def _arrays(path: Path, file: np.memmap, entries: dict[str, dict], start: int) -> dict[str, np.ndarray]:
    """Return the arrays, none of them copied."""
    expected = start + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if len(file) < expected:
        raise StoreError(
            f"{path}: cut short, it has {len(file):,} of {expected:,} bytes, perhaps since it was copied; copy or pack "
            "it again"
        )
    if len(file) > expected or {*entries, _OPTIONAL} != {*ARRAYS, "duplicate_of"}:
        raise StoreError(f"{path}: altered since it was written (other contents); copy or pack it again")
    return {name: _array(file, entry, start) for name, entry in entries.items()}


def _array(file: np.memmap, entry: dict, start: int) -> Shaped[np.ndarray, "..."]:
    first, last = (start + offset for offset in entry["data_offsets"])
    return np.asarray(file)[first:last].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])


def _remedy(path: Path) -> str:
    """Return what makes a store appear where there is none."""
    partial = path.with_name(f"{path.name}.partial")
    if partial.is_dir():
        return f"{partial.name} beside it holds an unfinished `xrdjax pack`; give that command again to go on"
    return "`xrdjax pack` makes a store from CIFs, 'open' is the one included"
