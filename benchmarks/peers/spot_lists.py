# ty: ignore[import-not-found]
"""Packages that give the reflections of one zone, one of them as a picture; each in one process and on one core.

Each `prepare_…` turns a zone into a call that makes its pattern; building the package's own crystal is not part of
the call. Electrons are given a wavelength so short (1 GV) that the Ewald sphere is a plane and the reflections are
those of the zone within the same limiting sphere. Intensities are the packages' own and not compared. py4DSTEM 0.14
needs NumPy below 2, where xrdjax needs 2: it is no part of the extra and fails beside xrdjax.
"""

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from peers.zones import DISC_RADIUS, EXTENT, G_MAX, Tally, Zone, half_zone, time_calls

if TYPE_CHECKING:
    from py4DSTEM.process.diffraction import Crystal

GIGAVOLT_IN_KV = 1e6
EXCITATION_ERROR = 1e-3  # 1/Å, below the distance of the layers of any cell here
PIXELS = 224
MODULES = {
    "pymatgen": "pymatgen.analysis.diffraction.tem",
    "diffsims": "diffsims.generators.simulation_generator",
    "Dans_Diffraction": "Dans_Diffraction",
    "py4DSTEM": "py4DSTEM",
    "py4DSTEM, further axes": "py4DSTEM",
}
DRAWS = {
    "pymatgen": "spots: TEMCalculator.tem_dots of the zone's hkl",
    "diffsims": "spots: SimulationGenerator.calculate_diffraction2d",
    "Dans_Diffraction": f"picture {PIXELS} × {PIXELS}, Gaussian spots: Scatter.generate_intensity_cut",
    "py4DSTEM": "spots: Crystal.calculate_structure_factors and generate_diffraction_pattern",
    "py4DSTEM, further axes": "spots: Crystal.generate_diffraction_pattern alone, structure factors at hand",
}


def missing(module: str) -> str | None:
    """Return why a module cannot be used, None if it can."""
    try:
        import_module(module)
    except ImportError as error:
        return f"not installed: {error}"
    return None


def time_alone(name: str, zones: list[Zone], seconds: float) -> Tally | str:
    """Time one package in a fresh process; a string says why there is nothing to time."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(_time, name, zones, seconds).result()


def _time(name: str, zones: list[Zone], seconds: float) -> Tally | str:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (some packages print a line a pattern)
    warnings.simplefilter("ignore")
    if reason := missing(MODULES[name]):
        return reason
    prepare = {
        "pymatgen": prepare_pymatgen,
        "diffsims": prepare_diffsims,
        "Dans_Diffraction": prepare_dans_diffraction,
        "py4DSTEM": prepare_py4dstem,
        "py4DSTEM, further axes": prepare_py4dstem_axis,
    }[name]
    time_calls(zones[:2], prepare, 0)  # imports, tables and compiled functions
    return time_calls(zones, prepare, seconds)


def prepare_pymatgen(zone: Zone) -> Callable[[], list]:
    """Return a call of pymatgen's TEM calculator on all hkl of the zone, which it takes as given."""
    from pymatgen.analysis.diffraction.tem import TEMCalculator
    from pymatgen.core import Lattice, Structure

    species = [{element: occupancy} for element, occupancy in zip(zone.elements, zone.occupancy.tolist(), strict=True)]
    structure = Structure(Lattice.from_parameters(*zone.cell), species, zone.fract)
    calculator = TEMCalculator(beam_direction=zone.uvw)

    def spots() -> list:
        hkl = half_zone(zone)[0]
        return calculator.tem_dots(structure, np.concatenate([hkl, -hkl]))

    return spots


def prepare_diffsims(zone: Zone) -> Callable[[], object]:
    """Return a call of diffsims' simulation along the zone axis."""
    from diffpy.structure import Atom, Lattice, Structure
    from diffsims.generators.simulation_generator import SimulationGenerator
    from orix.crystal_map import Phase
    from orix.quaternion import Rotation

    atoms = [
        Atom(element, xyz=fract, occupancy=occupancy)
        for element, fract, occupancy in zip(zone.elements, zone.fract, zone.occupancy, strict=True)
    ]
    phase = Phase(point_group="1", structure=Structure(atoms, Lattice(*zone.cell)))
    axis = np.asarray(zone.uvw) @ phase.structure.lattice.base
    generator = SimulationGenerator(accelerating_voltage=GIGAVOLT_IN_KV)
    return partial(
        generator.calculate_diffraction2d,
        phase,
        rotation=~Rotation.from_align_vectors([0, 0, 1], axis),  # of the frame, not of the crystal
        reciprocal_radius=G_MAX,
        with_direct_beam=False,
        max_excitation_error=EXCITATION_ERROR,
    )


def prepare_dans_diffraction(zone: Zone) -> Callable[[], object]:
    """Return a call of Dans_Diffraction's cut, its windows as wide as the largest disc; its q carries 2π."""
    import Dans_Diffraction

    crystal = Dans_Diffraction.Crystal()
    crystal.new_cell(*zone.cell)
    crystal.new_atoms(*zone.fract.T, type=zone.elements, occupancy=zone.occupancy, uiso=np.zeros(len(zone.elements)))
    hkl, xy = half_zone(zone)
    nearest = np.argsort((xy**2).sum(1))
    first = hkl[nearest[0]]
    second = next(index for index in hkl[nearest] if np.cross(first, index).any())
    return partial(
        crystal.Scatter.generate_intensity_cut,
        x_axis=first,
        y_axis=second,
        q_max=2 * np.pi * EXTENT,
        cut_width=2 * np.pi * EXCITATION_ERROR,
        peak_width=2 * np.pi * DISC_RADIUS / 3,
        pixels=PIXELS,
    )


def prepare_py4dstem(zone: Zone) -> Callable[[], object]:
    """Return a call of py4DSTEM that sums all structure factors of the sphere, as it does once a crystal."""
    crystal = _py4dstem_crystal(zone)

    def spots() -> object:
        crystal.calculate_structure_factors(G_MAX)
        return _py4dstem_pattern(crystal, zone)

    return spots


def prepare_py4dstem_axis(zone: Zone) -> Callable[[], object]:
    """Return a call of py4DSTEM for one more axis of a crystal."""
    crystal = _py4dstem_crystal(zone)
    crystal.calculate_structure_factors(G_MAX)
    return lambda: _py4dstem_pattern(crystal, zone)


def _py4dstem_crystal(zone: Zone) -> "Crystal":
    import gemmi
    from py4DSTEM.process.diffraction import Crystal

    numbers = [gemmi.Element(element).atomic_number for element in zone.elements]
    crystal = Crystal(zone.fract, numbers, zone.cell, occupancy=zone.occupancy)
    crystal.setup_diffraction(1e3 * GIGAVOLT_IN_KV)
    return crystal


def _py4dstem_pattern(crystal: "Crystal", zone: Zone) -> object:
    return crystal.generate_diffraction_pattern(
        zone_axis_lattice=np.asarray(zone.uvw, float), sigma_excitation_error=EXCITATION_ERROR / 3
    )
