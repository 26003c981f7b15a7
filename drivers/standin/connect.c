/* From WskSocket to WskCloseSocket: open, bind, connect, addresses, close. */
#include "standin.h"

/* ---- Opening ------------------------------------------------------------------------------------------------------------------ */

/* The socket of an open request; NULL: the request has been finished with a failure. */
static struct socket *open_for(struct request *request, enum socket_kind kind, ADDRESS_FAMILY family)
{
    int fd = os_tcp_socket(family);
    struct socket *socket;

    if (fd < 0) {
        request_finish(request, status_of(fd), 0);
        return NULL;
    }
    socket = socket_new(request->client, kind, family, request->context);
    if (!socket) {
        os_close(fd);
        request_finish(request, STATUS_INSUFFICIENT_RESOURCES, 0);
        return NULL;
    }
    socket_set_fd(socket, fd);
    return socket;
}

void socket_open(struct request *request)
{
    static const enum socket_kind kinds[] = {
        [WSK_FLAG_BASIC_SOCKET] = BASIC_SOCKET,
        [WSK_FLAG_LISTEN_SOCKET] = LISTEN_SOCKET,
        [WSK_FLAG_CONNECTION_SOCKET] = CONNECTION_SOCKET,
    };
    enum socket_kind kind = kinds[request->flags];
    struct socket *socket = open_for(request, kind, request->local.any.sa_family);

    if (!socket)
        return;
    if (kind == LISTEN_SOCKET) {
        socket->accepts_to = (const void *)request->dispatch;
        os_set_option(socket->fd, OS_REUSE_ADDRESS,
                      1); /* as Windows: connections in TIME_WAIT do not block a listener's port */
    } else
        socket->events_to = request->dispatch;
    request_finish(request, STATUS_SUCCESS, (ULONG_PTR)&socket->wsk);
}

/* ---- Binding and connecting ------------------------------------------------------------------------------------------------------ */

static void start_listening(struct socket *socket)
{
    lock_acquire(&provider.lock);
    socket->enabled = socket->client->static_events & events_offered(socket) & WSK_EVENT_ACCEPT;
    socket->state = STATE_LISTENING;
    lock_release(&provider.lock);
    os_epoll_watch(provider.epoll, socket->fd, &socket->watch);
}

void socket_bind(struct request *request)
{
    struct socket *socket = request->socket;
    int result;

    if (socket->state != STATE_OPEN) {
        request_finish(request, STATUS_INVALID_DEVICE_STATE, 0);
        return;
    }
    result = os_bind(socket->fd, &request->local);
    if (result == 0 && socket->kind == LISTEN_SOCKET)
        result = os_listen(socket->fd); /* a WSK listener listens from WskBind on */
    if (result == 0) {
        os_local_address(socket->fd, &socket->local);
        if (socket->kind == LISTEN_SOCKET)
            start_listening(socket);
        else
            socket_set_state(socket, STATE_BOUND);
    }
    request_finish(request, status_of(result), 0);
}

static void connect_failed(struct socket *socket, struct request *request, NTSTATUS status)
{
    if (request->operation == OP_OPEN_CONNECT) {
        socket_shut(socket, os_close);
        socket_bury(socket);
    } else
        socket_set_state(socket, STATE_BOUND);
    request_finish(request, status, 0);
}

static void connect_done(struct socket *socket, struct request *request)
{
    socket_connected(socket, request->function);
    if (request->buffer.Length) {
        /* WskConnectEx: the same IRP goes on as a send. */
        request->operation = OP_SEND;
        InsertHeadList(&socket->sends, &request->link);
    } else
        request_finish(request, STATUS_SUCCESS, request->operation == OP_OPEN_CONNECT ? (ULONG_PTR)&socket->wsk : 0);
    connection_advance(socket);
}

/* The outcome of a connect that was in progress. */
static void connect_ready(struct socket *socket, ULONG events)
{
    struct request *request = socket->connect;
    int error = os_take_error(socket->fd);

    if (!error && !(events & OS_OUT))
        return;
    socket->connect = NULL;
    /* A SYN answered by RST is ECONNREFUSED. With these two the handshake had succeeded, and the end came right behind it (C24, C25). */
    if (error && error != OS_ECONNRESET && error != OS_EPIPE) {
        connect_failed(socket, request, status_of(error));
        return;
    }
    if (error)
        connection_failed(socket, error);
    if ((events & OS_RDHUP) && !error)
        socket->remote_fin = true; /* C26 */
    connect_done(socket, request);
}

