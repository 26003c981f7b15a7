"""C code of this layer, compiled for Linux under the sanitizers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import native

from wsklab.common import JSON_IN_C
from wsklab.drivers import dense
from wsklab.drivers.build import HOME
from wsklab.orchestrator.guest.agent import Agent
from wsklab.qemu.serial import SerialLine

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

READER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "reply.h"
/* Each line of data on stdin is a request; the answer is what was understood, or the error. */
int main(void)
{
    static char data[1 << 18];
    static uint8_t bytes[1 << 16];
    static uint8_t line[1 << 16];
    static char out[1 << 18];
    while (fgets(data, sizeof data, stdin)) {
        data[strcspn(data, "\n")] = 0;
        ptrdiff_t length = data_read(data, line, sizeof line - 1);
        char *exact = malloc((size_t)length + 1); /* so that the sanitizer sees one byte too far */
        memcpy(exact, line, (size_t)length);
        exact[length] = 0;
        JSON_OBJECT object;
        JSON_WRITER writer;
        const char *error = json_read(exact, &object);
        json_start(&writer, out, sizeof out);
        if (error)
            json_put_text(&writer, "error", error);
        for (size_t i = 0; !error && i < object.count; i++) {
            int64_t number;
            const char *name = object.members[i].name, *given = json_text(&object, name);
            ptrdiff_t count = given && !strcmp(name, "data") ? data_read(given, bytes, 4096) : -1;
            if (count >= 0)
                json_put_data(&writer, name, bytes, (size_t)count);
            else if (given)
                json_put_text(&writer, name, given);
            else if (json_number(&object, object.members[i].name, &number))
                json_put_number(&writer, object.members[i].name, number);
            else
                json_put_bool(&writer, object.members[i].name, object.members[i].kind == JSON_TRUE);
        }
        json_end(&writer);
        fputs(out, stdout);
        fflush(stdout);
        free(exact);
    }
    return 0;
}
"""

