"""Refine a crystal structure by gradient descent through the drawing of its diffraction patterns.

    python examples/refine_structure.py [CIF] [--out refine_structure.png] [--seed 0] [--steps 300]

Observed are three pictures, one a zone. They are drawn from the true crystal by the renderer that is then fitted to
them: this tests gradients, not data, for there is no noise and no fault in the model. The start is wrong by 3 % in each
cell edge, 1.5° in each free cell angle, 0.2 Å in each atom, in a random direction, and 5° in the turn of each picture.
Refined is what the space group leaves free, as a crystallographer would: the cell, the coordinates of the asymmetric
unit, and one angle a picture. Species, occupancies and the space group are known.

Spots that do not overlap do not feel each other. Both pictures are therefore blurred, and their centre counts most:
the long spacings come first, to which neither 3 % nor 0.2 Å nor 5° is far. Blur and emphasis fade as the steps go on.

Albite (triclinic, 13 atoms: 48 numbers), quartz, fluorapatite and gypsum are found from any seed tried; in gypsum
hydrogen, which hardly scatters, comes last. FeSi sometimes ends in a false minimum, which the loss betrays. From twice
the distance albite is still found, from three times not always.

Inversion and a shift of the origin, which |F|² cannot tell, do not count as errors of the atoms.
"""

import argparse
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from PIL import Image
from scipy.optimize import linear_sum_assignment

from xrdjax import PatternConfig, XrdjaxError, read_cif, render_zones
from xrdjax.cli import exit_on_error
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.ingest import check_output
from xrdjax.crystals.symmetry import stabilisers
from xrdjax.diffraction.lattice import direct_basis
from xrdjax.patterns.pictures import Structure, structure_of, zone_picture

ALBITE = Path(__file__).parents[1] / "tests" / "data" / "cifs" / "albite_C-1.cif"
ZONES = ((0, 0, 1), (1, 0, 0), (1, 1, 0))
# The corners lie within the limiting sphere, so that no reflection comes or goes at its surface.
PATTERN = PatternConfig(height=128, width=128, extent=0.9, spot_shape="gaussian", gaussian_sigma=0.02)

EDGE_ERROR = 0.03  # of the edge
ANGLE_ERROR_DEG = 1.5
ATOM_ERROR = 0.2  # Å
TURN_ERROR_DEG = 5.0

BLUR = (0.06, 0.005)  # standard deviation in 1/Å, first and last
EMPHASIS = (0.25, 1.3)  # standard deviation in 1/Å of the weight about the centre, first and last
COARSE_PART = 0.7  # of the steps, in which blur and emphasis go from first to last
FLOOR = 1e-4  # of the strongest spot, added to pictures; at zero the slope of a square root is infinite
RECORD_EVERY = 5  # steps

INK, GREY, FAINT = "#10182b", "#8a8f99", "#c9ccd3"
FONT_SIZE = 8.4
DPI = 200

Pictures = Float[Array, "zones height width"]


class Shifts(NamedTuple):
    """What is refined, as shifts from the start."""

    edges: Float[Array, "3"]
    """Of the cell, in Å."""
    angles: Float[Array, "3"]
    """Of the cell, in degrees."""
    sites: Float[Array, "sites 3"]
    """Of the asymmetric unit, in Å along the edges."""
    turns: Float[Array, "zones"]
    """Of the pictures, in degrees, counter-clockwise."""


RATES = {"edges": 0.01, "angles": 0.1, "sites": 0.02, "turns": 0.3}  # Adam's: the first step, in each one's unit


class Observation(NamedTuple):
    """Pictures, and how they are taken."""

    zones: tuple[tuple[int, int, int], ...]
    pattern: PatternConfig
    pictures: Float[np.ndarray, "zones height width"]


class Fit(NamedTuple):
    """Where a refinement is after some steps."""

    step: int
    loss: float
    crystal: Crystal
    turns_deg: Float[np.ndarray, "zones"]


