"""What makes a directory the home of one run: its configuration, and the checksum of the crystals it was trained on.

Both are written when all that can be refused has been checked, so that a failed start leaves nothing to clear away.
"""

from pathlib import Path

from xrdjax.config import TrainConfig
from xrdjax.config_sources import differences, from_json, to_json
from xrdjax.crystals.store import CrystalStore
from xrdjax.errors import WorkdirError


def check_workdir(config: TrainConfig, workdir: Path) -> None:
    """Make the directory. Raises WorkdirError if it cannot be written or belongs to another configuration."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json.new").touch()
        (workdir / "config.json.new").unlink()
    except OSError as error:
        raise WorkdirError(f"{workdir}: {error.strerror}; choose a --workdir that can be written") from None
    if (workdir / "config.json").exists() and (changes := differences(saved_config(workdir), config)):
        raise WorkdirError(
            f"{workdir}: was made with another configuration ({', '.join(changes)}); "
            "choose another --workdir, or the old values to go on"
        )


def claim_workdir(config: TrainConfig, store: CrystalStore, workdir: Path) -> None:
    """Write configuration and checksum, each whole or not at all, unless they are there."""
    if (workdir / "config.json").exists():
        return
    for name, text in (("store.sha256", store.checksum + "\n"), ("config.json", to_json(config))):
        new = workdir / f"{name}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(workdir / name)


def check_store(config: TrainConfig, store: CrystalStore, workdir: Path) -> None:
    """Raise WorkdirError unless these are the crystals that the run was trained on."""
    trained_on = (workdir / "store.sha256").read_text(encoding="utf-8").strip()
    if trained_on != store.checksum:
        raise WorkdirError(
            f"{workdir}: was trained on a store with checksum {trained_on[:12]}…, but '{config.data.store}' has "
            f"{store.checksum[:12]}… now; restore that file, or train in another --workdir"
        )


def check_present(workdir: Path) -> None:
    """Raise WorkdirError if somebody has taken the directory away."""
    if not (workdir / "config.json").exists():
        raise WorkdirError(f"{workdir}: has vanished, or its config.json has; put it back, or start in a new --workdir")


def saved_config(workdir: Path) -> TrainConfig:
    """Return the configuration of a run. Raises WorkdirError, ConfigError."""
    saved = workdir / "config.json"
    if not saved.is_file():
        raise WorkdirError(f"{workdir}: holds no config.json; give the --workdir of a run made by train.py")
    return from_json(saved.read_text(encoding="utf-8", errors="replace"), str(saved))
