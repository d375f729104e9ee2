"""Pictures of rings against plain sums over reflections and pixels, and the laws of rings with and without texture."""

import numpy as np
import pytest
import reference
from scipy.special import erf

from xrdjax.config import PatternConfig
from xrdjax.diffraction.powder import MarchDollase, powder_lines
from xrdjax.errors import XrdjaxError
from xrdjax.patterns.render import pixel_centres
from xrdjax.patterns.rings import ANGLE_STEPS, FINE_STEPS, render_rings


def interpolation(sigma, pixel):
    """Return what sharing and interpolating linearly, in steps h, can do to a ring of height 1.

    Each is off by h²/8 times the second derivative, at most 1/σ²; Gaussians are cut off at 4e-5.
    """
    step = max(sigma, pixel / 2) / FINE_STEPS
    return (step / sigma) ** 2 / 4 + 5e-5


def distances(pattern):
    x, y = pixel_centres(pattern)
    return np.hypot(x, y[:, None])


def cross_section(offset, sigma, pixel):
    """Return a unit Gaussian averaged over offset ± pixel/2."""
    edge = np.sqrt(2) * sigma
    scale = np.sqrt(np.pi / 2) * sigma / pixel
    return scale * (erf((offset + pixel / 2) / edge) - erf((offset - pixel / 2) / edge))