static void start_connect(struct socket *socket, struct request *request)
{
    int result = os_connect(socket->fd, &request->remote);

    socket->remote = request->remote;
    if (result < 0 && result != -OS_EINPROGRESS) {
        connect_failed(socket, request, status_of(result));
        return;
    }
    if (result == 0)
        connect_done(socket, request);
    else {
        socket->connect = request;
        socket_set_state(socket, STATE_CONNECTING);
    }
    /* Only now: an unconnected socket would be reported as hung up. What happened meanwhile is reported at once. */
    os_epoll_watch(provider.epoll, socket->fd, &socket->watch);
}

void socket_connect(struct request *request)
{
    struct socket *socket = request->socket;

    if (socket->state == STATE_CONNECTED || socket->state == STATE_CONNECTING)
        request_finish(request, STATUS_CONNECTION_ACTIVE, 0);
    else if (socket->state != STATE_BOUND)
        request_finish(request, STATUS_INVALID_DEVICE_STATE, 0);
    else
        start_connect(socket, request);
}

void socket_open_connect(struct request *request)
{
    struct socket *socket = open_for(request, CONNECTION_SOCKET, request->local.any.sa_family);
    int result;

    if (!socket)
        return;
    socket->events_to = request->dispatch;
    request->socket = socket;
    result = os_bind_for_connect(socket->fd, &request->local);
    if (result < 0)
        connect_failed(socket, request, status_of(result));
    else
        start_connect(socket, request);
}

void socket_connect_cancelled(struct request *request)
{
    struct socket *socket = request->socket;

    socket->connect = NULL;
    socket_shut(socket, os_close_reset);
    socket_set_state(socket, STATE_DISCONNECTED);
    if (request->operation == OP_OPEN_CONNECT)
        socket_bury(socket);
    request_finish(request, STATUS_CANCELLED, 0);
}

void connection_ready(struct watch *watch, ULONG events)
{
    struct socket *socket = CONTAINING_RECORD(watch, struct socket, watch);

    if (socket->state == STATE_CONNECTING)
        connect_ready(socket, events);
    else if (socket->state == STATE_CONNECTED) {
        int error = (events & (OS_ERR | OS_HUP)) ? os_take_error(socket->fd) : 0;

        if (error)
            connection_failed(socket, error);
        else if ((events & OS_RDHUP) && !socket->error)
            socket->remote_fin = true;
        connection_advance(socket);
    }
}

/* ---- Addresses ------------------------------------------------------------------------------------------------------------------------ */

static void give_address(struct request *request, PSOCKADDR to, const os_address *address)
{
    size_t size = os_address_size(address->any.sa_family);

    RtlCopyMemory(to, address, size);
    request_finish(request, size ? STATUS_SUCCESS : STATUS_INVALID_DEVICE_STATE, 0);
}

void socket_local_address(struct request *request)
{
    give_address(request, request->local_out, &request->socket->local);
}

void socket_remote_address(struct request *request)
{
    static const os_address none;
    enum socket_state state = request->socket->state;
    bool known = state == STATE_CONNECTED || state == STATE_DISCONNECTED;

    give_address(request, request->remote_out, known ? &request->socket->remote : &none);
}

/* ---- The end ---------------------------------------------------------------------------------------------------------------------------- */

void socket_silence(struct request *request)
{
    struct socket *socket = request->socket;
    int result;

    if (socket->state != STATE_CONNECTED || !IsListEmpty(&socket->sends)) {
        request_finish(request, STATUS_INVALID_DEVICE_STATE, 0);
        return;
    }
    result = os_mute(socket->fd);
    socket->silent = result == 0;
    request_finish(request, status_of(result), 0);
}

/* R71: abortive unless both directions are disconnected already. */
static void end_connection(struct socket *socket)
{
    if (socket->silent)
        socket_shut(socket, os_close_silent);
    else if (socket->state == STATE_CONNECTED && !os_both_closed(socket->fd))
        socket_shut(socket, os_close_reset);
    else if (socket->fd >= 0) {
        /* Unread data would make Linux send a RST after all. */
        os_discard(socket->fd, 0x7fffffff);
        socket_shut(socket, os_close);
    }
}

void socket_close(struct request *request)
{
    struct socket *socket = request->socket;

    if (threads_wait(request, true))
        return;
    if (socket->connect) {
        struct request *connect = socket->connect;

        socket->connect = NULL;
        request_finish(connect, STATUS_CANCELLED, 0); /* C28 */
    }
    request_finish_all(&socket->sends, STATUS_CANCELLED); /* R69 */
    request_finish_all(&socket->receives, STATUS_CANCELLED);
    request_finish_all(&socket->accepts, STATUS_CANCELLED);
    listen_drop_arrivals(socket);
    end_connection(socket);
    socket_set_state(socket, STATE_DISCONNECTED); /* for a call that races with this one, against R68 */
    socket_bury(socket);
    request_finish(request, STATUS_SUCCESS, 0);
}
