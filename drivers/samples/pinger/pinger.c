/*
 * pinger: a TCP client in the kernel, on Winsock Kernel, written as a program that waits.
 *
 * A system thread connects, sends lines, reads until the connection has ended, says how it ended, and does so again. Every WSK
 * call is wrapped in a function that returns when the call is over (one IRP and one event in a PING_CALL), so that the thread reads
 * from top to bottom. Only how the peer left cannot be waited for with an IRP: WskDisconnectEvent tells it. It is enabled for all
 * sockets before the first one exists, so that no connection is too short for it.
 *
 * Under the service's `Parameters` key: Address (REG_SZ), Port, Rounds, Lines, Patience (REG_DWORD, the last in milliseconds).
 */
#include <wsk.h>

#define PING_TAG 0x676e6950 /* 'Ping' */
#define PING_POOL ((POOL_TYPE)512) /* NonPagedPoolNx */
#define BUFFER_SIZE 512
#define EVENT_PATIENCE 1000 /* milliseconds between the end that a receive saw and the event that explains it */

#define SAY(Format, ...) DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "<pinger> " Format "\n", ##__VA_ARGS__)

typedef struct PING_CALL {
    PIRP Irp;
    KEVENT Done;
} PING_CALL;

/* One connection; what WSK gets as the socket's context. In nonpaged memory, like all that a callback touches. */
typedef struct PING_ROUND {
    PWSK_SOCKET Socket;
    KEVENT PeerLeft;
    volatile LONG Flags; /* of the last WskDisconnectEvent */
    PING_CALL Call;      /* for everything but */
    PING_CALL Abort;     /* ending a call that does not end by itself */
    PMDL Mdl;            /* of Buffer */
    CHAR Buffer[BUFFER_SIZE];
} PING_ROUND;

static struct {
    WSK_REGISTRATION Registration;
    WSK_PROVIDER_NPI Npi;
    PVOID Thread;
    KEVENT Stop;
    SOCKADDR_IN Peer;
    ULONG Rounds, Lines, Patience;
} Pinger;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD PingUnload;

/* ---- WSK, waited for ---------------------------------------------------------------------------------------------------------- */