@pytest.mark.parametrize("size", [(64, 64), (63, 63), (48, 80)])
def test_rings_are_the_same_in_all_directions(size):
    """Also where the plain sum of squares is the same by accident, 5² + 5² = 7² + 1² in half pixels."""
    height, width = size
    pattern = PatternConfig(height=height, width=width)
    picture = render_rings(reference.crystal("quartz_P3121"), pattern)
    np.testing.assert_array_equal(picture, picture[::-1])
    np.testing.assert_array_equal(picture, picture[:, ::-1])
    side = min(size)
    rows, columns = (slice((length - side) // 2, (length + side) // 2) for length in size)
    np.testing.assert_array_equal(picture[rows, columns], picture[rows, columns].T)
    if side == 64:
        assert picture[32 + 2, 32 + 2] == pytest.approx(picture[32 + 3, 32], abs=1e-6)
    assert 0.2 < picture.max() <= 1
    assert picture.min() >= 0


@pytest.mark.parametrize(("radius", "extent", "sigma"), [("g", 1.4, 0.03), ("g", 0.7, None), ("two_theta", 90, None)])
def test_rings_are_a_sum_over_lines(radius, extent, sigma):
    crystal, pattern = reference.crystal("calcite_rhomb"), PatternConfig(height=90, width=70, extent=extent)
    lines = powder_lines(crystal)
    picture = render_rings(crystal, pattern, radius=radius, sigma=sigma)
    position = 1 / lines.d if radius == "g" else lines.two_theta_deg
    sigma = sigma or {"g": 0.01, "two_theta": 0.5}[radius]

    offset = distances(pattern)[..., None] - position
    reach = 6 * sigma + pattern.pixel / 2
    near = (lines.intensity * (np.abs(offset) < reach)).sum(-1) * cross_section(0.0, sigma, pattern.pixel)
    radii = np.arange(0, position.max(), sigma / 20)[:, None]
    brightest = (lines.intensity * cross_section(radii - position, sigma, pattern.pixel)).sum(-1).max()
    expected = (lines.intensity * cross_section(offset, sigma, pattern.pixel)).sum(-1) / brightest
    error = interpolation(sigma, pattern.pixel)
    assert np.all(np.abs(picture - expected) <= error * near / brightest + (error + 20.0**-2 / 8) * expected + 1e-7)


def test_a_ring_lies_at_its_radius():
    """The moments of a symmetric cross-section: ∫ r I dr / ∫ I dr over one row is |G|, or 2θ."""
    crystal = reference.crystal("Cu")
    first = powder_lines(crystal, two_theta=(40, 48))
    for radius, extent, expected in (("g", 0.6, 1 / first.d[0]), ("two_theta", 55, first.two_theta_deg[0])):
        pattern = PatternConfig(height=1, width=4001, extent=extent / 4001, d_min=1.9)
        row = render_rings(crystal, pattern, radius=radius)[0, 2000:].astype(float)
        r = pixel_centres(pattern)[0][2000:]
        assert (r * row).sum() / row.sum() == pytest.approx(expected, rel=1e-5)


def brute_force(crystal, pattern, texture, axis_deg, sigma):
    """Sum densities over crystallites turned about G, reflection by reflection and pixel by pixel."""
    direct = reference.edges(crystal.cell)
    reciprocal = np.linalg.inv(direct).T
    reach = np.ceil(np.linalg.norm(direct, axis=1) / pattern.d_min).astype(int)
    hkl = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    vector = hkl @ reciprocal
    g = np.linalg.norm(vector, axis=1)
    inside = (g > 0) & (g < 1 / pattern.d_min)
    hkl, vector, g = hkl[inside], vector[inside], g[inside]
    theta = np.arcsin(g * pattern.wavelength / 2)
    factor = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    intensity = reference.intensities(crystal, hkl, g**2 / 4) * factor
    axis = np.array(texture.hkl) @ reciprocal
    cos_alpha = vector @ axis / g / np.linalg.norm(axis)
    x, y = pixel_centres(pattern)
    distance = np.hypot(x, y[:, None])
    cos_theta = np.sqrt(1 - (distance * pattern.wavelength / 2) ** 2)
    cos_beta = cos_theta * np.cos(np.arctan2(y[:, None], x) - np.radians(axis_deg))
    phi = np.arange(240) * (2 * np.pi / 240)  # periodic: converges as fast as the Legendre series, ϱ^−240
    picture = np.zeros(distance.shape)
    for radius, height, cosine in zip(g, intensity, cos_alpha, strict=True):
        sines = np.sqrt(np.maximum(1 - cosine**2, 0)) * np.sqrt(np.maximum(1 - cos_beta**2, 0))
        cos_psi = cosine * cos_beta[..., None] + sines[..., None] * np.cos(phi)
        density = (texture.r**2 * cos_psi**2 + (1 - cos_psi**2) / texture.r) ** -1.5
        picture += height * density.mean(-1) * cross_section(distance - radius, sigma, pattern.pixel)
    return picture


@pytest.mark.parametrize(("r", "axis_deg"), [(0.5, 90.0), (2.0, 25.0)])
def test_texture_agrees_with_turning_every_crystallite(r, axis_deg):
    """Up to one factor. β is interpolated in steps of a 24th of the density's width: 3/8/24² off at most."""
    crystal, texture = reference.crystal("ZnO_wurtzite"), MarchDollase(hkl=(0, 0, 1), r=r)
    pattern = PatternConfig(height=31, width=31, extent=0.6, d_min=1.6)
    picture = render_rings(crystal, pattern, sigma=0.03, march_dollase=texture, axis_deg=axis_deg)
    expected = brute_force(crystal, pattern, texture, axis_deg, 0.03)
    expected *= picture.sum() / expected.sum()
    assert np.abs(picture - expected).max() < 3 / 8 / ANGLE_STEPS**2 + 2 * interpolation(0.03, pattern.pixel)
    uneven = render_rings(crystal, pattern, sigma=0.03) * expected.max()
    assert np.abs(picture - uneven).max() > 0.1
    assert picture.max() > 0.9


def test_texture_only_moves_intensity_along_the_directions_of_g():
    """At θ → 0 a ring passes through every β evenly; weighted by sin β, the measure of a sphere, it is untextured.

    Up to one factor for all rings, and what some 500 × 6 pixels can tell of an integral along a ring.
    """
    crystal, axis = reference.crystal("ZnO_wurtzite"), MarchDollase(hkl=(0, 0, 1), r=0.5)
    pattern = PatternConfig(height=300, width=300, extent=0.75, d_min=1.45, wavelength=0.01)
    even, textured = (render_rings(crystal, pattern, sigma=0.004, march_dollase=choice) for choice in (None, axis))
    distance = distances(pattern)
    sine_beta = np.abs(pixel_centres(pattern)[0]) / distance
    ratio = []
    for g in 1 / powder_lines(crystal, d_min=1.45, wavelength=0.01).d:
        ring = np.abs(distance - g) < 0.01
        ratio.append((textured * sine_beta)[ring].sum() / (even * sine_beta)[ring].sum())
    assert len(ratio) == 6
    np.testing.assert_allclose(ratio, np.mean(ratio), rtol=0.01)
    assert np.ptp((textured / np.maximum(even, 0.01))[np.abs(distance - g) < 0.01]) > 0.1


def test_texture_axis_turns_the_picture():
    crystal, pattern = reference.crystal("ZnO_wurtzite"), PatternConfig(height=60, width=60, d_min=1.2)
    up, right, unsaid = (
        render_rings(crystal, pattern, march_dollase=MarchDollase(hkl=(0, 0, 1), r=0.5), **options)
        for options in ({"axis_deg": 90.0}, {"axis_deg": 0.0}, {})
    )
    np.testing.assert_array_equal(up, unsaid)
    np.testing.assert_allclose(np.rot90(right), up, atol=1e-6)
    np.testing.assert_allclose(up, up[:, ::-1], atol=1e-6)
    assert np.abs(up - right).max() > 0.1
    assert up.max() <= 1


def test_a_factor_of_one_is_no_texture():
    crystal, pattern = reference.crystal("quartz_P3121"), PatternConfig(height=40, width=40)
    plain, r_one, almost = (
        render_rings(crystal, pattern, march_dollase=texture)
        for texture in (None, MarchDollase(hkl=(1, 0, 1), r=1.0), MarchDollase(hkl=(1, 0, 1), r=1 + 1e-9))
    )
    np.testing.assert_allclose(r_one, plain, atol=1e-6)
    np.testing.assert_allclose(almost, plain, atol=1e-6)


def test_the_fibre_axis_gathers_its_planes():
    """With r < 1 the normals of 002 crowd about the axis, so that its ring is bright there, and that of 100 across."""
    crystal, pattern = reference.crystal("ZnO_wurtzite"), PatternConfig(height=401, width=401, extent=0.45, d_min=2.2)
    picture = render_rings(crystal, pattern, sigma=0.003, march_dollase=MarchDollase(hkl=(0, 0, 1), r=0.4))
    a, c = crystal.cell[[0, 2]]
    along, across = (picture[:201, 200][::-1], picture[200, 200:])
    of_002, of_100 = (round(g / pattern.pixel) for g in (2 / c, 2 / (np.sqrt(3) * a)))
    assert along[of_002] > 10 * across[of_002]
    assert across[of_100] > 10 * along[of_100]


def test_lines_give_the_rings_of_their_crystal():
    crystal, pattern = reference.crystal("gypsum"), PatternConfig(height=50, width=50)
    np.testing.assert_allclose(render_rings(powder_lines(crystal), pattern), render_rings(crystal, pattern), atol=1e-6)


def test_the_pattern_says_what_scatters():
    crystal = reference.crystal("CaF2_ions")
    plain = PatternConfig(height=40, width=40)
    neutral, far = (PatternConfig(height=40, width=40, **options) for options in ({"ions": False}, {"d_min": 1.0}))
    electrons = PatternConfig(height=40, width=40, radiation="electron", wavelength=0.02508, d_min=0.8)
    pictures = [render_rings(crystal, pattern) for pattern in (plain, neutral, far)]
    pictures.append(render_rings(crystal, electrons, lorentz_polarization="none"))
    beam = render_rings(crystal, PatternConfig(height=40, width=40, direct_beam=0.1))
    assert len({picture.tobytes() for picture in (*pictures, beam)}) == 5
    assert beam[20, 20] == 1
    assert pictures[0][20, 20] == 0


def test_rings_out_of_sight_are_told():
    crystal = reference.crystal("Cu")
    with pytest.warns(UserWarning, match="extent is in degrees"):
        picture = render_rings(crystal, PatternConfig(height=32, width=32), radius="two_theta")
    assert not picture.any()
    with pytest.warns(UserWarning, match="no ring"):
        assert not render_rings(crystal, PatternConfig(height=32, width=32, wavelength=20.0)).any()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": "d"}, "radius"),
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
        ({"axis_deg": float("inf")}, "axis_deg"),
        ({"march_dollase": MarchDollase(hkl=(0, 0, 1), r=1e-3)}, "march_dollase.r"),
        ({"lorentz_polarization": "film"}, "lorentz_polarization"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(XrdjaxError, match=message):
        render_rings(reference.crystal("Cu"), PatternConfig(height=32, width=32), **options)


def test_lines_have_no_texture():
    lines = powder_lines(reference.crystal("Cu"))
    with pytest.raises(XrdjaxError, match="give the crystal"):
        render_rings(lines, march_dollase=MarchDollase(hkl=(0, 0, 1), r=0.5))
