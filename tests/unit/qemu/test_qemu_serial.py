"""Serial lines: bytes become whole, clean lines; watching never holds the guest up."""

import socket
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.qemu.deadline import within
from wsklab.qemu.errors import DeadlinePassed, GuestDied, MachineError
from wsklab.qemu.serial import MAX_LINE, LineSplitter, SerialLine, clean

Pair = tuple[SerialLine, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, guest = socket.socketpair()
    line = SerialLine("debug", ours)
    line.start()
    yield line, guest
    line.close()
    guest.close()


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_how_bytes_arrive_does_not_matter(data: bytes, cuts: list[int]) -> None:
    whole, parts = LineSplitter(), LineSplitter()
    edges = [0, *sorted(cuts), len(data)]
    pieces = [line for a, b in pairwise(edges) for line in parts.feed(data[a:b])]
    assert pieces + parts.flush() == whole.feed(data) + whole.flush()


@given(
    st.lists(
        st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), max_size=40)
    )
)
def test_lines_survive(lines: list[str]) -> None:
    assert LineSplitter().feed("".join(f"{line}\r\n" for line in lines).encode()) == lines


@pytest.mark.parametrize("length", [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 2 * MAX_LINE, 3 * MAX_LINE])
def test_a_long_line_is_cut_the_same_however_it_arrives(length: int) -> None:
    data = b"x" * length + b"\n"
    whole, single = LineSplitter(), LineSplitter()
    lines = whole.feed(data)
    assert [line for byte in data for line in single.feed(bytes([byte]))] == lines
    assert "".join(lines).count("x") == min(length, 2 * MAX_LINE)
    assert max(map(len, lines)) <= MAX_LINE + len(f"[{length} bytes of this line are left out] ")
    assert ("[4096 bytes of this line are left out] " in "".join(lines)) == (length == 3 * MAX_LINE)


def test_escapes_are_stripped_and_controls_are_shown() -> None:
    """A driver that printed a NUL with every line passed once: nobody could see it."""
    assert clean(b"\x1b[1;32mok\x1b[0m\x1b]0;title\x07 \x00done\x7f\r") == r"ok \x00done\x7f"
    assert clean(b"caf\xc3\xa9 \xff") == "café \ufffd"


def test_subscribers_hear_lines_until_they_leave(pair: Pair) -> None:
    line, guest = pair
    heard: list[str] = []
    two, three = threading.Event(), threading.Event()
    leave = line.on_line(lambda _t, text: heard.append(text))
    line.on_line(lambda _t, text: two.set() if text == "two" else three.set() if text == "three" else None)
    guest.send(b"one\ntw")
    guest.send(b"o\n")
    assert two.wait(5)
    leave()
    guest.send(b"three\n")
    assert three.wait(5)
    assert heard == ["one", "two"]


def test_a_slow_line_writes_byte_by_byte_and_nothing_else_than_it_was_given(pair: Pair) -> None:
    line, guest = pair
    line.pace = 1e-6
    line.write(bytes(range(256)))
    received = b""
    while len(received) < 256:
        received += guest.recv(1024)
    assert received == bytes(range(256))


def test_a_watch_keeps_what_came_before_it_was_asked(pair: Pair) -> None:
    line, guest = pair
    with line.watch() as watch:
        guest.send(b"boot\nseq=17 ready\nnext 18\n")
        assert watch.expect(r"seq=(\d+)", within(5))[1] == "17"
        assert watch.expect(r"next (\d+)", within(5))[1] == "18"
        with pytest.raises(DeadlinePassed, match="debug line"):
            watch.expect("never", within(0.01))


def test_what_a_quick_guest_said_already_is_found(pair: Pair) -> None:
    line, guest = pair
    said = threading.Event()
    line.on_line(lambda _t, _text: said.set())
    guest.send(b"ready 7\n")
    assert said.wait(5)
    assert line.expect(r"ready (\d)", within(5))[1] == "7"
    with line.watch() as watch, pytest.raises(DeadlinePassed):
        watch.expect("ready", within(0.01))


def test_the_end_of_the_machine_ends_the_wait(pair: Pair) -> None:
    line, guest = pair
    with line.watch() as watch:
        guest.close()
        with pytest.raises(GuestDied):
            watch.expect("anything", within(5))
    with pytest.raises(GuestDied):
        line.expect("anything", within(5))


