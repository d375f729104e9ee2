"""Draw the pictures of the README and the docs from the crystals that come with the package.

    python tools/make_pictures.py docs/images

The zones in them are drawn by the functions that draw training batches.
"""

import argparse
import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path

import gemmi
import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image

import xrdjax
from xrdjax.config import PAPER_PATTERN, AugmentConfig, DataConfig, PatternConfig, TrainConfig
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import element_of
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.write import write_store
from xrdjax.diffraction.lattice import direct_basis

# One of each crystal system, by their names in the embedded store.
CRYSTALS = {
    "qzx_A-1 (AMCSD 0002984)": "malayaite",
    "och_SiO2-Coesite (COD 9000802)": "coesite",
    "amcsd_1118 (AMCSD 0001118)": "forsterite",
    "c2c_anatase (COD 1526931)": "anatase",
    "amcsd_98 (AMCSD 0000098)": "calcite",
    "qzx_P6_mcc (AMCSD 0001040)": "beryl",
    "gsas_CaF2": "fluorite",
}
ZONES = ((1, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1))
AUGMENTED = "qzx_P6_mcc (AMCSD 0001040)"
BENITOITE = "qzx_P-6c2 (AMCSD 0019506)"  # barium in a crystal without centre, also as seen along its threefold axis
FORMULA_ORDER = ("Ba", "Ca", "Mg", "Ti", "Sn", "Be", "Al", "Si", "C", "O", "F")  # as formulas are written: anions last
PATTERN = PatternConfig(height=300, width=300, extent=1.35, disc_radius=0.075, radius_law="sqrt")
BEAM_PATTERN = replace(PATTERN, direct_beam=0.045)
ELECTRONS = replace(BEAM_PATTERN, radiation="electron", wavelength=xrdjax.electron_wavelength(200e3), d_min=0.5)
RINGS = replace(PATTERN, height=600, width=600, extent=0.6, d_min=0.8)
STILL_DIRECTION = (-0.24, 0.21, 1.0)
CAMERA_DEG, TILT_DEG = 30.0, 1.0
INK = "#10182b"
GREY = "#8a8f99"
FONT_SIZE = 8.4
DPI = 200


@dataclass(frozen=True)
class Panel:
    """One augmentation and the key whose draw of it is shown."""

    title: str
    augment: AugmentConfig
    seed: int = 0


PANELS = (
    Panel("as it is", AugmentConfig()),
    Panel("turned", AugmentConfig(rotation_deg=25), seed=0),
    Panel("strained", AugmentConfig(strain=0.13), seed=5),
    Panel("species exchanged", AugmentConfig(substitute_species=1.0), seed=1),
    Panel("30 % atoms replaced", AugmentConfig(substitute_atoms=0.3), seed=2),
    Panel("30 % atoms missing", AugmentConfig(vacancies=0.3), seed=5),
)


@dataclass(frozen=True)
class Mode:
    """One way to draw a crystal: two lines of text, the picture, and what guides the eye."""

    title: str
    detail: str
    draw: Callable[[Crystal], np.ndarray]
    circles: Callable[[Crystal], list[tuple[float, float]]] = lambda _: []
    """Height of the centre and radius, in 1/Å."""


def zone(**changes: float | str | bool) -> Callable[[Crystal], np.ndarray]:
    """Return what draws a crystal along [001] by `PATTERN` with some fields changed."""
    pattern = replace(PATTERN, **changes)
    return lambda crystal: xrdjax.render_zone(crystal, (0, 0, 1), pattern)


def electrons(tilt_deg: float) -> Callable[[Crystal], np.ndarray]:
    """Return what draws an electron pattern of a crystal 100 Å thin, tilted from [001] about x."""

    def draw(crystal: Crystal) -> np.ndarray:
        tilt = math.radians(tilt_deg)
        u, v, w = np.linalg.solve(direct_basis(crystal.cell).T, [0, math.sin(tilt), math.cos(tilt)])
        return xrdjax.render_still(crystal, (u, v, w), ELECTRONS, relrod=0.0038, mosaicity_deg=0.0)

    return draw


def camera_limits(layer: int) -> Callable[[Crystal], list[tuple[float, float]]]:
    """Return what gives the circles between which a precession camera records a layer along c."""

    def circles(crystal: Crystal) -> list[tuple[float, float]]:
        mu = math.radians(CAMERA_DEG)
        nu = math.acos(math.cos(mu) - layer / crystal.cell[2] * PATTERN.wavelength)
        limits = (math.sin(nu) - math.sin(mu), math.sin(nu) + math.sin(mu))
        return [(0, limit / PATTERN.wavelength) for limit in limits if limit > 1e-6]

    return circles


def laue_circle(_: Crystal) -> list[tuple[float, float]]:
    """Return the circle in which the Ewald sphere of the tilted crystal cuts its zero layer."""
    radius = math.sin(math.radians(TILT_DEG)) / ELECTRONS.wavelength
    return [(radius, radius)]


