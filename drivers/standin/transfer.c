/* Sending, receiving and disconnecting on a connection. */
#include "standin.h"

/* ---- Sends, and the graceful disconnect behind them ---------------------------------------------------------------------------- */

/* R67 for a disconnect, the cause itself for a send (R58, X). */
static NTSTATUS failure_of(struct socket *socket, struct request *request)
{
    return request->operation == OP_DISCONNECT ? STATUS_FILE_FORCED_CLOSED : status_of(socket->error);
}

/* Gives the next piece to the kernel. */
static long send_some(struct socket *socket, struct request *request)
{
    os_vector vectors[OS_VECTORS];
    unsigned count = buffer_vectors(&request->buffer, request->done, vectors, OS_VECTORS);
    int no_delay = 1;
    long sent;

    if (request->operation == OP_SEND && (request->flags & WSK_FLAG_NODELAY))
        os_get_option(socket->fd, OS_NO_DELAY, &no_delay);
    if (!no_delay)
        os_set_option(socket->fd, OS_NO_DELAY, 1);
    sent = os_send(socket->fd, vectors, count);
    if (!no_delay)
        os_set_option(socket->fd, OS_NO_DELAY, 0);
    return sent;
}

/*
 * R57: a send is complete when all of it has been sent, that is, has been on the wire once; not when it is acknowledged. The kernel
 * takes no further piece while something is unsent, so a peer with a closed window keeps the IRP pending.
 * R61: a graceful disconnect is complete when our FIN is acknowledged (X: Windows may wait for the peer's FIN, C54).
 */
static void advance_sends(struct socket *socket)
{
    while (!IsListEmpty(&socket->sends)) {
        struct request *request = request_first(&socket->sends);

        if (socket->error) {
            request_finish(request, failure_of(socket, request), 0);
        } else if (request->done < request->buffer.Length) {
            long sent = send_some(socket, request);

            if (sent == -OS_EAGAIN)
                return;
            if (sent == -OS_EFAULT)
                buffer_gone(request);
            if (sent < 0)
                connection_failed(socket, sent);
            else
                request->done += (SIZE_T)sent;
        } else if (request->operation == OP_SEND) {
            if (os_unsent(socket->fd) > 0) {
                /* Only a watched socket that was found not writable is reported when it becomes so. */
                os_epoll_watch(provider.epoll, socket->fd, &socket->watch);
                return;
            }
            request_finish(request, STATUS_SUCCESS, request->done);
        } else {
            if (!socket->local_fin) {
                os_shutdown_send(socket->fd);
                socket->local_fin = true;
            }
            if (!os_fin_acknowledged(socket->fd))
                return;
            request_finish(request, STATUS_SUCCESS, 0);
        }
    }
}

void transfer_send(struct request *request)
{
    struct socket *socket = request->socket;

    if (socket->state == STATE_DISCONNECTED || socket->leaving)
        request_finish(request, STATUS_LOCAL_DISCONNECT, 0); /* R60, R66; BF35 */
    else if (socket->state != STATE_CONNECTED || socket->silent)
        request_finish(request, STATUS_INVALID_DEVICE_STATE, 0); /* R87 */
    else {
        InsertTailList(&socket->sends, &request->link);
        connection_advance(socket);
    }
}

/* R64: cancels sends, waits for nothing. A local abort makes no event (R21). */
static void abort_connection(struct socket *socket, struct request *request)
{
    bool dead = socket->error != 0;

    socket_shut(socket, os_close_reset);
    socket_set_state(socket, STATE_DISCONNECTED);
    request_finish_all(&socket->sends, STATUS_CANCELLED);
    request_finish_all(&socket->receives, STATUS_CANCELLED);
    request_finish(request, dead ? STATUS_FILE_FORCED_CLOSED : STATUS_SUCCESS, 0);
}

