/*
 * Listening sockets: WskAccept, WskAcceptEvent and conditional accept.
 *
 * Linux finishes the handshake before anyone is asked, so with SO_CONDITIONAL_ACCEPT a refused peer sees a connection that is reset,
 * not a connection refused. A connection is taken from Linux only when somebody wants it.
 */
#include "standin.h"

enum verdict { UNDECIDED, APPROVED };

/* A connection that has not become a socket yet. */
struct arrival {
    struct watch watch;
    LIST_ENTRY link; /* listener->arrivals */
    struct socket *listener;
    WSK_INSPECT_ID id;
    enum verdict verdict;
    int fd;
    os_address local, remote;
};

static void arrival_free(struct arrival *arrival)
{
    RemoveEntryList(&arrival->link);
    ExFreePoolWithTag(arrival, POOL_TAG);
}

/* ---- Giving a connection to the client ----------------------------------------------------------------------------------------------- */

static struct socket *socket_of(const struct arrival *arrival)
{
    struct socket *listener = arrival->listener;
    struct socket *socket = socket_new(listener->client, CONNECTION_SOCKET, listener->family, NULL);

    if (!socket)
        return NULL;
    socket->remote = arrival->remote;
    socket->local = arrival->local;
    socket_set_fd(socket, arrival->fd);
    return socket;
}

/* The socket is the client's from now on. */
static void start(struct socket *socket)
{
    os_epoll_watch(provider.epoll, socket->fd, &socket->watch);
    connection_advance(socket);
}

static void give_to_request(struct request *request, struct arrival *arrival)
{
    struct socket *socket = socket_of(arrival);

    if (!socket) {
        os_close_reset(arrival->fd);
        arrival_free(arrival);
        request_finish(request, STATUS_INSUFFICIENT_RESOURCES, 0);
        return;
    }
    socket->context = request->context;
    socket->events_to = request->dispatch;
    if (request->local_out)
        RtlCopyMemory(request->local_out, &arrival->local, os_address_size(socket->family));
    if (request->remote_out)
        RtlCopyMemory(request->remote_out, &arrival->remote, os_address_size(socket->family));
    arrival_free(arrival);
    socket_connected(socket, request->function);
    request_finish(request, STATUS_SUCCESS, (ULONG_PTR)&socket->wsk);
    start(socket);
}

/* R39: the listener is dead, which its client hears once. Where a scenario asks for what is rare; on Linux no listener dies. */
static bool died(struct socket *listener)
{
    PFN_WSK_ACCEPT_EVENT event = listener->accepts_to ? listener->accepts_to->WskAcceptEvent : NULL;
    const WSK_CLIENT_CONNECTION_DISPATCH *dispatch = NULL;
    PVOID context = NULL;
    struct level level;
    NTSTATUS status;

    if (listener->told_dead)
        return true;
    if (!listener->level.rare || !callback_begin(listener, WSK_EVENT_ACCEPT))
        return false;
    listener->told_dead = true;
    level = level_enter(listener, LEVEL_ACCEPT);
    witness_event("WskAcceptEvent", listener, level_flag(level));
    status = event(listener->context, level_flag(level), NULL, NULL, NULL, &context, &dispatch);
    witness_return("WskAcceptEvent", listener, status);
    level_leave(level, "WskAcceptEvent", (const void *)(ULONG_PTR)event);
    callback_end(listener, WSK_EVENT_ACCEPT);
    return true;
}

static void give_to_event(struct socket *listener, struct arrival *arrival)
{
    PFN_WSK_ACCEPT_EVENT event = listener->accepts_to->WskAcceptEvent;
    struct socket *socket = socket_of(arrival);
    struct level level;
    NTSTATUS status;

    if (!socket || !callback_begin(listener, WSK_EVENT_ACCEPT)) {
        os_close_reset(arrival->fd);
        arrival_free(arrival);
        if (socket)
            socket_bury(socket);
        return;
    }
    socket_connected(socket, "WskAcceptEvent");
    level = level_enter(listener, LEVEL_ACCEPT);
    witness_event("WskAcceptEvent", listener, level_flag(level));
    status = event(listener->context, level_flag(level), &arrival->local.any, &arrival->remote.any, &socket->wsk,
                   &socket->context, &socket->events_to);
    witness(&(struct seen){.what = "back",
                           .function = "WskAcceptEvent",
                           .client = listener->client,
                           .socket = listener->serial,
                           .context = socket->context,
                           .status = status,
                           .information = socket->serial});
    level_leave(level, "WskAcceptEvent", (const void *)(ULONG_PTR)event);
    callback_end(listener, WSK_EVENT_ACCEPT);
    arrival_free(arrival);
    if (status == STATUS_SUCCESS) {
        witness_context("WskAcceptEvent", socket->context);
        lock_acquire(&provider.lock);
        /* R38: and what was enabled on the listener for the sockets that come out of it. */
        socket->enabled =
            (socket->client->static_events | socket->enabled | listener->enabled) & events_offered(socket);
        lock_release(&provider.lock);
        start(socket);
        return;
    }
    if (status != STATUS_REQUEST_NOT_ACCEPTED)
        REPORT("R40", "WskAcceptEvent returned %08x", (unsigned)status);
    socket_shut(socket, os_close_reset); /* R40; RST or FIN: X */
    socket_bury(socket);
}

/* ---- Taking connections from Linux ---------------------------------------------------------------------------------------------------- */

