"""From a run directory to its report: `evaluation/` with report.json, report.md, report.html and figures.

The JSON says everything; text, page and figures are made of it.
"""

import json
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from xrdjax.config_sources import from_json
from xrdjax.crystals.selection import select_crystals
from xrdjax.crystals.symmetry import crystal_system_index
from xrdjax.errors import ConfigError
from xrdjax.evaluation.answers import (
    Answers,
    Network,
    answer,
    answer_pictures,
    fuse_features,
    load_network,
    split_answers,
)
from xrdjax.evaluation.calibration import fit_temperature, reliability
from xrdjax.evaluation.depletion import atoms_left, groups_left
from xrdjax.evaluation.examples import Example, depletion_examples
from xrdjax.evaluation.figures import SavedFigure, save_figures
from xrdjax.evaluation.neighbours import neighbour_ranks
from xrdjax.evaluation.page import as_page
from xrdjax.evaluation.protocols import PROTOCOLS, Protocol, Subjects, make_protocol, validation
from xrdjax.evaluation.requests import join_requests
from xrdjax.evaluation.results import (
    Outcome,
    by_class,
    centre_confusion,
    fused_outcome,
    hand_confusion,
    heads,
    protocol_ceilings,
    protocol_results,
)
from xrdjax.evaluation.stills import tilted_pictures
from xrdjax.evaluation.tables import as_markdown, as_summary
from xrdjax.learning.measures import confusion_matrix
from xrdjax.learning.writer import Writer

QUICK = ("seen", "unseen")
VALIDATION = "validation"


def evaluate_run(
    workdir: Path,
    protocols: tuple[str, ...] = (),
    max_crystals: int | None = None,
    seed: int = 0,
    devices: Sequence[jax.Device] | None = None,
    *,
    baseline: bool = False,
) -> str:
    """Evaluate a run, write `evaluation/` in its workdir, and return a summary.

    `protocols` are names in `PROTOCOLS`, or "all"; at most `max_crystals` of each part are asked about, by default as
    many as the protocols say. Without names it is `seen` and `unseen` with the configuration's `test_crystals`.
    `baseline` sets the nearest neighbours among the training crystals beside the network in these two, for some 20 s
    an axis. Raises WorkdirError, ConfigError, StoreError.
    """
    started = time.monotonic()
    names = _chosen(protocols or QUICK)
    network = load_network(workdir)
    most = network.config.test_crystals if max_crystals is None and not protocols else max_crystals
    asked = _fitting(names, Subjects(store=network.crystals, config=network.config, seed=seed, most=most))
    answers = _ask(network, asked, seed, devices)
    outcomes = {name: _outcome(network, protocol, answers[name], seed) for name, protocol in asked.items()}
    report = _head(network, workdir, seed, most, asked) | {"left_out": [name for name in names if name not in asked]}
    report |= _results(network, asked, outcomes, seed, baseline=baseline)
    report["calibration"] = _calibration(outcomes, answers)
    examples = _examples(network, asked["depletion"], outcomes["depletion"], seed) if "depletion" in asked else []
    report["depletion_examples"] = [example.as_dict() for example in examples]
    report["seconds"] = round(time.monotonic() - started, 1)
    folder = workdir / "evaluation"
    folder.mkdir(exist_ok=True)
    figures = save_figures(report, examples, folder)
    return write_report(report, figures, folder)


def write_report(report: dict, figures: list[SavedFigure], folder: Path) -> str:
    """Write a report and return its summary."""
    pictures = [(figure.title, f"figure_{figure.name}.png") for figure in figures]
    text = as_markdown(report, pictures)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(as_page(report, figures), encoding="utf-8")
    temperatures = {head: one["temperature"] for head, one in report["calibration"].items()}
    (folder / "calibration.json").write_text(json.dumps(temperatures, indent=1) + "\n", encoding="utf-8")
    _record(report, figures, folder)
    return (
        f"{as_summary(report)}\n{folder / 'report.html'} has all tables and figures, and so have report.md and .json.\n"
    )


