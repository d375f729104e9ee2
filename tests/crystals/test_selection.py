"""What a selection leaves in and out, and that no filter moves a crystal from one part to another."""

from dataclasses import replace

import numpy as np
import pytest

from xrdjax.config import DataConfig, SelectionConfig
from xrdjax.crystals.columns import ColumnsBuilder
from xrdjax.crystals.describe import list_parts
from xrdjax.crystals.selection import NO_PART, select, select_crystals
from xrdjax.crystals.species import element_of
from xrdjax.crystals.store import CrystalStore
from xrdjax.errors import ConfigError


@pytest.fixture(scope="module")
def embedded():
    return CrystalStore.open("open")


@pytest.mark.parametrize("split", ["random", "type"])
def test_embedded_splits_are_70_20_10(embedded, split):
    selection = select(embedded, SelectionConfig(split=split))
    share = np.bincount(selection.part[selection.part != NO_PART], minlength=3) / len(selection)
    np.testing.assert_allclose(share, [0.7, 0.2, 0.1], atol=0.005)
    assert sum(len(selection.crystals(part)) for part in ("train", "validation", "test")) == len(selection)


def test_embedded_types_stand_in_one_part_each(embedded):
    part = select(embedded, SelectionConfig(split="type", duplicates=True)).part
    pairs = np.unique(np.stack([embedded.structure_type, part.astype(np.uint64)]), axis=1)
    assert pairs.shape[1] == len(np.unique(embedded.structure_type))


@pytest.mark.parametrize("split", ["random", "type"])
@pytest.mark.parametrize(
    "filters",
    [{"max_atoms": 40}, {"without_elements": ("O",)}, {"cap": 30}, {"min_members": 200}, {"duplicates": True}],
)
def test_no_filter_moves_a_crystal_to_another_part(embedded, split, filters):
    whole = select(embedded, SelectionConfig(split=split)).part
    fewer = select(embedded, SelectionConfig(split=split, **filters)).part
    both = (whole != NO_PART) & (fewer != NO_PART)
    assert both.sum() > 1000
    np.testing.assert_array_equal(whole[both], fewer[both])


def test_seed_decides(embedded):
    parts = [select(embedded, SelectionConfig(split_seed=seed)).part for seed in (0, 0, 1)]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert (parts[0] != parts[2]).mean() > 0.3


def test_cap_takes_the_same_share_of_each_part(embedded):
    selection = select(embedded, SelectionConfig(cap=50))
    group = embedded.space_group
    size = np.bincount(group[selection.part != NO_PART], minlength=231)[1:]
    before = np.bincount(group[select(embedded, SelectionConfig()).part != NO_PART], minlength=231)[1:]
    np.testing.assert_array_equal(size, np.minimum(before, 50))
    capped = np.flatnonzero(before > 50) + 1
    for part, share in (("train", 35), ("validation", 10), ("test", 5)):
        count = np.bincount(group[selection.crystals(part)], minlength=231)[capped]
        assert np.abs(count - share).max() <= 1


def test_elements_sizes_and_small_groups_are_left_out(embedded):
    config = SelectionConfig(elements=("O", "Si", "Al"), without_elements=("Al",), max_atoms=30, min_members=3)
    selection = select(embedded, config)
    crystals = np.flatnonzero(selection.part != NO_PART)
    assert len(crystals) > 20
    for number in crystals:
        assert set(map(element_of, embedded.crystal(number).species)) <= {"O", "Si"}
    assert embedded.num_atoms[crystals].max() <= 30
    assert np.bincount(embedded.space_group[crystals])[1:].max() >= 3
    assert min(n for n in np.bincount(embedded.space_group[crystals]) if n) >= 3
    assert sum(selection.left_out.values()) + len(crystals) == len(embedded)
    assert set(selection.left_out) == {"duplicates", "elements", "too many atoms", "group too small"} - (
        {"duplicates"} if (embedded.duplicate_of == np.arange(len(embedded))).all() else set()
    )


