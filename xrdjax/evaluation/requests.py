"""Requests: patterns that a network is asked about, each with all that it depends on, as arrays on the host.

A walk puts the requests of any number of protocols into batches of one shape. They are sorted into buckets as training
batches are, by what each one needs; slot s of a batch walks its own stretch of the list. One compiled function then
draws and predicts them all.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from xrdjax.config import PatternConfig
from xrdjax.diffraction.layer import layer_plane, layer_rows
from xrdjax.diffraction.sphere import row_box
from xrdjax.diffraction.zone import ZonePlane, plane_heights, zone_basis
from xrdjax.patterns.changes import AtomChanges
from xrdjax.patterns.device_store import DeviceStore
from xrdjax.patterns.generate import deform
from xrdjax.patterns.planning import MARGIN, Bucket, cut_into_buckets
from xrdjax.patterns.recipe import Recipe
from xrdjax.patterns.render import num_nodes

MEASURED_AT_ONCE = 4096
Numbers = np.ndarray | Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class Requests:
    """n patterns. Changes are those of `AtomChanges`."""

    crystal: Int[Numbers, "n"]
    uvw: Int[Numbers, "n 3"]
    angle: Float[Numbers, "n"]
    """In radians."""
    deformation: Float[Numbers, "n 3 3"]
    seed: Int[Numbers, "n"]
    """Of whatever happens to single atoms."""
    substituted: Float[Numbers, "n"]
    exchanged: Bool[Numbers, "n"]
    removed: Float[Numbers, "n"]
    spared: Int[Numbers, "n"]
    thinned: Float[Numbers, "n"]
    u_iso: Float[Numbers, "n"]

    def __len__(self) -> int:
        return len(self.crystal)

    def select(self, chosen: Shaped[np.ndarray, "m"]) -> "Requests":
        """Return some of them, by number or by a mask."""
        return Requests(**{name: values[chosen] for name, values in vars(self).items()})


def make_requests(
    crystal: Int[np.ndarray, "n"],
    uvw: Int[np.ndarray, "n 3"],
    angle: Float[np.ndarray, "n"],
    **stated: Shaped[np.ndarray, "..."] | float | bool,
) -> Requests:
    """Return requests of unchanged crystals but for what is stated, as one value or one for each."""
    num = len(crystal)
    plain = {"deformation": np.eye(3), "seed": crystal, "substituted": 0.0, "exchanged": False, "removed": 0.0}
    plain |= {"spared": 0, "thinned": 1.0, "u_iso": 0.0}
    types = {"seed": np.int32, "exchanged": bool, "spared": np.int32}
    shapes = {"deformation": (num, 3, 3)}
    columns = {
        name: np.array(np.broadcast_to(np.asarray(value, types.get(name, np.float32)), shapes.get(name, (num,))))
        for name, value in (plain | stated).items()
    }
    uvw = np.asarray(uvw, np.int32).reshape(num, 3)
    return Requests(crystal=np.asarray(crystal, np.int32), uvw=uvw, angle=np.asarray(angle, np.float32), **columns)


def join_requests(parts: list[Requests]) -> Requests:
    """Return all of them, one list after the other."""
    return Requests(
        **{one.name: np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Requests)}
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """Batches that meet every request once."""

    place: Int[np.ndarray, "batches slots"]
    """Number of the request in each slot."""
    is_new: Bool[np.ndarray, "batches slots"]
    """False where a slot has run out of requests and repeats one."""
    buckets: tuple[Bucket, ...]


def plan_walk(requests: Requests, store: DeviceStore, pattern: PatternConfig, batch_size: int) -> Walk:
    """Return batches whose shapes hold for every request."""
    size = _measure(requests, store, pattern)
    order, buckets = cut_into_buckets(size, pattern.height * pattern.width, batch_size, batch_size)
    edge = np.arange(batch_size + 1) * len(order) // batch_size
    batch = np.arange(math.ceil(len(order) / batch_size))[:, None]
    place = np.minimum(edge[:-1] + batch, len(order) - 1)
    return Walk(place=order[place], is_new=edge[:-1] + batch < edge[1:], buckets=buckets)


def recipes_of(requests: Requests, basis: Int[Array, "n 3 3"], seed: int) -> Recipe:
    """Return requests as the renderer takes them. Traced."""
    root = jax.random.key(seed)
    return Recipe(
        crystal=jnp.asarray(requests.crystal),
        uvw=jnp.asarray(requests.uvw),
        basis=basis,
        angle=jnp.asarray(requests.angle),
        strain=jnp.zeros(len(requests.crystal)),
        key=jax.vmap(lambda number: jax.random.fold_in(root, number))(jnp.asarray(requests.seed)),
        deformation=jnp.asarray(requests.deformation),
        changes=AtomChanges(**{one.name: jnp.asarray(getattr(requests, one.name)) for one in fields(AtomChanges)}),
    )


def bases_of(uvw: Int[Numbers, "n 3"]) -> Int[np.ndarray, "n 3 3"]:
    """Return `zone_basis` of every axis."""
    axes, which = np.unique(np.asarray(uvw), axis=0, return_inverse=True)
    return np.array([zone_basis(tuple(axis)) for axis in axes.tolist()], np.int32)[which.ravel()]


def _measure(requests: Requests, store: DeviceStore, pattern: PatternConfig) -> Int[np.ndarray, "n 7"]:
    """Return upper bounds of what each request needs: atoms, spots, columns, rows, nodes, box."""
    widest = pattern.widened(1 + MARGIN)

    def plane_of(one: tuple[Array, ...]) -> ZonePlane:
        crystal, deformation, uvw, basis = one
        direct, reciprocal = deform(store.direct[crystal], store.reciprocal[crystal], deformation)
        return layer_plane(direct, reciprocal, uvw, basis, widest)

    def sides(one: tuple[Array, ...]) -> Int[Array, "3"]:
        plane = plane_of(one)
        lines = (widest.g_max / plane_heights(plane.xy)).astype(jnp.int32) + (pattern.layer != 0)
        return jnp.append(lines, num_nodes(plane.drawn_xy / (1 + MARGIN), pattern).prod())

    each = (requests.crystal, requests.deformation, requests.uvw, bases_of(requests.uvw))
    bounds = _over_all(sides, each)
    max_row = int(bounds[:, 1].max())
    count = _over_all(lambda one: layer_rows(plane_of(one), max_row, widest).count, each)
    atoms = np.asarray(store.num_atoms)[requests.crystal]
    direct = np.asarray(store.direct)[requests.crystal] @ requests.deformation
    box = row_box(direct, widest.g_max)
    return np.concatenate([atoms[:, None], count[:, None], bounds, box], axis=1)


def _over_all(function: Callable[[tuple[Array, ...]], Array], each: tuple[Numbers, ...]) -> Int[np.ndarray, "n *size"]:
    """Return what a function of one request gives for all of them."""
    mapped = jax.jit(lambda each: jax.lax.map(function, each, batch_size=MEASURED_AT_ONCE))
    return np.asarray(mapped(tuple(map(jnp.asarray, each))))
