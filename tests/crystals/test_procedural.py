"""Made-up crystals: of exactly their group and family, with room for every atom, from training crystals alone."""

from dataclasses import fields, replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import spglib

import xrdjax
from xrdjax.config import ProceduralConfig, SelectionConfig
from xrdjax.crystals.elements import covalent_radii
from xrdjax.crystals.procedural import CONTACT, MAX_EDGE, MIN_HEIGHT, make_crystal, max_volume
from xrdjax.crystals.repertoire import apportion, make_many, make_repertoire
from xrdjax.crystals.selection import select
from xrdjax.crystals.statistics import crystal_statistics
from xrdjax.crystals.store import CrystalStore
from xrdjax.crystals.symmetry import crystal_system_index
from xrdjax.crystals.templates import template_library
from xrdjax.crystals.wyckoff import wyckoff_table
from xrdjax.diffraction.lattice import direct_basis
from xrdjax.errors import ConfigError

OF_GROUP = 2
FEWER = 8  # statistics of every eighth training crystal take less time


@pytest.fixture(scope="module")
def store():
    return CrystalStore.open("open")


@pytest.fixture(scope="module")
def repertoire(store):
    return make_repertoire(store, select(store, SelectionConfig()).crystals("train"), ProceduralConfig())


@pytest.fixture(scope="module")
def group(repertoire):
    """Return the group of each crystal of `made`."""
    return np.repeat(np.unique(repertoire.factory.space_group), OF_GROUP)


@pytest.fixture(scope="module")
def template(repertoire, group):
    random = np.random.default_rng(5)
    of_group = np.asarray(repertoire.factory.space_group)
    return np.array([random.choice(np.flatnonzero(of_group == number)) for number in group])


@pytest.fixture(scope="module")
def made(repertoire, template):
    return on_host(make_many(jax.random.split(jax.random.key(7), len(template)), repertoire.factory, template))


def on_host(made):
    return SimpleNamespace(**{field.name: np.asarray(getattr(made, field.name)) for field in fields(made)})


@pytest.fixture(scope="module")
def num_atoms(repertoire, template):
    return np.asarray(repertoire.factory.num_atoms)[template]


def test_every_group_has_templates(group):
    np.testing.assert_array_equal(np.unique(group), np.arange(1, 231))


def test_crystals_have_exactly_their_group_and_sites(repertoire, made, template, num_atoms, group):
    """By spglib, which is told nothing: number, no smaller cell, and how many atoms are equivalent to each other."""
    table = wyckoff_table()
    for i, number in enumerate(group):
        atoms = slice(num_atoms[i])
        cell = made.direct[i].tolist(), (made.fract[i, atoms] / 2.0**32).tolist(), made.species[i, atoms].tolist()
        found = spglib.get_symmetry_dataset(cell, symprec=1e-3)
        assert found.number == number, (number, template[i])
        assert len(found.rotations) == len(table.operations(int(number))), (number, template[i])
        start = np.asarray(repertoire.factory.start)[template[i]][: repertoire.factory.num_sites[template[i]]]
        expected = np.diff(np.append(start, num_atoms[i]))
        sizes = np.unique(found.crystallographic_orbits, return_counts=True)[1]
        assert sorted(sizes.tolist()) == sorted(expected.tolist())


def test_cells_are_of_the_family_exactly(made, group):
    system = crystal_system_index(group)
    rows = made.direct.astype(float)
    edge = np.sqrt((rows**2).sum(-1))
    is_equal = np.abs(edge - edge[:, :1]) < 4 * 2**-24 * edge
    assert is_equal[system >= 3][:, 1].all()
    assert is_equal[system == 6].all()
    products = rows @ rows.swapaxes(1, 2) / (edge[:, :, None] * edge[:, None])
    right = np.where(np.isin(system, (4, 5))[:, None], [True, True, False], (system >= 2)[:, None])
    right = np.where((system == 1)[:, None], [True, False, True], right)
    cosines = products[:, [1, 0, 0], [2, 2, 1]]
    assert (cosines[right] == 0).all()
    np.testing.assert_allclose(cosines[np.isin(system, (4, 5)), 2], -0.5, rtol=0, atol=4 * 2**-24)
    assert not is_equal[system == 2][:, 1].any()


