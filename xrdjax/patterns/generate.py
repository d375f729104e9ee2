"""Training batches with labels, rendered from crystals as a pure function of a key.

`make_batch` is what a training step calls: recipe sampled, cells gathered and changed, zone plane reduced, structure
factors, discs, all traced and without a loop over crystals or spots.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from math import gcd
from typing import TypeVar
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from xrdjax.config import AugmentConfig, PatternConfig, TrainConfig, validate
from xrdjax.crystals.selection import select_crystals
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import crystal_system_index
from xrdjax.diffraction.layer import layer_plane, make_scatterers
from xrdjax.diffraction.structure_factor import Scatterers
from xrdjax.diffraction.zone import ZonePlane, combine
from xrdjax.patterns.augment import remove_atoms, substitute_atoms, substitute_species
from xrdjax.patterns.changes import apply_changes
from xrdjax.patterns.device_store import Cell, DeviceStore, OwnPictures, Sample, make_samples, take_sample, to_device
from xrdjax.patterns.draw import draw_plane, loop_limits, turn
from xrdjax.patterns.mixture import training_source
from xrdjax.patterns.planning import Bucket, Plan
from xrdjax.patterns.recipe import STREAM_OWN, Recipe, sample_recipe

T = TypeVar("T")
STREAM_MADE_UP = 1000  # far from the few keys that `change_atoms` splits off
SYSTEM_OF_GROUP = crystal_system_index(np.arange(1, 231))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Batch:
    """Pictures and what they show."""

    image: Float[Array, "batch height width 1"]
    """0 to 1, spots bright."""
    space_group: Int[Array, "batch"]
    """1 to 230."""
    crystal_system: Int[Array, "batch"]
    """Index in `CRYSTAL_SYSTEMS`, triclinic to cubic."""
    recipe: Recipe
    own: Int[Array, "batch"] | None = None
    """Number of the user's own picture that stands here instead of the drawn one, or −1."""


def make_batch(key: Key[Array, ""], store: CrystalStore, config: TrainConfig) -> Batch:
    """Return the training batch that belongs to a key: the same on every device and every number of devices.

    The store is put on the device, and its batches planned, at the first call with a store and a configuration.
    """
    resident, plan = _resident(store, config)
    return _draw_batch_jit(key, resident, plan, config.pattern, config.augment)


def draw_batch(
    key: Key[Array, ""], store: DeviceStore, plan: Plan, pattern: PatternConfig, augment: AugmentConfig
) -> Batch:
    """Sample a recipe, draw it, and put the user's own pictures in. Traced; see `make_batch`."""
    batch = draw_recipe(sample_recipe(key, plan, augment), store, plan, pattern, augment)
    return batch if plan.own is None else _mix_in(jax.random.fold_in(key, STREAM_OWN), batch, plan.own)


def _mix_in(key: Key[Array, ""], batch: Batch, own: OwnPictures) -> Batch:
    """Return the batch with each picture exchanged, at the configured rate, for one of the user's, all as likely."""
    for_places, for_pictures = jax.random.split(key)
    size = batch.space_group.shape
    is_own = jax.random.bernoulli(for_places, own.share, size)
    number = jax.random.randint(for_pictures, size, 0, len(own.space_group))

    def chosen(theirs: Array, drawn: Array) -> Array:
        return jnp.where(jnp.expand_dims(is_own, range(1, drawn.ndim)), theirs[number], drawn)

    return replace(
        batch,
        image=chosen(own.image, batch.image),
        space_group=chosen(own.space_group, batch.space_group),
        crystal_system=chosen(own.crystal_system, batch.crystal_system),
        recipe=replace(batch.recipe, uvw=chosen(own.uvw, batch.recipe.uvw)),
        own=jnp.where(is_own, number, -1),
    )


