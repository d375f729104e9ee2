"""Where a configuration comes from: a Python file, another one with changes, a command line, JSON.

A configuration file is a Python file with `get_config() -> TrainConfig`, a sweep file one with `get_runs()`. The JSON
written beside a run rebuilds its configuration exactly; `differences` names what sets two of them apart.
"""

import argparse
import contextlib
import difflib
import io
import json
import re
import runpy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from itertools import product
from pathlib import Path

import tyro

from xrdjax.config import TrainConfig, from_values, validate
from xrdjax.errors import ConfigError


def load_config_file(path: str | Path) -> TrainConfig:
    """Run a configuration file and return its `get_config()`. Raises ConfigError."""
    config = _result_of(Path(path), "get_config")
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"{path}: expected a function get_config() that returns a TrainConfig")
    return validate(config)


def load_sweep_file(path: str | Path) -> dict[str, TrainConfig]:
    """Run a file of several configurations and return its `get_runs()`, by their names. Raises ConfigError."""
    runs = _result_of(Path(path), "get_runs")
    if not isinstance(runs, dict) or not runs or not all(isinstance(run, TrainConfig) for run in runs.values()):
        raise ConfigError(f"{path}: expected a function get_runs() that returns a dictionary of name: TrainConfig")
    if unfit := [name for name in runs if not re.fullmatch(r"[\w.,=+-]+", str(name))]:
        raise ConfigError(f"{path}: run {unfit[0]!r}: expected a name of letters, digits and . , = + - _")
    faults, checked = [], {}
    for name, run in runs.items():
        try:
            checked[name] = validate(run)
        except ConfigError as error:
            faults.append(f"run '{name}': {error}")
    if faults:
        raise ConfigError(f"{path}: " + "; ".join(faults))
    return checked


def override(config: TrainConfig, changes: Mapping[str, object]) -> TrainConfig:
    """Return the configuration with other values, as {"augment.strain": 0.05} names them. Raises ConfigError."""
    values = asdict(config)
    for name, value in changes.items():
        *parents, leaf = name.split(".")
        inner = values
        for parent in parents:
            inner = inner[parent] if isinstance(inner.get(parent), dict) else {}
        if leaf not in inner:
            raise ConfigError(f"{name}: no such field{_nearest(name, [known for known, _ in _leaves(config)])}")
        inner[leaf] = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return from_values(values, TrainConfig, "configuration")


def grid(base: TrainConfig, choices: Mapping[str, Sequence[object]]) -> dict[str, TrainConfig]:
    """Return the configurations of all combinations, named like "lr=0.001,strain=0.05"."""
    combinations = [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]
    return {
        ",".join(f"{name.rpartition('.')[2]}={value}" for name, value in changes.items()): override(base, changes)
        for changes in combinations
    }


def parse_run(arguments: list[str], description: str) -> tuple[TrainConfig, Path, range | None]:
    """Return the configuration, with its overrides, the workdir, and the steps to profile of a command line.

    Raises ConfigError for a missing flag, for a field that does not exist, naming the nearest that does, and for values
    of the wrong type.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--config", "--workdir", "--profile"):
        parser.add_argument(name)
    try:
        files, overrides = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error.argument_name}: {error.message}") from None
    is_asking = {"-h", "--help"} & set(overrides)
    if files.config is None and not is_asking:
        raise ConfigError("--config: missing; name a configuration file, such as configs/demo.py")
    default = load_config_file(files.config) if files.config else TrainConfig()
    config = _override(default, overrides, description)
    if files.workdir is None:
        raise ConfigError("--workdir: missing; name a directory for checkpoints and records, such as runs/demo")
    return validate(config), Path(files.workdir), None if files.profile is None else _steps(files.profile)


def to_json(config: TrainConfig) -> str:
    """Return the whole configuration as indented JSON."""
    return json.dumps(asdict(config), indent=2) + "\n"


def from_json(text: str, origin: str) -> TrainConfig:
    """Rebuild a configuration from `to_json`. Raises ConfigError, naming `origin`."""
    try:
        return from_values(json.loads(text), TrainConfig, origin)
    except ValueError as error:
        raise ConfigError(f"{origin}: not JSON ({error}); restore the file or choose another workdir") from None


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return 'field: old → new' for every leaf in which two configurations differ."""
    leaves = dict(_leaves(new))
    return [f"{name}: {value!r} → {leaves[name]!r}" for name, value in _leaves(old) if value != leaves[name]]


def _result_of(path: Path, function: str) -> object:
    """Return what a function of a user's file returns, or None if the file has no such function."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such configuration file; the ones shipped are in configs/")
    try:
        found = runpy.run_path(str(path)).get(function)
        return found() if callable(found) else None
    except Exception as error:  # whatever a user's file may raise
        raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else "; see --help"


def _override(default: TrainConfig, overrides: list[str], description: str) -> TrainConfig:
    """Return the configuration with flags applied. Raises ConfigError; --help prints and leaves."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            config, unknown = tyro.cli(
                TrainConfig, default=default, args=overrides, description=description, return_unknown_args=True
            )
    except SystemExit as leaving:
        if not leaving.code:
            raise
        raise ConfigError(_one_line(told.getvalue())) from None
    if unknown:
        name = unknown[0].split("=")[0]
        raise ConfigError(f"{name}: no such field{_nearest(name, [f'--{leaf}' for leaf, _ in _leaves(config)])}")
    return config


def _one_line(box: str) -> str:
    """Return what tyro's framed message says: without frame, heading and help."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()
    text = " ".join(line.strip("│ ") for line in lines if line.startswith("│"))
    for end in ("Argument helptext", "For full helptext"):
        text = text.split(end)[0]
    return " ".join(text.strip("─ ").removeprefix("Error parsing ").split()) + "; see --help"


def _steps(text: str) -> range:
    """Return the steps of A:B, from A up to but not including B."""
    first, _, stop = text.partition(":")
    if not (first.isdecimal() and stop.isdecimal() and int(first) < int(stop)):
        raise ConfigError(f"--profile {text}: expected FIRST:STOP, such as 100:120, the first smaller")
    return range(int(first), int(stop))


def _leaves(config: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    for entry in fields(config):  # ty: ignore[invalid-argument-type]
        value = getattr(config, entry.name)
        if is_dataclass(value):
            yield from _leaves(value, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", value
