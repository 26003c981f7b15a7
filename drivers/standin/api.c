/* The functions of the provider's dispatch tables: they check, and hand a request to the engine. */
#include "standin.h"

static bool address_valid(const SOCKADDR *address, ADDRESS_FAMILY family)
{
    return address && address->sa_family == family && os_address_size(family);
}

static void copy_address(os_address *to, const SOCKADDR *from)
{
    RtlCopyMemory(to, from, os_address_size(from->sa_family));
}

/* What a data call asks for, checked and copied: the WSK_BUF itself belongs to the caller only until the call returns. */
static bool take_buffer(struct request *request, const WSK_BUF *buffer)
{
    if (buffer && strict_on(STRICT_MEMORY))
        mdl_check_chain(&(struct site){request->function, NULL}, buffer->Mdl);
    if (!buffer || !buffer_valid(buffer))
        return false;
    request->buffer = *buffer;
    return true;
}

/* Begins a function of a socket; NULL as request_begin. */
static struct request *begin(const char *function, PWSK_SOCKET wsk, PIRP irp, enum operation operation,
                             NTSTATUS *status)
{
    struct socket *socket = socket_enter(function, wsk);

    if (socket)
        return request_begin(function, socket->client, socket, irp, operation, status);
    *status = request_lost(function, irp);
    return NULL;
}

/* ---- The client's functions ------------------------------------------------------------------------------------------------------ */

static void check_captured(const char *function, struct client *client)
{
    ULONG captures;

    lock_acquire(&provider.lock);
    captures = client->captures;
    lock_release(&provider.lock);
    if (!captures)
        REPORT("R79", "%s without a captured provider", function);
}

static NTSTATUS WSKAPI wsk_socket(PWSK_CLIENT client, ADDRESS_FAMILY family, USHORT type, ULONG protocol, ULONG flags,
                                  PVOID context, const VOID *dispatch, PEPROCESS process, PETHREAD thread,
                                  PSECURITY_DESCRIPTOR security, PIRP irp)
{
    struct request *request;
    NTSTATUS status;

    (void)process, (void)thread, (void)security;
    check_captured("WskSocket", client);
    level_refresh();
    witness_context("WskSocket", context);
    request = request_begin("WskSocket", client, NULL, irp, OP_OPEN, &status);
    if (!request)
        return status;
    if (!os_address_size(family))
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    if (type != SOCK_STREAM || (protocol != IPPROTO_TCP && protocol != 0) || flags > WSK_FLAG_CONNECTION_SOCKET) {
        UNSUPPORTED("WskSocket of type %u, protocol %u, flags %x", type, (unsigned)protocol, (unsigned)flags);
        return request_refuse(request, STATUS_NOT_SUPPORTED);
    }
    request->local.any.sa_family = family;
    request->flags = flags;
    request->context = context;
    request->dispatch = dispatch;
    return request_submit(request);
}

static NTSTATUS WSKAPI wsk_socket_connect(PWSK_CLIENT client, USHORT type, ULONG protocol, PSOCKADDR local,
                                          PSOCKADDR remote, ULONG flags, PVOID context,
                                          const WSK_CLIENT_CONNECTION_DISPATCH *dispatch, PEPROCESS process,
                                          PETHREAD thread, PSECURITY_DESCRIPTOR security, PIRP irp)
{
    struct request *request;
    NTSTATUS status;

    (void)process, (void)thread, (void)security;
    check_captured("WskSocketConnect", client);
    level_refresh();
    witness_context("WskSocketConnect", context);
    request = request_begin("WskSocketConnect", client, NULL, irp, OP_OPEN_CONNECT, &status);
    if (!request)
        return status;
    if (!local || !address_valid(local, local->sa_family) || !address_valid(remote, local->sa_family) || flags)
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    if (type != SOCK_STREAM || (protocol != IPPROTO_TCP && protocol != 0)) {
        UNSUPPORTED("WskSocketConnect of type %u, protocol %u", type, (unsigned)protocol);
        return request_refuse(request, STATUS_NOT_SUPPORTED);
    }
    copy_address(&request->local, local);
    copy_address(&request->remote, remote);
    request->context = context;
    request->dispatch = dispatch;
    return request_submit(request);
}