class Errors(NamedTuple):
    """How far a fit is from the truth."""

    cell_percent: float
    """Largest strain, along any direction, from the true cell to the refined one."""
    atoms: float
    """Mean distance in Å of the atoms from their true places."""
    worst_atom: float
    turn_deg: float
    """Largest of the pictures'."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A refinement with the truth it should find."""

    observed: Observation
    fits: list[Fit]
    errors: list[Errors]


def main() -> None:
    """Read the command line, refine, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cif", nargs="?", type=Path, default=ALBITE, help="the true crystal (default: albite)")
    parser.add_argument("--out", type=Path, default=Path("refine_structure.png"), help="the picture to write, *.png")
    parser.add_argument("--seed", type=int, default=0, help="of the errors of the start (default: 0)")
    parser.add_argument("--steps", type=int, default=300, help="of gradient descent (default: 300)")
    arguments = parser.parse_args()
    with exit_on_error():
        check_arguments(arguments)
        run = refine_from_errors(read_cif(arguments.cif), seed=arguments.seed, steps=arguments.steps)
        save(figure_of(run), arguments.out)


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raise XrdjaxError for what cannot be done, before anything is."""
    if arguments.out.suffix.lower() != ".png":
        raise XrdjaxError(f"--out {arguments.out}: the picture is a PNG; give it a name that ends in .png")
    check_output(arguments.out, overwrite=True)
    for name, least in (("steps", 1), ("seed", 0)):
        if (value := getattr(arguments, name)) < least:
            raise XrdjaxError(f"--{name} {value}: expected {least} or more")


def refine_from_errors(
    crystal: Crystal,
    *,
    seed: int,
    steps: int,
    pattern: PatternConfig = PATTERN,
    zones: tuple[tuple[int, int, int], ...] = ZONES,
    show: Callable[[str], None] = print,
) -> Run:
    """Draw a crystal, put it wrong, refine it; show a line every twenty steps."""
    rng = np.random.default_rng(seed)
    turns_deg = rng.uniform(-30, 30, len(zones))
    pictures = render_zones(crystal, zones, pattern, angle_deg=turns_deg.tolist())
    observed = Observation(zones, pattern, pictures)
    start = misplace(crystal, rng)
    start_turns = turns_deg + TURN_ERROR_DEG * rng.choice((-1, 1), len(zones))
    fits, errors = [], []
    show("  step      loss    cell %   atoms Å   worst Å    turn °")
    for fit in refine(start, start_turns, observed, steps):
        fits.append(fit)
        errors.append(errors_of(fit, crystal, turns_deg))
        if fit.step % (4 * RECORD_EVERY) == 0 or fit.step == steps:
            show(f"{fit.step:6}  {fit.loss:8.1e}" + "".join(f"  {error:8.1e}" for error in errors[-1]))
    return Run(observed=observed, fits=fits, errors=errors)


