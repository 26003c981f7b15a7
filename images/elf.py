"""What a Linux program or kernel module says it needs (ELF64, little-endian; System V ABI chapters 4 and 5)."""

import re
import struct

_MAGIC = b"\x7fELF\x02\x01"
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB = 1, 5


def needed_libraries(image: bytes) -> list[str]:
    """Return the names of the shared libraries in the dynamic section; empty for any file that has none."""
    if not image.startswith(_MAGIC):
        return []
    (table,) = struct.unpack_from("<Q", image, 32)
    size, count = struct.unpack_from("<HH", image, 54)
    segments = [struct.unpack_from("<IIQQQQ", image, table + i * size) for i in range(count)]
    loads = [(address, offset, length) for kind, _, offset, address, _, length in segments if kind == _PT_LOAD]
    dynamic = [image[offset : offset + length] for kind, _, offset, _, _, length in segments if kind == _PT_DYNAMIC]
    if not dynamic:
        return []
    entries = list(struct.iter_unpack("<QQ", dynamic[0]))
    address = next(value for tag, value in entries if tag == _DT_STRTAB)
    # The string table is given by its address in memory; find the segment that loads it.
    start, offset = next((start, offset) for start, offset, length in loads if start <= address < start + length)
    return [_string(image, address - start + offset + name) for tag, name in entries if tag == _DT_NEEDED]


def module_dependencies(image: bytes) -> list[str]:
    """Return the names of the kernel modules that a `.ko` depends on (`depends=` of its .modinfo section)."""
    match = re.search(rb"\0depends=([^\0]*)\0", image)
    return [name for name in match.group(1).decode().split(",") if name] if match else []


def _string(image: bytes, offset: int) -> str:
    return image[offset : image.index(b"\0", offset)].decode()
