"""The examples keep their promises, in short versions."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import reference

from xrdjax.config import PatternConfig
from xrdjax.crystals.symmetry import metric_mismatch, metric_tensor

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def example():
    return SimpleNamespace(**runpy.run_path(str(EXAMPLES / "refine_structure.py")))


@pytest.mark.long
def test_refinement_finds_the_structure(example):
    """One zone that shows a, c and the coordinates of quartz; three zones would take three times as long to compile."""
    crystal = reference.crystal("quartz_P3121")
    pattern = PatternConfig(height=64, width=64, extent=0.9, spot_shape="gaussian", gaussian_sigma=0.035)
    run = example.refine_from_errors(crystal, seed=0, steps=60, pattern=pattern, zones=((1, 0, 0),), show=print)
    first, last = run.errors[0], run.errors[-1]
    assert run.fits[-1].step == 60
    assert run.fits[-1].loss < 1e-2 * run.fits[0].loss
    assert last.cell_percent < first.cell_percent / 20
    assert last.atoms < first.atoms / 20
    assert last.turn_deg < first.turn_deg / 20


@pytest.mark.parametrize("name", ["quartz_P3121", "calcite_rhomb", "gypsum", "fluorapatite", "albite_C-1"])
def test_start_is_as_wrong_as_said_and_keeps_the_symmetry(example, name):
    crystal = reference.crystal(name)
    start = example.misplace(crystal, np.random.default_rng(1))
    assert np.allclose(np.abs(start.cell[:3] / crystal.cell[:3] - 1), example.EDGE_ERROR)
    assert metric_mismatch(start.operations, metric_tensor(start.cell)) < 1e-5
    move = start.fract - crystal.fract
    distance = np.linalg.norm((move - move.round()) @ reference.edges(crystal.cell), axis=1)
    can_move = example.site_motions(crystal).any(axis=(1, 2))
    assert np.allclose(distance, np.where(can_move, example.ATOM_ERROR, 0), atol=1e-9)
    images = [
        start.operations.apply(start.fract[atom])[start.operation[start.site == site]]
        for site, atom in enumerate(start.first_atoms)
    ]
    away = np.concatenate(images) - start.fract
    assert np.abs(away - away.round()).max() < 1e-9


def test_inversion_and_origin_are_no_error_of_the_atoms(example):
    crystal = reference.crystal("quartz_P3121")
    inverted = (0.3 - crystal.fract) % 1
    assert example.atom_distances(crystal, inverted).max() < 1e-12
    assert example.atom_distances(crystal, inverted[::-1]).max() > 0.5  # silicon where oxygen is
