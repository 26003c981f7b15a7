"""Mechanical mutations of C source text: each a small fault of the kind that a driver's author makes. Pure.

Needs tree-sitter and its C grammar. Not mutated are what only a twin compiles (see drivers/wsklab/twin.h), string
literals, preprocessor lines and array sizes: a wording is no fault, and room to spare is none.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from wsklab.orchestrator.mutation.c_tree import (
    Node,
    compiled,
    constant_of,
    field_of,
    functions_of,
    name_of,
    operator_of,
    parsed,
    text_of,
)

OPERATORS = {
    "negate-condition": "the condition of if, while, for or ?: the other way round",
    "swap-logical": "&& for ||, || for &&",
    "flip-comparison": "== for !=, != for ==, inside of a condition",
    "off-by-one": "< for <= and so on, or a constant one more",
    "change-constant": "another constant: 0 for what is more than one, TRUE for FALSE",
    "drop-call": "a statement that is a call left out",
    "skip-release": "the same, where the call gives something back",
    "swap-arguments": "two neighbouring arguments of a call in the wrong order",
    "delete-assignment": "an assignment, ++ or -- left out",
    "replace-return": "another value returned, the expression evaluated all the same",
    "replace-status": "success for an error status, an error status for success",
    "flip-flag": "bits cleared where they were set, set where they were asked for",
    "drop-break": "a break or continue left out",
    "drop-guarded": "what stands under a condition, or behind its else, left out",
}
"""What each operator does, by its name."""

_RELEASES = re.compile(
    r"(?i)(release|free|dereference|unlock|drop|leave|close|delete|deregister|destroy|undo|unlink|remove|complete)"
)
_COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
_NUMBER = re.compile(r"(?i)(0x[0-9a-f]+|[0-9]+)([ul]*)")
_SMALL = 1000
"""One more of so many is no fault: these are sizes and times."""

_LOOPS_AND_IFS = ("if_statement", "while_statement", "do_statement", "for_statement", "conditional_expression")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutation. `start` and `end` are byte offsets of `before` in the source, in whose place `after` stands.

    `id` depends on the text of the line, the function around it and what is changed there, not on the line's number:
    what is changed elsewhere in the file does not change it.
    """

    id: str
    file: str
    line: int
    function: str
    operator: str
    start: int
    end: int
    before: str
    after: str

    def apply(self, source: str) -> str:
        """Return the source with the fault in it."""
        data = source.encode()
        return (data[: self.start] + self.after.encode() + data[self.end :]).decode()

    def diff(self, source: str) -> str:
        """Return what it changes, as a unified diff."""
        lines = difflib.unified_diff(
            source.splitlines(), self.apply(source).splitlines(), f"a/{self.file}", f"b/{self.file}", lineterm="", n=2
        )
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Change:
    operator: str
    node: Node
    after: str


def generate(file: str, source: str) -> list[Mutant]:
    """Every mutant of a C file, in the order of the text; `file` is the name that they carry."""
    data = source.encode()
    seen: set[tuple[int, int, str]] = set()
    found: list[Mutant] = []
    times: Counter[tuple[str, ...]] = Counter()
    for function in functions_of(parsed(data)):
        name = name_of(function)
        changes = sorted(_changes(function), key=lambda c: (c.node.start_byte, c.node.end_byte))
        for change in changes:
            place = (change.node.start_byte, change.node.end_byte, change.after)
            if place in seen:
                continue
            seen.add(place)
            found.append(_mutant(file, data, name, change, times))
    return found


def _mutant(file: str, data: bytes, function: str, change: _Change, times: Counter[tuple[str, ...]]) -> Mutant:
    node = change.node
    begin = data.rfind(b"\n", 0, node.start_byte) + 1
    line = data[begin : data.find(b"\n", node.start_byte)].decode()
    column = node.start_byte - begin - (len(line) - len(line.lstrip()))
    before = text_of(node)
    key = (file, function, change.operator, line.strip(), str(column), before, change.after)
    times[key] += 1
    digest = hashlib.sha256("\0".join((*key, str(times[key]))).encode()).hexdigest()[:10]
    return Mutant(
        digest,
        file,
        node.start_point[0] + 1,
        function,
        change.operator,
        node.start_byte,
        node.end_byte,
        before,
        change.after,
    )


# --- where mutations may be -------------------------------------------------------------------------------------------


def _changes(function: Node) -> Iterator[_Change]:
    kind = function.child_by_field_name("type")
    body = function.child_by_field_name("body")
    if body is not None:
        for node in compiled(body):
            yield from _of(node, text_of(kind) if kind is not None else "")


# --- what is done there -----------------------------------------------------------------------------------------------


def _of(node: Node, returns: str) -> Iterator[_Change]:
    """Yield the changes of this very node; `returns` is the type of the function around it."""
    if node.type in _LOOPS_AND_IFS:
        yield from _condition(node)
    if node.type == "if_statement":
        yield from _guarded(node)
    elif node.type == "binary_expression":
        yield from _binary(node)
    elif node.type == "expression_statement" and node.named_children:
        yield from _statement(node)
    elif node.type == "assignment_expression" and operator_of(node) in ("|=", "&="):
        left, right = text_of(field_of(node, "left")), text_of(field_of(node, "right"))
        yield _Change("flip-flag", node, f"{left} {'&' if operator_of(node) == '|=' else '|'}= ~({right})")
    elif node.type == "argument_list":
        yield from _arguments(node)
    elif node.type == "number_literal":
        yield from _number(node)
    elif node.type in ("identifier", "true", "false"):
        yield from _named_constant(node)
    elif node.type == "return_statement" and node.named_children:
        yield from _return(node, returns)
    elif node.type in ("break_statement", "continue_statement"):
        yield _Change("drop-break", node, ";")