def draw_recipe(
    recipe: Recipe, store: DeviceStore, plan: Plan, pattern: PatternConfig, augment: AugmentConfig
) -> Batch:
    """Draw a recipe of the plan bucket by bucket.

    An accelerator draws all pictures of a bucket at once and gathers their pixels; each device has its part of every
    bucket. A CPU draws picture after picture, spot by spot: none waits for a larger one, none is copied.
    """
    parts = _known_to_all_devices(by_bucket(_known_to_all_devices(recipe), plan))
    if jax.default_backend() == "cpu":
        image = _draw_in_turn(parts, store, plan, pattern, augment)
        recipe = _known_to_all_devices(interleave(parts, plan.views))
    else:
        parts = [_spread_over_devices(part) for part in parts]
        pictures = [
            draw_at_once(part, store, bucket, pattern, augment)
            for part, bucket in zip(parts, plan.buckets, strict=True)
        ]
        recipe, image = interleave(list(zip(parts, pictures, strict=True)), plan.views)
    space_group = store.group_of(recipe.crystal)
    return Batch(
        image=image[..., None],
        space_group=space_group,
        crystal_system=jnp.asarray(SYSTEM_OF_GROUP, jnp.int32)[space_group - 1],
        recipe=recipe,
    )


def draw_in_order(
    recipe: Recipe, store: DeviceStore, buckets: tuple[Bucket, ...], pattern: PatternConfig
) -> Float[Array, "slots height width"]:
    """Draw recipes on the device at hand, bucket after bucket and never interleaved, whatever mesh there is."""
    stops = np.cumsum([bucket.slots for bucket in buckets])
    spans = list(pairwise([0, *stops.tolist()]))
    parts = [jax.tree.map(lambda leaf, span=span: leaf[slice(*span)], recipe) for span in spans]
    if jax.default_backend() == "cpu":
        places = jnp.split(jnp.arange(stops[-1]), stops[:-1])
        return _draw_in_places(parts, places, store, buckets, pattern, AugmentConfig())
    pictures = [
        draw_at_once(part, store, bucket, pattern, AugmentConfig()) for part, bucket in zip(parts, buckets, strict=True)
    ]
    return jnp.concatenate(pictures)


def by_bucket(tree: PyTree[Shaped[Array, "slots ..."]], plan: Plan) -> list[PyTree]:
    """Cut arrays over the slots of a batch into the parts of each bucket."""
    stops = accumulate((bucket.slots for bucket in plan.buckets), initial=0)
    return [jax.tree.map(lambda leaf, span=span: leaf[slice(*span)], tree) for span in pairwise(stops)]


def draw_at_once(
    recipe: Recipe, store: DeviceStore, bucket: Bucket, pattern: PatternConfig, augment: AugmentConfig
) -> Float[Array, "slots height width"]:
    """Draw pictures that all fit one bucket, all loops as far as the neediest of them needs."""
    atoms, planes, reciprocal, num_atoms = _crystals(recipe, store, bucket, pattern, augment)
    limits = loop_limits(num_atoms, planes, bucket.rows, pattern)
    return jax.vmap(lambda *one: draw_plane(*one, limits, bucket, pattern))(atoms, planes, reciprocal)


def _draw_in_turn(
    parts: list[Recipe], store: DeviceStore, plan: Plan, pattern: PatternConfig, augment: AugmentConfig
) -> Float[Array, "batch height width"]:
    """Draw all parts, each device its stretch of every one, in the order of `interleave`."""
    mesh = jax.sharding.get_abstract_mesh()
    draw = partial(_draw_stretch, buckets=plan.buckets, views=plan.views, pattern=pattern, augment=augment)
    if "data" not in mesh.axis_names:
        return draw(parts, store)
    if any(
        bucket.slots % (plan.views * mesh.shape["data"]) for bucket in plan.buckets
    ):  # every device draws all of such a batch
        return jax.shard_map(draw, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False)(parts, store)
    specs = (PartitionSpec("data"), PartitionSpec())
    return jax.shard_map(draw, in_specs=specs, out_specs=PartitionSpec("data"), check_vma=False)(parts, store)


