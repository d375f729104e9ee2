"""Crystals made on the device: any of the 230 groups, fresh ones every step, as a pure function of a key.

A *template* says which Wyckoff positions are occupied and which of them by the same element (`templates.py`); whatever
else is random cannot raise the symmetry. Given a template, one attempt at a crystal is

1. the shape of a cell of the group's family, that of a training crystal with the same Bravais lattice, blurred;
2. the free coordinates, site after site: of several candidates the one whose shortest contact is longest (Mitchell's
   best candidate). One atom of a site stands for all, since what has been placed before has the group's symmetry;
3. elements, of clearly different scattering power or as often as in the training split, dealt out among the species
   several times: the first dealing counts that leaves room for all, or else the one that needs least;
4. the volume: that of the atoms, as fitted to the training split, times the fullness of a training crystal, but at
   least so much that no contact is shorter than `CONTACT` times the sum of the covalent radii.

A crystal that has become larger than the shapes of its bucket allow is refused and tried again. Step 4 measures with
all eight images of a difference within one cell: none shorter than the cell's smallest height is overlooked, and that
height is kept above `CONTACT` times the largest diameter. Coordinates are fixed point, 2⁻³² of an edge, so special
positions are exact. Free coordinates keep 1/160 of an edge away from twenty-fourths, where a site would be, or nearly
be, on another position or halfway to an image, which would show more symmetry than the label says.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import gemmi
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Shaped, UInt32

from xrdjax.crystals.elements import NUM_ELEMENTS, NUM_RUNGS, covalent_radii, ladder_element
from xrdjax.crystals.statistics import CrystalStatistics
from xrdjax.crystals.symmetry import CRYSTAL_SYSTEMS, crystal_system_index
from xrdjax.crystals.templates import TemplateLibrary
from xrdjax.crystals.wyckoff import WyckoffTable

CONTACT = 0.73  # of the sum of covalent radii: one in a hundred crystals of the embedded set has a shorter contact
CANDIDATES = 8  # places tried for each site
CELLS = 4  # shapes tried for each crystal
DEALINGS = 8  # of the elements among the species
ATTEMPTS = 16  # before a crystal is made to fit whatever its contacts; fewer than one in a hundred need a second
MAX_EDGE = 45.0  # Å; one in a hundred crystals of the embedded set is longer
MIN_HEIGHT = 2.2  # Å, between lattice planes; one in a thousand of the embedded set is thinner
SHAPE_BLUR = (0.08, 0.08, 0.03, 0.03, 0.03)  # half widths of what is added to a training crystal's shape
THICKNESS = 0.9  # least height of a cell that is taken at once, in edges of the cube that holds one atom
FULLNESS_RANGE = (0.5, 99.5)  # percentiles; beyond are molecules, gases and errors
MOST_OBLIQUE = 0.6  # largest cosine of an angle
FLATTEST = 0.2  # smallest squared volume of a cell with unit edges; a flatter one gets half its cosines
# Which parts of a shape a crystal system leaves free, and what the others are.
IS_FREE = np.array(
    [[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [1, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0] * 5],
    bool,
)
FIXED = np.array([[0, 0, 0, 0, -0.5 if system in ("trigonal", "hexagonal") else 0] for system in CRYSTAL_SYSTEMS])
# Candidates follow each other by these fractions of the free coordinates: any first few are spread evenly (R₃ sequence)
STRIDES = np.array([0.8191725134, 0.6710436067, 0.5497004779])
CYCLE_24 = 2**32 // 24
CENTRINGS = "PACIFR"


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Factory:
    """What crystals are made from, on the device."""

    space_group: Int[Array, "templates"]
    """1 to 230."""
    system: Int[Array, "templates"]
    """Index in `CRYSTAL_SYSTEMS`."""
    lattice: Int[Array, "templates"]
    """Index of the Bravais lattice, see `lattice_index`."""
    num_sites: Int[Array, "templates"]
    num_atoms: Int[Array, "templates"]
    max_volume: Float[Array, "templates"]
    """Å³; larger cells are refused."""
    position: Int[Array, "templates sites"]
    rank: Int[Array, "templates sites"]
    start: Int[Array, "templates sites"]
    """First atom of each site; beyond the last site the number of atoms."""
    first_image: Int[Array, "positions"]
    image: Int[Array, "images 12"]
    """D, row by row, and s in 2⁻³² of an edge: an atom lies at D p + s."""
    shape: Float[Array, "shapes 5"]
    """Of training crystals, by Bravais lattice."""
    first_shape: Int[Array, "bounds"]
    fullness: Float[Array, "fullnesses"]
    """Volumes of training crystals over those of their atoms."""
    element_volume: Float[Array, "98"]
    """Å³ an atom."""
    element_weight: Float[Array, "98"] | None = None
    """Logarithms of how often elements occur; None takes them from the ladder."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Made:
    """One crystal, padded with atoms of no occupancy."""

    fract: UInt32[Array, "*batch atoms 3"]
    """In 2⁻³² of a cell edge."""
    species: Int[Array, "*batch atoms"]
    rank: Int[Array, "*batch atoms"]
    occupancy: Float[Array, "*batch atoms"]
    direct: Float[Array, "*batch 3 3"]
    """a, b, c as rows, Å."""
    reciprocal: Float[Array, "*batch 3 3"]
    fits: Bool[Array, "*batch"]
    """Whether the cell is within the factory's limits without having been made to."""


