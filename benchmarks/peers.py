"""How many diffraction patterns a second each way of making them gives, for the same crystals and zone axes.

pip install -e ".[peers]" && python benchmarks/peers.py
"""

import argparse
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import jax
import numpy as np
from kernels import drawer
from peers import spot_lists, stored
from peers.direct_sum import DirectSum, Drawer
from peers.zones import DISC_RADIUS, EXTENT, WAVELENGTH, Tally, Zone, time_calls, write_cif
from record import write_result

import xrdjax
from xrdjax.config import AugmentConfig, PatternConfig
from xrdjax.crystals.species import element_of
from xrdjax.crystals.store import CrystalStore
from xrdjax.patterns.device_store import DeviceStore, to_device
from xrdjax.patterns.planning import make_plan, zone_axes

BATCH = 128
ROUNDS = 9
NUM_ZONES = 4096
NUM_COMPARED, NUM_CIFS = 16, 5
NUM_PNGS, NUM_MAPPED = 1024, 4096
EPOCH = 1_043_820  # pictures: 52,191 crystals along 20 axes
SIZES = ((224, 224), (128, 128), (321, 322))
EVERYTHING = AugmentConfig(rotation_deg=180, strain=0.05, substitute_atoms=0.1, substitute_species=0.5, vacancies=0.1)
OURS, DIRECT, PNG, MAPPED, OLD = "xrdjax", "gemmi", "png", "memmap", "old-pipeline"
OURS_224 = "xrdjax 224 × 224"
PACKAGES = ("gemmi", "pillow", "pymatgen", "diffsims", "orix", "Dans_Diffraction", "py4DSTEM", "torch")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
CORES = os.cpu_count() or 1


def main() -> None:
    """Measure, print a table and, unless only some were asked for, write benchmarks/results/peers.json."""
    arguments = parse_arguments()
    os.environ.update(ONE_THREAD)  # of the processes started below, one to a core
    crystals = CrystalStore.open("open")
    zones = sample_zones(crystals, NUM_ZONES)
    ways = whole_machine(arguments, crystals, zones) | one_core(arguments, zones)
    if wanted(arguments, PNG) and (reason := spot_lists.missing("torch")):
        ways[PNG] = {"status": reason}
    if wanted(arguments, OLD):
        ways[OLD] = time_old_pipeline(arguments, zones)
    ways = with_ratios(ways)
    figures: dict[str, object] = {
        "setting": setting(arguments, crystals),
        "packages": {name: installed_version(name) for name in PACKAGES},
        "ways": ways,
        "gemmi_picture_largest_difference": compare_pictures(crystals, zones),
        "stored_gb": stored_gb(),
    }
    print_table(ways)
    if arguments.only is None:
        write_result("peers", figures)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    names = (DIRECT, PNG, MAPPED, *spot_lists.MODULES, OLD)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, help="these beside xrdjax; nothing is written")
    parser.add_argument("--seconds", type=float, default=40, help="for each way of making patterns")
    parser.add_argument(
        "--old-pipeline", metavar="COMMAND", help="a command line with {cif} where the file's path goes"
    )
    parser.add_argument("--old-pipeline-patterns", type=int, default=1, help="how many patterns a file it makes")
    return parser.parse_args()


def wanted(arguments: argparse.Namespace, name: str) -> bool:
    return arguments.only is None or name in arguments.only


def pattern_of(height: int, width: int) -> PatternConfig:
    return PatternConfig(
        max_index=3, height=height, width=width, wavelength=WAVELENGTH, extent=EXTENT, disc_radius=DISC_RADIUS
    )


def sample_zones(crystals: CrystalStore, size: int) -> list[Zone]:
    """Return crystals with axes, drawn as batches are: every crystal and axis equally probable."""
    random, axes = np.random.default_rng(0), zone_axes(pattern_of(224, 224))
    numbers = random.integers(0, len(crystals), size)
    return [zone_of(crystals, number, axes[random.integers(len(axes))]) for number in numbers]


def zone_of(crystals: CrystalStore, number: int, uvw: tuple[int, int, int]) -> Zone:
    crystal = crystals.crystal(number)
    return Zone(
        number=int(number),
        name=crystal.name,
        cell=crystal.cell,
        fract=crystal.fract,
        elements=tuple(element_of(species) for species in crystal.species),
        occupancy=crystal.occupancy,
        uvw=uvw,
    )


