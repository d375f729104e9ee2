"""Powder lines against an independent calculation and against pymatgen's, and the laws of lines and profiles."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from scipy.special import roots_legendre

from xrdjax.config import CU_K_ALPHA1
from xrdjax.crystals.species import SPECIES
from xrdjax.diffraction import powder
from xrdjax.diffraction.powder import MarchDollase, PowderLines, powder_lines, powder_profile, profile
from xrdjax.diffraction.scattering import anomalous_table
from xrdjax.errors import XrdjaxError

UNIT = {"float64": 1e-13, "float32": 16 * 2.0**-24}  # of one atom's f cos φ; see test_spots
SMALL = [name for name in reference.STORED if name != "NaA_zeolite"]
PYMATGEN = json.loads((reference.DATA / "powder_pymatgen.json").read_text())


def box_of_reflections(direct, g_max):
    """Return all hkl ≠ 000 with |G| < g_max, and |G|."""
    reach = np.ceil(g_max * np.linalg.norm(direct, axis=1)).astype(int)
    hkl = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    g = np.linalg.norm(hkl @ np.linalg.inv(direct).T, axis=1)
    inside = (g < g_max) & (g > 0)
    return hkl[inside], g[inside]


def powder_factor(g, wavelength=CU_K_ALPHA1):
    theta = np.arcsin(g * wavelength / 2)
    return (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))


def sums_by_spacing(g, *columns):
    """Return the distinct spacings, shortest first, and the sums of columns over each."""
    spacing, line = np.unique(np.round(1 / g, 9), return_inverse=True)
    return spacing, *(np.bincount(line, column) for column in columns)


def same_line(lines, spacing):
    """Return which of the sorted spacings each line has; both to rounding and to the oracle's nine decimals."""
    place = np.abs(spacing - lines.d[:, None]).argmin(1)
    np.testing.assert_allclose(lines.d, spacing[place], rtol=0, atol=1e-9)
    assert len(set(place.tolist())) == len(place)
    return place


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", SMALL)
def test_lines_agree_with_an_independent_calculation(name, precision):
    """F is right to a unit times F(000), and a reflection may be left out as absent up to ABSENT F(000)."""
    crystal = reference.crystal(name)
    hkl, g = box_of_reflections(reference.edges(crystal.cell), 2 / CU_K_ALPHA1)
    f2, electrons = reference.intensities(crystal, hkl, g**2 / 4), reference.electrons(crystal)
    error, absent = UNIT[precision] * electrons, (powder.ABSENT * electrons) ** 2
    bound = 2 * np.sqrt(f2) * error + error**2 + np.where(f2 < 4 * absent, 4 * absent, 0)
    factor = powder_factor(g)
    rounding = 1e-12 * f2  # of the factor, which is steep near 2θ = 180°
    spacing, intensity, tolerance, number = sums_by_spacing(
        g, f2 * factor, (bound + rounding) * factor, (f2 > absent).astype(float)
    )
    lines = powder_lines(crystal, precision=precision)
    place = same_line(lines, spacing)
    np.testing.assert_allclose(lines.two_theta_deg, np.degrees(2 * np.arcsin(CU_K_ALPHA1 / 2 / lines.d)), rtol=1e-14)
    assert np.all(np.diff(lines.two_theta_deg) > 0)
    assert np.all(np.abs(lines.intensity - intensity[place]) <= tolerance[place])
    missing = np.delete(np.arange(len(spacing)), place)
    assert np.all(intensity[missing] <= tolerance[missing])
    if precision == "float64":
        np.testing.assert_array_equal(lines.multiplicity, number[place])
    spacing_of_hkl = 1 / np.linalg.norm(lines.hkl @ np.linalg.inv(reference.edges(crystal.cell)).T, axis=1)
    np.testing.assert_allclose(spacing_of_hkl, lines.d, rtol=1e-12)


