"""The modules that a driver may import from on the stand-in, which are Wine's. Pure."""

from __future__ import annotations

from collections.abc import Sequence

STANDIN_MODULES = frozenset({
    "ntoskrnl.exe", "hal.dll", "netio.sys", "ndis.sys", "fltmgr.sys", "cng.sys", "ksecdd.sys", "tdi.sys",
    "hidclass.sys", "usbd.sys",
})  # fmt: skip
"""Any other keeps a driver from loading there."""


def beyond_standin(module: str, names: Sequence[str]) -> str:
    """Return what is to be said of an import that only Windows has."""
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"It imports {shown} from {module}, which the stand-in target does not have: there it cannot be loaded."
