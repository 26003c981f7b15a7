/*
 * commands.c - one function per command of protocol.h. They run in the thread of the ioctl, at PASSIVE_LEVEL,
 * start things and return; only calls that end at once (socket, bind, addresses) are waited for.
 */
#include "commands.h"
#include "account.h"
#include "call.h"
#include "closing.h"
#include "connection.h"
#include "log.h"
#include "operation.h"
#include "start.h"

/* A call that ends at once. */
static NTSTATUS run(CONNECTION *connection, const WSKLAB_COMMAND *command, uint32_t verb)
{
    OPERATION *operation = operation_create(connection, verb, command, TRUE);
    return operation ? operation_run(operation)
                     : refuse(connection->id, verb, command->id, STATUS_INSUFFICIENT_RESOURCES);
}

/* A call whose completion is followed, in the worker, by events and receives. */
static NTSTATUS start_connected(CONNECTION *connection, CONNECTION *target, const WSKLAB_COMMAND *command,
                                uint32_t verb)
{
    OPERATION *operation = operation_create(connection, verb, command, TRUE);
    if (!operation)
        return refuse(connection->id, verb, command->id, STATUS_INSUFFICIENT_RESOURCES);
    if (target != connection) {
        connection_hold(target);
        operation->target = target;
    }
    operation->follow = FOLLOW_CONNECTED;
    return operation_start(operation);
}

/* On success the caller holds the new connection. */
static NTSTATUS make_socket(const WSKLAB_COMMAND *command, CONNECTION **made)
{
    CONNECTION *connection;
    NTSTATUS status = connection_open(command->conn, command->kind, command->cookie, &connection);
    if (!NT_SUCCESS(status))
        return refuse(command->conn, command->op, command->id, status);
    status = run(connection, command, WSKLAB_OP_SOCKET);
    connection_try_close(connection); /* a CLOSE from another thread may have come meanwhile */
    if (NT_SUCCESS(status)) {
        *made = connection;
        return status;
    }
    (void)connection_close(connection, command->id); /* the number must not stay taken */
    connection_drop(connection);
    return status;
}

static NTSTATUS do_socket(const WSKLAB_COMMAND *command)
{
    CONNECTION *connection;
    NTSTATUS status = make_socket(command, &connection);
    if (NT_SUCCESS(status))
        connection_drop(connection);
    return status;
}

static NTSTATUS do_open(const WSKLAB_COMMAND *command)
{
    CONNECTION *connection;
    NTSTATUS status = make_socket(command, &connection);
    if (!NT_SUCCESS(status))
        return status;
    status = run(connection, command, WSKLAB_OP_BIND);
    if (NT_SUCCESS(status))
        status = run(connection, command, OP_LOCAL);
    if (NT_SUCCESS(status)) {
        if (command->kind == WSKLAB_KIND_CONNECTION)
            status = start_connected(connection, connection, command, WSKLAB_OP_CONNECT);
        else if (command->mask)
            status = start_events(connection, command, WSKLAB_OP_ENABLE);
    }
    connection_drop(connection);
    return status;
}

static NTSTATUS do_socket_connect(const WSKLAB_COMMAND *command)
{
    CONNECTION *connection;
    NTSTATUS status = connection_open(command->conn, WSKLAB_KIND_CONNECTION, command->cookie, &connection);
    if (!NT_SUCCESS(status))
        return refuse(command->conn, command->op, command->id, status);
    status = start_connected(connection, connection, command, WSKLAB_OP_SOCKET_CONNECT);
    connection_drop(connection);
    return status;
}

static NTSTATUS do_accept(CONNECTION *listener, const WSKLAB_COMMAND *command)
{
    CONNECTION *connection;
    NTSTATUS status = connection_open(command->target, WSKLAB_KIND_CONNECTION, command->cookie, &connection);
    if (!NT_SUCCESS(status))
        return refuse(command->target, command->op, command->id, status);
    status = start_connected(listener, connection, command, WSKLAB_OP_ACCEPT);
    connection_drop(connection);
    return status;
}

static NTSTATUS do_control(CONNECTION *connection, const WSKLAB_COMMAND *command)
{
    OPERATION *operation = operation_create(connection, WSKLAB_OP_CONTROL, command, TRUE);
    return operation ? operation_start(operation)
                     : refuse(connection->id, WSKLAB_OP_CONTROL, command->id, STATUS_INSUFFICIENT_RESOURCES);
}

static void print_address(const ADDRESS *address, char *text)
{
    BOOLEAN six = address->header.sa_family == AF_INET6;
    hex_text(text, six ? address->v6.sin6_addr.u.Byte : (const UCHAR *)&address->v4.sin_addr, six ? 16 : 4);
}

static NTSTATUS do_addresses(CONNECTION *connection, const WSKLAB_COMMAND *command)
{
    OPERATION *local = operation_create(connection, OP_LOCAL, command, TRUE);
    OPERATION *remote = NULL;
    if (connection->kind == WSKLAB_KIND_CONNECTION) /* a listener has no such function */
        remote = operation_create(connection, OP_REMOTE, command, TRUE);
    NTSTATUS status[2] = {STATUS_INSUFFICIENT_RESOURCES, STATUS_NOT_SUPPORTED};
    char text[2][33] = {"", ""};
    uint32_t port[2] = {0, 0};
    OPERATION *both[2] = {local, remote};
    for (uint32_t i = 0; i < 2; i++) {
        if (!both[i])
            continue;
        operation_hold(both[i]);
        status[i] = operation_run(both[i]);
        const ADDRESS *address = i ? &both[i]->remote : &both[i]->local;
        print_address(address, text[i]);
        port[i] = port_of(address);
        operation_drop(both[i]);
    }
    log_line(connection->id, "ev=addr id=%u local=%s lport=%u lst=%08x remote=%s rport=%u rst=%08x", command->id,
             text[0], port[0], (uint32_t)status[0], text[1], port[1], (uint32_t)status[1]);
    return status[0];
}

