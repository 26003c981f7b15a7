/* In the style of a server that lives in its event callbacks: static callbacks, conditional accept, indications kept and released. */
#include "call.h"

#include <mstcpip.h>

typedef struct _SERVER {
    PWSK_SOCKET Listener;
    PWSK_SOCKET Connection;
    PWSK_DATA_INDICATION Kept;
    SIZE_T Backlog;
} SERVER, *PSERVER;

static NTSTATUS WSKAPI Received(PVOID SocketContext, ULONG Flags, PWSK_DATA_INDICATION DataIndication,
                                SIZE_T BytesIndicated, SIZE_T *BytesAccepted)
{
    PSERVER server = (PSERVER)SocketContext;

    if (!DataIndication)
        return STATUS_SUCCESS;
    if (Flags & (WSK_FLAG_RELEASE_ASAP | WSK_FLAG_ENTIRE_MESSAGE)) {
        *BytesAccepted = BytesIndicated / 2;
        return BytesIndicated > 1 ? STATUS_SUCCESS : STATUS_DATA_NOT_ACCEPTED;
    }
    server->Kept = DataIndication;
    return STATUS_PENDING;
}

static NTSTATUS WSKAPI Disconnected(PVOID SocketContext, ULONG Flags)
{
    PSERVER server = (PSERVER)SocketContext;

    if (Flags & WSK_FLAG_ABORTIVE)
        server->Backlog = 0;
    return STATUS_SUCCESS;
}

static NTSTATUS WSKAPI Backlog(PVOID SocketContext, SIZE_T IdealBacklogSize)
{
    ((PSERVER)SocketContext)->Backlog = IdealBacklogSize;
    return STATUS_SUCCESS;
}

static const WSK_CLIENT_CONNECTION_DISPATCH ConnectionEvents = {Received, Disconnected, Backlog};

static NTSTATUS WSKAPI Accepted(PVOID SocketContext, ULONG Flags, PSOCKADDR LocalAddress, PSOCKADDR RemoteAddress,
                                PWSK_SOCKET AcceptSocket, PVOID *AcceptSocketContext,
                                const WSK_CLIENT_CONNECTION_DISPATCH **AcceptSocketDispatch)
{
    PSERVER server = (PSERVER)SocketContext;

    UNREFERENCED_PARAMETER(Flags);
    UNREFERENCED_PARAMETER(LocalAddress);
    if (!AcceptSocket || RemoteAddress->sa_family != AF_INET6)
        return STATUS_REQUEST_NOT_ACCEPTED;
    server->Connection = AcceptSocket;
    *AcceptSocketContext = server;
    *AcceptSocketDispatch = &ConnectionEvents;
    return STATUS_SUCCESS;
}

static WSK_INSPECT_ACTION WSKAPI Inspected(PVOID SocketContext, PSOCKADDR LocalAddress, PSOCKADDR RemoteAddress,
                                           PWSK_INSPECT_ID InspectID)
{
    const SOCKADDR_IN6 *remote = (const SOCKADDR_IN6 *)(PVOID)RemoteAddress;

    UNREFERENCED_PARAMETER(SocketContext);
    UNREFERENCED_PARAMETER(LocalAddress);
    if (IN6_IS_ADDR_LOOPBACK(&remote->sin6_addr) || IN6_IS_ADDR_V4MAPPED(&remote->sin6_addr))
        return InspectID->SerialNumber ? WskInspectPend : WskInspectAccept;
    return WskInspectReject;
}

static NTSTATUS WSKAPI Aborted(PVOID SocketContext, PWSK_INSPECT_ID InspectID)
{
    UNREFERENCED_PARAMETER(SocketContext);
    UNREFERENCED_PARAMETER(InspectID);
    return STATUS_SUCCESS;
}

extern const WSK_CLIENT_LISTEN_DISPATCH ListenEvents;
const WSK_CLIENT_LISTEN_DISPATCH ListenEvents = {Accepted, Inspected, Aborted};

NTSTATUS AllEvents(const WSK_PROVIDER_NPI *Provider);
NTSTATUS Transports(const WSK_PROVIDER_NPI *Provider, WSK_TRANSPORT *Room, SIZE_T Size);
NTSTATUS Decide(PSERVER Server, PWSK_INSPECT_ID Id, PIRP Irp);
NTSTATUS KeepAlive(PSERVER Server);
NTSTATUS End(PSERVER Server, PIRP DisconnectIrp, PIRP CloseIrp);

NTSTATUS AllEvents(const WSK_PROVIDER_NPI *Provider)
{
    WSK_EVENT_CALLBACK_CONTROL control = {&NPI_WSK_INTERFACE_ID, WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE |
                                                                     WSK_EVENT_DISCONNECT | WSK_EVENT_SEND_BACKLOG};
    ULONG behavior = WSK_TDI_BEHAVIOR_BYPASS_TDI;

    (void)Provider->Dispatch->WskControlClient(Provider->Client, WSK_TDI_BEHAVIOR, sizeof behavior, &behavior, 0, NULL,
                                               NULL, NULL);
    return Provider->Dispatch->WskControlClient(Provider->Client, WSK_SET_STATIC_EVENT_CALLBACKS, sizeof control,
                                                &control, 0, NULL, NULL, NULL);
}

NTSTATUS Transports(const WSK_PROVIDER_NPI *Provider, WSK_TRANSPORT *Room, SIZE_T Size)
{
    SIZE_T returned = 0;

    return Provider->Dispatch->WskControlClient(Provider->Client, WSK_TRANSPORT_LIST_QUERY, 0, NULL, Size, Room,
                                                &returned, NULL);
}

NTSTATUS Decide(PSERVER Server, PWSK_INSPECT_ID Id, PIRP Irp)
{
    const WSK_PROVIDER_LISTEN_DISPATCH *table = (const WSK_PROVIDER_LISTEN_DISPATCH *)Server->Listener->Dispatch;
    WSK_INSPECT_ID other;
    SIZE_T size;

    (void)table->WskControlSocket(Server->Connection, WskIoctl, SIO_WSK_QUERY_INSPECT_ID, 0, 0, NULL, sizeof other,
                                  &other, &size, NULL);
    return table->WskInspectComplete(Server->Listener, other.Key == Id->Key ? &other : Id, WskInspectAccept, Irp);
}

NTSTATUS KeepAlive(PSERVER Server)
{
    const WSK_PROVIDER_BASIC_DISPATCH *basic = (const WSK_PROVIDER_BASIC_DISPATCH *)Server->Connection->Dispatch;
    struct tcp_keepalive values = {1, 10000, 1000};
    struct linger linger = {1, 0};
    SIZE_T backlog = 0, size = 0;

    (void)basic->WskControlSocket(Server->Connection, WskIoctl, SIO_WSK_QUERY_IDEAL_SEND_BACKLOG, 0, 0, NULL,
                                  sizeof backlog, &backlog, &size, NULL);
    (void)basic->WskControlSocket(Server->Connection, WskSetOption, SO_LINGER, SOL_SOCKET, sizeof linger, &linger, 0,
                                  NULL, NULL, NULL);
    return basic->WskControlSocket(Server->Connection, WskIoctl, SIO_KEEPALIVE_VALS, 0, sizeof values, &values, 0, NULL,
                                   NULL, NULL);
}

NTSTATUS End(PSERVER Server, PIRP DisconnectIrp, PIRP CloseIrp)
{
    const WSK_PROVIDER_CONNECTION_DISPATCH *table =
        (const WSK_PROVIDER_CONNECTION_DISPATCH *)Server->Connection->Dispatch;

    if (Server->Kept)
        (void)table->WskRelease(Server->Connection, Server->Kept);
    (void)table->WskDisconnect(Server->Connection, NULL, WSK_FLAG_ABORTIVE, DisconnectIrp);
    return table->Basic.WskCloseSocket(Server->Connection, CloseIrp);
}
