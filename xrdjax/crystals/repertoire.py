"""Which templates made-up crystals are drawn from, and how often; and such crystals on the host, to look at.

The law is a list of templates of which each entry is equally likely. `groups="balanced"` gives all space groups equally
many entries, `"training"` each in proportion to its crystals in the training split, and a file whatever weights it
lists. `statistics="uniform"` divides those of a group among made-up templates, `"training"` among the templates of the
training crystals by their number, as Schopmans, Reiser and Friederich did for powder patterns (Digital Discovery 2,
1414 (2023), doi 10.1039/D3DD00071K); elements then are as frequent as in the training split, too. No crystal outside
the training split is looked at.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int, Int64, Key, Num, UInt32

from xrdjax.config import ProceduralConfig, SelectionConfig
from xrdjax.crystals.crystal import Crystal
from xrdjax.crystals.procedural import Factory, Made, make_crystals, make_factory
from xrdjax.crystals.selection import select
from xrdjax.crystals.species import SPECIES
from xrdjax.crystals.statistics import CrystalStatistics, crystal_statistics
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.templates import TemplateLibrary, template_library
from xrdjax.crystals.wyckoff import WyckoffTable, wyckoff_table
from xrdjax.errors import ConfigError

log = logging.getLogger(__name__)

ENTRIES = 64  # of each group where groups are balanced, and of all groups on average where they are not
NUM_GROUPS = 230
ATOM_BLOCK = 32  # crystals are made in arrays of whole blocks of atoms
_make = jax.jit(make_crystals, static_argnums=3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Repertoire:
    """What made-up crystals are drawn from.

    Attributes:
        factory: on the device.
        entries: numbers of the factory's templates; each entry is equally likely.
    """

    factory: Factory
    entries: Int64[np.ndarray, "entries"]


def make_repertoire(
    store: CrystalStore,
    training: Int[np.ndarray, "crystals"],
    procedural: ProceduralConfig,
    max_atoms: int | None = None,
) -> Repertoire:
    """Return what to draw from, given the training crystals of a store; logs what has to be left out.

    Raises ConfigError where nothing is left.
    """
    table, library = wyckoff_table(), template_library()
    statistics = crystal_statistics(store, training, library, table)
    weight = _template_weight(library, table, statistics, procedural, max_atoms)
    if not weight.any():
        raise ConfigError(f"data.mixture: no template has at most data.max_atoms = {max_atoms} atoms; allow more")
    entries = _entries(library.group.astype(int), weight, _group_share(weight, library, statistics, procedural))
    used, renumbered = np.unique(entries, return_inverse=True)
    as_observed = procedural.statistics == "training"
    factory = make_factory(library, used, statistics, table, elements_as_observed=as_observed)
    return Repertoire(factory=factory, entries=renumbered)


def _template_weight(
    library: TemplateLibrary,
    table: WyckoffTable,
    statistics: CrystalStatistics,
    procedural: ProceduralConfig,
    max_atoms: int | None,
) -> Int64[np.ndarray, "templates"]:
    """Return how often each template is drawn within its group."""
    if procedural.statistics == "uniform":
        weight = (~library.is_observed).astype(int)
    else:
        known = statistics.template[statistics.template >= 0]
        weight = np.bincount(known, minlength=len(library))
        unknown = len(statistics.template) - len(known) + statistics.num_without_setting
        if unknown:
            log.info("%d training crystals have no template in the library and are not imitated", unknown)
    if max_atoms is not None:
        weight = np.where(library.num_atoms(table) <= max_atoms, weight, 0)
    return weight


def _group_share(
    weight: Int64[np.ndarray, "templates"],
    library: TemplateLibrary,
    statistics: CrystalStatistics,
    procedural: ProceduralConfig,
) -> Int64[np.ndarray, "231"]:
    """Return how many entries each group gets; none where it has no template."""
    has_template = np.bincount(library.group, weights=weight, minlength=NUM_GROUPS + 1) > 0
    wanted = _wanted_groups(procedural, statistics)
    missing = np.flatnonzero((wanted > 0) & ~has_template)
    if len(missing):
        log.warning("no crystals of %d space groups are made up: %s", len(missing), ", ".join(map(str, missing)))
    wanted = np.where(has_template, wanted, 0)
    num_groups = np.count_nonzero(wanted) if procedural.groups == "balanced" else NUM_GROUPS
    return apportion(wanted, ENTRIES * int(num_groups))


def _wanted_groups(procedural: ProceduralConfig, statistics: CrystalStatistics) -> Float64[np.ndarray, "231"]:
    """Return the weight of each space group. Raises ConfigError for a list that cannot be read."""
    if procedural.groups == "balanced":
        return np.append(0.0, np.ones(NUM_GROUPS))
    if procedural.groups == "training":
        return np.bincount(statistics.space_group, minlength=NUM_GROUPS + 1).astype(float)
    path, wanted = Path(procedural.groups), np.zeros(NUM_GROUPS + 1)
    if not path.is_file():
        raise ConfigError(f"data.procedural.groups = '{path}': expected balanced, training, or a CSV of group,weight")
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        group, _, weight = (part.strip() for part in line.partition(","))
        if not (group.isdecimal() and 1 <= int(group) <= NUM_GROUPS and _is_weight(weight)):
            raise ConfigError(f"{path}, line {number}: '{line}'; expected group,weight: 1 to 230, and 0 or more")
        wanted[int(group)] += float(weight)
    if not wanted.any():
        raise ConfigError(f"{path}: no group has a weight; give one more than 0")
    return wanted


def _is_weight(text: str) -> bool:
    with suppress(ValueError):
        return 0 <= float(text) < np.inf
    return False


def _entries(
    group: Int64[np.ndarray, "templates"], weight: Int64[np.ndarray, "templates"], share: Int64[np.ndarray, "231"]
) -> Int64[np.ndarray, "entries"]:
    """Return a list of templates in which each group has its share, divided among its templates by weight."""
    count = np.zeros(len(group), int)
    for number in np.flatnonzero(share):
        members = np.flatnonzero(group == number)
        count[members] = apportion(weight[members], int(share[number]))
    return np.repeat(np.arange(len(group)), count)


def apportion(weight: Num[np.ndarray, "n"], total: int) -> Int64[np.ndarray, "n"]:
    """Divide a whole number in proportion to weights, by the largest remainders; equal ones go to the front."""
    exact = weight * (total / weight.sum())
    count = np.floor(exact).astype(int)
    count[np.argsort(count - exact, kind="stable")[: total - count.sum()]] += 1
    return count


def procedural_crystals(
    key: Key[Array, ""],
    number: int,
    *,
    store: CrystalStore | None = None,
    procedural: ProceduralConfig | None = None,
    max_atoms: int | None = None,
) -> list[Crystal]:
    """Return made-up crystals: the same as in training, one after the other drawn from the whole repertoire.

    Statistics are those of the training part of the store's random split, by default of the set that comes with the
    package.
    """
    store = CrystalStore.open("open") if store is None else store
    training = select(store, SelectionConfig()).crystals("train")
    repertoire = make_repertoire(store, training, procedural or ProceduralConfig(), max_atoms)
    for_template, for_crystal = jax.random.split(key)
    drawn = jax.random.randint(for_template, (number,), 0, len(repertoire.entries))
    template = repertoire.entries[np.asarray(drawn)]
    made = make_many(jax.random.split(for_crystal, number), repertoire.factory, template)
    arrays = (np.asarray(leaf) for leaf in (made.direct, made.fract, made.species))
    return [
        _crystal(f"made up {i}", *some, repertoire.factory, int(template[i]))
        for i, some in enumerate(zip(*arrays, strict=True))
    ]


def make_many(key: Key[Array, "n"], factory: Factory, template: Int64[np.ndarray, "n"], chunk: int = 256) -> Made:
    """Return one crystal a key, made some at a time."""
    size = int(-(-np.asarray(factory.num_atoms)[template].max() // ATOM_BLOCK) * ATOM_BLOCK)
    number = len(template)
    padded = np.resize(np.arange(number), -(-number // chunk) * chunk).reshape(-1, chunk)
    parts = [_make(key[some], factory, jnp.asarray(template[some]), size) for some in padded]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:number], *parts)


def _crystal(
    name: str,
    direct: Float[np.ndarray, "3 3"],
    fract: UInt32[np.ndarray, "padded 3"],
    species: Int[np.ndarray, "padded"],
    factory: Factory,
    template: int,
) -> Crystal:
    """Return a crystal of the host, with its operations and sites."""
    table, group = wyckoff_table(), int(factory.space_group[template])
    position = np.asarray(factory.position[template])[: int(factory.num_sites[template])]
    images = [table.orbit_operation[slice(*table.orbit_offset[place : place + 2].tolist())] for place in position]
    size, rows = sum(map(len, images)), direct.astype(float)
    edge = np.sqrt((rows**2).sum(axis=1))
    cosine = (rows @ rows.T / np.outer(edge, edge))[[1, 0, 0], [2, 2, 1]]
    return Crystal(
        name=name,
        cell=np.append(edge, np.rad2deg(np.arccos(cosine))),
        fract=fract[:size] / 2.0**32,
        species=tuple(SPECIES[number] for number in species[:size]),
        occupancy=np.ones(size),
        u_iso=np.zeros(size),
        space_group=group,
        site=np.repeat(np.arange(len(images)), [len(some) for some in images]),
        operation=np.concatenate(images).astype(int),
        operations=table.operations(group),
    )