void transfer_disconnect(struct request *request)
{
    struct socket *socket = request->socket;

    if (socket->state == STATE_DISCONNECTED) {
        request_finish(request, STATUS_LOCAL_DISCONNECT, 0);
    } else if (socket->state != STATE_CONNECTED) {
        REPORT("R65", "WskDisconnect on a socket that was never connected (socket %u)", (unsigned)socket->serial);
        request_finish(request, STATUS_INVALID_DEVICE_STATE, 0);
    } else if (socket->silent) {
        request_finish(request, STATUS_INVALID_DEVICE_STATE, 0);
    } else if (request->flags & WSK_FLAG_ABORTIVE) {
        abort_connection(socket, request);
    } else if (socket->leaving) {
        request_finish(request, STATUS_LOCAL_DISCONNECT, 0);
    } else {
        socket->leaving = true;
        InsertTailList(&socket->sends, &request->link);
        connection_advance(socket);
    }
}

/* ---- Receives --------------------------------------------------------------------------------------------------------------------- */

/* Bytes, 0 at the end of the connection, or a negative error. A receive of length 0 only looks whether there is something. */
static long receive_some(struct socket *socket, struct request *request)
{
    enum { DISCARD_AT_ONCE = 1 << 20 };
    os_vector vectors[OS_VECTORS];
    char byte;

    if (request->flags & WSK_FLAG_DRAIN)
        return os_discard(socket->fd, DISCARD_AT_ONCE);
    if (request->buffer.Length == 0)
        return os_peek(socket->fd, &byte, 1);
    return os_receive(socket->fd, vectors, buffer_vectors(&request->buffer, request->done, vectors, OS_VECTORS));
}

/* What a receive says at the end of the connection: a FIN is SUCCESS with what there is (R43, R47), a RST fails (R45, X). */
static void finish_at_end(struct socket *socket, struct request *request)
{
    if (socket->error && request->done == 0)
        request_finish(request, status_of(socket->error), 0);
    else
        request_finish(request, STATUS_SUCCESS, request->done);
}

/* Data that came before the end is given first, also after a RST, as far as Linux has kept it (C09, C48; X). */
static void advance_receives(struct socket *socket)
{
    while (!IsListEmpty(&socket->receives)) {
        struct request *request = request_first(&socket->receives);
        long received = receive_some(socket, request);

        if (received == -OS_EAGAIN)
            return;
        if (received == -OS_EFAULT)
            buffer_gone(request);
        if (received <= 0) {
            if (received < 0)
                connection_failed(socket, received);
            else if (!socket->error)
                socket->remote_fin = true;
            finish_at_end(socket, request);
            continue;
        }
        if (request->flags & WSK_FLAG_DRAIN)
            continue; /* R48: until the end */
        if (request->buffer.Length)
            request->done += (SIZE_T)received;
        if (!(request->flags & WSK_FLAG_WAITALL) || request->done == request->buffer.Length)
            request_finish(request, STATUS_SUCCESS, request->done);
    }
}

void transfer_receive(struct request *request)
{
    struct socket *socket = request->socket;

    lock_acquire(&provider.lock);
    socket->receives_coming--;
    lock_release(&provider.lock);
    if (socket->state == STATE_DISCONNECTED)
        request_finish(request, STATUS_LOCAL_DISCONNECT, 0); /* R66 */
    else if (socket->state != STATE_CONNECTED || socket->silent)
        request_finish(request, STATUS_INVALID_DEVICE_STATE, 0);
    else {
        socket->indications_stopped = false; /* R52, R53 */
        InsertTailList(&socket->receives, &request->link);
        connection_advance(socket);
    }
}

/* ---- All of it ------------------------------------------------------------------------------------------------------------------------ */

/*
 * Data first, then the disconnect event: whoever wants the data has it before (R55, X). If nobody takes it, the event does not
 * wait (C07, C48). Nothing here closes the socket: WskCloseSocket and the like only reach the inbox.
 */
void connection_advance(struct socket *socket)
{
    advance_sends(socket);
    advance_receives(socket);
    if (IsListEmpty(&socket->receives)) /* R50 */
        events_receive(socket);
    events_disconnect(socket);
    if (socket->error)
        advance_sends(socket); /* a receive may have been the first to hear of it */
}
