"""One machine and the cable: QEMU processes, their serial lines, and the wire between two of them."""

from pkgutil import extend_path

# Run from the checkout's root, this folder would otherwise hide PyPI's `qemu.qmp` (same top-level name).
__path__ = extend_path(__path__, __name__)
