"""Weak scaling by the compiled step: the work of a device as devices and batch grow together, and who talks to whom.

python benchmarks/scaling.py

Virtual devices of one processor cannot show speed, but the program that each device runs can be read: its operations
and bytes by the compiler's own count, its memory, its collectives. Batch normalisation is taken over the whole batch,
which costs two more all-reduces a layer.
"""

import re
from collections import Counter
from dataclasses import replace
from math import prod

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from record import write_result

from xrdjax.config import DataConfig, ModelConfig, TrainConfig
from xrdjax.crystals.selection import open_selected
from xrdjax.learning.run import prepare

PER_DEVICE = 32  # patterns
CONFIG = TrainConfig(
    data=DataConfig(max_atoms=16),
    pattern=replace(TrainConfig().pattern, height=32, width=32),
    model=ModelConfig(channels=(8, 16), convolutions=(1,), hidden=(256, 256), features=4),
)
COLLECTIVE = re.compile(r"= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")
BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1}


def main() -> None:
    """Compile the step for 1 to 8 devices and in two variants, and write benchmarks/results/scaling.json."""
    jax.config.update("jax_num_cpu_devices", 8)
    normalized = replace(CONFIG, model=replace(CONFIG.model, normalize="batch"))
    figures = {
        "patterns_per_device": PER_DEVICE,
        "devices": {str(number): compiled_step(CONFIG, number) for number in (1, 2, 4, 8)},
        "sharded": compiled_step(replace(CONFIG, shard_parameters=True), 8),
        "batch_normalisation": compiled_step(normalized, 8),
    }
    write_result("scaling", figures)


def compiled_step(config: TrainConfig, number: int) -> dict[str, object]:
    """Return what one device of so many does in a step, by the compiler's count."""
    config = replace(config, batch_size=PER_DEVICE * number)
    mesh = jax.make_mesh((number,), ("data",), (AxisType.Auto,), devices=jax.devices()[:number])
    with jax.set_mesh(mesh):
        run = prepare(config, open_selected(config.data), NamedSharding(mesh, PartitionSpec()))
        compiled = run.step.lower(run.state, run.no_steps, run.store, run.plan, run.root).compile()
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    program = compiled.as_text()
    assert cost is not None
    assert memory is not None
    assert program is not None
    found = COLLECTIVE.findall(program)
    return {
        "flops": round(cost["flops"]),
        "bytes_accessed": round(cost["bytes accessed"]),
        "state_bytes": sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(run.state)),
        "temporary_bytes": memory.temp_size_in_bytes,
        "collectives": dict(Counter(kind for _, kind in found)),
        "bytes_sent_by": {
            kind: sum(shape_bytes(shape) for shape, other in found if other == kind) for kind in dict(found).values()
        },
    }


def shape_bytes(shape: str) -> int:
    """Return the size of an array of the compiler's text, or of a tuple of them."""
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", shape)
    return sum(BYTES[kind] * prod(int(side) for side in sides.split(",") if side) for kind, sides in arrays)


if __name__ == "__main__":
    main()
