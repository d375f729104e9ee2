"""Turn any number of CIFs into one crystal store, and report every one that was refused, with the reason.

Documents are handed to processes in chunks, and each chunk becomes a small file in OUT.partial: a run that was
interrupted finds there what is done. Nothing is kept in memory until the chunks are joined at the end. A process that
crashes, or takes too long, is replaced; its chunk is read again one document at a time, so that the culprit is known by
name. With a shard i/n only every n-th document is read, for n machines to share the work.
"""

import itertools
import json
import os
import shutil
import signal
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path

from pebble import ProcessExpired, ProcessFuture, ProcessPool
from tqdm import tqdm

from xrdjax.crystals.cif import crystals_from_cif_text, decode_cif
from xrdjax.crystals.columns import UNKNOWN_SOURCE, ColumnsBuilder, Source, join
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.documents import Document, DocumentError, find_documents, survey
from xrdjax.crystals.found_group import found_group
from xrdjax.crystals.pack_report import PackReport
from xrdjax.crystals.store_file import VERSION, read_file, write_file
from xrdjax.crystals.write import write_columns
from xrdjax.errors import CifError, XrdjaxError

CHUNK = 128  # documents handed to a process at a time
CHUNKS_PER_PROCESS = 500  # then it is replaced, with whatever memory libraries may have lost in it
MEMORY = 3 * 2**29  # bytes, 1.5 GiB, that a process may take on top of what it starts with

Text = tuple[str, str, bytes | str]
"""Name, origin, and the bytes of a document or the reason why there are none."""
Reader = Callable[[bytes, str], list[Crystal | CifError]]


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """How documents are read."""

    shard: tuple[int, int] = (1, 1)
    """i of n: read documents i, i + n, …, counted from 1."""
    find_group: bool = True
    """Search each crystal's space group in its atoms, too."""
    time_limit: float = 60.0
    """Seconds that one CIF may take."""
    processes: int | None = None
    """How many read at the same time; None takes a process a core."""


@dataclass(frozen=True, kw_only=True)
class ChunkReport:
    """What became of the documents of one chunk: (origin, reason) and (name, what the reader decided)."""

    num_documents: int
    refused: list[tuple[str, str]]
    noted: list[tuple[str, str]]


def read_document(data: bytes, name: str) -> list[Crystal | CifError]:
    """Return the crystal of each data block, or why there is none."""
    try:
        return crystals_from_cif_text(decode_cif(data), name)
    except ValueError as error:
        return [CifError(name, str(error))]


def pack(
    inputs: list[str],
    out: Path,
    *,
    title: str,
    source: Source = UNKNOWN_SOURCE,
    overwrite: bool = False,
    options: PackOptions | None = None,
    reader: Reader = read_document,
) -> PackReport:
    """Write the crystals of all documents to the store `out`, and the report beside it.

    An interrupted call is taken up by the next one with the same arguments. Raises XrdjaxError before any work if there
    is nothing to read or nowhere to write, and after it if no document could be read; the report is written then too.
    """
    options = options or PackOptions()
    check_output(out, overwrite=overwrite)
    found = survey(inputs)
    spool = Spool(out.with_name(f"{out.name}.partial"), f"{found.fingerprint} {VERSION} {options.shard} {CHUNK}")
    number, count = options.shard
    num_documents = len(range(number - 1, found.num_documents, count))
    # disable=None: only in a terminal
    with tqdm(total=num_documents, unit="cif", disable=None, smoothing=0.05) as progress:
        _read_all(inputs, spool, options, reader, progress)
    report = _finish(inputs, out, spool, title, source)
    report.write()
    spool.clear()
    if report.store is None:
        raise XrdjaxError(
            f"{', '.join(inputs)}: none of {report.num_documents} CIFs could be read; {report.markdown_path} tells why"
        )
    return report


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


