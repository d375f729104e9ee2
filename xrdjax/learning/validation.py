"""What a network makes of patterns of validation crystals, the same ones every time, in numbers and pictures."""

import logging
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Int, PyTree

from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS
from xrdjax.learning.losses import Sums
from xrdjax.learning.measures import confusion_matrix
from xrdjax.learning.models import NUM_GROUPS, NUM_SYSTEMS, Logits
from xrdjax.learning.optimizer import named_leaves
from xrdjax.learning.placement import replicated
from xrdjax.learning.run import Run
from xrdjax.learning.state import STREAM_VALIDATION, TrainState
from xrdjax.learning.step import step_key
from xrdjax.learning.writer import Writer
from xrdjax.patterns.generate import Batch

log = logging.getLogger(__name__)

SHEET = 24  # pictures shown in TensorBoard
SAMPLE = 65_536  # numbers of one array of parameters that a histogram is made of


def validate_state(run: Run, state: TrainState, step: int, writer: Writer) -> dict[str, float]:
    """Predict the validation patterns, record what comes of it, and return the means."""
    totals, labels = [], []
    for batch, logits, sums in _predicted(run, state):
        totals.append(sums)
        heads = (batch.space_group - 1, logits.space_group), (batch.crystal_system, logits.crystal_system)
        views = run.config.views
        labels.append([(np.asarray(true)[::views], np.asarray(scores.argmax(-1))) for true, scores in heads])
        if len(labels) == 1:
            _show(batch, np.repeat(labels[0][0][1] + 1, views), step, writer)
    means = jax.tree.map(lambda *leaves: sum(leaves), *totals).means()
    scalars = {f"validation/{name}": value for name, value in means.items()}
    groups, systems = (
        confusion_matrix(*(np.concatenate(side) for side in zip(*head, strict=True)), num_classes)
        for head, num_classes in zip(zip(*labels, strict=True), (NUM_GROUPS, NUM_SYSTEMS), strict=True)
    )
    group_names = [str(number) for number in range(1, NUM_GROUPS + 1)]
    writer.scalars(step, scalars | _recall("system", systems, CRYSTAL_SYSTEMS) | _recall("group", groups, group_names))
    _draw_confusions(systems, groups, step, writer)
    writer.histograms(step, {f"parameters/{name}": values for name, values in sampled_parameters(state.params)})
    log.info(
        "step %d  validation: loss %.3f  space group %.1f %%  crystal system %.1f %%", step, means["loss"],
        100 * means["accuracy/space_group"], 100 * means["accuracy/crystal_system"],
    )  # fmt: skip
    return scalars


def _predicted(run: Run, state: TrainState) -> Iterator[tuple[Batch, Logits, Sums]]:
    for number in range(-(-run.config.validation_patterns // run.config.batch_size)):
        key = step_key(run.root, STREAM_VALIDATION, number)
        yield run.evaluate(state, run.store, run.validation_plan(), key)


def _recall(kind: str, counts: Int[np.ndarray, "n n"], names: tuple[str, ...] | list[str]) -> dict[str, float]:
    """Return the fraction recognised of each class that occurs."""
    seen = counts.sum(1)
    return {
        f"validation_by_{kind}/{name}": float(counts[place, place] / seen[place])
        for place, name in enumerate(names)
        if seen[place]
    }


def _show(batch: Batch, predicted: Int[np.ndarray, "n"], step: int, writer: Writer) -> None:
    from xrdjax.learning.pictures import prediction_sheet  # matplotlib: not before the first step

    pictures, true = np.asarray(batch.image[..., 0]), np.asarray(batch.space_group)
    writer.image(step, "validation/patterns", prediction_sheet(pictures[:SHEET], true[:SHEET], predicted[:SHEET]))


def _draw_confusions(
    systems: Int[np.ndarray, "7 7"], groups: Int[np.ndarray, "230 230"], step: int, writer: Writer
) -> None:
    from xrdjax.learning.figures import group_confusion, pixels, system_confusion  # matplotlib, again

    title = f"Step {step}, {systems.sum():,} validation patterns"
    writer.image(step, "validation/confusion_crystal_system", pixels(system_confusion(systems, title)))
    writer.image(step, "validation/confusion_space_group", pixels(group_confusion(groups, title)))


def sampled_parameters(params: PyTree) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name of each array of parameters and at most `SAMPLE` of its values, evenly spread."""
    for name, leaf in named_leaves(params).items():
        yield name, np.asarray(replicated(leaf)).ravel()[:: -(-leaf.size // SAMPLE)]