def test_a_users_own_list_decides(embedded, tmp_path):
    names = [embedded.names(i) for i in (5, 6, 7)]
    path = tmp_path / "mine.csv"
    path.write_text(f"name,part\n{names[0]},test\n{names[1]},train\n{names[2]},validation\n")
    selection = select(embedded, SelectionConfig(split=str(path)))
    assert [selection.crystals(part).tolist() for part in ("test", "train", "validation")] == [[5], [6], [7]]
    assert list_parts(embedded, SelectionConfig(split=str(path))) == (
        f"name,part\n{names[0]},test\n{names[1]},train\n{names[2]},validation"
    )


def test_what_info_lists_is_a_list_that_gives_the_same_parts(small_store, tmp_path):
    store, config = CrystalStore.open(small_store), SelectionConfig(split_seed=4)
    (tmp_path / "list.csv").write_text(list_parts(store, config))
    again = select(store, SelectionConfig(split=str(tmp_path / "list.csv"), split_seed=9))
    np.testing.assert_array_equal(again.part, select(store, config).part)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name,part\nnobody,train\n", r"line 2: no crystal 'nobody' in the store"),
        ("{0},learn\n", r"line 1: '.*,learn'; expected name,part with part train, validation, test"),
        ("{0}\n", "expected name,part"),
        ("{0},train\n\n{0},test\n", "line 3: '.*' is listed twice"),
    ],
)
def test_a_faulty_list_is_refused_by_line(small_store, tmp_path, text, complaint):
    store = CrystalStore.open(small_store)
    path = tmp_path / "mine.csv"
    path.write_text(text.format(store.names(0)))
    with pytest.raises(ConfigError, match=complaint):
        select(store, SelectionConfig(split=str(path)))


def test_unknown_words_are_refused(small_store):
    store = CrystalStore.open(small_store)
    with pytest.raises(ConfigError, match=r"data.split = 'randon': expected random, type, or the path"):
        select(store, SelectionConfig(split="randon"))
    with pytest.raises(ConfigError, match=r"data.elements = \('Xx',\).*expected symbols such as Fe"):
        select(store, SelectionConfig(elements=("Xx",)))
    with pytest.raises(ConfigError, match=r"no crystal in the part 'test'.*too many atoms: 60"):
        select_crystals(store, DataConfig(store="small", max_atoms=1, elements=()), "test")
    with pytest.raises(ConfigError, match="opened with label 'declared'"):
        select(store, SelectionConfig(label="found"))


def relabelled(store: CrystalStore, label: str) -> CrystalStore:
    """Return a few crystals of which the first was found to have group 1, and the second was not searched."""
    builder = ColumnsBuilder()
    for number in range(4):
        crystal = store.crystal(number)
        builder.add(crystal, found_group=(1, 0, crystal.space_group, crystal.space_group)[number])
    return CrystalStore(builder.build(), label=label)


def test_found_group_can_be_the_label(small_store):
    store = CrystalStore.open(small_store)
    stated = store.space_group[:4].tolist()
    assert relabelled(store, "declared").space_group.tolist() == stated
    assert relabelled(store, "found").space_group.tolist() == [1, *stated[1:]]
    assert relabelled(store, "found").crystal(0).space_group == 1
    agreed = select(relabelled(store, "agreed"), SelectionConfig(label="agreed"))
    assert agreed.left_out == {"found group differs": 1}
    assert agreed.part[0] == NO_PART


def test_a_duplicate_goes_with_what_it_repeats(small_store):
    store = CrystalStore.open(small_store)
    builder = ColumnsBuilder()
    for repeat in range(2):
        for number in range(len(store)):
            crystal = store.crystal(number)
            builder.add(replace(crystal, name=f"{crystal.name} {repeat}"))
    twice = CrystalStore(builder.build(), duplicate_of=np.tile(np.arange(len(store)), 2))
    part = select(twice, SelectionConfig(duplicates=True)).part
    np.testing.assert_array_equal(part[: len(store)], part[len(store) :])
    assert select(twice, SelectionConfig()).left_out == {"duplicates": len(store)}
