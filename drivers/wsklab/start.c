/*
 * start.c - the calls that commands, callbacks (R16) and the worker all start. Nothing here waits.
 *
 * `command` is whatever asked for them: its id, length, count, flags, mask, seed and options are used.
 */
#include "start.h"
#include "call.h"
#include "operation.h"

NTSTATUS start_events(CONNECTION *connection, const WSKLAB_COMMAND *command, uint32_t verb)
{
    OPERATION *operation = operation_create(connection, verb, command, (command->options & WSKLAB_OPT_IRP) != 0);
    if (!operation)
        return refuse(connection->id, verb, command->id, STATUS_INSUFFICIENT_RESOURCES);
    set_event_control(operation);
    return operation_start(operation);
}

/* One call with `length` bytes of buffer; a zero length has no MDL, except that DRAIN wants a descriptor (R48). */
static NTSTATUS start_transfer(CONNECTION *connection, const WSKLAB_COMMAND *command, uint32_t verb)
{
    if (command->length > MAX_LENGTH)
        return refuse(connection->id, verb, command->id, STATUS_INVALID_PARAMETER);
    OPERATION *operation = operation_create(connection, verb, command, TRUE);
    if (!operation)
        return refuse(connection->id, verb, command->id, STATUS_INSUFFICIENT_RESOURCES);
    NTSTATUS status = command->length ? operation_give_buffer(operation, command->length) : STATUS_SUCCESS;
    if (!NT_SUCCESS(status))
        return operation_refuse(operation, status);
    if (verb != WSKLAB_OP_RECEIVE) {
        for (uint32_t i = 0; i < command->length; i++)
            operation->data[i] = (UCHAR)(command->seed + i);
        if (TWIN(CORRUPTS_SENDS) && command->length)
            operation->data[command->length / 2] ^= 0x20;
        if (TWIN(SENDS_SHORT) && command->length)
            operation->buffer.Length--;
    }
    return operation_start(operation);
}

/*
 * `count` calls with ids id, id + 1, ...; sends go on with the pattern where the one before ended. After one that fails
 * the others are not made.
 */
static NTSTATUS start_transfers(CONNECTION *connection, const WSKLAB_COMMAND *command, uint32_t verb)
{
    WSKLAB_COMMAND one = *command;
    NTSTATUS status = STATUS_SUCCESS;
    for (uint32_t i = 0; i < command->count; i++) {
        if (NT_SUCCESS(status))
            status = start_transfer(connection, &one, verb);
        else
            (void)refuse(connection->id, verb, one.id, status);
        one.id++;
        one.seed += one.length;
    }
    return status;
}

NTSTATUS start_receives(CONNECTION *connection, const WSKLAB_COMMAND *command)
{
    return start_transfers(connection, command, WSKLAB_OP_RECEIVE);
}

NTSTATUS start_sends(CONNECTION *connection, const WSKLAB_COMMAND *command)
{
    return start_transfers(connection, command, WSKLAB_OP_SEND);
}

NTSTATUS start_disconnect(CONNECTION *connection, const WSKLAB_COMMAND *command)
{
    if (TWIN(FORGETS_HALF_OPEN) && ReadAcquire(&connection->disconnects))
        return STATUS_SUCCESS;
    return start_transfer(connection, command, WSKLAB_OP_DISCONNECT);
}

/* In the worker, once there is a connection: the events and receives that the command asked for. */
void follow_connect(CONNECTION *connection, const WSKLAB_COMMAND *command)
{
    WSKLAB_COMMAND receives = *command;
    if (command->mask)
        (void)start_events(connection, command, WSKLAB_OP_ENABLE);
    receives.id++;
    (void)start_receives(connection, &receives);
}
