"""Spot lists against an independent calculation, and the laws that any list of them obeys."""

from dataclasses import replace

import numpy as np
import pytest
import reference

from xrdjax.diffraction.spots import zone_spots
from xrdjax.errors import XrdjaxError

# Relative rounding of one atom's f cos φ. Float32: four exponentials whose arguments, some units, are off by as many
# roundings, and the fixed-point phase; it all stays below 16 roundings. Float64: 2π h·x of up to 400 rad.
UNIT = {"float32": 16 * 2.0**-24, "float64": 1e-13}
POSITION = {"float32": 1e-6, "float64": 1e-14}  # 1/Å, of a sum of six products of some 1/Å


def assert_same_intensity(actual, expected, crystal, unit=UNIT["float64"]):
    """F is a sum of f cos φ that are each right to a unit, so F is to that times F(000), and |F|² to 2 |F| ΔF + ΔF²."""
    error = unit * reference.electrons(crystal)
    bound = 2 * np.sqrt(expected) * error + error**2
    assert np.all(np.abs(actual - expected) <= bound), np.max(np.abs(actual - expected) / bound)


def as_complex(xy):
    return xy[:, 0] + 1j * xy[:, 1]


def rows_of(spots, hkl):
    """Return where each hkl stands in a list."""
    place = {index: row for row, index in enumerate(map(tuple, spots.hkl.tolist()))}
    return np.array([place[index] for index in map(tuple, hkl.tolist())])


@pytest.mark.parametrize("name", reference.STORED)
def test_oracle_reproduces_the_stored_lists(name):
    crystal = reference.crystal(name)
    for uvw in reference.AXES:
        stored, own = reference.stored_zone(name, uvw), reference.zone(crystal, uvw)
        np.testing.assert_array_equal(own.hkl, stored.hkl)
        np.testing.assert_allclose(own.xy, stored.xy, rtol=0, atol=1e-14)
        assert_same_intensity(own.intensity, stored.intensity, crystal)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", reference.STORED)
def test_zones_agree_with_an_independent_calculation(name, precision):
    crystal = reference.crystal(name)
    for uvw in reference.AXES:
        stored, spots = reference.stored_zone(name, uvw), zone_spots(crystal, uvw, precision=precision)
        np.testing.assert_array_equal(spots.hkl, stored.hkl)
        np.testing.assert_allclose(spots.xy, stored.xy, rtol=0, atol=POSITION[precision])
        sine = np.hypot(*stored.xy.T) * reference.WAVELENGTH / 2
        # 2 sin θ = λ |G|, so an error of |G| is one of λ/cos θ as much in 2θ.
        tolerance = np.degrees(reference.WAVELENGTH * POSITION[precision] / np.sqrt(1 - sine**2))
        assert np.all(np.abs(spots.two_theta_deg - np.degrees(2 * np.arcsin(sine))) <= tolerance)
        assert_same_intensity(spots.intensity, stored.intensity, crystal, UNIT[precision])
        of_strongest = np.abs(spots.intensity - stored.intensity).max() / stored.intensity.max()
        assert of_strongest < {"float64": 1e-9, "float32": 1e-4}[precision]


@pytest.fixture(scope="module")
def mixed():
    """Return a triclinic cell with shared and partly empty places, displacements and ions."""
    rng = np.random.default_rng(11)
    return reference.free_crystal(
        [5.1, 6.3, 7.9, 81, 99, 107],
        rng.random((12, 3)),
        ["Fe3+", "Fe3+", "O2-", "O1-", "Si", "Si4+", "Cl1-", "D", "U6+", "C", "C", "N"],
        occupancy=rng.uniform(0.2, 1, 12),
        u_iso=rng.uniform(0, 0.05, 12),
    )


