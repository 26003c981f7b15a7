"""drivers/include compiles what WSK code writes against the WDK's header, and its values are the documented ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from wsklab.drivers import build

INCLUDE = build.HOME / "include"
STYLES = INCLUDE / "tests"
SYSTEM = "/usr/share/mingw-w64/include"
FLAGS = ("-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}", f"-I{STYLES}", "-isystem", f"{SYSTEM}/ddk",
         "-D_WIN32_WINNT=0x0A00", "-DNTDDI_VERSION=0x0A000000")  # fmt: skip
#: mingw-w64's wdm.h defines these two once more, which C++ does not let pass.
CXX = ("-D__INTRINSIC_DEFINED_InterlockedBitTestAndSet", "-D__INTRINSIC_DEFINED_InterlockedBitTestAndReset")
GCC = ("x86_64-w64-mingw32-gcc",)
GXX = ("x86_64-w64-mingw32-g++",)
CLANG = ("clang", "--target=x86_64-w64-mingw32")
#: The compiler of the WDK's projects, with mingw-w64's headers, which want to hear of GNU C.
CLANG_MSVC = ("clang", "--target=x86_64-pc-windows-msvc", "-fgnuc-version=12.2.0", "-isystem", SYSTEM)
EXTENDED = STYLES / "embedded_irp.c"
C_STYLES = sorted(path for path in STYLES.glob("*.c") if path != EXTENDED)


def refused(*command: str | Path) -> str:
    """Return what the compiler says of the files; empty when it takes them."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"needs {command[0]}")
    done = subprocess.run([*command, *FLAGS], capture_output=True, text=True, check=False, timeout=300)
    return done.stderr or ("" if done.returncode == 0 else "failed without a word")


def together(folder: Path, *styles: Path) -> Path:
    """One file that includes all others: the kernel's headers take most of the time, and are read once."""
    source = folder / ("styles" + styles[-1].suffix)
    source.write_text("".join(f'#include "{path.name}"\n' for path in styles))
    return source


@pytest.mark.parametrize("standard", ["c11", "c17"])
@pytest.mark.parametrize("compiler", [GCC, CLANG, CLANG_MSVC], ids=["gcc", "clang", "clang-msvc"])
def test_every_style_of_c_compiles(compiler: tuple[str, ...], standard: str, tmp_path: Path) -> None:
    assert len(C_STYLES) >= 5
    assert refused(*compiler, f"-std={standard}", together(tmp_path, *C_STYLES)) == ""


@pytest.mark.parametrize("compiler", [GCC, CLANG, CLANG_MSVC], ids=["gcc", "clang", "clang-msvc"])
def test_code_with_microsofts_extensions_compiles(compiler: tuple[str, ...], tmp_path: Path) -> None:
    source = together(tmp_path, *C_STYLES, EXTENDED)
    assert refused(*compiler, "-std=c17", "-fms-extensions", "-Wno-microsoft-anon-tag", source) == ""


@pytest.mark.parametrize("compiler", [GXX, CLANG, CLANG_MSVC], ids=["g++", "clang", "clang-msvc"])
def test_the_same_compiles_as_cpp(compiler: tuple[str, ...], tmp_path: Path) -> None:
    assert refused(*compiler, "-std=c++17", *CXX, together(tmp_path, *C_STYLES, STYLES / "classes.cpp")) == ""


def test_the_header_is_strictly_iso_c_but_for_marked_extensions() -> None:
    assert refused(*GCC, "-std=c11", "-Wpedantic", "-xc", "-include", INCLUDE / "mstcpip.h", INCLUDE / "wsk.h") == ""


@pytest.mark.parametrize(
    "before",
    [("ntifs.h", "wdm.h"), ("wdm.h", "ws2def.h"), ("ntddk.h", "ws2ipdef.h", "mstcpip.h"), ("ntstrsafe.h",)],
    ids="+".join,
)
def test_any_order_of_kernel_headers_goes(before: tuple[str, ...], tmp_path: Path) -> None:
    source = tmp_path / "order.c"
    names = (*before, "wsk.h", "ws2def.h", "ws2ipdef.h", "in6addr.h", "inaddr.h")
    source.write_text("".join(f"#include <{name}>\n" for name in names) + "SOCKADDR_INET any = {{AF_INET, 0}};\n")
    assert refused(*GCC, "-std=c17", "-Wno-missing-braces", "-Wno-missing-field-initializers", source) == ""


