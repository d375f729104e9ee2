"""Where the texts of CIFs come from: directories, globs, lists, tar and zip archives, compressed files, single files.

Documents come one after the other in an order that depends on names alone, so that a run can be counted beforehand,
cut into parts, and taken up again. Nothing is unpacked to disk, so no name in an archive can reach outside. A document
that is too large, a link or encrypted is refused unread; an archive that is damaged, or grows beyond reason when it is
decompressed, ends there, and says so in place of a document.
"""

import bz2
import glob
import gzip
import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

from tqdm import tqdm

from xrdjax.crystals.cif_text import MAX_BYTES
from xrdjax.errors import XrdjaxError

MAX_GROWTH = 200  # times its own size that an archive may grow to, once it is beyond
FREE_GROWTH = 256_000_000  # bytes; CIFs shrink to a fifth, repetitive ones to a thirtieth
_SUFFIXES = (".cif", ".mcif", ".rcif")
_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz")
_LISTS = (".txt", ".lst", ".list")
_BROKEN = (EOFError, OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)


class DocumentError(ValueError):
    """Why the text of one document cannot be had."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """One file that should hold a CIF.

    Attributes:
        name: what its crystal is called: the path below what was asked for, without suffix.
        origin: the path for messages, into an archive behind `!`.
        stamp: size, and for files the time of the last change: what tells whether it is the same as before.
        read: return its bytes; of a document in an archive only until the next one is asked for. Raises DocumentError.
    """

    name: str
    origin: str
    stamp: str
    read: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What there is to read: the number of documents, and a hash of their names and stamps."""

    num_documents: int
    fingerprint: str


def survey(inputs: list[str]) -> Survey:
    """Count all documents, unread. Raises XrdjaxError if there is none, or an input does not exist."""
    digest, number = hashlib.sha256(), 0
    for document in tqdm(find_documents(inputs), desc="Counting", unit="cif", disable=None, leave=False):
        digest.update(f"{document.origin}\0{document.stamp}\0".encode(errors="surrogateescape"))
        number += 1
    if not number:
        raise XrdjaxError(f"{', '.join(inputs)}: no *.cif in it or below")
    return Survey(num_documents=number, fingerprint=digest.hexdigest())


def find_documents(inputs: list[str]) -> Iterator[Document]:
    """Yield all documents of the inputs, in order. Raises XrdjaxError for an input that does not exist.

    With several inputs, those of each are called after it.
    """
    several = len(inputs) > 1
    for text in inputs:
        for path, below in _expand(text):
            prefix = f"{_stem(path)}/" if (several or below) and _is_collection(path) else ""
            yield from _documents(path, prefix)


def _expand(text: str) -> Iterator[tuple[Path, bool]]:
    """Yield the paths that one input names, and whether it named several."""
    path = Path(text)
    if path.suffix.lower() in _LISTS and path.is_file():
        for line in path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines():
            if line.strip() and not line.startswith("#"):
                yield from ((entry, True) for entry, _ in _expand_pattern(str(path.parent / line.strip()), origin=text))
        return
    yield from _expand_pattern(text, origin="")


def _expand_pattern(text: str, *, origin: str) -> Iterator[tuple[Path, bool]]:
    if Path(text).exists():
        yield Path(text), False
        return
    matches = sorted(glob.iglob(text, recursive=True)) if glob.has_magic(text) else []
    if not matches:
        listed = f"{origin}: " if origin else ""
        raise XrdjaxError(f"{listed}{text}: no such file or directory; name what holds CIFs")
    yield from ((Path(match), True) for match in matches)


def _is_collection(path: Path) -> bool:
    return path.is_dir() or _is_tar(path) or path.suffix.lower() == ".zip"