def test_a_watch_that_nobody_reads_does_not_stall_the_line(pair: Pair) -> None:
    line, guest = pair
    last = threading.Event()
    line.on_line(lambda _t, text: last.set() if text == "last" else None)
    with line.watch() as watch:
        guest.sendall(b"chatter\n" * 200_000 + b"last\n")
        assert last.wait(20)
        with pytest.raises(MachineError, match="expect sooner"):
            watch.expect("chatter", within(1))


def test_write_reaches_the_guest_and_says_when_it_is_gone(pair: Pair) -> None:
    line, guest = pair
    line.write(b"hello")
    assert guest.recv(10) == b"hello"
    guest.close()
    with pytest.raises(GuestDied):
        line.write(b"hello")


def test_a_cut_line_does_not_run_into_the_next(pair: Pair) -> None:
    line, guest = pair
    heard: list[str] = []
    first, second = threading.Event(), threading.Event()
    line.on_line(lambda _t, text: heard.append(text))
    line.on_line(lambda _t, text: first.set() if text == "first" else second.set() if text == "fresh" else None)
    guest.send(b"first\nhalf a li")
    assert first.wait(5)
    line.cut()
    guest.send(b"fresh\n")
    assert second.wait(5)
    assert heard == ["first", "half a li", "fresh"]


def test_whoever_waits_is_told_why_nothing_will_come(pair: Pair) -> None:
    line, guest = pair

    def last_words(_t: int, text: str) -> None:  # in the thread that reads the line
        line.interrupt(f"the peer says: {text}")

    line.on_line(last_words)
    with line.watch() as watch:
        guest.sendall(b"no disk\n")
        with pytest.raises(GuestDied, match="the peer says: no disk"):
            watch.expect("READY", within(30))
    line.interrupt("nobody waits any more")
    with line.watch() as watch:
        guest.sendall(b"READY\n")
        with pytest.raises(GuestDied):  # `last_words` has heard this, too
            watch.expect("never said", within(30))


def test_a_subscriber_is_called_with_no_lock_of_the_line_held(pair: Pair) -> None:
    """The order of locks: whoever holds a lock that a subscriber wants may still call the line."""
    line, guest = pair
    theirs, called, heard = threading.Lock(), threading.Event(), threading.Event()

    def wants_it(_t: int, _text: str) -> None:
        called.set()
        with theirs:
            heard.set()

    def call_the_line() -> None:
        line.on_line(lambda _t, _text: None, look_back=True)()
        with line.watch():
            line.interrupt("why not")
        assert line.last(1) == ["one"]
        line.say(["of ours"])
        returned.set()

    returned = threading.Event()
    line.on_line(wants_it)
    with theirs:
        guest.send(b"one\n")
        assert called.wait(5)
        threading.Thread(target=call_the_line, daemon=True).start()
        assert returned.wait(5)
    assert heard.wait(5)


def test_a_subscriber_may_call_back_into_the_line(pair: Pair) -> None:
    line, guest = pair
    heard: list[str] = []
    done = threading.Event()

    def calls_back(_t: int, text: str) -> None:
        heard.append(text)
        if text == "one":
            line.say(["said within"])
            leave = line.on_line(lambda _t, text: heard.append(f"looked back on {text}"), look_back=True)
            leave()
            assert not line.all_dealt_with()
        elif text == "said within":
            done.set()

    line.on_line(calls_back)
    guest.send(b"one\ntwo\n")
    assert done.wait(5)
    # Both lines came at once, and what is said within the first follows them: nobody hears lines out of order.
    assert [text for text in heard if not text.startswith("looked")] == ["one", "two", "said within"]
    assert "looked back on one" in heard


def test_all_hear_the_same_lines_in_the_same_order_whoever_says_them(pair: Pair) -> None:
    line, _ = pair
    early, late = list[str](), list[str]()
    line.on_line(lambda _t, text: early.append(text))

    def say_all(who: str) -> None:
        for number in range(60):
            line.say([f"{who} {number}"])

    threads = [threading.Thread(target=say_all, args=(who,)) for who in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    line.on_line(lambda _t, text: late.append(text), look_back=True)
    for thread in threads:
        thread.join()
    assert early == late == line.last(180)


def test_who_has_left_hears_nothing_more(pair: Pair) -> None:
    line, _ = pair
    heard: list[str] = []

    def once(_t: int, text: str) -> None:
        heard.append(text)
        leave()

    leave = line.on_line(once)
    line.say(["one", "two"])
    line.say(["three"])
    assert heard == ["one"]
