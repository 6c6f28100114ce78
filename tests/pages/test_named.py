"""What takes hours, or data that comes with no clone: scripts, options, configs and settings that pages name exist."""

import re

import pytest
import typer

from policylearn import cli
from policylearn.config import is_study, load_config, load_study

from .blocks import EXPERIMENTS, FOLLOWED, REPOSITORY, commands, fenced, indented, text_of

TO_FILL_IN = ("…", "CONFIG", "RUN", "DIR", "my/study.toml")
"""What marks a command in which a reader puts something of his own, or names a file that he makes first."""


def named_commands(page: str) -> list[list[str]]:
    text = text_of(page)
    blocks = [block for block in [*fenced(text), *indented(text)] if block.language == "bash"]
    inline = re.findall(r"`((?:\.venv/bin/)?(?:python|policylearn) [^`]+)`", text.replace("\n", " "))
    return [words for part in [*(block.text for block in blocks), *inline] for words in commands(part)]


def programs(pages: tuple[str, ...] | list[str]) -> list[tuple[str, list[str]]]:
    found = [(page, words) for page in pages for words in named_commands(page)]
    return [(page, [words[0].removeprefix(".venv/bin/"), *words[1:]]) for page, words in found]


@pytest.mark.parametrize("page", EXPERIMENTS)
def test_the_page_of_an_experiment_says_how_to_run_it(page):
    assert any(words[:1] == ["python"] for _, words in programs([page]))


def test_scripts_that_are_named_can_be_imported(follow, clone):
    files = {words[1] for _, words in programs(EXPERIMENTS) if words[0] == "python"}
    assert len(files) > 15
    steps = [{"kind": "import", "what": file} for file in sorted(files)]
    assert not any(ended := follow(clone, steps)), "\n".join(ended)


def test_options_of_scripts_that_are_named_are_in_their_code():
    for page, words in programs([*FOLLOWED, *EXPERIMENTS]):
        for option in (word for word in words[2:] if words[0] == "python" and word.startswith("--")):
            assert option in text_of(words[1]), f"{page}: {words}"


@pytest.mark.parametrize("page", [*FOLLOWED, *EXPERIMENTS])
def test_commands_of_the_page_are_such_as_policylearn_takes(page, monkeypatch):
    """Options, config files and overrides of each, without running it."""
    monkeypatch.chdir(REPOSITORY)
    group = typer.main.get_command(cli.app)
    for name, *arguments in (words[1:] for _, words in programs([page]) if words[0] == "policylearn"):
        if not arguments or any(mark in " ".join(arguments) for mark in TO_FILL_IN):
            continue
        settings = group.commands[name].make_context(name, list(arguments)).params.get("settings") or []
        path = settings[0] if settings and "=" not in settings[0] else None
        load = load_study if path and is_study(path) else load_config
        load(path, settings[path is not None :])


@pytest.mark.parametrize("page", [*FOLLOWED, *EXPERIMENTS, "configs/SETTINGS.md"])
def test_a_table_that_is_typed_in_a_shell_is_quoted(page):
    """Or it takes {a,b} apart, and quotes away."""
    bare = re.findall(r"(?<![\w'.])[a-z_]+\.[a-z_.]+=\{[^}]*[\",][^}]*\}", text_of(page))
    assert not bare, bare


@pytest.mark.parametrize("page", [*FOLLOWED, *EXPERIMENTS, "CONTRIBUTING.md"])
def test_targets_of_make_that_are_named_exist(page):
    targets = set(re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text_of(page), re.MULTILINE)) <= targets