def _chosen(protocols: tuple[str, ...]) -> list[str]:
    for name in protocols:
        if name not in PROTOCOLS and name != "all":
            raise ConfigError(f"protocol '{name}': expected one of all, {', '.join(PROTOCOLS)}")
    return [name for name in PROTOCOLS if name in protocols or "all" in protocols]


def _fitting(names: list[str], subjects: Subjects) -> dict[str, Protocol]:
    """Return the protocols that ask for anything, and the one of validation."""
    every = {name: make_protocol(name, subjects) for name in names}
    asked = {name: protocol for name, protocol in every.items() if len(protocol.requests)}
    if not asked:
        raise ConfigError(f"protocol '{names[0]}': no crystal or axis of this run fits; choose another one")
    return asked | {VALIDATION: validation(subjects)}


def _ask(
    network: Network, asked: Mapping[str, Protocol], seed: int, devices: Sequence[jax.Device] | None
) -> dict[str, Answers]:
    """Ask everything in one walk but for what is drawn as stills."""
    drawn = {name: protocol for name, protocol in asked.items() if protocol.tilt_deg is None}
    keeps = [np.full(len(protocol.requests), protocol.keeps_scores) for protocol in drawn.values()]
    requests = join_requests([protocol.requests for protocol in drawn.values()])
    together = answer(network, requests, np.concatenate(keeps), seed, devices)
    answers = dict(zip(drawn, split_answers(together, keeps), strict=True))
    for name, protocol in asked.items():
        if protocol.tilt_deg is not None:
            pattern = network.config.pattern
            pictures = tilted_pictures(protocol.requests, protocol.tilt_deg, network.crystals, pattern)
            answers[name] = answer_pictures(network, pictures, np.asarray(protocol.requests.uvw))
    return answers


def _outcome(network: Network, protocol: Protocol, answers: Answers, seed: int) -> Outcome:
    crystal, uvw = np.asarray(protocol.requests.crystal), np.asarray(protocol.requests.uvw)
    group = network.crystals.space_group[crystal].astype(int)
    if protocol.requests.spared.any():
        left = atoms_left(protocol.requests, network.store, seed)
        group = groups_left(protocol.requests, left, network.crystals)
    outcome = Outcome(
        crystal=crystal,
        uvw=uvw,
        condition=protocol.condition,
        space_group=group,
        space_group_ranks=answers.group_ranks.astype(int),
        crystal_system_ranks=answers.system_ranks.astype(int),
    )
    if not protocol.fuses:
        return outcome
    views = len(protocol.conditions)
    if network.config.views == 1:
        return fused_outcome(outcome, answers.group_scores, answers.system_scores, views)
    fused = fuse_features(network, answers.features.reshape(-1, views, answers.features.shape[-1]))
    return replace(
        outcome,
        space_group_ranks=fused.group_ranks.astype(int),
        crystal_system_ranks=fused.system_ranks.astype(int),
    )


def _examples(network: Network, protocol: Protocol, outcome: Outcome, seed: int) -> list[Example]:
    left = atoms_left(protocol.requests, network.store, seed)
    return depletion_examples(protocol, outcome, left, network.crystals, network.config.pattern)


def _head(network: Network, workdir: Path, seed: int, most: int | None, asked: Mapping[str, Protocol]) -> dict:
    own = [protocol.requests.crystal for name, protocol in asked.items() if name != VALIDATION]
    return {
        "run": workdir.resolve().name,
        "config": asdict(network.config),
        "split": network.config.data.split,
        "step": int(network.step),
        "seed": seed,
        "max_crystals": most,
        "crystals": len(np.unique(np.concatenate(own))),
        "patterns": sum(map(len, own)),
        "versions": {package: version(package) for package in ("xrdjax", "jax", "jaxlib", "flax", "numpy", "moyopy")},
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }


def _results(
    network: Network, asked: Mapping[str, Protocol], outcomes: Mapping[str, Outcome], seed: int, *, baseline: bool
) -> dict:
    training = select_crystals(network.crystals, network.config.data, "train")
    group = network.crystals.space_group[training].astype(int)
    commonest = {
        "space_group": int(np.bincount(group).argmax()),
        "crystal_system": int(np.bincount(crystal_system_index(group)).argmax()),
    }
    shown = {name: protocol for name, protocol in asked.items() if name != VALIDATION}
    first = next(iter(shown))
    main = outcomes[first]
    is_known = np.isin(network.crystals.structure_type[main.crystal], network.crystals.structure_type[training])
    return {
        "protocols": {
            name: protocol_results(protocol, outcomes[name], commonest, seed)
            | {"ceilings": protocol_ceilings(protocol, outcomes[name], network.crystals)}
            | (_neighbours(network, protocol, outcomes[name], commonest, seed) if baseline and name in QUICK else {})
            for name, protocol in shown.items()
        },
        "commonest": commonest,
        "detailed": first,
        "structure_types": {
            "all": heads(main, commonest, seed),
            "trained on": heads(main.select(is_known), commonest, seed),
            "never trained on": heads(main.select(~is_known), commonest, seed),
        },
        "classes": by_class(main, np.bincount(group, minlength=231)),
        "centre": centre_confusion(main),
        "hands": hand_confusion(main),
        "confusion": {name: _confusion(outcomes[name]) for name in shown if name in QUICK or name == first},
    }


def _neighbours(
    network: Network, protocol: Protocol, outcome: Outcome, commonest: Mapping[str, int], seed: int
) -> dict[str, dict]:
    """Return what the likest training patterns reach, of each union."""
    crystals, config = network.crystals, network.config
    training = select_crystals(crystals, config.data, "train")
    ranks = neighbour_ranks(crystals, training, outcome.crystal, outcome.uvw, config.pattern)
    theirs = replace(outcome, space_group_ranks=ranks.space_group, crystal_system_ranks=ranks.crystal_system)
    return {"neighbours": protocol_results(protocol, theirs, commonest, seed)["unions"]}


def _confusion(outcome: Outcome) -> dict:
    systems = confusion_matrix(outcome.crystal_system, outcome.crystal_system_ranks[:, 0], 7)
    groups = confusion_matrix(outcome.space_group - 1, outcome.space_group_ranks[:, 0] - 1, 230)
    cells = np.argwhere(groups)
    return {
        "crystal_system": systems.tolist(),
        "space_group": [[int(true) + 1, int(said) + 1, int(groups[true, said])] for true, said in cells],
    }


def _calibration(outcomes: Mapping[str, Outcome], answers: Mapping[str, Answers]) -> dict:
    """Return the temperature of each head, and how reliable its probabilities are along the axes of the training."""
    calibration = {}
    for head, name, first in (("space_group", "group_scores", 1), ("crystal_system", "system_scores", 0)):
        temperature = fit_temperature(getattr(answers[VALIDATION], name), getattr(outcomes[VALIDATION], head) - first)
        states = {}
        if "seen" in outcomes:
            scores, true = getattr(answers["seen"], name), getattr(outcomes["seen"], head) - first
            states = {"before": reliability(scores, true), "after": reliability(scores, true, temperature)}
        calibration[head] = {"temperature": temperature} | {state: asdict(one) for state, one in states.items()}
    return calibration


def _record(report: dict, figures: list[SavedFigure], folder: Path) -> None:
    """Write what a report says to TensorBoard, in place of what an earlier evaluation wrote."""
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    (folder / "metrics.jsonl").unlink(missing_ok=True)
    config = from_json(json.dumps(report["config"]), "report")
    with Writer(folder, report["step"], config) as writer:
        scalars = {
            f"evaluation_{head}/{name}": table["heads"][head]["top1"]
            for name, table in report["protocols"].items()
            for head in table["heads"]
        }
        writer.scalars(report["step"], scalars)
        for figure in figures:
            writer.image(report["step"], f"evaluation/{figure.name}", figure.pixels)