@pytest.mark.parametrize("name", PYMATGEN["lines"])
def test_lines_agree_with_pymatgen(name):
    """Its form factors are of another table, up to 2 % off where they are small; 2θ was stored to eight decimals."""
    theirs = {column: np.array(values) for column, values in PYMATGEN["lines"][name].items()}
    lines = powder_lines(reference.crystal(name), wavelength=PYMATGEN["wavelength"], two_theta=(0, 90), ions=False)
    nearest = np.abs(lines.two_theta_deg[:, None] - theirs["two_theta_deg"]).argmin(0)
    np.testing.assert_allclose(lines.two_theta_deg[nearest], theirs["two_theta_deg"], rtol=1e-8)
    np.testing.assert_allclose(lines.percent[nearest], theirs["percent"], rtol=0.02, atol=1.0)
    assert np.all(np.delete(lines.percent, nearest) < 2e-3)  # pymatgen leaves out what is below 1e-3
    fewer = theirs["multiplicity"] - lines.multiplicity[nearest]  # absent reflections count in pymatgen's
    assert fewer.tolist() == [6 * (name == "FeSi_B20" and hkl == (2, 2, 1)) for hkl in map(tuple, lines.hkl[nearest])]


def silicon():
    face = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return reference.free_crystal([5.431, 5.431, 5.431, 90, 90, 90], np.concatenate([face, face + 0.25]), ["Si"] * 8)


def test_lines_of_silicon():
    """Diamond: h, k, l all odd, or all even with a sum of 4n. 333 and 511 share a line."""
    lines = powder_lines(silicon(), two_theta=(0, 100))
    expected = {
        (1, 1, 1): 8, (2, 2, 0): 12, (3, 1, 1): 24, (4, 0, 0): 6, (3, 3, 1): 24, (4, 2, 2): 24, (5, 1, 1): 32
    }  # fmt: skip
    assert dict(zip(map(tuple, lines.hkl.tolist()), lines.multiplicity.tolist(), strict=True)) == expected
    assert lines.percent.max() == pytest.approx(100)


@pytest.fixture(scope="module")
def mixed():
    """Return a triclinic cell without centre, of strong anomalous scatterers among others."""
    rng = np.random.default_rng(3)
    return reference.free_crystal(
        [4.1, 5.3, 6.2, 81, 99, 107],
        rng.random((7, 3)),
        ["Fe3+", "I", "Ba2+", "O2-", "Sm", "C", "Co"],
        occupancy=rng.uniform(0.3, 1, 7),
        u_iso=rng.uniform(0, 0.05, 7),
    )


def test_anomalous_scattering_adds_up_both_friedel_mates(mixed):
    hkl, g = box_of_reflections(reference.edges(mixed.cell), 1.0)
    f = 0
    for name, fract, occupancy in zip(mixed.species, mixed.fract, mixed.occupancy, strict=True):
        f_prime, f_second = anomalous_table(CU_K_ALPHA1)[SPECIES.index(name)]
        scattering = reference.form_factor(name, g**2 / 4) + f_prime + 1j * f_second
        f = f + occupancy * scattering * np.exp(2j * np.pi * hkl @ fract)
    spacing, intensity, number = sums_by_spacing(g, np.abs(f) ** 2 * powder_factor(g), np.ones(len(g)))
    lines = powder_lines(mixed, d_min=1.0, anomalous=True)
    place = same_line(lines, spacing)
    np.testing.assert_allclose(lines.intensity, intensity[place], rtol=1e-9)
    np.testing.assert_array_equal(lines.multiplicity, number[place])
    one_sided = 2 * np.abs(f[(hkl == lines.hkl[3]).all(1)]) ** 2 * powder_factor(1 / lines.d[3])
    assert abs(one_sided[0] / lines.intensity[3] - 1) > 1e-3


def test_a_powder_does_not_tell_a_crystal_from_its_mirror_image(mixed):
    inverted = replace(mixed, fract=-mixed.fract % 1)
    for anomalous in (False, True):
        first, second = (powder_lines(crystal, d_min=1.2, anomalous=anomalous) for crystal in (mixed, inverted))
        np.testing.assert_array_equal(first.d, second.d)
        np.testing.assert_array_equal(first.hkl, second.hkl)
        np.testing.assert_array_equal(first.multiplicity, second.multiplicity)
        np.testing.assert_allclose(first.intensity, second.intensity, rtol=1e-9)


