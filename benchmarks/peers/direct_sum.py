"""gemmi's direct summation with a NumPy rasteriser: what one writes by hand, one process to a core.

Structure factors are those of gemmi's IT92 table, one call a reflection and one of each Friedel pair. Discs are drawn
each in a window of its own, all windows of one size at once, and the picture is joined with itself turned by 180°.
Pictures go to memory that the processes share, as a training process would read them.
"""

import ctypes
import multiprocessing
import time
from functools import partial
from math import ceil
from multiprocessing.pool import Pool
from multiprocessing.sharedctypes import RawArray, Synchronized
from multiprocessing.synchronize import Barrier

import gemmi
import numpy as np

from peers.zones import DISC_RADIUS, EXTENT, Tally, Zone, half_zone

SLOTS = 16  # pictures of each process that the shared memory holds
FAINTEST = 1 / 512  # of full brightness: less is nothing in eight bits


class DirectSum:
    """Processes that hold the crystals and draw pictures until a time that they are told."""

    def __init__(self, zones: list[Zone], size: int, num_processes: int) -> None:
        """Start the processes and wait until each of them is ready."""
        context = multiprocessing.get_context("spawn")
        memory = RawArray("f", num_processes * SLOTS * size * size)
        ready, number = context.Barrier(num_processes), context.Value("i", 0)
        self._pool: Pool = context.Pool(num_processes, _start_process, (zones, size, memory, ready, number))
        self._num_processes = num_processes

    def run(self, seconds: float) -> Tally:
        """Draw for some seconds in all processes."""
        started = time.perf_counter()
        tally = Tally()
        for part in self._pool.map(_draw_until, [time.monotonic() + seconds] * self._num_processes, chunksize=1):
            tally.add(part)
        tally.seconds = time.perf_counter() - started
        return tally

    def close(self) -> None:
        """End the processes."""
        self._pool.terminate()
        self._pool.join()


class Drawer:
    """The crystals as gemmi has them, and where pictures of them go."""

    def __init__(self, zones: list[Zone], pictures: np.ndarray, first: int = 0, step: int = 1) -> None:
        """Take every `step`-th zone."""
        self._zones = zones[first::step]
        self._crystals = [small_structure(zone) for zone in self._zones]
        self._pictures = pictures
        self._count = 0

    def draw_until(self, end: float) -> Tally:
        """Draw zone after zone, over and over, until the monotonic clock shows `end`."""
        tally = Tally()
        while time.monotonic() < end:
            number = self._count % len(self._zones)
            tally.attempt(self._zones[number], partial(self.draw, number))
            self._count += 1
        return tally

    def draw(self, number: int) -> np.ndarray:
        """Draw one zone into the next slot."""
        zone, crystal = self._zones[number], self._crystals[number]
        hkl, xy = half_zone(zone)
        calculator = gemmi.StructureFactorCalculatorX(crystal.cell)
        factors = [calculator.calculate_sf_from_small_structure(crystal, index) for index in hkl.tolist()]
        picture = self._pictures[self._count % len(self._pictures)]
        draw_half_discs(xy, np.abs(np.array(factors)) ** 2, picture)
        return picture


def small_structure(zone: Zone) -> gemmi.SmallStructure:
    """Return a crystal in P1, atoms at rest; for gemmi that is quicker than sites with symmetry images."""
    crystal = gemmi.SmallStructure()
    crystal.cell = gemmi.UnitCell(*zone.cell)
    for element, fract, occupancy in zip(zone.elements, zone.fract, zone.occupancy, strict=True):
        site = gemmi.SmallStructure.Site()
        site.element, site.fract, site.occ = gemmi.Element(element), gemmi.Fractional(*fract), occupancy
        crystal.add_site(site)
    return crystal


def draw_half_discs(xy: np.ndarray, intensity: np.ndarray, picture: np.ndarray) -> None:
    """Fill a square picture with discs of radii ∝ intensity at ±xy, edges one pixel wide."""
    size = len(picture)
    pixel = 2 * EXTENT / size
    radius = (intensity * (DISC_RADIUS / pixel / intensity.max())).astype(np.float32)
    column, row = xy[:, 0] / pixel + (size - 1) / 2, (size - 1) / 2 - xy[:, 1] / pixel
    reach = np.ceil(radius + 0.5).astype(int)
    in_sight = (abs(column - size / 2) < size / 2 + reach) & (abs(row - size / 2) < size / 2 + reach)
    drawn = in_sight & (2 * radius > FAINTEST)
    margin = 2 * ceil(DISC_RADIUS / pixel + 0.5) + 1  # so that a window never leaves the canvas
    canvas = np.zeros((size + 2 * margin, size + 2 * margin), np.float32)
    for window in np.unique(reach[drawn]).tolist():
        chosen = drawn & (reach == window)
        _draw_windows(canvas, column[chosen] + margin, row[chosen] + margin, radius[chosen], window)
    half = canvas[margin:-margin, margin:-margin]
    np.maximum(half, half[::-1, ::-1], out=picture)


def _draw_windows(canvas: np.ndarray, column: np.ndarray, row: np.ndarray, radius: np.ndarray, reach: int) -> None:
    """Draw discs in windows of 2 reach + 1 pixels."""
    offset = np.arange(-reach, reach + 1)
    columns, rows = np.rint(column).astype(int)[:, None] + offset, np.rint(row).astype(int)[:, None] + offset
    dx, dy = (columns - column[:, None]).astype(np.float32), (rows - row[:, None]).astype(np.float32)
    distance = np.sqrt(dx[:, None, :] ** 2 + dy[:, :, None] ** 2)
    radius = radius[:, None, None]
    coverage = np.minimum(distance + np.float32(0.5), radius) - np.maximum(distance - np.float32(0.5), -radius)
    np.clip(coverage, 0, 1, out=coverage)
    place = rows[:, :, None] * canvas.shape[1] + columns[:, None, :]
    np.maximum.at(canvas.reshape(-1), place.reshape(-1), coverage.reshape(-1))


_drawer: Drawer


def _start_process(
    zones: list[Zone], size: int, memory: "ctypes.Array[ctypes.c_float]", ready: Barrier, number: Synchronized
) -> None:
    global _drawer  # a pool's process has no other place to keep what it prepared
    with number.get_lock():
        first, number.value = number.value, number.value + 1
    pictures = np.ctypeslib.as_array(memory).reshape(-1, SLOTS, size, size)
    _drawer = Drawer(zones, pictures[first], first, ready.parties)
    ready.wait()


def _draw_until(end: float) -> Tally:
    return _drawer.draw_until(end)