class _Sites(NamedTuple):
    """A template laid out: what its sites and its atoms are."""

    count: Int[Array, ""]
    start: Int[Array, "sites"]
    rank: Int[Array, "sites"]
    multiplicity: Int[Array, "sites"]
    of_atom: Int[Array, "atoms"]
    image: Int[Array, "12 atoms"]
    exists: Bool[Array, "atoms"]


class _Words(NamedTuple):
    """All random numbers of one attempt, drawn at once: every call of the generator takes a second to compile."""

    cell: UInt32[Array, "cells"]
    blur: UInt32[Array, "cells 5"]
    place: UInt32[Array, "sites 3"]
    rung: UInt32[Array, "rungs"]
    first_rung: UInt32[Array, ""]
    element: UInt32[Array, "98"]
    dealing: UInt32[Array, "dealings rungs"]
    fullness: UInt32[Array, ""]


class _Lattice(NamedTuple):
    """A cell of volume 1."""

    rows: Float[Array, "3 3"]
    height: Float[Array, ""]
    """The smallest distance between lattice planes (100), (010), (001)."""


class _Filling(NamedTuple):
    """Elements on the sites of a template, and the volume in Å³ that they get."""

    species: Int[Array, "sites"]
    volume: Float[Array, ""]


def make_factory(
    library: TemplateLibrary,
    templates: Int[np.ndarray, "templates"],
    statistics: CrystalStatistics,
    table: WyckoffTable,
    *,
    elements_as_observed: bool = False,
) -> Factory:
    """Put these templates of a library, and the statistics of the training split, on the device."""
    group = library.group[templates].astype(int)
    num_sites = library.num_sites[templates]
    most = int(num_sites.max())
    position = library.padded(library.position, 0)[templates, :most]
    rank = library.padded(library.rank, 0)[templates, :most]
    multiplicity = np.where(np.arange(most) < num_sites[:, None], table.multiplicity[position], 0)
    free, shift = table.images()
    fixed_point = ((shift.astype(np.uint64) * 2**32 + 12) // 24).astype(np.uint32).view(np.int32)
    num_atoms = multiplicity.sum(axis=1)
    shape, first_shape = _shapes_by_lattice(statistics)
    weight = np.log(np.maximum(statistics.element_count, 1e-9))
    return Factory(
        space_group=jnp.asarray(group, jnp.int32),
        system=jnp.asarray(crystal_system_index(group), jnp.int32),
        lattice=jnp.asarray(lattice_index(group), jnp.int32),
        num_sites=jnp.asarray(num_sites, jnp.int32),
        num_atoms=jnp.asarray(num_atoms, jnp.int32),
        max_volume=jnp.asarray(max_volume(num_atoms), jnp.float32),
        position=jnp.asarray(position, jnp.int32),
        rank=jnp.asarray(rank, jnp.int32),
        start=jnp.asarray(np.cumsum(multiplicity, axis=1) - multiplicity, jnp.int32),
        first_image=jnp.asarray(table.orbit_offset[:-1], jnp.int32),
        image=jnp.asarray(np.concatenate([free.reshape(-1, 9), fixed_point], axis=1), jnp.int32),
        shape=jnp.asarray(shape, jnp.float32),
        first_shape=jnp.asarray(first_shape, jnp.int32),
        fullness=jnp.asarray(_usual(statistics.fullness), jnp.float32),
        element_volume=jnp.asarray(statistics.element_volume, jnp.float32),
        element_weight=jnp.asarray(weight, jnp.float32) if elements_as_observed else None,
    )


def max_volume(num_atoms: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Return the largest volume in Å³ of a cell with so many atoms; larger ones are refused."""
    return 200.0 + 40.0 * num_atoms


def _usual(fullness: Float[np.ndarray, "n"]) -> Float[np.ndarray, "m"]:
    low, high = np.percentile(fullness, FULLNESS_RANGE)
    return fullness[(fullness >= low) & (fullness <= high)]


def lattice_index(group: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """Return a number from 0 to 41 that tells crystal system and centring of each space group."""
    centring = [gemmi.get_spacegroup_reference_setting(number).centring_type() for number in range(1, 231)]
    letter = np.array([CENTRINGS.index(one) for one in centring])
    return crystal_system_index(group) * len(CENTRINGS) + letter[group - 1]


def _shapes_by_lattice(statistics: CrystalStatistics) -> tuple[Float[np.ndarray, "n 5"], Int[np.ndarray, "bounds"]]:
    """Return shapes by Bravais lattice, and where each begins.

    A lattice without crystals gets all shapes of its system, and equal edges if there are none of that either.
    """
    lattice = lattice_index(statistics.space_group)
    shapes = []
    for number in range(len(CRYSTAL_SYSTEMS) * len(CENTRINGS)):
        of_lattice = statistics.shape[lattice == number]
        of_system = statistics.shape[lattice // len(CENTRINGS) == number // len(CENTRINGS)]
        shapes.append(next(some for some in (of_lattice, of_system, np.zeros((1, 5))) if len(some)))
    return np.concatenate(shapes), np.cumsum([0, *map(len, shapes)])


def make_crystal(
    key: Key[Array, ""], factory: Factory, template: Int[Array, ""], num_atoms: int, attempts: int = ATTEMPTS
) -> Made:
    """Make the crystal that belongs to a key and a template, with room for `num_atoms` atoms."""
    sites = _lay_out(factory, template, num_atoms)

    def is_refused(state: tuple[Int[Array, ""], Made]) -> Bool[Array, ""]:
        return ~state[1].fits & (state[0] < attempts)

    def attempt(state: tuple[Int[Array, ""], Made]) -> tuple[Int[Array, ""], Made]:
        return state[0] + 1, _attempt(jax.random.fold_in(key, state[0]), factory, template, sites)

    return jax.lax.while_loop(is_refused, attempt, (jnp.zeros((), jnp.int32), _nothing(num_atoms)))[1]


def make_crystals(
    key: Key[Array, "n"], factory: Factory, template: Int[Array, "n"], num_atoms: int, attempts: int = ATTEMPTS
) -> Made:
    """Make the same crystals as `make_crystal`, half of them at a time: few wait for another's second attempt.

    Each round takes the first half of what is left. For one device: slots do not stay where they are.
    """
    number = template.shape[0]
    at_once = -(-number // 2)

    def is_open(state: tuple[Int[Array, "n"], Made]) -> Bool[Array, "n"]:
        return ~state[1].fits & (state[0] < attempts)

    def one(key: Key[Array, ""], template: Int[Array, ""], attempt: Int[Array, ""]) -> Made:
        return _attempt(jax.random.fold_in(key, attempt), factory, template, _lay_out(factory, template, num_atoms))

    def round_of_attempts(state: tuple[Int[Array, "n"], Made]) -> tuple[Int[Array, "n"], Made]:
        tried, made = state
        slot = jnp.nonzero(is_open(state), size=at_once, fill_value=number)[0]
        chosen = jnp.minimum(slot, number - 1)
        new = jax.vmap(one)(key[chosen], template[chosen], tried[chosen])
        made = jax.tree.map(lambda old, new: old.at[slot].set(new, mode="drop"), made, new)
        return tried.at[slot].add(1, mode="drop"), made

    nothing = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (number, *leaf.shape)), _nothing(num_atoms))
    start = jnp.zeros(number, jnp.int32), nothing
    return jax.lax.while_loop(lambda state: is_open(state).any(), round_of_attempts, start)[1]


def _nothing(num_atoms: int) -> Made:
    """Return what stands for a crystal before the first attempt."""
    whole = jnp.zeros(num_atoms, jnp.int32)
    return Made(
        fract=jnp.zeros((num_atoms, 3), jnp.uint32),
        species=whole,
        rank=whole,
        occupancy=jnp.zeros(num_atoms),
        direct=jnp.zeros((3, 3)),
        reciprocal=jnp.zeros((3, 3)),
        fits=jnp.zeros((), bool),
    )


def _lay_out(factory: Factory, template: Int[Array, ""], num_atoms: int) -> _Sites:
    """Return sites and atoms of a template; atom j of a site is image j of its position."""
    atom = jnp.arange(num_atoms)
    start = factory.start[template]
    of_atom = (atom[:, None] >= start[1:]).sum(-1)
    of_atom = jnp.minimum(of_atom, factory.num_sites[template] - 1)
    first = factory.first_image[factory.position[template]]
    row = jnp.clip(first[of_atom] + atom - start[of_atom], 0, factory.image.shape[0] - 1)
    return _Sites(
        count=factory.num_sites[template],
        start=start,
        rank=factory.rank[template],
        multiplicity=jnp.append(start[1:], factory.num_atoms[template]) - start,
        of_atom=of_atom,
        image=factory.image[row].T,
        exists=atom < factory.num_atoms[template],
    )


def _attempt(key: Key[Array, ""], factory: Factory, template: Int[Array, ""], sites: _Sites) -> Made:
    """Return a crystal, and whether it is within the limits of its template."""
    words = _draw_words(key, len(sites.start))
    lattice = _lattice(words, factory, template)
    metric = _metric(lattice.rows)
    fract = _place(words, sites, metric)
    filling = _fill(words, factory, sites, _site_distances(fract, sites, metric), lattice.height)
    rows, fits = _within_limits(lattice.rows, filling.volume, factory.max_volume[template])
    return Made(
        fract=jax.lax.bitcast_convert_type(fract.T, jnp.uint32),
        species=filling.species[sites.of_atom],
        rank=jnp.where(sites.exists, sites.rank[sites.of_atom], 0),
        occupancy=sites.exists.astype(jnp.float32),
        direct=rows,
        reciprocal=_dual(rows),
        fits=fits,
    )


def _draw_words(key: Key[Array, ""], num_sites: int) -> _Words:
    shapes: tuple[tuple[int, ...], ...] = (
        (CELLS,), (CELLS, 5), (num_sites, 3), (NUM_RUNGS,), (), (NUM_ELEMENTS,), (DEALINGS, NUM_RUNGS), (),
    )  # fmt: skip
    stops = np.cumsum([math.prod(shape) for shape in shapes])
    parts = jnp.split(jax.random.bits(key, (int(stops[-1]),)), stops[:-1])
    return _Words._make(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


def _uniform(words: UInt32[Array, "*n"]) -> Float[Array, "*n"]:
    """Return numbers in [0, 1), in steps of 2⁻²⁴."""
    return (words >> 8).astype(jnp.float32) * np.float32(2**-24)


def _below(words: UInt32[Array, "*n"], stop: Int[Array, ""] | int) -> Int[Array, "*n"]:
    """Return whole numbers from 0 to stop − 1, of up to some hundred thousand."""
    return jnp.minimum((_uniform(words) * stop).astype(jnp.int32), stop - 1)


def _order(values: Shaped[Array, "*n rungs"]) -> Int[Array, "*n rungs"]:
    """Return how many values are smaller than each, equal ones by their place: a permutation, without sorting."""
    place = jnp.arange(values.shape[-1])
    one, other = values[..., :, None], values[..., None, :]
    return ((other < one) | ((other == one) & (place < place[:, None]))).sum(-1)


def _lattice(words: _Words, factory: Factory, template: Int[Array, ""]) -> _Lattice:
    """Return the first of some cells that is nowhere thinner than an atom, about, or else the thickest.

    Of the family exactly: what the system fixes is written, not drawn.
    """
    system, lattice = factory.system[template], factory.lattice[template]
    first, stop = factory.first_shape[lattice], factory.first_shape[lattice + 1]
    drawn = factory.shape[first + _below(words.cell, stop - first)]
    drawn = drawn + (2 * _uniform(words.blur) - 1) * np.array(SHAPE_BLUR, np.float32)
    shape = jnp.where(jnp.asarray(IS_FREE)[system], drawn, jnp.asarray(FIXED, jnp.float32)[system])
    rows = jax.vmap(_unit_cell)(shape)
    height = jax.vmap(_smallest_height)(rows)
    is_thick = height**3 * factory.num_atoms[template] >= THICKNESS**3
    chosen = jnp.where(is_thick.any(), is_thick.argmax(), height.argmax())
    return _Lattice(rows=rows[chosen], height=height[chosen])


def _fill(
    words: _Words,
    factory: Factory,
    sites: _Sites,
    distance: Float[Array, "sites sites"],
    height: Float[Array, ""],
) -> _Filling:
    """Deal elements out and return what needs least more room than its atoms have, the first where several need none.

    Distances and height are those of a cell of volume 1.
    """
    is_used = jnp.arange(NUM_RUNGS) <= sites.rank.max()
    order = _order(jnp.where(is_used, words.dealing >> 1, np.uint32(2**32 - 1)))
    species = _elements(words, factory)[order][:, sites.rank]
    is_real = sites.multiplicity > 0
    radius = jnp.where(is_real, jnp.asarray(covalent_radii(), jnp.float32)[species], 0)
    volume = (jnp.where(is_real, factory.element_volume[species], 0) * sites.multiplicity).sum(-1)
    volume = volume * factory.fullness[_below(words.fullness, factory.fullness.shape[0])]
    closest = ((radius[:, :, None] + radius[:, None]) / distance).max((1, 2))
    needed = jnp.maximum(CONTACT * jnp.maximum(closest, 2 * radius.max(-1) / height), MIN_HEIGHT / height)
    needed = (needed * 1.0001) ** 3  # more than rounding
    best = jnp.maximum(needed / volume, 1).argmin()
    return _Filling(species=species[best], volume=jnp.maximum(needed, volume)[best])


def _elements(words: _Words, factory: Factory) -> Int[Array, "rungs"]:
    """Return different elements, in random order."""
    if factory.element_weight is None:
        rung = _order(words.rung) + _uniform(words.first_rung)
        return ladder_element(rung).astype(jnp.int32) - 1
    exponential = -jnp.log(jnp.maximum(_uniform(words.element), 2**-25))
    place = _order(jnp.log(exponential) - factory.element_weight)  # the first few are draws without replacement
    is_at = place == jnp.arange(NUM_RUNGS)[:, None]
    return (is_at * jnp.arange(NUM_ELEMENTS)).sum(-1)


def _unit_cell(shape: Float[Array, "5"]) -> Float[Array, "3 3"]:
    """Return edges (rows, a along x, b in the xy plane) of a cell of volume 1; a fixed zero or ratio of 1 is exact."""
    cosine = jnp.clip(shape[2:], -MOST_OBLIQUE, MOST_OBLIQUE)
    volume2 = 1 - (cosine**2).sum() + 2 * cosine.prod()
    cos_alpha, cos_beta, cos_gamma = jnp.where(volume2 < FLATTEST, cosine / 2, cosine)
    sine = jnp.sqrt(1 - cos_gamma**2)
    y = (cos_alpha - cos_beta * cos_gamma) / sine
    z = jnp.sqrt(1 - cos_beta**2 - y**2)
    b, c = jnp.exp(shape[0]), jnp.exp(shape[1])
    zero, one = jnp.zeros_like(y), jnp.ones_like(y)
    rows = jnp.stack([one, zero, zero, b * cos_gamma, b * sine, zero, c * cos_beta, c * y, c * z]).reshape(3, 3)
    return rows / jnp.cbrt(b * sine * c * z)


def _smallest_height(rows: Float[Array, "3 3"]) -> Float[Array, ""]:
    return 1 / jnp.sqrt((_dual(rows) ** 2).sum(-1).max())


def _dual(rows: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    cross = jnp.stack([jnp.cross(rows[1], rows[2]), jnp.cross(rows[2], rows[0]), jnp.cross(rows[0], rows[1])])
    return cross / (rows[0] * cross[0]).sum()


def _metric(rows: Float[Array, "3 3"]) -> Float[Array, "6"]:
    """Return a·a, 2 a·b, 2 a·c, b·b, 2 b·c, c·c."""
    products = (rows[:, None] * rows[None]).sum(-1)
    return jnp.stack([products[0, 0], 2 * products[0, 1], 2 * products[0, 2],
                      products[1, 1], 2 * products[1, 2], products[2, 2]])  # fmt: skip


def _place(words: _Words, sites: _Sites, metric: Float[Array, "6"]) -> Int[Array, "3 atoms"]:
    """Place site after site, each where its shortest distance, of some candidates, is longest.

    Differences are those of the nearest image by each coordinate, since integers wrap; what comes of that is a choice,
    and `_site_distances` measures it.
    """
    strides = jnp.asarray((STRIDES * 2**32).astype(np.uint32)) * jnp.arange(CANDIDATES, dtype=jnp.uint32)[:, None]
    atom = jnp.arange(len(sites.exists))

    def place_site(site: Int[Array, ""], fract: Int[Array, "3 atoms"]) -> Int[Array, "3 atoms"]:
        first, stop = sites.start[site], sites.start[site] + sites.multiplicity[site]
        free = _off_special(words.place[site] + strides)
        is_own = (atom >= first) & (atom < stop)
        images = jnp.where(is_own, _images(sites.image, free), fract[:, None])
        apart = images - jax.lax.dynamic_slice_in_dim(images, first, 1, 2)
        length2 = jnp.where((atom < stop) & (atom != first), _length2(_in_cells(apart), metric), jnp.inf)
        return images[:, length2.min(-1).argmax()]

    return jax.lax.fori_loop(0, sites.count, place_site, jnp.zeros((3, len(atom)), jnp.int32))


def _off_special(words: UInt32[Array, "candidates 3"]) -> Int[Array, "candidates 3"]:
    """Spread words over coordinates in 2⁻³² of an edge, of each twenty-fourth only the middle 70 %."""
    scaled = (words >> 8) * 24
    twenty_fourth, within = scaled >> 24, scaled & 0xFFFFFF
    return (twenty_fourth * CYCLE_24 + CYCLE_24 * 3 // 20 + within * 15 // 2).astype(jnp.int32)


def _images(image: Int[Array, "12 atoms"], free: Int[Array, "candidates 3"]) -> Int[Array, "3 candidates atoms"]:
    """Return D p + s of all atoms for every candidate p, exactly, modulo 1."""
    along = [sum(image[3 * row + column] * free[:, column, None] for column in range(3)) for row in range(3)]
    return jnp.stack([along[row] + image[9 + row] for row in range(3)])


def _in_cells(difference: Int[Array, "3 *n"]) -> Float[Array, "3 *n"]:
    return difference.astype(jnp.float32) * np.float32(2**-32)


def _length2(difference: Float[Array, "3 *n"], metric: Float[Array, "6"]) -> Float[Array, "*n"]:
    x, y, z = difference
    return x * (metric[0] * x + metric[1] * y + metric[2] * z) + y * (metric[3] * y + metric[4] * z) + metric[5] * z * z


def _site_distances(
    fract: Int[Array, "3 atoms"], sites: _Sites, metric: Float[Array, "6"]
) -> Float[Array, "sites sites"]:
    """Return the shortest distances between one atom of a site and all others of each site, those across faces too.

    Every difference has two representatives within ±1 along each edge; an image beyond is farther than a cell's height.
    """
    atom, site = jnp.arange(fract.shape[1]), jnp.arange(len(sites.start))
    first = jnp.minimum(sites.start, len(atom) - 1)
    x, y, z = _in_cells(fract[:, None] - fract[:, first, None])
    nearest2 = jnp.full(x.shape, jnp.inf)
    for corner in range(8):
        image = jnp.stack([_other_way(along, bool(corner >> k & 1)) for k, along in enumerate((x, y, z))])
        nearest2 = jnp.minimum(nearest2, _length2(image, metric))
    is_pair = sites.exists & (atom != first[:, None]) & (site < sites.count)[:, None]
    nearest2 = jnp.where(is_pair, nearest2, jnp.inf)
    is_of_site = sites.of_atom == site[:, None]
    return jnp.sqrt(jnp.where(is_of_site, nearest2[:, None], jnp.inf).min(-1))


def _other_way(along: Float[Array, "*n"], other: bool) -> Float[Array, "*n"]:
    """Return differences within ±1/2, or the same ones round the other side of the cell."""
    return jnp.where(along > 0, along - 1, along + 1) if other else along


def _within_limits(
    rows: Float[Array, "3 3"], volume: Float[Array, ""], most: Float[Array, ""]
) -> tuple[Float[Array, "3 3"], Bool[Array, ""]]:
    """Return the cell of volume 1 with the volume it needs, but never beyond the limits, and whether it is within."""
    allowed = jnp.minimum((MAX_EDGE / jnp.sqrt((rows**2).sum(-1).max())) ** 3, most)
    return rows * jnp.cbrt(jnp.minimum(volume, allowed)), volume <= allowed