def _is_tar(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return suffixes[-1:] in ([".tar"], [".tgz"]) or (suffixes[:1] == [".tar"] and suffixes[-1] in _COMPRESSED)


def _documents(path: Path, prefix: str) -> Iterator[Document]:
    if path.is_dir():
        yield from _in_directory(path, path, prefix)
    elif _is_tar(path):
        yield from _until_broken(path, _in_tar(path, prefix))
    elif path.suffix.lower() == ".zip":
        yield from _until_broken(path, _in_zip(path, prefix))
    else:
        yield _file(path, prefix + path.name)


def _in_directory(top: Path, folder: Path, prefix: str) -> Iterator[Document]:
    """Yield the CIFs in and below a directory, in the order of their paths. Links to directories are not followed."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.is_dir(follow_symlinks=False):
            yield from _in_directory(top, Path(entry.path), prefix)
        elif _is_cif(entry.name):
            path = Path(entry.path)
            yield _file(path, prefix + path.relative_to(top).as_posix())


def _is_cif(name: str) -> bool:
    lower = name.lower()
    stem, suffix = os.path.splitext(lower)
    return lower.endswith(_SUFFIXES) or (suffix in _COMPRESSED and stem.endswith(_SUFFIXES))


def _file(path: Path, name: str) -> Document:
    try:
        status = path.stat()
        stamp = f"{status.st_size} {status.st_mtime_ns}"
    except OSError:
        stamp = "unreadable"

    def read() -> bytes:
        try:
            with _opened(path) as file:
                return _bounded(file)
        except _BROKEN as error:
            raise DocumentError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None

    return Document(name=_clean(name), origin=str(path), stamp=stamp, read=read)


@contextmanager
def _opened(path: Path) -> Generator[BufferedIOBase]:
    if not path.is_file():  # a pipe would wait for ever
        raise FileNotFoundError("no regular file")
    with path.open("rb") as file, _decompressed(path.name, file) as inner:
        yield inner


def _decompressed(name: str, file: BufferedIOBase) -> BufferedIOBase:
    """Return what a file holds, by the end of its name."""
    match os.path.splitext(name.lower())[1]:
        case ".gz" | ".tgz":
            return gzip.GzipFile(fileobj=file)
        case ".bz2":
            return bz2.BZ2File(file)
        case ".xz":
            return lzma.LZMAFile(file)  # ty: ignore[invalid-argument-type]
    return file


def _bounded(file: BufferedIOBase) -> bytes:
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DocumentError(_too_large("over"))
    return data


def _too_large(size: object) -> str:
    return f"has {size} {MAX_BYTES:,} bytes or more; expected a CIF of one crystal"


def _in_tar(path: Path, prefix: str) -> Iterator[Document]:
    with _opened(path) as file, tarfile.open(fileobj=_Growing(file, path), mode="r|") as tar:  # ty: ignore[no-matching-overload] (it only reads)
        for member in tar:
            if member.isdir() or not _is_cif(member.name):
                continue

            def read(member: tarfile.TarInfo = member) -> bytes:
                if not member.isreg() or member.issparse():
                    raise DocumentError("is a link or another special file in the archive; put the file itself there")
                if member.size > MAX_BYTES:
                    raise DocumentError(_too_large(f"{member.size:,} of"))
                return _inflated(member.name, tar.extractfile(member))

            yield _member(path, member.name, f"{member.size}", prefix, read)


def _in_zip(path: Path, prefix: str) -> Iterator[Document]:
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if info.is_dir() or not _is_cif(info.filename):
                continue

            def read(info: zipfile.ZipInfo = info) -> bytes:
                if info.flag_bits & 1:
                    raise DocumentError("is encrypted; unpack the archive first")
                if info.file_size > MAX_BYTES:
                    raise DocumentError(_too_large(f"{info.file_size:,} of"))
                return _inflated(info.filename, archive.open(info))  # ty: ignore[invalid-argument-type]

            yield _member(path, info.filename, f"{info.file_size} {info.CRC}", prefix, read)


def _inflated(name: str, file: BufferedIOBase) -> bytes:
    """Return the bytes of a member, decompressed if it is a compressed file itself."""
    try:
        with file, _decompressed(name, file) as inner:
            return _bounded(inner)
    except _BROKEN as error:
        raise DocumentError(f"cannot be read from the archive: {error}") from None


def _member(archive: Path, name: str, stamp: str, prefix: str, read: Callable[[], bytes]) -> Document:
    return Document(name=_clean(prefix + name), origin=f"{archive}!{_printable(name)}", stamp=stamp, read=read)


def _until_broken(path: Path, documents: Iterator[Document]) -> Iterator[Document]:
    """Yield the documents of an archive, and where it breaks off one that says so."""
    number = 0
    try:
        for document in documents:
            yield document
            number += 1
    except _BROKEN as error:
        reason = f"the archive breaks off after {number} CIFs: {getattr(error, 'strerror', None) or error}"

        def fail() -> bytes:
            raise DocumentError(reason)

        yield Document(name=_stem(path), origin=str(path), stamp=reason, read=fail)


class _Growing:
    """What an archive is decompressed to, refused once it has grown beyond reason."""

    def __init__(self, stream: BufferedIOBase, path: Path) -> None:
        self._stream = stream
        self._limit = FREE_GROWTH + MAX_GROWTH * path.stat().st_size
        self._total = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._total += len(data)
        if self._total > self._limit:
            raise tarfile.TarError(f"it grows to over {self._limit:,} bytes; a decompression bomb?")
        return data


def _stem(path: Path) -> str:
    name = path.resolve().name if path.name in ("", ".", "..") else path.name
    for suffix in reversed(path.suffixes[-2:]):
        if suffix.lower() in (".tar", ".zip", *_COMPRESSED, *_SUFFIXES):
            name = name.removesuffix(suffix)
    return _printable(name)


def _clean(name: str) -> str:
    """Return a name without the suffixes of a CIF, and without what no crystal's name should have."""
    for suffix in (*_COMPRESSED, *_SUFFIXES):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
    return _printable("/".join(part for part in name.split("/") if part not in ("", ".", "..")))


def _printable(name: str) -> str:
    text = os.fsencode(name).decode(errors="replace")
    return "".join(letter if letter.isprintable() else "�" for letter in text)
