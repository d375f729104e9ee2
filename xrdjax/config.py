"""What a run is made of: frozen dataclasses with their units and allowed ranges.

Ranges stand in the annotations and are checked, all at once, by `validate`.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Literal, TypeVar

import tyro
from annotated_types import Ge, Gt, Le, Len, Lt
from pydantic import AllowInfNan, ConfigDict, TypeAdapter, ValidationError

from xrdjax.errors import ConfigError

C = TypeVar("C")
D = TypeVar("D", bound="DiffractionConfig")
Axis = tuple[int, int, int]
Radiation = Literal["xray", "electron"]
LorentzPolarization = Literal["none", "powder", "single_crystal"]
Positive = Annotated[float, Gt(0), AllowInfNan(False)]
NonNegative = Annotated[float, Ge(0), AllowInfNan(False)]
Count = Annotated[int, Gt(0)]
Pixels = Annotated[int, Gt(0), Le(8192)]
Probability = Annotated[float, Ge(0), Le(1)]

CU_K_ALPHA1 = 1.5406
"""Wavelength in Å, rounded as the seed paper rounds it."""
CR_K_ALPHA1 = 2.2897
"""Wavelength in Å (ITC C 1992, table 4.2.2.4)."""


LARGEST_AXIS_INDEX = 5
"""Largest index of random zone axes, and of any axis that is fed to the network."""


def _axes(text: str) -> tuple[Axis, ...]:
    return tuple((int(u), int(v), int(w)) for u, v, w in text.split())


SEEN_AXES = _axes("111 100 010 001 110 101 210 012 112 121 122 212 103 310 123 312 023 302 313 331")
"""The zone axes that the paper's model-4 is trained on; the first ten are model-3's, 100 010 001 111 model-2's."""
UNSEEN_AXES = _axes("131 211 011 120")
"""The four axes on which the paper tests what its models were never shown."""


@dataclass(frozen=True, kw_only=True)
class ProceduralConfig:
    """Which crystals are made up; their cells are always shaped and filled like those of the training split."""

    groups: str = "balanced"
    """All 230 space groups equally often ("balanced"), each as often as in the training split ("training"), or by a
    prior of your own: the path of a CSV file with lines of space group,weight."""
    statistics: Literal["uniform", "training"] = "uniform"
    """Occupied positions and elements at random, unrelated to any crystal, or as often as in the training split."""


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which crystals of a store, by what label, and how they are divided. Nothing of it needs packing again."""

    split: str = "random"
    """70/20/10 per space group: "random"; "type", no structure type shared between the parts; or the path of a CSV file
    with lines of name,part (train, validation or test), which leaves out all other crystals."""
    split_seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    """Of the division, and of what `cap` leaves out. A crystal's part follows from store and seed, not from filters."""
    label: Literal["declared", "found", "agreed"] = "declared"
    """The space group that the file's symmetry says; that a symmetry search found in the atoms; or the declared one,
    and crystals for which the two differ left out."""
    duplicates: bool = False
    """Keep crystals that are the same structure as an earlier one of the store."""
    elements: tuple[str, ...] = ()
    """Only crystals made of these elements; empty allows all."""
    without_elements: tuple[str, ...] = ()
    """Leave out crystals that contain any of these."""
    max_atoms: Count | None = None
    """Leave out crystals with more atoms in the conventional cell."""
    min_members: Count = 1
    """Leave out space groups with fewer crystals than this, of those that are left so far."""
    cap: Count | None = None
    """Largest number of crystals of one space group, the same share of each part. The paper takes 500."""