def test_choice_of_the_cell_does_not_change_the_lines(mixed):
    """A doubled cell has twice F, and no lines besides, whatever reflections its lattice adds."""
    doubled = reference.free_crystal(
        mixed.cell * [1, 2, 1, 1, 1, 1],
        np.concatenate([(mixed.fract + np.array([0, image, 0])) / [1, 2, 1] for image in range(2)]),
        mixed.species * 2,
        occupancy=np.tile(mixed.occupancy, 2),
    )
    first, second = (powder_lines(crystal, d_min=1.2) for crystal in (mixed, doubled))
    np.testing.assert_allclose(second.d, first.d, rtol=1e-12)
    np.testing.assert_array_equal(second.hkl, first.hkl * [1, 2, 1])
    np.testing.assert_array_equal(second.multiplicity, first.multiplicity)
    np.testing.assert_allclose(second.intensity, 4 * first.intensity, rtol=1e-9)


@pytest.mark.parametrize("angle", [5.3, 60.0, 109.4712206, 119.9])
def test_rounding_does_not_split_the_lines_of_a_flat_cell(angle):
    """Along the rhombohedral axis, hhh is alone with its mate; all others come in threes and their mates."""
    crystal = reference.free_crystal([6.0, 6.0, 6.0, angle, angle, angle], [[0, 0, 0]], ["Cu"])
    lines = powder_lines(crystal, two_theta=(0, 150))
    diagonal = (lines.hkl == lines.hkl[:, :1]).all(1)
    assert len(lines.d) > 3
    assert np.all(lines.multiplicity[~diagonal] >= 6)
    assert np.all(lines.multiplicity[diagonal] % 6 == 2)


def test_limits_pick_from_the_whole_list(mixed):
    whole = powder_lines(mixed)
    some = powder_lines(mixed, two_theta=(30, 75), d_min=1.3)
    wanted = (whole.two_theta_deg >= 30) & (whole.two_theta_deg < 75) & (whole.d > 1.3)
    np.testing.assert_array_equal(some.hkl, whole.hkl[wanted])
    np.testing.assert_allclose(some.intensity, whole.intensity[wanted], rtol=1e-9)


def test_chunks_do_not_change_the_lines(mixed, monkeypatch):
    whole = powder_lines(mixed)
    monkeypatch.setattr(powder, "CHUNK", 100)
    chunked = powder_lines(mixed)
    assert len(whole.d) > 5 * 100
    np.testing.assert_array_equal(chunked.hkl, whole.hkl)
    np.testing.assert_allclose(chunked.intensity, whole.intensity, rtol=1e-9)


def test_displacements_weaken_lines(mixed):
    """At one displacement for all atoms, the Debye–Waller factor leaves the sum."""
    same = replace(mixed, u_iso=np.full(7, 0.02))
    still, moving = powder_lines(same), powder_lines(same, debye_waller=True)
    np.testing.assert_allclose(moving.intensity, still.intensity * np.exp(-4 * np.pi**2 * 0.02 / still.d**2), rtol=1e-9)


@pytest.mark.parametrize("r", [0.2, 0.7, 1.0, 1.6, 4.0])
def test_texture_moves_crystallites_but_adds_none(r):
    """∫₀¹ f(c) dc = 1. Gauss's rule converges as ϱ^(−2n), ϱ ≥ 1.13: 400 nodes are plenty.

    They are right to some n ε = 1e-13, where f has slopes of up to 5e4 over a width of 4e-3.
    """
    node, weight = roots_legendre(400)
    density = MarchDollase(hkl=(0, 0, 1), r=r).density((node + 1) / 2)
    assert (weight / 2 * density).sum() == pytest.approx(1, rel=2e-11)