/* No names are resolved: the lab's addresses are fixed. */
static NTSTATUS not_supported(const char *function, struct client *client, PIRP irp)
{
    NTSTATUS status;
    struct request *request = request_begin(function, client, NULL, irp, OP_OPEN, &status);

    UNSUPPORTED("%s", function);
    return request ? request_refuse(request, STATUS_NOT_SUPPORTED) : status;
}

static NTSTATUS WSKAPI wsk_get_address_info(PWSK_CLIENT client, PUNICODE_STRING node, PUNICODE_STRING service,
                                            ULONG space, GUID *provider_id, PADDRINFOEXW hints, PADDRINFOEXW *result,
                                            PEPROCESS process, PETHREAD thread, PIRP irp)
{
    (void)node, (void)service, (void)space, (void)provider_id, (void)hints, (void)result, (void)process, (void)thread;
    return not_supported("WskGetAddressInfo", client, irp);
}

static VOID WSKAPI wsk_free_address_info(PWSK_CLIENT client, PADDRINFOEXW info)
{
    (void)client, (void)info;
}

static NTSTATUS WSKAPI wsk_get_name_info(PWSK_CLIENT client, PSOCKADDR address, ULONG length, PUNICODE_STRING node,
                                         PUNICODE_STRING service, ULONG flags, PEPROCESS process, PETHREAD thread,
                                         PIRP irp)
{
    (void)address, (void)length, (void)node, (void)service, (void)flags, (void)process, (void)thread;
    return not_supported("WskGetNameInfo", client, irp);
}

/* ---- Every socket -------------------------------------------------------------------------------------------------------------------- */

static NTSTATUS WSKAPI wsk_close_socket(PWSK_SOCKET wsk, PIRP irp)
{
    NTSTATUS status;
    struct request *request = begin("WskCloseSocket", wsk, irp, OP_CLOSE, &status);
    ULONG others;
    bool twice;

    if (!request)
        return status;
    lock_acquire(&provider.lock);
    twice = request->socket->closing;
    request->socket->closing = true;
    others = request->socket->calls - 1;
    lock_release(&provider.lock);
    if (twice) {
        REPORT("R72", "WskCloseSocket on a socket that is being closed (socket %u)", (unsigned)request->socket->serial);
        return request_refuse(request, STATUS_INVALID_HANDLE);
    }
    if (others)
        REPORT("R68", "WskCloseSocket while %u other calls on the socket have not returned (socket %u)",
               (unsigned)others, (unsigned)request->socket->serial);
    return request_submit(request);
}

static NTSTATUS WSKAPI wsk_bind(PWSK_SOCKET wsk, PSOCKADDR local, ULONG flags, PIRP irp)
{
    NTSTATUS status;
    struct request *request = begin("WskBind", wsk, irp, OP_BIND, &status);

    if (!request)
        return status;
    if (!address_valid(local, request->socket->family) || flags)
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    copy_address(&request->local, local);
    return request_submit(request);
}

static NTSTATUS WSKAPI wsk_get_local_address(PWSK_SOCKET wsk, PSOCKADDR local, PIRP irp)
{
    NTSTATUS status;
    struct request *request = begin("WskGetLocalAddress", wsk, irp, OP_LOCAL_ADDRESS, &status);

    if (!request)
        return status;
    if (!local)
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    request->local_out = local;
    return request_submit(request);
}

/* ---- Connections ------------------------------------------------------------------------------------------------------------------------ */

static NTSTATUS WSKAPI wsk_get_remote_address(PWSK_SOCKET wsk, PSOCKADDR remote, PIRP irp)
{
    NTSTATUS status;
    struct request *request = begin("WskGetRemoteAddress", wsk, irp, OP_REMOTE_ADDRESS, &status);

    if (!request)
        return status;
    if (!remote)
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    request->remote_out = remote;
    return request_submit(request);
}