@dataclass(frozen=True, kw_only=True)
class DataConfig(SelectionConfig):
    """Which crystals."""

    store: Annotated[str, tyro.conf.arg(aliases=["--data"])] = "open"
    """Name of an embedded store, or path of one made by `xrdjax pack`."""
    mixture: Probability = 0.0
    """Share of each training batch that is made up, not taken from the store; rounded to sixteenths of a batch."""
    procedural: ProceduralConfig = field(default_factory=ProceduralConfig)
    balance: Probability = 0.0
    """How evenly stored training crystals of the space groups are drawn: 0 as often as there are crystals, 1 every
    group equally often, between them as the number of crystals to the power of 1 − this."""
    pictures: str | None = None
    """A directory of pictures with labels (docs/training.md), mixed into training batches."""
    pictures_share: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Probability of each picture of a training batch to be one of those instead."""


@dataclass(frozen=True, kw_only=True)
class DiffractionConfig:
    """What is diffracted by what, and which part of it a picture shows."""

    wavelength: Positive = CU_K_ALPHA1
    """In Å. Reflections with |G| < 2/wavelength are drawn."""
    radiation: Radiation = "xray"
    """Which form factors. Electrons need a `d_min`, and a wavelength of theirs: 0.02508 Å at 200 kV."""
    d_min: Positive | None = None
    """Leave out reflections with a smaller spacing in Å; None keeps all of the limiting sphere."""
    layer: Annotated[int, Ge(-1000), Le(1000)] = 0
    """n of the drawn layer hu + kv + lw = n."""
    precession_deg: Annotated[float, Gt(0), Lt(90)] | None = None
    """Precession angle µ of a camera: draw what it records of the layer, a blind centre left out. None draws all."""
    lorentz_polarization: LorentzPolarization = "none"
    """Intensities as |F|², or times (1 + cos² 2θ) / (sin² θ cos θ) or (1 + cos² 2θ) / (2 sin 2θ)."""
    occupancy: bool = True
    """Weigh atoms by their occupancies; otherwise every site is full."""
    debye_waller: bool = False
    """Weaken reflections by the atoms' own displacements; otherwise they are at rest."""
    anomalous: bool = False
    """Add f′ and f″ at the wavelength; Friedel mates then differ."""
    ions: bool = True
    """Give ions their own form factors; otherwise atoms are neutral."""
    normalize: Literal["zone", "sphere"] = "zone"
    """Which strongest reflection others are measured by: the drawn ones', or all of the limiting sphere's."""
    frame: Literal["zone", "paper"] = "zone"
    """The layer as it is, or distorted, mirrored, turned and cut off as by the seed paper's pipeline."""

    @property
    def g_max(self) -> float:
        """Radius in 1/Å of the sphere that holds all reflections."""
        return 2 / self.wavelength if self.d_min is None else 1 / self.d_min

    def widened(self: D, factor: float) -> D:
        """Return the options with all of reciprocal space in view larger by a factor, as a crystal so stretched needs.

        A stretched crystal is the crystal as it is, seen with a shorter wavelength.
        """
        d_min = None if self.d_min is None else self.d_min / factor
        return replace(self, wavelength=self.wavelength / factor, d_min=d_min)

    @property
    def has_friedel_pairs(self) -> bool:
        """Whether every drawn reflection has a mate of the same intensity, opposite in the picture."""
        return self.layer == 0 and not self.anomalous


