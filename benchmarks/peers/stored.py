# ty: ignore[import-not-found]
"""Pictures rendered beforehand and read from files: PNGs through a PyTorch loader, and one memory-mapped array.

Files are in the operating system's cache, so that both rates are what a disk can only lower.
"""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from peers.zones import Tally

if TYPE_CHECKING:
    import torch

BATCH = 128
SIDE = 224  # of what the network is given


def write_pngs(pictures: Iterable[np.ndarray], folder: Path) -> list[Path]:
    """Write pictures, 0 to 1, as 8-bit PNGs and return their paths."""
    paths = []
    for number, picture in enumerate(pictures):
        paths.append(folder / f"{number:06}.png")
        Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(paths[-1])
    return paths


def write_array(pictures: Iterable[np.ndarray], count: int, path: Path) -> np.ndarray:
    """Write pictures, 0 to 1, as one array of uint8 and return it memory-mapped."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE, SIDE))
    for number, picture in zip(range(count), pictures, strict=False):
        array[number] = np.rint(255 * picture)
    array.flush()
    return np.load(path, mmap_mode="r")


class PngPictures:
    """A data set of PyTorch: decoded, three channels, resized, float32 from 0 to 1, channels first."""

    def __init__(self, paths: list[Path]) -> None:
        """Keep the paths."""
        self._paths = paths

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._paths)

    def __getitem__(self, number: int) -> "torch.Tensor":
        """Return one picture, as Resize and ToTensor of torchvision make it."""
        import torch

        with Image.open(self._paths[number]) as file:
            picture = file.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class PngLoader:
    """A shuffling DataLoader, its processes kept from epoch to epoch."""

    def __init__(self, paths: list[Path], num_processes: int) -> None:
        """Start the processes with a first epoch."""
        from torch.utils.data import DataLoader

        self._loader = DataLoader(
            PngPictures(paths),
            batch_size=BATCH,
            shuffle=True,
            num_workers=num_processes,
            persistent_workers=True,
            multiprocessing_context="spawn",
        )
        self.run(0)

    def run(self, seconds: float) -> Tally:
        """Read whole epochs for some seconds, at least one."""
        tally, started = Tally(), time.perf_counter()
        while tally.seconds <= seconds:
            tally.patterns += sum(len(batch) for batch in self._loader)
            tally.seconds = time.perf_counter() - started
        return tally


class MappedArray:
    """Random batches of a memory-mapped array, as float32 from 0 to 1, by one thread a core."""

    def __init__(self, array: np.ndarray, num_threads: int) -> None:
        """Start the threads and read everything once."""
        self._array, self._threads = array, ThreadPoolExecutor(num_threads)
        self._num_threads = num_threads
        array.max()

    def run(self, seconds: float) -> Tally:
        """Gather batches for some seconds."""
        started = time.perf_counter()
        gather = partial(self._gather_until, started + seconds)
        count = sum(self._threads.map(gather, range(self._num_threads)))
        return Tally(patterns=count, seconds=time.perf_counter() - started)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def _gather_until(self, end: float, seed: int) -> int:
        random, count = np.random.default_rng(seed), 0
        while time.perf_counter() < end:
            chosen = self._array[random.integers(0, len(self._array), BATCH)]
            count += len(np.multiply(chosen, np.float32(1 / 255), dtype=np.float32))
        return count