def _draw_stretch(
    parts: list[Recipe],
    store: DeviceStore,
    buckets: tuple[Bucket, ...],
    views: int,
    pattern: PatternConfig,
    augment: AugmentConfig,
) -> Float[Array, "stretch height width"]:
    stops = np.cumsum([len(part.crystal) for part in parts])
    place = jnp.argsort(interleave(jnp.split(jnp.arange(stops[-1]), stops[:-1]), views))
    return _draw_in_places(parts, jnp.split(place, stops[:-1]), store, buckets, pattern, augment)


def _draw_in_places(
    parts: list[Recipe],
    places: list[Int[Array, "_"]],
    store: DeviceStore,
    buckets: tuple[Bucket, ...],
    pattern: PatternConfig,
    augment: AugmentConfig,
) -> Float[Array, "stretch height width"]:
    image = jnp.zeros((sum(map(len, places)), pattern.height, pattern.width))
    for part, own, bucket in zip(parts, places, buckets, strict=True):
        crystals = _crystals(part, store, bucket, pattern, augment)
        image = jax.lax.fori_loop(0, len(own), partial(_draw_next, crystals, own, bucket, pattern), image)
    return image


def _draw_next(
    crystals: tuple[Scatterers, ZonePlane, Float[Array, "slots 3 3"], Int[Array, "slots"]],
    places: Int[Array, "slots"],
    bucket: Bucket,
    pattern: PatternConfig,
    slot: Int[Array, ""],
    image: Float[Array, "batch height width"],
) -> Float[Array, "batch height width"]:
    """Return the batch with the picture of one slot in its place."""
    atoms, plane, reciprocal, num_atoms = jax.tree.map(lambda leaf: leaf[slot], crystals)
    limits = loop_limits(num_atoms, jax.tree.map(lambda leaf: leaf[None], plane), bucket.rows, pattern)
    picture = draw_plane(atoms, plane, reciprocal, limits, bucket, pattern, spot_by_spot=True)
    return jax.lax.dynamic_update_slice(image, picture[None], (places[slot], 0, 0))


def _crystals(
    recipe: Recipe, store: DeviceStore, bucket: Bucket, pattern: PatternConfig, augment: AugmentConfig
) -> tuple[Scatterers, ZonePlane, Float[Array, "slots 3 3"], Int[Array, "slots"]]:
    """Return atoms, layer, reciprocal basis and number of atoms of some slots of one bucket."""

    def one(recipe: Recipe, sample: Sample) -> tuple[Scatterers, ZonePlane, Float[Array, "3 3"], Int[Array, ""]]:
        cell = change_atoms(recipe.key, sample.cell, augment)
        if recipe.changes is not None:
            cell = apply_changes(recipe.key, cell, sample.num_atoms, recipe.changes)
        atoms = make_scatterers(cell.fract, cell.species, cell.occupancy, cell.u_iso, pattern)
        return atoms, *_plane(recipe, sample.direct, sample.reciprocal, pattern), sample.num_atoms

    return jax.vmap(one)(recipe, _samples(recipe, store, bucket))


def _samples(recipe: Recipe, store: DeviceStore, bucket: Bucket) -> Sample:
    """Return the crystals of some slots, as the kind of their bucket says: taken from the store, or made."""
    if not bucket.is_made_up:
        return jax.vmap(lambda crystal: take_sample(store, crystal, bucket.atoms))(recipe.crystal)
    assert store.factory is not None
    key = jax.vmap(lambda key: jax.random.fold_in(key, STREAM_MADE_UP))(recipe.key)
    return make_samples(key, store.factory, recipe.crystal, bucket.atoms)


def recipe_plane(recipe: Recipe, store: DeviceStore, pattern: PatternConfig) -> tuple[ZonePlane, Float[Array, "3 3"]]:
    """Return the layer of one strained and turned crystal of the store, and its reciprocal basis."""
    return _plane(recipe, store.direct[recipe.crystal], store.reciprocal[recipe.crystal], pattern)


