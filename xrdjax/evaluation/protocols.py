"""Protocols: which patterns a run is asked about. Each is a function from crystals and a seed to fixed requests.

Sizes are the seed paper's where it states them: 10,000 crystals turned, all cubic ones strained, 6,305 with atoms
substituted, all held-out crystals along axes. What the paper does to training crystals is done to held-out ones, too.
Unless a protocol turns patterns itself, each is turned as those of the training are, and levels of one change differ in
nothing else: the same crystals, angles, directions and atoms.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from xrdjax.config import LARGEST_AXIS_INDEX, SEEN_AXES, UNSEEN_AXES, Axis, TrainConfig
from xrdjax.crystals.selection import select_crystals
from xrdjax.crystals.splits import PARTS, Part
from xrdjax.crystals.store import CrystalStore
from xrdjax.diffraction.lattice import direct_basis
from xrdjax.diffraction.zone import coprime_axis
from xrdjax.evaluation.depletion import depletable
from xrdjax.evaluation.requests import Requests, join_requests, make_requests
from xrdjax.patterns.changes import SITES

STRAINED_AXES: tuple[Axis, ...] = ((1, 0, 0), (1, 1, 1))
"""The two axes along which the paper strains, substitutes and depletes."""
PART_NAMES: Mapping[Part, str] = {"test": "held out", "train": "training", "validation": "validation"}
BOTH: tuple[Part, ...] = ("test", "train")
PAPER_ROTATED, PAPER_SUBSTITUTED, SMALLEST_SUBSTITUTED = 10_000, 6305, 100
RANDOM_AXES = 4  # of each crystal
VIEWED, CHANGED, TILTED, DEPLETED = 1000, 1000, 500, 50  # crystals where the paper states no number


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What patterns that are counted together have in common."""

    part: Part
    axis: str
    label: str = ""
    level: float | None = None
    """How much is changed, in the protocol's unit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Protocol:
    """Requests, and how their answers are to be counted."""

    title: str
    requests: Requests
    condition: Int[np.ndarray, "n"]
    """Number in `conditions` of each request."""
    conditions: tuple[Condition, ...]
    level: str = ""
    """What a condition's level is, with its unit."""
    unions: Mapping[str, tuple[int, ...]]
    """Conditions that are counted together under a name; the first is the protocol's headline."""
    tilt_deg: Float[np.ndarray, "n 2"] | None = None
    """Tilt of the beam off the axis and its azimuth; drawn as stills."""
    keeps_scores: bool = False
    """Whether more is asked of the answers than their first three."""
    fuses: bool = False
    """Whether a condition counts what is made of all patterns of a crystal up to it; those stand together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subjects:
    """The crystals that a run is asked about."""

    store: CrystalStore
    config: TrainConfig
    seed: int
    most: int | None = None
    """At most this many crystals of each part."""

    def choose(
        self, part: Part, most: int | None = None, fitting: Bool[np.ndarray, "crystals"] | None = None
    ) -> Int[np.ndarray, "chosen"]:
        """Return crystals of a part, at most so many; fewer are always among more."""
        crystals = select_crystals(self.store, self.config.data, part)
        order = np.random.default_rng([self.seed, PARTS.index(part)]).permutation(crystals)
        if fitting is not None:
            order = order[fitting[order]]
        return np.sort(order[: min(most or len(order), self.most or len(order))])

    def angles(self, shape: tuple[int, ...], stream: str) -> Float[np.ndarray, "..."]:
        """Return turns in radians as the training draws them."""
        return self.random(stream).uniform(-1, 1, shape) * math.radians(self.config.augment.rotation_deg)

    def random(self, stream: str) -> np.random.Generator:
        """Return the random numbers of one name."""
        return np.random.default_rng([self.seed, *stream.encode()])


Change = Callable[[float, Int[np.ndarray, "crystals"]], Mapping[str, Shaped[np.ndarray, "..."] | float | bool]]


def make_protocol(name: str, subjects: Subjects) -> Protocol:
    """Return a protocol by its name, a key of `PROTOCOLS`."""
    return PROTOCOLS[name](subjects)


def trained_axes(config: TrainConfig) -> tuple[Axis, ...]:
    """Return the axes of the training, the paper's twenty where it draws axes at random."""
    return SEEN_AXES if config.pattern.max_index else tuple(map(coprime_axis, config.pattern.axes))


