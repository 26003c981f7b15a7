/* The event callbacks of a connection: received data, and the disconnect. */
#include "standin.h"

/*
 * Received data on its way to WskReceiveEvent. It comes as a list of pieces, as several segments would, behind room for headers and
 * spread over a chain of MDLs that begin and end anywhere: a driver has to walk the list and the chain, and heed offset and length.
 */
enum {
    PIECE = 1460,
    PIECES = 11,
    HEADERS = 54, /* of Ethernet, IP and TCP, which a NIC's buffer begins with; nothing that a driver may read */
    PART = 1024,  /* bytes of one MDL */
    INDICATION_SIZE = PIECE * PIECES,
    PARTS = (HEADERS + INDICATION_SIZE + PART - 1) / PART,
    INDICATION_MAGIC = 0x41544144
};

struct indication {
    ULONG magic;
    LIST_ENTRY retained;
    WSK_DATA_INDICATION pieces[PIECES];
    PMDL parts[PARTS];
    UCHAR store[PARTS * PART]; /* the headers, then the data */
};

static bool may_call(struct socket *socket, ULONG event)
{
    if (event == WSK_EVENT_RECEIVE && socket->receives_coming)
        return false;
    return (socket->enabled & event) && !socket->closing;
}

bool callback_enabled(struct socket *socket, ULONG event)
{
    bool enabled;

    lock_acquire(&provider.lock);
    enabled = may_call(socket, event);
    lock_release(&provider.lock);
    return enabled;
}

bool callback_begin(struct socket *socket, ULONG event)
{
    bool begun;

    lock_acquire(&provider.lock);
    begun = may_call(socket, event);
    if (begun)
        socket->running |= event;
    lock_release(&provider.lock);
    return begun;
}

void callback_end(struct socket *socket, ULONG event)
{
    lock_acquire(&provider.lock);
    socket->running &= ~event;
    lock_release(&provider.lock);
}

/* ---- WskDisconnectEvent ------------------------------------------------------------------------------------------------------------ */

void event_disconnect(struct socket *socket, ULONG flags, struct level level)
{
    PFN_WSK_DISCONNECT_EVENT event = socket->events_to->WskDisconnectEvent;
    NTSTATUS status;

    witness_event("WskDisconnectEvent", socket, flags | level_flag(level));
    status = event(socket->context, flags | level_flag(level));
    witness_return("WskDisconnectEvent", socket, status);
    level_leave(level, "WskDisconnectEvent", (const void *)(ULONG_PTR)event);
    if (status != STATUS_SUCCESS)
        REPORT("R10", "WskDisconnectEvent returned %08x (socket %u)", (unsigned)status, (unsigned)socket->serial);
}

static void tell(struct socket *socket, ULONG flags, bool *told)
{
    if (*told || !callback_begin(socket, WSK_EVENT_DISCONNECT))
        return;
    *told = true;
    if (threads_disconnect(socket, flags))
        return;
    event_disconnect(socket, flags, level_enter(socket, LEVEL_DISCONNECT));
    callback_end(socket, WSK_EVENT_DISCONNECT);
}

/*
 * Once for a FIN and once for what kills the connection, each at most once (R20, X). A death found by this end, without a segment
 * of the peer (R22, X), is told as abortive too. An event that came while the callback was off is told when it is
 * switched on (R33, R35, X). A peer's FIN counts also after our own (C52, C53).
 */
void events_disconnect(struct socket *socket)
{
    if (socket->state == STATE_CONNECTED && socket->remote_fin)
        tell(socket, 0, &socket->told_graceful);
    if (socket->state == STATE_CONNECTED && socket->error)
        tell(socket, WSK_FLAG_ABORTIVE, &socket->told_abortive);
}

/* ---- WskReceiveEvent ------------------------------------------------------------------------------------------------------------------- */

static void indication_free(struct indication *indication)
{
    indication->magic = 0;
    for (ULONG i = 0; i < PARTS && indication->parts[i]; i++)
        IoFreeMdl(indication->parts[i]);
    ExFreePoolWithTag(indication, POOL_TAG);
}

static PMDL part_new(UCHAR *bytes)
{
    PMDL mdl = IoAllocateMdl(bytes, PART, FALSE, FALSE, NULL);

    if (!mdl)
        return NULL;
    MmBuildMdlForNonPagedPool(mdl);
    /* Wine 8.0 leaves the MDL as it was, and a driver that asks for its address would get NULL. */
    mdl->MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
    mdl->MappedSystemVa = bytes;
    return mdl;
}

static struct indication *indication_new(void)
{
    struct indication *indication = ExAllocatePoolWithTag(NonPagedPool, sizeof *indication, POOL_TAG);

    if (!indication)
        return NULL;
    RtlZeroMemory(indication->parts, sizeof indication->parts);
    RtlFillMemory(indication->store, HEADERS, 0xEE);
    for (ULONG i = 0; i < PARTS; i++) {
        indication->parts[i] = part_new(indication->store + i * PART);
        if (!indication->parts[i]) {
            indication_free(indication);
            return NULL;
        }
        if (i)
            indication->parts[i - 1]->Next = indication->parts[i];
    }
    indication->magic = INDICATION_MAGIC;
    return indication;
}

static void cut_into_pieces(struct indication *indication, SIZE_T length)
{
    for (SIZE_T at = 0, i = 0; at < length; at += PIECE, i++) {
        WSK_DATA_INDICATION *piece = &indication->pieces[i];

        piece->Buffer.Mdl = indication->parts[(HEADERS + at) / PART];
        piece->Buffer.Offset = (ULONG)((HEADERS + at) % PART);
        piece->Buffer.Length = length - at < PIECE ? length - at : PIECE;
        piece->Next = length - at > PIECE ? piece + 1 : NULL;
    }
}

