"""The batch of any step of a run, drawn again: what a network saw when something happened.

A batch follows from the seed and the step alone, so nothing of it needs to be kept. Step n is the one that takes a run
from n − 1 to n steps done.
"""

import json
import math
from pathlib import Path

import jax
import numpy as np

from xrdjax.crystals.selection import open_selected, select_crystals
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS
from xrdjax.errors import XrdjaxError
from xrdjax.learning.step import data_key
from xrdjax.learning.workdir import check_store, saved_config
from xrdjax.patterns.device_store import to_device
from xrdjax.patterns.generate import Batch, draw_batch
from xrdjax.patterns.mixture import training_source


def replay(workdir: Path, step: int) -> Path:
    """Write the pictures and the recipe of one step's batch into `workdir`/replay, and return their directory.

    Raises WorkdirError, StoreError, XrdjaxError.
    """
    from xrdjax.learning.pictures import labelled_sheet  # matplotlib: seldom needed, and slow to load

    config = saved_config(workdir)
    if not 1 <= step <= config.steps:
        raise XrdjaxError(f"{workdir}: step {step} asked for; expected 1 to {config.steps}")
    crystals = open_selected(config.data)
    check_store(config, crystals, workdir)
    chosen = select_crystals(crystals, config.data, "train")
    store, plan = training_source(crystals, to_device(crystals), chosen, config)
    key = data_key(jax.random.key(config.seed), step - 1, config)
    batch = jax.jit(draw_batch, static_argnames=("pattern", "augment"))(
        key, store, plan, config.pattern, config.augment
    )
    folder = workdir / "replay" / f"step-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    entries = describe_batch(batch, crystals, plan.own.names if plan.own else ())
    recipe = {"step": step, "seed": config.seed, "store": config.data.store, "patterns": entries}
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    captions = [
        (f"{entry['space_group']} {entry['axis']}", str(entry.get("crystal") or entry["picture"])) for entry in entries
    ]
    labelled_sheet(np.asarray(batch.image[..., 0]), captions).save(folder / "pictures.png")
    return folder


def describe_batch(batch: Batch, crystals: CrystalStore, own_names: tuple[str, ...] = ()) -> list[dict[str, object]]:
    """Return what every picture of a batch shows, in its order, as plain values."""
    recipe = batch.recipe
    own = np.full(len(batch.space_group), -1) if batch.own is None else batch.own
    columns = (batch.space_group, batch.crystal_system, own, recipe.crystal, recipe.uvw, recipe.angle, recipe.strain)
    rows = zip(*(np.asarray(column).tolist() for column in (*columns, jax.random.key_data(recipe.key))), strict=True)
    return [
        {
            "space_group": space_group,
            "crystal_system": CRYSTAL_SYSTEMS[system],
            "axis": "[" + " ".join(map(str, uvw)) + "]",
        }
        | (
            {"picture": own_names[own]}
            if own >= 0
            else {
                "crystal": crystals.names(number) if number >= 0 else f"made up by template {-1 - number}",
                "number": number,
                "angle_deg": math.degrees(angle),
                "strain": strain,
                "key": key,
            }
        )
        for space_group, system, own, number, uvw, angle, strain, key in rows
    ]


def latest_step(workdir: Path) -> int:
    """Return the step that stopped a run if its batch was saved, or else the last one recorded.

    Raises XrdjaxError before the first record.
    """
    saved = [int(path.name.removeprefix("step-")) for path in (workdir / "replay").glob("step-*")]
    records = workdir / "metrics.jsonl"
    lines = records.read_text(encoding="utf-8").splitlines() if records.exists() else []
    if not saved and not lines:
        raise XrdjaxError(f"{workdir}: no step is recorded yet; name one with --step")
    return max(saved) if saved else int(json.loads(lines[-1])["step"])