FRAMES = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "frame.h"
/* Each line on stdin is one of the agent's port; what it is, and the request that it completes. */
int main(void)
{
    static char data[1 << 18], text[16384];
    static const char *const kinds[] = {"nothing", "piece", "request", "damaged"};
    FRAME frame = {.text = text, .size = sizeof text};
    while (fgets(data, sizeof data, stdin)) {
        data[strcspn(data, "\n")] = 0;
        char *exact = strdup(data);
        FRAME_KIND kind = frame_take(&frame, exact, strlen(exact) > 100000);
        printf("%s %s\n", kinds[kind], kind == FRAME_REQUEST ? text : "");
        free(exact);
    }
    return 0;
}
"""

SANITIZE = ("-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-fno-omit-frame-pointer")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    (folder / "reader.c").write_text(READER)
    agent = HOME / "agent"
    flags = [
        *SANITIZE,
        "-Werror",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        f"-I{agent}",
        f"-I{JSON_IN_C}",
    ]
    sources = [folder / "reader.c", agent / "reply.c", JSON_IN_C / "json.c"]
    subprocess.run(["gcc", *flags, "-o", folder / "reader", *sources], check=True)
    return folder / "reader"


def read_all(reader: Path, lines: list[bytes]) -> list[dict[str, object]]:
    text = "".join(dense.encode(line) + "\n" for line in lines)
    done = subprocess.run([reader], input=text, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(answer) for answer in done.stdout.splitlines()]


Take = Callable[[list[bytes]], list[tuple[str, bytes]]]
"""What the agent makes of the lines of its port: (kind, request) of each."""


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Take:
    folder = tmp_path_factory.mktemp("frames")
    (folder / "frames.c").write_text(FRAMES)
    flags = [*SANITIZE, "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{HOME / 'agent'}"]
    command: list[str | Path] = [
        "gcc",
        *flags,
        "-o",
        folder / "frames",
        folder / "frames.c",
        HOME / "agent" / "frame.c",
    ]
    subprocess.run(command, check=True)

    def take(lines: list[bytes]) -> list[tuple[str, bytes]]:
        done = subprocess.run([folder / "frames"], input=b"".join(line + b"\n" for line in lines), check=False,
                              capture_output=True, timeout=60)  # fmt: skip
        assert done.returncode == 0, done.stderr
        said = (line.split(b" ", 1) for line in done.stdout.split(b"\n")[:-1])
        return [(kind.decode(), request) for kind, request in said]

    return take


def lines_of(request: bytes) -> list[bytes]:
    """As the host sends it."""
    with socket.socket() as nowhere:
        return Agent(SerialLine("agent", nowhere), lambda: None)._lines(request)


_requests = st.tuples(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40),
                      st.integers(0, 150)).map(
    lambda data: json.dumps({"id": 7, "data": data[0] * data[1]}).encode())  # fmt: skip


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(_requests, min_size=1, max_size=4))
def test_requests_come_through_whole_and_in_pieces(frames: Take, requests: list[bytes]) -> None:
    lines = [line for request in requests for line in (b"", *lines_of(request))]
    assert all(2 * len(line) < 4096 for line in lines), "serial.sys has room for two"
    said = frames(lines)
    assert [request for kind, request in said if kind == "request"] == requests
    assert "damaged" not in {kind for kind, _ in said}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=_requests, at=st.data())
def test_a_request_that_lost_something_is_never_taken_for_another(
    frames: Take, request: bytes, at: st.DataObject
) -> None:
    good = b"".join(line + b"\n" for line in lines_of(request))
    begin = at.draw(st.integers(0, len(good) - 1))
    rest = good[:begin] + good[begin + at.draw(st.integers(1, 40)) :]
    said = frames([*lines_of(b'{"id":6}'), *rest.split(b"\n"), *lines_of(request)])
    taken = [one for kind, one in said[1:] if kind == "request"]
    assert set(taken) == {request}, "sent once more it is understood, whatever was left of the first"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"").replace(b"\0", b"")),
                      max_size=30))  # fmt: skip
def test_any_lines_are_survived(frames: Take, lines: list[bytes]) -> None:
    (*_, last) = frames([*lines, b"x", *lines_of(b'{"id":9}')])
    assert last == ("request", b'{"id":9}')


_flat = st.dictionaries(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=10),
    st.one_of(
        st.text(st.characters(min_codepoint=1, max_codepoint=0x7F), max_size=30),
        st.integers(-(2**63), 2**63 - 1), st.booleans(),
    ),
    max_size=24,
)  # fmt: skip


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(objects=st.lists(_flat, min_size=20, max_size=40))
def test_what_json_writes_is_read(reader: Path, objects: list[dict[str, object]]) -> None:
    assert read_all(reader, [json.dumps(entry).encode() for entry in objects]) == objects


@settings(max_examples=20)
@given(
    lines=st.lists(st.binary(max_size=60).filter(lambda data: 0 not in data), min_size=30, max_size=60), at=st.data()
)
def test_bad_requests_are_survived(reader: Path, lines: list[bytes], at: st.DataObject) -> None:
    good = b'{"id": 7, "op": "ioctl", "text": "a\\u0041\\n", "n": -12, "b": true, "z": null}'
    cuts = [good[: at.draw(st.integers(0, len(good)))] + line for line in lines[:20]]
    answers = read_all(reader, [*lines, *cuts, good])
    assert answers[-1] == {"id": 7, "op": "ioctl", "text": "aA\n", "n": -12, "b": True, "z": False}
    assert len(answers) == len(lines) + len(cuts) + 1


_mostly_zeros = st.lists(st.one_of(st.binary(max_size=20), st.integers(0, 600).map(bytes)), max_size=6).map(b"".join)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=st.lists(_mostly_zeros, min_size=20, max_size=40))
def test_data_comes_through_both_ends_of_the_agents_line(reader: Path, blocks: list[bytes]) -> None:
    texts = [dense.encode(block) for block in blocks]
    assert [dense.decode(text) for text in texts] == blocks
    answers = read_all(reader, [json.dumps({"data": text}).encode() for text in texts])
    assert [answer["data"] for answer in answers] == texts


def test_text_that_is_no_data_is_refused(reader: Path) -> None:
    wrong = ["~", "~0", "%", "%4", "%gg", "a~zz", "é", '"', "~00x"]
    for text in wrong:
        with pytest.raises(ValueError, match="stands for no bytes"):
            dense.decode(text)
    too_long = "~ff" * 17  # the reader has room for 4096 bytes
    asked = [*(text for text in wrong if text.isascii()), too_long]
    answers = read_all(reader, [json.dumps({"data": text}).encode() for text in asked])
    assert [answer["data"] for answer in answers] == asked, "given back as text, not read as data"


def test_what_is_wrong_with_a_request_is_said(reader: Path) -> None:
    cases = {
        b"": "not a JSON object",
        b'{"a":{}}': "neither string",
        b'{"a":1.5}': "not whole",
        b'{"a":99999999999999999999}': "too big",
        b'{"a":9223372036854775808}': "too big",
        b'{"a":-9223372036854775809}': "too big",
        b'{"a":01}': "begins with a zero",
        b'{"a":-}': "neither string",
        b'{"a":1,"a":2}': "twice",
        b'{"a":1,}': "name is missing",
        b'{"a" 1}': "colon",
        b'{"a":1 "b":2}': "comma",
        b'{"a":1': "closing brace",
        b'{"a":"\\ud800"}': "escape",
        b'{"a":"x': "not closed",
        b'{"a":1} x': "behind",
        b"{" + b",".join(b'"%d":1' % i for i in range(25)) + b"}": "too many",
    }
    for answer, says in zip(read_all(reader, list(cases)), cases.values(), strict=True):
        assert says in str(answer["error"])


def storm_program(sanitizer: str, *defines: str) -> Path:
    """Build the driver, its storm and the stand-in's provider as one program."""
    driver = [path for path in (HOME / "wsklab").glob("*.c") if path.name != "driver.c"]  # the device is Windows' own
    sources = [*driver, *(HOME / "wsklab" / "tests").glob("*.c")]
    sources += [path for folder in ("standin", "strict") for path in (HOME / folder).glob("*.c")]
    includes = [
        f"-I{HOME / 'include'}",
        f"-I{HOME / 'native'}",
        f"-I{HOME / 'standin'}",
        f"-I{HOME / 'strict'}",
        "-include",
        str(HOME / "wsklab" / "tests" / "native.h"),
    ]
    flags = [*SANITIZE, *defines, "-Wno-unused-value", "-DWSKLAB_NATIVE", "-D_GNU_SOURCE", "-fshort-wchar", "-pthread"]
    sources += (HOME / "native").glob("*.c")
    return native.program("storm", sources, [*flags, f"-fsanitize={sanitizer}", *includes])


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_nothing_is_lost_in_a_storm(tmp_path: Path, sanitizer: str) -> None:
    """The driver on the stand-in provider: two threads, random endings, closes under everything, CLOSE_ALL midway."""
    program = storm_program(sanitizer)
    # Irp->Cancel is set under the cancel lock and read without it by whoever queues the IRP, as drivers do on Windows.
    known = tmp_path / "known"
    known.write_text("race:IoCancelIrp\n")
    concurrent = tmp_path / "strict.txt"
    concurrent.write_text("concurrent=on seed=4\n")
    for asked in ([], [str(concurrent)]):  # of the provider: one thread, or several
        done = subprocess.run(
            [program, "120", *asked],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={"TSAN_OPTIONS": f"suppressions={known}"},
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_use_behind_the_call_is_found_when_wsk_completes_inside_it(tmp_path: Path) -> None:
    """The twin touches-after-call: the IRP's operation may be gone when the WSK function returns."""
    program = storm_program("address,undefined", "-DWSKLAB_TWIN=TOUCHES_AFTER_CALL")
    concurrent = tmp_path / "strict.txt"
    concurrent.write_text("concurrent=on seed=4\n")
    done = subprocess.run([program, "120", str(concurrent)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "heap-use-after-free" in done.stderr
