"""A picture brought onto a network's own pixels, given where its centre is and how large its pixels are.

A picture that was enlarged after it was drawn has its old pixels still in it: they are read off. One that was drawn
finer shows discs that must look as if they had been drawn on the coarse pixels, where the edge of a disc is a pixel
wide and a disc smaller than a pixel is grey in proportion to its radius (`patterns/render.py`). That follows from the
distance of each pixel from the nearest edge, and the radius of what is inside it. Where both say little, in shades that
are no discs, the mean over a pixel's area counts.

What lies outside the picture, or was not measured, is taken from the opposite point where Friedel's law holds, and is
dark elsewhere.
"""

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage

from xrdjax.config import PatternConfig
from xrdjax.patterns.render import pixel_centres

KNOWN = 0.5  # of a new pixel's area; with less it is taken from the opposite point
FINE = 12  # steps in a new pixel to which edges are measured
SAME = 0.02  # of a pixel: nothing is resampled for less


def resample(
    image: Float[np.ndarray, "h w"],
    is_valid: Bool[np.ndarray, "h w"],
    centre: tuple[float, float],
    pixel: float,
    pattern: PatternConfig,
) -> Float[np.ndarray, "height width"]:
    """Return the picture as the pattern's: `centre` in pixels from the upper left edge, `pixel` in 1/Å."""
    x, y = pixel_centres(pattern)
    at = (centre[1] - y / pixel - 0.5, centre[0] + x / pixel - 0.5)
    scale = pattern.pixel / pixel
    image = np.where(is_valid, image, 0).astype(np.float32)
    known = _area_mean(is_valid.astype(np.float32), at, scale)
    picture = _draw(image, at, scale) / np.maximum(known, KNOWN)
    if pattern.has_friedel_pairs:
        picture = np.where(known < KNOWN, picture[::-1, ::-1], picture)
    return np.clip(picture, 0, 1).astype(np.float32)


Places = tuple[Float[np.ndarray, "height"], Float[np.ndarray, "width"]]


def _draw(image: Float[np.ndarray, "h w"], at: Places, scale: float) -> Float[np.ndarray, "height width"]:
    if abs(scale - 1) < SAME and all(np.abs(places - np.round(places)).max() < SAME for places in at):
        return _look_up(image, at, order=0)
    if scale < 1 or edge_width(image) > scale**0.5:
        return _look_up(image, at, order=3)
    parts, count = ndimage.label(image > 0)
    is_disc = np.concatenate([[False], ndimage.maximum(image, parts, np.arange(1, count + 1)) > 0.5])[parts]
    return np.maximum(_area_mean(np.where(is_disc, 0, image), at, scale), _redrawn_discs(image, at, scale))


def edge_width(image: Float[np.ndarray, "h w"]) -> float:
    """Return how many pixels the sharpest edges of a picture take from dark to bright: one if drawn as it is."""
    steps = np.concatenate([np.abs(np.diff(image, axis=axis)).ravel() for axis in (0, 1)])
    steep = steps[steps > 0.02]
    return 1 / float(np.quantile(steep, 0.9)) if len(steep) else 1.0


def _look_up(image: Float[np.ndarray, "h w"], at: Places, order: int) -> Float[np.ndarray, "height width"]:
    """Return values at places in pixels; outside it is dark."""
    grid = np.meshgrid(*at, indexing="ij")
    return ndimage.map_coordinates(image, grid, order=order, mode="grid-constant", prefilter=order > 1)


def _area_mean(image: Float[np.ndarray, "h w"], at: Places, scale: float) -> Float[np.ndarray, "height width"]:
    """Return means over squares of `scale` pixels, from sums over everything above and to the left."""
    sums = np.pad(np.cumsum(np.cumsum(image, 0, dtype=float), 1), ((1, 0), (1, 0)))
    half = max(scale, 1) / 2
    (top, bottom), (left, right) = (
        (np.clip(places + 0.5 - half, 0, size), np.clip(places + 0.5 + half, 0, size))
        for places, size in zip(at, image.shape, strict=True)
    )

    def up_to(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return ndimage.map_coordinates(sums, np.meshgrid(rows, columns, indexing="ij"), order=1)

    total = up_to(bottom, right) - up_to(top, right) - up_to(bottom, left) + up_to(top, left)
    return total / (2 * half) ** 2


def _redrawn_discs(image: Float[np.ndarray, "h w"], at: Places, scale: float) -> Float[np.ndarray, "height width"]:
    """Return the coverage of coarse pixels by what is above half height, as `disc_coverage` would draw it."""
    finer = max(round(FINE / scale), 1)
    height, width = (finer * size for size in image.shape)
    fine = Image.fromarray(image, mode="F").resize((width, height), Image.Resampling.BICUBIC) if finer > 1 else image
    is_ink = np.asarray(fine) > 0.5
    if not is_ink.any():
        return np.zeros((len(at[0]), len(at[1])))
    unit = scale * finer
    inside = ndimage.distance_transform_edt(is_ink)
    outside, nearest = ndimage.distance_transform_edt(~is_ink, return_indices=True)
    depth = np.where(is_ink, inside - 0.5, 0.5 - outside) / unit
    parts, count = ndimage.label(is_ink)
    radius = np.concatenate([[0], ndimage.maximum(inside - 0.5, parts, np.arange(1, count + 1))]) / unit
    coverage = np.clip(np.minimum(depth + 0.5, 2 * radius[parts[tuple(nearest)]]), 0, 1)
    places = tuple((place + 0.5) * finer - 0.5 for place in at)
    return _look_up(coverage, places, order=1)
