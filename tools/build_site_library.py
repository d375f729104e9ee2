"""Build the library of Wyckoff positions and verified templates that comes with the package.

    python tools/build_site_library.py xrdjax/data/sites.safetensors
    python tools/build_site_library.py xrdjax/data/sites.safetensors --sift

Positions are derived from gemmi's operations in the reference settings, their letters looked up with spglib. Templates
are made up at random, up to `--templates` a group, or taken from the embedded set, up to `MOST_SITES` sites and
`MOST_ATOMS` atoms. Of each, crystals are made as in training. It is kept if they are of reasonable size, that is, few
cells are too large to be accepted and the median volume is at most `ROOMIEST` times that of the atoms, and if `--draws`
of them all have exactly their group by spglib at 1e-3 Å, and no smaller cell. With
`--sift` nothing is built: the templates of the package's own library are verified again, and those that fail left out.
"""

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import gemmi
import jax
import numpy as np
import spglib
from safetensors.numpy import save_file
from tqdm import tqdm
from wyckoff_derivation import Position, wyckoff_positions

from xrdjax.config import SelectionConfig
from xrdjax.crystals.elements import NUM_RUNGS
from xrdjax.crystals.procedural import Factory, Made, make_crystal, make_factory
from xrdjax.crystals.selection import select
from xrdjax.crystals.statistics import crystal_statistics, template_keys
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import Operations, crystal_system_index, operations_from_triplets
from xrdjax.crystals.templates import TemplateKey, TemplateLibrary, make_library, template_library
from xrdjax.crystals.wyckoff import LETTERS, WyckoffTable, annihilator, wyckoff_table

SYMPREC = 1e-3  # Å
MOST_SITES, MOST_ATOMS = 16, 256  # of templates that are taken from crystals
MADE_UP_SITES = 8
TARGET_ATOMS = (4, 160)  # made-up templates are filled up to a number between, drawn evenly by its logarithm
LARGEST_TARGET = 256  # for groups that have no template below
CHUNK = 512  # crystals made at a time
FIRST_TRIALS, TRIALS = 5, 24  # crystals of each template that are measured
# Of observed templates, of made-up ones where a group lacks better ones, of others:
ROOMIEST = 2.2, 2.0, 1.6  # median volume, in volumes of the atoms
MOST_REFUSED = 0.25, 0.1, 0.04  # share of crystals that do not fit
FEWEST, MOST_REFUSED_OF_POOR = 16, 0.4  # made-up templates of a group before roomier ones are taken
MOST_VERIFIED = 96  # made-up templates of each group
TRIED = 256  # made-up templates of each group, before any is measured


def main() -> None:
    """Derive, name, make up, verify, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--templates", type=int, default=64, help="made-up templates of each group")
    parser.add_argument("--draws", type=int, default=3, help="crystals of each template that must be right")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sift", action="store_true", help="verify the package's library again")
    arguments = parser.parse_args()
    started = time.monotonic()
    if arguments.sift:
        sift(arguments.out, arguments.draws, arguments.processes)
        return
    table = wyckoff_table_from_scratch()
    print(f"{len(table.group)} Wyckoff positions in {time.monotonic() - started:.0f} s", flush=True)
    store = CrystalStore.open("open")
    observed = observed_keys(store, table)
    made_up = {key for group in range(1, 231) for key in made_up_keys(group, TRIED, table)}
    keys = sorted(observed | made_up)
    candidates = make_library(keys, [key in observed for key in keys], table)
    print(f"{len(observed)} observed and {len(made_up - observed)} made-up candidates", flush=True)
    make = Maker(candidates, store, table)
    score = compactness(make, candidates)
    print(f"{np.isfinite(score).sum()} are compact enough, {time.monotonic() - started:.0f} s", flush=True)
    is_right = verify(candidates, score, make, arguments.draws, arguments.processes)
    if len(poor := poor_groups(candidates, is_right)):
        print(f"groups {poor.tolist()} have few templates: roomier ones are taken, too", flush=True)
        wider = np.where(np.isin(candidates.group, poor) & ~is_right, roomy_score(make, candidates, poor), np.inf)
        is_right |= verify(candidates, wider, make, arguments.draws, arguments.processes)
        score = np.where(np.isfinite(score), score, wider)
    kept = keep_some(candidates, np.where(is_right, score, np.inf), arguments.templates)
    write(arguments.out, table, kept)
    report(kept, candidates, is_right, table)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB, {time.monotonic() - started:.0f} s")


def sift(path: Path, draws: int, processes: int) -> None:
    """Write the package's library without the templates that fail."""
    table, library, store = wyckoff_table(), template_library(), CrystalStore.open("open")
    score = np.zeros(len(library))
    is_right = verify(library, score, Maker(library, store, table), draws, processes, most=len(library))
    write(path, table, keep_some(library, np.where(is_right, score, np.inf), len(library)))
    failed = np.bincount(library.group[~is_right], minlength=231)
    left = np.bincount(library.group[is_right & ~library.is_observed], minlength=231)[1:]
    print(f"{failed.sum()} of {len(library)} left out; made-up ones: {left.min()} to {left.max()} a group, "
          f"fewest in {np.argsort(left)[:8] + 1}")  # fmt: skip


