/*
 * The kernel's own header, and what it may lack: status codes that some orders of inclusion leave out.
 *
 * WSKLAB_OWN_WSK_H is defined where the headers of this folder must give the rest: with mingw-w64's kernel headers, whichever compiler
 * reads them, and in the native test build (WSKLAB_NATIVE). With the WDK they all step aside for the WDK's of the same name.
 */
#ifndef WSKLAB_WSK_KERNEL_H
#define WSKLAB_WSK_KERNEL_H

#if defined(WSKLAB_NATIVE)
#include "ntshim.h"
#else
#include <ntddk.h>
#endif

#if defined(WSKLAB_NATIVE) || defined(__MINGW64_VERSION_MAJOR)
#define WSKLAB_OWN_WSK_H

#include <stddef.h>

#if !defined(WSKLAB_NATIVE)
/* mingw-w64 makes these calls of its C library, which a driver cannot be linked with. */
#undef RtlUshortByteSwap
#undef RtlUlongByteSwap
#undef RtlUlonglongByteSwap
#define RtlUshortByteSwap(value) ((USHORT)__builtin_bswap16((USHORT)(value)))
#define RtlUlongByteSwap(value) ((ULONG)__builtin_bswap32((ULONG)(value)))
#define RtlUlonglongByteSwap(value) ((ULONGLONG)__builtin_bswap64((ULONGLONG)(value)))
#endif

#ifndef STATUS_RECEIVE_PARTIAL
#define STATUS_RECEIVE_PARTIAL ((NTSTATUS)0x4000000FL)
#endif
#ifndef STATUS_EVENT_PENDING /* informational: NT_SUCCESS() is true for it (R31) */
#define STATUS_EVENT_PENDING ((NTSTATUS)0x40000013L)
#endif
#ifndef STATUS_DEVICE_NOT_READY
#define STATUS_DEVICE_NOT_READY ((NTSTATUS)0xC00000A3L)
#endif
#ifndef STATUS_IO_TIMEOUT
#define STATUS_IO_TIMEOUT ((NTSTATUS)0xC00000B5L)
#endif
#ifndef STATUS_FILE_FORCED_CLOSED /* the socket is dead: close it soon (R46) */
#define STATUS_FILE_FORCED_CLOSED ((NTSTATUS)0xC00000B6L)
#endif
#ifndef STATUS_REQUEST_NOT_ACCEPTED
#define STATUS_REQUEST_NOT_ACCEPTED ((NTSTATUS)0xC00000D0L)
#endif
#ifndef STATUS_CANCELLED
#define STATUS_CANCELLED ((NTSTATUS)0xC0000120L)
#endif
#ifndef STATUS_LOCAL_DISCONNECT
#define STATUS_LOCAL_DISCONNECT ((NTSTATUS)0xC000013BL)
#endif
#ifndef STATUS_REMOTE_DISCONNECT
#define STATUS_REMOTE_DISCONNECT ((NTSTATUS)0xC000013CL)
#endif
#ifndef STATUS_INVALID_CONNECTION
#define STATUS_INVALID_CONNECTION ((NTSTATUS)0xC0000140L)
#endif
#ifndef STATUS_INVALID_DEVICE_STATE
#define STATUS_INVALID_DEVICE_STATE ((NTSTATUS)0xC0000184L)
#endif
#ifndef STATUS_INVALID_ADDRESS_COMPONENT
#define STATUS_INVALID_ADDRESS_COMPONENT ((NTSTATUS)0xC0000207L)
#endif
#ifndef STATUS_ADDRESS_ALREADY_EXISTS
#define STATUS_ADDRESS_ALREADY_EXISTS ((NTSTATUS)0xC000020AL)
#endif
#ifndef STATUS_ADDRESS_CLOSED
#define STATUS_ADDRESS_CLOSED ((NTSTATUS)0xC000020BL)
#endif
#ifndef STATUS_CONNECTION_DISCONNECTED
#define STATUS_CONNECTION_DISCONNECTED ((NTSTATUS)0xC000020CL)
#endif
#ifndef STATUS_CONNECTION_RESET
#define STATUS_CONNECTION_RESET ((NTSTATUS)0xC000020DL)
#endif
#ifndef STATUS_DATA_NOT_ACCEPTED
#define STATUS_DATA_NOT_ACCEPTED ((NTSTATUS)0xC000021BL)
#endif
#ifndef STATUS_CONNECTION_REFUSED
#define STATUS_CONNECTION_REFUSED ((NTSTATUS)0xC0000236L)
#endif
#ifndef STATUS_GRACEFUL_DISCONNECT
#define STATUS_GRACEFUL_DISCONNECT ((NTSTATUS)0xC0000237L)
#endif
#ifndef STATUS_CONNECTION_INVALID
#define STATUS_CONNECTION_INVALID ((NTSTATUS)0xC000023AL)
#endif
#ifndef STATUS_CONNECTION_ACTIVE
#define STATUS_CONNECTION_ACTIVE ((NTSTATUS)0xC000023BL)
#endif
#ifndef STATUS_NETWORK_UNREACHABLE
#define STATUS_NETWORK_UNREACHABLE ((NTSTATUS)0xC000023CL)
#endif
#ifndef STATUS_HOST_UNREACHABLE
#define STATUS_HOST_UNREACHABLE ((NTSTATUS)0xC000023DL)
#endif
#ifndef STATUS_PROTOCOL_UNREACHABLE
#define STATUS_PROTOCOL_UNREACHABLE ((NTSTATUS)0xC000023EL)
#endif
#ifndef STATUS_PORT_UNREACHABLE
#define STATUS_PORT_UNREACHABLE ((NTSTATUS)0xC000023FL)
#endif
#ifndef STATUS_REQUEST_ABORTED
#define STATUS_REQUEST_ABORTED ((NTSTATUS)0xC0000240L)
#endif
#ifndef STATUS_CONNECTION_ABORTED
#define STATUS_CONNECTION_ABORTED ((NTSTATUS)0xC0000241L)
#endif
#ifndef STATUS_NOINTERFACE
#define STATUS_NOINTERFACE ((NTSTATUS)0xC00002B9L)
#endif

#endif
#endif