def _condition(node: Node) -> Iterator[_Change]:
    condition = node.child_by_field_name("condition")
    if condition is None or constant_of(condition) is not None:
        return
    text = text_of(condition)
    inner = text[1:-1] if condition.type == "parenthesized_expression" else text
    yield _Change("negate-condition", condition, f"(!({inner}))")


def _guarded(node: Node) -> Iterator[_Change]:
    """Twins aside: what stands under a condition that is constant is not there, or is not guarded."""
    if constant_of(field_of(node, "condition")) is not None:
        return
    yield _Change("drop-guarded", field_of(node, "consequence"), "{ }")
    otherwise = node.child_by_field_name("alternative")
    if otherwise is not None:
        yield _Change("drop-guarded", otherwise, "")


def _binary(node: Node) -> Iterator[_Change]:
    left, right, operator = field_of(node, "left"), field_of(node, "right"), operator_of(node)

    def changed(other: str) -> str:
        return f"{text_of(left)} {other} {text_of(right)}"

    if operator in _COMPARISONS:
        yield _Change("off-by-one", node, changed(_COMPARISONS[operator]))
    elif operator in ("==", "!=") and not _is_whole_condition(node):
        yield _Change("flip-comparison", node, changed("!=" if operator == "==" else "=="))
    elif operator in ("&&", "||") and constant_of(left) is None and constant_of(right) is None:
        other = "||" if operator == "&&" else "&&"
        yield _Change("swap-logical", node, f"(({text_of(left)}) {other} ({text_of(right)}))")
    elif operator in ("|", "&"):
        yield _Change("flip-flag", node, f"({text_of(left)} & ~({text_of(right)}))")
        if operator == "&":
            yield _Change("flip-flag", node, f"({text_of(left)} | {text_of(right)})")


def _is_whole_condition(node: Node) -> bool:
    around = node.parent
    if around is not None and around.type == "parenthesized_expression":
        around = around.parent
    return around is not None and around.type in _LOOPS_AND_IFS


def _statement(node: Node) -> Iterator[_Change]:
    inner = node.named_children[0]
    if inner.type == "cast_expression" and text_of(field_of(inner, "type")) == "void":
        inner = field_of(inner, "value")
    if inner.type in ("assignment_expression", "update_expression"):
        yield _Change("delete-assignment", node, "{ }")
    elif inner.type == "call_expression":
        name = text_of(field_of(inner, "function"))
        yield _Change("skip-release" if _RELEASES.search(name) else "drop-call", node, "{ }")


def _arguments(node: Node) -> Iterator[_Change]:
    """Neighbours that are written alike; whether their types agree is the compiler's business."""
    arguments = [child for child in node.named_children if child.type != "comment"]
    for at, (one, two) in enumerate(itertools.pairwise(arguments)):
        if _kind(one) == _kind(two) and text_of(one) != text_of(two) and constant_of(one) is constant_of(two) is None:
            texts = [text_of(argument) for argument in arguments]
            texts[at], texts[at + 1] = texts[at + 1], texts[at]
            yield _Change("swap-arguments", node, f"({', '.join(texts)})")


def _kind(node: Node) -> str:
    plain = {
        "identifier": "value",
        "field_expression": "value",
        "number_literal": "value",
        "true": "value",
        "false": "value",
        "string_literal": "text",
        "concatenated_string": "text",
    }
    return plain.get(node.type, node.type)


def _number(node: Node) -> Iterator[_Change]:
    match = _NUMBER.fullmatch(text_of(node))
    if match is None or _is_label(node):
        return
    digits, suffix = match.groups()
    value = int(digits, 0) if digits.lower().startswith("0x") else int(digits)
    if value <= _SMALL:
        yield _Change("off-by-one", node, f"{value + 1}{suffix}")
    if value >= 1:
        yield _Change("change-constant", node, f"0{suffix}")


def _named_constant(node: Node) -> Iterator[_Change]:
    text = text_of(node)
    if _is_label(node):
        return
    if text in ("TRUE", "FALSE", "true", "false"):
        other = {"TRUE": "FALSE", "FALSE": "TRUE", "true": "false", "false": "true"}[text]
        yield _Change("change-constant", node, other)
    elif text.startswith("STATUS_"):
        yield _Change("replace-status", node, "STATUS_UNSUCCESSFUL" if text == "STATUS_SUCCESS" else "STATUS_SUCCESS")


def _is_label(node: Node) -> bool:
    """Whether it names a case, or a place in a table."""
    around = node.parent
    return around is not None and (
        around.type in ("subscript_designator", "enumerator")
        or (around.type == "case_statement" and around.child_by_field_name("value") == node)
    )


def _return(node: Node, returns: str) -> Iterator[_Change]:
    """Replace a status by success and by an error, anything else by nothing; constants are others' business."""
    value = node.named_children[0]
    text = text_of(value)
    if text.startswith("STATUS_") or text in ("TRUE", "FALSE", "NULL", "0"):
        return
    if returns == "NTSTATUS":
        others = ["STATUS_SUCCESS", "STATUS_UNSUCCESSFUL"]
    elif returns in ("BOOLEAN", "bool"):
        others = [f"!({text})"]
    else:
        others = ["0"]
    for other in others:
        evaluated = f"(void)({text}), " if "(" in text and other[0] != "!" else ""
        yield _Change("replace-return", node, f"return {evaluated}{other};")
