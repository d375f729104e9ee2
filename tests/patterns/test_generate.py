"""Training batches: a pure function of the key on any number of devices, and what they show is right."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax.sharding import AxisType

from xrdjax.config import AugmentConfig, DataConfig, PatternConfig, TrainConfig
from xrdjax.crystals.species import SPECIES
from xrdjax.crystals.symmetry import crystal_system_index
from xrdjax.diffraction.scattering import form_factor_table
from xrdjax.diffraction.structure_factor import Scatterers
from xrdjax.diffraction.zone import zone_plane
from xrdjax.errors import ConfigError
from xrdjax.patterns import planning
from xrdjax.patterns.device_store import take_cell, to_device
from xrdjax.patterns.draw import draw_plane, loop_limits
from xrdjax.patterns.generate import (
    Batch,
    change_atoms,
    draw_batch,
    interleave,
    make_batch,
    recipe_plane,
    select_crystals,
)
from xrdjax.patterns.pictures import render_zone
from xrdjax.patterns.planning import make_plan
from xrdjax.patterns.recipe import Recipe, sample_recipe

PATTERN = PatternConfig(height=40, width=48, radius_law="sqrt", axes=((1, 0, 0), (1, 1, 1), (2, -1, 1)))
OFF = AugmentConfig()
ALL = AugmentConfig(rotation_deg=180.0, strain=0.1, substitute_atoms=0.1, substitute_species=0.5, vacancies=0.1)
KEY = jax.random.key(20)
BATCH_SIZE = 16

draw = jax.jit(draw_batch, static_argnames=("pattern", "augment"))


@pytest.fixture(scope="module")
def resident(tiny_store):
    return to_device(tiny_store)


@pytest.fixture(scope="module")
def plan(resident):
    """Return a plan of two buckets, which takes less time to compile than eight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "NUM_BUCKETS", 2)
        plan = make_plan(resident, np.arange(9), PATTERN, ALL, BATCH_SIZE)
    assert [bucket.slots for bucket in plan.buckets] == [8, 8]
    assert plan.buckets[0] != plan.buckets[1]
    return plan


@pytest.fixture(scope="module")
def unchanged(resident, plan):
    return draw(KEY, resident, plan, PATTERN, OFF)


@pytest.fixture(scope="module")
def changed(resident, plan):
    return draw(KEY, resident, plan, PATTERN, ALL)


def numbers(tree):
    """Return the leaves as arrays, keys as their data."""
    leaves = jax.tree.leaves(tree)
    is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(jax.random.key_data(leaf) if key else leaf) for leaf, key in zip(leaves, is_key, strict=True)]


def one_of(tree, number):
    return jax.tree.map(lambda leaf: leaf[number], tree)


def assert_identical(first, second):
    for one, other in zip(numbers(first), numbers(second), strict=True):
        np.testing.assert_array_equal(one, other)


def test_batch_is_a_pure_function_of_its_key(tiny_store, monkeypatch):
    monkeypatch.setattr(planning, "NUM_BUCKETS", 1)
    config = TrainConfig(batch_size=4, pattern=replace(PATTERN, height=16, width=16))
    first, again, other = (make_batch(jax.random.key(seed), tiny_store, config) for seed in (1, 1, 2))
    assert_identical(first, again)
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == (4, 16, 16, 1)
    assert first.image.dtype == jnp.float32
    train = select_crystals(tiny_store, config.data, "train")
    assert np.isin(first.recipe.crystal, train).all()
    assert np.isin(other.recipe.crystal, train).all()


@pytest.mark.long
@pytest.mark.parametrize("num_devices", [2, 4])
@pytest.mark.usefixtures("unchecked_types")  # what is lowered has descriptions of arrays in the place of arrays
def test_batch_is_the_same_on_any_number_of_devices(resident, plan, changed, num_devices):
    mesh = jax.make_mesh((num_devices,), ("data",), (AxisType.Auto,))
    with jax.set_mesh(mesh):
        compiled = draw.lower(KEY, resident, plan, PATTERN, ALL).compile()
        spread = compiled(KEY, resident, plan)
    assert_identical(spread, changed)
    share = BATCH_SIZE // num_devices
    assert [part.data.shape[0] for part in spread.image.addressable_shards] == [share] * num_devices
    # In the program of one device no array holds more pictures than its share of a bucket, or of the joined batch.
    text = compiled.as_text()
    sizes = {int(shape.split(",")[0]) for shape in picture_shapes(text)}
    assert max(sizes) <= share, sizes
    assert "all-gather" not in "".join(
        line for line in text.splitlines() if f"{PATTERN.height},{PATTERN.width}" in line
    )


