"""The command `xrdjax`: look into a crystal store, make one from CIFs, draw one pattern.

Each subcommand imports what it needs when it runs, so that `xrdjax --help` is there at once.
"""

import csv
import math
import os
import sys
import textwrap
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from xrdjax.config import DiffractionConfig, PatternConfig, check_pattern
from xrdjax.errors import XrdjaxError

if TYPE_CHECKING:
    import numpy as np

    from xrdjax.crystals.crystal import Crystal
    from xrdjax.crystals.store import CrystalStore
    from xrdjax.diffraction.spots import Spots

MAX_SIZE = 8192  # pixels a side of a picture: 64 million pixels, 256 MB in float32

DESCRIPTION = """Simulated 2D X-ray diffraction patterns from crystal structures.

xrdjax info            what the crystals are that come with the package

xrdjax COMMAND --help  what a command does and takes

xrdjax --version       which version this is"""

BARS = "·▁▂▃▄▅▆▇█"
BAR_STARTS = (1, 2, 4, 10, 30, 100, 200, 400)  # a bar stands for as many crystals or more


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, by default that of the process. Leaves with status 2 after a user's mistake."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with exit_on_error():
        if list(arguments) == ["--version"]:
            print(f"xrdjax {_version()}")
            return
        tyro.extras.subcommand_cli_from_dict(
            {"info": info, "pack": pack, "render": render},
            prog="xrdjax",
            description=DESCRIPTION,
            args=list(arguments) or ["--help"],
            config=(tyro.conf.FlagCreatePairsOff,),
        )


