/*
 * closing.c - a socket is closed once, and at the right moment.
 *
 * CLOSE only says that it wants to close; whoever finds that no function of the socket runs any more (R68) does it.
 */
#include "closing.h"
#include "account.h"
#include "call.h"
#include "connection.h"
#include "log.h"
#include "operation.h"
#include "start.h"

/* A connection, and with it what its close will take. The caller gets a hold of its own, as from connection_find. */
NTSTATUS connection_open(uint32_t id, uint32_t kind, uint32_t cookie, CONNECTION **made)
{
    CONNECTION *connection = connection_create(id, kind, cookie);
    if (!connection)
        return STATUS_INSUFFICIENT_RESOURCES;
    connection->reserve = operation_create(connection, WSKLAB_OP_CLOSE, &(WSKLAB_COMMAND){.id = 0}, TRUE);
    if (connection->reserve && connection_publish(connection)) {
        *made = connection;
        return STATUS_SUCCESS;
    }
    NTSTATUS status = connection->reserve ? STATUS_OBJECT_NAME_COLLISION : STATUS_INSUFFICIENT_RESOURCES;
    if (connection->reserve)
        (void)operation_refuse(connection->reserve, STATUS_SUCCESS);
    connection_drop(connection);
    connection_drop(connection);
    return status;
}

NTSTATUS connection_close(CONNECTION *connection, uint32_t id)
{
    KIRQL irql;
    KeAcquireSpinLock(&connection->lock, &irql);
    BOOLEAN first = !connection->closing;
    OPERATION *maker = first ? connection->maker : NULL;
    if (first) {
        InterlockedExchange(&connection->closing, TRUE);
        connection->closer = connection->reserve;
        connection->closer->command.id = id;
    }
    if (maker)
        operation_hold(maker);
    KeReleaseSpinLock(&connection->lock, irql);

    if (!first)
        return refuse(connection->id, WSKLAB_OP_CLOSE, id, STATUS_INVALID_DEVICE_STATE);
    if (maker) {
        if (!TWIN(WAITS_FOR_CONNECT))
            IoCancelIrp(maker->irp);
        operation_drop(maker);
    }
    connection_try_close(connection);
    return STATUS_PENDING;
}

/* Closes now if a close is wanted and nothing is in its way. At most one caller gets the closer. */
void connection_try_close(CONNECTION *connection)
{
    KIRQL irql;
    KeAcquireSpinLock(&connection->lock, &irql);
    OPERATION *closer = NULL;
    PWSK_SOCKET socket = connection->socket;
    if (!connection->maker && (connection->calls == 0 || TWIN(CLOSES_UNDER_CALL))) {
        closer = connection->closer;
        connection->closer = NULL;
    }
    KeReleaseSpinLock(&connection->lock, irql);
    if (!closer)
        return;

    PWSK_DATA_INDICATION list;
    while (!TWIN(KEEPS_INDICATIONS) && (list = connection_take_retained(connection)) != NULL)
        call_release(socket, list); /* R54: nothing says what becomes of kept lists at close */
    if (TWIN(LEAKS_SOCKET) || (TWIN(KEEPS_AFTER_RST) && ReadAcquire(&connection->aborted))) {
        InterlockedDecrement(&wsklab.sockets);
        socket = NULL;
    }
    if (socket) {
        connection_hold(connection);
        (void)operation_issue(closer, socket);
        if (TWIN(USES_AFTER_CLOSE))
            (void)start_sends(connection, &(WSKLAB_COMMAND){.length = 1, .count = 1});
        connection_drop(connection);
        return;
    }
    connection_closed(connection);
    log_line(connection->id, "ev=done op=close id=%u st=%08x len=0", closer->command.id, (uint32_t)STATUS_SUCCESS);
    (void)operation_refuse(closer, STATUS_SUCCESS); /* there was no socket: closed by saying so */
}

/* Closes every connection that nobody has asked to close. */
void sweep(uint32_t id)
{
    uint32_t bucket = 0;
    CONNECTION *connection;
    while ((connection = connection_next_open(&bucket)) != NULL) {
        (void)connection_close(connection, id);
        connection_drop(connection);
    }
}

void close_all(uint32_t id)
{
    KeClearEvent(&wsklab.clean);
    InterlockedExchange(&wsklab.cleaning, 1);
    sweep(id);
    settle();
}
