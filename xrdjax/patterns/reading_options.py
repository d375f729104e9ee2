"""How a user's file is to be read as a pattern, where it is not found out. Loads nothing heavy, for command lines."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xrdjax.config import Axis
from xrdjax.errors import PictureError

if TYPE_CHECKING:
    import gemmi

Ink = Literal["auto", "dark", "bright"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a file is to be read. What is None or "auto" is found out."""

    center: tuple[float, float] | None = None
    """x and y of the centre in pixels from the upper left corner."""
    pixels_per_inverse_angstrom: float | None = None
    """The scale of a picture, or of a list of spots in pixels."""
    distance: float | None = None
    """From crystal to detector in mm; with `pixel_size` and `wavelength` in place of a scale."""
    pixel_size: float | None = None
    """Of the detector in mm."""
    wavelength: float | None = None
    """Of the radiation that was measured with, in Å."""
    ink: Ink = "auto"
    """Spots dark on a bright ground, or bright on a dark one."""
    look: Literal["auto", "picture", "spots"] = "auto"
    """Resample the picture as it is, or find its spots and draw them anew, by their intensities."""
    zone: Axis | None = None
    """Zone axis: which reflections of a file are taken, and for networks that are told the axis."""
    cell: tuple[float, float, float, float, float, float] | None = None
    """a, b, c in Å and α, β, γ in degrees, of reflections whose file does not tell."""
    symmetry: str | None = None
    """Space group, by symbol or number, by whose operations listed reflections stand for others; "P1" for none. By
    default the file's own."""

    @property
    def geometry(self) -> tuple[float, float, float] | None:
        """Distance and pixel size in mm and wavelength in Å of a flat detector, if they are given."""
        if self.distance is None or self.pixel_size is None or self.wavelength is None:
            return None
        return self.distance, self.pixel_size, self.wavelength


def check_reading(reading: Reading) -> Reading:
    """Return the options. Raises PictureError naming those that cannot be meant."""
    for name in ("pixels_per_inverse_angstrom", "distance", "pixel_size", "wavelength"):
        value = getattr(reading, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise PictureError(f"{name} = {value}: expected a positive number")
    if reading.geometry is None and (reading.distance, reading.pixel_size, reading.wavelength) != (None, None, None):
        raise PictureError("distance, pixel_size and wavelength: expected all three, or none")
    if reading.geometry and reading.pixels_per_inverse_angstrom is not None:
        raise PictureError("pixels_per_inverse_angstrom: contradicts distance, pixel_size and wavelength; give either")
    if reading.symmetry is not None and space_group_of(reading.symmetry) is None:
        raise PictureError(
            f"symmetry = '{reading.symmetry}': no space group; expected a symbol such as 'P 21/c', or 1-230"
        )
    return reading


def space_group_of(text: str) -> "gemmi.SpaceGroup | None":
    """Return a space group by number or symbol, None if there is none such."""
    import gemmi

    if text.isdecimal():
        return gemmi.find_spacegroup_by_number(int(text))
    return gemmi.find_spacegroup_by_name(text)
