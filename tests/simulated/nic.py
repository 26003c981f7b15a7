"""The network card of the played target: ARP, ping, and as much of TCP as a client that ends needs (dpkt, RFC 9293)."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable

import dpkt

MAC, PEER_MAC = bytes.fromhex("525400770010"), bytes.fromhex("525400770020")
ADDRESS = socket.inet_aton("10.77.0.10")
FIN, SYN, RST, ACK = dpkt.tcp.TH_FIN, dpkt.tcp.TH_SYN, dpkt.tcp.TH_RST, dpkt.tcp.TH_ACK


class Connection:
    """A client's end. `tell` hears open, fin and rst."""

    def __init__(self, nic: Nic, port: int, remote: bytes, remote_port: int, tell: Callable[[str], None]) -> None:
        self.port, self.remote, self.remote_port = port, remote, remote_port
        self.seq, self.ack, self.state = 1000, 0, "closed"
        self._nic, self._tell = nic, tell

    def open(self) -> None:
        self.state = "opening"
        self._say(SYN)
        self.seq += 1

    def close(self) -> None:
        if self.state in ("open", "half"):
            self._say(FIN | ACK)
            self.seq += 1
        self.state = "closed"

    def heard(self, tcp: dpkt.tcp.TCP) -> None:
        if tcp.flags & RST:
            known, self.state = self.state in ("open", "half"), "reset"
            if known:
                self._tell("rst")
            return
        if self.state == "opening" and tcp.flags & SYN:
            self.ack, self.state = tcp.seq + 1, "open"
            self._say(ACK)
            self._tell("open")
            return
        if tcp.seq != self.ack:
            return
        self.ack += len(tcp.data) + bool(tcp.flags & FIN)
        if tcp.data or tcp.flags & FIN:
            self._say(ACK)
        if tcp.flags & FIN and self.state == "open":
            self.state = "half"
            self._tell("fin")

    def _say(self, flags: int) -> None:
        tcp = dpkt.tcp.TCP(
            sport=self.port,
            dport=self.remote_port,
            seq=self.seq,
            ack=self.ack if flags & ACK else 0,
            flags=flags,
            win=65535,
        )
        self._nic.send(self.remote, dpkt.ip.IP_PROTO_TCP, tcp)


class Nic:
    """One end of the wire's datagram socket, served by a thread."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._connections: dict[int, Connection] = {}
        self._ports = itertools.count(49200)
        threading.Thread(target=self._serve, daemon=True).start()

    def connect(self, host: bytes, port: int, tell: Callable[[str], None]) -> Connection:
        connection = Connection(self, next(self._ports), host, port, tell)
        self._connections[connection.port] = connection
        return connection

    def send(self, to: bytes, protocol: int, payload: object, mac: bytes = PEER_MAC) -> None:
        packet = dpkt.ip.IP(src=ADDRESS, dst=to, p=protocol, ttl=128, data=payload)
        packet.len = len(packet)
        self._end.send(bytes(dpkt.ethernet.Ethernet(dst=mac, src=MAC, type=dpkt.ethernet.ETH_TYPE_IP, data=packet)))

    def _serve(self) -> None:
        while data := self._end.recv(65536):
            try:
                self._frame(dpkt.ethernet.Ethernet(data))
            except (dpkt.UnpackError, OSError):
                continue

    def _frame(self, frame: dpkt.ethernet.Ethernet) -> None:
        inner = frame.data
        if isinstance(inner, dpkt.arp.ARP) and inner.op == dpkt.arp.ARP_OP_REQUEST and inner.tpa == ADDRESS:
            answer = dpkt.arp.ARP(op=dpkt.arp.ARP_OP_REPLY, sha=MAC, spa=ADDRESS, tha=inner.sha, tpa=inner.spa)
            self._end.send(
                bytes(dpkt.ethernet.Ethernet(dst=inner.sha, src=MAC, type=dpkt.ethernet.ETH_TYPE_ARP, data=answer))
            )
        elif isinstance(inner, dpkt.ip.IP) and inner.dst == ADDRESS:
            if isinstance(inner.data, dpkt.icmp.ICMP) and inner.data.type == dpkt.icmp.ICMP_ECHO:
                echo = dpkt.icmp.ICMP(type=dpkt.icmp.ICMP_ECHOREPLY, data=inner.data.data)
                self.send(inner.src, dpkt.ip.IP_PROTO_ICMP, echo, frame.src)
            elif isinstance(inner.data, dpkt.tcp.TCP) and inner.data.dport in self._connections:
                self._connections[inner.data.dport].heard(inner.data)