def test_options_do_what_they_say(mixed):
    uvw, zone = (1, -1, 2), reference.zone
    hkl, s2 = zone(mixed, uvw).hkl, (zone(mixed, uvw).xy ** 2).sum(1) / 4
    plain = reference.intensities(mixed, hkl, s2)
    assert_same_intensity(zone_spots(mixed, uvw).intensity, plain, mixed)
    full = replace(mixed, occupancy=np.ones(12))
    assert_same_intensity(zone_spots(mixed, uvw, occupancy=False).intensity, reference.intensities(full, hkl, s2), full)
    neutral = reference.intensities(mixed, hkl, s2, ions=False)
    assert_same_intensity(zone_spots(mixed, uvw, ions=False).intensity, neutral, mixed)
    # At one displacement for all atoms, the Debye–Waller factor leaves the sum.
    thermal = zone_spots(replace(mixed, u_iso=np.full(12, 0.03)), uvw, debye_waller=True).intensity
    assert_same_intensity(thermal, plain * np.exp(-16 * np.pi**2 * 0.03 * s2), mixed)
    changes = [plain, neutral, thermal, zone_spots(mixed, uvw, debye_waller=True).intensity]
    assert len({round(float(change.sum())) for change in changes}) == 4


@pytest.mark.parametrize("form", ["powder", "single_crystal"])
def test_lorentz_polarization(mixed, form):
    plain, corrected = zone_spots(mixed, (0, 1, 1)), zone_spots(mixed, (0, 1, 1), lorentz_polarization=form)
    theta = np.radians(plain.two_theta_deg) / 2
    denominator = {"powder": np.sin(theta) ** 2 * np.cos(theta), "single_crystal": 2 * np.sin(2 * theta)}[form]
    np.testing.assert_allclose(corrected.intensity, plain.intensity * (1 + np.cos(2 * theta) ** 2) / denominator)


@pytest.mark.parametrize("wavelength", [0.71073, 1.5406, 2.2897])
def test_wavelength_sets_the_limiting_sphere(mixed, wavelength):
    spots, expected = zone_spots(mixed, (1, 0, 1), wavelength=wavelength), reference.zone(mixed, (1, 0, 1), wavelength)
    np.testing.assert_array_equal(spots.hkl, expected.hkl)
    sine = np.hypot(*expected.xy.T) * wavelength / 2
    np.testing.assert_allclose(np.sin(np.radians(spots.two_theta_deg / 2)), sine, atol=1e-12)


def test_origin_and_order_of_the_atoms_do_not_matter(mixed):
    order = np.random.default_rng(5).permutation(12)
    moved = replace(
        mixed,
        fract=(mixed.fract[order] + [0.123, 0.456, 0.789]) % 1,
        species=tuple(mixed.species[atom] for atom in order),
        occupancy=mixed.occupancy[order],
        u_iso=mixed.u_iso[order],
    )
    for precision in ("float64", "float32"):
        first, second = (zone_spots(crystal, (1, 2, -1), precision=precision) for crystal in (mixed, moved))
        np.testing.assert_array_equal(first.hkl, second.hkl)
        np.testing.assert_array_equal(first.xy, second.xy)
        assert_same_intensity(second.intensity, first.intensity, mixed, 2 * UNIT[precision])


