"""Pictures and labels on disk, for those who want files: PNG, HDF5 or WebDataset shards, with a table of labels.

Every pair of crystal and zone axis of a part of the store is drawn once, changed as the configuration says by random
numbers that follow from its seed. The work is cut into shards; a shard's table of labels is written last, under its
name whole or not at all, so that the same command goes on where it was interrupted and the result is the same.
"""

import csv
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Array, Bool, Int, Key, UInt8
from PIL import Image
from tqdm import tqdm

from xrdjax.config import AugmentConfig, PatternConfig, TrainConfig, validate
from xrdjax.config_sources import to_json
from xrdjax.crystals.selection import open_selected, select_crystals
from xrdjax.crystals.splits import PARTS, Part
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS
from xrdjax.errors import XrdjaxError
from xrdjax.patterns.device_store import DeviceStore, to_device
from xrdjax.patterns.generate import Batch, by_bucket, draw_recipe, interleave
from xrdjax.patterns.planning import Plan, make_plan
from xrdjax.patterns.recipe import num_walk_batches, walk_recipe

Kind = Literal["png", "hdf5", "webdataset"]
STREAM_EXPORT = 2000  # of the root key, far from the streams of training
COLUMNS = ("file", "space_group", "crystal_system", "crystal", "u", "v", "w", "part")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How pictures are written."""

    kind: Kind = "png"
    """One PNG a picture; HDF5 files; or tar shards of PNG and JSON, as WebDataset reads them."""
    part: Literal["all", "train", "validation", "test"] = "all"
    """Which part of the division; each picture's is in the table."""
    bright: bool = False
    """Bright spots on a dark ground; otherwise dark ones on white, as the paper's pictures are."""
    shard: int = 2048
    """Pictures in a shard, rounded up to whole batches: a file of HDF5 or WebDataset, and the step of going on."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture with its row of the table."""

    pixels: UInt8[np.ndarray, "height width"]
    row: tuple[str | int, ...]


