"""Bugchecks: their names, and code and parameters from the text that the kernel prints (docs/reference/kd.md 2.5)."""

from __future__ import annotations

import re

Report = tuple[int, tuple[int, int, int, int]]
"""Code and the four parameters."""

NAMES = {  # Microsoft, "Bug check code reference"
    0x01: "APC_INDEX_MISMATCH",
    0x0A: "IRQL_NOT_LESS_OR_EQUAL",
    0x0F: "SPIN_LOCK_ALREADY_OWNED",
    0x10: "SPIN_LOCK_NOT_OWNED",
    0x12: "TRAP_CAUSE_UNKNOWN",
    0x18: "REFERENCE_BY_POINTER",
    0x19: "BAD_POOL_HEADER",
    0x1A: "MEMORY_MANAGEMENT",
    0x1E: "KMODE_EXCEPTION_NOT_HANDLED",
    0x24: "NTFS_FILE_SYSTEM",
    0x2E: "DATA_BUS_ERROR",
    0x35: "NO_MORE_IRP_STACK_LOCATIONS",
    0x3B: "SYSTEM_SERVICE_EXCEPTION",
    0x3D: "INTERRUPT_EXCEPTION_NOT_HANDLED",
    0x44: "MULTIPLE_IRP_COMPLETE_REQUESTS",
    0x48: "CANCEL_STATE_IN_COMPLETED_IRP",
    0x4A: "IRQL_GT_ZERO_AT_SYSTEM_SERVICE",
    0x4E: "PFN_LIST_CORRUPT",
    0x50: "PAGE_FAULT_IN_NONPAGED_AREA",
    0x51: "REGISTRY_ERROR",
    0x5D: "UNSUPPORTED_PROCESSOR",
    0x6B: "PROCESS1_INITIALIZATION_FAILED",
    0x74: "BAD_SYSTEM_CONFIG_INFO",
    0x76: "PROCESS_HAS_LOCKED_PAGES",
    0x77: "KERNEL_STACK_INPAGE_ERROR",
    0x7A: "KERNEL_DATA_INPAGE_ERROR",
    0x7B: "INACCESSIBLE_BOOT_DEVICE",
    0x7C: "BUGCODE_NDIS_DRIVER",
    0x7E: "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED",
    0x7F: "UNEXPECTED_KERNEL_MODE_TRAP",
    0x80: "NMI_HARDWARE_FAILURE",
    0x8E: "KERNEL_MODE_EXCEPTION_NOT_HANDLED",
    0x97: "BOUND_IMAGE_UNSUPPORTED",
    0x9C: "MACHINE_CHECK_EXCEPTION",
    0x9F: "DRIVER_POWER_STATE_FAILURE",
    0xA0: "INTERNAL_POWER_ERROR",
    0xA5: "ACPI_BIOS_ERROR",
    0xB8: "ATTEMPTED_SWITCH_FROM_DPC",
    0xBE: "ATTEMPTED_WRITE_TO_READONLY_MEMORY",
    0xC1: "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION",
    0xC2: "BAD_POOL_CALLER",
    0xC4: "DRIVER_VERIFIER_DETECTED_VIOLATION",
    0xC5: "DRIVER_CORRUPTED_EXPOOL",
    0xC6: "DRIVER_CAUGHT_MODIFYING_FREED_POOL",
    0xC7: "TIMER_OR_DPC_INVALID",
    0xC8: "IRQL_UNEXPECTED_VALUE",
    0xC9: "DRIVER_VERIFIER_IOMANAGER_VIOLATION",
    0xCA: "PNP_DETECTED_FATAL_ERROR",
    0xCB: "DRIVER_LEFT_LOCKED_PAGES_IN_PROCESS",
    0xCC: "PAGE_FAULT_IN_FREED_SPECIAL_POOL",
    0xCD: "PAGE_FAULT_BEYOND_END_OF_ALLOCATION",
    0xCE: "DRIVER_UNLOADED_WITHOUT_CANCELLING_PENDING_OPERATIONS",
    0xD1: "DRIVER_IRQL_NOT_LESS_OR_EQUAL",
    0xD5: "DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL",
    0xD6: "DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION",
    0xDA: "SYSTEM_PTE_MISUSE",
    0xDE: "POOL_CORRUPTION_IN_FILE_AREA",
    0xE1: "WORKER_THREAD_RETURNED_AT_BAD_IRQL",
    0xE2: "MANUALLY_INITIATED_CRASH",
    0xE3: "RESOURCE_NOT_OWNED",
    0xE6: "DRIVER_VERIFIER_DMA_VIOLATION",
    0xEF: "CRITICAL_PROCESS_DIED",
    0xF4: "CRITICAL_OBJECT_TERMINATION",
    0xF7: "DRIVER_OVERRAN_STACK_BUFFER",
    0xFC: "ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY",
    0xFE: "BUGCODE_USB_DRIVER",
    0x101: "CLOCK_WATCHDOG_TIMEOUT",
    0x109: "CRITICAL_STRUCTURE_CORRUPTION",
    0x10D: "WDF_VIOLATION",
    0x119: "VIDEO_SCHEDULER_INTERNAL_ERROR",
    0x124: "WHEA_UNCORRECTABLE_ERROR",
    0x133: "DPC_WATCHDOG_VIOLATION",
    0x139: "KERNEL_SECURITY_CHECK_FAILURE",
    0x13A: "KERNEL_MODE_HEAP_CORRUPTION",
    0x154: "UNEXPECTED_STORE_EXCEPTION",
    0x18B: "SECURE_KERNEL_ERROR",
    0x1CA: "SYNTHETIC_WATCHDOG_TIMEOUT",
}