class Spool:
    """The directory of finished chunks. One that was made from other documents, or by other rules, is begun anew."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        with suppress(OSError):
            if (path / "key").read_text(encoding="utf-8") == key:
                return
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        (path / "key").write_text(key, encoding="utf-8")

    def target(self, chunk: int, document: int | None = None) -> Path:
        """Return where a chunk, or one document of a chunk that could not be read whole, is kept, without suffix."""
        return self.path / (f"{chunk:08}" + ("" if document is None else f".{document:04}"))

    def is_done(self, chunk: int) -> bool:
        """Tell whether a chunk is done; if not, remove what an interrupted attempt may have left of it."""
        if (self.path / f"{chunk:08}.json").exists():
            return True
        for rest in self.path.glob(f"{chunk:08}.*"):
            rest.unlink()
        return False

    def reports(self) -> Iterator[ChunkReport]:
        """Yield the reports of all that is done, in order."""
        for path in sorted(self.path.glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            pairs = {name: [(entry[0], entry[1]) for entry in content[name]] for name in ("refused", "noted")}
            yield ChunkReport(num_documents=content["num_documents"], **pairs)

    def stores(self) -> list[Path]:
        """Return the stores of all that is done, in order."""
        return sorted(self.path.glob("*.safetensors"))

    def clear(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.path)


def _read_all(inputs: list[str], spool: Spool, options: PackOptions, reader: Reader, progress: tqdm) -> None:
    """Have all chunks read that are not done yet, a few ahead of the one that is waited for."""
    processes = options.processes or os.cpu_count() or 1
    read = partial(read_chunk, reader=reader, find_group=options.find_group)
    waiting: deque[tuple[int, list[Text], ProcessFuture]] = deque()

    def settle() -> None:
        chunk, texts, future = waiting.popleft()
        if not _is_done(future):
            _read_one_by_one(pool, read, chunk, texts, spool, options)
        progress.update(len(texts))

    with ProcessPool(processes, CHUNKS_PER_PROCESS, _prepare_process, context=_context()) as pool:
        try:
            for chunk, texts in _unread_chunks(inputs, spool, options, progress):
                future = pool.schedule(read, args=[texts, spool.target(chunk)], timeout=options.time_limit)
                waiting.append((chunk, texts, future))
                if len(waiting) > 2 * processes:
                    settle()
            while waiting:
                settle()
        except BaseException:
            pool.stop()
            raise


def _is_done(future: ProcessFuture) -> bool:
    """Wait for a chunk; tell whether it was read to its end."""
    with suppress(ProcessExpired, TimeoutError):
        future.result()
        return True
    return False


def _read_one_by_one(
    pool: ProcessPool,
    read: Callable[[list[Text], Path], None],
    chunk: int,
    texts: list[Text],
    spool: Spool,
    options: PackOptions,
) -> None:
    """Read the documents of a chunk that crashed or took too long, each on its own; refuse the culprit."""
    for number, text in enumerate(texts):
        target = spool.target(chunk, number)
        try:
            pool.schedule(read, args=[[text], target], timeout=options.time_limit).result()
        except TimeoutError:
            reason = f"took longer than {options.time_limit:g} s to read; left out"
        except ProcessExpired as error:
            reason = f"reading it crashed the process (exit code {error.exitcode}); left out"
        else:
            continue
        _write_report(target, ChunkReport(num_documents=1, refused=[(text[1], reason)], noted=[]))
    _write_report(spool.target(chunk), ChunkReport(num_documents=0, refused=[], noted=[]))


def _unread_chunks(
    inputs: list[str], spool: Spool, options: PackOptions, progress: tqdm
) -> Iterator[tuple[int, list[Text]]]:
    """Yield number and texts of every chunk that is not done."""
    number, count = options.shard
    documents = islice(find_documents(inputs), number - 1, None, count)
    for chunk in itertools.count():
        if spool.is_done(chunk):
            progress.update(sum(1 for _ in islice(documents, CHUNK)))
            continue
        texts = [_text(document) for document in islice(documents, CHUNK)]
        if not texts:
            return
        yield chunk, texts


def _text(document: Document) -> Text:
    try:
        return document.name, document.origin, document.read()
    except DocumentError as error:
        return document.name, document.origin, str(error)


def _context() -> BaseContext:
    """Return how processes start: not as copies of this one, which may run JAX, whose threads do not survive a fork."""
    return get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")


def _prepare_process() -> None:
    """Leave Ctrl-C to the parent, and limit the memory that one document can take."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["SPGLIB_WARNING"] = "OFF"  # it would write between the lines of the progress bar
    with suppress(ImportError, OSError, ValueError):  # not every system has limits, or lets them be set
        import resource

        used = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def read_chunk(texts: list[Text], target: Path, *, reader: Reader, find_group: bool) -> None:
    """Read documents, and write what became of them next to each other: a store, then a report that says it is done."""
    builder, refused, noted = ColumnsBuilder(), [], []
    for name, origin, data in texts:
        for reading in _readings(data, name, reader):
            if isinstance(reading, CifError):
                refused.append((origin if reading.path == name else f"{origin}: {reading.path}", reading.reason))
                continue
            builder.add(reading, found_group=found_group(reading) if find_group else None)
            noted += [(reading.name, note) for note in reading.notes]
    if len(builder):
        write_file(target.with_name(f"{target.name}.safetensors"), builder.build(), title="")
    _write_report(target, ChunkReport(num_documents=len(texts), refused=refused, noted=noted))


def _readings(data: bytes | str, name: str, reader: Reader) -> list[Crystal | CifError]:
    if isinstance(data, str):
        return [CifError(name, data)]
    try:
        return reader(data, name)
    except MemoryError:
        return [CifError(name, f"needs more than {MEMORY / 2**30:g} GiB of memory to read; left out")]
    except Exception as error:  # whatever a hostile file may have found: it must not end the run
        return [CifError(name, f"{type(error).__name__}: {error}; a fault of the reader, please report it")]


def _write_report(target: Path, report: ChunkReport) -> None:
    path = target.with_name(f"{target.name}.json")
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(report)), encoding="utf-8")
    new.replace(path)


def _finish(inputs: list[str], out: Path, spool: Spool, title: str, source: Source) -> PackReport:
    """Join the chunks to the store, and return the report of all."""
    parts = (replace(read_file(path)[0], sources=(source,)) for path in spool.stores())
    store = write_columns(out, columns, title=title) if len(columns := join(parts)) else None
    reports = list(spool.reports())
    return PackReport(
        inputs=tuple(inputs),
        path=out,
        store=store,
        num_documents=sum(report.num_documents for report in reports),
        refused=tuple((origin, reason) for report in reports for origin, reason in report.refused),
        noted=tuple((name, note) for report in reports for name, note in report.noted),
    )
