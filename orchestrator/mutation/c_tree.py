"""C source text as a syntax tree: its functions, and the parts of them that the correct build compiles. Pure."""

from __future__ import annotations

from collections.abc import Iterator

try:
    import tree_sitter
    import tree_sitter_c
    from tree_sitter import Node
except ImportError:
    from wsklab.orchestrator.errors import UsageError

    raise UsageError(
        "mutations need tree-sitter and its C grammar, which are not installed: "
        "pip install 'wsklab[mutate]', or in a checkout .venv/bin/pip install -e '.[mutate]'."
    ) from None

__all__ = ["Node", "compiled", "constant_of", "field_of", "functions_of", "name_of", "operator_of", "parsed", "text_of"]


def parsed(source: bytes) -> Node:
    """Return the root of the tree."""
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language())).parse(source).root_node


def functions_of(node: Node) -> Iterator[Node]:
    """Yield the definitions of functions below a node."""
    if node.type == "function_definition":
        yield node
    else:
        for child in node.named_children:
            yield from functions_of(child)


def name_of(function: Node) -> str:
    """Return what a function is called."""
    node = function.child_by_field_name("declarator")
    while node is not None and node.type != "identifier":
        node = node.child_by_field_name("declarator")
    return text_of(node) if node is not None else ""


def compiled(node: Node) -> Iterator[Node]:
    """Yield the node and all below it that the correct build compiles and that is no wording."""
    if node.type in (
        "string_literal",
        "concatenated_string",
        "array_declarator",
        "char_literal",
    ) or node.type.startswith("preproc_"):
        return
    if constant_of(node) is not None:
        return
    yield node
    dead = None
    if node.type in ("if_statement", "conditional_expression", "while_statement"):
        condition = node.child_by_field_name("condition")
        value = constant_of(condition) if condition is not None else None
        names = {True: "alternative", False: "body" if node.type == "while_statement" else "consequence"}
        dead = node.child_by_field_name(names[value]) if value is not None else None
    for child in node.named_children:
        if child != dead:
            yield from compiled(child)


def constant_of(node: Node) -> bool | None:
    """Return the value of a condition that only asks which twin this is; None of any other."""
    if node.type == "call_expression" and text_of(node.child_by_field_name("function")) == "TWIN":
        return text_of(node) == "TWIN(CORRECT)"
    if node.type == "parenthesized_expression" and node.named_child_count == 1:
        return constant_of(node.named_children[0])
    if node.type == "unary_expression" and operator_of(node) == "!":
        value = constant_of(field_of(node, "argument"))
        return None if value is None else not value
    if node.type == "binary_expression" and (operator := operator_of(node)) in ("&&", "||"):
        sides = {constant_of(field_of(node, "left")), constant_of(field_of(node, "right"))}
        decides = operator == "||"
        return decides if decides in sides else None if None in sides else not decides
    return None


def text_of(node: Node | None) -> str:
    """Return the source text of a node; nothing of none."""
    return node.text.decode() if node is not None and node.text is not None else ""


def field_of(node: Node, name: str) -> Node:
    """Return the child that the grammar calls so, and always has."""
    child = node.child_by_field_name(name)
    assert child is not None, f"a {node.type} without its {name}"
    return child


def operator_of(node: Node) -> str:
    """Return the sign between, or before, the operands."""
    return text_of(node.child_by_field_name("operator"))
