"""Pictures, spot lists and reflection files as they come, against the pattern that they were made from."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest
import reference
from PIL import Image, ImageDraw

from xrdjax.config import CR_K_ALPHA1, PatternConfig
from xrdjax.diffraction.spots import zone_spots
from xrdjax.errors import PictureError
from xrdjax.patterns.labelled_folder import read_labelled_folder
from xrdjax.patterns.pictures import render_spots, render_zone
from xrdjax.patterns.reading import read_view
from xrdjax.patterns.reading_options import Reading, check_reading

PATTERN = PatternConfig(wavelength=CR_K_ALPHA1, height=64, width=64, extent=0.9, disc_radius=0.05, radius_law="sqrt")
ZONE = (1, 1, 0)


@pytest.fixture(scope="module")
def crystal():
    return reference.crystal("gypsum")


@pytest.fixture(scope="module")
def own(crystal):
    """The pattern as the network was trained on it."""
    return render_zone(crystal, ZONE, PATTERN)


def view_of(source, reading=Reading(), pattern=PATTERN):  # noqa: B008
    return read_view(source, pattern, reading, "it")


def alike(first, second):
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


def shifted(image, x, y, fill):
    moved = np.roll(image, (y, x), (0, 1))
    moved[: max(y, 0)], moved[len(moved) + min(y, 0) :] = fill, fill
    moved[:, : max(x, 0)], moved[:, moved.shape[1] + min(x, 0) :] = fill, fill
    return moved


def in_grey(image, *, dark):
    return np.round(255 * (1 - image if dark else image)).astype(np.uint8)


@pytest.mark.parametrize("dark", [True, False])
def test_a_saved_picture_comes_back_as_it_was(own, tmp_path, dark):
    Image.fromarray(in_grey(own, dark=dark)).save(tmp_path / "it.png")
    view = view_of(tmp_path / "it.png")
    np.testing.assert_allclose(view.image, own, atol=0.5 / 255 + 1e-6)
    assert view.warnings == ()
    assert view.likeness == 1


@pytest.mark.parametrize(("x", "y"), [(5, -5), (-7, 0)])
def test_what_was_cut_off_on_one_side_is_taken_from_the_other(own, x, y):
    view = view_of(shifted(in_grey(own, dark=True), x, y, 255))
    assert view.centre == pytest.approx((32 + x, 32 + y), abs=0.02)
    np.testing.assert_allclose(view.image, own, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("size", [128, 200, 321])
def test_a_picture_drawn_finer_looks_as_if_drawn_by_the_network(crystal, own, size):
    finer = render_zone(crystal, ZONE, replace(PATTERN, height=size, width=size))
    view = view_of(shifted(in_grey(finer, dark=True), 5, -5, 255))
    assert view.centre == pytest.approx((size / 2 + 5, size / 2 - 5), abs=0.05)
    assert alike(view.image, own) > 0.98


def test_a_picture_that_was_enlarged_is_read_off_exactly(own):
    large = Image.fromarray(in_grey(own, dark=True)).resize((200, 200), Image.Resampling.BICUBIC)
    assert alike(view_of(np.asarray(large)).image, own) > 0.998


@pytest.mark.parametrize(
    "kind", ["L", "RGB", "RGBA", "transparent", "tif16", "tif32", "npy", "jpeg", "edf", "cbf", "red"]
)
def test_file_formats(own, tmp_path, kind):
    dark = in_grey(own, dark=True)
    suffix = {"jpeg": "jpg", "tif16": "tif", "tif32": "tif"}.get(kind, kind if kind in ("npy", "edf", "cbf") else "png")
    path = tmp_path / f"it.{suffix}"
    if kind == "npy":
        np.save(path, own)
    elif kind in ("edf", "cbf"):
        fabio = pytest.importorskip("fabio")
        image = getattr(fabio, f"{kind}image")
        getattr(image, f"{kind.capitalize()}Image")(data=(1000 * own).astype(np.int32)).write(str(path))
    elif kind.startswith("tif"):
        Image.fromarray((60000 * own).astype(np.uint16 if kind == "tif16" else np.int32)).save(path)
    elif kind == "transparent":
        alpha = np.zeros((64, 64, 4), np.uint8)
        alpha[..., 3] = in_grey(own, dark=False)
        Image.fromarray(alpha).save(path)
    else:
        picture = Image.fromarray(dark).convert("RGBA" if kind == "RGBA" else "L" if kind == "L" else "RGB")
        if kind == "red":
            ImageDraw.Draw(picture).ellipse((30, 30, 33, 33), (255, 0, 0))
        picture.save(path, quality=95)
    assert alike(view_of(path, Reading(look="picture")).image, own) > 0.995


def detector_frame(spots, rng, *, distance=20.0, size=0.172, centre=(260.3, 244.7)):
    """Photons of a flat detector: spots where |G| = 2 sin θ / λ puts them, a falling background, a dead row, a beam."""
    g = np.hypot(*spots.xy.T)
    radius = distance / size * np.tan(2 * np.arcsin(CR_K_ALPHA1 * g / 2))
    at = spots.xy * (radius / g)[:, None] * (1, -1) + centre
    y, x = np.mgrid[:500, :520] + 0.5
    frame = 20 * np.exp(-np.hypot(x - centre[0], y - centre[1]) / 150)
    for (cx, cy), intensity in zip(at, spots.intensity / spots.intensity.max(), strict=True):
        frame += 8000 * intensity * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 4.5)
    frame = rng.poisson(frame + 1e5 * (np.hypot(x - centre[0], y - centre[1]) < 5)).astype(np.int32)
    frame[300:306] = -1
    return frame


def test_spots_of_a_detector_frame_are_drawn_where_they_belong():
    crystal = reference.crystal("ZnO_wurtzite")
    spots = zone_spots(crystal, (1, 0, 0), wavelength=CR_K_ALPHA1)
    frame = detector_frame(spots, np.random.default_rng(0))
    reading = Reading(distance=20.0, pixel_size=0.172, wavelength=CR_K_ALPHA1)
    view = view_of(frame, reading)
    assert view.centre == pytest.approx((260.3, 244.7), abs=0.3)
    visible = render_zone(crystal, (1, 0, 0), PATTERN)
    near = np.hypot(*np.meshgrid(*[(np.arange(64) - 31.5) * PATTERN.pixel] * 2)) < 0.42
    assert alike(view.image[near], visible[near]) > 0.9
    assert view.likeness > 0.5


@pytest.mark.parametrize("kind", ["uniform", "text", "photograph", "noise", "disc"])
def test_what_is_no_pattern_is_called_so(kind):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:160, :200]
    pictures = {
        "uniform": np.full((160, 200), 128),
        "noise": rng.normal(100, 10, (160, 200)),
        "disc": 255 * (np.hypot(x - 100, y - 80) < 30),
        "photograph": sum(
            rng.uniform(20, 80) * np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-0.2, 0.2, (9, 3)) * (1, 1, 30)
        ),
    }
    if kind == "text":
        sheet = Image.new("L", (200, 160), 255)
        draw = ImageDraw.Draw(sheet)
        for line in range(10):
            draw.text((6, 4 + 15 * line), "".join(rng.choice(list("abcdefghiklmnorstuvw  "), 30)), 0)
        pictures["text"] = np.asarray(sheet)
    view = view_of(pictures[kind].astype(np.float32))
    assert view.likeness < 0.3
    assert "pattern" in view.warnings[0]


def test_a_list_of_spots_is_drawn_as_render_spots_draws_it(crystal, tmp_path):
    spots = zone_spots(crystal, ZONE, wavelength=CR_K_ALPHA1)
    expected = render_spots(spots.xy, spots.intensity, PATTERN)
    rows = np.column_stack([spots.xy, spots.intensity])
    np.savetxt(tmp_path / "plain.txt", rows)
    header = "intensity,x,y"
    np.savetxt(tmp_path / "named.csv", rows[:, [2, 0, 1]], delimiter=",", header=header, comments="")
    pixels = np.column_stack([spots.xy * (100, -100) + (400, 300), spots.intensity])
    np.savetxt(tmp_path / "pixels.xy", pixels)
    in_pixels = Reading(center=(400.0, 300.0), pixels_per_inverse_angstrom=100.0)
    for name, reading in (("plain.txt", Reading()), ("named.csv", Reading()), ("pixels.xy", in_pixels)):
        np.testing.assert_allclose(view_of(tmp_path / name, reading).image, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["hkl", "cif", "mtz"])
def test_one_of_each_friedel_pair_makes_the_whole_zone(crystal, own, tmp_path, kind):
    cell = tuple(crystal.cell.tolist())
    spots = zone_spots(crystal, ZONE, wavelength=CR_K_ALPHA1)
    half = [k for k, hkl in enumerate(spots.hkl.tolist()) if tuple(hkl) > (0, 0, 0)]  # one of each Friedel pair
    hkl, intensity = spots.hkl[half], 9000 * spots.intensity[half] / spots.intensity.max()
    path = tmp_path / f"it.{kind}"
    lines = [f"{h:4d}{k:4d}{m:4d}{i:8.2f}{1:8.2f}" for (h, k, m), i in zip(hkl.tolist(), intensity, strict=True)]
    if kind == "hkl":
        path.write_text("\n".join([*lines, "   0   0   0    0.00    0.00", "garbage"]))
    elif kind == "cif":
        names = ("a", "b", "c", "alpha", "beta", "gamma")
        head = [f"_cell_{'length' if k < 3 else 'angle'}_{name} {cell[k]}" for k, name in enumerate(names)]
        loop = ["loop_", *(f"_refln_{name}" for name in ("index_h", "index_k", "index_l", "F_squared_meas"))]
        rows = [f"{h} {k} {m} {i:.3f}(5)" for (h, k, m), i in zip(hkl.tolist(), intensity, strict=True)]
        path.write_text("\n".join(["data_x", *head, *loop, *rows]))
    else:
        mtz = gemmi.Mtz(with_base=True)
        mtz.set_cell_for_all(gemmi.UnitCell(*cell))
        mtz.spacegroup = gemmi.SpaceGroup("P 1")
        mtz.add_dataset("x")
        mtz.add_column("IMEAN", "J")
        mtz.set_data(np.column_stack([hkl, intensity]).astype(np.float32))
        mtz.write_to_file(str(path))
    view = view_of(path, Reading(zone=ZONE, cell=cell if kind == "hkl" else None))
    assert alike(view.image, own) > 0.9999


def test_reflections_are_spread_by_the_symmetry_that_is_given(tmp_path):
    crystal = reference.crystal("CaF2_ions")
    spots = zone_spots(crystal, (0, 0, 1), wavelength=CR_K_ALPHA1)
    wedge = [k for k, (h, m, _) in enumerate(spots.hkl.tolist()) if h >= m >= 0]
    path = tmp_path / "it.hkl"
    path.write_text(
        "\n".join(
            f"{h:4d}{k:4d}{m:4d}{i:8.1f}{1:8.2f}"
            for (h, k, m), i in zip(spots.hkl[wedge].tolist(), spots.intensity[wedge], strict=True)
        )
    )
    cell = tuple(crystal.cell.tolist())
    whole = render_zone(crystal, (0, 0, 1), PATTERN)
    assert alike(view_of(path, Reading(zone=(0, 0, 1), cell=cell, symmetry="225")).image, whole) > 0.999
    assert alike(view_of(path, Reading(zone=(0, 0, 1), cell=cell)).image, whole) < 0.9


def test_mistakes_are_named(tmp_path):
    (tmp_path / "it.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "it.csv").write_text("a,b\n1,2\n")
    (tmp_path / "it.hkl").write_text("   1   0   0   10.00    1.00\n")
    np.save(tmp_path / "it.npy", np.zeros((3, 4, 5, 6)))
    for name, complaint in (
        ("none.png", "no such file"), ("it.png", "cannot be read"), ("it.csv", "no column x"),
        ("it.hkl", "--zone U V W"), ("it.npy", "expected real numbers"),
    ):  # fmt: skip
        with pytest.raises(PictureError, match=complaint) as error:
            view_of(tmp_path / name)
        assert name in str(error.value)
    with pytest.raises(PictureError, match="--cell"):
        view_of(tmp_path / "it.hkl", Reading(zone=(0, 0, 1)))
    for wrong in (Reading(distance=1.0), Reading(pixels_per_inverse_angstrom=-1.0), Reading(symmetry="P 99")):
        with pytest.raises(PictureError, match="expected"):
            check_reading(wrong)


def test_a_labelled_folder_becomes_arrays(crystal, own, tmp_path):
    Image.fromarray(in_grey(own, dark=True)).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", own)
    (tmp_path / "labels.csv").write_text("name,space_group,u,v,w\na.png,15,1,1,0\nb.npy,P 63/m m c,,,\n")
    pictures = read_labelled_folder(tmp_path, PATTERN)
    assert pictures.image.shape == (2, 64, 64)
    np.testing.assert_allclose(pictures.image, np.stack([own, own]), atol=0.5 / 255 + 1e-6)
    assert pictures.space_group.tolist() == [15, 194]
    assert pictures.crystal_system.tolist() == [1, 5]
    assert pictures.uvw.tolist() == [[1, 1, 0], [0, 0, 0]]
    (tmp_path / "labels.csv").write_text("name,space_group,u,v,w\na.png,231,,,\nb.npy,2,1,,\n")
    with pytest.raises(PictureError, match=r"line 2: space_group '231'.*line 3: axis '1"):
        read_labelled_folder(tmp_path, PATTERN)
    (tmp_path / "labels.csv").write_text("name,space_group\na.png,2\nc.png,2\n")
    with pytest.raises(PictureError, match=r"c\.png: no such file"):
        read_labelled_folder(tmp_path, PATTERN)
