"""Whether a picture can be a diffraction pattern at all, before a network is asked which.

A zone's pattern is its own inversion about the centre, and made of separate spots. A text has the second only, a
photograph neither, a disc or a gradient the first only. Rendered patterns correlate with their inversion to 0.95 and
more, texts and photographs to less than a half.
"""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from xrdjax.patterns.clean import Cleaned
from xrdjax.patterns.inversion import Centre

NONE, FULL = 0.6, 0.9  # correlation with the inversion, beyond what chance gives
SPOT_LEVEL = 0.15  # of the strongest


def likeness(cleaned: Cleaned, centre: Centre) -> float:
    """Return 0 for what cannot be a pattern to 1 for what looks like one."""
    root = np.sqrt(cleaned.image)
    by_chance = float(root.mean() ** 2 / (root**2).mean())
    symmetry = (centre.symmetry - by_chance) / max(1 - by_chance, 1e-6)
    has_spots = _num_summits(cleaned.image) > 1
    return float(np.clip((symmetry - NONE) / (FULL - NONE), 0, 1)) if has_spots else 0.0


def _num_summits(image: Float[np.ndarray, "h w"]) -> int:
    """Return how many spots there are at least; those that run into each other have summits of their own."""
    smooth = np.round(ndimage.gaussian_filter(image, 1), 3)
    is_summit = (smooth == ndimage.maximum_filter(smooth, 3)) & (smooth > SPOT_LEVEL)
    return ndimage.label(is_summit, np.ones((3, 3)))[1]
