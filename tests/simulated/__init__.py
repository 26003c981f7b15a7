"""A Windows target that is played: a program in QEMU's place which speaks QMP, KD on COM1, the agent's JSON on COM2,
SSH with `sc.exe` and SFTP, and TCP on the wire. It proves the lab's side of all of them, and nothing about Windows.
"""
