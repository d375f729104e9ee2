"""The way from a run directory to its report."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from xrdjax.config import UNSEEN_AXES, SelectionConfig
from xrdjax.crystals.selection import select
from xrdjax.crystals.store import CrystalStore
from xrdjax.errors import ConfigError, WorkdirError
from xrdjax.evaluation.protocols import predict_part, protocol_axes
from xrdjax.evaluation.report import evaluate_run
from xrdjax.learning.run import restore_run
from xrdjax.learning.training import train
from xrdjax.patterns.pictures import render_zone


@pytest.fixture(scope="module")
def run(small_config, tmp_path_factory):
    """A trained run without in-plane rotation, so that its patterns can be drawn again one by one."""
    workdir = tmp_path_factory.mktemp("run")
    train(replace(small_config, augment=replace(small_config.augment, rotation_deg=0)), workdir, jax.devices()[:1])
    return workdir


def test_every_pair_is_asked_once(run, small_store):
    axes = ((1, 0, 0), (1, 1, 1), (1, 2, 0))
    predictions = predict_part(run, axes)
    expected = select(CrystalStore.open(small_store), SelectionConfig()).crystals("test")
    asked = sorted(zip(predictions.crystal.tolist(), map(tuple, predictions.uvw.tolist()), strict=True))
    assert asked == sorted((crystal, axis) for crystal in expected.tolist() for axis in axes)


def test_predictions_are_those_of_single_pictures(run, small_store):
    predictions = predict_part(run, ((1, 0, 0), (1, 1, 1)))
    config, graph, state = restore_run(run)
    model = nnx.merge(graph, state.params, state.statistics)
    store = CrystalStore.open(small_store)
    for number in range(0, len(predictions.crystal), 3):
        crystal = store.crystal(int(predictions.crystal[number]))
        uvw = predictions.uvw[number]
        picture = render_zone(crystal, tuple(uvw.tolist()), config.pattern)
        logits = model(jnp.asarray(picture)[None, :, :, None], jnp.asarray(uvw)[None])
        assert predictions.space_group[number] == crystal.space_group
        np.testing.assert_array_equal(
            predictions.crystal_system_ranks[number], np.argsort(-np.asarray(logits.crystal_system[0]))[:3]
        )


def test_report_says_what_the_predictions_say(run):
    text = evaluate_run(run)
    report = json.loads((run / "evaluation" / "report.json").read_text())
    axes = protocol_axes(restore_run(run)[0])
    assert axes["unseen"] == UNSEEN_AXES
    for name, group in axes.items():
        predictions = predict_part(run, group)
        top1 = (predictions.space_group == predictions.space_group_ranks[:, 0]).mean()
        head = report["protocols"][name]["heads"]["space_group"]
        assert head["patterns"] == len(predictions.crystal)
        assert head["top1"] == pytest.approx(top1)
        assert f"| {name} | space group | {100 * top1:.1f} |" in text
        for kind in ("crystal_system", "space_group"):
            picture = run / "evaluation" / f"confusion_{kind}_{name}.png"
            assert picture.read_bytes().startswith(b"\x89PNG")
    assert (run / "evaluation" / "report.md").read_text() == text


def test_fewer_crystals_and_one_protocol_on_request(run):
    evaluate_run(run, ("unseen",), max_crystals=3)
    report = json.loads((run / "evaluation" / "report.json").read_text())
    assert list(report["protocols"]) == ["unseen"]
    assert report["crystals"] == 3
    assert report["patterns"] == 3 * len(UNSEEN_AXES)


def test_mistakes_are_named(run, tmp_path):
    with pytest.raises(WorkdirError, match=r"holds no config\.json"):
        evaluate_run(tmp_path)
    with pytest.raises(ConfigError, match="protocol 'sideways': expected one of seen, unseen"):
        evaluate_run(run, ("sideways",))
