"""Several processes that train as one: how they find each other, and what only the first of them does.

All run the same script. A scheduler's variables tell a process that it is one of several (SLURM, MPI, Kubernetes, TPU
pods), or the user does by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; JAX_NUM_PROCESSES=1 keeps a
process alone whatever a scheduler says. One that is alone waits for nobody.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from xrdjax.errors import ConfigError, WorkdirError, XrdjaxError

log = logging.getLogger(__name__)

ADDRESS, NUMBER, INDEX, PATIENCE = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "XRDJAX_PATIENCE"
MPI_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
LONGEST_MESSAGE = 65_536  # bytes
SHUTDOWN_SECONDS = 60  # that a process waits at its end for the others, who may hang since one has failed


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How the processes of a run find each other; what is None JAX asks the scheduler for."""

    method: str | None
    """The name of JAX's way to ask, where it has one."""
    address: str | None = None
    number: int | None = None
    index: int | None = None

    def __str__(self) -> str:
        if self.address is None:
            return f"the other processes that {self.method or 'the cluster'} has started"
        return f"{self.number} processes at {ADDRESS} = {self.address}, of which this is {INDEX} = {self.index}"


def join_hosts() -> bool:
    """Join the other processes of this run and return whether there are any. Comes before anything touches a device.

    All but the first log warnings only. If the others cannot be reached it leaves with status 2 after XRDJAX_PATIENCE
    seconds, by default 300. Raises ConfigError for variables that are wrong or half set.
    """
    import jax

    launch = find_launch(os.environ, is_tpu_machine=bool(os.environ.get("TPU_ML_PLATFORM")))
    if launch is None:
        return False
    patience = _whole(os.environ, PATIENCE, least=1) if PATIENCE in os.environ else 300
    with _given_up_after(patience, launch):
        _initialize(launch, patience)
        found = jax.process_count()
    if launch.number not in (None, found):
        raise ConfigError(f"{NUMBER} = {launch.number}: the others say {found}; give all of them the same number")
    if jax.process_index() > 0:
        logging.getLogger("xrdjax").setLevel(logging.WARNING)
    log.info("%d processes with %d devices in all", found, jax.device_count())
    return found > 1


def _initialize(launch: Launch, patience: int) -> None:
    import jax

    try:
        jax.distributed.initialize(
            launch.address, launch.number, launch.index,
            cluster_detection_method=launch.method,
            initialization_timeout=patience + 60,  # ours comes first, for JAX ends the process with a stack trace
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )  # fmt: skip
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{launch} could not be found ({reason}); set {ADDRESS}, {NUMBER} and {INDEX}, or {NUMBER}=1 to train alone"
        ) from error


def find_launch(environment: Mapping[str, str], is_tpu_machine: bool = False) -> Launch | None:
    """Return how the environment says that this process was started with others, or None if it is alone.

    Raises ConfigError.
    """
    if environment.get(NUMBER) == "1":
        return None
    if stated := [name for name in (ADDRESS, NUMBER, INDEX) if name in environment]:
        return _stated(environment, stated)
    if "SLURM_STEP_NODELIST" in environment and _size(environment, "SLURM_NTASKS") > 1:
        return Launch(method="slurm")
    if any(_size(environment, name) > 1 for name in MPI_SIZES):
        if "OMPI_MCA_orte_hnp_uri" in environment:
            return Launch(method="ompi")
        return _needing("mpi4py", "mpi4py", "this process was started by MPI with others", method="mpi4py")
    if is_tpu_machine:
        return Launch(method=None)
    if "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment:
        return _needing("kubernetes", "jax[k8s]", "this process belongs to an indexed job of Kubernetes", method=None)
    return None


def _stated(environment: Mapping[str, str], stated: list[str]) -> Launch:
    if missing := [name for name in (ADDRESS, NUMBER, INDEX) if name not in stated]:
        raise ConfigError(
            f"{', '.join(stated)} set without {', '.join(missing)}: expected all three or none, such as "
            f"{ADDRESS}=10.0.0.1:1234 {NUMBER}=2 {INDEX}=0"
        )
    address = environment[ADDRESS]
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65_536):
        raise ConfigError(f"{ADDRESS} = {address}: expected HOST:PORT, such as 10.0.0.1:1234")
    number = _whole(environment, NUMBER, least=1)
    index = _whole(environment, INDEX, least=0)
    if index >= number:
        raise ConfigError(f"{INDEX} = {index}: expected 0 to {number - 1}, as {NUMBER} = {number}")
    return Launch(method="deactivate", address=address, number=number, index=index)


def _whole(environment: Mapping[str, str], name: str, least: int) -> int:
    text = environment[name]
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"{name} = {text}: expected a whole number, {least} or more")
    return int(text)


def _size(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "1")
    return int(text) if text.isdecimal() else 1


def _needing(module: str, package: str, reason: str, method: str | None) -> Launch:
    if find_spec(module) is None:
        raise ConfigError(
            f'{reason}, and JAX needs {module} to find them: pip install "{package}", or set {ADDRESS}, {NUMBER} and '
            f"{INDEX}; {NUMBER}=1 keeps it alone"
        )
    return Launch(method=method)


@contextmanager
def _given_up_after(seconds: int, launch: Launch) -> Generator[None]:
    """Leave with one line unless the block ends in time; what it waits in cannot be interrupted otherwise."""

    def leave() -> None:
        sys.stderr.write(
            f"xrdjax: error: waited {seconds} s in vain for {launch}; start all of them, with the same number and a "
            f"free port that they can reach; {PATIENCE} sets the time\n"
        )
        sys.stderr.flush()
        os._exit(2)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def is_first() -> bool:
    """Return whether this process writes what is written once."""
    import jax

    return jax.process_index() == 0


def by_first(action: Callable[[], object]) -> str:
    """Let the first process do something while the others wait, and return the text of what it gave.

    What it raises there is raised as WorkdirError on the others.
    """
    result, error = "", None
    if is_first():
        try:
            result = str(action())
        except (XrdjaxError, OSError) as raised:
            error = raised
    failed, text = json.loads(told_by_first(json.dumps([error is not None, str(error or result)])))
    if error is not None:
        raise error
    if failed:
        raise WorkdirError(text)
    return text


def told_by_first(text: str) -> str:
    """Return what the first process has given."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return text
    letters = np.zeros(LONGEST_MESSAGE, np.uint8)
    encoded = np.frombuffer(text.encode(), np.uint8)
    letters[: len(encoded)] = encoded
    received = np.asarray(multihost_utils.broadcast_one_to_all(letters))
    return received.tobytes().rstrip(b"\0").decode()


def all_agree(holds: bool) -> bool:
    """Return whether something holds on every process."""
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return holds
    return bool(np.all(multihost_utils.process_allgather(np.bool_(holds))))