@dataclass(frozen=True, kw_only=True)
class PatternConfig(DiffractionConfig):
    """Which layer of reciprocal space is drawn, and how."""

    axes: Annotated[tuple[Axis, ...], Len(1)] = SEEN_AXES
    """Zone axes, chosen with equal probability."""
    max_index: Annotated[int, Ge(0), Le(LARGEST_AXIS_INDEX)] = 0
    """If above 0: instead of `axes`, every coprime integer axis with indices of either sign up to this."""
    height: Pixels = 128
    width: Pixels = 128
    """Picture size in pixels. Pixels are square."""
    extent: Positive = 1.4
    """Half of the shorter side of the picture in 1/Å."""
    spot_shape: Literal["disc", "gaussian"] = "disc"
    """Filled discs whose radius tells the intensity, or Gaussians whose height does."""
    disc_radius: Positive = 0.1
    """Radius of the strongest spot in 1/Å."""
    radius_law: Literal["linear", "sqrt", "log"] = "linear"
    """Radius proportional to the intensity (the paper), or to its square root or logarithm, which show weak spots."""
    softness: Positive = 1.0
    """Width of a disc's edge in pixels; 1 is plain anti-aliasing."""
    edge_pixels: NonNegative = 0.0
    """Widen every disc by this many pixels, as a drawn outline does; the paper's pictures have about 0.7."""
    gaussian_sigma: Positive = 0.04
    """Standard deviation of Gaussian spots in 1/Å."""
    direct_beam: NonNegative = 0.0
    """Radius in 1/Å of a bright disc at the origin; 0 draws none."""

    @property
    def pixel(self) -> float:
        """Pixel size in 1/Å."""
        return 2 * self.extent / min(self.height, self.width)


PAPER_PATTERN = PatternConfig(
    frame="paper",
    normalize="sphere",
    occupancy=False,
    height=322,
    width=322,
    extent=161 / 107.86,
    edge_pixels=0.69,
    direct_beam=0.015 + 0.69 / 107.86,
)
"""The seed paper's pictures: 107.86 pixels per 1/Å, discs with an outline of one point at 100 dots an inch."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What is done to a crystal before it is drawn. Zero is off: no cost, and the same picture bit for bit."""

    rotation_deg: Annotated[float, Ge(0), Le(180)] = 0.0
    """In-plane rotation, uniform within ± this angle; 180 is any angle."""
    strain: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Isotropic strain of the cell edges, uniform within ± this fraction."""
    substitute_atoms: Probability = 0.0
    """Probability of each atom to become a random element, on its own: noise that breaks the symmetry."""
    substitute_species: Probability = 0.0
    """Probability of a crystal to have every species exchanged for another, distinct ones for clearly distinct ones."""
    vacancies: Probability = 0.0
    """Probability of each atom to be missing."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A network with two heads. The defaults are the seed paper's VGG."""

    architecture: Literal["vgg", "residual"] = "vgg"
    """Blocks of plain convolutions and a 2 × 2 max-pool; or a convolution with stride 2 and residual units, which see
    each pixel's |G| beside the picture."""
    channels: Annotated[tuple[Count, ...], Len(1)] = (64, 128, 256, 512)
    """Channels of the blocks; each block halves the picture."""
    convolutions: Annotated[tuple[Count, ...], Len(1)] = (2,)
    """3 × 3 convolutions, or residual units of two, in a block: one number for all blocks or one for each."""
    hidden: tuple[Count, ...] = (4096, 4096)
    """Width of the fully connected layers; there may be none."""
    features: Count = 7
    """Side of the feature map, averaged down to this many cells, that enters the first fully connected layer."""
    normalize: Literal["none", "batch", "group"] = "none"
    """Batch normalisation, or group normalisation in up to 32 groups of channels, with every convolution."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.5
    """Dropped fraction after each fully connected layer."""
    sees_axis: bool = False
    """Feed the zone axis to the network, as the seed paper's released code does. The honest default does not."""
    says_axis: bool = False
    """Three more heads say the indices of the zone axis, as in that code; `optim.axis_weight` is their weight."""
    fuse: Literal["mean", "attention"] = "mean"
    """How what is seen in several views of a crystal becomes one: all alike, or weighted by learned attention."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision inside the network; parameters and physics stay float32."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW with linear warm-up, then constant or cosine decay, and what the loss is made of."""

    lr: Positive = 1e-4
    weight_decay: NonNegative = 0.0
    """Of matrices and kernels; biases and scales are left alone."""
    warmup_steps: Annotated[int, Ge(0)] = 0
    schedule: Literal["constant", "cosine"] = "constant"
    clip_norm: Positive | None = None
    """Largest global norm of the gradient."""
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None = None
    """Validate and evaluate with a running mean of the parameters that forgets so slowly, such as 0.999."""
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the target that is spread over all classes."""
    friedel_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the target that is spread over the space groups with the same absences and Laue class as the true one,
    which no number of patterns tells apart by symmetry."""
    space_group_weight: NonNegative = 1.0
    crystal_system_weight: NonNegative = 1.0
    """Weights of the two heads' cross-entropies in the loss."""
    axis_weight: NonNegative = 0.1
    """Weight of the sum of three cross-entropies, for u, v and w, where the network says them."""
    consistency_weight: NonNegative = 0.0
    """Weight of the Kullback–Leibler divergence of the crystal-system head from what the other head implies."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run."""

    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    steps: Count = 1000
    """Optimiser steps in all."""
    batch_size: Count = 128
    """Pictures of a step."""
    views: Count = 1
    """Pictures of each crystal, along different axes, that the network sees together. Training shows it a random number
    of them, from one to all; validation all."""
    steps_per_dispatch: Count = 1
    """Steps done on the device between two looks of the host; every interval below is a multiple of it. Leave it at 1
    on CPUs, where convolutions inside a loop are slow (docs/design.md); 10 to 50 hides the host on accelerators."""
    log_every: Count = 50
    validate_every: Count = 500
    validation_patterns: Count = 1024
    checkpoint_every: Count = 500
    keep_checkpoints: Count = 2
    """How many of the newest checkpoints are kept."""
    keep_best: Annotated[int, Ge(0)] = 1
    """How many are kept for their accuracy of space groups at validation, of those written at a validation."""
    keep_every: Count | None = None
    """Keep every checkpoint whose step is a multiple of this, too."""
    shard_parameters: bool = False
    """Spread large parameters, and what the optimiser keeps of them, over the devices, for networks that are too large
    for each to hold; they are gathered anew in every step."""
    on_nan: Literal["stop", "skip"] = "stop"
    """A step whose loss or gradient is no number or out of all proportion stops the run, or is left out and counted."""
    repeat_after: Count | None = None
    """After so many steps the same batches come again, in the same order, as if pictures had been stored."""
    test_crystals: Count | None = None
    """How many held-out crystals the evaluation draws from each axis; None takes all."""
    start_from: str | None = None
    """Workdir of a run, or a file of weights, whose parameters this one starts from where names and shapes agree."""
    freeze: tuple[str, ...] = ()
    """Beginnings of the names of parameters that stay as they are, such as blocks.0 or blocks."""
    data: DataConfig = field(default_factory=DataConfig)
    pattern: PatternConfig = field(default_factory=PatternConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)

    __pydantic_config__ = ConfigDict(extra="forbid")