CHOICES = {
    "cyclic": [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    "sheared": [[1, 0, 0], [1, 1, 0], [-1, 2, 1]],
    "turned": [[-1, 0, 0], [0, -1, 0], [1, 1, 1]],
    "doubled": [[1, 0, 0], [0, 2, 0], [0, 0, 1]],
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
def test_choice_of_the_cell_only_turns_the_picture(mixed, choice):
    """New edges P a: indices h → P h, coordinates and axis → P⁻ᵀ. A doubled cell has twice F, and new absences."""
    choice = np.array(choice)
    volume = round(np.linalg.det(choice))
    edges = choice @ reference.edges(mixed.cell)
    length = np.linalg.norm(edges, axis=1)
    cosine = (edges @ edges.T) / np.outer(length, length)
    cell = [*length, *np.degrees(np.arccos([cosine[1, 2], cosine[0, 2], cosine[0, 1]]))]
    to_new = np.linalg.inv(choice)
    fract = np.concatenate([(mixed.fract + np.array([0, image, 0])) @ to_new for image in range(volume)])
    other = reference.free_crystal(cell, fract, mixed.species * volume, occupancy=np.tile(mixed.occupancy, volume))
    uvw = (1, -2, 0)
    new_uvw = np.rint(np.array(uvw) @ to_new * volume).astype(int)
    first, second = zone_spots(mixed, uvw), zone_spots(other, tuple(new_uvw.tolist()))
    rows = rows_of(second, first.hkl @ choice.T)
    turn = as_complex(second.xy)[rows] / as_complex(first.xy)
    np.testing.assert_allclose(turn, turn[0], atol=1e-11)
    assert abs(turn[0]) == pytest.approx(1, abs=1e-11)
    np.testing.assert_allclose(second.intensity[rows], volume**2 * first.intensity, rtol=1e-9, atol=1e-9)
    extra = np.delete(second.intensity, rows)
    assert len(extra) == (volume > 1) * len(extra)
    np.testing.assert_allclose(extra, 0, atol=1e-9)


def test_opposite_axes_show_mirror_images(mixed):
    for uvw in ((1, 0, 0), (0, 0, 1), (2, -1, 3)):
        front, back = zone_spots(mixed, uvw), zone_spots(mixed, tuple(-index for index in uvw))
        np.testing.assert_array_equal(front.hkl, back.hkl)
        np.testing.assert_allclose(back.xy, front.xy * [1, -1], atol=1e-14)
        assert_same_intensity(back.intensity, front.intensity, mixed, 2 * UNIT["float64"])


@pytest.mark.parametrize("name", ["FeSi_B20", "Cu", "quartz_P3121", "calcite_rhomb", "gypsum"])
def test_equivalent_zones_agree(name):
    """An operation R carries reflection h R of zone R⁻¹u onto h of u: turned if R is proper, else mirrored.

    Coordinates have eight decimals in the files, so that phases, of up to 15 + 15 + 15 cycles, are off by 1.4e-6.
    """
    in_file = 2 * np.pi * 45 * 5e-9
    crystal, uvw = reference.crystal(name), np.array([2, 1, 0])
    here = zone_spots(crystal, tuple(uvw.tolist()))
    for rotation in np.unique(crystal.operations.rotation.astype(int), axis=0):
        equivalent = np.rint(np.linalg.inv(rotation) @ uvw).astype(int)
        there = zone_spots(crystal, tuple(equivalent.tolist()))
        rows = rows_of(there, here.hkl @ rotation)
        assert_same_intensity(there.intensity[rows], here.intensity, crystal, in_file)
        position = as_complex(here.xy)
        turn = as_complex(there.xy)[rows] / (position if np.linalg.det(rotation) > 0 else position.conj())
        np.testing.assert_allclose(turn, turn[0], atol=1e-11)


@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_zone_is_refused():
    crystal = reference.crystal("Cu")
    for uvw in ((0, 0, 0), (1, 0.5, 0)):
        with pytest.raises(XrdjaxError, match="zone axis"):
            zone_spots(crystal, uvw)
    for wavelength in (0, -1.5, float("nan")):
        with pytest.raises(XrdjaxError, match="wavelength"):
            zone_spots(crystal, (1, 0, 0), wavelength=wavelength)


def test_axes_with_a_common_divisor_mean_the_same_zone():
    crystal = reference.crystal("gypsum")
    first, second = zone_spots(crystal, (1, 0, 1)), zone_spots(crystal, (3, 0, 3))
    np.testing.assert_array_equal(first.hkl, second.hkl)
    np.testing.assert_array_equal(first.intensity, second.intensity)


def test_nothing_is_left_within_a_tiny_limiting_sphere():
    assert zone_spots(reference.crystal("Cu"), (1, 0, 0), wavelength=20.0).hkl.shape == (0, 3)
