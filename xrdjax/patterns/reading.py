"""From a user's file to the picture that a network was trained on: its size, extent and kind of spots.

A drawn picture is resampled. Of a measured one, whose greys tell intensities, the spots are found and drawn anew, as
are lists of spots and reflections. What is not told is found out: on which side of the ground the spots are, where the
centre is. The scale cannot be: without it a picture is taken to span what the network's pictures span.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from scipy import ndimage

from xrdjax.config import PatternConfig
from xrdjax.errors import PictureError
from xrdjax.patterns.clean import Cleaned, clean
from xrdjax.patterns.find_spots import find_spots
from xrdjax.patterns.inversion import Centre, centre_at, find_centre
from xrdjax.patterns.likeness import likeness
from xrdjax.patterns.picture_file import grey_values, read_picture
from xrdjax.patterns.pictures import render_spots
from xrdjax.patterns.reading_options import Reading, space_group_of
from xrdjax.patterns.render import pixel_centres
from xrdjax.patterns.resample import resample
from xrdjax.patterns.spot_file import REFLECTION_SUFFIXES, SPOT_SUFFIXES, layer_of, read_reflections, read_spots

BEAM = 0.03  # 1/Å around the centre in which only the direct beam is seen
FEW_BEYOND = 0.2  # share of spots that may lie where the network's radiation shows none
DOUBTFUL = 0.5  # likeness below which a picture is called no pattern


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One pattern as the network sees it, and how it came about."""

    name: str
    image: Float[np.ndarray, "height width"]
    """0 to 1, spots bright."""
    given: Float[np.ndarray, "given_height given_width"] | None = None
    """The picture that was read, spots bright; None of a list."""
    centre: tuple[float, float] | None = None
    """In pixels of the given picture from its upper left corner."""
    likeness: float = 1.0
    """0 for what cannot be a pattern to 1 for what looks like one."""
    warnings: tuple[str, ...] = ()


def read_view(source: Path | Shaped[np.ndarray, "..."], pattern: PatternConfig, reading: Reading, name: str) -> View:
    """Return a file, or an array of grey values, as a network with this pattern sees it. Raises PictureError."""
    if isinstance(source, Path):
        if source.is_dir():
            raise PictureError(f"{source}: is a directory; name the pictures in it")
        suffix = source.suffix.lower()
        if suffix in SPOT_SUFFIXES:
            return _from_spot_list(source, pattern, reading, name)
        if suffix in REFLECTION_SUFFIXES:
            return _from_reflections(source, pattern, reading, name)
        grey = read_picture(source)
    else:
        grey = grey_values(source, name)
    return _from_picture(grey, pattern, reading, name)


def _from_picture(grey: Float[np.ndarray, "h w"], pattern: PatternConfig, reading: Reading, name: str) -> View:
    cleaned = clean(grey, reading.ink)
    if cleaned is None:
        given = np.nan_to_num(grey - np.nanmin(grey))
        nothing = ("nothing stands out of the ground: no pattern",)
        image = np.zeros((pattern.height, pattern.width), np.float32)
        return View(name=name, image=image, given=given, likeness=0.0, warnings=nothing)
    centre = find_centre(cleaned.image) if reading.center is None else centre_at(cleaned.image, *reading.center)
    likely = likeness(cleaned, centre)
    if reading.look == "picture" or (reading.look == "auto" and cleaned.is_drawn and reading.geometry is None):
        pixel = _pixel(cleaned, pattern, reading)
        image = resample(cleaned.image, cleaned.is_valid, (centre.x, centre.y), pixel, pattern)
        image, warnings = _mend_beam(image, pattern), _small(cleaned, pattern)
    else:
        image, warnings = _redraw(cleaned, centre, pattern, reading)
    if likely < DOUBTFUL:
        warnings = (f"does not look like a diffraction pattern (likeness {likely:.2f} of 1)", *warnings)
    return View(
        name=name, image=image, given=cleaned.image, centre=(centre.x, centre.y), likeness=likely, warnings=warnings
    )


def _pixel(cleaned: Cleaned, pattern: PatternConfig, reading: Reading) -> float:
    """Return the size of a given picture's pixel in 1/Å."""
    if reading.pixels_per_inverse_angstrom is not None:
        return 1 / reading.pixels_per_inverse_angstrom
    if reading.geometry:
        distance, size, wavelength = reading.geometry
        return size / distance / wavelength
    return 2 * pattern.extent / min(cleaned.image.shape)