static NTSTATUS NTAPI PingCallDone(PDEVICE_OBJECT Device, PIRP Irp, PVOID Done)
{
    UNREFERENCED_PARAMETER(Device);
    UNREFERENCED_PARAMETER(Irp);
    KeSetEvent(Done, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED; /* the IRP is ours */
}

static PIRP Begin(PING_CALL *Call)
{
    IoReuseIrp(Call->Irp, STATUS_UNSUCCESSFUL);
    KeClearEvent(&Call->Done);
    IoSetCompletionRoutine(Call->Irp, PingCallDone, &Call->Done, TRUE, TRUE, TRUE);
    return Call->Irp;
}

/* Whatever a function returns, its IRP completes; it says the same. */
static NTSTATUS End(PING_CALL *Call)
{
    KeWaitForSingleObject(&Call->Done, Executive, KernelMode, FALSE, NULL);
    return Call->Irp->IoStatus.Status;
}

/* FALSE when the call did not end within `Milliseconds`, or the driver is to stop. */
static BOOLEAN EndsWithin(PING_CALL *Call, ULONG Milliseconds)
{
    LARGE_INTEGER patience = {.QuadPart = -10000LL * Milliseconds};
    PVOID either[] = {&Call->Done, &Pinger.Stop};

    return KeWaitForMultipleObjects(2, either, WaitAny, Executive, KernelMode, FALSE, &patience, NULL) == STATUS_WAIT_0;
}

/* The same, but a call that takes too long is cancelled: STATUS_CANCELLED, unless it completes at the last moment. */
static NTSTATUS EndWithin(PING_CALL *Call, ULONG Milliseconds)
{
    if (!EndsWithin(Call, Milliseconds))
        (void)IoCancelIrp(Call->Irp);
    return End(Call);
}

static const WSK_PROVIDER_CONNECTION_DISPATCH *Wsk(const PING_ROUND *Round)
{
    return Round->Socket->Dispatch;
}

static NTSTATUS WSKAPI PingDisconnectEvent(PVOID Context, ULONG Flags)
{
    PING_ROUND *round = Context;

    InterlockedExchange(&round->Flags, (LONG)Flags);
    KeSetEvent(&round->PeerLeft, IO_NO_INCREMENT, FALSE);
    return STATUS_SUCCESS;
}

static const WSK_CLIENT_CONNECTION_DISPATCH PingEvents = {.WskDisconnectEvent = PingDisconnectEvent};

static NTSTATUS PingConnect(PING_ROUND *Round)
{
    SOCKADDR_IN local = {.sin_family = AF_INET};
    NTSTATUS status;

    (void)Pinger.Npi.Dispatch->WskSocketConnect(Pinger.Npi.Client, SOCK_STREAM, IPPROTO_TCP, (PSOCKADDR)&local,
                                                (PSOCKADDR)&Pinger.Peer, 0, Round, &PingEvents, NULL, NULL, NULL,
                                                Begin(&Round->Call));
    status = EndWithin(&Round->Call, Pinger.Patience);
    if (NT_SUCCESS(status))
        Round->Socket = (PWSK_SOCKET)Round->Call.Irp->IoStatus.Information;
    return status;
}

static NTSTATUS PingSend(PING_ROUND *Round, SIZE_T Length)
{
    WSK_BUF data = {.Mdl = Round->Mdl, .Offset = 0, .Length = Length};

    (void)Wsk(Round)->WskSend(Round->Socket, &data, 0, Begin(&Round->Call));
    return EndWithin(&Round->Call, Pinger.Patience);
}

/* *Length is 0 when the peer has finished. */
static NTSTATUS PingReceive(PING_ROUND *Round, SIZE_T *Length)
{
    WSK_BUF room = {.Mdl = Round->Mdl, .Offset = 0, .Length = BUFFER_SIZE};
    NTSTATUS status;

    (void)Wsk(Round)->WskReceive(Round->Socket, &room, 0, Begin(&Round->Call));
    status = EndWithin(&Round->Call, Pinger.Patience);
    *Length = NT_SUCCESS(status) ? Round->Call.Irp->IoStatus.Information : 0;
    return status;
}

/* Finishes our direction. With a peer that has vanished it would never complete, and an abort makes it. */
static NTSTATUS PingDisconnect(PING_ROUND *Round)
{
    (void)Wsk(Round)->WskDisconnect(Round->Socket, NULL, 0, Begin(&Round->Call));
    if (!EndsWithin(&Round->Call, Pinger.Patience)) {
        (void)Wsk(Round)->WskDisconnect(Round->Socket, NULL, WSK_FLAG_ABORTIVE, Begin(&Round->Abort));
        (void)End(&Round->Abort);
    }
    return End(&Round->Call);
}

/* When this returns no callback runs, and none will. */
static NTSTATUS PingClose(PING_ROUND *Round)
{
    (void)Wsk(Round)->WskCloseSocket(Round->Socket, Begin(&Round->Call));
    return End(&Round->Call);
}

/* ---- One connection ------------------------------------------------------------------------------------------------------------- */

static void PingFree(PING_ROUND *Round)
{
    if (Round->Mdl)
        IoFreeMdl(Round->Mdl);
    if (Round->Abort.Irp)
        IoFreeIrp(Round->Abort.Irp);
    if (Round->Call.Irp)
        IoFreeIrp(Round->Call.Irp);
    ExFreePoolWithTag(Round, PING_TAG);
}

static PING_ROUND *PingCreate(void)
{
    PING_ROUND *round = ExAllocatePoolWithTag(PING_POOL, sizeof *round, PING_TAG);

    if (!round)
        return NULL;
    RtlZeroMemory(round, sizeof *round);
    KeInitializeEvent(&round->PeerLeft, NotificationEvent, FALSE);
    KeInitializeEvent(&round->Call.Done, NotificationEvent, FALSE);
    KeInitializeEvent(&round->Abort.Done, NotificationEvent, FALSE);
    round->Call.Irp = IoAllocateIrp(1, FALSE);
    round->Abort.Irp = IoAllocateIrp(1, FALSE);
    round->Mdl = IoAllocateMdl(round->Buffer, BUFFER_SIZE, FALSE, FALSE, NULL);
    if (!round->Call.Irp || !round->Abort.Irp || !round->Mdl) {
        PingFree(round);
        return NULL;
    }
    MmBuildMdlForNonPagedPool(round->Mdl);
    return round;
}

/* "ping 2.1" and a line feed: round and line, a digit each. */
static SIZE_T PingCompose(CHAR *Line, ULONG Round, ULONG Number)
{
    static const CHAR text[] = "ping 0.0\n";

    RtlCopyMemory(Line, text, sizeof text - 1);
    Line[5] = (CHAR)('0' + Round % 10);
    Line[7] = (CHAR)('0' + Number % 10);
    return sizeof text - 1;
}

/* The receive says that the connection is over, the event says how: it may be a moment later. */
static void PingTellEnd(PING_ROUND *Round, ULONG Number, NTSTATUS Received)
{
    LARGE_INTEGER moment = {.QuadPart = -10000LL * EVENT_PATIENCE};
    LONG flags;

    if (Received == STATUS_CANCELLED) {
        SAY("#%u nobody hung up, so this side does", (unsigned)Number);
        return;
    }
    if (KeWaitForSingleObject(&Round->PeerLeft, Executive, KernelMode, FALSE, &moment) != STATUS_SUCCESS) {
        SAY("#%u over without an event: receive 0x%08x", (unsigned)Number, (unsigned)Received);
        return;
    }
    flags = Round->Flags;
    SAY("#%u peer %s: flags 0x%x, receive 0x%08x", (unsigned)Number,
        flags & WSK_FLAG_ABORTIVE ? "broke off" : "hung up", (unsigned)flags, (unsigned)Received);
}

static void PingTalk(PING_ROUND *Round, ULONG Number)
{
    NTSTATUS status = STATUS_SUCCESS;
    SIZE_T length, received = 0;
    ULONG sent = 0;

    while (sent < Pinger.Lines && NT_SUCCESS(status)) {
        status = PingSend(Round, PingCompose(Round->Buffer, Number, sent + 1));
        if (NT_SUCCESS(status))
            sent++;
    }
    SAY("#%u %u lines out", (unsigned)Number, (unsigned)sent);
    do { /* also after a failed send: what the peer sent before its end can still be read */
        status = PingReceive(Round, &length);
        received += length;
    } while (length);
    SAY("#%u %u bytes in", (unsigned)Number, (unsigned)received);
    PingTellEnd(Round, Number, status);
    if (NT_SUCCESS(status) || status == STATUS_CANCELLED)
        (void)PingDisconnect(Round);
}

static void PingRound(ULONG Number)
{
    PING_ROUND *round = PingCreate();
    NTSTATUS status;

    if (!round) {
        SAY("#%u no memory", (unsigned)Number);
        return;
    }
    status = PingConnect(round);
    if (NT_SUCCESS(status)) {
        SAY("#%u connected", (unsigned)Number);
        PingTalk(round, Number);
        SAY("#%u closed: 0x%08x", (unsigned)Number, (unsigned)PingClose(round));
    } else {
        SAY("#%u cannot connect: 0x%08x", (unsigned)Number, (unsigned)status);
    }
    PingFree(round);
}

/* ---- The thread --------------------------------------------------------------------------------------------------------------------- */

static NTSTATUS PingEnableEvents(void)
{
    WSK_EVENT_CALLBACK_CONTROL control = {.NpiId = &NPI_WSK_INTERFACE_ID, .EventMask = WSK_EVENT_DISCONNECT};

    return Pinger.Npi.Dispatch->WskControlClient(Pinger.Npi.Client, WSK_SET_STATIC_EVENT_CALLBACKS, sizeof control,
                                                 &control, 0, NULL, NULL, NULL);
}

static VOID NTAPI PingThread(PVOID Context)
{
    ULONG round = 0;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(Context);
    /* This may wait for ever: WskDeregister ends it. */
    status = WskCaptureProviderNPI(&Pinger.Registration, WSK_INFINITE_WAIT, &Pinger.Npi);
    if (NT_SUCCESS(status)) {
        status = PingEnableEvents();
        while (NT_SUCCESS(status) && round < Pinger.Rounds && !KeReadStateEvent(&Pinger.Stop))
            PingRound(++round);
        WskReleaseProviderNPI(&Pinger.Registration);
    }
    SAY("done: %u of %u rounds, 0x%08x", (unsigned)round, (unsigned)Pinger.Rounds, (unsigned)status);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

/* ---- Parameters ---------------------------------------------------------------------------------------------------------------------- */

typedef union PING_VALUE {
    KEY_VALUE_PARTIAL_INFORMATION Header;
    UCHAR Room[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + 64];
} PING_VALUE;

/* Leaves *Number alone when the value is not there. */
static void PingReadNumber(HANDLE Key, PCWSTR Name, ULONG *Number)
{
    UNICODE_STRING name;
    PING_VALUE value;
    ULONG size;

    RtlInitUnicodeString(&name, Name);
    if (NT_SUCCESS(ZwQueryValueKey(Key, &name, KeyValuePartialInformation, &value, sizeof value, &size)) &&
        value.Header.Type == REG_DWORD)
        RtlCopyMemory(Number, value.Header.Data, sizeof *Number);
}

/* Dotted decimal. */
static void PingReadAddress(HANDLE Key, PCWSTR Name, IN_ADDR *Address)
{
    UCHAR bytes[4] = {0}, *byte = bytes;
    UNICODE_STRING name;
    PING_VALUE value;
    ULONG size;

    RtlInitUnicodeString(&name, Name);
    if (!NT_SUCCESS(ZwQueryValueKey(Key, &name, KeyValuePartialInformation, &value, sizeof value, &size)) ||
        value.Header.Type != REG_SZ)
        return;
    for (ULONG i = 0; i < value.Header.DataLength / sizeof(WCHAR); i++) {
        WCHAR letter = ((const WCHAR *)value.Header.Data)[i];

        if (letter >= '0' && letter <= '9')
            *byte = (UCHAR)(*byte * 10 + (letter - '0'));
        else if (letter == '.' && byte < bytes + 3)
            byte++;
    }
    RtlCopyMemory(Address, bytes, sizeof bytes);
}

static void PingReadParameters(PUNICODE_STRING ServiceKey)
{
    static const UCHAR peer[4] = {10, 77, 0, 20};
    UNICODE_STRING parameters = RTL_CONSTANT_STRING(L"Parameters");
    OBJECT_ATTRIBUTES attributes;
    ULONG port = 7007;
    HANDLE service, key;

    Pinger.Rounds = 3;
    Pinger.Lines = 2;
    Pinger.Patience = 5000;
    Pinger.Peer.sin_family = AF_INET;
    RtlCopyMemory(&Pinger.Peer.sin_addr, peer, sizeof peer);
    InitializeObjectAttributes(&attributes, ServiceKey, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    if (NT_SUCCESS(ZwOpenKey(&service, KEY_READ, &attributes))) {
        InitializeObjectAttributes(&attributes, &parameters, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, service, NULL);
        if (NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes))) {
            PingReadAddress(key, L"Address", &Pinger.Peer.sin_addr);
            PingReadNumber(key, L"Port", &port);
            PingReadNumber(key, L"Rounds", &Pinger.Rounds);
            PingReadNumber(key, L"Lines", &Pinger.Lines);
            PingReadNumber(key, L"Patience", &Pinger.Patience);
            ZwClose(key);
        }
        ZwClose(service);
    }
    Pinger.Peer.sin_port = RtlUshortByteSwap(port);
}

/* ---- Load and unload --------------------------------------------------------------------------------------------------------------------- */

static VOID NTAPI PingUnload(PDRIVER_OBJECT Driver)
{
    UNREFERENCED_PARAMETER(Driver);
    KeSetEvent(&Pinger.Stop, IO_NO_INCREMENT, FALSE);
    WskDeregister(&Pinger.Registration); /* waits until the thread has given WSK back */
    KeWaitForSingleObject(Pinger.Thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(Pinger.Thread);
    SAY("unloaded");
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    static const WSK_CLIENT_DISPATCH dispatch = {.Version = MAKE_WSK_VERSION(1, 0)};
    WSK_CLIENT_NPI client = {.ClientContext = NULL, .Dispatch = &dispatch};
    HANDLE thread;
    NTSTATUS status;

    KeInitializeEvent(&Pinger.Stop, NotificationEvent, FALSE);
    PingReadParameters(RegistryPath);
    status = WskRegister(&client, &Pinger.Registration);
    if (!NT_SUCCESS(status))
        return status;
    status = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, PingThread, NULL);
    if (!NT_SUCCESS(status)) {
        WskDeregister(&Pinger.Registration);
        return status;
    }
    (void)ObReferenceObjectByHandle(thread, SYNCHRONIZE, NULL, KernelMode, &Pinger.Thread, NULL);
    ZwClose(thread);
    Driver->DriverUnload = PingUnload;
    return STATUS_SUCCESS;
}
