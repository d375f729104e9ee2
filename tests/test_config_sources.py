"""Where configurations come from: files, flags, JSON."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from xrdjax.config import PatternConfig, TrainConfig
from xrdjax.config_sources import differences, from_json, load_config_file, parse_run, to_json
from xrdjax.errors import ConfigError

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_shipped_configurations_survive_json(path):
    config = load_config_file(path)
    assert from_json(to_json(config), "saved") == config


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
