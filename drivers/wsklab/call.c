/*
 * call.c - the one place that calls WSK. Whoever comes here has seen to R68 and holds the operation.
 */
#include "call.h"
#include "account.h"
#include "connection.h"

/* Any GUID that is not WSK's (R34). */
static const NPIID wrong_npi = {0x01234567, 0x89ab, 0xcdef, {0, 1, 2, 3, 4, 5, 6, 7}};

/* The context of TWIN_WRONG_CONTEXT: alive, but nobody's. */
static CONNECTION decoy = {.magic = MAGIC_ALIVE, .cookie = 0xdec0dec0u};

/* The context of an accepted connection: its own, except that TWIN_SHARES_CONTEXT gives the one accepted before it. */
PVOID accepted_context(CONNECTION *connection)
{
    CONNECTION *before = TWIN(SHARES_CONTEXT) ? connection_find(connection->id - 1) : NULL;
    if (!before)
        return connection;
    connection_drop(before); /* wrong here as well: nothing keeps it while WSK has it */
    return before;
}

static PVOID context_of(const OPERATION *operation)
{
    if (operation->command.options & WSKLAB_OPT_NO_DISPATCH)
        return NULL;
    if (TWIN(WRONG_CONTEXT))
        return &decoy;
    return operation->verb == WSKLAB_OP_ACCEPT ? accepted_context(operation->target) : operation->target;
}

static const WSK_CLIENT_CONNECTION_DISPATCH *connection_callbacks(const OPERATION *operation)
{
    return operation->command.options & WSKLAB_OPT_NO_DISPATCH ? NULL : upcalls.connection;
}

static NTSTATUS call_socket(OPERATION *operation)
{
    BOOLEAN listens = operation->target->kind == WSKLAB_KIND_LISTEN;
    const VOID *callbacks = connection_callbacks(operation);
    if (callbacks && listens)
        callbacks = upcalls.listen;
    return wsklab.provider.Dispatch->WskSocket(wsklab.provider.Client, operation->local.header.sa_family, SOCK_STREAM,
                                               IPPROTO_TCP,
                                               listens ? WSK_FLAG_LISTEN_SOCKET : WSK_FLAG_CONNECTION_SOCKET,
                                               context_of(operation), callbacks, NULL, NULL, NULL, operation->irp);
}

/* One event mask on (ENABLE) or off (DISABLE): SO_WSK_EVENT_CALLBACK, R23 to R31. */
static NTSTATUS call_events(OPERATION *operation, const WSK_PROVIDER_BASIC_DISPATCH *basic, PWSK_SOCKET socket)
{
    if (!operation->irp && (operation->verb == WSKLAB_OP_DISABLE ? TWIN(FORGETS_DISABLE) : TWIN(NEVER_ENABLES)))
        return STATUS_SUCCESS;
    if (TWIN(ENABLES_LATE) && operation->verb == WSKLAB_OP_ENABLE)
        return STATUS_SUCCESS;
    return basic->WskControlSocket(socket, WskSetOption, SO_WSK_EVENT_CALLBACK, SOL_SOCKET, sizeof operation->control,
                                   &operation->control, 0, NULL, NULL, operation->irp);
}

static NTSTATUS call_control(OPERATION *operation, const WSK_PROVIDER_BASIC_DISPATCH *basic, PWSK_SOCKET socket)
{
    WSKLAB_COMMAND *command = &operation->command;
    uint32_t in = min(command->length, WSKLAB_DATA);
    uint32_t out = min(command->count, WSKLAB_DATA);
    return basic->WskControlSocket(socket, (WSK_CONTROL_SOCKET_TYPE)command->kind, command->code, command->level, in,
                                   in ? command->data : NULL, out, out ? operation->out : NULL, &operation->returned,
                                   operation->irp);
}

