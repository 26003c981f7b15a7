"""The kernel-debugger link of a Windows target over its serial line: packets, messages, the session, the pump."""
