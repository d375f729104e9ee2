"""Draw what prediction makes of four kinds of input: docs/images/predict.png.

python tools/make_prediction_picture.py docs/images/predict.png [MODEL]
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import xrdjax
from xrdjax.evaluation.prediction_figure import draw_predictions

ROOT = Path(__file__).parent.parent
TEXT = "This is no diffraction pattern. A network would answer all the same, and must not be believed. " * 4


def main() -> None:
    model = xrdjax.load_model(*sys.argv[2:3])
    pattern = model.config.pattern
    crystal = xrdjax.read_cif(ROOT / "tests" / "data" / "cifs" / "ZnO_wurtzite.cif")
    spots = xrdjax.zone_spots(crystal, (1, 0, 0), wavelength=pattern.wavelength)
    scale = 210.0
    with tempfile.TemporaryDirectory() as folder:
        drawn, frame, listed, text = (
            Path(folder) / name for name in ("drawn.png", "frame.tif", "list.csv", "text.png")
        )
        image = xrdjax.render_zone(crystal, (1, 0, 0), replace(pattern, height=300, width=300))
        moved = np.full((300, 300), 255, np.uint8)
        moved[20:, 30:] = np.round(255 * (1 - image[:-20, :-30]))
        Image.fromarray(moved).save(drawn)
        Image.fromarray(detector_frame(spots, scale)).save(frame)
        rows = np.column_stack([spots.xy, spots.intensity])
        np.savetxt(listed, rows, delimiter=",", header="x,y,intensity", comments="")
        sheet = Image.new("L", (300, 300), 255)
        lines = [TEXT[start : start + 42] for start in range(0, len(TEXT), 42)]
        ImageDraw.Draw(sheet).multiline_text((10, 10), "\n".join(lines), 0, spacing=8)
        sheet.save(text)
        predictions = [
            *model.predict(drawn),
            *model.predict(frame, xrdjax.Reading(pixels_per_inverse_angstrom=scale)),
            *model.predict([listed, text]),
        ]
    named = [replace(prediction, name=Path(prediction.name).name) for prediction in predictions]
    draw_predictions(named, pattern).savefig(sys.argv[1], dpi=90)


def detector_frame(spots: xrdjax.Spots, scale: float) -> np.ndarray:
    """Return counts of a detector: Gaussian spots, a falling background, photon noise and the shadow of a beam stop."""
    y, x = np.mgrid[:480, :500] + 0.5
    radius = np.hypot(x - 262, y - 231)
    counts = 15 * np.exp(-radius / 120)
    for (sx, sy), intensity in zip(spots.xy, spots.intensity / spots.intensity.max(), strict=True):
        counts += 6000 * intensity * np.exp(-((x - 262 - scale * sx) ** 2 + (y - 231 + scale * sy) ** 2) / 6)
    counts[radius < 14] = 1
    return np.random.default_rng(0).poisson(counts).astype(np.uint16)


if __name__ == "__main__":
    main()