NTSTATUS call_wsk(OPERATION *operation, PWSK_SOCKET socket)
{
    const WSK_PROVIDER_BASIC_DISPATCH *basic = socket ? socket->Dispatch : NULL;
    const WSK_PROVIDER_CONNECTION_DISPATCH *connected = socket ? socket->Dispatch : NULL;
    const WSK_PROVIDER_LISTEN_DISPATCH *listening = socket ? socket->Dispatch : NULL;
    BOOLEAN listens = operation->connection->kind == WSKLAB_KIND_LISTEN;
    WSK_BUF *buffer = &operation->buffer;
    uint32_t flags = operation->command.flags;
    PSOCKADDR local = &operation->local.header;
    PSOCKADDR remote = &operation->remote.header;
    PIRP irp = operation->irp;

    switch (operation->verb) {
    case WSKLAB_OP_SOCKET:
        return call_socket(operation);
    case WSKLAB_OP_SOCKET_CONNECT:
        return wsklab.provider.Dispatch->WskSocketConnect(wsklab.provider.Client, SOCK_STREAM, IPPROTO_TCP, local,
                                                          remote, 0, context_of(operation),
                                                          connection_callbacks(operation), NULL, NULL, NULL, irp);
    case WSKLAB_OP_BIND:
        return (listens ? listening->WskBind : connected->WskBind)(socket, local, 0, irp);
    case WSKLAB_OP_CONNECT:
        return connected->WskConnect(socket, remote, 0, irp);
    case WSKLAB_OP_ACCEPT:
        return listening->WskAccept(socket, 0, context_of(operation), connection_callbacks(operation), local, remote,
                                    irp);
    case WSKLAB_OP_ENABLE:
    case WSKLAB_OP_DISABLE:
        return call_events(operation, basic, socket);
    case WSKLAB_OP_CONTROL:
        return call_control(operation, basic, socket);
    case WSKLAB_OP_RECEIVE:
        return connected->WskReceive(socket, buffer, flags, irp);
    case WSKLAB_OP_SEND:
        return connected->WskSend(socket, buffer, flags, irp);
    case WSKLAB_OP_DISCONNECT: /* NULL, not an empty buffer (R63), unless data was asked for */
        if (TWIN(ABORTS_INSTEAD))
            return connected->WskDisconnect(socket, NULL, WSK_FLAG_ABORTIVE, irp);
        return connected->WskDisconnect(socket, buffer->Mdl || TWIN(BUFFER_WITH_ABORT) ? buffer : NULL, flags, irp);
    case OP_LOCAL:
        return (listens ? listening->WskGetLocalAddress : connected->WskGetLocalAddress)(socket, local, irp);
    case OP_REMOTE:
        return connected->WskGetRemoteAddress(socket, remote, irp);
    default: { /* WSKLAB_OP_CLOSE */
        if (TWIN(ENABLES_LATE)) {
            WSK_EVENT_CALLBACK_CONTROL late = {&NPI_WSK_INTERFACE_ID, WSK_EVENT_DISCONNECT};
            (void)basic->WskControlSocket(socket, WskSetOption, SO_WSK_EVENT_CALLBACK, SOL_SOCKET, sizeof late, &late,
                                          0, NULL, NULL, NULL);
        }
        return basic->WskCloseSocket(socket, irp);
    }
    }
}

/* Gives one retained indication list back (R54). */
void call_release(PWSK_SOCKET socket, PWSK_DATA_INDICATION list)
{
    const WSK_PROVIDER_CONNECTION_DISPATCH *connected = socket->Dispatch;
    (void)connected->WskRelease(socket, list);
    InterlockedDecrement(&wsklab.indications);
    settle();
}

/* Prepares the option block of ENABLE or DISABLE. */
void set_event_control(OPERATION *operation)
{
    const WSKLAB_COMMAND *command = &operation->command;
    BOOLEAN wrong = (command->options & WSKLAB_OPT_WRONG_NPI) || TWIN(FAILS_TO_ENABLE);
    operation->control.NpiId = wrong ? &wrong_npi : &NPI_WSK_INTERFACE_ID;
    operation->control.EventMask = command->mask | (operation->verb == WSKLAB_OP_DISABLE ? WSK_EVENT_DISABLE : 0);
    if (TWIN(ENABLES_TOO_MUCH) && operation->verb == WSKLAB_OP_ENABLE &&
        operation->connection->kind == WSKLAB_KIND_CONNECTION)
        operation->control.EventMask |= WSK_EVENT_RECEIVE;
}

/* WskControlClient: events on for every later socket, for ever (R36). No IRP, no socket. */
NTSTATUS call_static_events(const WSKLAB_COMMAND *command)
{
    WSK_EVENT_CALLBACK_CONTROL control = {
        .NpiId = command->options & WSKLAB_OPT_WRONG_NPI ? &wrong_npi : &NPI_WSK_INTERFACE_ID,
        .EventMask = command->mask,
    };
    if (TWIN(NEVER_ENABLES))
        return STATUS_SUCCESS;
    return wsklab.provider.Dispatch->WskControlClient(wsklab.provider.Client, WSK_SET_STATIC_EVENT_CALLBACKS,
                                                      sizeof control, &control, 0, NULL, NULL, NULL);
}