def wyckoff_table_from_scratch() -> WyckoffTable:
    """Derive the positions of all groups and give them their letters."""
    groups = [reference_operations(group) for group in range(1, 231)]
    named = [by_letter(group, groups[group - 1]) for group in range(1, 231)]
    positions = [position for some in named for position in some]
    freedom = [position.free.shape[1] for position in positions]
    return WyckoffTable(
        group=np.repeat(np.arange(1, 231), [len(some) for some in named]).astype(np.uint8),
        letter=np.concatenate([np.arange(len(some)) for some in named]).astype(np.uint8),
        free=np.array(
            [np.pad(position.free, ((0, 0), (0, 3 - d))) for position, d in zip(positions, freedom, strict=True)]
        ).astype(np.int8),
        shift=np.array([position.shift for position in positions], np.uint8),
        orbit_offset=np.append(0, np.cumsum([len(position.orbit) for position in positions])).astype(np.int64),
        orbit_operation=np.concatenate([position.orbit for position in positions]).astype(np.uint8),
        operation_offset=np.append(0, np.cumsum([len(some) for some in groups])).astype(np.uint16),
        rotation=np.concatenate([some.rotation for some in groups]),
        translation=np.concatenate([some.translation for some in groups]),
    )


def reference_operations(group: int) -> Operations:
    """Return gemmi's operations of a group in its reference setting."""
    setting = gemmi.get_spacegroup_reference_setting(group)
    return operations_from_triplets(tuple(operation.triplet() for operation in setting.operations()))[0]


def by_letter(group: int, operations: Operations) -> list[Position]:
    """Return the positions of a group from a on.

    spglib names the sites of a crystal that occupies one position and twice the general one, and says by which motion
    it brought the crystal to its own origin: the letter belongs to the position where that motion leads.
    """
    positions = wyckoff_positions(operations)
    letters: dict[int, str] = {}
    for position in positions:
        reached, letter = letter_from_spglib(group, operations, position, positions)
        assert letters.setdefault(reached, letter) == letter, f"two letters for one position of group {group}"
    order = sorted(letters, key=lambda number: LETTERS.index(letters[number]))
    multiplicity = [len(positions[number].orbit) for number in order]
    assert "".join(letters[number] for number in order) == LETTERS[: len(positions)], f"letters of group {group}"
    assert multiplicity == sorted(multiplicity), f"order of letters in group {group}"
    return [positions[number] for number in order]


def letter_from_spglib(
    group: int, operations: Operations, position: Position, positions: list[Position]
) -> tuple[int, str]:
    """Return which position spglib has in mind, and the letter it gives that."""
    random = np.random.default_rng(group)
    site = position.free @ random.random(position.free.shape[1]) + position.shift / 24
    general = [operations.apply(random.random(3)) for _ in range(2)]
    fract = np.concatenate([operations.apply(site)[position.orbit], *general])
    kinds = np.repeat([1, 2, 3], [len(position.orbit), len(operations), len(operations)])
    cell = generic_rows(group, random).tolist(), fract.tolist(), kinds.tolist()
    data = spglib.get_symmetry_dataset(cell, symprec=1e-4, hall_number=hall_number(group, operations))
    assert data is not None
    assert data.number == group
    moved = fract[: len(position.orbit)] @ data.transformation_matrix.T + data.origin_shift
    (reached,) = [
        number
        for number, other in enumerate(positions)
        if len(other.orbit) == len(position.orbit) and passes_through(other, moved)
    ]
    return reached, data.wyckoffs[0]