_VERIFIER = {  # raised by Driver Verifier and nobody else (Microsoft, "Handling a Bug Check When Verifier is Enabled")
    0xC1: "the driver wrote outside its special pool allocation, or freed it wrongly",
    0xC6: "the driver wrote to pool that it had freed",
    0xC9: "the driver broke a rule of the I/O manager",
    0xE6: "the driver broke a rule of DMA",
}
_VIOLATIONS = {  # first parameter of 0xC4 (Microsoft, "Bug Check 0xC4"); the many others have a number only
    0x00: "the driver allocated no bytes",
    0x01: "the driver allocated paged pool above APC_LEVEL",
    0x02: "the driver allocated nonpaged pool above DISPATCH_LEVEL",
    0x10: "the driver freed what it had not been given",
    0x11: "the driver freed paged pool above APC_LEVEL",
    0x12: "the driver freed nonpaged pool above DISPATCH_LEVEL",
    0x13: "the driver freed pool twice",
    0x14: "the driver freed pool twice",
    0x15: "the driver freed pool with an active timer in it",
    0x16: "the driver freed pool at a bad address",
    0x17: "the driver freed pool with an active ERESOURCE in it",
    0x30: "the driver raised the IRQL to a wrong value",
    0x31: "the driver lowered the IRQL to a wrong value",
    0x32: "the driver released a spin lock at another IRQL than DISPATCH_LEVEL",
    0x33: "the driver acquired a fast mutex above APC_LEVEL",
    0x62: "the driver unloaded without freeing its pool",
    0x1001: "the driver acquires locks in an order that can deadlock",
}
_DDI_RULES = range(0x20002, 0x20023)

_FIRST = re.compile(r"\*\*\* Fatal System Error: 0x([0-9a-fA-F]{8})\b")
_SECOND = re.compile(r"^\s*\(" + ",".join([r"0x([0-9a-fA-F]{1,16})"] * 4) + r"\)")


def name(code: int) -> str:
    """Return the symbolic name of a bugcheck code, or its number.

    The bit 0x10000000 (seen with a debugger) is left out.
    """
    return NAMES.get(code & ~0x10000000, f"0x{code:08X}")


def describe(code: int, parameters: tuple[int, int, int, int]) -> str:
    """Code, name and parameters in one line."""
    return f"{code:#010x} {name(code)} ({', '.join(f'{word:#018x}' for word in parameters)})"


def violation(code: int, first: int) -> str | None:
    """Return what Driver Verifier found, from a bugcheck's code and first parameter.

    None for a bugcheck that is not its.
    """
    code &= ~0x10000000
    if code != 0xC4:
        return _VERIFIER.get(code)
    if first in _DDI_RULES:
        return f"the driver broke a rule of DDI compliance ({first:#x})"
    return _VIOLATIONS.get(first, f"violation {first:#x}, see Microsoft's page on bugcheck 0xC4")


class TextWatch:
    """Looks for the two lines that KeBugCheckEx prints: the code, then the parameters in brackets."""

    def __init__(self) -> None:
        self._code: int | None = None

    def feed(self, line: str) -> Report | None:
        """Return the bugcheck that `line` completes."""
        code, self._code = self._code, None
        if found := _FIRST.search(line):
            self._code = int(found[1], 16)
            return None
        if code is None or not (found := _SECOND.match(line)):
            return None
        first, second, third, fourth = (int(word, 16) for word in found.groups())
        return code, (first, second, third, fourth)