static NTSTATUS WSKAPI wsk_connect_ex(PWSK_SOCKET wsk, PSOCKADDR remote, PWSK_BUF buffer, ULONG flags, PIRP irp)
{
    NTSTATUS status;
    struct request *request = begin("WskConnect", wsk, irp, OP_CONNECT, &status);

    if (!request)
        return status;
    if (!address_valid(remote, request->socket->family) || flags || (buffer && !take_buffer(request, buffer)))
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    copy_address(&request->remote, remote);
    return request_submit(request);
}

static NTSTATUS WSKAPI wsk_connect(PWSK_SOCKET wsk, PSOCKADDR remote, ULONG flags, PIRP irp)
{
    return wsk_connect_ex(wsk, remote, NULL, flags, irp);
}

static NTSTATUS send_data(const char *function, PWSK_SOCKET wsk, PWSK_BUF buffer, ULONG flags, bool control, PIRP irp)
{
    NTSTATUS status;
    struct request *request = begin(function, wsk, irp, OP_SEND, &status);

    if (!request)
        return status;
    if (!take_buffer(request, buffer) || (flags & ~WSK_FLAG_NODELAY))
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    if (control) { /* TCP has no control messages */
        UNSUPPORTED("%s with control information", function);
        return request_refuse(request, STATUS_NOT_SUPPORTED);
    }
    request->flags = flags;
    return request_submit(request);
}

static NTSTATUS receive_data(const char *function, PWSK_SOCKET wsk, PWSK_BUF buffer, ULONG flags, PIRP irp)
{
    NTSTATUS status;
    struct request *request = begin(function, wsk, irp, OP_RECEIVE, &status);

    if (!request)
        return status;
    if (!take_buffer(request, buffer) || (flags & ~(WSK_FLAG_WAITALL | WSK_FLAG_DRAIN)) ||
        flags == (WSK_FLAG_WAITALL | WSK_FLAG_DRAIN) || ((flags & WSK_FLAG_DRAIN) && buffer->Length))
        return request_refuse(request, STATUS_INVALID_PARAMETER); /* R48, R49 */
    request->flags = flags;
    return request_submit(request);
}

static NTSTATUS WSKAPI wsk_send(PWSK_SOCKET wsk, PWSK_BUF buffer, ULONG flags, PIRP irp)
{
    return send_data("WskSend", wsk, buffer, flags, false, irp);
}

static NTSTATUS WSKAPI wsk_send_ex(PWSK_SOCKET wsk, PWSK_BUF buffer, ULONG flags, ULONG control_length,
                                   PCMSGHDR control, PIRP irp)
{
    (void)control;
    return send_data("WskSendEx", wsk, buffer, flags, control_length != 0, irp);
}

static NTSTATUS WSKAPI wsk_receive(PWSK_SOCKET wsk, PWSK_BUF buffer, ULONG flags, PIRP irp)
{
    return receive_data("WskReceive", wsk, buffer, flags, irp);
}

/* TCP has no control messages: the length is always 0. `control_flags` is reserved, and ignored. */
static NTSTATUS WSKAPI wsk_receive_ex(PWSK_SOCKET wsk, PWSK_BUF buffer, ULONG flags, PULONG control_length,
                                      PCMSGHDR control, PULONG control_flags, PIRP irp)
{
    (void)control, (void)control_flags;
    if (control_length)
        *control_length = 0;
    return receive_data("WskReceiveEx", wsk, buffer, flags, irp);
}

static NTSTATUS WSKAPI wsk_disconnect(PWSK_SOCKET wsk, PWSK_BUF buffer, ULONG flags, PIRP irp)
{
    NTSTATUS status;
    struct request *request = begin("WskDisconnect", wsk, irp, OP_DISCONNECT, &status);

    if (!request)
        return status;
    if ((flags & WSK_FLAG_ABORTIVE) && buffer) {
        REPORT("R63", "WskDisconnect with WSK_FLAG_ABORTIVE and a buffer (socket %u)",
               (unsigned)request->socket->serial);
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    }
    if ((buffer && !take_buffer(request, buffer)) || (flags & ~WSK_FLAG_ABORTIVE))
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    request->flags = flags;
    return request_submit(request);
}