def check_data(data: DataConfig) -> DataConfig:
    """Return the choice of crystals, checked on its own. Raises ConfigError naming every field out of range."""
    return from_values(asdict(data), DataConfig, "data")


def check_pattern(pattern: PatternConfig) -> PatternConfig:
    """Return the pattern, checked on its own. Raises ConfigError as `validate` does."""
    pattern = from_values(asdict(pattern), PatternConfig, "pattern")
    if faults := list(_diffraction_misfits(pattern)):
        raise ConfigError("; ".join(faults))
    return pattern


def check_diffraction(diffraction: D) -> D:
    """Return the options, checked on their own. Raises ConfigError naming every one out of range."""
    diffraction = from_values(asdict(diffraction), type(diffraction), "")
    if faults := list(_diffraction_misfits(diffraction, prefix="")):
        raise ConfigError("; ".join(faults))
    return diffraction


def validate(config: TrainConfig) -> TrainConfig:
    """Return the configuration, whole numbers made floats where those are meant.

    Raises ConfigError naming every field out of range, its value and the range.
    """
    config = from_values(asdict(config), TrainConfig, "configuration")
    faults = [*_uneven_intervals(config), *_misfits(config)]
    if faults:
        raise ConfigError("configuration: " + "; ".join(faults))
    return config


