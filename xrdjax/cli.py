"""The command `xrdjax`: look into a crystal store, make one from CIFs, draw one pattern, or a batch of a run again.

Each subcommand imports what it needs when it runs, so that `xrdjax --help` is there at once.
"""

import csv
import math
import os
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from xrdjax.config import DataConfig, DiffractionConfig, PatternConfig, SelectionConfig, check_data, check_pattern
from xrdjax.errors import XrdjaxError

if TYPE_CHECKING:
    import numpy as np

    from xrdjax.crystals.crystal import Crystal
    from xrdjax.diffraction.spots import Spots

MAX_SIZE = 8192  # pixels a side of a picture: 64 million pixels, 256 MB in float32

DESCRIPTION = """Simulated 2D X-ray diffraction patterns from crystal structures.

xrdjax info            what the crystals are that come with the package

xrdjax COMMAND --help  what a command does and takes

xrdjax --version       which version this is"""


@dataclass(frozen=True, kw_only=True)
class About:
    """What the store says of itself."""

    title: str = ""
    """One line about the set. By default it names the inputs."""
    source_name: str = ""
    """Whose crystals these are. By default the first input's name."""
    licence: str = "unknown"
    """On what terms they may be passed on."""
    attribution: str = ""
    """What to cite."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What the picture looks like."""

    size: int = 512
    """Height and width in pixels, 1 to 8192."""
    angle: float = 0.0
    """Counter-clockwise turn of the pattern in degrees."""
    extent: float = 1.4
    """Half of the picture's side in 1/Å."""
    spot_shape: Literal["disc", "gaussian"] = "disc"
    """Discs whose radius tells the intensity, or Gaussians whose height does."""
    radius_law: Literal["linear", "sqrt", "log"] = "linear"
    """Radius proportional to the intensity, or to its square root or logarithm, which show weak spots."""
    direct_beam: float = 0.0
    """Radius in 1/Å of a disc at the origin."""
    bright: bool = False
    """Bright spots on a dark ground rather than dark ones on white."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, by default that of the process. Leaves with status 2 after a user's mistake."""
    from xrdjax.cli_models import export, export_model, predict

    arguments = sys.argv[1:] if arguments is None else arguments
    model_commands = {"predict": predict, "export-model": export_model, "export": export}
    with exit_on_error():
        if list(arguments) == ["--version"]:
            print(f"xrdjax {_version()}")
            return
        tyro.extras.subcommand_cli_from_dict(
            {
                "info": info,
                "pack": pack,
                "merge": merge,
                "render": render,
                "replay": replay,
                "sweep": sweep,
                **model_commands,
            },
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


def info(
    store: Annotated[str, tyro.conf.arg(metavar="STORE")] = "open",
    /,
    *,
    picture: Path | None = None,
    names: bool = False,
    selection: tyro.conf.OmitArgPrefixes[SelectionConfig] = SelectionConfig(),  # noqa: B008 (frozen)
) -> None:
    """Describe a crystal store: crystals, space groups, parts, sources and licences.

    Options select as those of the same name under `--data.` do in training, so that a selection can be looked at first.

    Args:
        store: Path of a store, or 'open' for the one that comes with the package.
        picture: Also draw the number of crystals of each space group, as *.png.
        names: Only list the names of the selected crystals, each with its part, as a CSV that --split takes.
    """
    from xrdjax.crystals.describe import describe, draw_groups, list_parts
    from xrdjax.crystals.selection import open_selected

    if picture is not None:
        check_picture(picture)
    data = DataConfig(store=store, **asdict(selection))
    opened = open_selected(check_data(data))
    print(list_parts(opened, data) if names else describe(opened, data))
    if picture is not None:
        draw_groups(opened, data, picture)


def pack(
    paths: Annotated[tuple[str, ...], tyro.conf.arg(metavar="INPUT… OUT")],
    /,
    *,
    shard: str = "1/1",
    find_group: bool = True,
    time_limit: float = 60.0,
    processes: int | None = None,
    overwrite: bool = False,
    about: tyro.conf.OmitArgPrefixes[About] = About(),
) -> None:
    """Read all CIFs of the inputs into one crystal store.

    An input is a directory, searched with everything below, a .tar, .tar.gz or .zip archive, a CIF, a pattern such as
    'set*/*.cif', or a .txt with a path a line. Files that cannot be read are left out; OUT's neighbours `.report.md`
    and `.report.json` list them with the reason. Interrupted, the same command goes on where it stopped.

    Args:
        paths: The inputs, and last the store to write, such as mine.safetensors.
        shard: i/n reads only every n-th file, from the i-th on, and writes OUT with `.i-of-n` in its name, for n
            machines to share the work; `xrdjax merge` joins what they write.
        find_group: Also search for each crystal's space group in its atoms. Without it packing is a little faster.
        time_limit: Seconds that one file may take before it is left out.
        processes: Number of processes that read. By default one a core.
        overwrite: Replace an existing store.
    """
    from xrdjax.crystals import ingest
    from xrdjax.crystals.columns import Source

    inputs, out = _inputs_and_out(paths)
    options = ingest.PackOptions(shard=_shard(shard), find_group=find_group, time_limit=time_limit, processes=processes)
    if options.shard != (1, 1):
        out = out.with_name(f"{out.stem}.{options.shard[0]}-of-{options.shard[1]}{out.suffix}")
    stem = Path(inputs[0]).resolve().name
    name = about.source_name or stem
    source = Source(name=name, provider=name, licence=about.licence, attribution=about.attribution)
    title = about.title or f"Crystals from {stem}" + (" and others" if len(inputs) > 1 else "")
    report = ingest.pack(inputs, out, title=title, source=source, overwrite=overwrite, options=options)
    print(f"{out}: " + "\n".join(report.summary()))
    _print_empty_parts(out)


def merge(
    paths: Annotated[tuple[str, ...], tyro.conf.arg(metavar="STORE… OUT")],
    /,
    *,
    title: str = "",
    overwrite: bool = False,
) -> None:
    """Join crystal stores, such as the shards of one `xrdjax pack`, to one.

    Args:
        paths: The stores, and last the one to write.
        title: One line about the set. By default that of the first store.
        overwrite: Replace an existing store.
    """
    from xrdjax.crystals.ingest import check_output
    from xrdjax.crystals.store import CrystalStore
    from xrdjax.crystals.write import merge_stores

    inputs, out = _inputs_and_out(paths)
    check_output(out, overwrite=overwrite)
    merged = merge_stores(inputs, out, title=title or CrystalStore.open(inputs[0]).title)
    repeated = sum(first != own for own, first in enumerate(merged.duplicate_of))
    print(f"{out}: {len(merged):,} crystals of {len(inputs)} stores, of which {repeated:,} repeat an earlier one")
    _print_empty_parts(out)


def render(
    cif: Annotated[Path, tyro.conf.arg(metavar="CIF")],
    /,
    *,
    zone: Annotated[tuple[int, int, int], tyro.conf.arg(metavar="U V W")],
    out: Path,
    spots_csv: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    drawing: tyro.conf.OmitArgPrefixes[Drawing] = Drawing(),
    physics: tyro.conf.OmitArgPrefixes[DiffractionConfig] = DiffractionConfig(),  # noqa: B008 (frozen)
) -> None:
    """Draw the diffraction pattern of one zone of a crystal, and list its reflections.

    Args:
        cif: The crystal.
        zone: Zone axis [uvw], such as 1 -1 0. The crystal is seen from +[uvw].
        out: The picture to write, *.png. Replaced if it exists.
        spots_csv: Also write all reflections: h, k, l, x and y in 1/Å as drawn, |F|² in electrons², 2θ in degrees.
    """
    from xrdjax.crystals.cif import read_cif

    _check_pictures(out, spots_csv)
    pattern = _square_pattern(drawing, physics)
    crystal = read_cif(cif)
    from xrdjax.diffraction.spots import layer_spots
    from xrdjax.patterns.pictures import render_zone

    spots = layer_spots(crystal, zone, pattern)
    image = render_zone(crystal, zone, pattern, angle_deg=drawing.angle)
    _write_png(out, image if drawing.bright else 1 - image)
    print(_describe(crystal))
    print(f"zone [{' '.join(map(str, zone))}]: {len(spots.hkl)} reflections, drawn to {out}")
    if spots_csv is not None:
        _write_spots(spots_csv, spots, drawing.angle)


def sweep(
    file: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    /,
    *,
    workdir: Path,
    index: int | None = None,
    crystals: int | None = None,
    collect: bool = False,
) -> None:
    """Train and evaluate all runs of a file with `get_runs()`, and set them side by side in sweep.md, .csv and .png.

    Interrupted, the same command goes on where it stopped. Leaves with status 1 if a run failed; the others are done.

    Args:
        file: Such as configs/sweeps/augmentations.py.
        workdir: Directory that gets one workdir a run.
        index: Only do the run of this number, from 0 on: one job of an array.
        crystals: Evaluate on at most so many crystals. By default what each run's configuration says.
        collect: Only make the table of what is done.
    """
    from xrdjax.config_sources import load_sweep_file
    from xrdjax.startup import prepare_jax, show_progress

    show_progress()
    runs = load_sweep_file(file)
    prepare_jax(math.gcd(*(run.batch_size for run in runs.values())))
    from xrdjax.evaluation import sweep as sweeps

    is_done = collect or sweeps.run_sweep(runs, workdir, index, crystals)
    print(sweeps.collect(runs, workdir))
    if not is_done:
        sys.exit(1)


def replay(
    workdir: Annotated[Path, tyro.conf.arg(metavar="WORKDIR")],
    /,
    *,
    step: int | None = None,
) -> None:
    """Draw the batch of one step of a run again: pictures with labels and axes, and the recipe as JSON.

    Args:
        workdir: Directory of a run made by train.py.
        step: Which step, from 1 on. By default the one that stopped the run, or else the last one recorded.
    """
    from xrdjax.learning.replay import latest_step
    from xrdjax.learning.replay import replay as replay_step

    step = latest_step(workdir) if step is None else step
    print(f"step {step}: {replay_step(workdir, step)}")


def check_picture(path: Path) -> None:
    """Raise XrdjaxError unless a PNG can be written there."""
    from xrdjax.crystals.ingest import check_output

    if path.suffix.lower() != ".png":
        raise XrdjaxError(f"{path}: the picture is a PNG; give it a name that ends in .png")
    check_output(path, overwrite=True)


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


def _inputs_and_out(paths: tuple[str, ...]) -> tuple[list[str], Path]:
    if len(paths) < 2:
        raise XrdjaxError(f"{' '.join(paths) or 'nothing'} given: name one input or more, and last the store to write")
    return list(paths[:-1]), Path(paths[-1])


def _shard(text: str) -> tuple[int, int]:
    """Return i and n of i/n."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise XrdjaxError(f"--shard {text}: expected i/n with i from 1 to n, such as 2/8")
    return int(number), int(count)


def _print_empty_parts(path: Path) -> None:
    """Say which parts the random split leaves empty, and the rule that leaves them so."""
    from xrdjax.crystals.selection import open_selected, select
    from xrdjax.crystals.splits import PARTS

    data = DataConfig(store=str(path))
    selection = select(open_selected(data), data)
    if empty := [part for part in PARTS[1:] if len(selection.crystals(part)) == 0]:
        rule = "a space group needs 3 crystals to give one to validation, 5 to give one to test"
        print(f"random split: {' and '.join(empty)} empty; {rule}")


def _check_pictures(out: Path, spots_csv: Path | None) -> None:
    """Raise XrdjaxError unless picture and table can be written, each to its own file."""
    from xrdjax.crystals.ingest import check_output

    check_picture(out)
    if spots_csv is None:
        return
    check_output(spots_csv, overwrite=True)
    if spots_csv.resolve() == out.resolve():
        raise XrdjaxError(f"--spots-csv {spots_csv}: is the picture's file, --out; name another")


def _square_pattern(drawing: Drawing, physics: DiffractionConfig) -> PatternConfig:
    """Return one checked pattern of both. Raises XrdjaxError for what cannot be drawn."""
    if not math.isfinite(drawing.angle):
        raise XrdjaxError(f"--angle {drawing.angle}: expected a finite number")
    if not 1 <= drawing.size <= MAX_SIZE:
        raise XrdjaxError(f"--size {drawing.size}: expected 1 to {MAX_SIZE} pixels")
    return check_pattern(
        PatternConfig(
            height=drawing.size,
            width=drawing.size,
            extent=drawing.extent,
            spot_shape=drawing.spot_shape,
            radius_law=drawing.radius_law,
            direct_beam=drawing.direct_beam,
            **asdict(physics),
        )
    )


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
