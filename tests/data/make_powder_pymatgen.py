"""Write powder_pymatgen.json: the lines that pymatgen's XRDCalculator finds for some CIFs of the tests.

Run `python tests/data/make_powder_pymatgen.py` where pymatgen is installed. Its form factors are another table, its
atoms are neutral; 2θ in degrees, intensities in percent of the strongest line, at the wavelength of the tests.
"""

import json
from importlib.metadata import version
from pathlib import Path

from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Structure

DATA = Path(__file__).parent
WAVELENGTH = 1.5406
NAMES = ("Cu", "FeSi_B20", "ZnO_wurtzite", "quartz_P3121", "calcite_rhomb", "fluorapatite", "gypsum")


def lines(name: str) -> dict[str, list]:
    pattern = XRDCalculator(WAVELENGTH).get_pattern(
        Structure.from_file(DATA / "cifs" / f"{name}.cif"), two_theta_range=(0, 90)
    )
    multiplicity = [sum(family["multiplicity"] for family in families) for families in pattern.hkls]
    return {
        "two_theta_deg": [round(float(angle), 8) for angle in pattern.x],
        "percent": [round(float(height), 5) for height in pattern.y],
        "multiplicity": multiplicity,
    }


if __name__ == "__main__":
    table = {"pymatgen": version("pymatgen"), "wavelength": WAVELENGTH, "lines": {name: lines(name) for name in NAMES}}
    (DATA / "powder_pymatgen.json").write_text(json.dumps(table) + "\n")
