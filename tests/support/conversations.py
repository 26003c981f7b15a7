"""Conversations that end in the ways of the table, as a customer's capture would have them."""

from __future__ import annotations

from collections.abc import Callable

from support.captured import Talk

from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST, SYN


def asked() -> Talk:
    """Make a talk: the driver asked, the peer answered, and then nothing for a while."""
    return Talk().handshake().exchange()


def closed() -> Talk:
    said = asked()
    said.p(FIN | ACK, after=1)
    said.d(ACK)
    return said


def half_closed() -> Talk:
    said = closed()
    said.d(ACK | PSH, 30)
    said.p(ACK)
    return said


def data_then_fin() -> Talk:
    said = asked()
    said.p(ACK | PSH, 20, after=1)
    said.p(FIN | ACK, after=0.001)
    said.d(ACK)
    return said


def fin_with_data() -> Talk:
    said = asked()
    said.p(FIN | ACK | PSH, 20, after=1)
    said.d(ACK)
    return said


def aborted() -> Talk:
    said = asked()
    said.p(RST | ACK, after=2)
    return said


def data_then_rst() -> Talk:
    said = asked()
    said.p(ACK | PSH, 20, after=1)
    said.p(RST | ACK, after=0.001)
    return said


def unread() -> Talk:
    said = Talk().handshake()
    said.d(ACK | PSH, 10)
    said.p(ACK)
    said.p(RST | ACK, after=1)
    return said


def half_then_rst() -> Talk:
    said = closed()
    said.p(RST | ACK, after=0.5)
    return said


def sent_after_close() -> Talk:
    said = closed()
    said.d(ACK | PSH, 4)
    said.p(RST, seq=said.next["peer"], stamp=False, window=0, ident=0)
    return said


def sent_after_fin_wait() -> Talk:
    said = closed()
    said.d(ACK | PSH, 4, after=70)
    said.p(RST, seq=said.next["peer"], stamp=False, window=0, ident=0)
    return said


def refused() -> Talk:
    said = Talk()
    said.d(SYN)
    said.p(RST | ACK, seq=-5000, stamp=False, ident=0, window=0)
    return said


def unanswered() -> Talk:
    said = Talk()
    for pause in (0, 1, 2, 4):
        said.d(SYN, after=pause, seq=0)
    return said


def at_once(flags: int) -> Callable[[], Talk]:
    def make() -> Talk:
        said = Talk().handshake()
        said.p(flags, after=0.001)
        return said

    return make


def vanished_sending() -> Talk:
    said = asked()
    said.d(ACK | PSH, 50, after=1)
    for pause in (0.3, 0.6, 1.2, 2.4):
        said.d(ACK | PSH, 50, after=pause, seq=11)
    return said


def vanished_idle() -> Talk:
    return asked()


def keepalive_death() -> Talk:
    said = asked()
    for _ in range(10):
        said.d(ACK, after=1, seq=10)
    said.d(RST | ACK, after=1)
    return said


def forgotten() -> Talk:
    said = asked()
    said.d(ACK | PSH, 2, after=30)
    said.p(RST, seq=said.next["peer"], stamp=False, window=0, ident=0)
    return said


def fin_lost_for_ever() -> Talk:
    said = asked()
    said.p(FIN | ACK, after=1)
    for pause in (0.2, 0.4, 0.8):
        said.p(FIN | ACK, after=pause, seq=21)
    said.d(ACK | PSH, 2, after=5, ack=21)
    said.p(RST, seq=21, stamp=False, window=0, ident=0)
    return said


def peer_keepalive() -> Talk:
    said = asked()
    for _ in range(9):
        said.p(ACK, after=75, seq=20)
    said.p(RST | ACK, after=75)
    return said


def window_closed() -> Talk:
    said = asked()
    said.d(ACK | PSH, 500)
    said.p(ACK, window=0)
    for pause in (0.2, 0.4, 0.8):
        said.d(ACK, after=pause, seq=510)
        said.p(ACK, window=0)
    return said


def drained_then_fin() -> Talk:
    said = asked()
    said.p(ACK | PSH, 1000)
    said.d(ACK, window=0)
    said.d(ACK, after=1)
    said.p(FIN | ACK)
    said.d(ACK)
    return said


def reset_behind_window() -> Talk:
    said = asked()
    said.p(ACK | PSH, 1000)
    said.d(ACK, window=0)
    said.p(RST | ACK, after=1)
    return said


def crossing() -> Talk:
    said = asked()
    said.d(FIN | ACK, after=1, ack=21)
    said.p(FIN | ACK, after=0.0001, ack=11)
    said.d(ACK)
    said.p(ACK)
    return said


def driver_first() -> Talk:
    said = asked()
    said.d(FIN | ACK, after=1)
    said.p(ACK)
    said.p(FIN | ACK)
    said.d(ACK)
    return said


def never_closes() -> Talk:
    said = asked()
    said.d(FIN | ACK, after=1)
    said.p(ACK)
    return said


def fin_then_rst() -> Talk:
    said = asked()
    said.d(FIN | ACK, after=1)
    said.p(RST | ACK)
    return said


def abort_meets_fin() -> Talk:
    said = asked()
    said.d(RST | ACK, after=1, ack=21)
    said.p(FIN | ACK, after=0.0001)
    return said


def abort_meets_rst() -> Talk:
    said = asked()
    said.d(RST | ACK, after=1, ack=21)
    said.p(RST | ACK, after=0.0001)
    return said


def forged(**changes: int) -> Callable[[], Talk]:
    """Return an RST of another TTL; the peer goes on afterwards."""

    def make() -> Talk:
        said = asked()
        said.p(RST | ACK, after=1, stamp=False, ttl=250, ident=0, **changes)
        said.p(ACK | PSH, 7, after=0.1)
        said.d(ACK)
        said.p(FIN | ACK, after=1)
        said.d(ACK)
        return said

    return make


def forged_fin() -> Talk:
    said = asked()
    said.p(FIN | ACK, after=1, stamp=False, ttl=250, ident=0)
    said.d(ACK)
    said.p(ACK, seq=21)
    said.p(ACK, seq=21, after=1)
    return said


FIRST = {
    "C01": closed,
    "C02": half_closed,
    "C07": data_then_fin,
    "C08": fin_with_data,
    "C09": data_then_rst,
    "C10": unread,
    "C16": half_then_rst,
    "C17": sent_after_close,
    "C18": sent_after_fin_wait,
    "C21": refused,
    "C22": unanswered,
    "C29": vanished_idle,
    "C30": vanished_sending,
    "C31": keepalive_death,
    "C33": forgotten,
    "C43": fin_lost_for_ever,
    "C44": peer_keepalive,
    "C47": drained_then_fin,
    "C48": reset_behind_window,
    "C50": window_closed,
    "C52": crossing,
    "C53": driver_first,
    "C54": never_closes,
    "C55": fin_then_rst,
    "C56": abort_meets_fin,
    "C57": abort_meets_rst,
    "C59": forged(),
    "C63": forged_fin,
}
