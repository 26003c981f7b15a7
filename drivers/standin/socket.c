/* A socket as an object: its life, its state, and what is known of its end. */
#include "standin.h"

struct socket *socket_new(struct client *client, enum socket_kind kind, ADDRESS_FAMILY family, PVOID context)
{
    struct socket *socket = ExAllocatePoolWithTag(NonPagedPool, sizeof *socket, POOL_TAG);

    if (!socket)
        return NULL;
    RtlZeroMemory(socket, sizeof *socket);
    socket->wsk.Dispatch = provider.up->kinds[kind].dispatch;
    socket->watch.ready = provider.up->kinds[kind].ready;
    socket->kind = kind;
    socket->client = client;
    socket->family = family;
    socket->context = context;
    socket->magic = SOCKET_LIVE;
    socket->fd = -1;
    InitializeListHead(&socket->sends);
    InitializeListHead(&socket->receives);
    InitializeListHead(&socket->accepts);
    InitializeListHead(&socket->arrivals);
    lock_acquire(&provider.lock);
    client->sockets++;
    client->had_sockets = true;
    level_of_new(socket);
    threads_of_new(socket);
    lock_release(&provider.lock);
    return socket;
}

/* The memory stays a while, so that a driver that still uses the socket is told so. */
void socket_bury(struct socket *socket)
{
    struct socket *oldest = NULL;

    lock_acquire(&provider.lock);
    socket->magic = SOCKET_DEAD;
    socket->client->sockets--;
    condition_broadcast(&provider.changed);
    InsertTailList(&provider.graveyard, &socket->graveyard);
    if (++provider.buried > GRAVEYARD_SIZE) {
        oldest = CONTAINING_RECORD(RemoveHeadList(&provider.graveyard), struct socket, graveyard);
        provider.buried--;
        if (oldest->outside) { /* another thread is at it */
            InsertTailList(&provider.graveyard, &oldest->graveyard);
            provider.buried++;
            oldest = NULL;
        }
    }
    lock_release(&provider.lock);
    if (oldest)
        ExFreePoolWithTag(oldest, POOL_TAG);
}

void graveyard_clear(void)
{
    while (!IsListEmpty(&provider.graveyard))
        ExFreePoolWithTag(CONTAINING_RECORD(RemoveHeadList(&provider.graveyard), struct socket, graveyard), POOL_TAG);
}

void socket_set_state(struct socket *socket, enum socket_state state)
{
    lock_acquire(&provider.lock);
    socket->state = state;
    lock_release(&provider.lock);
}

void socket_set_fd(struct socket *socket, int fd)
{
    lock_acquire(&provider.lock);
    socket->fd = fd;
    lock_release(&provider.lock);
}

void socket_shut(struct socket *socket, void (*how)(int fd))
{
    int fd = socket->fd;

    if (fd < 0)
        return;
    socket_set_fd(socket, -1);
    how(fd);
}

ULONG events_offered(const struct socket *socket)
{
    const WSK_CLIENT_CONNECTION_DISPATCH *to = socket->events_to;

    if (socket->kind == LISTEN_SOCKET)
        return CONNECTION_EVENTS | (socket->accepts_to && socket->accepts_to->WskAcceptEvent ? WSK_EVENT_ACCEPT : 0);
    if (!to)
        return 0;
    return (to->WskReceiveEvent ? WSK_EVENT_RECEIVE : 0) | (to->WskDisconnectEvent ? WSK_EVENT_DISCONNECT : 0) |
           (to->WskSendBacklogEvent ? WSK_EVENT_SEND_BACKLOG : 0);
}

static ULONG port_of(const os_address *address)
{
    const UCHAR *bytes = (const UCHAR *)&address->v4.sin_port; /* of both families at the same place */

    return (ULONG)bytes[0] << 8 | bytes[1];
}

void socket_connected(struct socket *socket, const char *function)
{
    os_local_address(socket->fd, &socket->local);
    lock_acquire(&provider.lock);
    socket->enabled = socket->client->static_events & events_offered(socket); /* R36; otherwise all are off (R3) */
    socket->state = STATE_CONNECTED;
    lock_release(&provider.lock);
    witness(&(struct seen){.what = "open",
                           .function = function,
                           .client = socket->client,
                           .socket = socket->serial,
                           .information = port_of(&socket->local) << 16 | port_of(&socket->remote)});
}

void connection_failed(struct socket *socket, long error)
{
    error = error < 0 ? -error : error;
    if (socket->error)
        return;
    if (error == OS_EPIPE) {
        /* Linux says EPIPE for a RST behind a FIN (C16, C17), ECONNRESET for one without. */
        socket->remote_fin = true;
        error = OS_ECONNRESET;
    }
    socket->error = (int)error;
}
