"""The seed paper's pipeline: its lists to rounding, and its pictures."""

import re

import numpy as np
import pytest
import reference
from PIL import Image

from xrdjax.config import PAPER_PATTERN
from xrdjax.diffraction.spots import zone_spots
from xrdjax.patterns.pictures import render_zone

OLD = reference.DATA / "old_pipeline"


@pytest.mark.parametrize("name", sorted(path.stem for path in OLD.glob("*.npz")))
def test_lists_are_those_of_the_old_pipeline(name):
    """Three oblique cells; both sides round coordinates to 1e-7 and calculate in float64."""
    crystal = reference.crystal(name)
    with np.load(OLD / f"{name}.npz") as columns:
        for zone in sorted({key.split(".")[0] for key in columns}):
            hkl, percent, xy = (columns[f"{zone}.{column}"] for column in ("hkl", "I_percent", "xy"))
            order = np.lexsort(hkl.T[::-1])
            order = order[hkl[order].any(axis=1)]
            spots = zone_spots(crystal, tuple(map(int, zone.split("_"))), frame="paper")
            np.testing.assert_array_equal(spots.hkl, hkl[order])
            np.testing.assert_allclose(spots.xy, xy[order], rtol=0, atol=1e-14)
            np.testing.assert_allclose(spots.intensity, percent[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("path", sorted(OLD.glob("*.png")), ids=lambda path: path.stem)
def test_pictures_overlay_the_old_ones(path):
    """A rasteriser of outlines is not ours, and its red centre becomes grey: nearly all of each pixel agrees."""
    name, *uvw = re.fullmatch(r"(.*)_u(\d)_v(\d)_w(\d)", path.stem).groups()
    picture = Image.open(path).convert("RGBA")
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    old = 1 - np.asarray(page.convert("L"), float) / 255
    ours = render_zone(reference.crystal(name), tuple(map(int, uvw)), PAPER_PATTERN)
    assert np.corrcoef(old.ravel(), ours.ravel())[0, 1] > 0.99
    assert ours.sum() == pytest.approx(old.sum(), rel=0.03)