@pytest.mark.long
@pytest.mark.usefixtures("unchecked_types")
def test_accelerators_draw_the_same_pictures(resident, plan, changed, monkeypatch):
    """All pictures of a bucket at once, gathered pixel by pixel, on two devices: other sums, some roundings of 2⁻²⁴."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,))
    at_once = jax.jit(lambda key, resident, plan: draw_batch(key, resident, plan, PATTERN, ALL))
    with jax.set_mesh(mesh):
        compiled = at_once.lower(KEY, resident, plan).compile()
        spread = compiled(KEY, resident, plan)
    assert_identical(replace(spread, image=changed.image), changed)
    np.testing.assert_allclose(spread.image, changed.image, rtol=0, atol=3e-5)
    share = BATCH_SIZE // 2
    assert [part.data.shape[0] for part in spread.image.addressable_shards] == [share] * 2
    assert max(int(shape.split(",")[0]) for shape in picture_shapes(compiled.as_text())) <= share


def picture_shapes(text):
    """Return the shapes of batches of pictures in a compiled program, such as 4,40,48."""
    pieces = text.replace("]", "[").split("[")
    ends = (f",{PATTERN.height},{PATTERN.width}", f",{PATTERN.height},{PATTERN.width},1")
    return {piece for piece in pieces if piece.endswith(ends) and piece.replace(",", "").isdigit()}


def test_labels_are_those_of_the_crystals(tiny_store, unchanged):
    group = tiny_store.space_group[np.asarray(unchanged.recipe.crystal)]
    np.testing.assert_array_equal(unchanged.space_group, group)
    np.testing.assert_array_equal(unchanged.crystal_system, crystal_system_index(group))


def test_padded_pictures_are_those_of_single_crystals(tiny_store, unchanged):
    """The same float32 kernel in other shapes: sums may be arranged differently, some roundings of 2⁻²⁴."""
    for number in range(BATCH_SIZE):
        recipe = one_of(unchanged.recipe, number)
        alone = render_zone(tiny_store.crystal(int(recipe.crystal)), tuple(recipe.uvw.tolist()), PATTERN)
        np.testing.assert_allclose(unchanged.image[number, :, :, 0], alone, rtol=0, atol=1e-5)


def test_changed_pictures_are_those_of_changed_crystals(tiny_store, resident, changed):
    """Every augmentation at once, against the oracle: strained cell, exchanged and missing atoms, turned picture."""
    assert np.ptp(changed.recipe.strain) > 0.05
    num_touched = 0
    taken = jax.jit(jax.vmap(lambda recipe: take_cell(resident, recipe.crystal, 64)))(changed.recipe)
    left = jax.jit(jax.vmap(lambda key, cell: change_atoms(key, cell, ALL)))(changed.recipe.key, taken)
    for number in range(BATCH_SIZE):
        recipe = one_of(changed.recipe, number)
        crystal = tiny_store.crystal(int(recipe.crystal))
        cell, after = one_of(taken, number), one_of(left, number)
        num_touched += int(np.sum((after.species != cell.species) | (after.occupancy != cell.occupancy)))
        atoms = slice(crystal.num_atoms)
        strained = crystal.cell.copy()
        strained[:3] *= 1 + float(recipe.strain)
        same = reference.free_crystal(
            strained,
            np.asarray(after.fract[atoms]) / 2.0**32,
            [SPECIES[species] for species in np.asarray(after.species[atoms])],
            occupancy=np.asarray(after.occupancy[atoms]),
        )
        zone = reference.zone(same, tuple(recipe.uvw.tolist()))
        expected = reference.picture(zone, PATTERN, np.degrees(float(recipe.angle)))
        # The square-root law turns an error of F, 16 roundings of F(000), into one of the radius.
        radius_error = PATTERN.disc_radius * 16 * 2**-24 * reference.electrons(same) / np.sqrt(zone.intensity.max())
        error = np.abs(np.asarray(changed.image[number, :, :, 0]) - expected).max()
        assert error <= (2 * radius_error + 1e-6) / PATTERN.pixel, (number, crystal.name)
    assert num_touched > 50


def test_augmentations_that_are_off_leave_no_trace(resident, plan, unchanged, changed):
    """Bit for bit the picture of code that knows none of them: no strain, no turn, atoms as they are."""
    starts = np.cumsum([0] + [bucket.slots for bucket in plan.buckets])
    recipe = jax.jit(sample_recipe, static_argnames="augment")(KEY, plan, OFF)
    assert_identical(recipe.key, sample_recipe(KEY, plan, ALL).key)

    @jax.jit
    def plain(recipe):
        parts = []
        for bucket, start in zip(plan.buckets, starts, strict=False):
            some = jax.tree.map(lambda leaf, start=start, bucket=bucket: leaf[start : start + bucket.slots], recipe)
            parts.append(jax.lax.map(lambda one, bucket=bucket: draw_plainly(one, resident, bucket), some))
        return parts

    pictures = plain(recipe)
    order = np.concatenate([np.asarray(part) for part in pictures])
    for number in range(BATCH_SIZE):
        key = np.asarray(jax.random.key_data(unchanged.recipe.key[number]))
        slot = np.flatnonzero((np.asarray(jax.random.key_data(recipe.key)) == key).all(axis=1)).item()
        np.testing.assert_array_equal(unchanged.image[number, :, :, 0], order[slot])
    for field in ("crystal", "uvw", "basis", "key"):
        assert_identical(getattr(unchanged.recipe, field), getattr(changed.recipe, field))


def draw_plainly(recipe, resident, bucket):
    cell = take_cell(resident, recipe.crystal, bucket.atoms)
    reciprocal = resident.reciprocal[recipe.crystal]
    plane = zone_plane(resident.direct[recipe.crystal], reciprocal, recipe.uvw, recipe.basis)
    form_factors = jnp.asarray(form_factor_table(), jnp.float32)
    atoms = Scatterers(fract=cell.fract, coefficients=form_factors[cell.species], occupancy=cell.occupancy)
    one = jax.tree.map(lambda leaf: leaf[None], plane)
    limits = loop_limits(resident.num_atoms[recipe.crystal], one, bucket.rows, PATTERN)
    return draw_plane(atoms, plane, reciprocal, limits, bucket, PATTERN, spot_by_spot=True)


def test_strain_scales_all_positions(resident, changed):
    """To the rounding of a few products. Where bases of equal length tie, another one may be chosen."""
    planes = jax.jit(jax.vmap(lambda recipe: recipe_plane(recipe, resident, PATTERN)[0]))
    strained, at_rest = planes(changed.recipe), planes(replace(changed.recipe, strain=jnp.zeros(BATCH_SIZE)))
    edge = 1 + np.asarray(changed.recipe.strain, float)[:, None, None]
    change = np.rint(at_rest.hkl @ np.linalg.pinv(strained.hkl))
    np.testing.assert_array_equal(change @ strained.hkl, at_rest.hkl)
    np.testing.assert_allclose(change @ strained.xy * edge, at_rest.xy, rtol=0, atol=8 * 2**-24)


@pytest.mark.parametrize("augment", [OFF, ALL], ids=["off", "all"])
def test_physics_has_no_matrix_product(resident, plan, augment):
    """One in float32 may run in TF32 on a GPU, with ten mantissa bits: 0.24 rad of phase at |h| = 60."""
    jaxpr = str(jax.make_jaxpr(draw_batch, static_argnums=(3, 4))(KEY, resident, plan, PATTERN, augment))
    for primitive in ("dot_general", "conv_general", "f64", "bf16"):
        assert primitive not in jaxpr
    assert "while" in jaxpr
    nested = jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, jnp.int32(x[0, 0]), lambda _, y: y @ x, x))(jnp.eye(2))
    assert "dot_general" in str(nested)  # text shows what is inside a loop


def test_any_stretch_of_a_joined_batch_holds_its_share_of_each_part():
    def part(label, size):
        zeros = jnp.zeros(size, jnp.int32)
        recipe = Recipe(
            crystal=label + jnp.arange(size),
            uvw=jnp.zeros((size, 3), jnp.int32),
            basis=jnp.zeros((size, 3, 3), jnp.int32),
            angle=jnp.zeros(size),
            strain=jnp.zeros(size),
            key=jax.random.split(KEY, size),
        )
        return Batch(image=jnp.zeros((size, 1, 1, 1)), space_group=zeros, crystal_system=zeros, recipe=recipe)

    joined = np.asarray(interleave([part(0, 8), part(100, 4), part(200, 4)]).recipe.crystal)
    assert sorted(joined.tolist()) == [*range(8), *range(100, 104), *range(200, 204)]
    for quarter in joined.reshape(4, 4):
        assert np.bincount(quarter // 100, minlength=3).tolist() == [2, 1, 1]


def test_a_part_without_crystals_is_refused(tiny_store):
    with pytest.raises(ConfigError, match="too many atoms: "):
        select_crystals(tiny_store, DataConfig(max_atoms=1), "train")
    chosen = select_crystals(tiny_store, DataConfig(max_atoms=10), "train")
    assert tiny_store.num_atoms[chosen].max() <= 10
