"""Where the centre of a pattern is: the point about which the picture is its own inversion.

A zero layer of reciprocal space looks the same turned by half a turn about its origin (Friedel's law; anomalous
scattering disturbs intensities only a little). The convolution of a picture with itself, Σ I(x) I(s − x), never
exceeds Σ I² and reaches it only at s = twice the centre. About another node of the lattice the pattern's edge has no
partner. The sum is divided by what the overlapping parts hold, so that a picture that is cut off on one side keeps its
centre.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import fft

LARGEST = 1024  # pixels a side; larger pictures are averaged down first
LEAST_OVERLAP = 0.5  # of what the picture holds must take part
OVERLAP_WEIGHT = 0.25


@dataclass(frozen=True, kw_only=True)
class Centre:
    """The centre of a picture."""

    x: float
    """In pixels from the left edge; the middle of the first pixel is at 0.5."""
    y: float
    """In pixels from the upper edge."""
    symmetry: float
    """Correlation of the picture and its inversion about this point, up to 1."""


def find_centre(image: Float[np.ndarray, "height width"]) -> Centre:
    """Return the centre of inversion of a picture, spots bright on zero, to a fraction of a pixel."""
    product, energy, factor = _self_convolution(image)
    # Of points about which the overlap is equally symmetric, that of the larger overlap.
    score = product / np.maximum(energy, 1e-9 * energy.max()) ** (1 - OVERLAP_WEIGHT)
    score[energy < LEAST_OVERLAP * energy.max()] = 0
    peak = np.unravel_index(np.argmax(score), score.shape)
    row, column = (_vertex(score, peak, axis) for axis in (0, 1))
    symmetry = float(product[peak] / energy[peak])
    return Centre(x=factor * (column + 1) / 2, y=factor * (row + 1) / 2, symmetry=symmetry)


def centre_at(image: Float[np.ndarray, "height width"], x: float, y: float) -> Centre:
    """Return a given centre, with the symmetry of the picture about it, to the nearest half pixel."""
    product, energy, factor = _self_convolution(image)
    row, column = round(2 * y / factor - 1), round(2 * x / factor - 1)
    is_inside = 0 <= row < energy.shape[0] and 0 <= column < energy.shape[1] and energy[row, column] > 0
    return Centre(x=x, y=y, symmetry=float(product[row, column] / energy[row, column]) if is_inside else 0.0)


def _self_convolution(
    image: Float[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "sum_h sum_w"], Float[np.ndarray, "sum_h sum_w"], int]:
    """Return Σ I(x) I(s − x) and the Σ I(x)² of the pixels that take part, for every s, and the size of a pixel.

    I is the square root of the picture, so that a few strong spots do not decide alone.
    """
    factor = -(-max(image.shape) // LARGEST)
    root = np.sqrt(_average_down(image, factor)).astype(np.float32)
    shape = [fft.next_fast_len(2 * size - 1, real=True) for size in root.shape]
    transform = fft.rfft2(root, shape)
    squares = fft.rfft2(root**2, shape) * fft.rfft2(np.ones_like(root), shape)
    rows, columns = (slice(2 * size - 1) for size in root.shape)
    product, energy = (fft.irfft2(spectrum, shape)[rows, columns] for spectrum in (transform**2, squares))
    return product, np.maximum(energy, 0), factor


def _vertex(score: np.ndarray, peak: tuple[np.intp, ...], axis: int) -> float:
    """Return where a parabola through the peak and its neighbours along one axis is highest."""
    place = int(peak[axis])
    if not 0 < place < score.shape[axis] - 1:
        return float(place)
    before, here, after = np.take(score, peak[1 - axis], axis=1 - axis)[place - 1 : place + 2]
    curvature = before - 2 * here + after
    return place + (float((before - after) / (2 * curvature)) if curvature < 0 else 0.0)


def _average_down(image: Float[np.ndarray, "h w"], factor: int) -> Float[np.ndarray, "small_h small_w"]:
    if factor == 1:
        return image
    rows, columns = (-(-size // factor) for size in image.shape)
    padded = np.pad(image, [(0, n * factor - size) for n, size in zip((rows, columns), image.shape, strict=True)])
    return padded.reshape(rows, factor, columns, factor).mean((1, 3))