def _redraw(
    cleaned: Cleaned, centre: Centre, pattern: PatternConfig, reading: Reading
) -> tuple[Float[np.ndarray, "height width"], tuple[str, ...]]:
    places, counts = find_spots(cleaned)
    offset = (places - (centre.x, centre.y)) * (1, -1)
    xy = _to_reciprocal(offset, _pixel(cleaned, pattern, reading), reading)
    chosen = np.hypot(*xy.T) > BEAM
    xy, counts = xy[chosen], counts[chosen]
    warnings = ()
    if reading.pixels_per_inverse_angstrom is None and reading.geometry is None:
        warnings = (
            f"no scale given: the picture's shorter side is taken for {2 * pattern.extent:g} 1/Å, as in training",
        )
    return _draw_spots(xy, counts, pattern, warnings)


def _to_reciprocal(offset: Float[np.ndarray, "n 2"], pixel: float, reading: Reading) -> Float[np.ndarray, "n 2"]:
    """Return positions in 1/Å of places in pixels from the centre; on a flat detector |G| = 2 sin θ / λ."""
    if reading.geometry is None:
        return offset * pixel
    distance, size, wavelength = reading.geometry
    radius = np.maximum(np.hypot(*offset.T), 1e-9)
    two_theta = np.arctan(radius * size / distance)
    return offset * (2 * np.sin(two_theta / 2) / wavelength / radius)[:, None]


def _draw_spots(
    xy: Float[np.ndarray, "n 2"], intensity: Float[np.ndarray, "n"], pattern: PatternConfig, warnings: tuple[str, ...]
) -> tuple[Float[np.ndarray, "height width"], tuple[str, ...]]:
    inside = np.hypot(*xy.T) < pattern.g_max
    if not inside.any():
        return np.zeros((pattern.height, pattern.width), np.float32), ("no spots", *warnings)
    if (~inside).mean() > FEW_BEYOND:
        beyond = f"{(~inside).mean():.0%} of the spots lie beyond {pattern.g_max:.2f} 1/Å, which the network never saw"
        warnings = (f"{beyond}: is the scale right?", *warnings)
    return render_spots(xy[inside], intensity[inside], pattern), warnings


def _small(cleaned: Cleaned, pattern: PatternConfig) -> tuple[str, ...]:
    side, needed = min(cleaned.image.shape), min(pattern.height, pattern.width)
    coarse = f"{side} pixels, fewer than the network's {needed}: small spots are lost"
    return (coarse,) if side < needed else ()


def _mend_beam(image: Float[np.ndarray, "height width"], pattern: PatternConfig) -> Float[np.ndarray, "height width"]:
    """Return the picture without a mark of the direct beam, or with it if the network knows one."""
    x, y = pixel_centres(pattern)
    distance = np.hypot(x[None, :], y[:, None])
    if pattern.direct_beam:
        return np.maximum(image, np.clip((pattern.direct_beam - distance) / pattern.pixel + 0.5, 0, 1)).astype(
            np.float32
        )
    parts = ndimage.label(image > 0.02)[0]
    middle = np.isin(parts, parts[distance < 1.5 * pattern.pixel]) & (parts > 0)
    reach = max(BEAM, 1.5 * pattern.pixel)
    return np.where(middle, 0, image).astype(np.float32) if (distance[middle] <= reach).all() else image


def _from_spot_list(path: Path, pattern: PatternConfig, reading: Reading, name: str) -> View:
    xy, intensity = read_spots(path)
    if reading.geometry or reading.pixels_per_inverse_angstrom is not None:
        if reading.center is None:
            raise PictureError(f"{path}: spots in pixels need their centre; give --center X Y")
        scale = reading.pixels_per_inverse_angstrom or 1.0
        xy = _to_reciprocal((xy - reading.center) * (1, -1), 1 / scale, reading)
    image, warnings = _draw_spots(xy, intensity, pattern, ())
    return View(name=name, image=image, warnings=warnings, likeness=float(image.any()))


def _from_reflections(path: Path, pattern: PatternConfig, reading: Reading, name: str) -> View:
    if reading.zone is None:
        raise PictureError(f"{path}: reflections need a zone axis; give --zone U V W")
    reflections = read_reflections(path)
    cell = reading.cell or reflections.cell
    if cell is None:
        raise PictureError(f"{path}: tells no cell; give --cell a b c α β γ")
    group = reflections.space_group if reading.symmetry is None else space_group_of(reading.symmetry)
    xy, intensity = layer_of(reflections, reading.zone, cell, group, pattern)
    image, warnings = _draw_spots(xy, intensity, pattern, ())
    return View(name=name, image=image, warnings=warnings, likeness=float(image.any()))
