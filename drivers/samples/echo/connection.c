/*
 * One connection. Its callbacks and completions only note what has happened and wake the work item; every WSK function is called
 * by the work item, which never runs twice at a time. So no call on the socket can be running when WskCloseSocket is called, no
 * function is called from a completion routine, and most of the state needs no lock.
 */
#include "echo.h"

enum { KEPT_LISTS = 8, PULL_BYTES = 4096 };

/* What has happened and is still of interest. */
enum {
    STOPPED = 0x1,
    PEER_FINISHED = 0x2,
    PEER_ABORTED = 0x4,
    DATA_REFUSED = 0x8, /* WSK indicates none until the next WskReceive */
    DATA_KEPT = 0x10,
    IRP_OUT = 0x20,
    ABORT_IRP_OUT = 0x40,
};

typedef enum ECHO_OPERATION { Nothing, SendKept, SendPulled, Pull, Disconnect, Close } ECHO_OPERATION;

struct ECHO_CONNECTION {
    LIST_ENTRY Link; /* under the server's lock */
    ECHO_SERVER *Server;
    PWSK_SOCKET Socket;
    PIO_WORKITEM WorkItem;
    ULONG Number;

    volatile LONG Received;

    KSPIN_LOCK Lock; /* for the members of this group */
    BOOLEAN Scheduled, LookAgain;
    ULONG State;
    PWSK_DATA_INDICATION Kept[KEPT_LISTS]; /* a ring, oldest at KeptFirst */
    ULONG KeptFirst, KeptCount;

    /* The work item's own. */
    ECHO_OPERATION Operation; /* what Irp is used for */
    PIRP Irp, AbortIrp;
    BOOLEAN Aborted, EndOfData, Finished;
    NTSTATUS Failure;
    PWSK_DATA_INDICATION Piece; /* the part of the oldest list that is to be sent next */
    WSK_BUF Pulled;             /* what WskReceive brought, still to be sent */
    PMDL PullMdl;
    SIZE_T Echoed;
    UCHAR PullBuffer[PULL_BYTES];
};

static IO_WORKITEM_ROUTINE EchoWork;

static const WSK_PROVIDER_CONNECTION_DISPATCH *Wsk(const ECHO_CONNECTION *Connection)
{
    return Connection->Socket->Dispatch;
}

/* Notes a change and has the work item look at it. With the connection's lock held. */
static void EchoNoteLocked(ECHO_CONNECTION *Connection, ULONG Set, ULONG Clear)
{
    Connection->State = (Connection->State | Set) & ~Clear;
    Connection->LookAgain = TRUE;
    if (!Connection->Scheduled) {
        Connection->Scheduled = TRUE;
        IoQueueWorkItem(Connection->WorkItem, EchoWork, DelayedWorkQueue, Connection);
    }
}

static void EchoNote(ECHO_CONNECTION *Connection, ULONG Set, ULONG Clear)
{
    KIRQL irql;

    KeAcquireSpinLock(&Connection->Lock, &irql);
    EchoNoteLocked(Connection, Set, Clear);
    KeReleaseSpinLock(&Connection->Lock, irql);
}

/* ---- What WSK tells, at any IRQL up to DISPATCH_LEVEL ------------------------------------------------------------------------- */

static NTSTATUS WSKAPI EchoReceiveEvent(PVOID Context, ULONG Flags, PWSK_DATA_INDICATION Indication, SIZE_T Bytes,
                                        SIZE_T *Accepted)
{
    ECHO_CONNECTION *Connection = Context;
    BOOLEAN keep;
    KIRQL irql;

    UNREFERENCED_PARAMETER(Accepted);
    if (!Indication) { /* the connection is dead */
        EchoNote(Connection, PEER_ABORTED, 0);
        return STATUS_SUCCESS;
    }
    KeAcquireSpinLock(&Connection->Lock, &irql);
    keep = Connection->KeptCount < KEPT_LISTS && !(Flags & WSK_FLAG_RELEASE_ASAP) && !(Connection->State & STOPPED);
    if (keep) {
        Connection->Kept[(Connection->KeptFirst + Connection->KeptCount++) % KEPT_LISTS] = Indication;
        InterlockedExchangeAdd(&Connection->Received, (LONG)Bytes);
    }
    EchoNoteLocked(Connection, keep ? DATA_KEPT : DATA_REFUSED, 0);
    KeReleaseSpinLock(&Connection->Lock, irql);
    /* Refused data stays where it is: WskReceive fetches it when a slow peer has made room. */
    return keep ? STATUS_PENDING : STATUS_DATA_NOT_ACCEPTED;
}