def whole_machine(arguments: argparse.Namespace, crystals: CrystalStore, zones: list[Zone]) -> dict[str, dict]:
    """Measure what uses all cores: called in turn, so that whatever else the machine does meets all alike."""
    store = to_device(crystals)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        runs = {f"{OURS} {height} × {width}": ours(store, pattern_of(height, width)) for height, width in SIZES}
        runs[f"{OURS_224}, all augmentations"] = ours(store, pattern_of(224, 224), EVERYTHING)
        if wanted(arguments, DIRECT):
            direct = DirectSum(zones, stored.SIDE, CORES)
            stack.callback(direct.close)
            runs["gemmi and NumPy 224 × 224"] = direct.run
        if wanted(arguments, PNG) and spot_lists.missing("torch") is None:
            paths = stored.write_pngs(islice(our_pictures(store, pattern_of(321, 322)), NUM_PNGS), folder)
            runs["PNG files 321 × 322, resized to 224 × 224"] = stored.PngLoader(paths, CORES).run
        if wanted(arguments, MAPPED):
            pictures = our_pictures(store, pattern_of(stored.SIDE, stored.SIDE))
            mapped = stored.MappedArray(stored.write_array(pictures, NUM_MAPPED, folder / "pictures.npy"), CORES)
            stack.callback(mapped.close)
            runs["memory-mapped array 224 × 224"] = mapped.run
        return take_turns(runs, arguments.seconds)


def ours(
    store: DeviceStore,
    pattern: PatternConfig,
    augment: AugmentConfig = AugmentConfig(),  # noqa: B008 (frozen)
) -> Callable[[float], Tally]:
    """Return a function that draws batches for some seconds."""
    draw = batch_drawer(store, pattern, augment)

    def run(seconds: float) -> Tally:
        tally, started = Tally(), time.perf_counter()
        while tally.seconds <= seconds:
            draw().block_until_ready()
            tally.patterns += BATCH
            tally.seconds = time.perf_counter() - started
        return tally

    return run


def our_pictures(store: DeviceStore, pattern: PatternConfig) -> Iterator[np.ndarray]:
    """Yield pictures, 0 to 1, without end."""
    draw = batch_drawer(store, pattern, AugmentConfig())
    while True:
        yield from np.asarray(draw())[..., 0]


def batch_drawer(store: DeviceStore, pattern: PatternConfig, augment: AugmentConfig) -> Callable[[], jax.Array]:
    """Return a compiled function that draws one more batch of pictures on all devices."""
    plan = make_plan(store, np.arange(len(store.space_group)), pattern, augment, BATCH)
    draw = drawer(store, plan, pattern, augment)
    return lambda: draw().image


def take_turns(runs: dict[str, Callable[[float], Tally]], seconds: float) -> dict[str, dict]:
    """Return the median rates of several rounds, after one that is not counted."""
    rounds: dict[str, list[Tally]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):
        for name, run in runs.items():
            rounds[name].append(run(seconds / ROUNDS))
    return {name: of_rounds(tallies[1:]) for name, tallies in rounds.items()}


def of_rounds(rounds: list[Tally]) -> dict[str, object]:
    total, rates = Tally(), [tally.patterns / tally.seconds for tally in rounds]
    for tally in rounds:
        total.add(tally)
    return {
        "patterns_per_second": round(median(rates), 1),
        "of_rounds": [round(rate, 1) for rate in rates],
        "patterns": total.patterns,
        **failures_of(total),
    }


def one_core(arguments: argparse.Namespace, zones: list[Zone]) -> dict[str, dict]:
    """Measure the packages that give spots, one after the other and each on one core."""
    ways = {}
    for name in filter(partial(wanted, arguments), spot_lists.MODULES):
        print(name, flush=True)
        tally = spot_lists.time_alone(name, zones, arguments.seconds)
        ways[name] = {
            "draws": spot_lists.DRAWS[name],
            **(of_one_core(tally) if isinstance(tally, Tally) else {"status": tally}),
        }
    return ways


