"""A folder of a user's own pictures with labels, as arrays to train or test on.

`labels.csv` in the folder has a line a picture: name, the file; space_group, 1 to 230 or a symbol; and if known the
zone axis u, v, w. Pictures are read as `xrdjax predict` reads them: whatever their size and ground, they come out as
the pattern configuration's.
"""

import csv
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float, Int

from xrdjax.config import PatternConfig
from xrdjax.crystals.symmetry import crystal_system_index
from xrdjax.errors import PictureError
from xrdjax.patterns.reading import read_view
from xrdjax.patterns.reading_options import Reading, check_reading

MOST_FAULTS = 5  # told of at once


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledPictures:
    """Pictures of one size and what they show."""

    names: tuple[str, ...]
    image: Float[np.ndarray, "n height width"]
    """float32, 0 to 1, spots bright."""
    space_group: Int[np.ndarray, "n"]
    """1 to 230."""
    crystal_system: Int[np.ndarray, "n"]
    """Index in `CRYSTAL_SYSTEMS`."""
    uvw: Int[np.ndarray, "n 3"]
    """Zone axis; 0 0 0 where it is not known."""


@dataclass(frozen=True, kw_only=True)
class _Label:
    name: str
    space_group: int
    uvw: tuple[int, int, int]


def read_labelled_folder(
    folder: Path,
    pattern: PatternConfig,
    reading: Reading = Reading(),  # noqa: B008 (frozen)
) -> LabelledPictures:
    """Return all pictures that the folder's labels.csv names, in its order.

    Warns of pictures that look like no pattern. Raises PictureError naming the lines and files that cannot be used.
    """
    check_reading(reading)
    labels = _read_labels(folder / "labels.csv")
    images, faults = [], []
    for label in labels:
        own = reading if label.uvw == (0, 0, 0) else replace(reading, zone=label.uvw)
        try:
            view = read_view(folder / label.name, pattern, own, str(folder / label.name))
        except PictureError as error:
            faults.append(str(error))
            continue
        for text in view.warnings:
            warnings.warn(f"{view.name}: {text}", stacklevel=2)
        images.append(view.image)
    _refuse(folder / "labels.csv", faults)
    space_group = np.array([label.space_group for label in labels], np.int32)
    return LabelledPictures(
        names=tuple(label.name for label in labels),
        image=np.stack(images).astype(np.float32),
        space_group=space_group,
        crystal_system=crystal_system_index(space_group).astype(np.int32),
        uvw=np.array([label.uvw for label in labels], np.int32),
    )


def _read_labels(path: Path) -> list[_Label]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except OSError as error:
        raise PictureError(
            f"{path}: {error.strerror}; it lists the pictures, as name,space_group and perhaps u,v,w"
        ) from None
    if not rows or not {"name", "space_group"} <= set(rows[0]):
        raise PictureError(f"{path}: expected a first line name,space_group (and perhaps u,v,w) and a line a picture")
    labels, faults = [], []
    for number, row in enumerate(rows, 2):
        try:
            labels.append(_label(row))
        except (ValueError, TypeError) as error:
            faults.append(f"line {number}: {error}")
    _refuse(path, faults)
    return labels


def _label(row: dict[str, str]) -> _Label:
    text = row["space_group"].strip()
    found = gemmi.find_spacegroup_by_name(text)
    group = int(text) if text.isdecimal() else (found.number if found else 0)
    if not 1 <= group <= 230:
        raise ValueError(f"space_group '{text}': expected 1 to 230 or a symbol such as P21/c")
    axis = [(row.get(name) or "").strip() for name in "uvw"]
    if any(axis) and not all(axis):
        raise ValueError(f"axis '{' '.join(axis)}': expected three whole numbers, or none")
    u, v, w = (int(index) for index in axis) if all(axis) else (0, 0, 0)
    return _Label(name=row["name"].strip(), space_group=group, uvw=(u, v, w))


def _refuse(path: Path, faults: list[str]) -> None:
    if faults:
        more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        raise PictureError(f"{path}: " + "; ".join(faults[:MOST_FAULTS]) + more)
