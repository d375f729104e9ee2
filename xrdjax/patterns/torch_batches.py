# ty: ignore[import-not-found]
"""Training batches for PyTorch: drawn by JAX, handed over by DLPack without a copy where both use the same device."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax
from jaxtyping import Array

from xrdjax.config import TrainConfig, validate
from xrdjax.crystals.selection import open_selected
from xrdjax.crystals.store import CrystalStore
from xrdjax.errors import XrdjaxError
from xrdjax.patterns.generate import make_batch

if TYPE_CHECKING:
    import torch
    from torch.utils.data import IterableDataset

STREAM_TORCH = 2001  # of the root key, far from the streams of training


def torch_dataset(config: TrainConfig, store: CrystalStore | None = None) -> "IterableDataset":
    """Return an endless `torch.utils.data.IterableDataset` of whole batches, the same each time it is iterated.

    A batch is a dictionary of tensors: image (B, 1, height, width) float32, 0 to 1, spots bright; space_group (B,),
    1 to 230; crystal_system (B,), 0 to 6; uvw (B, 3). Give it to a DataLoader with batch_size=None and no workers:
    there is nothing to load. Raises XrdjaxError without PyTorch.
    """
    validate(config)
    try:
        from torch.utils.data import IterableDataset, get_worker_info
    except ImportError:
        raise XrdjaxError("torch_dataset needs PyTorch: see https://pytorch.org") from None
    crystals = open_selected(config.data) if store is None else store

    class RenderedBatches(IterableDataset):
        def __iter__(self) -> Iterator[dict[str, "torch.Tensor"]]:
            if get_worker_info() is not None:
                raise XrdjaxError("torch_dataset: batches are drawn in this process; use num_workers=0")
            key = jax.random.fold_in(jax.random.key(config.seed), STREAM_TORCH)
            step = 0
            while True:
                batch = make_batch(jax.random.fold_in(key, step), crystals, config)
                image = batch.image.reshape(batch.image.shape[0], 1, *batch.image.shape[1:3])
                yield {
                    "image": _tensor(image),
                    "space_group": _tensor(batch.space_group).long(),
                    "crystal_system": _tensor(batch.crystal_system).long(),
                    "uvw": _tensor(batch.recipe.uvw).long(),
                }
                step += 1

    return RenderedBatches()


def _tensor(array: Array) -> "torch.Tensor":
    import torch

    return torch.from_dlpack(array)
