"""The reliable link under the session: packet numbers, ACKs, repeats, and finding the common number again.

The rules are those of docs/reference/kd.md 1.3 to 1.6 and 3.2. Header fields are outside the checksum, so a header that
contradicts what is known is believed only when it comes three times ("suspect" below). Whenever the numbers of the two
sides may differ, a RESET settles it: a Continue with the wrong number is ACKed and ignored by the target, which then
stands still for ever (kd.md 1.4).
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from wsklab.qemu.kd.messages import api_number, needs_answer, plausible
from wsklab.qemu.kd.packet import INITIAL_ID, SYNC, Kind, Packet, encode
from wsklab.qemu.kd.resends import Resends

_RETRANSMIT: Final = 0.25  # s, doubled each time up to _RETRANSMIT_MAX (kd.md 3.2 rule 8)
_RETRANSMIT_MAX: Final = 5.0
_RESET_GAP: Final = 0.01  # s between RESETs; a target under TCG gives up after 0.28 s (kd.md 1.5)
_STUCK: Final = 1.0  # s without progress while the target waits for us, doubled each time up to _STUCK_MAX
_STUCK_MAX: Final = 10.0
_DOUBTS: Final = 4  # RESETs to a target that has gone on, as far as the ACK of a noisy line can be believed
_NOISY: Final = 10.0  # s for which a line that was damaged is distrusted
_RESEND_PAUSE: Final = 0.02  # s without a reply before a RESEND is answered: two sides that do it at once never end
_GREETINGS: Final = (0.3, 1.0, 2.0)  # s between the RESETs to a target that was restored, as long as no packet comes
_MEASURED: Final = 1000  # packets whose latency is kept
_SIGHTINGS: Final = 3  # of a header that contradicts what is known


@dataclass(slots=True)
class _Sent:
    """A data packet of ours that is not ACKed. `final`: the target goes on when it has it."""

    packet: Packet
    final: bool
    at: float  # last
    wait: float = _RETRANSMIT
    sent_at: float = field(default=0.0)  # first

    def __post_init__(self) -> None:
        self.sent_at = self.at


@dataclass(frozen=True, slots=True)
class Delivery:
    """A data packet to be dealt with. Not `fresh`: it was dealt with, but the target did not get the answers.

    `restarted`: the target began to number anew.
    """

    packet: Packet
    fresh: bool = True
    restarted: bool = False


class Link:
    """Packets in, deliveries out. What is to be sent gathers in `out`. Times are seconds of any steady clock."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.latencies: deque[float] = deque(maxlen=_MEASURED)
        """Seconds from a packet of ours to the target's ACK of it, of the last ones that were sent once."""
        self.resync()

    def resync(self) -> None:
        """Know nothing of the target any more (kd.md 3.2 rule 10)."""
        self.copies = 0  # of the last packet, that came again
        self.listening = False  # another debugger answers
        self.resynced = False  # the target followed our RESET; whoever reads this sets it back
        self._tx = INITIAL_ID
        self._pending: _Sent | None = None
        self._last: Packet | None = None
        self._open: Packet | None = None  # the target waits for the answer to this
        self._suspect: Packet | None = None
        self._sightings = 0
        self._synced = False
        self._renumbered = False  # a RESET came: the next packet is numbered anew
        self._resets = 0  # of ours, not answered
        self._reset_at = float("-inf")
        self._noisy_until = float("-inf")
        self._heard = 0.0
        self._asked = False  # for a RESEND, since bytes came
        self._acked: Packet | None = None  # since bytes came
        self._progress = 0.0
        self._stuck = _STUCK
        self._doubt_at: float | None = None
        self._doubts = 0
        self._repeat_asked: float | None = None  # when the target asked for our packet again
        self._greetings: list[float] = []  # when RESETs are due
        self._standing = False  # the target is left in its stop
        self._resends = Resends()
        self.out.clear()

    # --- what the decoder found

    def heard(self, now: float) -> None:
        """Note that bytes came, of whatever kind."""
        self._heard = now
        self._asked = False
        self._acked = None

    def noise(self, now: float, resend: bool) -> None:
        """Damage without a header. `resend`: it may have been a data packet: ask for it after a silence."""
        self._noisy_until = now + _NOISY
        if resend:
            self._resends.want()

    def broken(self, now: float) -> None:
        """Ask at once for a data packet with a false body. It shows that the target hears us, so count anew."""
        self._noisy_until = now + _NOISY
        self._resends.good()
        self._ask_again(now)

    def receive(self, packet: Packet, now: float) -> Delivery | None:
        """Deal with a whole packet; what the session must deal with comes back."""
        self._resends.good()
        if packet.control:
            self._control(packet, now)
            return None
        return self._data(packet, now)

    def greet(self, now: float) -> None:
        """Greet a restored target: it may stand in a stop that it believes we know of, and waits for us for ever."""
        self._greetings = [*itertools.accumulate(_GREETINGS, initial=now)]

    # --- what the session says

    def stand(self) -> None:
        """Leave the target in its stop; nothing more is asked of it."""
        self._standing = True
        self._pending = None

    @property
    def between(self) -> bool:
        """Nobody waits for anybody."""
        return self._pending is None and self._open is None

    def send(self, kind: Kind, payload: bytes, now: float, final: bool = True) -> None:
        """Send a data packet, and again until the target has it. `final`: then the target goes on."""
        self._pending, self._repeat_asked = _Sent(Packet(kind, self._tx, payload), final, now), None
        self.out += encode(self._pending.packet)

    # --- time

    def due(self, waiting: bool) -> float | None:
        """When `tick` has something to do. `waiting`: half a packet is there; a RESEND comes after that."""
        times = [None if waiting else self._resends.due(self._heard), self._doubt_at]
        if self._pending:
            times.append(self._pending.at + self._pending.wait)
            if self._repeat_asked is not None:
                times.append(max(self._repeat_asked, self._heard) + _RESEND_PAUSE)
        times += self._greetings[:1]
        if self._open and not self._standing:
            times.append(self._progress + self._stuck)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float, waiting: bool) -> None:
        resend = None if waiting else self._resends.due(self._heard)
        if resend is not None and now >= resend:
            self._resend(now)
        if (
            self._pending
            and self._repeat_asked is not None
            and now >= max(self._repeat_asked, self._heard) + _RESEND_PAUSE
        ):
            self._repeat(self._pending, now)
        if self._pending and now >= self._pending.at + self._pending.wait:
            self._repeat(self._pending, now)
            self._pending.wait = min(2 * self._pending.wait, _RETRANSMIT_MAX)
        if self._greetings and now >= self._greetings[0]:
            self._greetings.pop(0)
            self._ask_reset(now)
        if self._open and not self._standing and now >= self._progress + self._stuck:
            self._progress = now
            self._stuck = min(2 * self._stuck, _STUCK_MAX)
            self._ask_reset(now)
        if self._doubt_at is not None and now >= self._doubt_at:
            self._ask_reset(now)
            self._doubts -= 1
            self._doubt_at = now + _STUCK if self._doubts else None

    # --- packets

    def _control(self, packet: Packet, now: float) -> None:
        pending = self._pending
        if packet.kind is Kind.ACKNOWLEDGE:
            if pending and packet.id == pending.packet.id:
                self._accepted(now)
                if pending.final:
                    self._open = None
                    if now < self._noisy_until:  # this ACK may be an old one with a damaged number
                        self._doubt_at, self._doubts = now + _STUCK, _DOUBTS
        elif packet.kind is Kind.RESEND:
            if pending and self._repeat_asked is None:
                self._repeat_asked = now
        else:
            self._reset(now)

    def _reset(self, now: float) -> None:
        """Begin the numbers anew, as the target says it does.

        Never answered: it answers every RESET itself (kd.md 3.2 rule 7).
        """
        self._renumbered = True
        self._greetings.clear()
        if not self._resets:
            self._synced = False  # an ACK with a damaged type, or of ours: settled when the target next needs us
            return
        self._resets -= 1
        self._tx = INITIAL_ID
        self._pending = self._suspect = None
        self._synced = self.resynced = True
        self._advance(now)

    def _data(self, packet: Packet, now: float) -> Delivery | None:
        last = self._last
        if packet == last and not self._renumbered:
            self.copies += 1
            if needs_answer(packet) and self._open is None and not self.listening:
                self._ask_reset(now)  # we hold it to be answered, the target does not
            else:
                self._ack(packet)
            return None
        if self._doubtful(packet, now) and not self._confirmed(packet):
            self._ask_again(now)
            return None
        self._suspect = None
        restarted = bool(packet.id & SYNC)
        phase_unknown = not restarted and (not self._synced or self._same_stop(packet))
        if phase_unknown and needs_answer(packet) and not self.listening:
            self._ask_reset(now)
            return None
        return self._accept(packet, restarted, now)

    def _accept(self, packet: Packet, restarted: bool, now: float) -> Delivery | None:
        """Accept a new packet, or one that comes again because of a RESET."""
        again = not restarted and self._again(packet)
        self._greetings.clear()  # not by a copy: the first may have shown that a greeting is needed
        if restarted:
            self._tx = INITIAL_ID
            self._pending = None
            self._synced = True
        elif self._pending and (packet.kind is not Kind.MANIPULATE or self._replies(packet)):
            self._accepted(now)  # the target went on: it has our packet, though its ACK did not come
        if packet.kind is not Kind.MANIPULATE:
            self._open = packet if needs_answer(packet) else None
            self._standing = False
            self.copies = 0
        if not again:
            self._resets = 0
        self._renumbered = False
        self._doubt_at = None
        self._last = packet
        self._advance(now)
        self._ack(packet)
        if packet.kind is Kind.MANIPULATE and self._open is None:
            self.greet(now + _RESET_GAP)  # to a request of another time: it stands in a stop that we know nothing of
        if (again or not self._synced) and packet.kind is Kind.MANIPULATE:
            return None
        return Delivery(packet, not again, restarted) if not again or needs_answer(packet) else None

    def _doubtful(self, packet: Packet, now: float) -> bool:
        """Tell whether the header contradicts what is known, or may on a noisy line: no checksum covers it."""
        noisy = now < self._noisy_until
        last = self._last
        if not plausible(packet):
            return True
        if packet.id & SYNC:
            return bool(packet.id & 1) or last is not None or noisy
        if self._renumbered:
            return packet.id != INITIAL_ID
        if last is None:
            return False
        if (packet.id ^ last.id) & 1 == 0:
            return True  # the number of the last packet, with other content
        return noisy and packet.payload == last.payload and not self._same_stop(packet)

    def _confirmed(self, packet: Packet) -> bool:
        """Tell whether it was asked for again, and came as it was, often enough."""
        self._sightings = self._sightings + 1 if packet == self._suspect else 1
        self._suspect = packet
        return self._sightings >= _SIGHTINGS

    def _same_stop(self, packet: Packet) -> bool:
        """Tell whether it is the stop that we are still answering, under a new number: a RESEND of ours came late."""
        return self._open is not None and not self._renumbered and packet.payload == self._open.payload

    def _again(self, packet: Packet) -> bool:
        """Tell whether a RESET made the target repeat a packet that we had."""
        if not self._renumbered and not (self._resets and packet.id == INITIAL_ID):
            return False
        known = (self._last, self._open)
        return any(one is not None and (one.kind, one.payload) == (packet.kind, packet.payload) for one in known)

    def _replies(self, packet: Packet) -> bool:
        return self._pending is not None and api_number(packet.payload) == api_number(self._pending.packet.payload)

    # --- sending

    def _accepted(self, now: float) -> None:
        """Note that the target has our pending packet."""
        if self._pending and self._pending.sent_at == self._pending.at:
            self.latencies.append(now - self._pending.at)
        self._tx ^= 1
        self._pending = self._repeat_asked = None
        self._advance(now)

    def _advance(self, now: float) -> None:
        self._progress = now
        self._stuck = _STUCK

    def _ack(self, packet: Packet) -> None:
        """Once for copies that came together: an ACK too many can be taken for that of the packet after next."""
        if packet == self._acked:
            return
        self._acked = packet
        self.out += encode(Packet(Kind.ACKNOWLEDGE, packet.id & ~SYNC))

    def _repeat(self, sent: _Sent, now: float) -> None:
        sent.at, self._repeat_asked = now, None
        self.out += encode(sent.packet)

    def _ask_again(self, now: float) -> None:
        """At once, but only once for what came together."""
        if self._asked:
            self._resends.want()
        else:
            self._asked = True
            self._resend(now)

    def _resend(self, now: float) -> None:
        self._resends.sent(now)
        self.out += encode(Packet(Kind.RESEND, 0))

    def _ask_reset(self, now: float) -> None:
        """Make the target number anew, and repeat what it waits for an answer to."""
        self._synced = False
        self._pending = None
        if now - self._reset_at >= _RESET_GAP:
            self._reset_at = now
            self._resets += 1
            self.out += encode(Packet(Kind.RESET, 0))