def rings(texture: xrdjax.MarchDollase | None = None) -> Callable[[Crystal], np.ndarray]:
    """Return what draws the rings of a powder."""
    return lambda crystal: xrdjax.render_rings(crystal, RINGS, sigma=0.006, march_dollase=texture)


MODES = (
    Mode("zero layer", "discs, radius ∝ √I", zone()),
    Mode("layer n = 1", "hu + kv + lw = 1", zone(layer=1)),
    Mode("layer n = 2", "hu + kv + lw = 2", zone(layer=2)),
    Mode("precession camera", "n = 0, µ = 30°", zone(precession_deg=CAMERA_DEG), camera_limits(0)),
    Mode("precession camera", "n = 2: blind centre", zone(layer=2, precession_deg=CAMERA_DEG), camera_limits(2)),
    Mode("seed paper's frame", "PAPER_PATTERN", lambda crystal: xrdjax.render_zone(crystal, (0, 0, 1), PAPER_PATTERN)),
    Mode("logarithmic", "∝ log(1 + 1000 I)", zone(radius_law="log")),
    Mode("Gaussian spots", "height ∝ I", zone(spot_shape="gaussian", gaussian_sigma=0.03)),
    Mode("scaled by the sphere", "not by the zone", zone(normalize="sphere")),
    Mode("linear", "discs, radius ∝ I", zone(radius_law="linear")),
    Mode("outline, direct beam", "radius ∝ I + 3 pixels", zone(radius_law="linear", edge_pixels=3, direct_beam=0.07)),
    Mode("anomalous scattering", "Friedel mates differ", zone(radius_law="linear", anomalous=True)),
    Mode(
        "X-ray still",
        "off axis, mosaicity 1°",
        lambda crystal: xrdjax.render_still(crystal, STILL_DIRECTION, BEAM_PATTERN, mosaicity_deg=1.0),
    ),
    Mode("electrons, 200 kV", "100 Å thin, along [001]", electrons(0)),
    Mode("electrons, 200 kV", "tilted by 1°", electrons(TILT_DEG), laue_circle),
    Mode("powder rings", "no texture", rings()),
    Mode("powder rings", "March–Dollase, r = 0.4", rings(xrdjax.MarchDollase(hkl=(0, 0, 1), r=0.4))),
)