def test_texture_weighs_lines_by_their_angle_to_the_axis():
    """In ZnO along [001]: 002 lies at the axis, r⁻³; 100 across, r^3/2; 101 at atan(2c / √3 a) to the axis's plane."""
    crystal, r = reference.crystal("ZnO_wurtzite"), 0.6
    plain = powder_lines(crystal, two_theta=(0, 60))
    textured = powder_lines(crystal, two_theta=(0, 60), march_dollase=MarchDollase(hkl=(0, 0, 1), r=r))
    ratio = dict(zip(map(tuple, plain.hkl.tolist()), textured.intensity / plain.intensity, strict=True))
    a, c = crystal.cell[[0, 2]]
    cosine2 = (1 / c) ** 2 / ((1 / c) ** 2 + 4 / (3 * a * a))
    assert ratio[0, 0, 2] == pytest.approx(r**-3, rel=1e-12)
    assert ratio[1, 0, 0] == pytest.approx(r**1.5, rel=1e-12)
    assert ratio[1, 0, 1] == pytest.approx((r * r * cosine2 + (1 - cosine2) / r) ** -1.5, rel=1e-12)
    untextured = powder_lines(crystal, two_theta=(0, 60), march_dollase=MarchDollase(hkl=(0, 0, 1), r=1.0))
    np.testing.assert_allclose(untextured.intensity, plain.intensity, rtol=1e-14)


def test_texture_averages_over_the_equivalents_of_a_line():
    """Of 200 in a cubic crystal, one pair lies along the axis [001] and two lie across."""
    crystal, r = reference.crystal("Cu"), 0.5
    plain, textured = (
        powder_lines(crystal, two_theta=(45, 60), march_dollase=texture)
        for texture in (None, MarchDollase(hkl=(0, 0, 1), r=r))
    )
    assert plain.hkl.tolist() == [[2, 0, 0]]
    assert textured.intensity[0] / plain.intensity[0] == pytest.approx((r**-3 + 2 * r**1.5) / 3, rel=1e-12)


def some_lines(*angles):
    angles = np.array(angles)
    d = CU_K_ALPHA1 / 2 / np.sin(np.radians(angles / 2))
    return PowderLines(
        two_theta_deg=angles,
        d=d,
        intensity=np.arange(1.0, len(angles) + 1),
        multiplicity=np.full(len(angles), 2),
        hkl=np.tile([1, 0, 0], (len(angles), 1)),
    )


def test_peaks_have_the_height_or_the_area_of_their_line():
    """Trapezoids integrate a Gaussian to rounding; of a Lorentzian (2/π) arctan(2R/w) of the area is within ±R."""
    lines, grid = some_lines(90.0), np.arange(0, 180.0005, 0.01)
    fwhm = 0.4
    part = {"gaussian": 1.0, "pseudo_voigt": 0.7 + 0.3 * 2 / np.pi * np.arctan(2 * 90 / fwhm)}
    for shape in ("gaussian", "pseudo_voigt"):
        height = powder_profile(lines, grid, shape=shape, fwhm_deg=fwhm, eta=0.3)
        area = powder_profile(lines, grid, shape=shape, fwhm_deg=fwhm, eta=0.3, amplitude="area")
        assert height[9000] == pytest.approx(1, rel=1e-12)
        assert height[[8980, 9020]] == pytest.approx([0.5, 0.5], rel=1e-9)
        assert area.sum() * 0.01 == pytest.approx(part[shape], rel=1e-7)  # of the ends' halves, 0.3 w/(2π 90²) each
        np.testing.assert_allclose(height * area.max(), area, rtol=1e-12, atol=1e-300)


def test_a_profile_is_the_sum_of_its_peaks():
    crystal, grid = reference.crystal("gypsum"), np.arange(0, 180, 0.05)
    lines = powder_lines(crystal)
    assert len(lines.d) > powder.LINE_BLOCK
    x = grid - lines.two_theta_deg[:, None]
    expected = (lines.intensity[:, None] * np.exp(-(x**2) / (2 * 0.1**2))).sum(0)
    np.testing.assert_allclose(powder_profile(lines, grid), expected, rtol=1e-11, atol=1e-290)
    np.testing.assert_array_equal(powder_profile(lines, grid, sigma_deg=0.1), powder_profile(lines, grid))


def test_caglioti_widens_the_peaks():
    lines = some_lines(30.0, 110.0)
    u, v, w = 0.3, -0.2, 0.1
    for angle, height in zip(lines.two_theta_deg, lines.intensity, strict=True):
        tangent = np.tan(np.radians(angle / 2))
        half = np.sqrt(u * tangent**2 + v * tangent + w) / 2
        at_half = powder_profile(lines, np.array([angle - half, angle + half]), caglioti=(u, v, w))
        np.testing.assert_allclose(at_half, height / 2, rtol=1e-12)