def passes_through(position: Position, fract: np.ndarray) -> bool:
    """Tell whether one of the points lies on the position's representative."""
    off = (fract - position.shift / 24) @ annihilator(position.free).T
    return bool((np.abs(off - np.round(off)) < 1e-5).all(axis=1).any())


def generic_rows(group: int, random: np.random.Generator) -> np.ndarray:
    """Return edges of a random cell of the group's family."""
    system = int(crystal_system_index(group))
    edge = np.array([7.0, 7.0, 7.0]) + np.array([2, 3, 4]) * random.random(3)
    cosine = -0.1 - 0.2 * random.random(3)
    if system:
        cosine[[0, 2] if system == 1 else [0, 1, 2]] = 0
    if system > 2:
        edge[1] = edge[0]
    if system in (4, 5):
        cosine[2] = -0.5
    if system == 6:
        edge[2] = edge[0]
    products = np.array([[1, cosine[2], cosine[1]], [cosine[2], 1, cosine[0]], [cosine[1], cosine[0], 1]])
    return np.linalg.cholesky(products * np.outer(edge, edge))


def hall_number(group: int, operations: Operations) -> int:
    """Return spglib's number of the setting that has just these operations."""
    ours = rows_of(operations.rotation, operations.translation / 24)
    for number in range(1, 531):
        kind, theirs = spglib.get_spacegroup_type(number), spglib.get_symmetry_from_database(number)
        assert kind is not None
        assert theirs is not None
        if kind.number == group and rows_of(theirs["rotations"], theirs["translations"]) == ours:
            return number
    raise AssertionError(f"no setting of spglib's for group {group}")


def rows_of(rotation: np.ndarray, translation: np.ndarray) -> set[tuple[int, ...]]:
    """Return operations as a set of whole numbers."""
    shift = np.rint(translation * 24).astype(int) % 24
    return set(map(tuple, np.concatenate([rotation.reshape(-1, 9), shift], axis=1).astype(int).tolist()))


def observed_keys(store: CrystalStore, table: WyckoffTable) -> set[TemplateKey]:
    """Return the templates of the store that are small enough."""
    found = set(template_keys(store, np.arange(len(store)), table))
    print(f"{len(found)} templates in the embedded set", flush=True)
    return {key for key in found if is_small(key, table)}


def is_small(key: TemplateKey, table: WyckoffTable) -> bool:
    """Tell whether a template is within the limits of what is taken from crystals."""
    places = [place for places in key for place in places]
    within = len(places) <= MOST_SITES and table.multiplicity[places].sum() <= MOST_ATOMS
    return bool(within) and len(key) <= NUM_RUNGS


def made_up_keys(group: int, number: int, table: WyckoffTable) -> set[TemplateKey]:
    """Return different random templates of a group, as many as are found with some patience."""
    random = np.random.default_rng([group, 1])
    keys: set[TemplateKey] = set()
    for turn in range(8 * number):
        if len(keys) == number:
            break
        most = np.exp(random.uniform(*np.log(TARGET_ATOMS))) if turn < 6 * number else LARGEST_TARGET
        if key := made_up_key(group, most, random, table):
            keys.add(key)
    return keys


def made_up_key(group: int, most_atoms: float, random: np.random.Generator, table: WyckoffTable) -> TemplateKey:
    """Fill positions at random until there are enough atoms or sites, and deal species out."""
    position = np.arange(table.first[group - 1], table.first[group])
    multiplicity, is_fixed = table.multiplicity[position], table.freedom[position] == 0
    places: list[int] = []
    room, num_sites = most_atoms, random.integers(1, MADE_UP_SITES + 1)
    while len(places) < num_sites:
        is_open = (multiplicity <= room) & ~(is_fixed & np.isin(position, places))
        if not is_open.any():
            break
        place = random.choice(np.flatnonzero(is_open))
        places.append(int(position[place]))
        room -= multiplicity[place]
    species = random.integers(random.integers(1, len(places) + 1), size=len(places)) if places else []
    by_species: dict[int, list[int]] = {}
    for place, kind in zip(places, species, strict=True):
        by_species.setdefault(int(kind), []).append(place)
    return tuple(sorted(tuple(sorted(some)) for some in by_species.values()))


