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
    sheet, font = _sheet(pictures, 1), _font()
    draw = ImageDraw.Draw(sheet)
    for number, (true, guess) in enumerate(zip(space_group, predicted, strict=True)):
        x, y = _place(number, 1)
        draw.text((x + 2, y + TILE + 2), hermann_mauguin(int(true)), INK, font)
        verdict = "✓" if true == guess else f"→ {hermann_mauguin(int(guess))}"
        draw.text((x + TILE // 2, y + TILE + 2), verdict, RIGHT if true == guess else WRONG, font)
    return np.asarray(sheet)


def labelled_sheet(pictures: Float[np.ndarray, "n height width"], captions: list[tuple[str, str]]) -> Image.Image:
    """Return patterns, spots dark, each over two lines of text."""
    sheet, font = _sheet(pictures, 2), _font()
    draw = ImageDraw.Draw(sheet)
    for number, lines in enumerate(captions):
        x, y = _place(number, 2)
        for row, line in enumerate(lines):
            shown = next(line[:end] for end in range(len(line), -1, -1) if font.getlength(line[:end]) <= TILE - 4)
            draw.text((x + 2, y + TILE + 2 + row * (CAPTION - 4)), shown, INK, font)
    return sheet


def _sheet(pictures: Float[np.ndarray, "n height width"], lines: int) -> Image.Image:
    """Return the tiles of a sheet, with room for that many lines under each."""
    _, bottom = _place(len(pictures) - 1 + COLUMNS, lines)
    sheet = Image.new("RGB", (COLUMNS * (TILE + GAP) + GAP, bottom), GROUND)
    for number, picture in enumerate(pictures):
        tile = Image.fromarray(np.round(255 * (1 - picture)).astype(np.uint8))
        sheet.paste(tile.resize((TILE, TILE), Image.Resampling.BILINEAR), _place(number, lines))
    return sheet


def _place(number: int, lines: int) -> tuple[int, int]:
    row, column = divmod(number, COLUMNS)
    return GAP + column * (TILE + GAP), GAP + row * (TILE + lines * CAPTION + GAP)


def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 11)


@cache
def hermann_mauguin(space_group: int) -> str:
    """Return the symbol of a space group in its standard setting, such as "P63/mmc"."""
    return gemmi.find_spacegroup_by_number(space_group).hm.replace(" ", "")
