"""Several real processes that train as one, on this machine's processor.

The law: they draw the batches of one process, bit for bit, end with its parameters, to rounding, and stop together.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import jax
import numpy as np
import pytest

from xrdjax.config import to_json
from xrdjax.errors import ConfigError, WorkdirError
from xrdjax.hosts import find_launch
from xrdjax.learning import training
from xrdjax.learning.lock import locked
from xrdjax.learning.run import restore_run

TRAIN = """
import signal, sys
from pathlib import Path
from xrdjax.cli import exit_on_error
from xrdjax.config import from_json
from xrdjax.startup import prepare_jax
with exit_on_error():
    config = from_json(Path(sys.argv[1]).read_text(), sys.argv[1])
    prepare_jax(config.batch_size)
    import jax
    import numpy as np
    from xrdjax.learning import training

    def validate(run, state, step, writer):
        batch = run.evaluate(state, run.store, run.validation_plan(), run.root)[0]
        leaves = [jax.random.key_data(x) if x.dtype == run.root.dtype else x for x in jax.tree.leaves(batch)]
        np.savez(f"{sys.argv[2]}-{jax.process_index()}.npz", *map(np.asarray, leaves))
        return validate_state(run, state, step, writer)

    validate_state, training.validate_state = training.validate_state, validate
    stopped_by = training.train(config, Path(sys.argv[2]))
    print("left by", stopped_by.name if stopped_by else "nothing")
"""


def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def start(config, workdirs, **variables):
    """Start one process for each of the workdirs, which all name the same directory."""
    config_file = workdirs[0].parent / "config.json"
    config_file.write_text(to_json(config))
    address = {"JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}", "JAX_NUM_PROCESSES": str(len(workdirs))}
    environment = os.environ | {"XLA_FLAGS": "", "TF_CPP_MIN_LOG_LEVEL": "3"} | address | variables
    return [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(config_file), str(workdir)],
            env=environment | {"JAX_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, workdir in enumerate(workdirs)
    ]


def finish(processes):
    told = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, out.splitlines()[-1:], errors) for process, (out, errors) in zip(processes, told)]