/* A peer that leaves while its verdict is out. */
static void arrival_ready(struct watch *watch, ULONG events)
{
    struct arrival *arrival = CONTAINING_RECORD(watch, struct arrival, watch);
    struct socket *listener = arrival->listener;
    WSK_INSPECT_ID id = arrival->id;

    if (arrival->verdict != UNDECIDED || !(events & (OS_ERR | OS_HUP | OS_RDHUP)))
        return;
    os_close_reset(arrival->fd);
    arrival_free(arrival);
    if (listener->accepts_to->WskAbortEvent) {
        witness_event("WskAbortEvent", listener, 0);
        listener->accepts_to->WskAbortEvent(listener->context, &id);
        witness_return("WskAbortEvent", listener, STATUS_SUCCESS);
    }
}

static void inspect(struct socket *listener, struct arrival *arrival)
{
    PFN_WSK_INSPECT_EVENT ask = listener->accepts_to ? listener->accepts_to->WskInspectEvent : NULL;
    WSK_INSPECT_ACTION action = WskInspectAccept;

    if (listener->conditional_accept && ask) {
        struct level level = level_enter(listener, LEVEL_INSPECT);

        witness_event("WskInspectEvent", listener, 0);
        action = ask(listener->context, &arrival->local.any, &arrival->remote.any, &arrival->id);
        witness_return("WskInspectEvent", listener, (NTSTATUS)action);
        level_leave(level, "WskInspectEvent", (const void *)(ULONG_PTR)ask);
    }
    if (action == WskInspectAccept)
        arrival->verdict = APPROVED;
    else if (action == WskInspectPend)
        os_epoll_watch(provider.epoll, arrival->fd, &arrival->watch);
    else {
        os_close_reset(arrival->fd);
        arrival_free(arrival);
    }
}

/* Whether there was one to take. */
static bool take_arrival(struct socket *listener)
{
    static ULONG serial;
    struct arrival *arrival = ExAllocatePoolWithTag(NonPagedPool, sizeof *arrival, POOL_TAG);

    if (!arrival)
        return false;
    RtlZeroMemory(arrival, sizeof *arrival);
    arrival->fd = os_accept(listener->fd, &arrival->remote);
    if (arrival->fd < 0) {
        ExFreePoolWithTag(arrival, POOL_TAG);
        return false;
    }
    os_local_address(arrival->fd, &arrival->local);
    arrival->watch.ready = arrival_ready;
    arrival->listener = listener;
    arrival->id.Key = (ULONG_PTR)arrival;
    arrival->id.SerialNumber = ++serial;
    InsertTailList(&listener->arrivals, &arrival->link);
    inspect(listener, arrival);
    return true;
}

static struct arrival *next_approved(struct socket *listener)
{
    for (LIST_ENTRY *entry = listener->arrivals.Flink; entry != &listener->arrivals; entry = entry->Flink) {
        struct arrival *arrival = CONTAINING_RECORD(entry, struct arrival, link);

        if (arrival->verdict == APPROVED)
            return arrival;
    }
    return NULL;
}

void listen_advance(struct socket *listener)
{
    for (;;) {
        bool requested = !IsListEmpty(&listener->accepts);
        struct arrival *arrival;

        if (!requested && !callback_enabled(listener, WSK_EVENT_ACCEPT) && !listener->conditional_accept)
            return;
        arrival = next_approved(listener);
        if (!arrival) {
            if (!take_arrival(listener))
                return;
        } else if (requested) {
            struct request *request = request_first(&listener->accepts);

            RemoveEntryList(&request->link);
            InitializeListHead(&request->link);
            give_to_request(request, arrival);
        } else if (callback_enabled(listener, WSK_EVENT_ACCEPT) && died(listener))
            listen_drop_arrivals(listener);
        else if (callback_enabled(listener, WSK_EVENT_ACCEPT))
            give_to_event(listener, arrival);
        else
            return;
    }
}

void listen_ready(struct watch *watch, ULONG events)
{
    struct socket *socket = CONTAINING_RECORD(watch, struct socket, watch);

    (void)events;
    if (socket->state == STATE_LISTENING)
        listen_advance(socket);
}

void listen_accept(struct request *request)
{
    struct socket *socket = request->socket;

    if (socket->state != STATE_LISTENING) {
        request_finish(request, STATUS_INVALID_DEVICE_STATE, 0);
        return;
    }
    InsertTailList(&socket->accepts, &request->link);
    listen_advance(socket);
}

/* The late verdict on a connection that WskInspectEvent had left pending. */
void listen_inspected(struct request *request)
{
    struct socket *socket = request->socket;
    WSK_INSPECT_ID id = request->inspected;
    WSK_INSPECT_ACTION action = request->action;

    for (LIST_ENTRY *entry = socket->arrivals.Flink; entry != &socket->arrivals; entry = entry->Flink) {
        struct arrival *arrival = CONTAINING_RECORD(entry, struct arrival, link);

        if (arrival->id.Key != id.Key || arrival->id.SerialNumber != id.SerialNumber || arrival->verdict != UNDECIDED)
            continue;
        if (action == WskInspectAccept)
            arrival->verdict = APPROVED;
        else {
            os_close_reset(arrival->fd);
            arrival_free(arrival);
        }
        request_finish(request, STATUS_SUCCESS, 0);
        listen_advance(socket);
        return;
    }
    request_finish(request, STATUS_NOT_FOUND, 0);
}

void listen_drop_arrivals(struct socket *socket)
{
    while (!IsListEmpty(&socket->arrivals)) {
        struct arrival *arrival = CONTAINING_RECORD(socket->arrivals.Flink, struct arrival, link);

        os_close_reset(arrival->fd);
        arrival_free(arrival);
    }
}
