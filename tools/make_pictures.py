"""Draw the pictures of the README and the docs from the crystals that come with the package.

    python tools/make_pictures.py docs/images

Everything in them is drawn by the functions that draw training batches.
"""

import argparse
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path

import gemmi
import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import xrdjax
from xrdjax.config import AugmentConfig, DataConfig, PatternConfig, TrainConfig
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.species import element_of
from xrdjax.crystals.store import CrystalStore, write_store

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
FORMULA_ORDER = ("Ca", "Mg", "Ti", "Sn", "Be", "Al", "Si", "C", "O", "F")  # as formulas are written: anions last
PATTERN = PatternConfig(height=300, width=300, extent=1.35, disc_radius=0.075, radius_law="sqrt")
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
