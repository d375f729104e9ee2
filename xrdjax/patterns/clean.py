"""From grey values to spots bright on a dark ground of zero: which side of the ground the spots are on, and the ground.

A drawn or printed picture has one grey as its ground; what a detector or a scanner took has a ground that varies
slowly, with noise on it: the ground is the smoothed medians of blocks, the noise how far values fall below it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from xrdjax.patterns.reading_options import Ink

ONE_SIGMA = 0.1587  # of normal deviates are below −1; the side of the ground that holds no spots
FLAT_SHARE = 0.15  # of the pixels have the ground's grey where the ground is one grey
BLOCKS = 24  # along the shorter side
FLAT = 0.01  # of the span between ground and strongest pixel
DISC_SHARE = 0.06
QUIET = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class Cleaned:
    """A picture, spots bright, its ground at zero."""

    image: Float[np.ndarray, "height width"]
    """0 to 1, nothing but spots: the ground and its noise are cut off."""
    counts: Float[np.ndarray, "height width"]
    """What stands out of the ground, in the picture's own units, of either sign."""
    is_valid: Bool[np.ndarray, "height width"]
    """False where nothing was measured."""
    noise: float
    """Standard deviation of the ground, in the units of `counts`."""

    @property
    def is_drawn(self) -> bool:
        """Whether this looks like discs, whose radius tells intensities, rather than greys that do.

        Of a drawn picture's ink an eighth is above half its height, however small the discs; a detector's strongest
        spots tower over all others.
        """
        is_quiet = self.noise < QUIET * float(self.counts.max())
        return is_quiet and bool((self.image > 0.5).sum() >= DISC_SHARE * (self.image > 0.05).sum())


def clean(grey: Float[np.ndarray, "height width"], ink: Ink = "auto") -> Cleaned | None:
    """Return what stands out of a picture's ground, or None if nothing does."""
    is_valid = np.isfinite(grey)
    filled = np.where(is_valid, grey, np.median(grey[is_valid]))
    sign = _sign(filled) if ink == "auto" else (1 if ink == "bright" else -1)
    counts = sign * (filled - _ground(filled))
    noise = max(-float(np.quantile(counts[is_valid], ONE_SIGMA)), 0.0)
    counts = np.where(is_valid, counts, 0)
    strongest = float(counts.max())
    if strongest <= max(6 * noise, 1e-6 * float(np.abs(filled).max())):
        return None
    floor = 4 * noise
    image = np.where(counts > floor, counts - floor if noise > FLAT * strongest else counts, 0)
    return Cleaned(
        image=(image / image.max()).astype(np.float32), counts=counts.astype(np.float32), is_valid=is_valid, noise=noise
    )


def _sign(values: Float[np.ndarray, "h w"]) -> int:
    """Return 1 if what differs from the corners' grey is brighter on the whole, else −1."""
    return 1 if (values - _corner_grey(values)).sum() >= 0 else -1


def _corner_grey(values: Float[np.ndarray, "h w"]) -> float:
    rows, columns = (max(size // 20, 1) for size in values.shape)
    corners = [values[r, c] for r in (slice(rows), slice(-rows, None)) for c in (slice(columns), slice(-columns, None))]
    return float(np.median(np.concatenate([corner.ravel() for corner in corners])))


def _ground(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"] | float:
    """Return the corners' grey if a good part of the picture has it, otherwise the smoothed medians of blocks."""
    corner = _corner_grey(values)
    if (np.abs(values - corner) <= FLAT / 2 * np.ptp(values)).mean() > FLAT_SHARE:
        return corner
    return smoothed_medians(values)


def smoothed_medians(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Return what varies slowly: medians of blocks, a median of 5 × 5 of them, straight lines between."""
    size = max(min(values.shape) // BLOCKS, 4)
    rows, columns = (-(-length // size) for length in values.shape)
    padded = np.pad(values, [(0, rows * size - values.shape[0]), (0, columns * size - values.shape[1])], mode="reflect")
    blocks = np.median(padded.reshape(rows, size, columns, size), axis=(1, 3))
    smooth = ndimage.median_filter(blocks, 5, mode="nearest")
    at = [(np.arange(length) + 0.5) / size - 0.5 for length in values.shape]
    return ndimage.map_coordinates(smooth, np.meshgrid(*at, indexing="ij"), order=1, mode="nearest")