def misplace(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return the crystal with a wrong cell and wrong atoms, as wrong as its space group allows."""
    cell, basis = misplaced_cell(crystal, rng), direct_basis(crystal.cell)
    direction = rng.normal(size=(len(crystal.first_atoms), 3)) @ np.linalg.inv(basis)
    move = (site_motions(crystal) @ direction[crystal.site][..., None])[..., 0]
    length = np.linalg.norm(move @ basis, axis=-1, keepdims=True)
    move = np.where(length > 1e-6, move * ATOM_ERROR / np.maximum(length, 1e-6), 0)
    return replace(crystal, cell=cell, fract=(crystal.fract + move) % 1)


def misplaced_cell(crystal: Crystal, rng: np.random.Generator) -> Float[np.ndarray, "6"]:
    """Return a cell with wrong edges, and wrong angles where they are free; equal ones stay equal."""

    def signs(values: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
        return rng.choice((-1.0, 1.0), 3)[np.unique(values.round(3), return_inverse=True)[1]]

    edges = crystal.cell[:3] * (1 + EDGE_ERROR * signs(crystal.cell[:3]))
    angles = crystal.cell[3:] + ANGLE_ERROR_DEG * signs(crystal.cell[3:])
    cell = symmetric_cell(jnp.asarray(np.concatenate([edges, angles]), float), crystal.operations.rotation)
    return np.concatenate([edges, np.asarray(cell[3:], float)])


def symmetric_cell(cell: Float[Array, "6"], rotation: np.ndarray) -> Float[Array, "6"]:
    """Return the cell with its metric averaged over the rotations (n, 3, 3) of the space group."""
    basis, turn = direct_basis(cell), jnp.asarray(rotation, float)
    metric = (basis[:, None] * basis).sum(-1)
    metric = jnp.einsum("nji,jk,nkl->il", turn, metric, turn, precision="highest") / len(turn)
    edges = jnp.sqrt(jnp.diag(metric))
    cosines = (metric / (edges * edges[:, None]))[(1, 0, 0), (2, 2, 1)]
    return jnp.concatenate([edges, jnp.degrees(jnp.arccos(cosines))])


def site_motions(crystal: Crystal) -> Float[np.ndarray, "atoms 3 3"]:
    """Return how each atom moves, in fractions, with the atom of the asymmetric unit that it is an image of.

    A motion is first projected on what the site symmetry leaves free: atoms stay on special positions.
    """
    rotation = crystal.operations.rotation.astype(float)
    own = stabilisers(crystal.fract[crystal.first_atoms], crystal.operations)
    free = np.stack([rotation[row].mean(0) for row in own])
    return rotation[crystal.operation] @ free[crystal.site]


def refine(start: Crystal, start_turns: Float[np.ndarray, "zones"], observed: Observation, steps: int) -> Iterator[Fit]:
    """Yield the start, and where gradient descent is every `RECORD_EVERY` steps and at its end."""
    model = jax.jit(make_model(start))
    shifts = no_shifts(len(start.first_atoms), len(observed.zones))
    optimizer = make_optimizer(steps)
    state = optimizer.init(shifts)
    descend = make_descent(start, start_turns, observed, optimizer)
    for step in range(steps + 1):
        sharpness = min(step / (COARSE_PART * steps), 1.0)
        next_shifts, state, loss = descend(shifts, state, sharpness)
        if step % RECORD_EVERY == 0 or step == steps:
            structure = model(shifts)
            cell, fract = np.asarray(structure.cell, float), np.asarray(structure.fract, float) % 1
            crystal = replace(start, cell=cell, fract=fract)
            yield Fit(step, float(loss), crystal, start_turns + np.asarray(shifts.turns))
        shifts = next_shifts


def no_shifts(num_sites: int, num_zones: int) -> Shifts:
    """Return the shifts of the start."""
    return Shifts(edges=jnp.zeros(3), angles=jnp.zeros(3), sites=jnp.zeros((num_sites, 3)), turns=jnp.zeros(num_zones))


def make_optimizer(steps: int) -> optax.GradientTransformation:
    """Return Adam with a rate of its own for each kind of shift, all falling to a fiftieth along a cosine."""
    kinds: dict[Hashable, optax.GradientTransformation] = {
        kind: optax.adam(optax.cosine_decay_schedule(rate, steps, alpha=0.02)) for kind, rate in RATES.items()
    }
    return optax.partition(kinds, Shifts._make(Shifts._fields))


def make_model(start: Crystal) -> Callable[[Shifts], Structure]:
    """Return the structure as a function of the shifts, with the symmetry of the start."""
    base, motions, site = structure_of(start), jnp.asarray(site_motions(start), float), start.site

    def model(shifts: Shifts) -> Structure:
        cell = base.cell + jnp.concatenate([shifts.edges, shifts.angles])
        move = jnp.einsum("nij,nj->ni", motions, (shifts.sites / base.cell[:3])[site], precision="highest")
        return replace(base, cell=symmetric_cell(cell, start.operations.rotation), fract=base.fract + move)

    return model


def make_descent(
    start: Crystal,
    start_turns: Float[np.ndarray, "zones"],
    observed: Observation,
    optimizer: optax.GradientTransformation,
) -> Callable[[Shifts, optax.OptState, float], tuple[Shifts, optax.OptState, Array]]:
    """Return one step of gradient descent: next shifts, next state, and the loss before the step."""
    model, pictures = make_model(start), jnp.asarray(observed.pictures)
    draws = [zone_picture(start, zone, observed.pattern) for zone in observed.zones]

    def loss_of(shifts: Shifts, sharpness: float) -> Array:
        structure, turns = model(shifts), jnp.asarray(start_turns, float) + shifts.turns
        drawn = jnp.stack([draw(structure, turn) for draw, turn in zip(draws, turns, strict=True)])
        return misfit(drawn, pictures, sharpness, observed.pattern)

    @jax.jit
    def descend(shifts: Shifts, state: optax.OptState, sharpness: float) -> tuple[Shifts, optax.OptState, Array]:
        loss, slope = jax.value_and_grad(loss_of)(shifts, sharpness)
        updates, state = optimizer.update(slope, state)
        return jax.tree.map(jnp.add, shifts, updates), state, loss

    return descend


def misfit(drawn: Pictures, observed: Pictures, sharpness: float | Array, pattern: PatternConfig) -> Array:
    """Return the mean square difference of blurred amplitudes, as a fraction of the observed ones' mean square.

    A scale factor for each picture is fitted first: which spot is the strongest, and so has height 1, plays no part.
    """
    width, emphasis = (first * (last / first) ** sharpness for first, last in (BLUR, EMPHASIS))
    x = (jnp.arange(pattern.width) - (pattern.width - 1) / 2) * pattern.pixel
    weight = jnp.exp(-(x**2 + x[:, None] ** 2) / (2 * emphasis**2))
    drawn, observed = jnp.sqrt(blur(drawn, width, x) + FLOOR), jnp.sqrt(blur(observed, width, x) + FLOOR)

    def over_pixels(values: Pictures) -> Float[Array, "zones 1 1"]:
        return (weight * values).sum((1, 2), keepdims=True)

    scale = over_pixels(drawn * observed) / over_pixels(drawn**2)
    return (over_pixels((scale * drawn - observed) ** 2) / over_pixels(observed**2)).mean()


def blur(pictures: Pictures, width: float | Array, x: Float[Array, "pixels"]) -> Pictures:
    """Return square pictures convolved with a Gaussian of this standard deviation, in the unit of `x`."""
    kernel = jnp.exp(-((x - x[:, None]) ** 2) / (2 * width**2))
    kernel = kernel / kernel.sum(1, keepdims=True)
    return jnp.einsum("ij,zjk,lk->zil", kernel, pictures, kernel, precision="highest")


def errors_of(fit: Fit, crystal: Crystal, turns_deg: Float[np.ndarray, "zones"]) -> Errors:
    """Compare a fit with the truth."""
    deformation = np.linalg.inv(direct_basis(crystal.cell)) @ direct_basis(fit.crystal.cell)
    stretch = np.linalg.svd(deformation, compute_uv=False)
    distance = atom_distances(crystal, fit.crystal.fract)
    turn = np.abs(fit.turns_deg - turns_deg).max()
    return Errors(100 * float(np.abs(stretch - 1).max()), float(distance.mean()), float(distance.max()), float(turn))


def atom_distances(crystal: Crystal, fract: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "atoms"]:
    """Return the distances in Å to the atoms' true places, after the inversion and origin that make them least.

    Of each origin that puts one atom of the rarest species on a place of its own kind, atoms are paired one to one.
    """
    basis, species = direct_basis(crystal.cell), np.array(crystal.species)
    anchors = np.flatnonzero(species == min(set(crystal.species), key=crystal.species.count))

    def distances(image: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "atoms"]:
        away = crystal.fract - image[:, None]
        away = (away - away.round()) @ basis
        cost = (away**2).sum(-1) + np.where(species[:, None] == species, 0, 1e6)
        paired = away[linear_sum_assignment(cost)]
        return np.linalg.norm(paired - paired.mean(0), axis=-1)

    images = [sign * (fract - fract[anchors[0]]) + crystal.fract[anchor] for sign in (1, -1) for anchor in anchors]
    return min(map(distances, images), key=np.mean)


def figure_of(run: Run) -> Figure:
    """Return the zones in rows, observed, at the start, on the way and at the end, and the errors below."""
    figure = Figure(figsize=(9.6, 9.4))
    upper, lower = figure.subfigures(2, 1, height_ratios=(3.06, 1))  # ty: ignore[not-iterable]
    shown = shown_fits(run.fits)
    show_pictures(upper.subplots(len(run.observed.zones), 4, squeeze=False), run, shown)
    show_errors(lower.subplots(1, 4), run, shown)
    upper.subplots_adjust(left=0.055, right=0.995, top=0.97, bottom=0.01, wspace=0.03, hspace=0.03)
    lower.subplots_adjust(left=0.06, right=0.995, top=0.86, bottom=0.19, wspace=0.3)
    return figure


def shown_fits(fits: list[Fit]) -> list[Fit]:
    """Return the first fit, one after a twentieth of the steps, and the last."""
    return [fits[0], fits[max(1, len(fits) // 20)], fits[-1]]


def show_pictures(grid: np.ndarray, run: Run, shown: list[Fit]) -> None:
    """Draw one row a zone: what is observed, and what some fits give, spots dark, grey by √intensity."""
    zones, pattern, pictures = run.observed
    columns = [("observed", pictures)]
    for fit in shown:
        name = f"step {fit.step}" if fit.step else "start"
        columns.append((name, render_zones(fit.crystal, zones, pattern, angle_deg=fit.turns_deg.tolist())))
    for axes, (name, pictures) in zip(grid.T, columns, strict=True):
        axes[0].set_title(name, fontsize=FONT_SIZE, color=INK, pad=4)
        for ax, picture in zip(axes, pictures, strict=True):
            ax.imshow(1 - np.sqrt(picture), cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(color=FAINT, linewidth=0.6)
    for ax, zone in zip(grid[:, 0], zones, strict=True):
        ax.set_ylabel(f"[{''.join(map(str, zone))}]", fontsize=FONT_SIZE, color=INK)


def show_errors(row: np.ndarray, run: Run, shown: list[Fit]) -> None:
    """Draw loss and errors against the step, with a mark at each step whose picture is shown."""
    curves = {
        "loss": [fit.loss for fit in run.fits],
        "error of the cell / %": [error.cell_percent for error in run.errors],
        "mean error of the atoms / Å": [error.atoms for error in run.errors],
        "error of the turns / °": [error.turn_deg for error in run.errors],
    }
    steps = [fit.step for fit in run.fits]
    marks = [steps.index(fit.step) for fit in shown]
    for ax, (name, values) in zip(row, curves.items(), strict=True):
        ax.set_title(name, fontsize=FONT_SIZE, color=INK, pad=6)
        ax.plot(steps, values, "-o", markevery=marks, color=INK, linewidth=1.2, markersize=3.5)
        if max(values) > 0:  # atoms on special positions have no error
            ax.set_yscale("log", nonpositive="mask")
            ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xlabel("step", fontsize=FONT_SIZE, color=INK)
        ax.tick_params(which="both", labelsize=FONT_SIZE - 1, color=GREY, labelcolor=INK)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set(color=GREY, linewidth=0.6)
        ax.grid(axis="y", color=FAINT, linewidth=0.4)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of few greys, which halves the file."""
    figure.savefig(path, dpi=DPI, facecolor="white")
    Image.open(path).convert("L").quantize(128).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