def _plane(
    recipe: Recipe, direct: Float[Array, "3 3"], reciprocal: Float[Array, "3 3"], pattern: PatternConfig
) -> tuple[ZonePlane, Float[Array, "3 3"]]:
    edge = 1 + recipe.strain
    direct, reciprocal = direct * edge, reciprocal / edge
    if recipe.deformation is not None:
        direct, reciprocal = deform(direct, reciprocal, recipe.deformation)
    plane = layer_plane(direct, reciprocal, recipe.uvw, recipe.basis, pattern)
    return turn(plane, recipe.angle), reciprocal


def deform(
    direct: Float[Array, "3 3"], reciprocal: Float[Array, "3 3"], deformation: Float[Array, "3 3"]
) -> tuple[Float[Array, "3 3"], Float[Array, "3 3"]]:
    """Return both bases of a crystal after x → x D; the identity leaves them as they are, bit for bit."""
    a, b, c = deformation
    cofactors = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)])
    return combine(direct, deformation), combine(reciprocal, cofactors / (a * cofactors[0]).sum())


def change_atoms(key: Key[Array, ""], cell: Cell, augment: AugmentConfig) -> Cell:
    """Apply whatever the configuration does to atoms; what is off is not traced."""
    for_species, for_atoms, for_vacancies = jax.random.split(key, 3)
    species, occupancy = cell.species, cell.occupancy
    if augment.substitute_species:
        species = substitute_species(for_species, species, cell.rank, augment.substitute_species)
    if augment.substitute_atoms:
        species = substitute_atoms(for_atoms, species, augment.substitute_atoms)
    if augment.vacancies:
        occupancy = remove_atoms(for_vacancies, occupancy, augment.vacancies)
    return replace(cell, species=species, occupancy=occupancy)


def interleave(parts: list[T], views: int = 1) -> T:
    """Join the parts of a batch such that any stretch of the result holds its share of each, views left together.

    Devices hold stretches of every part and of the result alike, so that no picture travels between them.
    """
    groups = gcd(*(len(jax.tree.leaves(part)[0]) // views for part in parts))

    def join(*leaves: Array) -> Array:
        grouped = [leaf.reshape(groups, -1, *leaf.shape[1:]) for leaf in leaves]
        return jnp.concatenate(grouped, axis=1).reshape(-1, *leaves[0].shape[1:])

    return jax.tree.map(join, *parts)


def _known_to_all_devices(recipes: T) -> T:
    """Left to itself the compiler has each device sample some recipes, and sends them about in many small pieces."""
    if "data" not in jax.sharding.get_abstract_mesh().axis_names:
        return recipes
    return jax.lax.with_sharding_constraint(recipes, PartitionSpec())


def _spread_over_devices(recipe: Recipe) -> Recipe:
    """Without this constraint every device would draw the whole batch, silently."""
    if "data" not in jax.sharding.get_abstract_mesh().axis_names:
        return recipe
    return jax.lax.with_sharding_constraint(recipe, PartitionSpec("data"))


_draw_batch_jit = jax.jit(draw_batch, static_argnames=("pattern", "augment"))
_on_device: WeakKeyDictionary[CrystalStore, DeviceStore] = WeakKeyDictionary()
_plans: WeakKeyDictionary[CrystalStore, dict[TrainConfig, tuple[DeviceStore, Plan]]] = WeakKeyDictionary()


def _resident(store: CrystalStore, config: TrainConfig) -> tuple[DeviceStore, Plan]:
    if store not in _on_device:
        _on_device[store] = to_device(store)
    plans = _plans.setdefault(store, {})
    if config not in plans:
        validate(config)
        crystals = select_crystals(store, config.data, "train")
        plans[config] = training_source(store, _on_device[store], crystals, config)
    return plans[config]
