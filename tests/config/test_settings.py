"""The reference of all settings: complete, and the committed page is what the command prints."""

from pathlib import Path

import pytest

from policylearn.config import known_keys
from policylearn.config.masking import RandomRate, RateSchedule
from policylearn.config.reference import find_sections, sections

PAGE = Path(__file__).parents[2] / "configs" / "SETTINGS.md"


def test_the_page_is_what_the_command_prints(policylearn):
    status, out, _ = policylearn("settings", "--markdown")
    assert status == 0
    assert out == PAGE.read_text(encoding="utf-8"), "policylearn settings --markdown > configs/SETTINGS.md"


def test_every_key_is_there_once_and_described():
    keys = [setting.key for section in sections() for setting in section.settings if section.name != "study"]
    assert set(known_keys()) <= set(keys)
    once = [key for key in keys if not key.endswith(".rate.kind")]  # which says what table it is
    assert len(once) == len(set(once))
    assert [s.key for section in sections() for s in section.settings if not s.about or not s.kind] == []


def test_a_section_is_shown_with_those_inside(policylearn):
    status, out, _ = policylearn("settings", "evaluate")
    assert status == 0
    for word in ("evaluate.seeds", "evaluate.finetune.epochs", "evaluate.custom.NAME.prior", "paired seeds"):
        assert word in out
    assert "inner.engine" not in out
    assert "[MASK]" in policylearn("settings", "masking")[1]  # and no markup


def test_a_key_is_shown_alone(policylearn):
    out = policylearn("settings", "masking.rate")[1]
    assert "masking.rate" in out and "share of eligible tokens masked" in out and "masking.unit" not in out
    assert [section.name for section in find_sections("name")] == ["top", "study"]


@pytest.mark.parametrize("rate", ["masking.rate", "pretrain.rate"])
def test_keys_of_a_table_that_a_setting_may_be_are_shown(policylearn, rate):
    page = policylearn("settings", rate, "--markdown")[1]
    for name in (*RateSchedule.model_fields, *RandomRate.model_fields):
        assert f"| `{rate}.{name}` |" in page
    assert (
        "cosine" in policylearn("settings", f"{rate}.kind")[1] and "beta" in policylearn("settings", f"{rate}.kind")[1]
    )


def test_a_section_that_is_not_there():
    with pytest.raises(ValueError, match=r"no section or key 'maskin'; did you mean 'masking'\? there are .*masking"):
        find_sections("maskin")