def verify(
    library: TemplateLibrary, score: np.ndarray, make: "Maker", draws: int, processes: int, most: int = MOST_VERIFIED
) -> np.ndarray:
    """Return which templates always give crystals of exactly their group, of the best ones and all observed ones."""
    is_right = np.isfinite(score) & (library.is_observed | best_of_groups(library, score, most))
    with ProcessPoolExecutor(processes, mp_context=get_context("forkserver")) as pool:
        for number in range(draws):
            some = np.flatnonzero(is_right)
            progress = tqdm(total=len(some), desc=f"draw {number + 1}", mininterval=20)
            for templates in make.chunks(some):
                made = make.crystals(templates, seed=1000 + number)
                found = np.array(list(pool.map(found_symmetry, *zip(*made, strict=True), chunksize=16)))
                group = library.group[templates].astype(int)
                expected = np.stack([group, np.diff(make.table.operation_offset.astype(int))[group - 1]], axis=1)
                is_right[templates] = (found == expected).all(axis=1)
                progress.update(len(templates))
    return is_right


def poor_groups(library: TemplateLibrary, is_right: np.ndarray) -> np.ndarray:
    """Return the groups that have fewer than `FEWEST` made-up templates."""
    made_up = library.group[is_right & ~library.is_observed]
    return np.flatnonzero(np.bincount(made_up, minlength=231)[1:] < FEWEST) + 1


def roomy_score(make: "Maker", library: TemplateLibrary, groups: np.ndarray) -> np.ndarray:
    """Return a score of the made-up templates of some groups, the roomier the higher; infinite where many are refused.

    In these groups, such as R 3 m, atoms share few lines, and random places on them leave much room.
    """
    score = np.full(len(library), np.inf)
    for some in make.chunks(np.flatnonzero(np.isin(library.group, groups) & ~library.is_observed)):
        trials = np.array([make.roominess(some, seed) for seed in range(TRIALS)])
        refused, median = np.isinf(trials).mean(axis=0), np.median(trials, axis=0)
        score[some] = np.where(refused <= MOST_REFUSED_OF_POOR, 10 + median, np.inf)
    return score


def best_of_groups(library: TemplateLibrary, score: np.ndarray, most: int) -> np.ndarray:
    """Return the made-up templates of each group that have the lowest scores."""
    chosen = np.zeros(len(library), bool)
    for group in range(1, 231):
        others = np.flatnonzero(np.isfinite(score) & ~library.is_observed & (library.group == group))
        chosen[others[np.argsort(score[others], kind="stable")][:most]] = True
    return chosen


def compactness(make: "Maker", library: TemplateLibrary) -> np.ndarray:
    """Return a score: infinite for templates of roomy crystals, random below 1 for compact ones, more in between.

    A first few crystals tell most of the roomy ones.
    """
    score = np.full(len(library), np.inf)
    random = np.random.default_rng(4).random(len(library))
    for some in make.chunks(np.arange(len(library))):
        first = [make.roominess(some, seed) for seed in range(FIRST_TRIALS)]
        left = some[np.median(first, axis=0) <= ROOMIEST[0]]
        if not len(left):
            continue
        trials = np.array([make.roominess(left, FIRST_TRIALS + seed) for seed in range(TRIALS)])
        refused, median = np.isinf(trials).mean(axis=0), np.median(trials, axis=0)
        observed = library.is_observed[left]
        within = [
            (refused <= most) & (median <= roomiest) for most, roomiest in zip(MOST_REFUSED, ROOMIEST, strict=True)
        ]
        made_up = np.where(within[2], random[left], np.where(within[1], median + 4 * refused, np.inf))
        score[left] = np.where(observed, np.where(within[0], 0, np.inf), made_up)
    return score