def of_one_core(tally: Tally) -> dict[str, object]:
    """Return the rate of one core and, as an upper bound of the machine's, that of as many as there are."""
    if not tally.patterns:
        return {"status": "failed on every crystal tried", **failures_of(tally)}
    rate = tally.patterns / tally.seconds
    return {
        "patterns_per_second": round(CORES * rate, 2),
        "patterns_per_second_is": "that of one core times the number of cores, an upper bound",
        "one_core": round(rate, 2),
        "patterns": tally.patterns,
        **failures_of(tally),
    }


def failures_of(tally: Tally) -> dict[str, object]:
    """Return how many crystals failed, and their names by what went wrong."""
    names = {message: sorted(set(names)) for message, names in tally.failures.items()}
    return {"failures": sum(map(len, names.values())), "failed_crystals": names}


def time_old_pipeline(arguments: argparse.Namespace, zones: list[Zone]) -> dict[str, object]:
    """Time a command on a few CIFs; without one, return the range that others published."""
    if arguments.old_pipeline is None:
        return {
            "status": "not given",
            "seconds_per_pattern": [0.1, 1.1],
            "source": "measured by others on usual cells, not by this benchmark",
        }
    with TemporaryDirectory() as folder:
        prepare = partial(old_pipeline_call, arguments.old_pipeline, Path(folder))
        tally = time_calls(zones[:NUM_CIFS], prepare, float("inf"))
    tally.patterns *= arguments.old_pipeline_patterns
    return {"draws": "whatever the command draws", **of_one_core(tally)}


def old_pipeline_call(command: str, folder: Path, zone: Zone) -> Callable[[], object]:
    """Write a crystal and return a call of the command, which raises an error for an exit status other than 0."""
    path = folder / f"{zone.number}.cif"
    write_cif(zone, path)
    words = [word.replace("{cif}", str(path)) for word in shlex.split(command)]
    return partial(subprocess.run, words, check=True, capture_output=True)


def compare_pictures(crystals: CrystalStore, zones: list[Zone]) -> float:
    """Return the largest difference of a pixel, of 1, between gemmi's pictures and ours: they show the same."""
    drawer = Drawer(zones[:NUM_COMPARED], np.zeros((1, stored.SIDE, stored.SIDE), np.float32))
    pattern = pattern_of(stored.SIDE, stored.SIDE)
    differences = [
        np.abs(drawer.draw(number) - xrdjax.render_zone(crystals.crystal(zone.number), zone.uvw, pattern)).max()
        for number, zone in enumerate(zones[:NUM_COMPARED])
    ]
    return float(f"{max(differences):.1e}")


def stored_gb() -> dict[str, float]:
    """Return what as many different pictures as fresh ones in some epochs take on disk, one byte a pixel."""
    return {f"{epochs} epochs": round(epochs * EPOCH * stored.SIDE**2 / 1e9, 1) for epochs in (1, 10, 100)}


def setting(arguments: argparse.Namespace, crystals: CrystalStore) -> dict[str, object]:
    return {
        "crystals": crystals.title,
        "zone_axes": "random, indices up to 3; crystals and axes equally probable, the same sample for all peers",
        "batch": BATCH,
        "rounds": ROUNDS,
        "seconds_each": arguments.seconds,
        "files": "in the operating system's cache",
        "pictures_per_epoch": EPOCH,
    }


def with_ratios(ways: dict[str, dict]) -> dict[str, dict]:
    """Add to each way how many times as fast ours is at 224 × 224."""
    rate = ways[OURS_224]["patterns_per_second"]
    return {
        name: way | ({"ours_times_as_fast": round(rate / own, 3)} if (own := way.get("patterns_per_second")) else {})
        for name, way in ways.items()
    }


def installed_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def print_table(ways: dict[str, dict]) -> None:
    """Print rates, and how many times as fast ours is."""
    print(f"\n{'':44} {'patterns/s':>12} {'ours ×':>10} {'failed':>7}")
    for name, way in ways.items():
        if "patterns_per_second" in way:
            rate, ratio = way["patterns_per_second"], way["ours_times_as_fast"]
            print(f"{name:44} {rate:12,.1f} {ratio:10,.2f} {way['failures']:7}")
        else:
            print(f"{name:44} {way['status']}")


if __name__ == "__main__":
    main()
