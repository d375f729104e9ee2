"""Pictures with their labels, as people look at them in TensorBoard."""

from functools import cache

import gemmi
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

TILE, CAPTION, GAP, COLUMNS = 160, 18, 4, 6
INK, RIGHT, WRONG, GROUND = (20, 20, 20), (0, 110, 60), (190, 40, 20), (235, 235, 235)


def prediction_sheet(
    pictures: Float[np.ndarray, "n height width"], space_group: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"]
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Return patterns, spots dark, each over its space group and, if it was taken for another one, that one."""
    rows = -(-len(pictures) // COLUMNS)
    step_x, step_y = TILE + GAP, TILE + CAPTION + GAP
    sheet = Image.new("RGB", (COLUMNS * step_x + GAP, rows * step_y + GAP), GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 11)
    for number, (picture, true, guess) in enumerate(zip(pictures, space_group, predicted, strict=True)):
        x, y = GAP + number % COLUMNS * step_x, GAP + number // COLUMNS * step_y
        tile = Image.fromarray(np.round(255 * (1 - picture)).astype(np.uint8))
        sheet.paste(tile.resize((TILE, TILE), Image.Resampling.BILINEAR), (x, y))
        symbol = hermann_mauguin(int(true))
        draw.text((x + 2, y + TILE + 2), symbol, INK, font)
        verdict = "✓" if true == guess else f"→ {hermann_mauguin(int(guess))}"
        draw.text((x + TILE // 2, y + TILE + 2), verdict, RIGHT if true == guess else WRONG, font)
    return np.asarray(sheet)


@cache
def hermann_mauguin(space_group: int) -> str:
    """Return the symbol of a space group in its standard setting, such as "P63/mmc"."""
    return gemmi.find_spacegroup_by_number(space_group).hm.replace(" ", "")