static NTSTATUS do_release(CONNECTION *connection, const WSKLAB_COMMAND *command)
{
    PWSK_SOCKET socket;
    PWSK_DATA_INDICATION list;
    if (!connection_enter(connection, &socket))
        return refuse(connection->id, command->op, command->id, STATUS_INVALID_DEVICE_STATE);
    while ((list = connection_take_retained(connection)) != NULL)
        call_release(socket, list);
    connection_leave(connection);
    return STATUS_SUCCESS;
}

/* Publishes what the callbacks in `mask` do from now on (for ACCEPT_EVENTS: what the listener gives out). */
static NTSTATUS give_program(CONNECTION *connection, const WSKLAB_COMMAND *command)
{
    static const uint32_t masks[CALLBACKS] = {
        [CALLBACK_DISCONNECT] = WSK_EVENT_DISCONNECT,
        [CALLBACK_RECEIVE] = WSK_EVENT_RECEIVE,
        [CALLBACK_ACCEPT] = WSK_EVENT_ACCEPT,
    };
    for (uint32_t i = 0; i < CALLBACKS; i++) {
        if (!(command->mask & masks[i]))
            continue;
        PROGRAM *program = allocate(sizeof *program);
        if (!program)
            return refuse(connection->id, command->op, command->id, STATUS_INSUFFICIENT_RESOURCES);
        program->command = *command;
        program->older = InterlockedExchangePointer((PVOID volatile *)&connection->programs[i], program);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS execute_on(CONNECTION *connection, const WSKLAB_COMMAND *command)
{
    WSKLAB_COMMAND accept_program;
    switch (command->op) {
    case WSKLAB_OP_BIND:
        return run(connection, command, WSKLAB_OP_BIND);
    case WSKLAB_OP_CONNECT:
        return start_connected(connection, connection, command, WSKLAB_OP_CONNECT);
    case WSKLAB_OP_ACCEPT:
        return do_accept(connection, command);
    case WSKLAB_OP_ACCEPT_EVENTS:
        accept_program = *command;
        accept_program.mask = WSK_EVENT_ACCEPT;
        InterlockedExchange(&connection->accepts, 0);
        return give_program(connection, &accept_program);
    case WSKLAB_OP_ENABLE:
    case WSKLAB_OP_DISABLE:
        return start_events(connection, command, command->op);
    case WSKLAB_OP_RECEIVE:
        return start_receives(connection, command);
    case WSKLAB_OP_SEND:
        return start_sends(connection, command);
    case WSKLAB_OP_DISCONNECT:
        return start_disconnect(connection, command);
    case WSKLAB_OP_CLOSE:
        return connection_close(connection, command->id);
    case WSKLAB_OP_CANCEL:
        return operation_cancel(connection, command->target) ? STATUS_SUCCESS : STATUS_NOT_FOUND;
    case WSKLAB_OP_RELEASE:
        return do_release(connection, command);
    case WSKLAB_OP_CONTROL:
        return do_control(connection, command);
    case WSKLAB_OP_ADDRESSES:
        return do_addresses(connection, command);
    case WSKLAB_OP_CALLBACK:
        return give_program(connection, command);
    default:
        return refuse(command->conn, command->op, command->id, STATUS_INVALID_PARAMETER);
    }
}

/* A transfer command is `count` operations, any other is one. */
static NTSTATUS refuse_all(const WSKLAB_COMMAND *command, NTSTATUS status)
{
    BOOLEAN transfers = command->op == WSKLAB_OP_RECEIVE || command->op == WSKLAB_OP_SEND;
    for (uint32_t i = 0; i < (transfers ? command->count : 1); i++)
        (void)refuse(command->conn, command->op, command->id + i, status);
    return status;
}

static NTSTATUS execute(const WSKLAB_COMMAND *command)
{
    switch (command->op) {
    case WSKLAB_OP_CANARY:
        log_line(0, "ev=canary token=%08x base=%08x%08x", command->token, (uint32_t)(wsklab.base >> 32),
                 (uint32_t)wsklab.base);
        return STATUS_SUCCESS;
    case WSKLAB_OP_SOCKET:
        return do_socket(command);
    case WSKLAB_OP_SOCKET_CONNECT:
        return do_socket_connect(command);
    case WSKLAB_OP_OPEN:
        return do_open(command);
    case WSKLAB_OP_STATIC_EVENTS:
        return call_static_events(command);
    case WSKLAB_OP_CLOSE_ALL:
        close_all(command->id);
        return STATUS_SUCCESS;
    default: {
        CONNECTION *connection = connection_find(command->conn);
        if (!connection)
            return refuse_all(command, STATUS_NOT_FOUND);
        NTSTATUS status = execute_on(connection, command);
        connection_drop(connection);
        return status;
    }
    }
}

/* Commands that are no WSK calls get their line here. */
NTSTATUS command_execute(const WSKLAB_COMMAND *command)
{
    if (command->size != sizeof *command || command->version != WSKLAB_PROTOCOL)
        return STATUS_REVISION_MISMATCH;
    NTSTATUS status = execute(command);
    switch (command->op) {
    case WSKLAB_OP_STATIC_EVENTS:
    case WSKLAB_OP_ACCEPT_EVENTS:
    case WSKLAB_OP_CALLBACK:
    case WSKLAB_OP_CANCEL:
    case WSKLAB_OP_RELEASE:
        log_line(command->conn, "ev=call op=%s id=%u ret=%08x target=%u mask=%08x", verb_name(command->op), command->id,
                 (uint32_t)status, command->target, command->mask);
    }
    return status;
}
