"""YAML that remembers its lines, so that a wrong file is refused with file, line, what is wrong and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from wsklab.orchestrator.errors import UsageError

MAX_BYTES = 256 * 1024
"""A scenario is a page of text; anything larger is refused before it is parsed."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Safe either way; libyaml's reads ten times as fast, and a catalogue has more than a hundred files."""

Model = TypeVar("Model", bound=BaseModel)


def load(path: Path, model: type[Model]) -> Model:
    """Read `path` as one YAML document and validate it against `model`.

    Raises UsageError with one line per mistake, each beginning `file:line:`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"{path}: larger than {MAX_BYTES // 1024} KiB; a scenario is a page of text.")
        text = content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}).") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from None
    return parse(text, model, str(path))


def parse(text: str, model: type[Model], name: str) -> Model:
    """Validate YAML `text` against `model`; `name` stands for the file in messages. Raises UsageError."""
    try:
        for event in yaml.parse(text, Loader=LOADER):
            if isinstance(event, yaml.AliasEvent):  # aliases nested in aliases grow without bound
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise _refused(f"{name}:{line}: aliases (*{event.anchor}) are not allowed; write it out.")
        root = yaml.compose(text, Loader=LOADER)
        if root is None:
            raise _refused(f"{name}:1: the file is empty.")
        for node, key in _duplicate_keys(root):
            raise _refused(f"{name}:{_line(node)}: the key '{key}' stands here twice.")
        data = yaml.load(text, Loader=LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise _refused(f"{name}:{line}: not YAML: {problem}.") from None
    except (RecursionError, ValueError) as error:
        raise _refused(f"{name}:1: not YAML: {error}.") from None
    if not isinstance(data, dict):
        raise _refused(f"{name}:{_line(root)}: expected a mapping of keys at the top.")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _refused(*_explain(name, root, error.errors())) from None


def _refused(*lines: str) -> UsageError:
    """Printable, a line for each thing that is wrong, whatever the file holds."""
    return UsageError("\n".join("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
                                for line in lines))


def _explain(name: str, root: yaml.Node, errors: Iterable[Any]) -> Iterator[str]:
    """Pydantic's errors as `file:line: where: what is wrong and what is allowed.`, a line for each place.

    A value that may be one of several kinds has an error for each kind.
    """
    told: dict[tuple[int, str, str], list[str]] = {}
    for item in errors:
        where, message, shown = list(item["loc"]), str(item["msg"]).removeprefix("Value error, "), ""
        if item["type"] == "unknown_key":
            where.append(item["ctx"]["key"])
        elif item["type"] == "missing":
            message = f"the key '{where.pop()}' is missing"
        node, value, path = _find(root, where)
        if item["type"] == "unknown_key" and path[-1] != item["ctx"]["key"]:
            path.append(item["ctx"]["key"])  # a verb without fields is a scalar: `peer: clsoe`
        if item["type"] not in ("unknown_key", "missing") and isinstance(item["input"], str | int | float):
            # As it is written: YAML reads `yes` as true.
            shown = f", not '{value.value if isinstance(value, yaml.ScalarNode) else item['input']}'"
        place = ".".join(path).replace(".[", "[") + ": " if path else ""
        told.setdefault((_line(node), place, shown), []).append(f"{message[:1].lower()}{message[1:]}")
    for (line, place, shown), messages in told.items():
        first, *more = dict.fromkeys(messages)
        others = "".join(f", or {message.removeprefix('input should be ')}" for message in more)
        yield f"{name}:{line}: {place}{first}{others}{shown}."


def _find(root: yaml.Node, where: list[Any]) -> tuple[yaml.Node, yaml.Node, list[str]]:
    """The deepest node that `where` reaches, its value, and the readable path to it (the last key even when absent).

    What pydantic adds below a scalar, the kind that it was taken for, is left out.
    """
    node, value, path = root, root, list[str]()
    for part in where:
        if isinstance(value, yaml.ScalarNode):
            break
        path.append(f"[{part + 1}]" if isinstance(part, int) else str(part))
        if isinstance(value, yaml.MappingNode):
            below = next(((k, v) for k, v in value.value if k.value == str(part)), None)
            if below is None:
                return node, value, path
            key, value = below
            node = value if isinstance(value, yaml.CollectionNode) and value.value else key
        elif isinstance(value, yaml.SequenceNode) and isinstance(part, int) and part < len(value.value):
            node = value = value.value[part]
    return node, value, path


def _duplicate_keys(node: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    """Keys that stand twice in one mapping; YAML's own loader would silently keep the last."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key, str(key.value)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
            yield from _duplicate_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicate_keys(item)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