/* Calls WskReceiveEvent once. Returns how many bytes it took; sets *retained if it keeps the list. */
static SIZE_T indicate(struct socket *socket, struct indication *indication, SIZE_T length, bool *retained)
{
    PFN_WSK_RECEIVE_EVENT event = socket->events_to ? socket->events_to->WskReceiveEvent : NULL;
    SIZE_T accepted = length;
    ULONG flags = socket->level.rare ? WSK_FLAG_ENTIRE_MESSAGE : 0; /* R56: Linux does not tell where PSH was */
    struct level level;
    NTSTATUS status;

    cut_into_pieces(indication, length);
    if (!callback_begin(socket, WSK_EVENT_RECEIVE))
        return 0;
    /* Before the call: the callback may hand the list to a thread that gives it back before the callback has returned. */
    lock_acquire(&provider.lock);
    InsertTailList(&socket->client->retained, &indication->retained);
    lock_release(&provider.lock);
    level = level_enter(socket, LEVEL_RECEIVE);
    flags |= level_flag(level);
    witness_event("WskReceiveEvent", socket, flags);
    status = event(socket->context, flags, indication->pieces, length, &accepted);
    witness_return("WskReceiveEvent", socket, status);
    level_leave(level, "WskReceiveEvent", (const void *)(ULONG_PTR)event);
    callback_end(socket, WSK_EVENT_RECEIVE);

    if (status == STATUS_PENDING) { /* R54 */
        *retained = true;
        return length;
    }
    lock_acquire(&provider.lock);
    RemoveEntryList(&indication->retained);
    lock_release(&provider.lock);
    if (status == STATUS_SUCCESS && accepted <= length) {
        socket->indications_stopped = accepted < length; /* R53 */
        return accepted;
    }
    socket->indications_stopped = true; /* R52 */
    if (status == STATUS_SUCCESS)
        REPORT("R53", "WskReceiveEvent accepted %u of %u bytes (socket %u)", (unsigned)accepted, (unsigned)length,
               (unsigned)socket->serial);
    else if (status != STATUS_DATA_NOT_ACCEPTED)
        REPORT("R52", "WskReceiveEvent returned %08x (socket %u)", (unsigned)status, (unsigned)socket->serial);
    return 0;
}

/* R51: the connection is dead, and WskReceiveEvent is called without data. Once, and only where a scenario asks for what is rare. */
static void indicate_nothing(struct socket *socket)
{
    PFN_WSK_RECEIVE_EVENT event = socket->events_to ? socket->events_to->WskReceiveEvent : NULL;
    SIZE_T accepted = 0;
    struct level level;
    NTSTATUS status;

    if (!socket->level.rare || !socket->error || socket->told_dead || !callback_begin(socket, WSK_EVENT_RECEIVE))
        return;
    socket->told_dead = true;
    level = level_enter(socket, LEVEL_RECEIVE);
    witness_event("WskReceiveEvent", socket, level_flag(level));
    status = event(socket->context, level_flag(level), NULL, 0, &accepted);
    witness_return("WskReceiveEvent", socket, status);
    level_leave(level, "WskReceiveEvent", (const void *)(ULONG_PTR)event);
    callback_end(socket, WSK_EVENT_RECEIVE);
}

/* What the callback does not take stays in the Linux socket: it is read only after the callback has accepted it. */
void events_receive(struct socket *socket)
{
    struct indication *indication = NULL;

    while (socket->state == STATE_CONNECTED && !socket->silent && !socket->indications_stopped &&
           callback_enabled(socket, WSK_EVENT_RECEIVE)) {
        bool retained = false;
        SIZE_T taken;
        long length;

        if (!indication && !(indication = indication_new()))
            return;
        length = os_peek(socket->fd, indication->store + HEADERS, INDICATION_SIZE);
        if (length <= 0) {
            if (length < 0 && length != -OS_EAGAIN)
                connection_failed(socket, length);
            else if (length == 0 && !socket->error)
                socket->remote_fin = true;
            break;
        }
        taken = indicate(socket, indication, (SIZE_T)length, &retained);
        if (taken)
            os_discard(socket->fd, taken);
        if (retained)
            indication = NULL;
        else if (!taken)
            break;
    }
    if (indication)
        indication_free(indication);
    indicate_nothing(socket);
}

/* ---- WskRelease ----------------------------------------------------------------------------------------------------------------------------- */

void events_release(struct client *client, PWSK_DATA_INDICATION list, const char *function)
{
    struct indication *found = NULL;

    lock_acquire(&provider.lock);
    for (LIST_ENTRY *entry = client->retained.Flink; entry != &client->retained; entry = entry->Flink) {
        struct indication *indication = CONTAINING_RECORD(entry, struct indication, retained);

        if (indication->pieces == list) {
            RemoveEntryList(entry);
            found = indication;
            break;
        }
    }
    lock_release(&provider.lock);
    if (found)
        indication_free(found);
    else
        REPORT("R54", "%s of a list that is not retained", function);
}

void events_free_retained(struct client *client)
{
    unsigned count = 0;

    for (; !IsListEmpty(&client->retained); count++)
        indication_free(CONTAINING_RECORD(RemoveHeadList(&client->retained), struct indication, retained));
    if (count)
        REPORT("R54", "WskDeregister with %u indications not released", count);
}
