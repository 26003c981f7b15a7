/* WskControlSocket and WskControlClient: event callbacks on and off, socket options, silent mode. */
#include "standin.h"

/* ---- Event callbacks ------------------------------------------------------------------------------------------------------------ */

static bool npi_known(PNPIID id)
{
    return id && memcmp(id, &NPI_WSK_INTERFACE_ID, sizeof *id) == 0;
}

/* R28 to R32. With the lock held. */
static NTSTATUS switch_off(struct socket *socket, ULONG event)
{
    if ((event & (event - 1)) != 0)
        return STATUS_INVALID_PARAMETER; /* one event per call */
    if (event & socket->client->static_events)
        return STATUS_INVALID_DEVICE_STATE; /* R36 */
    if (socket->kind == LISTEN_SOCKET && event != WSK_EVENT_ACCEPT)
        return STATUS_INVALID_DEVICE_STATE; /* R38: they cannot be removed from a listener */
    socket->enabled &= ~event;
    return (socket->running & event) ? STATUS_PENDING : STATUS_SUCCESS;
}

/* R25, R26: after the connection exists, or the bind. With the lock held. */
static NTSTATUS switch_on(struct socket *socket, ULONG events)
{
    if (socket->state != STATE_CONNECTED && socket->state != STATE_LISTENING)
        return STATUS_INVALID_DEVICE_STATE;
    socket->enabled |= events;
    return STATUS_SUCCESS;
}

/* STATUS_PENDING: off, but the callback runs at this moment. */
static NTSTATUS switch_events(struct socket *socket, SIZE_T size, PVOID input, bool *off)
{
    const WSK_EVENT_CALLBACK_CONTROL *control = input;
    ULONG events;
    NTSTATUS status;

    if (!control || size < sizeof *control || !npi_known(control->NpiId))
        return STATUS_INVALID_PARAMETER; /* R34 */
    events = control->EventMask & ~WSK_EVENT_DISABLE;
    *off = (control->EventMask & WSK_EVENT_DISABLE) != 0;
    if (!events || (events & ~events_offered(socket)))
        return STATUS_INVALID_PARAMETER;
    lock_acquire(&provider.lock);
    status = *off ? switch_off(socket, events) : switch_on(socket, events);
    lock_release(&provider.lock);
    return status;
}

/* ---- Options ---------------------------------------------------------------------------------------------------------------------- */

static const struct option {
    ULONG level, name;
    enum os_option os;
    ULONG factor; /* the kernel's unit in the option's */
} options[] = {
    {SOL_SOCKET, SO_KEEPALIVE, OS_KEEPALIVE, 1},       {SOL_SOCKET, SO_REUSEADDR, OS_REUSE_ADDRESS, 1},
    {SOL_SOCKET, SO_SNDBUF, OS_SEND_BUFFER, 1},        {SOL_SOCKET, SO_RCVBUF, OS_RECEIVE_BUFFER, 1},
    {IPPROTO_TCP, TCP_NODELAY, OS_NO_DELAY, 1},        {IPPROTO_TCP, TCP_KEEPIDLE, OS_KEEP_IDLE, 1},
    {IPPROTO_TCP, TCP_KEEPINTVL, OS_KEEP_INTERVAL, 1}, {IPPROTO_TCP, TCP_KEEPCNT, OS_KEEP_COUNT, 1},
    {IPPROTO_TCP, TCP_MAXRT, OS_USER_TIMEOUT, 1000},   {IPPROTO_TCP, TCP_MAXRTMS, OS_USER_TIMEOUT, 1},
    {IPPROTO_IPV6, IPV6_V6ONLY, OS_V6_ONLY, 1},
};

static const struct option *find_option(ULONG level, ULONG name)
{
    for (SIZE_T i = 0; i < RTL_NUMBER_OF(options); i++)
        if (options[i].level == level && options[i].name == name)
            return &options[i];
    return NULL;
}

static NTSTATUS unknown_option(ULONG level, ULONG name)
{
    UNSUPPORTED("WskControlSocket for option %x of level %x", (unsigned)name, (unsigned)level);
    return STATUS_NOT_SUPPORTED;
}

static NTSTATUS set_option(struct socket *socket, ULONG level, ULONG name, SIZE_T size, PVOID input)
{
    const struct option *option = find_option(level, name);
    NTSTATUS status = STATUS_INVALID_DEVICE_STATE;
    LONG value;

    if (!input || size < sizeof value)
        return STATUS_INVALID_PARAMETER;
    RtlCopyMemory(&value, input, sizeof value);
    if (level == SOL_SOCKET && name == SO_CONDITIONAL_ACCEPT) {
        lock_acquire(&provider.lock);
        if (socket->kind == LISTEN_SOCKET && socket->state == STATE_OPEN) {
            socket->conditional_accept = value != 0;
            status = STATUS_SUCCESS;
        }
        lock_release(&provider.lock);
        return status;
    }
    if (!option)
        return unknown_option(level, name);
    /* Under the lock: the engine may be closing the descriptor. */
    lock_acquire(&provider.lock);
    if (socket->fd >= 0)
        status = status_of(os_set_option(socket->fd, option->os, value * (LONG)option->factor));
    lock_release(&provider.lock);
    return status;
}

