"""The files of docs/ci.md: they are whole, and what they call is there."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from wsklab.orchestrator.commands import cli
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import UsageError

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
FILES = [text for kind, text in BLOCKS if kind in ("yaml", "groovy")]
CALLS = sorted(set(re.findall(r"wsklab ((?:run|image build) ?[^'\n\"`|]*)", TEXT)))


def test_there_is_a_file_for_each_server_and_each_is_yaml_that_asks_for_the_same() -> None:
    documents = [yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml"]
    assert [next(iter(set(document) & {"jobs", "wsklab"})) for document in documents] == ["jobs", "wsklab", "jobs"]
    assert len(FILES) == 4
    for text in FILES:
        assert "wsklab image build peer standin" in text and "wsklab run --jobs auto --out wsklab-results" in text
        assert "registry.example.com/wsklab:0.1.0" in text


@pytest.mark.parametrize("call", CALLS)
def test_what_is_called_is_there(call: str) -> None:
    words = shlex.split(call)
    command: click.Command = main
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, call
        command = found
    parsed = command.make_parser(click.Context(command)).parse_args(list(words))
    assert parsed[0] is not None


def test_the_container_has_what_the_lab_needs_of_a_host() -> None:
    recipe = (ROOT / ".ci" / "Containerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (\S+) ", recipe, re.MULTILINE)
    assert all((ROOT / path).exists() for path in copied)
    assert "awk -F'\\t' '$2 == \"run\"" in recipe
    assert "requirements.lock" in recipe and "WSKLAB_CACHE=/cache" in recipe
    assert "ENTRYPOINT" not in recipe, "jobs of Azure and GitLab start a shell"


def test_help_is_there_where_one_command_lacks_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def imported(name: str) -> object:
        if name.endswith(".mutate"):
            raise UsageError("mutations need tree-sitter")
        return import_module(name)

    monkeypatch.setattr(cli, "import_module", imported)
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0 and re.search(r"mutate +\(not installed\)", shown.output), shown.output
    refused = CliRunner().invoke(main, ["mutate", "--operator", "x"])
    assert str(refused.exception) == "mutations need tree-sitter"
