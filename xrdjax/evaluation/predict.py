"""What a trained network says of patterns it is shown: probabilities of crystal systems and space groups.

Probabilities are the softmax of the logits over a temperature, which the network's card tells. What does not look like
a pattern is not answered with confidence: its probabilities are mixed with equal ones, as far as it falls short.
Several pictures of one crystal are answered once: by a network that fuses views itself if it was trained on several,
otherwise by the mean of the logarithms of what it says of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Shaped

from xrdjax.config import LARGEST_AXIS_INDEX, TrainConfig
from xrdjax.crystals.friedel import friedel_classes
from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS
from xrdjax.diffraction.zone import coprime_axis
from xrdjax.errors import ModelError, PictureError
from xrdjax.learning.model_file import ModelCard, Weights, load_weights, run_weights
from xrdjax.patterns.reading import View, read_view
from xrdjax.patterns.reading_options import Reading, check_reading

Source = str | Path | Shaped[np.ndarray, "..."]
RELEASED = ("one_view", "several_views")
HEADS = ("crystal_system", "space_group")
AT_ONCE = 64  # pictures in one call of the network


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What a network said of one pattern, or of several of one crystal."""

    name: str
    crystal_system: Float[np.ndarray, "7"]
    """Probabilities, triclinic to cubic."""
    space_group: Float[np.ndarray, "230"]
    """Probabilities of groups 1 to 230."""
    views: tuple[View, ...]
    """What the network saw."""

    @property
    def likeness(self) -> float:
        """How much all views look like patterns, 0 to 1."""
        return min(view.likeness for view in self.views)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be known before the answer is believed."""
        several = len(self.views) > 1
        return tuple(f"{view.name}: {text}" if several else text for view in self.views for text in view.warnings)

    def top_systems(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest crystal systems with their probabilities."""
        return [(CRYSTAL_SYSTEMS[k], float(self.crystal_system[k])) for k in np.argsort(-self.crystal_system)[:count]]

    def top_groups(self, count: int = 5) -> list[tuple[int, float]]:
        """Return the likeliest space groups with their probabilities."""
        return [(int(k) + 1, float(self.space_group[k])) for k in np.argsort(-self.space_group)[:count]]

    @property
    def indistinguishable(self) -> tuple[int, ...]:
        """The space groups that no pattern tells from the first choice by symmetry and absences, itself included."""
        classes = friedel_classes()
        alike = np.flatnonzero(classes == classes[self.space_group.argmax()]) + 1
        return tuple(alike.tolist())


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A trained network, ready to be asked. `load_model` makes it."""

    weights: Weights
    name: str

    @property
    def config(self) -> TrainConfig:
        """How it was trained, and on what kind of pictures."""
        return self.weights.config

    @property
    def card(self) -> ModelCard:
        """What it is, and what it is good for."""
        return self.weights.card

    def predict(
        self,
        sources: Source | Sequence[Source],
        reading: Reading = Reading(),  # noqa: B008 (frozen)
        *,
        together: bool = False,
    ) -> list[Prediction]:
        """Return an answer for each picture, spot list or file of reflections, or one for all of one crystal together.

        Sources are paths, or arrays of grey values. Raises PictureError for what cannot be read.
        """
        check_reading(reading)
        sources = [sources] if isinstance(sources, str | Path | np.ndarray) else list(sources)
        views = [self.read(source, reading, number) for number, source in enumerate(sources, 1)]
        return self.answer(views, reading, together=together)

    def read(self, source: Source, reading: Reading, number: int = 1) -> View:
        """Return what the network would see. Raises PictureError."""
        name = f"picture {number}" if isinstance(source, np.ndarray) else str(source)
        return read_view(Path(source) if isinstance(source, str) else source, self.config.pattern, reading, name)

    def answer(self, views: Sequence[View], reading: Reading, *, together: bool = False) -> list[Prediction]:
        """Return an answer for each view, or one for all. Raises PictureError if a zone axis is wanted and missing."""
        if not views:
            return []
        images = np.stack([view.image for view in views])
        uvw = np.tile(self._axis(reading), (len(views), 1))
        if together:
            names = views[0].name + (f" and {len(views) - 1} more" if len(views) > 1 else "")
            logits = self.logits(images, uvw, views=len(views))
            return [self._prediction(names, tuple(views), {head: logits[head][0] for head in HEADS})]
        logits = self.logits(images, uvw)
        return [
            self._prediction(view.name, (view,), {head: logits[head][number] for head in HEADS})
            for number, view in enumerate(views)
        ]

    def logits(
        self, images: Float[np.ndarray, "n height width"], uvw: Int[np.ndarray, "n 3"], views: int = 1
    ) -> dict[str, Float[np.ndarray, "crystals classes"]]:
        """Return logits of both heads, over temperatures, of crystals of which each has `views` pictures in a row."""
        fused = views if self.config.views > 1 else 1
        size = max(AT_ONCE // fused, 1) * fused
        parts = [
            self._call(images[start : start + size], uvw[start : start + size], fused)
            for start in range(0, len(images), size)
        ]
        logits = {head: np.concatenate([part[head] for part in parts]) for head in HEADS}
        if views > fused:
            logits = {
                head: _log_softmax(value).reshape(-1, views, value.shape[1]).mean(1) for head, value in logits.items()
            }
        return logits

    def _call(
        self, images: Float[np.ndarray, "n height width"], uvw: Int[np.ndarray, "n 3"], views: int
    ) -> dict[str, Float[np.ndarray, "crystals classes"]]:
        temperatures = self.card.temperatures or {}
        answer = self._network(self.weights.params, self.weights.statistics, images[..., None], uvw, views)
        return {head: np.asarray(value, float) / temperatures.get(head, 1.0) for head, value in answer.items()}

    @cached_property
    def _network(self) -> jax.stages.Wrapped:
        graph = self.weights.graph

        def call(params: object, statistics: object, images: Array, uvw: Array, views: int) -> dict[str, Array]:
            network = nnx.merge(graph, params, statistics, copy=True)
            answer = network(images, uvw, views=views)
            return {head: getattr(answer, head) for head in HEADS}

        return jax.jit(call, static_argnames="views")

    def _axis(self, reading: Reading) -> Int[np.ndarray, "3"]:
        if not self.config.model.sees_axis:
            return np.zeros(3, np.int32)
        if reading.zone is None:
            raise PictureError(f"{self.name}: this network is told the zone axis; give --zone U V W")
        uvw = np.array(coprime_axis(reading.zone), np.int32)
        if np.abs(uvw).max() > LARGEST_AXIS_INDEX:
            raise PictureError(f"zone = {reading.zone}: this network knows indices up to {LARGEST_AXIS_INDEX}")
        return uvw

    def _prediction(
        self, name: str, views: tuple[View, ...], logits: dict[str, Float[np.ndarray, "classes"]]
    ) -> Prediction:
        trust = min(view.likeness for view in views)
        share = {head: np.exp(_log_softmax(value)) for head, value in logits.items()}
        mixed = {head: trust * value + (1 - trust) / len(value) for head, value in share.items()}
        return Prediction(name=name, views=views, **mixed)


def load_model(name_or_path: str | Path = "one_view") -> Model:
    """Return a network that comes with the package, or that of a run's directory or a file of `xrdjax export-model`.

    Those of the package are "one_view", and "several_views" for patterns of one crystal together. Raises ModelError,
    WorkdirError or ConfigError, naming the file and what is wrong with it.
    """
    if name_or_path in RELEASED:
        with resources.as_file(resources.files("xrdjax") / "weights" / f"{name_or_path}.safetensors") as path:
            return Model(weights=load_weights(path), name=str(name_or_path))
    path = Path(name_or_path)
    if not path.exists():
        raise ModelError(
            f"{path}: no such model; give the directory of a run made by train.py, a *.safetensors, or one of those "
            f"that come with the package: {', '.join(RELEASED)}"
        )
    weights = run_weights(path) if path.is_dir() else load_weights(path)
    return Model(weights=weights, name=str(path))


def _log_softmax(logits: Float[np.ndarray, "*n classes"]) -> Float[np.ndarray, "*n classes"]:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
