"""YAML that remembers its lines, so that a wrong file is refused with file, line, what is wrong and what is allowed.

What is read is plain data: text, numbers, lists and mappings with text as keys. Everything in YAML beyond that is
refused before it is built: aliases grow without bound, tags make other things than they look like, deep nesting and
endless numbers are no page that anybody has written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from wsklab.common import files
from wsklab.common.text import quoted, visible

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Safe either way; libyaml's reads ten times as fast, and a catalogue has more than a hundred files."""

DEEPEST = 32
"""Levels of lists and mappings; a scenario has eight."""

LONGEST_NUMBER = 40
"""Characters of a number."""

MOST_PROBLEMS = 20
"""Mistakes that are told of one file."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = {"str", "null", "bool", "int", "float"}

Model = TypeVar("Model", bound=BaseModel)


class Refused(ValueError):
    """A file that is not what it has to be: a line for each mistake, each beginning `file:line:`."""


def load(path: Path, model: type[Model], changes: Mapping[str, object] | None = None) -> Model:
    """Read `path` as one YAML document and validate it against `model`.

    `changes` replace what the file says at its top. Raises Refused.
    """
    try:
        text = files.read_text(path, files.TEXT)
    except OSError as error:
        raise _refused(f"{path}: cannot be read: {files.why(error)}.") from None
    return parse(text, model, str(path), changes)


def parse(text: str, model: type[Model], name: str, changes: Mapping[str, object] | None = None) -> Model:
    """Validate YAML `text` against `model`; `name` stands for the file in messages. Raises Refused."""
    root, data = _plain(text, name)
    if not isinstance(data, dict):
        raise _refused(f"{name}:{_line(root)}: expected a mapping of keys and values at the top.")
    try:
        return model.model_validate({**data, **(changes or {})})
    except ValidationError as error:
        problems = list(_explain(name, root, error.errors()))
        more = len(problems) - MOST_PROBLEMS
        raise _refused(*problems[:MOST_PROBLEMS], *([f"{name}: and {more} more."] if more > 0 else [])) from None


def _plain(text: str, name: str) -> tuple[yaml.Node, Any]:
    """Return the document as nodes and as data. Raises Refused for what is not plain data."""
    try:
        depth = 0
        for event in yaml.parse(text, Loader=LOADER):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent):
                raise _refused(f"{name}:{line}: aliases (*{quoted(event.anchor)}) are not allowed; write it out.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise _refused(f"{name}:{line}: nested more than {DEEPEST} levels deep.")
        loader = LOADER(text)
        try:
            root = loader.get_single_node()
            if root is None:
                raise _refused(f"{name}:1: the file is empty.")
            for node, problem in _odd(root, loader):
                raise _refused(f"{name}:{_line(node)}: {problem}.")
            return root, loader.construct_document(root)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
        line = mark.line + 1 if mark else 1 + text.count("\n", 0, getattr(error, "position", None) or 0)
        raise _refused(f"{name}:{line}: not YAML: {problem}.") from None


def _odd(node: yaml.Node, loader: Any) -> Iterator[tuple[yaml.Node, str]]:
    """Return what is no plain data, or stands twice: YAML's loader would silently keep the last of two equal keys."""
    kind = str(node.tag).removeprefix(_TAG)
    if isinstance(node, yaml.ScalarNode):
        if kind == "timestamp":
            node.tag = f"{_TAG}str"  # as it is written
        elif kind not in _PLAIN:
            yield node, f"'{quoted(node.value)}' is YAML's '{quoted(kind)}', which is not allowed; put it in quotes"
        elif problem := _odd_value(node, kind, loader):
            yield node, problem
    elif kind != ("map" if isinstance(node, yaml.MappingNode) else "seq"):
        yield node, f"the tag '{quoted(node.tag)}' is not allowed"
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                yield key, "a key must be plain text, not a list or a mapping"
            elif key.value in seen:
                yield key, f"the key '{quoted(key.value)}' stands here twice"
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
            yield from _odd(key, loader)
            yield from _odd(value, loader)
    else:
        for item in node.value:
            yield from _odd(item, loader)


def _odd_value(node: yaml.ScalarNode, kind: str, loader: Any) -> str | None:
    if kind in ("int", "float") and len(node.value) > LONGEST_NUMBER:
        return f"a number of {len(node.value)} characters"
    if kind == "str" and (hidden := next((c for c in node.value if c not in "\t\n" and _control(c)), None)):
        return f"a text with the control character {visible(hidden)}"
    try:
        value = loader.construct_object(node)
    except (ValueError, LookupError, ArithmeticError):
        return f"'{quoted(node.value)}' cannot be read as {kind}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"'{quoted(node.value)}' is no finite number"
    return None


def _control(character: str) -> bool:
    """C0, DEL, C1, and surrogates, which no encoding takes."""
    return character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff"


def _refused(*lines: str) -> Refused:
    """Printable, a line for each thing that is wrong, whatever the file holds."""
    return Refused(
        "\n".join(
            "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line) for line in lines
        )
    )


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
        node, value, path = _find(root, [*where, *item.get("ctx", {}).get("where", ())])
        if item["type"] == "unknown_key" and path[-1] != item["ctx"]["key"]:
            path.append(item["ctx"]["key"])  # a verb without fields is a scalar: `peer: clsoe`
        if item["type"] not in ("unknown_key", "missing") and isinstance(item["input"], str | int | float):
            # As it is written: YAML reads `yes` as true.
            shown = f", not '{quoted(value.value if isinstance(value, yaml.ScalarNode) else item['input'])}'"
        place = ".".join(quoted(part, 80) for part in path).replace(".[", "[") + ": " if path else ""
        told.setdefault((_line(node), place, shown), []).append(f"{message[:1].lower()}{message[1:]}")
    for (line, place, shown), messages in told.items():
        first, *more = dict.fromkeys(messages)
        others = "".join(f", or {message.removeprefix('input should be ')}" for message in more)
        yield f"{name}:{line}: {place}{first}{others}{shown}."


def _find(root: yaml.Node, where: list[Any]) -> tuple[yaml.Node, yaml.Node, list[str]]:
    """Return the deepest node that `where` reaches, its value, and its path for people (the last key even if absent).

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


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
