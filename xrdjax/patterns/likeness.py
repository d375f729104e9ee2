"""Whether a picture can be a diffraction pattern at all, before a network is asked which.

A zone's pattern is its own inversion about the centre, and made of separate spots. A text has the second only, a
photograph neither, a disc or a gradient the first only. Rendered patterns correlate with their inversion to 0.95 and
more, texts and photographs to less than a half.
"""

import numpy as np
from scipy import ndimage

from xrdjax.patterns.clean import Cleaned
from xrdjax.patterns.inversion import Centre

NONE, FULL = 0.6, 0.9  # correlation with the inversion, beyond what chance gives
SPOT_LEVEL = 0.2  # of the strongest


def likeness(cleaned: Cleaned, centre: Centre) -> float:
    """Return 0 for what cannot be a pattern to 1 for what looks like one."""
    root = np.sqrt(cleaned.image)
    by_chance = float(root.mean() ** 2 / (root**2).mean())
    symmetry = (centre.symmetry - by_chance) / max(1 - by_chance, 1e-6)
    num_spots = ndimage.label(cleaned.image > SPOT_LEVEL)[1]
    return float(np.clip((symmetry - NONE) / (FULL - NONE), 0, 1)) if num_spots > 1 else 0.0
