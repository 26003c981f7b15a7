/* What the engine calls: who carries out each operation, and what becomes of one that is cancelled. */
#include "standin.h"

static void handle_wake(struct request *request)
{
    struct socket *socket = request->socket;

    ExFreePoolWithTag(request, POOL_TAG);
    if (socket->state == STATE_CONNECTED)
        connection_advance(socket);
    else if (socket->state == STATE_LISTENING)
        listen_advance(socket);
}

/* The engine has returned from every callback that ran when this was asked for, so the wait of R30 is over. */
static void handle_events_off(struct request *request)
{
    if (threads_wait(request, false))
        return;
    request_finish(request, STATUS_SUCCESS, 0);
}

static void cancel(struct request *request)
{
    struct socket *socket = request->socket;
    SIZE_T done = request->done;
    bool was_disconnect = request->operation == OP_DISCONNECT;

    if (socket && socket->connect == request) {
        socket_connect_cancelled(request);
        return;
    }
    /* A disconnect that is already under way goes on; only the waiting for it ends. */
    if (was_disconnect && !socket->local_fin)
        socket->leaving = false;
    request_finish(request, STATUS_CANCELLED, done);
    if (socket && socket->state == STATE_CONNECTED)
        connection_advance(socket);
}

const struct upcalls provider_upcalls = {
    .kinds =
        {
            [BASIC_SOCKET] = {&basic_dispatch, connection_ready},
            [LISTEN_SOCKET] = {&listen_dispatch, listen_ready},
            [CONNECTION_SOCKET] = {&connection_dispatch, connection_ready},
        },
    .handle =
        {
            [OP_OPEN] = socket_open,
            [OP_OPEN_CONNECT] = socket_open_connect,
            [OP_BIND] = socket_bind,
            [OP_CONNECT] = socket_connect,
            [OP_LOCAL_ADDRESS] = socket_local_address,
            [OP_REMOTE_ADDRESS] = socket_remote_address,
            [OP_SEND] = transfer_send,
            [OP_RECEIVE] = transfer_receive,
            [OP_DISCONNECT] = transfer_disconnect,
            [OP_ACCEPT] = listen_accept,
            [OP_INSPECTED] = listen_inspected,
            [OP_EVENTS_OFF] = handle_events_off,
            [OP_SILENT] = socket_silence,
            [OP_WAKE] = handle_wake,
            [OP_CLOSE] = socket_close,
        },
    .cancel = cancel,
    .pended = inline_pended,
    .complete = request_complete,
    .disconnect = event_disconnect,
};