def test_with_the_wdk_all_of_it_steps_aside(tmp_path: Path) -> None:
    """A folder with the WDK's names in it; this folder stands first in the search path."""
    for name in ("km/ntddk.h", "km/wsk.h", "shared/ws2def.h", "shared/ws2ipdef.h", "shared/mstcpip.h"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"int wdk_{path.stem};\n")
    source = tmp_path / "driver.c"
    source.write_text(
        "#include <wsk.h>\n#include <mstcpip.h>\n#include <ws2ipdef.h>\n"
        "int main(void) { return wdk_ntddk + wdk_wsk + wdk_mstcpip + wdk_ws2ipdef + wdk_ws2def; }\n"
    )
    done = subprocess.run(["gcc", "-fsyntax-only", f"-I{INCLUDE}", f"-I{tmp_path}/km", f"-I{tmp_path}/shared", source],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.stderr == ""


def test_a_missing_function_would_be_seen(tmp_path: Path) -> None:
    """The compile tests can fail: a name that WSK has not, and a callback of the wrong type."""
    for text in ("PFN_WSK_TELEPORT x;", "NTSTATUS f(PVOID p); PFN_WSK_DISCONNECT_EVENT e = f;",
                 "int f(WSK_PROVIDER_LISTEN_DISPATCH *d) { return d->WskSend != 0; }"):  # fmt: skip
        source = tmp_path / "wrong.c"
        source.write_text(f"#include <wsk.h>\n{text}\n")
        assert "error" in refused(*GCC, "-std=c17", source)


#: Microsoft's pages: the wsk.h reference and "Winsock Kernel" in the network driver guide, ws2def.h and ws2ipdef.h
#: ("ADDRINFOEXW", "WSACMSGHDR", "IPPROTO_IP Socket Options", ...), Winsock IOCTLs (the fields of a control code).
DOCUMENTED = {
    "AF_INET": 2, "AF_INET6": 23, "SOCK_STREAM": 1, "SOCK_DGRAM": 2, "SOCK_RAW": 3, "IPPROTO_ICMP": 1,
    "IPPROTO_TCP": 6, "IPPROTO_UDP": 17, "IPPROTO_IPV6": 41, "IPPROTO_ICMPV6": 58, "IPPROTO_RAW": 255,
    "SOL_SOCKET": 0xFFFF, "SO_REUSEADDR": 4, "SO_KEEPALIVE": 8, "SO_LINGER": 0x80, "SO_EXCLUSIVEADDRUSE": -5,
    "SO_SNDBUF": 0x1001, "SO_RCVBUF": 0x1002, "SO_ERROR": 0x1007, "SO_CONDITIONAL_ACCEPT": 0x3002,
    "TCP_NODELAY": 1, "TCP_KEEPALIVE": 3, "TCP_MAXRT": 5, "TCP_KEEPCNT": 16, "TCP_KEEPINTVL": 17,
    "IPV6_V6ONLY": 27, "IP_PKTINFO": 19, "IPV6_PKTINFO": 19, "IP_TTL": 4, "IP_DONTFRAGMENT": 14,
    "AI_PASSIVE": 1, "AI_CANONNAME": 2, "AI_NUMERICHOST": 4, "AI_NUMERICSERV": 8, "AI_ALL": 0x100,
    "AI_ADDRCONFIG": 0x400, "AI_V4MAPPED": 0x800, "AI_NON_AUTHORITATIVE": 0x4000, "AI_SECURE": 0x8000,
    "AI_RETURN_PREFERRED_NAMES": 0x10000, "AI_FQDN": 0x20000, "AI_FILESERVER": 0x40000, "NI_NOFQDN": 1,
    "NI_NUMERICHOST": 2, "NI_NAMEREQD": 4, "NI_NUMERICSERV": 8, "NI_DGRAM": 16, "MSG_TRUNC": 0x100,
    "MSG_CTRUNC": 0x200, "MSG_BCAST": 0x400, "MSG_MCAST": 0x800, "INADDR_ANY": 0, "INADDR_LOOPBACK": 0x7F000001,
    "INADDR_BROADCAST": 0xFFFFFFFF, "INADDR_NONE": 0xFFFFFFFF, "WSK_FLAG_BASIC_SOCKET": 0,
    "WSK_FLAG_LISTEN_SOCKET": 1, "WSK_FLAG_CONNECTION_SOCKET": 2, "WSK_FLAG_DATAGRAM_SOCKET": 4,
    "WSK_FLAG_STREAM_SOCKET": 8, "WSK_FLAG_ABORTIVE": 1, "WSK_FLAG_RELEASE_ASAP": 2,
    "WSK_FLAG_ENTIRE_MESSAGE": 4, "WSK_FLAG_AT_DISPATCH_LEVEL": 8, "WSK_FLAG_NODELAY": 2, "WSK_FLAG_WAITALL": 2,
    "WSK_FLAG_DRAIN": 4, "WSK_EVENT_SEND_BACKLOG": 0x10, "WSK_EVENT_RECEIVE": 0x40,
    "WSK_EVENT_DISCONNECT": 0x80, "WSK_EVENT_RECEIVE_FROM": 0x100, "WSK_EVENT_ACCEPT": 0x200,
    "WSK_EVENT_DISABLE": 0x80000000, "SO_WSK_SECURITY": 0x4001, "SO_WSK_EVENT_CALLBACK": 0x4002,
    "WSK_TRANSPORT_LIST_QUERY": 2, "WSK_TRANSPORT_LIST_CHANGE": 3, "WSK_CACHE_SD": 4, "WSK_RELEASE_SD": 5,
    "WSK_TDI_DEVICENAME_MAPPING": 6, "WSK_SET_STATIC_EVENT_CALLBACKS": 7, "WSK_TDI_BEHAVIOR": 8,
    "SIO_WSK_SET_REMOTE_ADDRESS": 0x8F000001, "SIO_WSK_REGISTER_EXTENSION": 0xCF000002,
    "SIO_WSK_QUERY_IDEAL_SEND_BACKLOG": 0x4F000003, "SIO_WSK_QUERY_RECEIVE_BACKLOG": 0x4F000004,
    "SIO_WSK_QUERY_INSPECT_ID": 0x4F000005, "SIO_WSK_SET_SENDTO_ADDRESS": 0x8F000006,
    "SIO_WSK_SET_TCP_SILENT_MODE": 0x2F000007, "SIO_KEEPALIVE_VALS": 0x98000004,
    "SIO_ADDRESS_LIST_QUERY": 0x48000016, "SIO_ADDRESS_LIST_CHANGE": 0x28000017, "WSK_NO_WAIT": 0,
    "WSK_INFINITE_WAIT": 0xFFFFFFFF, "WskInspectReject": 0, "WskInspectAccept": 1, "WskInspectPend": 2,
    "WskSetOption": 0, "WskGetOption": 1, "WskIoctl": 2, "MAKE_WSK_VERSION(1, 2)": 0x102,
    "WSK_MAJOR_VERSION(0x102)": 1, "WSA_CMSG_LEN(8)": 24, "WSA_CMSG_SPACE(8)": 24, "WSA_CMSG_SPACE(20)": 40,
    "WSA_CMSGDATA_ALIGN(20)": 24, "STATUS_EVENT_PENDING": 0x40000013, "STATUS_CONNECTION_RESET": -0x3FFFFDF3,
    "STATUS_FILE_FORCED_CLOSED": -0x3FFFFF4A,
}  # fmt: skip


def test_the_values_are_the_documented_ones(tmp_path: Path) -> None:
    source = tmp_path / "values.c"
    lines = [f'_Static_assert((long long)({name}) == {value}ll, "{name}");' for name, value in DOCUMENTED.items()]
    source.write_text("\n".join(["#include <wsk.h>", "#include <mstcpip.h>", *lines, ""]))
    assert refused(*GCC, "-std=c11", source) == ""


def test_no_file_of_the_folder_has_grown_out_of_hand() -> None:
    assert {path.name for path in INCLUDE.glob("*.h")} == {"mstcpip.h", "ws2def.h", "ws2ipdef.h", "wsk.h",
                                                           "wsk_kernel.h", "wsk_layout.h"}  # fmt: skip
    assert max(len(path.read_text().splitlines()) for path in INCLUDE.rglob("*.[ch]")) < 470
