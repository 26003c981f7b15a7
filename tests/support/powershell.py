"""PowerShell's grammar, for scripts that no PowerShell runs here."""

from __future__ import annotations

import tree_sitter
import tree_sitter_powershell

POWERSHELL = tree_sitter.Language(tree_sitter_powershell.language())


def errors(source: bytes) -> list[str]:
    """Where PowerShell's grammar is broken."""
    tree = tree_sitter.Parser(POWERSHELL).parse(source)
    found, stack = [], [tree.root_node]
    while stack:
        node = stack.pop()
        if node.is_error or node.is_missing:
            found.append(f"line {node.start_point[0] + 1}: {(node.text or b'')[:60]!r}")
        stack += node.children
    return found