/* Also for a socket that is closed already: the list is still given back (R54). */
static NTSTATUS WSKAPI wsk_release(PWSK_SOCKET wsk, PWSK_DATA_INDICATION list)
{
    struct socket *socket = socket_enter("WskRelease", wsk);
    struct client *client = CONTAINING_RECORD(wsk, struct socket, wsk)->client;

    witness(&(struct seen){.what = "call",
                           .function = "WskRelease",
                           .client = client,
                           .socket = CONTAINING_RECORD(wsk, struct socket, wsk)->serial});
    events_release(client, list, "WskRelease");
    if (socket)
        socket_leave(socket);
    return STATUS_SUCCESS;
}

/* ---- Listeners --------------------------------------------------------------------------------------------------------------------------- */

static NTSTATUS WSKAPI wsk_accept(PWSK_SOCKET wsk, ULONG flags, PVOID context,
                                  const WSK_CLIENT_CONNECTION_DISPATCH *dispatch, PSOCKADDR local, PSOCKADDR remote,
                                  PIRP irp)
{
    NTSTATUS status;
    struct request *request = begin("WskAccept", wsk, irp, OP_ACCEPT, &status);

    witness_context("WskAccept", context);
    if (!request)
        return status;
    if (flags)
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    request->context = context;
    request->dispatch = dispatch;
    request->local_out = local;
    request->remote_out = remote;
    return request_submit(request);
}

static NTSTATUS WSKAPI wsk_inspect_complete(PWSK_SOCKET wsk, PWSK_INSPECT_ID id, WSK_INSPECT_ACTION action, PIRP irp)
{
    NTSTATUS status;
    struct request *request = begin("WskInspectComplete", wsk, irp, OP_INSPECTED, &status);

    if (!request)
        return status;
    if (!id || (action != WskInspectAccept && action != WskInspectReject))
        return request_refuse(request, STATUS_INVALID_PARAMETER);
    request->inspected = *id;
    request->action = action;
    return request_submit(request);
}

/* ---- The tables ------------------------------------------------------------------------------------------------------------------------------ */

const WSK_PROVIDER_DISPATCH provider_dispatch = {
    .Version = MAKE_WSK_VERSION(1, 1),
    .WskSocket = wsk_socket,
    .WskSocketConnect = wsk_socket_connect,
    .WskControlClient = control_client,
    .WskGetAddressInfo = wsk_get_address_info,
    .WskFreeAddressInfo = wsk_free_address_info,
    .WskGetNameInfo = wsk_get_name_info,
};

#define BASIC {control_socket, wsk_close_socket}

const WSK_PROVIDER_BASIC_DISPATCH basic_dispatch = BASIC;

const WSK_PROVIDER_LISTEN_DISPATCH listen_dispatch = {
    .Basic = BASIC,
    .WskBind = wsk_bind,
    .WskAccept = wsk_accept,
    .WskInspectComplete = wsk_inspect_complete,
    .WskGetLocalAddress = wsk_get_local_address,
};

const WSK_PROVIDER_CONNECTION_DISPATCH connection_dispatch = {
    .Basic = BASIC,
    .WskBind = wsk_bind,
    .WskConnect = wsk_connect,
    .WskGetLocalAddress = wsk_get_local_address,
    .WskGetRemoteAddress = wsk_get_remote_address,
    .WskSend = wsk_send,
    .WskReceive = wsk_receive,
    .WskDisconnect = wsk_disconnect,
    .WskRelease = wsk_release,
    .WskConnectEx = wsk_connect_ex,
    .WskSendEx = wsk_send_ex,
    .WskReceiveEx = wsk_receive_ex,
};