def test_no_contact_is_too_short(made, num_atoms):
    """Against all images within two cells, in float64."""
    radii = covalent_radii()
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    shortest = []
    for i in np.flatnonzero(num_atoms <= 48):
        fract = made.fract[i, : num_atoms[i]] / 2.0**32
        radius = radii[made.species[i, : num_atoms[i]]]
        apart = (fract[:, None] - fract)[:, :, None] + steps
        distance = np.sqrt(((apart @ made.direct[i].astype(float)) ** 2).sum(-1))
        distance[np.arange(len(fract)), np.arange(len(fract)), len(steps) // 2] = np.inf
        shortest.append((distance.min(-1) / (radius[:, None] + radius)).min())
    assert min(shortest) >= CONTACT
    assert min(shortest) < 1.01 * CONTACT  # so that the law is put to the test


def test_cells_are_within_their_limits(made, num_atoms):
    assert made.fits.all()
    rows = made.direct.astype(float)
    assert (np.linalg.det(rows) <= max_volume(num_atoms) * (1 + 1e-6)).all()
    assert np.sqrt((rows**2).sum(-1)).max() <= MAX_EDGE
    height = 1 / np.sqrt((np.linalg.inv(rows) ** 2).sum(1)).max(-1)
    assert height.min() >= MIN_HEIGHT
    np.testing.assert_allclose(made.reciprocal @ rows.swapaxes(1, 2), np.broadcast_to(np.eye(3), rows.shape), atol=1e-5)


def test_ranks_are_clearly_different_elements(made, num_atoms):
    for i, size in enumerate(num_atoms):
        pairs = {*zip(made.rank[i, :size].tolist(), made.species[i, :size].tolist(), strict=True)}
        number = np.sort([species + 1 for _, species in pairs])
        assert len(pairs) == made.rank[i, :size].max() + 1
        assert (np.diff(number) >= number[:-1] / 8).all()
        assert not made.occupancy[i, size:].any()
        assert made.occupancy[i, :size].all()


def test_crystals_are_a_function_of_key_and_template_alone(repertoire, template, made):
    """Neither of the room there is nor of what is made beside, nor of how attempts are gathered."""
    make = jax.jit(make_crystal, static_argnums=3)
    smallest = np.flatnonzero(np.asarray(repertoire.factory.num_atoms)[template] <= 32)[:3]
    keys = jax.random.split(jax.random.key(7), len(template))
    for i in smallest:
        alone = make(keys[i], repertoire.factory, template[i], 32)
        np.testing.assert_array_equal(alone.fract, made.fract[i, :32])
        np.testing.assert_array_equal(alone.species, made.species[i, :32])
        np.testing.assert_allclose(alone.direct, made.direct[i], rtol=4 * 2**-24)
    other = make(jax.random.key(8), repertoire.factory, template[smallest[0]], 32)
    assert not np.array_equal(other.direct, made.direct[smallest[0]])


def test_nothing_but_the_training_split_is_looked_at(tiny_store):
    table, library = wyckoff_table(), template_library()
    training, others = np.arange(0, len(tiny_store), 2), np.arange(1, len(tiny_store), 2)
    before = crystal_statistics(tiny_store, training, library, table)
    for crystals, is_same in ((others, True), (training, False)):
        changed = CrystalStore(replace(tiny_store.columns, cell=stretched(tiny_store.cell, crystals)))
        after = crystal_statistics(changed, training, library, table)
        for name in ("shape", "fullness", "element_volume", "element_count", "template"):
            same = np.array_equal(getattr(before, name), getattr(after, name))
            assert same or not is_same, name
        assert np.array_equal(before.shape, after.shape) == is_same


def stretched(cell, crystals):
    cell = cell.copy()
    cell[crystals, 2] *= 1.3
    return cell


def test_templates_of_training_crystals_are_as_frequent_as_there(store):
    training = select(store, SelectionConfig()).crystals("train")
    procedural = ProceduralConfig(groups="training", statistics="training")
    repertoire = make_repertoire(store, training, procedural)
    group = np.asarray(repertoire.factory.space_group)[repertoire.entries]
    share = np.bincount(group, minlength=231) / len(group)
    expected = np.bincount(store.space_group[training], minlength=231) / len(training)
    has_template = share > 0
    expected = expected * has_template / expected[has_template].sum()
    np.testing.assert_allclose(share[has_template], expected[has_template], rtol=0.02, atol=2 / len(group))
    assert has_template.sum() > 150
    weight = np.exp(repertoire.factory.element_weight)
    assert weight.argmax() + 1 == 8  # oxygen is in most crystals


def test_balanced_groups_are_equally_likely(repertoire):
    count = np.bincount(np.asarray(repertoire.factory.space_group)[repertoire.entries], minlength=231)[1:]
    assert len(set(count.tolist())) == 1


def test_a_prior_of_ones_own_decides(store, tmp_path):
    training = select(store, SelectionConfig()).crystals("train")[::FEWER]
    path = tmp_path / "prior.csv"
    path.write_text("225,3\n62,1\n1,0\n")
    repertoire = make_repertoire(store, training, ProceduralConfig(groups=str(path)))
    group = np.asarray(repertoire.factory.space_group)[repertoire.entries]
    assert np.unique(group).tolist() == [62, 225]
    assert (group == 225).mean() == 0.75
    for text, complaint in (
        ("231,1\n", "line 1: '231,1'"),
        ("5,-1\n", "0 or more"),
        ("5,0\n", "no group has a weight"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=complaint):
            make_repertoire(store, training, ProceduralConfig(groups=str(path)))
    with pytest.raises(ConfigError, match="expected balanced, training, or a CSV"):
        make_repertoire(store, training, ProceduralConfig(groups="ballanced"))


def test_apportioned_numbers_add_up():
    assert apportion(np.array([1, 1, 1]), 7).tolist() == [3, 2, 2]
    assert apportion(np.array([0, 5, 2]), 7).tolist() == [0, 5, 2]
    assert apportion(np.array([3, 1]), 2).tolist() == [2, 0]


@pytest.mark.long
def test_made_up_crystals_are_crystals_like_others():
    crystals = xrdjax.procedural_crystals(jax.random.key(1), 4, max_atoms=60)
    again = xrdjax.procedural_crystals(jax.random.key(1), 4, max_atoms=60)
    for crystal, same in zip(crystals, again, strict=True):
        np.testing.assert_array_equal(crystal.fract, same.fract)
        assert crystal.num_atoms <= 60
        for site, first in enumerate(crystal.first_atoms):
            atoms = np.flatnonzero(crystal.site == site)
            images = crystal.operations.apply(crystal.fract[first])[crystal.operation[atoms]]
            off = images - crystal.fract[atoms]
            assert np.abs(off - np.round(off)).max() < 1e-8
        rows = direct_basis(crystal.cell)
        numbers = np.unique(crystal.species, return_inverse=True)[1]
        found = spglib.get_symmetry_dataset((rows.tolist(), crystal.fract.tolist(), numbers.tolist()), symprec=1e-3)
        assert found.number == crystal.space_group
        assert len(xrdjax.zone_spots(crystal, (1, 1, 0)).hkl)