def export(config: TrainConfig, out: Path, options: ExportOptions = ExportOptions()) -> int:
    """Write pictures and `labels.csv` of a configuration's crystals into a directory, and return their number.

    Shows progress. Raises XrdjaxError if the directory holds something else, or a library is missing.
    """
    validate(config)
    if options.kind == "hdf5":
        _h5py()
    crystals = open_selected(config.data)
    parts = {part: select_crystals(crystals, config.data, part) for part in PARTS if options.part in ("all", part)}
    chosen = np.sort(np.concatenate(list(parts.values())))
    if not len(chosen):
        raise XrdjaxError(f"{config.data.store}: no crystal in part '{options.part}'; choose another part or selection")
    part_of = {int(number): part for part, numbers in parts.items() for number in numbers}
    _claim(config, out, options)
    store = to_device(crystals)
    plan = make_plan(store, chosen, config.pattern, config.augment, config.batch_size)
    draw = partial(
        jax.jit(_draw, static_argnames=("pattern", "augment")), pattern=config.pattern, augment=config.augment
    )
    key = jax.random.fold_in(jax.random.key(config.seed), STREAM_EXPORT)
    batches = num_walk_batches(plan)
    step = -(-options.shard // config.batch_size)
    starts = range(0, batches, step)
    for number, start in enumerate(tqdm(starts, desc="Exporting", unit="shard", mininterval=1.0)):
        if not _table(out, number).exists():
            drawn = (draw(key, store, plan, batch) for batch in range(start, min(start + step, batches)))
            _write_shard(out, number, list(_pictures(drawn, crystals, part_of, options)), options)
    return _join_tables(out, len(starts))


def _draw(
    key: Key[Array, ""],
    store: DeviceStore,
    plan: Plan,
    number: Int[Array, ""],
    pattern: PatternConfig,
    augment: AugmentConfig,
) -> tuple[Batch, Bool[Array, "slots"]]:
    recipe, is_new = walk_recipe(jax.random.fold_in(key, number), number, plan, augment)
    return draw_recipe(recipe, store, plan, pattern, augment), interleave(by_bucket(is_new, plan))


def _pictures(
    drawn: Iterator[tuple[Batch, Bool[Array, "slots"]]],
    crystals: CrystalStore,
    part_of: dict[int, Part],
    options: ExportOptions,
) -> Iterator[Picture]:
    for batch, is_new in drawn:
        image = np.asarray(batch.image[..., 0])
        pixels = np.round(255 * (image if options.bright else 1 - image)).astype(np.uint8)
        columns = (batch.recipe.crystal, batch.recipe.uvw, batch.space_group, batch.crystal_system)
        crystal, uvw, space_group, system = (np.asarray(column) for column in columns)
        for slot in np.flatnonzero(is_new):
            number = int(crystal[slot])
            axis = tuple(uvw[slot].tolist())
            row = (
                picture_name(number, crystals.names(number), axis), int(space_group[slot]),
                CRYSTAL_SYSTEMS[system[slot]], crystals.names(number), *axis, part_of[number],
            )  # fmt: skip
            yield Picture(pixels=pixels[slot], row=row)


def picture_name(number: int, crystal: str, uvw: tuple[int, ...]) -> str:
    """Return the name of a picture, ending as the seed paper's do: 000012_quartz_u1_v0_w0_2Dspot.png."""
    plain = re.sub(r"[^A-Za-z0-9+-]+", "-", crystal).strip("-")[:80]
    u, v, w = uvw
    return f"{number:06d}_{plain}_u{u}_v{v}_w{w}_2Dspot.png"


def _claim(config: TrainConfig, out: Path, options: ExportOptions) -> None:
    """Make the directory this export's. Raises XrdjaxError if it is another's, or not empty."""
    told = json.loads(to_json(config)) | {
        "export": {"kind": options.kind, "part": options.part, "bright": options.bright, "shard": options.shard}
    }
    saved = out / "export.json"
    if saved.exists():
        if json.loads(saved.read_text(encoding="utf-8")) != told:
            raise XrdjaxError(f"{out}: holds an export of another configuration; choose another directory")
        return
    if out.exists() and any(out.iterdir()):
        raise XrdjaxError(f"{out}: is not empty; choose another directory")
    out.mkdir(parents=True, exist_ok=True)
    (out / "pictures").mkdir()
    (out / "labels").mkdir()
    _write_whole(saved, (json.dumps(told, indent=2) + "\n").encode())


def _write_shard(out: Path, number: int, pictures: list[Picture], options: ExportOptions) -> None:
    writer = {"png": _write_png, "hdf5": _write_hdf5, "webdataset": _write_tar}[options.kind]
    writer(out / "pictures", number, pictures)
    text = io.StringIO(newline="")
    csv.writer(text).writerows(picture.row for picture in pictures)
    _write_whole(_table(out, number), text.getvalue().encode())


def _write_png(folder: Path, number: int, pictures: list[Picture]) -> None:
    for picture in pictures:
        (folder / str(picture.row[0])).write_bytes(_png(picture))


def _write_hdf5(folder: Path, number: int, pictures: list[Picture]) -> None:
    path = folder / f"pictures-{number:05d}.h5"
    columns = list(zip(*(picture.row for picture in pictures), strict=True))
    with _h5py().File(path.with_suffix(".new"), "w") as file:
        pixels = np.stack([picture.pixels for picture in pictures])
        file.create_dataset("image", data=pixels, chunks=(1, *pixels.shape[1:]), compression="gzip", compression_opts=4)
        file["space_group"] = np.array(columns[1], np.int16)
        file["crystal_system"] = np.array([CRYSTAL_SYSTEMS.index(name) for name in columns[2]], np.int8)
        file["uvw"] = np.array(columns[4:7], np.int8).T
        for name, column in (("file", columns[0]), ("crystal", columns[3]), ("part", columns[7])):
            file[name] = [str(value).encode() for value in column]
    path.with_suffix(".new").replace(path)


def _write_tar(folder: Path, number: int, pictures: list[Picture]) -> None:
    path = folder / f"pictures-{number:05d}.tar"
    with tarfile.open(path.with_suffix(".new"), "w") as archive:
        for picture in pictures:
            label = dict(zip(COLUMNS, picture.row, strict=True))
            # Up to the first dot, a name is a sample's key.
            stem = str(picture.row[0]).removesuffix(".png")
            for suffix, data in (("png", _png(picture)), ("json", json.dumps(label).encode())):
                entry = tarfile.TarInfo(f"{stem}.{suffix}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    path.with_suffix(".new").replace(path)


def _png(picture: Picture) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture.pixels).save(data, "PNG")
    return data.getvalue()


def _table(out: Path, number: int) -> Path:
    return out / "labels" / f"labels-{number:05d}.csv"


def _join_tables(out: Path, count: int) -> int:
    """Write the table of all shards, and return the number of its rows."""
    rows = b"".join(_table(out, number).read_bytes() for number in range(count))
    _write_whole(out / "labels.csv", (",".join(COLUMNS) + "\r\n").encode() + rows)
    return rows.count(b"\n")


def _write_whole(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    new.replace(path)


def _h5py():  # noqa: ANN202 (a module)
    try:
        import h5py
    except ImportError:
        raise XrdjaxError("HDF5 needs h5py: pip install 'xrdjax[export]'") from None
    return h5py
