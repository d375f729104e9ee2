"""The networks that come with the package: small, described, and as good on held-out crystals as their cards say."""

from importlib import resources

import numpy as np
import pytest

import xrdjax
from xrdjax.cli import main
from xrdjax.crystals.selection import open_selected, select_crystals
from xrdjax.crystals.symmetry import crystal_system_index
from xrdjax.evaluation.predict import RELEASED
from xrdjax.patterns.pictures import render_zones

MIB = 2**20
SAMPLE = 300


@pytest.fixture(scope="module", params=RELEASED)
def model(request):
    return xrdjax.load_model(request.param)


def test_weights_are_small_and_described(model):
    path = resources.files("xrdjax") / "weights" / f"{model.name}.safetensors"
    assert len(path.read_bytes()) < 16 * MIB
    card = model.card
    assert card.precision == "bfloat16"
    assert card.licence == "CC-BY-4.0"
    assert "Materials Project" in " ".join(card.sources)
    assert card.steps == model.config.steps
    assert card.temperatures.keys() == {"crystal_system", "space_group"}
    assert not model.config.model.sees_axis
    assert "/" not in model.config.data.store


def test_predict_asks_them_where_no_model_is_named(tmp_path, capsys):
    crystal = xrdjax.read_cif("tests/data/cifs/CaF2_ions.cif")
    for number, axis in enumerate(((1, 0, 0), (1, 1, 1))):
        spots = xrdjax.zone_spots(crystal, axis, wavelength=2.2897)
        rows = np.column_stack([spots.xy, spots.intensity])
        np.savetxt(tmp_path / f"{number}.csv", rows, delimiter=",", header="x,y,intensity", comments="")
    files = [str(tmp_path / f"{number}.csv") for number in range(2)]
    main(["predict", *files])
    assert capsys.readouterr().out.count("system: ") == 2
    main(["predict", *files, "--together"])
    assert capsys.readouterr().out.count("system: cubic") == 1


@pytest.mark.long
def test_accuracy_is_what_the_card_says(model):
    """300 fixed crystals that neither network was trained on, each along as many axes as the network sees together."""
    config = model.config
    store = open_selected(config.data)
    held_out = select_crystals(store, config.data, "test")
    views = config.views
    chosen = np.random.default_rng(1).choice(held_out, SAMPLE // views, replace=False)
    order = np.random.default_rng(2)
    images = [
        image
        for number in chosen
        for image in render_zones(
            store.crystal(int(number)),
            [config.pattern.axes[k] for k in order.permutation(len(config.pattern.axes))[:views]],
            config.pattern,
        )
    ]
    group = store.space_group[chosen].astype(int)
    truth = {"space_group": group - 1, "crystal_system": np.asarray(crystal_system_index(group))}
    logits = model.logits(np.stack(images), np.zeros((len(images), 3), np.int32), views=views)
    stated = model.card.accuracy["seen" if views == 1 else f"{views} views"]
    for head, right in truth.items():
        share = float((logits[head].argmax(1) == right).mean())
        chance = stated[head] / 100
        assert abs(share - chance) < 3 * np.sqrt(chance * (1 - chance) / len(right)), (head, share, chance)
