"""Configurations: files, flags, JSON, ranges."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from xrdjax.config import (
    SEEN_AXES,
    AugmentConfig,
    ModelConfig,
    OptimConfig,
    PatternConfig,
    TrainConfig,
    differences,
    from_json,
    load_config_file,
    parse_run,
    to_json,
    validate,
)
from xrdjax.errors import ConfigError

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_shipped_configurations_survive_json(path):
    config = load_config_file(path)
    assert from_json(to_json(config), "saved") == config


def test_the_papers_axes():
    assert len(set(SEEN_AXES)) == 20
    assert SEEN_AXES[:2] == ((1, 1, 1), (1, 0, 0))


def test_all_faults_are_named_at_once():
    wrong = TrainConfig(batch_size=0, augment=AugmentConfig(vacancies=1.5), optim=OptimConfig(lr=float("inf")))
    with pytest.raises(ConfigError) as caught:
        validate(wrong)
    for field in ("batch_size = 0", "augment.vacancies = 1.5", "optim.lr = inf"):
        assert field in str(caught.value)
    assert "\n" not in str(caught.value)


def test_intervals_are_multiples_of_a_dispatch():
    with pytest.raises(ConfigError, match="log_every = 50: expected a multiple of steps_per_dispatch = 20"):
        validate(TrainConfig(steps=1000, steps_per_dispatch=20, log_every=50))
    with pytest.raises(ConfigError, match="keep_every = 700: expected a multiple of checkpoint_every = 500"):
        validate(TrainConfig(keep_every=700))


def test_parts_that_do_not_fit_each_other():
    config = TrainConfig(
        model=ModelConfig(channels=(8,) * 5, sees_axis=True),
        pattern=PatternConfig(axes=((1, 7, 0),), height=16, width=40),
    )
    with pytest.raises(ConfigError, match=r"pattern\.height = 16: .*at least 32; pattern\.axes = \(1, 7, 0\)"):
        validate(config)


@pytest.mark.parametrize(
    ("axes", "message"), [(((0, 0, 0),), "expected a direction"), (((1, 0, 0), (2, 0, 0)), "twice")]
)
def test_axes_are_different_directions(axes, message):
    with pytest.raises(ConfigError, match=rf"pattern\.axes = .*{message}"):
        validate(TrainConfig(pattern=PatternConfig(axes=axes)))


def test_whole_numbers_become_floats():
    assert isinstance(validate(TrainConfig(augment=AugmentConfig(vacancies=1))).augment.vacancies, float)


def test_unknown_field_in_json_is_refused():
    text = to_json(TrainConfig()).replace('"seed"', '"sede"')
    with pytest.raises(ConfigError, match="sede"):
        from_json(text, "runs/a/config.json")


def test_differences_name_leaf_and_values():
    old = TrainConfig()
    new = replace(old, seed=3, pattern=PatternConfig(height=64))
    assert differences(old, new) == ["seed: 0 → 3", "pattern.height: 128 → 64"]
    assert not differences(old, old)


def test_flags_override_the_file():
    arguments = ["--config", str(ROOT / "configs/demo.py"), "--workdir", "runs/x"]
    arguments += ["--optim.lr", "3e-4", "--data", "mine.safetensors", "--profile", "100:120"]
    config, workdir, profile = parse_run(arguments, "")
    assert profile == range(100, 120)
    assert (config.optim.lr, config.data.store, workdir) == (3e-4, "mine.safetensors", Path("runs/x"))
    assert config.model == load_config_file(ROOT / "configs/demo.py").model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir", "w"], "--config: missing"),
        (["--config", "no.py", "--workdir", "w"], "no.py: no such configuration file"),
        (["--config", str(ROOT / "configs/demo.py")], "--workdir: missing"),
        (
            ["--config", str(ROOT / "configs/demo.py"), "--workdir", "w", "--optim.lrr", "1"],
            "--optim.lrr: no such field; did you mean --optim.lr?",
        ),
        (["--config", str(ROOT / "configs/demo.py"), "--workdir", "w", "--steps", "abc"], "--steps: invalid literal"),
        (
            ["--config", str(ROOT / "configs/demo.py"), "--workdir", "w", "--optim.schedule", "linear"],
            "invalid choice 'linear' for argument '--optim.schedule'. Expected one of ('constant', 'cosine')",
        ),
        (["--config", str(ROOT / "configs/demo.py"), "--workdir", "w", "--optim.lr"], "Missing value for argument"),
        (["--config"], "--config: expected one argument"),
        (
            ["--config", str(ROOT / "configs/demo.py"), "--workdir", "w", "--profile", "7"],
            "--profile 7: expected",
        ),
    ],
)
def test_command_line_mistakes(arguments, message):
    with pytest.raises(ConfigError) as caught:
        parse_run(arguments, "")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1", "expected a function get_config"),
        ("def get_config(): return 5", "expected a function get_config"),
        ("from xrdjax.config import TrainConfig\ndef get_config(): return TrainConfig(stepz=3)", "stepz"),
        ("def get_config(:", "SyntaxError"),
    ],
)
def test_broken_configuration_files(tmp_path, body, message):
    path = tmp_path / "c.py"
    path.write_text(body)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config_file(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train.py", "--config", "configs/demo.py", "--workdir", "/dev/null/run"], "/dev/null/run"),
        pytest.param(
            ["train.py", "--config", "configs/demo.py", "--workdir", "{tmp}", "--data", "{tmp}/no.safetensors"],
            "no.safetensors",
            marks=pytest.mark.long,
        ),
        (["evaluate.py", "--workdir", "{tmp}"], "holds no config.json"),
    ],
)
def test_scripts_tell_mistakes_in_one_line(tmp_path, command, message):
    arguments = [part.format(tmp=tmp_path) for part in command]
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "xrdjax: error:" in line]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr
