/* Listening sockets. */
#include "client.h"
#include "peer.h"

#include <string.h>

struct listener {
    struct connection base; /* first: open_socket gives its address as the context */
    int port;
    NTSTATUS answer;        /* of WskAcceptEvent */
    WSK_INSPECT_ACTION verdict;
    WSK_INSPECT_ID inspected;
    _Atomic LONG accepts, inspections, aborts;
    struct connection accepted;
};

static NTSTATUS NTAPI on_accept(PVOID context, ULONG flags, PSOCKADDR local, PSOCKADDR remote, PWSK_SOCKET socket,
                                PVOID *socket_context, const WSK_CLIENT_CONNECTION_DISPATCH **dispatch)
{
    struct listener *listener = context;

    CHECK_EQ(flags, 0);
    CHECK_EQ(((PSOCKADDR_IN)local)->sin_port, RtlUshortByteSwap((USHORT)listener->port));
    CHECK_EQ(remote->sa_family, AF_INET);
    if (NT_SUCCESS(listener->answer)) {
        connection_init(&listener->accepted);
        listener->accepted.socket = socket;
        *socket_context = &listener->accepted;
        *dispatch = &connection_events;
    }
    InterlockedIncrement(&listener->accepts);
    KeSetEvent(&listener->base.changed, IO_NO_INCREMENT, FALSE);
    return listener->answer;
}

static WSK_INSPECT_ACTION NTAPI on_inspect(PVOID context, PSOCKADDR local, PSOCKADDR remote, PWSK_INSPECT_ID id)
{
    struct listener *listener = context;

    (void)local, (void)remote;
    listener->inspected = *id;
    InterlockedIncrement(&listener->inspections);
    KeSetEvent(&listener->base.changed, IO_NO_INCREMENT, FALSE);
    return listener->verdict;
}

static NTSTATUS NTAPI on_abort(PVOID context, PWSK_INSPECT_ID id)
{
    struct listener *listener = context;

    CHECK_EQ(id->SerialNumber, listener->inspected.SerialNumber);
    InterlockedIncrement(&listener->aborts);
    KeSetEvent(&listener->base.changed, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

static const WSK_CLIENT_LISTEN_DISPATCH listen_events = {on_accept, on_inspect, on_abort};

static const WSK_PROVIDER_LISTEN_DISPATCH *listen_functions(struct listener *listener)
{
    return listener->base.socket->Dispatch;
}

/* `verdict`: what WskInspectEvent answers; WskInspectMax: it is not asked. */
static void listener_open(struct listener *listener, WSK_INSPECT_ACTION verdict)
{
    SOCKADDR_IN local;
    struct call *call;
    ULONG on = 1;

    memset(listener, 0, sizeof *listener);
    CHECK_EQ(open_socket(&listener->base, WSK_FLAG_LISTEN_SOCKET, &listen_events), STATUS_SUCCESS);
    listener->verdict = verdict;
    if (verdict != WskInspectMax)
        CHECK_EQ(listen_functions(listener)->Basic.WskControlSocket(listener->base.socket, WskSetOption,
                                                                    SO_CONDITIONAL_ACCEPT, SOL_SOCKET, sizeof on, &on,
                                                                    0, NULL, NULL, NULL),
                 STATUS_SUCCESS);
    CHECK_EQ(call_end(bind_socket(listener->base.socket, 0)), STATUS_SUCCESS);
    call = call_new(0);
    call->returned =
        listen_functions(listener)->WskGetLocalAddress(listener->base.socket, (PSOCKADDR)&local, call->irp);
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    listener->port = RtlUshortByteSwap(local.sin_port);
}

static struct call *accept_begin(struct listener *listener, SOCKADDR_IN *remote)
{
    struct call *call = call_new(0);

    connection_init(&listener->accepted);
    call->returned = listen_functions(listener)->WskAccept(listener->base.socket, 0, &listener->accepted,
                                                           &connection_events, NULL, (PSOCKADDR)remote, call->irp);
    return call;
}

static void accept_end(struct listener *listener, struct call *call)
{
    call_wait(call);
    listener->accepted.socket = (PWSK_SOCKET)call->information;
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
}

static void accept_a_connection(void)
{
    struct listener l;
    struct call *call;
    SOCKADDR_IN remote;
    int peer;

    listener_open(&l, WskInspectMax);
    call = accept_begin(&l, &remote);
    peer = peer_connect(l.port);
    accept_end(&l, call);
    CHECK_EQ(RtlUshortByteSwap(remote.sin_port), peer_local_port(peer));
    CHECK_EQ(set_events(l.accepted.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_reset(peer);
    CHECK(wait_until(&l.accepted, &l.accepted.abortive, 1));
    close_connection(&l.accepted);
    close_connection(&l.base);
}

static void accept_after_the_connection(void)
{
    struct listener l;
    int peer;

    listener_open(&l, WskInspectMax);
    peer = peer_connect(l.port);
    accept_end(&l, accept_begin(&l, NULL));
    CHECK_EQ(l.accepted.events, 0);
    close_connection(&l.base); /* R75: the accepted socket lives on */
    peer_send(peer, 5);
    CHECK_EQ(call_end_bytes(receive(&l.accepted, 5, 0), STATUS_SUCCESS), 5);
    peer_close(peer);
    close_connection(&l.accepted);
}

static void R38_accept_event_with_connection_events(void)
{
    struct listener l;
    int peer;

    listener_open(&l, WskInspectMax);
    CHECK_EQ(set_events(l.base.socket, WSK_EVENT_ACCEPT | WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    CHECK_EQ(set_events(l.base.socket, WSK_EVENT_DISABLE | WSK_EVENT_DISCONNECT, NULL), STATUS_INVALID_DEVICE_STATE);
    peer = peer_connect(l.port);
    CHECK(wait_until(&l.base, &l.accepts, 1));
    peer_reset(peer);
    CHECK(wait_until(&l.accepted, &l.accepted.abortive, 1));
    close_connection(&l.accepted);
    close_connection(&l.base);
}

static void R38_not_for_WskAccept(void)
{
    struct listener l;
    int peer;

    listener_open(&l, WskInspectMax);
    CHECK_EQ(set_events(l.base.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer = peer_connect(l.port);
    accept_end(&l, accept_begin(&l, NULL));
    peer_close(peer);
    CHECK_EQ(call_end_bytes(receive(&l.accepted, 1, 0), STATUS_SUCCESS), 0);
    close_connection(&l.accepted);
    CHECK_EQ(l.accepted.events, 0);
    close_connection(&l.base);
}

static void R40_connection_not_accepted(void)
{
    struct listener l;
    int peer;

    listener_open(&l, WskInspectMax);
    l.answer = STATUS_REQUEST_NOT_ACCEPTED;
    CHECK_EQ(set_events(l.base.socket, WSK_EVENT_ACCEPT, NULL), STATUS_SUCCESS);
    peer = peer_connect(l.port);
    CHECK(wait_until(&l.base, &l.accepts, 1));
    CHECK(peer_end(peer) != 0);
    peer_close(peer);
    close_connection(&l.base);
}

static void close_with_accept_pending(void)
{
    struct listener l;
    struct call *call;

    listener_open(&l, WskInspectMax);
    call = accept_begin(&l, NULL);
    close_connection(&l.base);
    CHECK_EQ(call_end(call), STATUS_CANCELLED);
}

static void conditional_accept_rejected(void)
{
    struct listener l;
    int peer;

    listener_open(&l, WskInspectReject);
    peer = peer_connect(l.port);
    CHECK(wait_until(&l.base, &l.inspections, 1));
    CHECK(peer_end(peer) != 0);
    peer_close(peer);
    close_connection(&l.base);
}

static void conditional_accept_pending_then_accepted(void)
{
    struct listener l;
    struct call *accepting, *deciding;
    int peer;

    listener_open(&l, WskInspectPend);
    accepting = accept_begin(&l, NULL);
    peer = peer_connect(l.port);
    CHECK(wait_until(&l.base, &l.inspections, 1));
    CHECK(!call_done(accepting));
    deciding = call_new(0);
    deciding->returned =
        listen_functions(&l)->WskInspectComplete(l.base.socket, &l.inspected, WskInspectAccept, deciding->irp);
    CHECK_EQ(call_end(deciding), STATUS_SUCCESS);
    accept_end(&l, accepting);
    peer_close(peer);
    close_connection(&l.accepted);
    close_connection(&l.base);
}

static void conditional_accept_aborted_by_the_peer(void)
{
    struct listener l;
    int peer;

    listener_open(&l, WskInspectPend);
    peer = peer_connect(l.port);
    CHECK(wait_until(&l.base, &l.inspections, 1));
    peer_reset(peer);
    CHECK(wait_until(&l.base, &l.aborts, 1));
    close_connection(&l.base);
}

const struct test listen_tests[] = {
    {"accept_a_connection", accept_a_connection},
    {"R75_accept_after_the_connection", accept_after_the_connection},
    {"R38_accept_event_with_connection_events", R38_accept_event_with_connection_events},
    {"R38_not_for_WskAccept", R38_not_for_WskAccept},
    {"R40_connection_not_accepted", R40_connection_not_accepted},
    {"close_with_accept_pending", close_with_accept_pending},
    {"conditional_accept_rejected", conditional_accept_rejected},
    {"conditional_accept_pending_then_accepted", conditional_accept_pending_then_accepted},
    {"conditional_accept_aborted_by_the_peer", conditional_accept_aborted_by_the_peer},
    {NULL, NULL},
};