def main() -> None:
    """Draw all pictures into one directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.family": "DejaVu Sans", "text.color": INK})
    store = xrdjax.open_store("open")
    save(pattern_sheet(store), directory / "patterns.png")
    save(augmentation_sheet(store), directory / "augmentations.png")
    save(mode_sheet(store), directory / "modes.png")


def pattern_sheet(store: CrystalStore) -> Figure:
    """Return one column a crystal, one row a zone."""
    figure, grid = plt.subplots(
        len(ZONES), len(CRYSTALS), figsize=(9.6, 6.3), gridspec_kw={"wspace": 0.06, "hspace": 0.06}
    )
    figure.subplots_adjust(left=0.045, right=0.995, top=0.86, bottom=0.005)
    for column, (name, mineral) in zip(grid.T, CRYSTALS.items(), strict=True):
        crystal = find(store, name)
        for axes, zone in zip(column, ZONES, strict=True):
            show(axes, xrdjax.render_zone(crystal, zone, PATTERN))
        caption(column[0], crystal, mineral)
    for axes, zone in zip(grid[:, 0], ZONES, strict=True):
        axes.set_ylabel(f"[{''.join(map(str, zone))}]", fontsize=FONT_SIZE, color=INK)
    return figure


def caption(axes: Axes, crystal: Crystal, mineral: str) -> None:
    """Write the crystal system, the mineral, its formula and its space group above a column."""
    for line, text in enumerate((crystal.crystal_system, mineral, formula(crystal), symbol(crystal))):
        colour = INK if line else GREY
        axes.text(
            0.5, 1.63 - 0.18 * line, text, color=colour, fontsize=FONT_SIZE, ha="center", transform=axes.transAxes
        )


def augmentation_sheet(store: CrystalStore) -> Figure:
    """Return one crystal down one axis, with one augmentation a panel."""
    crystal = find(store, AUGMENTED)
    figure, row = plt.subplots(1, len(PANELS), figsize=(9.6, 1.85), gridspec_kw={"wspace": 0.06})
    figure.subplots_adjust(left=0.005, right=0.995, top=0.86, bottom=0.01)
    with tempfile.TemporaryDirectory() as directory:
        write_store(Path(directory) / "one", [crystal], title=crystal.name)
        alone = CrystalStore.open(Path(directory) / "one")
    for axes, panel in zip(row, PANELS, strict=True):
        config = TrainConfig(
            batch_size=1,
            data=DataConfig(store="one"),
            pattern=replace(PATTERN, axes=((0, 0, 1),)),
            augment=panel.augment,
        )
        batch = xrdjax.make_batch(jax.random.key(panel.seed), alone, config)
        show(axes, np.asarray(batch.image[0, :, :, 0]))
        axes.set_title(panel.title + drawn_amount(batch), fontsize=FONT_SIZE, pad=4)
    return figure


def mode_sheet(store: CrystalStore) -> Figure:
    """Return one crystal in every mode, and the profile of its powder in the last place."""
    crystal = find(store, BENITOITE)
    figure, grid = plt.subplots(3, 6, figsize=(9.6, 6.2), gridspec_kw={"wspace": 0.06, "hspace": 0.33})
    figure.subplots_adjust(left=0.005, right=0.995, top=0.882, bottom=0.008)
    headline = f"benitoite {formula(crystal)}, {symbol(crystal)}, along [001]"
    figure.text(0.007, 0.973, headline, fontsize=FONT_SIZE)
    for axes, mode in zip(grid.flat, MODES, strict=False):
        show(axes, mode.draw(crystal))
        label(axes, mode.title, mode.detail)
        for height, radius in mode.circles(crystal):
            draw_circle(axes, height, radius)
    draw_profile(grid[-1, -1], crystal)
    return figure


def label(axes: Axes, title: str, detail: str) -> None:
    """Write two lines above a panel."""
    for line, (text, colour) in enumerate(((detail, GREY), (title, INK))):
        axes.text(
            0.5, 1.045 + 0.12 * line, text, color=colour, fontsize=FONT_SIZE, ha="center", transform=axes.transAxes
        )


def draw_circle(axes: Axes, height: float, radius: float) -> None:
    """Draw a dashed circle over a picture by `PATTERN`, its centre above the middle; lengths in 1/Å."""
    middle = ((PATTERN.width - 1) / 2, (PATTERN.height - 1) / 2 - height / PATTERN.pixel)
    axes.add_patch(Circle(middle, radius / PATTERN.pixel, fill=False, color=GREY, linewidth=0.6, linestyle=(0, (4, 3))))


def draw_profile(axes: Axes, crystal: Crystal) -> None:
    """Draw the powder's intensity over 2θ."""
    two_theta = np.linspace(10, 90, 2001)
    lines = xrdjax.powder_lines(crystal, two_theta=(5, 95))
    axes.plot(two_theta, xrdjax.powder_profile(lines, two_theta), color=INK, linewidth=0.6)
    axes.set(xticks=[], yticks=[], xlim=(10, 90), box_aspect=1)
    axes.margins(y=0.04)
    frame(axes)
    label(axes, "powder profile", "2θ from 10° to 90°")


def drawn_amount(batch: xrdjax.Batch) -> str:
    """Return the angle or the strain of a batch of one, in words, if there is any."""
    angle, strain = np.degrees(batch.recipe.angle[0]), 100 * batch.recipe.strain[0]
    if angle:
        return f" by {angle:.0f}°"
    return f" by {strain:+.0f} %".replace("-", "−") if strain else ""


def show(axes: Axes, image: np.ndarray) -> None:
    """Show a picture dark on white in a thin frame."""
    axes.imshow(1 - image, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    frame(axes)


def frame(axes: Axes) -> None:
    """Draw the frame of a panel thin and light."""
    for spine in axes.spines.values():
        spine.set(color="#c9ccd3", linewidth=0.6)


def find(store: CrystalStore, name: str) -> Crystal:
    """Return the crystal of that name."""
    return store.crystal(next(i for i in range(len(store)) if store.names(i) == name))


def formula(crystal: Crystal) -> str:
    """Return the reduced formula for matplotlib, for crystals whose sites are full."""
    count = Counter(map(element_of, crystal.species))
    units = gcd(*count.values())
    number = {element: count[element] // units for element in FORMULA_ORDER if count[element]}
    return "".join(element + (f"$_{{{n}}}$" if n > 1 else "") for element, n in number.items())


def symbol(crystal: Crystal) -> str:
    """Return the Hermann–Mauguin symbol for matplotlib, short for monoclinic groups: C2/c, not C12/c1."""
    lattice, *directions = gemmi.find_spacegroup_by_number(crystal.space_group).hm.split()
    if crystal.crystal_system == "monoclinic":
        directions = [direction for direction in directions if direction != "1"]
    screws = [re.sub(r"(\d)(\d)", r"\1_{\2}", direction) for direction in directions]
    bars = [re.sub(r"-(\d)", r"\\bar{\1}", direction) for direction in screws]
    return f"${lattice}{''.join(bars)}$"


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG of few greys, which halves the file."""
    figure.savefig(path, dpi=DPI, facecolor="white")
    Image.open(path).convert("L").quantize(32).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