def axis_label(axis: Axis) -> str:
    """Return [1 0 0]."""
    return "[" + " ".join(map(str, axis)) + "]"


def validation(subjects: Subjects) -> Protocol:
    """Patterns of validation crystals, to fit temperatures."""
    protocol = _along_axes("Validation", subjects, trained_axes(subjects.config), "validation", most=CHANGED)
    return replace(protocol, keeps_scores=True)


def _seen(subjects: Subjects) -> Protocol:
    title = "Held-out crystals along the axes of the training"
    return replace(_along_axes(title, subjects, trained_axes(subjects.config)), keeps_scores=True)


def _unseen(subjects: Subjects) -> Protocol:
    trained = trained_axes(subjects.config)
    axes = tuple(axis for axis in UNSEEN_AXES if axis not in trained)
    return _along_axes("Held-out crystals along the paper's unseen axes", subjects, axes)


def _axes(subjects: Subjects) -> Protocol:
    protocol = _along_axes("Held-out crystals along 4, 10 and 20 axes", subjects, SEEN_AXES)
    return replace(protocol, unions={f"{n} axes": tuple(range(n)) for n in (20, 10, 4)})


def _random_axes(subjects: Subjects) -> Protocol:
    crystals = np.repeat(subjects.choose("test"), RANDOM_AXES)
    random, largest = subjects.random("random axes"), LARGEST_AXIS_INDEX
    every = np.stack(np.meshgrid(*[np.arange(-largest, largest + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    every = every[np.gcd.reduce(every, axis=1) == 1]
    uvw = every[random.integers(len(every), size=len(crystals))]
    indices = range(1, largest + 1)
    return Protocol(
        title=f"Held-out crystals along random axes, indices up to ±{largest}",
        requests=make_requests(crystals, uvw, subjects.angles((len(crystals),), "random axes angle")),
        condition=np.abs(uvw).max(1) - 1,
        conditions=tuple(Condition(part="test", axis="random", level=float(index)) for index in indices),
        level="largest index of the axis",
        unions={"random axes": tuple(range(largest))},
    )


def _orientations(subjects: Subjects) -> Protocol:
    levels = (0.0, 0.25, 0.5, 1.0, 2.0)
    title = "Held-out crystals, the beam tilted off an axis"
    chosen: dict[Part, Int[np.ndarray, "_"]] = {"test": subjects.choose("test", TILTED)}
    protocol = _changed(title, subjects, chosen, levels, ("tilt", "°"), lambda level, crystals: {})
    azimuth = dict(
        zip(chosen["test"].tolist(), subjects.random("tilt").uniform(0, 360, len(chosen["test"])), strict=True)
    )
    tilt = [
        (protocol.conditions[c].level, azimuth[i])
        for c, i in zip(protocol.condition, protocol.requests.crystal.tolist(), strict=True)
    ]
    return replace(protocol, tilt_deg=np.array(tilt, float).reshape(-1, 2))


def _rotation(subjects: Subjects) -> Protocol:
    parts: tuple[tuple[Part, int | None], ...] = (("test", None), ("train", PAPER_ROTATED))
    requests, numbers, conditions = [], [], []
    for part, most in parts:
        crystals = subjects.choose(part, most)
        turned = subjects.random(f"rotation {part}").uniform(0, 2 * math.pi, len(crystals))
        for label, angle in (("turned 0 to 360°", turned), ("as they are", np.zeros(len(crystals)))):
            uvw = np.tile((1, 0, 0), (len(crystals), 1))
            requests.append(make_requests(crystals, uvw, angle))
            numbers.append(np.full(len(crystals), len(conditions)))
            conditions.append(Condition(part=part, axis=axis_label((1, 0, 0)), label=label))
    return Protocol(
        title="Patterns turned in their plane",
        requests=join_requests(requests),
        condition=np.concatenate(numbers),
        conditions=tuple(conditions),
        unions={"held out, turned": (0,), "training, turned": (2,)},
    )


def _strain(subjects: Subjects) -> Protocol:
    is_cubic = subjects.store.space_group >= 195
    return _changed(
        "Cubic crystals, strained in all directions alike",
        subjects,
        {part: subjects.choose(part, fitting=is_cubic) for part in BOTH},
        (-10.0, -5.0, 0.0, 5.0, 10.0),
        ("strain", "%"),
        lambda level, crystals: {"deformation": np.eye(3) * (1 + level / 100)},
    )


def _deformation(subjects: Subjects) -> Protocol:
    def change(level: float, crystals: Int[np.ndarray, "crystals"]) -> dict[str, np.ndarray]:
        random = subjects.random("deformation").normal(size=(len(crystals), 3, 3))
        tensor = random + np.swapaxes(random, 1, 2)
        tensor /= np.sqrt((tensor**2).sum((1, 2), keepdims=True) / 3)
        strained = np.eye(3) + tensor * (level / 100)
        return {"deformation": strained @ _into_setting(direct_basis(subjects.store.cell[crystals]) @ strained)}

    levels = (0.0, 0.5, 1.0, 2.0, 5.0)
    title = "Random strain tensors, by the root mean square of the principal strains"
    return _changed(title, subjects, {"test": subjects.choose("test", CHANGED)}, levels, ("strain", "%"), change)


def _into_setting(direct: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Return rotations that put a along x and b into the plane of x and y, as cells stand: pictures stay upright."""
    rotation, triangular = np.linalg.qr(np.swapaxes(direct, 1, 2))
    return rotation * np.sign(np.diagonal(triangular, axis1=1, axis2=2))[:, None]


def _substitution(subjects: Subjects) -> Protocol:
    is_large = subjects.store.num_atoms >= SMALLEST_SUBSTITUTED
    return _changed(
        f"Atoms substituted in cells of at least {SMALLEST_SUBSTITUTED}",
        subjects,
        {part: subjects.choose(part, PAPER_SUBSTITUTED, is_large) for part in BOTH},
        (0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0),
        ("substituted atoms", "%"),
        lambda level, crystals: {"substituted": level / 100},
    )


def _species(subjects: Subjects) -> Protocol:
    return _changed(
        "All species exchanged for others, the symmetry kept",
        subjects,
        {part: subjects.choose(part, CHANGED) for part in BOTH},
        (0.0, 100.0),
        ("exchanged species", "%"),
        lambda level, crystals: {"exchanged": level > 0},
    )


def _depletion(subjects: Subjects) -> Protocol:
    every = []
    for target in ("bcc", "fcc"):
        fitting = depletable(subjects.store, target)
        number = list(SITES).index(target)
        protocol = _changed(
            "Atoms removed until a b.c.c. or f.c.c. lattice is left",
            subjects,
            {"train": subjects.choose("train", DEPLETED, fitting)},
            (0.0, 25.0, 50.0, 75.0, 100.0),
            ("removed atoms", "%"),
            lambda level, crystals, number=number: {"removed": level / 100, "spared": number},
        )
        every.append(replace(protocol, conditions=tuple(replace(one, label=target) for one in protocol.conditions)))
    first, second = every
    count = len(first.conditions)
    return replace(
        first,
        requests=join_requests([first.requests, second.requests]),
        condition=np.concatenate([first.condition, second.condition + count]),
        conditions=first.conditions + second.conditions,
        unions={"to b.c.c.": tuple(range(count)), "to f.c.c.": tuple(range(count, 2 * count))},
    )


def _vacancies(subjects: Subjects) -> Protocol:
    is_large = subjects.store.num_atoms >= SMALLEST_SUBSTITUTED
    return _changed(
        f"Atoms missing from cells of at least {SMALLEST_SUBSTITUTED}",
        subjects,
        {"test": subjects.choose("test", CHANGED, is_large)},
        (0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0),
        ("missing atoms", "%"),
        lambda level, crystals: {"removed": level / 100},
    )


def _occupancy(subjects: Subjects) -> Protocol:
    return _changed(
        "One species partly missing on all its sites, the symmetry kept",
        subjects,
        {"test": subjects.choose("test", CHANGED)},
        (0.0, 25.0, 50.0, 75.0),
        ("empty sites", "%"),
        lambda level, crystals: {"thinned": 1 - level / 100},
    )


def _thermal(subjects: Subjects) -> Protocol:
    return _changed(
        "All atoms displaced by heat, isotropically",
        subjects,
        {"test": subjects.choose("test", CHANGED)},
        (0.0, 0.005, 0.01, 0.02, 0.05),
        ("displacement", "Å²"),
        lambda level, crystals: {"u_iso": level},
    )


def _views(subjects: Subjects) -> Protocol:
    """Return every crystal's axes in an order of its own, those of the training first; one crystal's stand together."""
    crystals, random = subjects.choose("test", VIEWED), subjects.random("views")
    axes, trained = np.array(SEEN_AXES), set(trained_axes(subjects.config))
    is_new = np.array([axis not in trained for axis in SEEN_AXES])
    order = np.argsort(is_new + random.uniform(size=(len(crystals), len(axes))), axis=1)
    angle = subjects.angles((len(crystals) * len(axes),), "views angle")
    return Protocol(
        title="Views of one crystal along different axes, fused",
        requests=make_requests(np.repeat(crystals, len(axes)), axes[order].reshape(-1, 3), angle),
        condition=np.tile(np.arange(len(axes)), len(crystals)),
        conditions=tuple(Condition(part="test", axis="random", level=float(number + 1)) for number in range(len(axes))),
        level="views of one crystal",
        unions={f"{len(axes)} views": (len(axes) - 1,), "1 view": (0,)},
        keeps_scores=True,
        fuses=True,
    )


def _along_axes(
    title: str, subjects: Subjects, axes: tuple[Axis, ...], part: Part = "test", most: int | None = None
) -> Protocol:
    """Return every crystal of a part along every axis; the axes are the conditions."""
    crystals = subjects.choose(part, most) if axes else np.zeros(0, int)
    angle = subjects.angles((len(axes), len(crystals)), title)
    uvw = np.repeat(np.array(axes, int).reshape(-1, 3), len(crystals), axis=0)
    return Protocol(
        title=title,
        requests=make_requests(np.tile(crystals, len(axes)), uvw, angle.ravel()),
        condition=np.repeat(np.arange(len(axes)), len(crystals)),
        conditions=tuple(Condition(part=part, axis=axis_label(axis)) for axis in axes),
        unions={"all axes": tuple(range(len(axes)))},
    )


def _changed(
    title: str,
    subjects: Subjects,
    chosen: Mapping[Part, Int[np.ndarray, "_"]],
    levels: tuple[float, ...],
    measure: tuple[str, str],
    change: Change,
) -> Protocol:
    """Return crystals along the two axes at every level of a change; the unions are the extreme levels of each part."""
    requests, numbers, conditions, unions = [], [], [], {}
    largest, (quantity, unit) = max(map(abs, levels)), measure
    extreme = f"{'±' if min(levels) < 0 else ''}{largest:g}{'' if unit == '°' else ' '}{unit} {quantity}"
    for part, axis in itertools.product(chosen, STRAINED_AXES):
        crystals = chosen[part]
        uvw = np.tile(axis, (len(crystals), 1))
        angle = subjects.angles((len(crystals),), f"{title} {part} {axis}")
        for level in levels:
            requests.append(make_requests(crystals, uvw, angle, **change(level, crystals)))
            numbers.append(np.full(len(crystals), len(conditions)))
            if abs(level) == largest:
                unions.setdefault(f"{PART_NAMES[part]}, {extreme}", []).append(len(conditions))
            conditions.append(Condition(part=part, axis=axis_label(axis), level=level))
    return Protocol(
        title=title,
        requests=join_requests(requests),
        condition=np.concatenate(numbers),
        conditions=tuple(conditions),
        level=f"{quantity} ({unit})",
        unions={name: tuple(own) for name, own in unions.items()},
    )


PROTOCOLS: Mapping[str, Callable[[Subjects], Protocol]] = {
    "seen": _seen,
    "unseen": _unseen,
    "axes": _axes,
    "random_axes": _random_axes,
    "orientations": _orientations,
    "rotation": _rotation,
    "strain": _strain,
    "deformation": _deformation,
    "substitution": _substitution,
    "species": _species,
    "depletion": _depletion,
    "vacancies": _vacancies,
    "occupancy": _occupancy,
    "thermal": _thermal,
    "views": _views,
}
