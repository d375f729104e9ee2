"""The way from a run directory to its report."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from xrdjax.config import UNSEEN_AXES, SelectionConfig
from xrdjax.crystals.selection import select
from xrdjax.errors import ConfigError, WorkdirError
from xrdjax.evaluation import answers, protocols, report
from xrdjax.evaluation.answers import answer, fuse_features, load_network
from xrdjax.evaluation.compare import compare_runs
from xrdjax.evaluation.protocols import PROTOCOLS
from xrdjax.evaluation.report import evaluate_run
from xrdjax.evaluation.results import fuse
from xrdjax.learning.training import train
from xrdjax.patterns import planning
from xrdjax.patterns.pictures import render_zone

pytestmark = pytest.mark.long
SHOWN = ("seen", "unseen", "orientations", "deformation", "thermal", "views")


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """One bucket and few slots: less to compile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "NUM_BUCKETS", 1)
        patch.setattr(answers, "BATCH", 8)
        yield


@pytest.fixture(scope="module")
def run(small_config, tmp_path_factory):
    """A trained run without in-plane rotation, so that its patterns can be drawn again one by one."""
    workdir = tmp_path_factory.mktemp("run")
    train(replace(small_config, augment=replace(small_config.augment, rotation_deg=0)), workdir, jax.devices()[:1])
    return workdir


@pytest.fixture(scope="module")
def network(run):
    return load_network(run)


@pytest.fixture(scope="module")
def evaluated(run):
    """Return the text and the report of an evaluation, what was asked, what was kept of the answers, and these."""
    heard = []

    def listening(network, requests, keeps, *rest):
        heard.append((requests, keeps, answer(network, requests, keeps, *rest)))
        return heard[-1][2]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "answer", listening)
        patch.setattr(protocols, "TILTED", 1)
        text = evaluate_run(run, SHOWN, devices=jax.devices()[:1])
    return text, json.loads((run / "evaluation" / "report.json").read_text()), *heard[0]


def test_answers_do_not_depend_on_the_number_of_devices(network, evaluated):
    _, _, requests, keeps, said = evaluated
    on_four = answer(network, requests, keeps, 0, jax.devices()[:4])
    for name, values in vars(said).items():
        np.testing.assert_array_equal(values, getattr(on_four, name), err_msg=name)


def test_answers_are_those_of_single_pictures(network, evaluated):
    _, _, requests, _, said = evaluated
    model = nnx.merge(network.graph, network.params, network.statistics)
    is_plain = (requests.u_iso == 0) & (requests.deformation == np.eye(3)).all((1, 2))
    for number in np.flatnonzero(is_plain)[::60]:
        uvw = requests.uvw[number]
        crystal = network.crystals.crystal(int(requests.crystal[number]))
        picture = render_zone(crystal, tuple(uvw.tolist()), network.config.pattern)
        logits = model(jnp.asarray(picture)[None, :, :, None], jnp.asarray(uvw)[None])
        np.testing.assert_array_equal(said.system_ranks[number], np.argsort(-np.asarray(logits.crystal_system[0]))[:3])


def test_report_says_what_the_answers_say(run, network, evaluated):
    text, told, requests, _, said = evaluated
    assert list(told["protocols"]) == list(SHOWN)
    held_out = select(network.crystals, SelectionConfig()).crystals("test").tolist()
    start = 0
    for name, axes in (("seen", ((1, 0, 0), (1, 1, 1))), ("unseen", UNSEEN_AXES)):
        own = slice(start, start + len(held_out) * len(axes))
        start = own.stop
        crystal, uvw = requests.crystal[own], requests.uvw[own]
        asked = [*zip(crystal.tolist(), map(tuple, uvw.tolist()), strict=True)]
        assert sorted(asked) == sorted((crystal, axis) for crystal in held_out for axis in axes)
        head = told["protocols"][name]["heads"]["space_group"]
        assert head["patterns"] == len(asked)
        assert head["top1"] == pytest.approx((said.group_ranks[own, 0] == network.crystals.space_group[crystal]).mean())
        assert head["interval"][0] <= head["top1"] <= head["interval"][1]
        assert head["top1"] <= min(head["zone_class"], head["friedel_class"])
        assert f"| {name} | space group | {100 * head['top1']:.1f} |" in text
    temperatures = json.loads((run / "evaluation" / "calibration.json").read_text())
    assert set(temperatures) == {"space_group", "crystal_system"}
    assert min(temperatures.values()) > 0


class Page(HTMLParser):
    """Collects what a page opens, closes and refers to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.names, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.names += [named["id"]] if "id" in named else []
        self.links += [value for name, value in attributes if name in ("href", "src", "xlink:href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_whole_and_needs_nothing_else(run, evaluated):
    folder = run / "evaluation"
    page = Page((folder / "report.html").read_text())
    assert not page.open
    assert len(set(page.names)) == len(page.names)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.names)
    assert {picture.name for picture in folder.glob("*.png")} == {
        line.split("(")[1].rstrip(")") for line in (folder / "report.md").read_text().splitlines() if line[:2] == "!["
    }
    assert list((folder / "tensorboard").iterdir())


def test_views_are_fused_by_their_mean_log_probability():
    scores = np.random.default_rng(0).normal(size=(4, 5, 9))
    ranks = fuse(scores)
    for crystal in range(4):
        for views in range(1, 6):
            best = np.argsort(-scores[crystal, :views].mean(0))[:3]
            np.testing.assert_array_equal(ranks[crystal, views - 1], best)


def test_network_of_several_views_fuses_them_itself(network):
    """One view after the other, each crystal's answers together, as the network says when it sees no more."""
    features = np.random.default_rng(1).normal(size=(3, 2, 16)).astype(np.float32)
    fused = fuse_features(network, features)
    model = nnx.merge(network.graph, network.params, network.statistics)
    for crystal in range(3):
        for seen in (1, 2):
            logits = model.classify(jnp.asarray(features[crystal : crystal + 1, :seen]), jnp.array([seen]))
            best = np.argsort(-np.asarray(logits.crystal_system[0]))[:3]
            np.testing.assert_array_equal(fused.system_ranks[2 * crystal + seen - 1], best)


def test_comparison_shows_every_run(run, evaluated, tmp_path):
    other = tmp_path / "other"
    (other / "evaluation").mkdir(parents=True)
    (other / "evaluation" / "report.json").write_bytes((run / "evaluation" / "report.json").read_bytes())
    text = compare_runs((run, other), tmp_path / "out")
    top1 = f"{100 * evaluated[1]['protocols']['seen']['heads']['space_group']['top1']:.1f}"
    row = next(line for line in text.splitlines() if line.startswith("| seen: all axes") and f" {top1} (" in line)
    assert row.count(f" {top1} (") == 2
    assert not Page((tmp_path / "out" / "compared.html").read_text()).open
    with pytest.raises(WorkdirError, match=r"report\.json: no such file; run `python evaluate\.py"):
        compare_runs((run, tmp_path), tmp_path / "out")


def test_mistakes_are_named(run, tmp_path):
    with pytest.raises(WorkdirError, match=r"holds no config\.json"):
        evaluate_run(tmp_path)
    with pytest.raises(ConfigError, match="protocol 'sideways': expected one of all, seen, unseen"):
        evaluate_run(run, ("sideways",))
    with pytest.raises(ConfigError, match="protocol 'substitution': no crystal"):
        evaluate_run(run, ("substitution",))


def test_every_protocol_is_known_to_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    assert all(f"`{name}`" in text for name in PROTOCOLS)