class Maker:
    """Makes crystals of a library as in training, with the statistics of the embedded set's training split."""

    def __init__(self, library: TemplateLibrary, store: CrystalStore, table: WyckoffTable) -> None:
        statistics = crystal_statistics(store, select(store, SelectionConfig()).crystals("train"), library, table)
        self.factory = make_factory(library, np.arange(len(library)), statistics, table)
        self.num_atoms, self.table = library.num_atoms(table), table
        self.element_volume = np.asarray(self.factory.element_volume)

        def attempt(key: jax.Array, factory: Factory, template: jax.Array, num_atoms: int) -> Made:
            return make_crystal(key, factory, template, num_atoms, attempts=1)

        self._make = jax.jit(jax.vmap(attempt, in_axes=(0, None, 0, None)), static_argnums=3)

    def chunks(self, templates: np.ndarray) -> Iterator[np.ndarray]:
        """Yield some templates of like size at a time."""
        blocks = -(-self.num_atoms[templates] // 32)
        for number in np.unique(blocks):
            of_size = templates[blocks == number]
            yield from np.array_split(of_size, -(-len(of_size) // CHUNK))

    def made(self, templates: np.ndarray, seed: int) -> Made:
        """Return one attempt at a crystal of each template, on the host."""
        filled = np.resize(templates, CHUNK)
        keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed), number))(filled)
        made = self._make(keys, self.factory, filled, int(-(-self.num_atoms[templates].max() // 32) * 32))
        return jax.tree.map(lambda leaf: leaf[: len(templates)], jax.device_get(made))

    def roominess(self, templates: np.ndarray, seed: int) -> np.ndarray:
        """Return volumes over those of the atoms, infinite where the crystal is refused."""
        made = self.made(templates, seed)
        atoms = (self.element_volume[made.species] * made.occupancy).sum(axis=1)
        return np.where(made.fits, np.linalg.det(made.direct.astype(float)) / atoms, np.inf)

    def crystals(self, templates: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return cell, coordinates and species of one crystal of each template."""
        made = self.made(templates, seed)
        cells = zip(made.direct, made.fract, made.species, self.num_atoms[templates], strict=True)
        return [(rows, fract[:size] / 2.0**32, species[:size]) for rows, fract, species, size in cells]


def found_symmetry(rows: np.ndarray, fract: np.ndarray, species: np.ndarray) -> tuple[int, int]:
    """Return the space group that spglib finds and the number of operations; more than the group's: a smaller cell."""
    data = spglib.get_symmetry_dataset((rows.tolist(), fract.tolist(), species.tolist()), symprec=SYMPREC)
    return (0, 0) if data is None else (data.number, len(data.rotations))


def keep_some(library: TemplateLibrary, score: np.ndarray, most_made_up: int) -> TemplateLibrary:
    """Return the templates of finite score: all that were observed, and so many others of each group."""
    kept = np.isfinite(score) & library.is_observed | best_of_groups(library, score, most_made_up)
    in_site = np.repeat(kept, library.num_sites)
    return TemplateLibrary(
        group=library.group[kept],
        is_observed=library.is_observed[kept],
        offset=np.append(0, np.cumsum(library.num_sites[kept])),
        position=library.position[in_site],
        rank=library.rank[in_site],
    )


def write(path: Path, table: WyckoffTable, library: TemplateLibrary) -> None:
    """Write both in one file."""
    names = ("group", "letter", "free", "shift", "orbit_operation", "operation_offset", "rotation", "translation")
    save_file(
        {name: getattr(table, name) for name in names}
        | {
            "multiplicity": table.multiplicity.astype(np.uint8),
            "template_group": library.group,
            "template_is_observed": library.is_observed,
            "template_sites": library.num_sites.astype(np.uint8),
            "site_position": library.position,
            "site_rank": library.rank,
        },
        path,
    )


def report(library: TemplateLibrary, candidates: TemplateLibrary, is_right: np.ndarray, table: WyckoffTable) -> None:
    """Print what was kept."""
    for name, flag in (("observed", True), ("made-up", False)):
        of_kind = candidates.is_observed == flag
        count = np.bincount(library.group[library.is_observed == flag], minlength=231)[1:]
        print(f"{name}: {is_right[of_kind].sum()} of {of_kind.sum()} right, {count.sum()} kept, "
              f"{count.min()} to {count.max()} a group, fewest in {np.argsort(count)[:8] + 1}")  # fmt: skip
    made_up = library.num_atoms(table)[~library.is_observed]
    print(f"atoms of the made-up ones: {np.percentile(made_up, [0, 25, 50, 75, 95, 100]).tolist()}")


if __name__ == "__main__":
    main()
