"""One training at a time in a workdir: a lock that the system takes off when its holder ends, however it ends.

The file `lock` stays, with the name of its holder, or of the last one. It also tells whether processes on several hosts
have the same workdir: all must read there what the first has written.
"""

import fcntl
import logging
import os
import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from xrdjax.errors import WorkdirError
from xrdjax.hosts import all_agree, by_first

log = logging.getLogger(__name__)


@contextmanager
def locked(workdir: Path) -> Generator[None]:
    """Keep other trainings out while the block lasts; the first of several processes holds the lock for all.

    Raises WorkdirError if another training holds it, naming that, or if the processes have different directories.
    """
    path = workdir / "lock"
    with ExitStack() as block:
        name = by_first(lambda: _take(block.enter_context(path.open("a+", encoding="utf-8")), workdir))
        is_shared = path.exists() and path.read_text(encoding="utf-8") == name
        if not all_agree(is_shared):
            where = "another host" if is_shared else socket.gethostname()
            raise WorkdirError(
                f"{workdir}: {where} has another directory of this name; choose a --workdir on storage that all share"
            )
        yield


def _take(file: TextIO, workdir: Path) -> str:
    """Lock the file and write into it who has, and return that."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read() or "another process"
        raise WorkdirError(
            f"{workdir}: {holder} trains here; wait for it, stop it, or choose another --workdir"
        ) from None
    except OSError as error:
        log.warning("%s: cannot be locked (%s); see to it that nothing else trains there", workdir, error.strerror)
    name = f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now().astimezone().isoformat()},"
    file.truncate(0)
    file.write(name)
    file.flush()
    os.fsync(file.fileno())  # for the other hosts, which read it
    return name