@contextmanager
def exit_on_error() -> Generator[None]:
    """Turn a user's mistake or a failing disk into one line on standard error and status 2, Ctrl-C into status 130.

    Warnings are one line each, too.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _note_printer()  # ty: ignore[invalid-assignment] (it takes what it is given)
            yield
        sys.stdout.flush()
    except XrdjaxError as error:
        _leave(str(error), 2)
    except BrokenPipeError:  # whoever read our output has seen enough, as in `xrdjax info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _leave(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except KeyboardInterrupt:
        _leave("interrupted", 130)


def info(store: Annotated[str, tyro.conf.arg(metavar="STORE")] = "open", /) -> None:
    """Describe a crystal store: crystals, space groups, splits, sources and licences.

    Args:
        store: Path of a store, or 'open' for the one that comes with the package.
    """
    from xrdjax.crystals.store import CrystalStore

    opened = CrystalStore.open(store)
    tables = (_totals, _system_table, _group_histogram, _split_table, _source_list)
    print("\n\n".join([opened.title, *("\n".join(table(opened)) for table in tables)]))


def pack(
    directory: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    /,
    *,
    title: str = "",
    source_name: str = "",
    licence: str = "unknown",
    attribution: str = "",
    overwrite: bool = False,
) -> None:
    """Read all CIFs below a directory into one crystal store.

    Files that cannot be read are left out; OUT's neighbours `.report.md` and `.report.json` list them with the reason.

    Args:
        directory: Searched, with everything below, for *.cif.
        out: The store to write, such as mine.safetensors.
        title: One line about the set. By default it names the directory.
        source_name: Whose crystals these are. By default the directory's name.
        licence: On what terms they may be passed on.
        attribution: What to cite.
        overwrite: Replace an existing store.
    """
    from xrdjax.crystals import ingest
    from xrdjax.crystals.store import CrystalStore, Source

    name = source_name or directory.resolve().name
    source = Source(name=name, provider=name, licence=licence, attribution=attribution)
    title = title or f"Crystals from {directory.resolve().name}"
    report = ingest.pack(directory, out, title=title, source=source, overwrite=overwrite)
    print(f"{out}: {report.num_crystals} crystals from {report.num_files} files")
    if report.refused:
        print(f"{len(report.refused)} files refused; {report.path} tells why")
    if empty := _describe_empty_parts(CrystalStore.open(out)):
        print(empty)


def render(
    cif: Annotated[Path, tyro.conf.arg(metavar="CIF")],
    /,
    *,
    zone: Annotated[tuple[int, int, int], tyro.conf.arg(metavar="U V W")],
    out: Path,
    size: int = 512,
    angle: float = 0.0,
    extent: float = 1.4,
    spot_shape: Literal["disc", "gaussian"] = "disc",
    radius_law: Literal["linear", "sqrt", "log"] = "linear",
    direct_beam: float = 0.0,
    bright: bool = False,
    spots_csv: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    physics: tyro.conf.OmitArgPrefixes[DiffractionConfig] = DiffractionConfig(),  # noqa: B008 (frozen)
) -> None:
    """Draw the diffraction pattern of one zone of a crystal, and list its reflections.

    Args:
        cif: The crystal.
        zone: Zone axis [uvw], such as 1 -1 0. The crystal is seen from +[uvw].
        out: The picture to write, *.png. Replaced if it exists.
        size: Height and width in pixels, 1 to 8192.
        angle: Counter-clockwise turn of the pattern in degrees.
        extent: Half of the picture's side in 1/Å.
        spot_shape: Discs whose radius tells the intensity, or Gaussians whose height does.
        radius_law: Radius proportional to the intensity, or to its square root or logarithm, which show weak spots.
        direct_beam: Radius in 1/Å of a disc at the origin.
        bright: Bright spots on a dark ground rather than dark ones on white.
        spots_csv: Also write all reflections: h, k, l, x and y in 1/Å as drawn, |F|² in electrons², 2θ in degrees.
    """
    from xrdjax.crystals.cif import read_cif

    _check_pictures(out, spots_csv)
    if not math.isfinite(angle):
        raise XrdjaxError(f"--angle {angle}: expected a finite number")
    drawing = PatternConfig(extent=extent, spot_shape=spot_shape, radius_law=radius_law, direct_beam=direct_beam)
    pattern = _square_pattern(size, drawing, physics)
    crystal = read_cif(cif)
    spots = _draw(crystal, zone, pattern, angle_deg=angle, bright=bright, out=out)
    print(_describe(crystal))
    print(f"zone [{' '.join(map(str, zone))}]: {len(spots.hkl)} reflections, drawn to {out}")
    if spots_csv is not None:
        _write_spots(spots_csv, spots, angle)


def _note_printer() -> Callable[..., None]:
    """Return what prints each warning once, on one line."""
    seen = set()

    def print_note(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in seen:
            print(f"xrdjax: note: {message}", file=sys.stderr)
        seen.add(str(message))

    return print_note


def _leave(message: str, status: int) -> None:
    print(f"xrdjax: error: {' '.join(message.splitlines())}", file=sys.stderr)
    sys.exit(status)


def _version() -> str:
    try:
        return version("xrdjax")
    except PackageNotFoundError:
        return "(not installed, run from its source)"


def _totals(store: "CrystalStore") -> list[str]:
    import numpy as np

    atoms = store.num_atoms
    return [
        f"crystals         {len(store):,}",
        f"atoms            {atoms.sum():,}; {np.median(atoms):.0f} in the median cell, {atoms.max():,} in the largest",
        f"space groups     {len(np.unique(store.space_group))} of 230",
        f"structure types  {len(np.unique(store.structure_type)):,}",
    ]


def _system_table(store: "CrystalStore") -> list[str]:
    """Return one row a crystal system."""
    import numpy as np

    from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS, crystal_system_index

    lines = ["crystal system  crystals   share  space groups  median atoms"]
    system = crystal_system_index(store.space_group)
    for index, name in enumerate(CRYSTAL_SYSTEMS):
        members = np.flatnonzero(system == index)
        atoms = f"{np.median(store.num_atoms[members]):.0f}" if len(members) else "–"
        groups = len(np.unique(store.space_group[members]))
        lines.append(f"{name:14}{len(members):10,}{len(members) / len(store):8.1%}{groups:14}{atoms:>14}")
    return lines


def _group_histogram(store: "CrystalStore") -> list[str]:
    """Return one character a space group, fifty a line."""
    import numpy as np

    count = np.bincount(store.space_group, minlength=231)[1:]
    bars = np.array(list(BARS))[np.searchsorted(BAR_STARTS, count, side="right")]
    legend = "  ".join(f"{bar} {start}+" for bar, start in zip(BARS[1:], BAR_STARTS, strict=True))
    lines = [f"crystals of each space group    {BARS[0]} none  {legend}"]
    for first in range(0, 230, 50):
        tens = ["".join(bars[start : start + 10]) for start in range(first, min(first + 50, 230), 10)]
        lines.append(f"{first + 1:5}  {' '.join(tens)}")
    return lines


def _split_table(store: "CrystalStore") -> list[str]:
    import numpy as np

    from xrdjax.crystals.splits import PARTS

    lines = ["split " + "".join(f"{part:>12}" for part in PARTS)]
    for kind in ("random", "type"):
        counts = np.bincount(store.split(kind), minlength=len(PARTS))
        lines.append(f"{kind:6}" + "".join(f"{count:12,}" for count in counts))
    return lines


def _source_list(store: "CrystalStore") -> list[str]:
    """Return provider and licence of each source, the largest first, and below it what to cite."""
    lines = ["crystals  source"]
    for source, count in Counter(map(store.source, range(len(store)))).most_common():
        lines.append(f"{count:8,}  {source.name}: {source.provider}; licence {source.licence}")
        lines += textwrap.wrap(source.attribution, 100, initial_indent=" " * 10, subsequent_indent=" " * 10)
    return lines


def _describe_empty_parts(store: "CrystalStore") -> str:
    """Return which parts the random split left empty, and the rule that left them so; nothing if there are none."""
    from xrdjax.crystals.splits import PARTS

    empty = [part for part in PARTS[1:] if len(store.part("random", part)) == 0]
    if not empty:
        return ""
    rule = "a space group needs 3 crystals to give one to validation, 5 to give one to test"
    return f"random split: {' and '.join(empty)} empty; {rule}"


def _check_pictures(out: Path, spots_csv: Path | None) -> None:
    """Raise XrdjaxError unless picture and table can be written, each to its own file."""
    from xrdjax.crystals.ingest import check_output

    if out.suffix.lower() != ".png":
        raise XrdjaxError(f"{out}: the picture is a PNG; give it a name that ends in .png")
    check_output(out, overwrite=True)
    if spots_csv is None:
        return
    check_output(spots_csv, overwrite=True)
    if spots_csv.resolve() == out.resolve():
        raise XrdjaxError(f"--spots-csv {spots_csv}: is the picture's file, --out; name another")


def _square_pattern(size: int, drawing: PatternConfig, physics: DiffractionConfig) -> PatternConfig:
    """Return one checked pattern of both. Raises XrdjaxError for what cannot be drawn."""
    if not 1 <= size <= MAX_SIZE:
        raise XrdjaxError(f"--size {size}: expected 1 to {MAX_SIZE} pixels")
    return check_pattern(replace(drawing, height=size, width=size, **asdict(physics)))


def _draw(
    crystal: "Crystal",
    zone: tuple[int, int, int],
    pattern: PatternConfig,
    *,
    angle_deg: float,
    bright: bool,
    out: Path,
) -> "Spots":
    """Write the picture of a zone and return its reflections."""
    from xrdjax.diffraction.spots import layer_spots
    from xrdjax.patterns.pictures import render_zone

    spots = layer_spots(crystal, zone, pattern)
    image = render_zone(crystal, zone, pattern, angle_deg=angle_deg)
    _write_png(out, image if bright else 1 - image)
    return spots


def _write_png(path: Path, image: "np.ndarray") -> None:
    """Write a picture of values from 0, black, to 1, white."""
    from PIL import Image

    Image.fromarray((255 * image).round().astype("uint8")).save(path)


def _describe(crystal: "Crystal") -> str:
    import gemmi

    symbol = gemmi.find_spacegroup_by_number(crystal.space_group).hm
    edges, angles = (" ".join(f"{value:.4g}" for value in part) for part in (crystal.cell[:3], crystal.cell[3:]))
    return (
        f"{crystal.name}: {symbol} (space group {crystal.space_group}, {crystal.crystal_system}), "
        f"{crystal.num_atoms} atoms in the cell, edges {edges} Å, angles {angles}°"
    )


def _write_spots(path: Path, spots: "Spots", angle_deg: float) -> None:
    """Write the reflections as CSV, positions turned as the picture is."""
    import numpy as np

    position = np.exp(1j * np.radians(angle_deg)) * (spots.xy[:, 0] + 1j * spots.xy[:, 1])
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["h", "k", "l", "x", "y", "intensity", "two_theta_deg"])
        for hkl, at, intensity, two_theta in zip(
            spots.hkl, position, spots.intensity, spots.two_theta_deg, strict=True
        ):
            writer.writerow([*hkl, f"{at.real:.6f}", f"{at.imag:.6f}", f"{intensity:.6g}", f"{two_theta:.4f}"])