@pytest.mark.parametrize(("shape", "amplitude"), [("gaussian", "area"), ("pseudo_voigt", "height")])
def test_gradient_of_a_profile(shape, amplitude):
    """Central differences of step h are off by h² f‴/6 and by 1e-16/h: both below 1e-8 of the slopes at h = 1e-5."""
    rng = np.random.default_rng(8)
    with jax.enable_x64():
        grid, weight = jnp.linspace(0, 10, 50), jnp.asarray(rng.random(50))
        start = [jnp.asarray(column) for column in (rng.uniform(2, 8, 70), rng.random(70), rng.uniform(0.5, 1, 70))]
        direction = [jnp.asarray(rng.normal(size=70)) for _ in range(3)]

        @jax.jit
        def measure(two_theta, intensity, fwhm, eta):
            return weight @ profile(two_theta, intensity, fwhm, grid, eta, shape=shape, amplitude=amplitude)

        slopes = jax.grad(measure, (0, 1, 2))(*start, 0.4)
        for number, (slope, along) in enumerate(zip(slopes, direction, strict=True)):
            ahead, behind = (
                measure(*start[:number], start[number] + step * along, *start[number + 1 :], 0.4)
                for step in (1e-5, -1e-5)
            )
            assert float(slope @ along) == pytest.approx(float(ahead - behind) / 2e-5, rel=1e-6, abs=1e-7)


def test_no_line_leaves_empty_columns():
    with pytest.warns(UserWarning, match="no reflection"):
        lines = powder_lines(reference.crystal("Cu"), wavelength=20.0)
    assert lines.hkl.shape == (0, 3)
    assert len(lines.two_theta_deg) == len(lines.d) == len(lines.intensity) == len(lines.percent) == 0
    np.testing.assert_array_equal(powder_profile(lines, np.arange(5.0)), np.zeros(5))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"two_theta": (50, 20)}, r"two_theta = \(50, 20\)"),
        ({"two_theta": (0, float("nan"))}, "two_theta"),
        ({"wavelength": -1}, "wavelength"),
        ({"d_min": 0.1}, "d_min"),
        ({"lorentz_polarization": "film"}, "lorentz_polarization"),
        ({"precision": "bfloat16"}, "precision"),
        ({"radiation": "electron", "d_min": 1.0}, "lorentz_polarization"),
        ({"wavelength": 0.005}, "give a larger d_min"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(XrdjaxError, match=message):
        powder_lines(reference.crystal("Cu"), **options)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma_deg": 0.0}, "sigma_deg = 0"),
        ({"fwhm_deg": -0.1}, "fwhm_deg"),
        ({"fwhm_deg": 0.1, "sigma_deg": 0.1}, "one width"),
        ({"caglioti": (0.0, -1.0, 0.1)}, "FWHM²"),
        ({"eta": 1.5}, "eta"),
        ({"shape": "box"}, "shape"),
        ({"amplitude": "sum"}, "amplitude"),
    ],
)
def test_bad_peaks_are_refused(options, message):
    with pytest.raises(XrdjaxError, match=message):
        powder_profile(some_lines(40.0), np.arange(10.0), **options)


@pytest.mark.parametrize("texture", [{"hkl": (0, 0, 0), "r": 0.5}, {"hkl": (0, 0, 1), "r": 0.0}])
def test_bad_textures_are_refused(texture):
    with pytest.raises(XrdjaxError, match="march_dollase"):
        MarchDollase(**texture)


def test_electrons_scatter_by_their_own_table():
    crystal = reference.crystal("Cu")
    options = {"radiation": "electron", "wavelength": 0.02508, "d_min": 0.8, "lorentz_polarization": "none"}
    electrons, xrays = powder_lines(crystal, **options), powder_lines(crystal, d_min=0.8, lorentz_polarization="none")
    np.testing.assert_array_equal(electrons.hkl, xrays.hkl)
    assert electrons.intensity[0] < xrays.intensity[0] / 10
