"""Protocols ask for what they say, the same thing every time."""

from dataclasses import replace

import numpy as np
import pytest

from xrdjax.config import SEEN_AXES, PatternConfig, TrainConfig
from xrdjax.crystals.found_group import found_group
from xrdjax.crystals.selection import select
from xrdjax.crystals.store import CrystalStore
from xrdjax.diffraction.lattice import direct_basis
from xrdjax.evaluation.depletion import AIM, atoms_left, depletable, groups_left, without
from xrdjax.evaluation.protocols import PROTOCOLS, Subjects, make_protocol
from xrdjax.evaluation.stills import tilted_pictures
from xrdjax.patterns.device_store import to_device
from xrdjax.patterns.pictures import render_zone


@pytest.fixture(scope="module")
def subjects():
    """Few crystals of every part of the embedded set."""
    return Subjects(store=CrystalStore.open("open"), config=TrainConfig(), seed=3, most=12)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_same_seed_asks_for_the_same_of_the_right_crystals(subjects, name):
    one, again = make_protocol(name, subjects), make_protocol(name, subjects)
    for field, values in vars(one.requests).items():
        np.testing.assert_array_equal(values, getattr(again.requests, field))
    assert len(one.condition) == len(one.requests) > 0
    assert set(one.condition.tolist()) <= set(range(len(one.conditions)))
    parts = np.array([condition.part for condition in one.conditions])[one.condition]
    selection = select(subjects.store, subjects.config.data)
    for part in set(parts.tolist()):
        assert np.isin(one.requests.crystal[parts == part], selection.crystals(part)).all()
    assert (np.gcd.reduce(one.requests.uvw, axis=1) == 1).all()
    other = make_protocol(name, replace(subjects, seed=4)).requests
    assert not np.array_equal(np.sort(one.requests.crystal), np.sort(other.crystal))


@pytest.mark.parametrize("name", ["strain", "deformation", "substitution", "vacancies", "thermal", "occupancy"])
def test_levels_differ_in_what_is_changed_and_nothing_else(subjects, name):
    protocol = make_protocol(name, subjects)
    changed = {"strain": "deformation", "deformation": "deformation", "substitution": "substituted"}
    changed |= {"vacancies": "removed", "thermal": "u_iso", "occupancy": "thinned"}
    by_place = {}
    for number, condition in enumerate(protocol.conditions):
        own = protocol.requests.select(protocol.condition == number)
        by_place.setdefault((condition.part, condition.axis), []).append((condition.level, own))
    for levels in by_place.values():
        for level, own in levels:
            for field, values in vars(own).items():
                is_same = np.array_equal(values, getattr(levels[0][1], field))
                assert is_same == (field != changed[name] or level == levels[0][0]), field
            if level == 0:
                np.testing.assert_allclose(own.deformation, np.broadcast_to(np.eye(3), (len(own), 3, 3)), atol=1e-7)


def test_fewer_crystals_are_among_more(subjects):
    few, more = (set(replace(subjects, most=most).choose("test").tolist()) for most in (5, 12))
    assert few < more


def test_strain_has_the_stated_size(subjects):
    protocol = make_protocol("deformation", subjects)
    for number, condition in enumerate(protocol.conditions):
        own = protocol.requests.select(protocol.condition == number)
        principal = np.linalg.svd(own.deformation, compute_uv=False) - 1
        np.testing.assert_allclose(np.sqrt((principal**2).mean(-1)), condition.level / 100, rtol=1e-3, atol=1e-6)
        direct = direct_basis(subjects.store.cell[own.crystal]) @ own.deformation
        np.testing.assert_allclose(direct[:, [0, 0, 1], [1, 2, 2]], 0, atol=1e-5)  # the frame of pictures stays
        assert (np.linalg.det(own.deformation) > 0).all()


def test_views_are_the_twenty_axes_of_each_crystal(subjects):
    protocol = make_protocol("views", subjects)
    crystal, uvw = protocol.requests.crystal.reshape(-1, 20), protocol.requests.uvw.reshape(-1, 20, 3)
    assert (crystal == crystal[:, :1]).all()
    assert all(set(map(tuple, axes.tolist())) == set(SEEN_AXES) for axes in uvw)


def test_trained_axes_are_seen_first(subjects):
    config = replace(subjects.config, pattern=replace(subjects.config.pattern, axes=SEEN_AXES[:4]))
    uvw = make_protocol("views", replace(subjects, config=config)).requests.uvw.reshape(-1, 20, 3)
    assert all(set(map(tuple, axes[:4].tolist())) == set(SEEN_AXES[:4]) for axes in uvw)


def test_aims_are_the_groups_that_the_paper_lists():
    assert AIM["bcc"] == (197, 199, 204, 206, 211, 214, 217, 220, 229, 230)
    assert AIM["fcc"] == (196, 202, 203, 209, 210, 216, 219, 225, 226, 227, 228)


@pytest.mark.long
def test_depletion_ends_in_the_lattice_aimed_at(subjects):
    protocol = make_protocol("depletion", replace(subjects, most=4))
    store = to_device(subjects.store)
    left = atoms_left(protocol.requests, store, subjects.seed)
    groups = groups_left(protocol.requests, left, subjects.store)
    for number, condition in enumerate(protocol.conditions):
        own = protocol.condition == number
        assert own.any()
        if condition.level == 100:
            assert (left[own].sum(1) == {"bcc": 2, "fcc": 4}[condition.label]).all()
            assert set(groups[own].tolist()) == {{"bcc": 229, "fcc": 225}[condition.label]}
        if condition.level == 0:
            assert np.mean(groups[own] == subjects.store.space_group[protocol.requests.crystal[own]]) == 1
        if condition.level == 50:
            assert not np.isin(groups[own], AIM[condition.label]).any()


def test_depletable_crystals_hold_the_lattice_aimed_at(subjects):
    """Against atoms compared one by one in floating point."""
    places = {"bcc": [(0, 0, 0), (0.5, 0.5, 0.5)], "fcc": [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]}
    for target, sites in places.items():
        fitting = depletable(subjects.store, target)
        assert fitting.sum() > 50
        for number in np.flatnonzero(fitting)[::40].tolist():
            crystal = subjects.store.crystal(number)
            near = [np.abs((crystal.fract - site + 0.5) % 1 - 0.5).max(1) < 1e-3 for site in sites]
            on_site = np.any(near, axis=0)
            assert on_site.sum() == len(sites)
            assert len({crystal.species[atom] for atom in np.flatnonzero(on_site)}) == 1
            assert found_group(without(crystal, on_site)) == {"bcc": 229, "fcc": 225}[target]


@pytest.mark.long
def test_untilted_stills_are_zone_pictures_and_tilted_ones_are_not(subjects):
    protocol = make_protocol("orientations", replace(subjects, most=1))
    pattern = PatternConfig(height=32, width=32, extent=0.9, wavelength=2.29, radius_law="sqrt")
    ends = np.isin(protocol.condition, (0, 4))
    requests = protocol.requests.select(ends)
    straight, tilted = tilted_pictures(requests, protocol.tilt_deg[ends], subjects.store, pattern)
    zone = render_zone(subjects.store.crystal(int(requests.crystal[0])), (1, 0, 0), pattern)
    np.testing.assert_allclose(straight, zone, atol=1e-3)
    assert 0 < tilted.sum() < 0.9 * straight.sum()
