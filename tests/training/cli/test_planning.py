"""`orl config`; `orl plan` is tested in tests/training/test_plan.py."""

from __future__ import annotations

from training.config import load_config


def test_config_lists(orl):
    code, text, _ = orl("config")
    assert code == 0
    assert "demo" in text
    assert "all three stages on 1,000 practice scenes" in text
    assert "--stage1.base_lr" in text
    assert "Learning rate at a batch of 512" in text


def test_config_shows_every_value(orl, tmp_path):
    code, text, _ = orl("config", "demo", "--stage1.epochs", 12)
    assert code == 0
    (tmp_path / "shown.yaml").write_text(text)
    assert load_config(tmp_path / "shown.yaml") == load_config("demo", ["--stage1.epochs", "12"])


def test_config_without_a_name_shows_the_papers(orl):
    assert orl("config", "--seed", 3)[1].startswith("seed: 3\n")