def from_values(values: object, kind: type[C], origin: str) -> C:
    """Return the dataclass that nested dictionaries spell out. Raises ConfigError as `validate`, naming `origin`."""
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors())
        raise ConfigError((f"{origin}: " if origin else "") + "; ".join(faults)) from None


def _uneven_intervals(config: TrainConfig) -> Iterator[str]:
    dispatch = config.steps_per_dispatch
    for name in ("steps", "log_every", "validate_every", "checkpoint_every"):
        if getattr(config, name) % dispatch:
            yield f"{name} = {getattr(config, name)}: expected a multiple of steps_per_dispatch = {dispatch}"
    if config.keep_every is not None and config.keep_every % config.checkpoint_every:
        yield f"keep_every = {config.keep_every}: expected a multiple of checkpoint_every = {config.checkpoint_every}"


def _misfits(config: TrainConfig) -> Iterator[str]:
    """Yield what the parts of a configuration demand of each other."""
    blocks, depths = len(config.model.channels), config.model.convolutions
    if len(depths) not in (1, blocks):
        yield f"model.convolutions = {depths}: {len(depths)} numbers; expected 1, or one for each of {blocks} blocks"
    yield from _mixing_misfits(config)
    for name in ("height", "width"):
        if (size := getattr(config.pattern, name)) < 2**blocks:
            yield f"pattern.{name} = {size}: each of {blocks} blocks halves the picture; expected at least {2**blocks}"
    yield from _diffraction_misfits(config.pattern)
    limit = LARGEST_AXIS_INDEX if config.model.sees_axis else 1000
    known = set()
    for axis in config.pattern.axes:
        divisor = math.gcd(*axis)
        direction = tuple(index // max(divisor, 1) for index in axis)
        if divisor == 0 or max(map(abs, direction)) > limit:
            yield f"pattern.axes = {axis}: expected a direction with indices up to {limit}" + (
                " where model.sees_axis is on" if config.model.sees_axis else ""
            )
        if direction in known:
            yield f"pattern.axes = {axis}: this direction is given twice, which would double its weight"
        known.add(direction)


def _mixing_misfits(config: TrainConfig) -> Iterator[str]:
    """Yield what views and pictures of one's own demand."""
    if config.batch_size % config.views:
        yield f"batch_size = {config.batch_size}: expected a multiple of views = {config.views}"
    if config.views > 1 and not config.pattern.max_index and config.views > len(config.pattern.axes):
        yield f"views = {config.views}: expected at most as many as pattern.axes has, {len(config.pattern.axes)}"
    if config.data.pictures_share and config.data.pictures is None:
        yield f"data.pictures_share = {config.data.pictures_share}: expected data.pictures to name a directory"
    if config.data.pictures_share and config.views > 1:
        yield f"data.pictures_share = {config.data.pictures_share}: expected 0 where views is above 1"


def _diffraction_misfits(diffraction: DiffractionConfig, prefix: str = "pattern.") -> Iterator[str]:
    d_min, smallest = diffraction.d_min, diffraction.wavelength / 2
    if d_min is not None and d_min < smallest:
        yield f"{prefix}d_min = {d_min}: expected at least half a wavelength, {smallest:g} Å; nothing is below it"
    if diffraction.radiation == "electron" and d_min is None:
        yield f"{prefix}d_min = None: electrons need a limit, such as 0.5 Å; their limiting sphere is immense"
    for name, off in (("anomalous", False), ("lorentz_polarization", "none")):
        if diffraction.radiation == "electron" and (value := getattr(diffraction, name)) != off:
            yield f"{prefix}{name} = {value!r}: electrons have no such factor; expected {off!r}"
    if diffraction.frame == "paper" and (diffraction.layer or diffraction.precession_deg is not None):
        yield f"{prefix}frame = 'paper': the paper's pipeline has whole zero layers only"
