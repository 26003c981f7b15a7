"""Scenario files and the like: read with care (`common.document`), refused as the user's mistake."""

from __future__ import annotations

from pathlib import Path

from wsklab.common import document
from wsklab.common.document import Model
from wsklab.orchestrator.errors import UsageError


def load(path: Path, model: type[Model]) -> Model:
    """Read `path` as one YAML document and validate it against `model`.

    Raises UsageError with one line per mistake, each beginning `file:line:`.
    """
    try:
        return document.load(path, model)
    except document.Refused as error:
        raise UsageError(str(error)) from None


def parse(text: str, model: type[Model], name: str) -> Model:
    """Validate YAML `text` against `model`; `name` stands for the file in messages. Raises UsageError."""
    try:
        return document.parse(text, model, name)
    except document.Refused as error:
        raise UsageError(str(error)) from None
