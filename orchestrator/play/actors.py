"""The actors of a scenario, and which of their methods a step calls: each verb is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.scenario import played, verbs
from wsklab.orchestrator.scenario.steps import DriverStep, LabStep, PeerStep, Step, WireStep


class AnyDriver(Protocol):
    """Whoever plays the part of the driver under test, also of one that cannot be steered."""

    def connect(self, step: DriverStep, args: verbs.Connect) -> Sequence[int]: ...
    def await_(self, step: DriverStep, args: verbs.DriverAwait) -> None: ...


class SteeredDriver(AnyDriver, Protocol):
    """A driver that does what it is told."""

    def socket(self, step: DriverStep, args: verbs.MakeSocket) -> Sequence[int]: ...
    def listen(self, step: DriverStep, args: verbs.Listen) -> Sequence[int]: ...
    def accept(self, step: DriverStep, args: verbs.Accept) -> Sequence[int]: ...
    def enable(self, step: DriverStep, args: verbs.Events) -> Sequence[int]: ...
    def disable(self, step: DriverStep, args: verbs.Events) -> Sequence[int]: ...
    def receive(self, step: DriverStep, args: verbs.Receive) -> Sequence[int]: ...
    def send(self, step: DriverStep, args: verbs.Send) -> Sequence[int]: ...
    def disconnect(self, step: DriverStep, args: verbs.Disconnect) -> Sequence[int]: ...
    def close(self, step: DriverStep, args: verbs.Close) -> Sequence[int]: ...
    def cancel(self, step: DriverStep, args: verbs.Cancel) -> None: ...
    def release(self, step: DriverStep, args: verbs.Nothing) -> Sequence[int]: ...
    def callback(self, step: DriverStep, args: verbs.Callback) -> Sequence[int]: ...
    def keepalive(self, step: DriverStep, args: verbs.Keepalive) -> None: ...
    def max_retransmit(self, step: DriverStep, args: verbs.MaxRetransmit) -> None: ...
    def silent(self, step: DriverStep, args: verbs.Nothing) -> None: ...
    def unload(self, step: DriverStep, args: verbs.Nothing) -> None: ...
    def reload(self, step: DriverStep, args: verbs.Nothing) -> None: ...
    def malformed(self, step: DriverStep, args: verbs.Nothing) -> None: ...


class PeerActor(Protocol):
    """The peer program."""

    def connect(self, step: PeerStep, args: verbs.PeerConnect) -> None: ...
    def accept(self, step: PeerStep, args: verbs.Nothing) -> None: ...
    def send(self, step: PeerStep, args: verbs.PeerSend) -> None: ...
    def fill(self, step: PeerStep, args: verbs.Fill) -> None: ...
    def receive(self, step: PeerStep, args: verbs.PeerReceive) -> None: ...
    def shutdown(self, step: PeerStep, args: verbs.Shutdown) -> None: ...
    def close(self, step: PeerStep, args: verbs.PeerClose) -> None: ...
    def close_all(self, step: PeerStep, args: verbs.CloseAll) -> None: ...
    def close_listener(self, step: PeerStep, args: verbs.Nothing) -> None: ...
    def option(self, step: PeerStep, args: verbs.PeerOption) -> None: ...
    def kill(self, step: PeerStep, args: verbs.Nothing) -> None: ...
    def exit(self, step: PeerStep, args: verbs.Nothing) -> None: ...
    def destroy(self, step: PeerStep, args: verbs.Nothing) -> None: ...
    def vanish(self, step: PeerStep, args: verbs.Nothing) -> None: ...
    def freeze(self, step: PeerStep, args: verbs.Nothing) -> None: ...
    def sysctl(self, step: PeerStep, args: verbs.Sysctl) -> None: ...
    def await_(self, step: PeerStep, args: verbs.PeerAwait) -> None: ...


class WireActor(Protocol):
    """The cable."""

    def drop(self, step: WireStep, args: verbs.Match) -> None: ...
    def hold(self, step: WireStep, args: verbs.Hold) -> None: ...
    def duplicate(self, step: WireStep, args: verbs.Match) -> None: ...
    def reorder(self, step: WireStep, args: verbs.Match) -> None: ...
    def corrupt(self, step: WireStep, args: verbs.Match) -> None: ...
    def forge(self, step: WireStep, args: verbs.Forge) -> None: ...
    def blackhole(self, step: WireStep, args: verbs.Blackhole) -> None: ...
    def cable(self, step: WireStep, args: verbs.Cable) -> None: ...
    def icmp(self, step: WireStep, args: verbs.Icmp) -> None: ...
    def firewall(self, step: WireStep, args: verbs.Firewall) -> None: ...
    def play(self, step: WireStep, args: played.Play) -> None: ...
    def release(self, step: WireStep, args: verbs.Nothing) -> None: ...
    def heal(self, step: WireStep, args: verbs.Nothing) -> None: ...
    def await_(self, step: WireStep, args: verbs.WireAwait) -> None: ...


class LabActor(Protocol):
    """The lab itself: machines as a whole, and time."""

    def settle(self, step: LabStep, args: verbs.Nothing) -> None: ...
    def wait(self, step: LabStep, args: verbs.Wait) -> None: ...
    def pause(self, step: LabStep, args: verbs.MachineStep) -> None: ...
    def resume(self, step: LabStep, args: verbs.MachineStep) -> None: ...
    def reset(self, step: LabStep, args: verbs.MachineStep) -> None: ...
    def power_off(self, step: LabStep, args: verbs.MachineStep) -> None: ...
    def address(self, step: LabStep, args: verbs.Address) -> None: ...


@dataclass(frozen=True)
class Actors:
    """Who acts in a scenario; `steered` is the driver where it can be steered."""

    driver: AnyDriver
    steered: SteeredDriver | None
    peer: PeerActor
    wire: WireActor
    lab: LabActor


def act(actors: Actors, step: Step) -> Sequence[int]:
    """Have a step done; returns the numbers of the operations that it has started in the driver.

    Raises StepError for one that could not be carried out, LabError, MachineError and TimeoutError.
    """
    match step:
        case DriverStep():
            return _driver(actors, step)
        case PeerStep():
            _peer(actors.peer, step)
        case WireStep():
            _wire(actors.wire, step)
        case LabStep():
            _lab(actors.lab, step)
    return ()


def _driver(actors: Actors, step: DriverStep) -> Sequence[int]:
    if step.connect is not None:
        return actors.driver.connect(step, step.connect)
    if step.await_ is not None:
        actors.driver.await_(step, step.await_)
        return ()
    if actors.steered is None:
        raise StepError("this driver cannot be steered")
    return _steered(actors.steered, step)


def _steered(driver: SteeredDriver, step: DriverStep) -> Sequence[int]:
    if step.socket is not None:
        return driver.socket(step, step.socket)
    if step.listen is not None:
        return driver.listen(step, step.listen)
    if step.accept is not None:
        return driver.accept(step, step.accept)
    if step.enable is not None:
        return driver.enable(step, step.enable)
    if step.disable is not None:
        return driver.disable(step, step.disable)
    if step.receive is not None:
        return driver.receive(step, step.receive)
    if step.send is not None:
        return driver.send(step, step.send)
    if step.disconnect is not None:
        return driver.disconnect(step, step.disconnect)
    if step.close is not None:
        return driver.close(step, step.close)
    if step.release is not None:
        return driver.release(step, step.release)
    if step.callback is not None:
        return driver.callback(step, step.callback)
    if step.cancel is not None:
        driver.cancel(step, step.cancel)
    elif step.keepalive is not None:
        driver.keepalive(step, step.keepalive)
    elif step.max_retransmit is not None:
        driver.max_retransmit(step, step.max_retransmit)
    elif step.silent is not None:
        driver.silent(step, step.silent)
    elif step.unload is not None:
        driver.unload(step, step.unload)
    elif step.reload is not None:
        driver.reload(step, step.reload)
    elif step.malformed is not None:
        driver.malformed(step, step.malformed)
    return ()


def _peer(peer: PeerActor, step: PeerStep) -> None:
    if step.connect is not None:
        peer.connect(step, step.connect)
    elif step.accept is not None:
        peer.accept(step, step.accept)
    elif step.send is not None:
        peer.send(step, step.send)
    elif step.fill is not None:
        peer.fill(step, step.fill)
    elif step.receive is not None:
        peer.receive(step, step.receive)
    elif step.shutdown is not None:
        peer.shutdown(step, step.shutdown)
    elif step.close is not None:
        peer.close(step, step.close)
    elif step.close_all is not None:
        peer.close_all(step, step.close_all)
    elif step.close_listener is not None:
        peer.close_listener(step, step.close_listener)
    elif step.option is not None:
        peer.option(step, step.option)
    elif step.kill is not None:
        peer.kill(step, step.kill)
    elif step.exit is not None:
        peer.exit(step, step.exit)
    elif step.destroy is not None:
        peer.destroy(step, step.destroy)
    elif step.vanish is not None:
        peer.vanish(step, step.vanish)
    elif step.freeze is not None:
        peer.freeze(step, step.freeze)
    elif step.sysctl is not None:
        peer.sysctl(step, step.sysctl)
    elif step.await_ is not None:
        peer.await_(step, step.await_)


def _wire(wire: WireActor, step: WireStep) -> None:
    if step.drop is not None:
        wire.drop(step, step.drop)
    elif step.hold is not None:
        wire.hold(step, step.hold)
    elif step.duplicate is not None:
        wire.duplicate(step, step.duplicate)
    elif step.reorder is not None:
        wire.reorder(step, step.reorder)
    elif step.corrupt is not None:
        wire.corrupt(step, step.corrupt)
    elif step.forge is not None:
        wire.forge(step, step.forge)
    elif step.blackhole is not None:
        wire.blackhole(step, step.blackhole)
    elif step.cable is not None:
        wire.cable(step, step.cable)
    elif step.icmp is not None:
        wire.icmp(step, step.icmp)
    elif step.firewall is not None:
        wire.firewall(step, step.firewall)
    elif step.play is not None:
        wire.play(step, step.play)
    elif step.release is not None:
        wire.release(step, step.release)
    elif step.heal is not None:
        wire.heal(step, step.heal)
    elif step.await_ is not None:
        wire.await_(step, step.await_)


def _lab(lab: LabActor, step: LabStep) -> None:
    if step.settle is not None:
        lab.settle(step, step.settle)
    elif step.wait is not None:
        lab.wait(step, step.wait)
    elif step.pause is not None:
        lab.pause(step, step.pause)
    elif step.resume is not None:
        lab.resume(step, step.resume)
    elif step.reset is not None:
        lab.reset(step, step.reset)
    elif step.power_off is not None:
        lab.power_off(step, step.power_off)
    elif step.address is not None:
        lab.address(step, step.address)
