/*
 * accept.c - WskAcceptEvent: gives each new connection a number and a context, or refuses it.
 *
 * ACCEPT_EVENTS says how: the first number and cookie, every how many to refuse. Without it all are refused.
 */
#include "accept.h"
#include "account.h"
#include "call.h"
#include "closing.h"
#include "connection.h"
#include "events.h"
#include "log.h"
#include "worker.h"

/* STATUS_SUCCESS: `*made` is in the table, holds the socket, and WSK may call back with it. */
static NTSTATUS take_socket(CONNECTION *listener, const WSKLAB_COMMAND *command, PWSK_SOCKET socket, CONNECTION **made)
{
    uint32_t n = (uint32_t)InterlockedIncrement(&listener->accepts);
    if (command->count && n % command->count == 0)
        return STATUS_REQUEST_NOT_ACCEPTED;
    CONNECTION *connection;
    NTSTATUS status =
        connection_open(command->target + n - 1, WSKLAB_KIND_CONNECTION, command->cookie + n - 1, &connection);
    if (!NT_SUCCESS(status))
        return STATUS_REQUEST_NOT_ACCEPTED;
    connection_made(connection, socket);
    *made = connection;
    return STATUS_SUCCESS;
}

static NTSTATUS WSKAPI on_accept(PVOID context, ULONG flags, PSOCKADDR local, PSOCKADDR remote, PWSK_SOCKET socket,
                                 PVOID *new_context, const WSK_CLIENT_CONNECTION_DISPATCH **new_dispatch)
{
    CONNECTION *listener = context;
    KIRQL irql = current_irql();
    if (!callback_enter(listener, "accept"))
        return STATUS_REQUEST_NOT_ACCEPTED;
    const PROGRAM *program = ReadPointerAcquire(&listener->programs[CALLBACK_ACCEPT]);
    CONNECTION *connection = NULL;
    NTSTATUS status = STATUS_SUCCESS;
    if (socket) {
        status = STATUS_REQUEST_NOT_ACCEPTED;
        if (program && !ReadAcquire(&wsklab.cleaning))
            status = take_socket(listener, &program->command, socket, &connection);
    } /* no socket: the listener is dead and wants to be closed (R39) */
    log_line(listener->id, "ev=accept flags=%08x new=%u null=%u took=%u irql=%u lport=%u rport=%u cookie=%08x",
             (uint32_t)flags, connection ? connection->id : 0, socket == NULL, connection != NULL, irql,
             local ? port_of((const ADDRESS *)local) : 0, remote ? port_of((const ADDRESS *)remote) : 0,
             listener->cookie);
    if (connection) {
        BOOLEAN events = !(program->command.options & WSKLAB_OPT_NO_DISPATCH);
        *new_context = events ? accepted_context(connection) : NULL;
        *new_dispatch = events ? &connection_events : NULL;
        connection_drop(connection);
        if (ReadAcquire(&wsklab.cleaning))
            worker_wake(); /* CLOSE_ALL may have passed its place in the table */
    }
    callback_leave();
    return status;
}

const WSK_CLIENT_LISTEN_DISPATCH listen_events = {.WskAcceptEvent = on_accept};