static NTSTATUS WSKAPI EchoDisconnectEvent(PVOID Context, ULONG Flags)
{
    ECHO_CONNECTION *Connection = Context;

    ECHO_SAY("[%u] bye: flags=%x after %u bytes", (unsigned)Connection->Number, (unsigned)Flags,
             (unsigned)Connection->Received);
    EchoNote(Connection, Flags & WSK_FLAG_ABORTIVE ? PEER_ABORTED : PEER_FINISHED, 0);
    return STATUS_SUCCESS;
}

const WSK_CLIENT_CONNECTION_DISPATCH EchoConnectionEvents = {
    .WskReceiveEvent = EchoReceiveEvent,
    .WskDisconnectEvent = EchoDisconnectEvent,
};

static NTSTATUS NTAPI EchoComplete(PDEVICE_OBJECT Device, PIRP Irp, PVOID Context)
{
    ECHO_CONNECTION *Connection = Context;

    UNREFERENCED_PARAMETER(Device);
    EchoNote(Connection, 0, Irp == Connection->Irp ? IRP_OUT : ABORT_IRP_OUT);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

void EchoConnectionStop(PLIST_ENTRY Link)
{
    EchoNote(CONTAINING_RECORD(Link, ECHO_CONNECTION, Link), STOPPED, 0);
}

/* ---- Calls, in the work item -------------------------------------------------------------------------------------------------- */

/* What a WSK function returns is of no interest: the IRP is completed in any case, with the same status. */
static PIRP EchoPrepare(ECHO_CONNECTION *Connection, PIRP Irp, ULONG Out)
{
    IoReuseIrp(Irp, STATUS_UNSUCCESSFUL);
    IoSetCompletionRoutine(Irp, EchoComplete, Connection, TRUE, TRUE, TRUE);
    EchoNote(Connection, Out, 0);
    return Irp;
}

static PIRP EchoBegin(ECHO_CONNECTION *Connection, ECHO_OPERATION Operation)
{
    Connection->Operation = Operation;
    return EchoPrepare(Connection, Connection->Irp, IRP_OUT);
}

/* Forces whatever is pending to complete. */
static void EchoAbort(ECHO_CONNECTION *Connection)
{
    PIRP irp = EchoPrepare(Connection, Connection->AbortIrp, ABORT_IRP_OUT);

    Connection->Aborted = TRUE;
    (void)Wsk(Connection)->WskDisconnect(Connection->Socket, NULL, WSK_FLAG_ABORTIVE, irp);
}

static void EchoReleaseOldest(ECHO_CONNECTION *Connection)
{
    PWSK_DATA_INDICATION list;
    KIRQL irql;

    KeAcquireSpinLock(&Connection->Lock, &irql);
    list = Connection->Kept[Connection->KeptFirst];
    Connection->KeptFirst = (Connection->KeptFirst + 1) % KEPT_LISTS;
    if (--Connection->KeptCount == 0)
        Connection->State &= ~DATA_KEPT;
    KeReleaseSpinLock(&Connection->Lock, irql);
    (void)Wsk(Connection)->WskRelease(Connection->Socket, list);
    Connection->Piece = NULL;
}

static void EchoSendKept(ECHO_CONNECTION *Connection)
{
    if (!Connection->Piece)
        Connection->Piece = Connection->Kept[Connection->KeptFirst];
    (void)Wsk(Connection)->WskSend(Connection->Socket, &Connection->Piece->Buffer, 0, EchoBegin(Connection, SendKept));
}

static void EchoPull(ECHO_CONNECTION *Connection)
{
    WSK_BUF room = {.Mdl = Connection->PullMdl, .Offset = 0, .Length = PULL_BYTES};

    EchoNote(Connection, 0, DATA_REFUSED); /* before the call, which lets WSK indicate again */
    (void)Wsk(Connection)->WskReceive(Connection->Socket, &room, 0, EchoBegin(Connection, Pull));
}

static void EchoClose(ECHO_CONNECTION *Connection)
{
    EchoNote(Connection, STOPPED, 0); /* from here on nothing is kept */
    while (Connection->KeptCount)
        EchoReleaseOldest(Connection);
    (void)Wsk(Connection)->WskCloseSocket(Connection->Socket, EchoBegin(Connection, Close));
}

/* ---- Deciding, in the work item ------------------------------------------------------------------------------------------------ */

static void EchoFinishOperation(ECHO_CONNECTION *Connection)
{
    const IO_STATUS_BLOCK *result = &Connection->Irp->IoStatus;
    ECHO_OPERATION finished = Connection->Operation;

    Connection->Operation = Nothing;
    if (!NT_SUCCESS(result->Status)) {
        Connection->Failure = result->Status;
    } else if (finished == SendKept) {
        Connection->Echoed += Connection->Piece->Buffer.Length;
        Connection->Piece = Connection->Piece->Next;
        if (!Connection->Piece)
            EchoReleaseOldest(Connection);
    } else if (finished == SendPulled) {
        Connection->Echoed += Connection->Pulled.Length;
        Connection->Pulled.Length = 0;
    } else if (finished == Pull) {
        Connection->Pulled.Length = result->Information;
        InterlockedExchangeAdd(&Connection->Received, (LONG)result->Information);
        Connection->EndOfData = result->Information == 0;
    } else if (finished == Disconnect) {
        Connection->Finished = TRUE;
    }
}

static ULONG EchoLook(ECHO_CONNECTION *Connection)
{
    ULONG state;
    KIRQL irql;

    KeAcquireSpinLock(&Connection->Lock, &irql);
    Connection->LookAgain = FALSE;
    state = Connection->State;
    KeReleaseSpinLock(&Connection->Lock, irql);
    return state;
}

static void EchoStart(ECHO_CONNECTION *Connection, ULONG State)
{
    PWSK_SOCKET socket = Connection->Socket;

    if ((State & (STOPPED | PEER_ABORTED)) || Connection->Finished || Connection->Aborted || Connection->Failure)
        EchoClose(Connection);
    else if (Connection->Pulled.Length) /* older than anything indicated since */
        (void)Wsk(Connection)->WskSend(socket, &Connection->Pulled, 0, EchoBegin(Connection, SendPulled));
    else if (State & DATA_KEPT)
        EchoSendKept(Connection);
    else if (Connection->EndOfData)
        (void)Wsk(Connection)->WskDisconnect(socket, NULL, 0, EchoBegin(Connection, Disconnect));
    else if (State &
             (DATA_REFUSED | PEER_FINISHED)) /* after a FIN only a receive of 0 bytes says that nothing is left */
        EchoPull(Connection);
}

/* Takes note of what has completed and starts at most one call. TRUE when the socket is closed. */
static BOOLEAN EchoStep(ECHO_CONNECTION *Connection)
{
    ULONG state = EchoLook(Connection);

    if (Connection->Operation != Nothing) {
        if (state & (IRP_OUT | ABORT_IRP_OUT)) {
            if ((state & (STOPPED | PEER_ABORTED)) && !Connection->Aborted && Connection->Operation != Close)
                EchoAbort(Connection);
            return FALSE;
        }
        if (Connection->Operation == Close)
            return TRUE;
        EchoFinishOperation(Connection);
    }
    EchoStart(Connection, EchoLook(Connection));
    return FALSE;
}

/* ---- Made and ended -------------------------------------------------------------------------------------------------------------- */

static void EchoFree(ECHO_CONNECTION *Connection)
{
    if (Connection->PullMdl)
        IoFreeMdl(Connection->PullMdl);
    if (Connection->AbortIrp)
        IoFreeIrp(Connection->AbortIrp);
    if (Connection->Irp)
        IoFreeIrp(Connection->Irp);
    if (Connection->WorkItem)
        IoFreeWorkItem(Connection->WorkItem);
    ExFreePoolWithTag(Connection, ECHO_TAG);
}

static void EchoEnd(ECHO_CONNECTION *Connection)
{
    ECHO_SERVER *server = Connection->Server;
    KIRQL irql;

    ECHO_SAY("[%u] closed: %u bytes echoed, status %08x", (unsigned)Connection->Number, (unsigned)Connection->Echoed,
             (unsigned)Connection->Failure);
    KeAcquireSpinLock(&server->Lock, &irql);
    RemoveEntryList(&Connection->Link);
    KeReleaseSpinLock(&server->Lock, irql);
    EchoFree(Connection);
    KeAcquireSpinLock(&server->Lock, &irql);
    if (--server->Alive == 0) /* after the last use of everything but the server itself */
        KeSetEvent(&server->Empty, IO_NO_INCREMENT, FALSE);
    KeReleaseSpinLock(&server->Lock, irql);
}

/* Several wakes may have become one; a wake that comes while this runs makes it look again, not run twice. */
static VOID NTAPI EchoWork(PDEVICE_OBJECT Device, PVOID Context)
{
    ECHO_CONNECTION *Connection = Context;
    BOOLEAN again = TRUE;

    UNREFERENCED_PARAMETER(Device);
    while (again) {
        KIRQL irql;

        if (EchoStep(Connection)) {
            EchoEnd(Connection);
            return;
        }
        KeAcquireSpinLock(&Connection->Lock, &irql);
        again = Connection->LookAgain;
        Connection->Scheduled = again;
        KeReleaseSpinLock(&Connection->Lock, irql);
    }
}

ECHO_CONNECTION *EchoConnectionCreate(ECHO_SERVER *Server, PWSK_SOCKET Socket, const SOCKADDR_IN *Peer)
{
    ECHO_CONNECTION *connection = ExAllocatePoolWithTag(ECHO_POOL, sizeof *connection, ECHO_TAG);
    const UCHAR *ip = (const UCHAR *)&Peer->sin_addr;
    KIRQL irql;

    if (!connection)
        return NULL;
    RtlZeroMemory(connection, sizeof *connection);
    connection->Server = Server;
    connection->Socket = Socket;
    KeInitializeSpinLock(&connection->Lock);
    connection->WorkItem = IoAllocateWorkItem(Server->Device);
    connection->Irp = IoAllocateIrp(1, FALSE);
    connection->AbortIrp = IoAllocateIrp(1, FALSE);
    connection->PullMdl = IoAllocateMdl(connection->PullBuffer, PULL_BYTES, FALSE, FALSE, NULL);
    if (!connection->WorkItem || !connection->Irp || !connection->AbortIrp || !connection->PullMdl) {
        EchoFree(connection);
        return NULL;
    }
    MmBuildMdlForNonPagedPool(connection->PullMdl);
    connection->Pulled.Mdl = connection->PullMdl;

    KeAcquireSpinLock(&Server->Lock, &irql);
    connection->Number = ++Server->Served;
    Server->Alive++;
    InsertTailList(&Server->Connections, &connection->Link);
    KeClearEvent(&Server->Empty);
    KeReleaseSpinLock(&Server->Lock, irql);
    ECHO_SAY("[%u] hello %u.%u.%u.%u:%u", (unsigned)connection->Number, ip[0], ip[1], ip[2], ip[3],
             RtlUshortByteSwap(Peer->sin_port));
    return connection;
}
