"""A network as a file, and what it says of patterns it is shown, on the command line and from Python."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import xrdjax
from xrdjax.cli import main
from xrdjax.crystals.store import CrystalStore
from xrdjax.errors import ConfigError, ModelError
from xrdjax.evaluation.predict import Model
from xrdjax.learning.checkpoint import Checkpoints
from xrdjax.learning.model_file import ModelCard, load_weights, run_weights, save_weights
from xrdjax.learning.optimizer import build_optimizer
from xrdjax.learning.state import initial_state
from xrdjax.learning.step import empty_tally
from xrdjax.learning.workdir import check_workdir, claim_workdir
from xrdjax.patterns.pictures import render_zone


@pytest.fixture(scope="module")
def run(small_config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("predict") / "run"
    config = replace(small_config, steps=4)
    state = initial_state(config, build_optimizer(config))[1]
    check_workdir(config, workdir)
    claim_workdir(config, CrystalStore.open(small_config.data.store), workdir)
    with Checkpoints(workdir, config) as checkpoints:
        checkpoints.save(4, replace(state, step=jnp.int32(4)), empty_tally(), None)
    return workdir


@pytest.fixture(scope="module")
def model(run):
    return xrdjax.load_model(run)


@pytest.fixture(scope="module")
def images(small_store, model):
    store = CrystalStore.open(small_store)
    crystals = [store.crystal(number) for number in range(0, 60, 10)]
    return [render_zone(crystal, (1, 0, 0), model.config.pattern) for crystal in crystals]


@pytest.fixture
def paths(images, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(np.round(255 * (1 - image)).astype(np.uint8)).save(path)
    return paths


def logits_of(model, images):
    stack = np.stack(images)
    return model.logits(stack, np.zeros((len(stack), 3), np.int32))


@pytest.mark.parametrize(
    ("precision", "bits", "tolerance"), [("float32", 32, 0), ("bfloat16", 16, 0.05), ("int8", 8, 0.05)]
)
def test_a_network_comes_back_from_its_file(model, images, tmp_path, precision, bits, tolerance):
    path = tmp_path / "it.safetensors"
    save_weights(model.weights, path, precision)
    loaded = xrdjax.load_model(path)
    assert loaded.config == model.config
    assert loaded.card.precision == precision
    for head, expected in logits_of(model, images).items():
        error = np.abs(logits_of(loaded, images)[head] - expected).max()
        assert error <= tolerance * np.abs(expected).max()
    with safe_open(path, framework="flax") as file:
        arrays = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118 (not a dict)
    assert {8 * array.dtype.itemsize for array in arrays if array.ndim > 1} == {bits}
    beside = json.loads(path.with_suffix(".json").read_text())
    assert (beside["precision"], beside["config"]["steps"]) == (precision, 4)


def test_quantized_weights_err_by_half_a_step(model, tmp_path):
    save_weights(model.weights, tmp_path / "it.safetensors", "int8")
    loaded = load_weights(tmp_path / "it.safetensors")
    for exact, rounded in zip(*map(jax.tree.leaves, (model.weights.params, loaded.params)), strict=True):
        step = jnp.abs(exact).max(tuple(range(exact.ndim - 1))) / 127 if exact.ndim > 1 else 0
        assert bool((jnp.abs(exact - rounded) <= 0.501 * step).all())


def test_probabilities_are_those_of_the_network(model, images, paths):
    weights = model.weights
    network = nnx.merge(weights.graph, weights.params, weights.statistics)
    predictions = model.predict(paths)
    seen = np.stack([prediction.views[0].image for prediction in predictions])
    logits = network(jnp.asarray(seen)[..., None], jnp.zeros((len(images), 3), jnp.int32))
    for number, prediction in enumerate(predictions):
        assert prediction.likeness == 1
        np.testing.assert_allclose(prediction.space_group, jax.nn.softmax(logits.space_group[number]), rtol=1e-3)
        np.testing.assert_allclose(prediction.crystal_system, jax.nn.softmax(logits.crystal_system[number]), rtol=1e-3)
        assert prediction.top_groups(1)[0][0] in prediction.indistinguishable


def test_a_temperature_divides_the_logits(model, images):
    card = ModelCard(temperatures={"space_group": 2.0, "crystal_system": 1.0})
    warm = Model(weights=replace(model.weights, card=card), name="warm")
    plain, divided = logits_of(model, images), logits_of(warm, images)
    np.testing.assert_allclose(divided["space_group"], plain["space_group"] / 2, rtol=1e-6)
    np.testing.assert_array_equal(divided["crystal_system"], plain["crystal_system"])


def test_together_is_the_normalised_product_in_any_order(model, images):
    single = np.stack([prediction.space_group for prediction in model.predict(images)])
    product = np.exp(np.log(single).mean(0))
    fused = model.predict(images, together=True)
    assert len(fused) == 1
    np.testing.assert_allclose(fused[0].space_group, product / product.sum(), rtol=1e-4)
    again = model.predict(images[::-1], together=True)[0]
    np.testing.assert_allclose(again.space_group, fused[0].space_group, rtol=1e-4)


def test_what_is_no_pattern_gets_equal_probabilities(model):
    noise = np.random.default_rng(0).random((90, 120))
    prediction = model.predict(noise)[0]
    np.testing.assert_allclose(prediction.space_group, 1 / 230)
    np.testing.assert_allclose(prediction.crystal_system, 1 / 7)
    assert "pattern" in prediction.warnings[0]


def test_wrong_models_name_themselves(model, run, tmp_path):
    (tmp_path / "text.safetensors").write_text("no")
    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    arrays = load_file(_saved(model, tmp_path / "good.safetensors"))
    for name, complaint in (
        ("none", "no such model"), ("text.safetensors", "cannot be read"),
        ("other.safetensors", "no network of xrdjax"),
    ):  # fmt: skip
        with pytest.raises(ModelError, match=complaint) as error:
            xrdjax.load_model(tmp_path / name)
        assert name in str(error.value)
    header = json.dumps(
        {"version": 1, "card": {"sources": []}, "config": json.loads((run / "config.json").read_text())}
    )
    save_file(
        {**arrays, "params.space_group.bias": np.zeros(3)}, tmp_path / "cut.safetensors", {"xrdjax-model": header}
    )
    with pytest.raises(ModelError, match=r"params\.space_group\.bias"):
        xrdjax.load_model(tmp_path / "cut.safetensors")
    header = header.replace('"steps"', '"stops"')
    save_file(arrays, tmp_path / "strange.safetensors", {"xrdjax-model": header})
    with pytest.raises(ConfigError, match="stops"):
        xrdjax.load_model(tmp_path / "strange.safetensors")


def _saved(model, path):
    save_weights(model.weights, path)
    return path


def test_the_commands(run, paths, tmp_path, capsys):
    out, sheet = tmp_path / "it.safetensors", tmp_path / "sheet.png"
    main(["export-model", str(run), str(out), "--precision", "int8", "--licence", "CC0-1.0"])
    card = load_weights(out).card
    assert (card.licence, card.steps, card.temperatures) == ("CC0-1.0", 4, None)
    assert "radius_law" in card.recipe
    capsys.readouterr()
    main(["predict", *map(str, paths[:2]), "--model", str(out), "--picture", str(sheet)])
    text = capsys.readouterr().out
    assert text.count("system:") == 2
    assert all(str(path) in text for path in paths[:2])
    assert np.asarray(Image.open(sheet)).std() > 10
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(SystemExit) as stop:
        main(["predict", str(tmp_path / "bad.png"), str(paths[0]), "--model", str(run), "--json"])
    captured = capsys.readouterr()
    assert stop.value.code == 2
    assert captured.err.count("\n") == 1
    assert "bad.png" in captured.err
    answers = json.loads(captured.out)
    assert [answer["name"] for answer in answers] == [str(paths[0])]
    assert len(answers[0]["space_group"]) == 5


def test_the_card_tells_temperatures(run, tmp_path):
    (run / "evaluation").mkdir(exist_ok=True)
    calibration = run / "evaluation" / "calibration.json"
    calibration.write_text('{"space_group": 1.5, "crystal_system": 0.9}')
    assert run_weights(run).card.temperatures == {"space_group": 1.5, "crystal_system": 0.9}
    calibration.unlink()
