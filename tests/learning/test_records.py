"""What a run records, as TensorBoard itself serves it."""

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace

import jax
import pytest

from xrdjax.learning import training


@pytest.fixture(scope="module")
def runs(small_config, tmp_path_factory):
    """A directory with one run, a few steps of which were profiled."""
    logdir = tmp_path_factory.mktemp("runs")
    config = replace(small_config, steps=4)
    training.train(config, logdir / "first", jax.devices()[:1], profile=range(2, 4))
    return logdir


@pytest.fixture(scope="module")
def ask(runs):
    """A TensorBoard server: `ask(path, **query)` returns what it answers."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--port", "0", "--load_fast", "false"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    address = next(match[0] for line in server.stderr if (match := re.search(r"http://localhost:\d+", line)))

    def answer(path, body=None, **query):
        url = f"{address}/data/plugin/{path}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read()

    deadline = time.monotonic() + 120
    while not json.loads(answer("scalars/tags")):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    yield answer
    server.terminate()
    server.wait()


RUN = "first/tensorboard"


def test_scalars_are_those_of_the_text_record(ask, runs):
    lines = [json.loads(line) for line in (runs / "first" / "metrics.jsonl").read_text().splitlines()]
    recorded = {
        (name, line["step"]): value for line in lines for name, value in line.items() if name not in ("step", "time")
    }
    tags = json.loads(ask("scalars/tags"))[RUN]
    assert set(tags) == {name for name, _ in recorded}
    for tag in tags:
        for _, step, value in json.loads(ask("scalars/scalars", run=RUN, tag=tag)):
            assert value == pytest.approx(recorded[tag, step], rel=1e-6)
    heads = ("space_group", "crystal_system")
    assert {f"{part}/{name}/{head}" for part in ("train", "validation") for name in ("loss", "accuracy", "top3")
            for head in heads} <= set(tags)  # fmt: skip
    assert {"train/gradient_norm", "train/parameter_norm", "lr", "patterns_per_second", "step_seconds"} <= set(tags)
    assert any(tag.startswith("validation_by_system/") for tag in tags)
    assert any(tag.startswith("validation_by_group/") for tag in tags)


def test_pictures(ask):
    tags = json.loads(ask("images/tags"))[RUN]
    names = ("patterns", "confusion_crystal_system", "confusion_space_group")
    assert set(tags) == {f"validation/{name}" for name in names}
    for tag in tags:
        (shown,) = json.loads(ask("images/images", run=RUN, tag=tag, sample=0))
        picture = ask(f"images/individualImage?{shown['query']}")
        assert picture.startswith(b"\x89PNG")


def test_histograms_of_all_parameters(ask):
    tags = json.loads(ask("histograms/tags"))[RUN]
    assert "parameters/space_group.kernel" in tags
    ((_, step, bins),) = json.loads(ask("histograms/histograms", run=RUN, tag="parameters/space_group.kernel"))
    assert step == 4
    assert sum(count for _, _, count in bins) == 16 * 230


def test_runs_compare_by_their_hyperparameters(ask):
    experiment = json.loads(ask("hparams/experiment", body={"experimentName": ""}))
    assert {"optim.lr", "pattern.height", "model.channels"} <= {info["name"] for info in experiment["hparamInfos"]}
    assert "validation/loss" in {info["name"]["tag"] for info in experiment["metricInfos"]}
    question = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
        "colParams": [
            {"hparam": "optim.lr", "includeInResult": True},
            {"metric": {"group": "", "tag": "validation/loss"}, "includeInResult": True},
        ],
        "startIndex": 0,
        "sliceSize": 10,
    }
    (group,) = json.loads(ask("hparams/session_groups", body=question))["sessionGroups"]
    assert group["hparams"]["optim.lr"] == 3e-3
    assert group["metricValues"][0]["trainingStep"] == 4


def test_profiled_steps_leave_a_trace(runs):
    (trace,) = (runs / "first" / "tensorboard" / "plugins" / "profile").rglob("*.xplane.pb")
    assert trace.stat().st_size > 1000
