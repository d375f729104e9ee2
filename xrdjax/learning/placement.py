"""Where the arrays of a run live: whole on every device, or, if large and so configured, a part on each."""

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

LEAST_SHARDED = 2**16  # numbers; gathering less costs more in latency than it saves in memory


def state_shardings(shapes: PyTree, mesh: Mesh | AbstractMesh, sharded: bool) -> PyTree:
    """Return the sharding of each array of a training state.

    If `sharded`, arrays of `LEAST_SHARDED` numbers or more are cut along the longest side that the devices can share.
    """

    def sharding(leaf: jax.ShapeDtypeStruct | Array) -> NamedSharding:
        sides = [side for side, length in enumerate(leaf.shape) if length % mesh.size == 0]
        if not (sharded and sides and leaf.size >= LEAST_SHARDED):
            return NamedSharding(mesh, PartitionSpec())
        longest = max(sides, key=lambda side: leaf.shape[side])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, "data"))

    return jax.tree.map(sharding, shapes)


def replicate(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Put arrays, of which every process has the same, on all devices."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, np.asarray(leaf), leaf.shape), tree
    )


def replicated(array: Array) -> Array:
    """Return an array that every device of the mesh in use holds whole. All processes must ask for it."""
    if array.is_fully_replicated:
        return array
    return jax.jit(lambda x: x, out_shardings=PartitionSpec())(array)
