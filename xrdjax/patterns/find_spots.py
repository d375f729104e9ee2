"""Spots of a measured picture, as a list: positions and summed counts.

What stands out of the noise falls into connected parts; a part with several summits is divided among them, each pixel
to the nearest. A spot is its part's centroid and sum. Lines, rings and the shadow of a beam stop are too large or too
long to be spots.
"""

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.spatial import KDTree

from xrdjax.patterns.clean import Cleaned, smoothed_medians

THRESHOLD = 5.0  # standard deviations of the ground, which is measured nearby: photons are noisier where there are more
FAINTEST = 5e-4  # of the strongest pixel
SUMMIT_DISTANCE = 0.008  # of the shorter side, at least two pixels
LARGEST_AREA = 0.01  # of the picture
LONGEST = 4.0  # length over breadth


def find_spots(cleaned: Cleaned) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
    """Return x to the right and y downwards in pixels from the upper left edge, and the counts, strongest first."""
    counts = cleaned.counts
    reach = max(round(SUMMIT_DISTANCE * min(counts.shape)), 2)
    smooth = ndimage.gaussian_filter(counts, reach / 3)
    ground = smoothed_medians(smooth)
    noise = 1.4826 * smoothed_medians(np.abs(smooth - ground))
    above = smooth - ground > np.maximum(THRESHOLD * noise, FAINTEST * float(smooth.max()))
    is_summit = above & (smooth == ndimage.maximum_filter(smooth, 2 * reach + 1))
    summits = np.argwhere(is_summit)
    if not len(summits):
        return np.zeros((0, 2)), np.zeros(0)
    pixels = np.argwhere(above)
    owner = KDTree(summits).query(pixels)[1]
    parts = ndimage.label(above)[0]
    belongs = parts[tuple(pixels.T)] == parts[tuple(summits[owner].T)]
    pixels, owner = pixels[belongs], owner[belongs]
    return _measure((counts - ground)[tuple(pixels.T)], pixels, owner, LARGEST_AREA * counts.size)


def _measure(
    weight: Float[np.ndarray, "pixels"], pixels: np.ndarray, owner: np.ndarray, largest_area: float
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n"]]:
    """Return centroid and sum of the pixels of each owner, those left out that are too large or too long."""
    weight = np.maximum(weight, 0).astype(float)
    total, area = np.bincount(owner, weight), np.bincount(owner)
    safe = np.where(total > 0, total, 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(owner, weight * values) / safe

    row, column = mean(pixels[:, 0]), mean(pixels[:, 1])
    dr, dc = pixels[:, 0] - row[owner], pixels[:, 1] - column[owner]
    # A pixel has a moment of 1/12 of its own.
    rr, cc, rc = mean(dr * dr) + 1 / 12, mean(dc * dc) + 1 / 12, mean(dr * dc)
    half, spread = (rr + cc) / 2, np.sqrt(((rr - cc) / 2) ** 2 + rc**2)
    is_round = half + spread <= LONGEST**2 * (half - spread)
    chosen = np.flatnonzero((total > 0) & is_round & (area <= largest_area))
    chosen = chosen[np.argsort(-total[chosen], kind="stable")]
    return np.stack([column, row], 1)[chosen] + 0.5, total[chosen]
