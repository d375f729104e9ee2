"""What a run's directory tells of its network, for the card that goes with the weights."""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from xrdjax.config import TrainConfig
from xrdjax.config_sources import differences
from xrdjax.crystals.selection import open_selected
from xrdjax.errors import StoreError
from xrdjax.learning.model_file import Weights

LIMITS = (
    "Trained on calculated patterns of ideal crystals. Friedel's law hides most space groups from a pattern; what "
    "a network says beyond it leans on cell sizes, intensities and the commonness of structures in its training set."
)


def described(weights: Weights, run: Path, *, title: str = "", licence: str = "unknown", limits: str = "") -> Weights:
    """Return the network with a card: data and sources, recipe, accuracy by the run's report, limits."""
    config = weights.config
    changed = [line for line in differences(TrainConfig(), config) if not line.startswith("data.store:")]
    card = replace(
        weights.card,
        title=title or weights.card.title,
        licence=licence,
        data=f"store '{Path(config.data.store).name}', training part of the {Path(config.data.split).name} split",
        sources=_sources(config),
        recipe=f"{weights.card.steps} steps of {config.batch_size} pictures; other than the defaults: "
        + "; ".join(changed),
        accuracy=_accuracy(run / "evaluation" / "report.json"),
        limits=limits or LIMITS,
        versions={package: version(package) for package in ("jax", "flax")},
    )
    return replace(weights, card=card)


def _sources(config: TrainConfig) -> tuple[str, ...]:
    try:
        store = open_selected(config.data)
    except StoreError:  # it need not be there any more
        return ()
    return tuple(
        f"{source.name}: {source.provider}; {source.licence}; {source.attribution}" for source in store.sources
    )


def _accuracy(report: Path) -> dict[str, dict[str, float]] | None:
    """Return top-1 in per cent by protocol and head; of several views, by their number."""
    if not report.is_file():
        return None
    protocols = json.loads(report.read_text(encoding="utf-8"))["protocols"]
    tables = {name: table["heads"] for name, table in protocols.items() if "heads" in table and name != "views"}
    for one in protocols.get("views", {"conditions": []})["conditions"]:
        tables[f"{one['level']:g} view{'s' * (one['level'] > 1)}"] = one["heads"]
    return {
        name: {head: round(100 * figures["top1"], 1) for head, figures in heads.items()}
        for name, heads in tables.items()
    }