static NTSTATUS get_option(struct socket *socket, ULONG level, ULONG name, SIZE_T size, PVOID output, SIZE_T *returned)
{
    const struct option *option = find_option(level, name);
    NTSTATUS status = STATUS_INVALID_DEVICE_STATE;
    int value = 0;

    if (!option)
        return unknown_option(level, name);
    if (!output || size < sizeof value)
        return STATUS_BUFFER_TOO_SMALL;
    lock_acquire(&provider.lock);
    if (socket->fd >= 0)
        status = status_of(os_get_option(socket->fd, option->os, &value));
    lock_release(&provider.lock);
    if (!NT_SUCCESS(status))
        return status;
    value /= (int)option->factor;
    RtlCopyMemory(output, &value, sizeof value);
    if (returned)
        *returned = sizeof value;
    return STATUS_SUCCESS;
}

/* ---- The calls ----------------------------------------------------------------------------------------------------------------------- */

/* Everything but silent mode is done in the caller's thread: a call without an IRP has to be. */
static NTSTATUS control(struct socket *socket, WSK_CONTROL_SOCKET_TYPE type, ULONG code, ULONG level, SIZE_T in_size,
                        PVOID in, SIZE_T out_size, PVOID out, SIZE_T *out_returned)
{
    if (type == WskSetOption)
        return set_option(socket, level, code, in_size, in);
    if (type == WskGetOption)
        return get_option(socket, level, code, out_size, out, out_returned);
    UNSUPPORTED("WskControlSocket for I/O control %x", (unsigned)code);
    return STATUS_NOT_SUPPORTED;
}

/* A call without an IRP; its flags are the events that it asks for, where it does. */
static void tell_control(struct socket *socket, const WSK_EVENT_CALLBACK_CONTROL *events, NTSTATUS status)
{
    witness(&(struct seen){.what = "call",
                           .function = "WskControlSocket",
                           .client = socket->client,
                           .socket = socket->serial,
                           .flags = status != STATUS_INVALID_PARAMETER && events ? events->EventMask : 0,
                           .status = status});
}

static NTSTATUS control_events(struct socket *socket, SIZE_T in_size, PVOID in, PIRP irp)
{
    struct request *request = NULL;
    bool off = false;
    NTSTATUS status;

    if (irp) {
        request = request_begin("WskControlSocket", socket->client, socket, irp, OP_EVENTS_OFF, &status);
        if (!request)
            return status;
    }
    status = switch_events(socket, in_size, in, &off);
    if (status == STATUS_SUCCESS && !off)
        request_wake(socket); /* R33, R35: what happened before is told now */
    if (request) /* R24 (X), R29, R30 */
        return status == STATUS_PENDING ? request_submit(request) : request_refuse(request, status);
    if (status == STATUS_PENDING)
        status = STATUS_EVENT_PENDING; /* R31 */
    tell_control(socket, in, status);
    socket_leave(socket);
    return status;
}

NTSTATUS WSKAPI control_socket(PWSK_SOCKET wsk, WSK_CONTROL_SOCKET_TYPE type, ULONG code, ULONG level, SIZE_T in_size,
                               PVOID in, SIZE_T out_size, PVOID out, SIZE_T *out_returned, PIRP irp)
{
    struct socket *socket = socket_enter("WskControlSocket", wsk);
    bool silence = type == WskIoctl && code == SIO_WSK_SET_TCP_SILENT_MODE;
    struct request *request;
    NTSTATUS status;

    if (!socket)
        return request_lost("WskControlSocket", irp);
    if (type == WskSetOption && level == SOL_SOCKET && code == SO_WSK_EVENT_CALLBACK)
        return control_events(socket, in_size, in, irp);
    if (!irp && !silence) {
        status = control(socket, type, code, level, in_size, in, out_size, out, out_returned);
        tell_control(socket, NULL, status);
        socket_leave(socket);
        return status;
    }
    request = request_begin("WskControlSocket", socket->client, socket, irp, OP_SILENT, &status);
    if (!request)
        return status;
    if (silence)
        return request_submit(request);
    return request_refuse(request, control(socket, type, code, level, in_size, in, out_size, out, out_returned));
}

static NTSTATUS set_static_events(struct client *client, SIZE_T size, PVOID input)
{
    const WSK_EVENT_CALLBACK_CONTROL *control = input;
    const ULONG all = CONNECTION_EVENTS | WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE_FROM; /* R37 */
    bool late;

    if (!control || size < sizeof *control || !npi_known(control->NpiId) || (control->EventMask & ~all))
        return STATUS_INVALID_PARAMETER;
    lock_acquire(&provider.lock);
    late = client->had_sockets;
    if (!late)
        client->static_events |= control->EventMask;
    lock_release(&provider.lock);
    if (!late)
        return STATUS_SUCCESS;
    REPORT("R36", "static event callbacks set after the first socket");
    return STATUS_INVALID_DEVICE_STATE;
}

NTSTATUS WSKAPI control_client(PWSK_CLIENT wsk_client, ULONG code, SIZE_T in_size, PVOID in, SIZE_T out_size, PVOID out,
                               SIZE_T *out_returned, PIRP irp)
{
    struct client *client = wsk_client;
    struct request *request = NULL;
    NTSTATUS status;

    (void)out_size, (void)out;
    if (out_returned)
        *out_returned = 0;
    if (irp) {
        request = request_begin("WskControlClient", client, NULL, irp, OP_SILENT, &status);
        if (!request)
            return status;
    }
    if (code == WSK_SET_STATIC_EVENT_CALLBACKS)
        status = set_static_events(client, in_size, in);
    else if (code == WSK_TDI_BEHAVIOR)
        status = STATUS_SUCCESS; /* there is no TDI to bypass */
    else {
        UNSUPPORTED("WskControlClient for control code %u", (unsigned)code);
        status = STATUS_NOT_SUPPORTED;
    }
    if (!request)
        witness(&(struct seen){.what = "call", .function = "WskControlClient", .client = client, .status = status});
    return request ? request_refuse(request, status) : status;
}
