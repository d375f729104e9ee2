"""Grey values of a picture file: what any program, scanner or detector wrote, as one array of numbers.

Values are as they stand in the file; pixels that hold no measurement (negative counts, the largest uint32, NaN) become
NaN. Colours become luminance, and coloured marks in a grey picture, such as a red origin, NaN. Transparent pixels show
white, or black where white would leave nothing to see. The first row is the uppermost.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image, UnidentifiedImageError

from xrdjax.errors import PictureError

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
MASKED = 2**32 - 1  # what Eiger detectors write for a pixel that does not count
COLOURED = 0.1  # of full scale between the colours of a pixel
MARKED = 0.02  # of a picture's pixels; with more, the picture itself is coloured
MOST_PIXELS = 2**28
SMALLEST_SIDE = 8


def read_picture(path: Path) -> Float[np.ndarray, "height width"]:
    """Return the grey values of a PNG, TIFF, JPEG, NPY, CBF, EDF or other detector picture. Raises PictureError."""
    try:
        values = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else _read_any(path)
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except PictureError:
        raise
    except Exception as error:  # decoders raise what they like on damaged files
        raise PictureError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None
    return grey_values(values, str(path))


def grey_values(values: Shaped[np.ndarray, "..."], name: str) -> Float[np.ndarray, "height width"]:
    """Return any array of a picture, with or without colours, as grey values. Raises PictureError naming `name`."""
    values = np.asarray(values)
    if values.dtype.kind not in "buif" or values.ndim not in (2, 3):
        raise PictureError(f"{name}: an array {values.shape} of {values.dtype}; expected real numbers, height × width")
    if values.ndim == 3 and values.shape[2] not in (1, 2, 3, 4):
        raise PictureError(
            f"{name}: an array {values.shape}; expected height × width, or with 1 to 4 colours as last axis"
        )
    if min(values.shape[:2]) < SMALLEST_SIDE or values.shape[0] * values.shape[1] > MOST_PIXELS:
        height, width = values.shape[:2]
        raise PictureError(
            f"{name}: {width} × {height} pixels; expected {SMALLEST_SIDE} a side to {MOST_PIXELS:,} in all"
        )
    invalid = np.zeros(values.shape, bool)
    if values.dtype.kind in "if":
        invalid = values < 0 if values.dtype.kind == "i" else ~np.isfinite(values)
    elif values.dtype == np.uint32:
        invalid = values == MASKED
    grey = np.where(invalid, np.nan, values).astype(np.float32)
    if grey.ndim == 3:
        grey = _without_colours(grey, np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1.0)
    if not np.isfinite(grey).any():
        raise PictureError(f"{name}: no pixel holds a number that can be used")
    return grey


def _read_any(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            if picture.mode in ("P", "PA", "CMYK", "YCbCr", "HSV", "LAB"):
                has_alpha = picture.mode == "PA" or "transparency" in picture.info
                return np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
            return np.asarray(picture)
    except (UnidentifiedImageError, NotImplementedError):
        return _read_detector(path)


def _read_detector(path: Path) -> np.ndarray:
    try:
        import fabio
    except ImportError:
        raise PictureError(
            f"{path}: no PNG, TIFF, JPEG or NPY; for detector formats install fabio: pip install 'xrdjax[predict]'"
        ) from None
    with fabio.open(str(path)) as picture:
        return np.asarray(picture.data)


def _without_colours(values: Float[np.ndarray, "h w c"], full: float) -> Float[np.ndarray, "h w"]:
    has_alpha = values.shape[2] in (2, 4)
    colours = values[..., :-1] if has_alpha else values
    grey = colours[..., 0] if colours.shape[2] == 1 else colours @ np.asarray(LUMINANCE, np.float32)
    if has_alpha:
        alpha = values[..., -1] / np.float32(full)
        on_white = alpha * grey + (1 - alpha) * np.float32(full)
        grey = on_white if np.ptp(on_white) > 0 else alpha * grey
    is_mark = np.ptp(colours, axis=2) > COLOURED * full
    return np.where(is_mark, np.nan, grey) if is_mark.mean() < MARKED else grey
