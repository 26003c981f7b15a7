/*
 * echo: a TCP echo server in the kernel, on Winsock Kernel.
 *
 * Whatever a peer sends comes back to it, without a copy: the buffers that WskReceiveEvent indicates are kept, handed to WskSend
 * as they are, and released when they are out. When the peer has finished, so does the server, after the last byte.
 *
 *   server.c      load and unload, the listening socket, accepting
 *   connection.c  one connection, from WskAcceptEvent to the completion of WskCloseSocket
 *
 * Port: REG_DWORD `Port` under the service's `Parameters` key, 7 without it.
 */
#ifndef ECHO_H
#define ECHO_H

#include <wsk.h>

#define ECHO_TAG 0x6f686345 /* 'Echo' */
#define ECHO_POOL ((POOL_TYPE)512) /* NonPagedPoolNx */

#define ECHO_SAY(Format, ...) DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "echo" Format "\n", ##__VA_ARGS__)

typedef struct ECHO_CONNECTION ECHO_CONNECTION;

typedef struct ECHO_SERVER {
    WSK_REGISTRATION Registration;
    WSK_PROVIDER_NPI Wsk;
    PDEVICE_OBJECT Device; /* nobody opens it: work items need one */
    PWSK_SOCKET Listener;

    KSPIN_LOCK Lock;
    LIST_ENTRY Connections;
    KEVENT Empty; /* set while no connection is alive */
    ULONG Alive, Served;
} ECHO_SERVER;

extern const WSK_CLIENT_CONNECTION_DISPATCH EchoConnectionEvents;

/* In WskAcceptEvent. NULL when there is no memory; otherwise it is in the server's list. */
ECHO_CONNECTION *EchoConnectionCreate(ECHO_SERVER *Server, PWSK_SOCKET Socket, const SOCKADDR_IN *Peer);

/* Asks the connection to end at once. Under the server's lock; it is over when it has left the list. */
void EchoConnectionStop(PLIST_ENTRY Link);

#endif
