/*
 * breaker: a WSK client of the tests that breaks the rule it is told to. It shares no code with the lab's own driver.
 *
 * It connects to 10.77.0.20:7007, CONNECTIONS times at once. The number of bytes that first come on a connection says what it does wrong there:
 * the number of an entry in `breaches`, counted from 1; a byte of its own answers. Until then, and with a number that is none, it is a correct driver.
 *
 * With FORGETS_WHEN_SHORT its load is wrong where it fails.
 *
 * BREACH(name, says) begins each: `says` is a regular expression, what a reason of the verdict must match (tests/support/breaker.py).
 */
#include <wsk.h>

#ifndef CONNECTIONS
#define CONNECTIONS 1
#endif
#define TAG 0x6b617242u /* 'Brak' */
#define POOL ((POOL_TYPE)512) /* NonPagedPoolNx */
#define SECOND (-10000000LL)

/* What mingw-w64's header makes instructions of, and the WDK imports. */
NTSYSAPI KIRQL NTAPI ImportedRaiseToDpc(void) __asm__("KeRaiseIrqlToDpcLevel");
NTSYSAPI VOID NTAPI ImportedLower(KIRQL) __asm__("KeLowerIrql");

typedef struct LINK LINK;

/* What WSK gets as a socket's context: a block of its own, so that it can be wrong without the rest. */
typedef struct {
    LINK *link;
} TICKET;

/* One connection. */
struct LINK {
    PWSK_SOCKET socket;
    TICKET *ticket;
    volatile LONG breach; /* a flag of BREAK_..., for what is wrong later */
    KEVENT done, left;
    PIRP irp;
    UCHAR *data;
    PMDL mdl;
    KSPIN_LOCK lock;
};

enum { IN_EVENT_FAIL = 1, IN_EVENT_IRQL, IN_EVENT_LOCK, NO_CLOSE, SEND_AFTER_CLOSE, DISCONNECT_SECOND };
enum { UNLOAD_RIGHT, UNLOAD_AT_DISPATCH, UNLOAD_REGISTERED, UNLOAD_TWICE };

static struct {
    WSK_REGISTRATION registration;
    WSK_PROVIDER_NPI npi;
    KEVENT stop;
    PVOID threads[CONNECTIONS];
    int unload;
    TICKET *freed_ticket;
    LINK *freed_of;
    PIRP kept;
} Us;

/* What a breach leaves for others: of the image, so that it outlives the block in question. */
static struct {
    KSPIN_LOCK lock, other;
    KMUTEX mutex;
    FAST_MUTEX fast;
    KEVENT go, gone;
    KTIMER timer;
    KDPC dpc;
    NPAGED_LOOKASIDE_LIST list;
    volatile LONG taken, finished;
} Things;

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD Unload;

/* ---- WSK, waited for ------------------------------------------------------------------------------------------------------------- */

static NTSTATUS NTAPI Completed(PDEVICE_OBJECT device, PIRP irp, PVOID done)
{
    UNREFERENCED_PARAMETER(device);
    UNREFERENCED_PARAMETER(irp);
    KeSetEvent(done, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static PIRP Ready(LINK *link)
{
    IoReuseIrp(link->irp, STATUS_UNSUCCESSFUL);
    KeClearEvent(&link->done);
    IoSetCompletionRoutine(link->irp, Completed, &link->done, TRUE, TRUE, TRUE);
    return link->irp;
}

static NTSTATUS Wait(LINK *link)
{
    KeWaitForSingleObject(&link->done, Executive, KernelMode, FALSE, NULL);
    return link->irp->IoStatus.Status;
}

/* Until it is completed, or the driver is to stop: then it is cancelled. */
static NTSTATUS WaitOrStop(LINK *link)
{
    PVOID either[] = {&link->done, &Us.stop};

    if (KeWaitForMultipleObjects(2, either, WaitAny, Executive, KernelMode, FALSE, NULL, NULL) != STATUS_WAIT_0)
        (void)IoCancelIrp(link->irp);
    return Wait(link);
}

static const WSK_PROVIDER_CONNECTION_DISPATCH *Of(const LINK *link)
{
    return link->socket->Dispatch;
}

static SIZE_T Receive(LINK *link)
{
    WSK_BUF buffer = {link->mdl, 0, PAGE_SIZE};

    (void)Of(link)->WskReceive(link->socket, &buffer, 0, Ready(link));
    return NT_SUCCESS(WaitOrStop(link)) ? link->irp->IoStatus.Information : 0;
}

static NTSTATUS WSKAPI OnDisconnect(PVOID context, ULONG flags)
{
    LINK *link = context == Us.freed_ticket ? Us.freed_of : ((TICKET *)context)->link;
    KIRQL irql;

    UNREFERENCED_PARAMETER(flags);
    KeSetEvent(&link->left, IO_NO_INCREMENT, FALSE);
    if (link->breach == IN_EVENT_IRQL)
        (void)KfRaiseIrql(DISPATCH_LEVEL + 1);
    if (link->breach == IN_EVENT_LOCK)
        KeAcquireSpinLock(&link->lock, &irql);
    return link->breach == IN_EVENT_FAIL ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS;
}

static const WSK_CLIENT_CONNECTION_DISPATCH Events = {.WskDisconnectEvent = OnDisconnect};

/* A second socket, whose context is what is wrong. */
static void SocketWith(LINK *link, PVOID context)
{
    PWSK_SOCKET first = link->socket;

    (void)Us.npi.Dispatch->WskSocket(Us.npi.Client, AF_INET, SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_CONNECTION_SOCKET,
                                     context, &Events, NULL, NULL, NULL, Ready(link));
    if (!NT_SUCCESS(Wait(link)))
        return;
    link->socket = (PWSK_SOCKET)link->irp->IoStatus.Information;
    if (link->breach == DISCONNECT_SECOND) {
        (void)Of(link)->WskDisconnect(link->socket, NULL, 0, Ready(link));
        (void)Wait(link);
    }
    (void)Of(link)->WskCloseSocket(link->socket, Ready(link));
    (void)Wait(link);
    link->socket = first;
}

static PVOID Block(POOL_TYPE type, SIZE_T size)
{
    return ExAllocatePoolWithTag(type, size, TAG);
}

static void Free(PVOID block)
{
    ExFreePoolWithTag(block, TAG);
}

static KIRQL Dispatch(void)
{
    return KfRaiseIrql(DISPATCH_LEVEL);
}

static KIRQL High(void)
{
    return KfRaiseIrql(DISPATCH_LEVEL + 1);
}

/* ---- What is done wrong ------------------------------------------------------------------------------------------------------------ */

#define BREACH(name, says) static void name(LINK *link)
#define UNUSED UNREFERENCED_PARAMETER(link)

BREACH(event_fails, "R10: WskDisconnectEvent returned c0000001")
{
    link->breach = IN_EVENT_FAIL;
}

BREACH(event_keeps_irql, "WskDisconnectEvent.*returns at IRQL 3, and was called at")
{
    link->breach = IN_EVENT_IRQL;
}

BREACH(event_keeps_lock, "WskDisconnectEvent.*returns with a spin lock held")
{
    link->breach = IN_EVENT_LOCK;
}

BREACH(never_closes, "breaker.sys, made by WskSocketConnect, was never closed")
{
    link->breach = NO_CLOSE;
}

BREACH(sends_when_closed, "R72: WskSend on a socket that is closed")
{
    link->breach = SEND_AFTER_CLOSE;
}

BREACH(context_on_stack, "R4: WskSocket is given a socket context that lies on the stack of its caller")
{
    TICKET ticket = {link};

    SocketWith(link, &ticket);
}

BREACH(context_that_is_freed, "R4: WskSocket is given a socket context that has been freed")
{
    PVOID block = Block(POOL, sizeof(TICKET));

    Free(block);
    SocketWith(link, block);
}

BREACH(context_in_paged_pool, "R42: WskSocket is given a socket context in paged pool")
{
    PVOID block = Block(PagedPool, sizeof(TICKET));

    SocketWith(link, block);
    Free(block);
}

BREACH(context_freed_too_soon, "R4: the context of a socket was freed before the socket was closed")
{
    Us.freed_of = link;
    Us.freed_ticket = link->ticket;
    Free(link->ticket);
}

/* Of a receive that is cancelled only when the socket closes, and that nobody waits for. */
BREACH(uses_irp_twice, "R84: WskReceive with an IRP that has not been completed yet")
{
    WSK_BUF buffer = {link->mdl, 0, PAGE_SIZE};

    (void)Of(link)->WskReceive(link->socket, &buffer, WSK_FLAG_WAITALL, Ready(link));
    (void)Of(link)->WskReceive(link->socket, &buffer, WSK_FLAG_WAITALL, link->irp);
    (void)Wait(link);
}

BREACH(irp_without_routine,
       "R83: WskReceive with an IRP whose completion routine is not set for success, error and cancel")
{
    WSK_BUF buffer = {link->mdl, 0, PAGE_SIZE};

    (void)Ready(link);
    IoSetCompletionRoutine(link->irp, Completed, &link->done, TRUE, TRUE, FALSE);
    (void)Of(link)->WskReceive(link->socket, &buffer, 0, link->irp);
    (void)Wait(link);
}

BREACH(releases_uncaptured, "R79: WskReleaseProviderNPI without a capture")
{
    UNUSED;
    WskReleaseProviderNPI(&Us.registration);
    WskReleaseProviderNPI(&Us.registration);
}

BREACH(captures_at_dispatch, "R77: WskCaptureProviderNPI may wait, and is called at DISPATCH_LEVEL")
{
    WSK_PROVIDER_NPI npi;
    KIRQL irql = Dispatch();

    UNUSED;
    if (NT_SUCCESS(WskCaptureProviderNPI(&Us.registration, 1000, &npi)))
        WskReleaseProviderNPI(&Us.registration);
    KeLowerIrql(irql);
}

BREACH(registers_on_stack, "R76: WskRegister is given a registration, or a table, that lies on the stack of its caller")
{
    WSK_CLIENT_DISPATCH table = {.Version = MAKE_WSK_VERSION(1, 0)};
    WSK_CLIENT_NPI npi = {NULL, &table};
    WSK_REGISTRATION registration;

    UNUSED;
    if (NT_SUCCESS(WskRegister(&npi, &registration)))
        WskDeregister(&registration);
}

static const WSK_CLIENT_DISPATCH Table = {.Version = MAKE_WSK_VERSION(1, 0)};

BREACH(registers_at_dispatch, "R76: WskRegister is called at DISPATCH_LEVEL")
{
    static WSK_REGISTRATION registration;
    WSK_CLIENT_NPI npi = {NULL, &Table};
    KIRQL irql = Dispatch();
    NTSTATUS status = WskRegister(&npi, &registration);

    UNUSED;
    KeLowerIrql(irql);
    if (NT_SUCCESS(status))
        WskDeregister(&registration);
}

BREACH(frees_table, "R76: the client's table was freed before WskDeregister")
{
    static WSK_REGISTRATION registration;
    WSK_CLIENT_DISPATCH *table = Block(POOL, sizeof *table);
    WSK_CLIENT_NPI npi = {NULL, table};
    NTSTATUS status;

    UNUSED;
    *table = Table;
    status = WskRegister(&npi, &registration);
    Free(table);
    if (NT_SUCCESS(status))
        WskDeregister(&registration);
}

BREACH(deregisters_twice, "R82.*WskDeregister without a registration")
{
    UNUSED;
    Us.unload = UNLOAD_TWICE;
}

BREACH(calls_uncaptured, "R79: WskSocket without a captured provider")
{
    WskReleaseProviderNPI(&Us.registration);
    SocketWith(link, link->ticket);
}

BREACH(receives_without_irp, "R83: WskReceive without an IRP")
{
    WSK_BUF buffer = {link->mdl, 0, PAGE_SIZE};

    (void)Of(link)->WskReceive(link->socket, &buffer, 0, NULL);
}

BREACH(aborts_with_buffer, "R63: WskDisconnect with WSK_FLAG_ABORTIVE and a buffer")
{
    WSK_BUF buffer = {link->mdl, 0, 1};

    (void)Of(link)->WskDisconnect(link->socket, &buffer, WSK_FLAG_ABORTIVE, Ready(link));
    (void)Wait(link);
}

BREACH(static_events_late, "R36: static event callbacks set after the first socket")
{
    WSK_EVENT_CALLBACK_CONTROL control = {.NpiId = &NPI_WSK_INTERFACE_ID, .EventMask = WSK_EVENT_DISCONNECT};

    UNUSED;
    (void)Us.npi.Dispatch->WskControlClient(Us.npi.Client, WSK_SET_STATIC_EVENT_CALLBACKS, sizeof control, &control, 0,
                                            NULL, NULL, NULL);
}

BREACH(disconnects_unconnected, "R65: WskDisconnect on a socket that was never connected")
{
    link->breach = DISCONNECT_SECOND;
    SocketWith(link, link->ticket);
}

BREACH(deregisters_at_dispatch, "R80.*WskDeregister is called at DISPATCH_LEVEL")
{
    UNUSED;
    Us.unload = UNLOAD_AT_DISPATCH;
}

BREACH(stays_registered, "R82.*the driver was unloaded without WskDeregister")
{
    UNUSED;
    Us.unload = UNLOAD_REGISTERED;
}

/* ---- Spin locks and the IRQL ---- */

BREACH(takes_lock_twice, "SPIN_LOCK_ALREADY_OWNED.*takes a spin lock that this thread holds already")
{
    KIRQL irql;

    KeAcquireSpinLock(&link->lock, &irql);
    KeAcquireSpinLock(&link->lock, &irql);
}

BREACH(releases_free_lock, "SPIN_LOCK_NOT_OWNED.*releases a spin lock that is not held")
{
    KeReleaseSpinLock(&link->lock, PASSIVE_LEVEL);
}

static VOID NTAPI HoldLock(PVOID unused)
{
    KIRQL irql;

    UNREFERENCED_PARAMETER(unused);
    KeAcquireSpinLock(&Things.lock, &irql);
    InterlockedExchange(&Things.taken, 1);
    while (!Things.finished)
        YieldProcessor();
    KeReleaseSpinLock(&Things.lock, irql);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static void Start(PKSTART_ROUTINE routine)
{
    HANDLE thread;

    if (NT_SUCCESS(PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, routine, NULL)))
        ZwClose(thread);
}

BREACH(releases_lock_of_another, "releases a spin lock of another thread")
{
    UNUSED;
    Start(HoldLock);
    while (!Things.taken)
        YieldProcessor();
    KeReleaseSpinLock(&Things.lock, PASSIVE_LEVEL);
}

BREACH(takes_lock_too_high, "takes a spin lock at IRQL 3")
{
    KIRQL irql;

    (void)High();
    KeAcquireSpinLock(&link->lock, &irql);
}

BREACH(takes_lock_too_low, "takes a spin lock at PASSIVE_LEVEL")
{
    KeAcquireSpinLockAtDpcLevel(&link->lock);
}

BREACH(releases_lock_too_high, "releases a spin lock at a device's IRQL")
{
    KIRQL irql;

    KeAcquireSpinLock(&link->lock, &irql);
    (void)High();
    KeReleaseSpinLock(&link->lock, irql);
}

BREACH(releases_lock_to_irql, "releases a spin lock to IRQL 5, which it never had")
{
    KIRQL irql;

    KeAcquireSpinLock(&link->lock, &irql);
    KeReleaseSpinLock(&link->lock, 5);
}

BREACH(releases_queued_as_ordinary, "releases as ordinary what was taken as queued, or the reverse")
{
    KLOCK_QUEUE_HANDLE handle;

    KeAcquireInStackQueuedSpinLock(&link->lock, &handle);
    KeReleaseSpinLock(&link->lock, PASSIVE_LEVEL);
}

BREACH(takes_ordinary_as_queued, "takes a lock as queued that is held as ordinary, or the reverse")
{
    KLOCK_QUEUE_HANDLE handle;

    UNUSED;
    Start(HoldLock);
    while (!Things.taken)
        YieldProcessor();
    KeAcquireInStackQueuedSpinLock(&Things.lock, &handle);
}

BREACH(raises_downwards, "raises the IRQL from 3 to 2")
{
    UNUSED;
    (void)High();
    (void)ImportedRaiseToDpc();
}

BREACH(lowers_upwards, "lowers the IRQL from 0 to 3")
{
    UNUSED;
    ImportedLower(DISPATCH_LEVEL + 1);
}

BREACH(lowers_with_lock, "lowers the IRQL to 0 with a spin lock held")
{
    KIRQL irql;

    KeAcquireSpinLock(&link->lock, &irql);
    KeLowerIrql(PASSIVE_LEVEL);
}

BREACH(takes_locks_both_ways, "takes a lock with another held that elsewhere is taken behind it")
{
    KIRQL outer, inner;

    for (int turn = 0; turn < 2; turn++) {
        KeAcquireSpinLock(turn ? &Things.other : &link->lock, &outer);
        KeAcquireSpinLock(turn ? &link->lock : &Things.other, &inner);
        KeReleaseSpinLock(turn ? &link->lock : &Things.other, inner);
        KeReleaseSpinLock(turn ? &Things.other : &link->lock, outer);
    }
}

/* ---- Mutexes ---- */

BREACH(releases_free_mutex, "releases a mutex that is not held")
{
    UNUSED;
    (void)KeReleaseMutex(&Things.mutex, FALSE);
}

static VOID NTAPI HoldMutex(PVOID unused)
{
    UNREFERENCED_PARAMETER(unused);
    KeWaitForSingleObject(&Things.mutex, Executive, KernelMode, FALSE, NULL);
    KeSetEvent(&Things.go, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(&Things.gone, Executive, KernelMode, FALSE, NULL);
    (void)KeReleaseMutex(&Things.mutex, FALSE);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

BREACH(releases_mutex_of_another, "releases a mutex of another thread")
{
    UNUSED;
    Start(HoldMutex);
    KeWaitForSingleObject(&Things.go, Executive, KernelMode, FALSE, NULL);
    (void)KeReleaseMutex(&Things.mutex, FALSE);
}

BREACH(releases_fast_mutex_too_low, "releases a fast mutex at PASSIVE_LEVEL")
{
    UNUSED;
    ExAcquireFastMutex(&Things.fast);
    KeLowerIrql(PASSIVE_LEVEL);
    ExReleaseFastMutex(&Things.fast);
}

static VOID NTAPI EndWithMutex(PVOID unused)
{
    UNREFERENCED_PARAMETER(unused);
    KeWaitForSingleObject(&Things.mutex, Executive, KernelMode, FALSE, NULL);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

BREACH(ends_with_mutex, "ends a thread that holds a mutex or a spin lock")
{
    UNUSED;
    Start(EndWithMutex);
}

/* ---- DPCs, timers, lookaside lists ---- */

static VOID NTAPI Harmless(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    UNREFERENCED_PARAMETER(dpc);
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(first);
    UNREFERENCED_PARAMETER(second);
}

static VOID NTAPI RaisingDpc(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    Harmless(dpc, context, first, second);
    (void)High();
}

static VOID NTAPI LockingDpc(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    Harmless(dpc, context, first, second);
    KeAcquireSpinLockAtDpcLevel(&Things.lock);
}

static VOID NTAPI WaitingDpc(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    LARGE_INTEGER moment = {.QuadPart = -10000};

    Harmless(dpc, context, first, second);
    (void)KeWaitForSingleObject(&Things.go, Executive, KernelMode, FALSE, &moment);
}

static void Queue(PKDEFERRED_ROUTINE routine)
{
    KeInitializeDpc(&Things.dpc, routine, NULL);
    (void)KeInsertQueueDpc(&Things.dpc, NULL, NULL);
}

BREACH(dpc_keeps_irql, "a DPC.*returns at IRQL 3, and was called at 2")
{
    UNUSED;
    Queue(RaisingDpc);
}

BREACH(dpc_keeps_lock, "a DPC.*returns with a spin lock held")
{
    UNUSED;
    Queue(LockingDpc);
}

BREACH(dpc_waits, "waits at DISPATCH_LEVEL with a timeout that is not zero")
{
    UNUSED;
    Queue(WaitingDpc);
}

BREACH(frees_timer, "frees a block in which is a timer that is set")
{
    struct {
        KTIMER timer;
        KDPC dpc;
    } *block = Block(POOL, sizeof *block);
    LARGE_INTEGER later = {.QuadPart = 60 * SECOND};

    UNUSED;
    KeInitializeTimer(&block->timer);
    KeInitializeDpc(&block->dpc, Harmless, NULL);
    (void)KeSetTimer(&block->timer, later, &block->dpc);
    Free(block);
}

/* The DPC may already run: then what is seen is that its memory is gone. */
BREACH(frees_dpc, "frees a block in which is a DPC that is queued|FREED_SPECIAL_POOL")
{
    PKDPC dpc = Block(POOL, sizeof *dpc);

    UNUSED;
    KeInitializeDpc(dpc, Harmless, NULL);
    (void)KeInsertQueueDpc(dpc, NULL, NULL);
    Free(dpc);
}

BREACH(frees_lookaside, "frees a block in which is a lookaside list that is not deleted")
{
    PNPAGED_LOOKASIDE_LIST list = Block(POOL, sizeof *list);

    UNUSED;
    ExInitializeNPagedLookasideList(list, NULL, NULL, 0, 64, TAG, 0);
    Free(list);
}

BREACH(reads_freed_entry, "FREED_SPECIAL_POOL.*a read.*is made of pool that was freed")
{
    volatile UCHAR *entry;

    UNUSED;
    ExInitializeNPagedLookasideList(&Things.list, NULL, NULL, 0, 64, TAG, 0);
    entry = ExAllocateFromNPagedLookasideList(&Things.list);
    ExFreeToNPagedLookasideList(&Things.list, (PVOID)(ULONG_PTR)entry);
    (void)entry[0];
}

BREACH(leaves_timer, "leaves a timer that is set")
{
    LARGE_INTEGER later = {.QuadPart = 60 * SECOND};

    UNUSED;
    KeInitializeTimer(&Things.timer);
    KeInitializeDpc(&Things.dpc, Harmless, NULL);
    (void)KeSetTimer(&Things.timer, later, &Things.dpc);
}

BREACH(leaves_lookaside, "leaves a lookaside list that is not deleted")
{
    UNUSED;
    ExInitializeNPagedLookasideList(&Things.list, NULL, NULL, 0, 64, TAG, 0);
}

BREACH(event_in_paged_pool, "initializes an object of the kernel's in paged pool")
{
    UNUSED;
    KeInitializeEvent(Block(PagedPool, sizeof(KEVENT)), NotificationEvent, FALSE);
}

BREACH(waits_not_at_once, "is called at DISPATCH_LEVEL, where KeSetEvent with Wait has left the thread")
{
    KIRQL irql;

    (void)KeSetEvent(&Things.go, 0, TRUE);
    KeAcquireSpinLock(&link->lock, &irql);
}

/* ---- Handles ---- */

BREACH(leaves_handle, "ZwClose.*the driver was unloaded with \\d+ handles open, which nobody can close any more")
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Registry\\Machine\\Software");
    OBJECT_ATTRIBUTES attributes;
    HANDLE key;

    UNUSED;
    InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    (void)ZwOpenKey(&key, KEY_READ, &attributes);
}

/* ---- Kernel stacks ---- */

static ULONG Dig(ULONG depth)
{
    volatile UCHAR frame[900];

    frame[depth % sizeof frame] = 1;
    if (depth)
        return Dig(depth - 1) + frame[depth % sizeof frame];
    KeSetEvent(&Things.go, IO_NO_INCREMENT, FALSE);
    (void)KeWaitForSingleObject(&Things.go, Executive, KernelMode, FALSE, NULL);
    return frame[0];
}

BREACH(digs_deep, "is called with \\d+ bytes of stack in use; a kernel stack has 24 KB")
{
    UNUSED;
    (void)Dig(40);
}

/* ---- Waits and events ---- */

BREACH(waits_for_ever, "waits without a limit at DISPATCH_LEVEL")
{
    UNUSED;
    (void)Dispatch();
    (void)KeWaitForSingleObject(&Things.go, Executive, KernelMode, FALSE, NULL);
}

BREACH(waits_a_second, "waits at DISPATCH_LEVEL with a timeout that is not zero")
{
    LARGE_INTEGER second = {.QuadPart = SECOND};

    UNUSED;
    (void)Dispatch();
    (void)KeWaitForSingleObject(&Things.go, Executive, KernelMode, FALSE, &second);
}

BREACH(waits_too_high, "waits at IRQL 3")
{
    LARGE_INTEGER none = {.QuadPart = 0};

    UNUSED;
    (void)High();
    (void)KeWaitForSingleObject(&Things.go, Executive, KernelMode, FALSE, &none);
}

BREACH(sets_event_too_high, "sets an event at IRQL 3")
{
    UNUSED;
    (void)High();
    KeSetEvent(&Things.go, IO_NO_INCREMENT, FALSE);
}

BREACH(sets_event_with_wait, "sets an event at IRQL 2 with Wait")
{
    UNUSED;
    (void)Dispatch();
    KeSetEvent(&Things.go, IO_NO_INCREMENT, TRUE);
}

/* ---- Routines with an IRQL: one of each rule of rules.yaml ---- */

#define AT(level, name, rule, call)                                                                                    \
    BREACH(name, rule)                                                                                                 \
    {                                                                                                                  \
        UNUSED;                                                                                                        \
        (void)level();                                                                                                 \
        call;                                                                                                          \
    }

static UNICODE_STRING Nothing;
static ERESOURCE Resource;

AT(Dispatch, zw_close, "0002001f.*ZwClose.*is called at DISPATCH_LEVEL, and may be at most at PASSIVE_LEVEL",
   ZwClose(NULL))
AT(Dispatch, create_thread, "0002001c.*PsCreateSystemThread.*is called at DISPATCH_LEVEL", Start(HoldMutex))
AT(Dispatch, reference_handle, "0002001b.*ObReferenceObjectByHandle.*is called at DISPATCH_LEVEL",
   (void)ObReferenceObjectByHandle(NULL, 0, NULL, KernelMode, &Us.threads[0], NULL))
AT(Dispatch, delete_link, "0002000d.*IoDeleteSymbolicLink.*is called at DISPATCH_LEVEL", IoDeleteSymbolicLink(&Nothing))
AT(Dispatch, delete_value, "0002001e.*RtlDeleteRegistryValue.*is called at DISPATCH_LEVEL",
   RtlDeleteRegistryValue(RTL_REGISTRY_ABSOLUTE, L"x", L"x"))
AT(Dispatch, routine_address, "00020023.*MmGetSystemRoutineAddress.*is called at DISPATCH_LEVEL",
   MmGetSystemRoutineAddress(&Nothing))
AT(Dispatch, compare_string, "IRQL_NOT_LESS_OR_EQUAL.*RtlEqualUnicodeString.*is called at DISPATCH_LEVEL",
   RtlEqualUnicodeString(&Nothing, &Nothing, TRUE))
AT(Dispatch, flush_dpcs, "00020011.*KeFlushQueuedDpcs.*is called at DISPATCH_LEVEL", KeFlushQueuedDpcs())
AT(Dispatch, delete_device, "00020009.*IoDeleteDevice.*is called at DISPATCH_LEVEL", IoDeleteDevice(NULL))
AT(Dispatch, delay_thread, "0002000f.*KeDelayExecutionThread.*is called at DISPATCH_LEVEL",
   KeDelayExecutionThread(KernelMode, FALSE, &(LARGE_INTEGER){.QuadPart = SECOND}))
AT(Dispatch, critical_region, "00020010.*KeEnterCriticalRegion.*is called at DISPATCH_LEVEL", KeEnterCriticalRegion())
AT(Dispatch, fast_mutex, "00020005.*ExAcquireFastMutex.*is called at DISPATCH_LEVEL", ExAcquireFastMutex(&Things.fast))
AT(Dispatch, probe, "00020006.*ProbeForRead.*is called at DISPATCH_LEVEL", ProbeForRead(&Things, 1, 1))
AT(Dispatch, resource, "00020007.*ExAcquireResourceExclusiveLite.*is called at DISPATCH_LEVEL",
   ExAcquireResourceExclusiveLite(&Resource, TRUE))
AT(Dispatch, raise_status, "00020008.*ExRaiseStatus.*is called at DISPATCH_LEVEL", ExRaiseStatus(STATUS_UNSUCCESSFUL))
AT(Dispatch, rundown, "IRQL_NOT_LESS_OR_EQUAL.*ExWaitForRundownProtectionRelease.*is called at DISPATCH_LEVEL",
   ExWaitForRundownProtectionRelease(NULL))
AT(High, cancel_timer, "00020011.*KeCancelTimer.*is called at a device's IRQL", KeCancelTimer(&Things.timer))
AT(High, allocate_irp, "IRQL_NOT_LESS_OR_EQUAL.*IoAllocateIrp.*is called at a device's IRQL", IoAllocateIrp(1, FALSE))
AT(High, wsk_receive, "IRQL_NOT_LESS_OR_EQUAL.*WskReceive.*is called at IRQL 3, and may be at most at DISPATCH_LEVEL",
   Of(link)->WskReceive(link->socket, NULL, 0, link->irp))

/* ---- Special pool ---- */

BREACH(reads_freed, "DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL.*a read.*is made of pool that was freed")
{
    volatile UCHAR *block = Block(POOL, 64);

    UNUSED;
    Free((PVOID)(ULONG_PTR)block);
    (void)block[0];
}

BREACH(hands_on_freed, "\\bPAGE_FAULT_IN_FREED_SPECIAL_POOL.*is made of pool that was freed")
{
    CHAR *block = Block(POOL, 64);
    ANSI_STRING text;

    UNUSED;
    Free(block);
    RtlInitAnsiString(&text, block);
}

BREACH(writes_beyond,
       "DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION.*a write.*is made beyond the end of a block of 64 bytes")
{
    volatile UCHAR *block = Block(POOL, 64);

    UNUSED;
    block[64] = 1;
}

BREACH(hands_on_too_short, "\\bPAGE_FAULT_BEYOND_END_OF_ALLOCATION.*is made beyond the end of a block of 64 bytes")
{
    CHAR *block = Block(POOL, 64);
    ANSI_STRING text;

    UNUSED;
    RtlFillMemory(block, 64, 'x');
    RtlInitAnsiString(&text, block);
}

BREACH(writes_into_slack,
       "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION.*frees a block of 20 bytes that was written beyond its end")
{
    volatile UCHAR *block = Block(POOL, 20);

    UNUSED;
    block[20] = 1;
    Free((PVOID)(ULONG_PTR)block);
}

BREACH(writes_before,
       "SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION.*frees a block of 64 bytes that was written before its start")
{
    UCHAR *block = Block(POOL, 64);
    volatile UCHAR *before = block - 1;

    UNUSED;
    *before = 1;
    Free(block);
}

BREACH(frees_twice, "frees a block twice")
{
    PVOID block = Block(POOL, 64);

    UNUSED;
    Free(block);
    Free(block);
}

BREACH(frees_inside, "frees an address that is inside a block")
{
    UCHAR *block = Block(POOL, 64);

    UNUSED;
    Free(block + 16);
}

BREACH(frees_by_other_tag, "BAD_POOL_CALLER.*frees a block with another tag than it has")
{
    UNUSED;
    ExFreePoolWithTag(Block(POOL, 64), TAG + 1);
}

BREACH(frees_held_lock, "frees a block with a spin lock in it that is held")
{
    PKSPIN_LOCK block = Block(POOL, 64);
    KIRQL irql;

    UNUSED;
    *block = 0;
    KeAcquireSpinLock(block, &irql);
    Free(block);
}

BREACH(paged_at_dispatch, "allocates paged pool at DISPATCH_LEVEL")
{
    UNUSED;
    (void)Dispatch();
    (void)Block(PagedPool, 64);
}

BREACH(frees_paged_at_dispatch, "frees paged pool at DISPATCH_LEVEL")
{
    PVOID block = Block(PagedPool, 64);

    UNUSED;
    (void)Dispatch();
    Free(block);
}

BREACH(nonpaged_too_high, "allocates nonpaged pool at a device's IRQL")
{
    UNUSED;
    (void)High();
    (void)Block(POOL, 64);
}

BREACH(frees_nonpaged_too_high, "frees nonpaged pool at a device's IRQL")
{
    PVOID block = Block(POOL, 64);

    UNUSED;
    (void)High();
    Free(block);
}

BREACH(allocates_nothing, "allocates a block of no bytes")
{
    UNUSED;
    (void)Block(POOL, 0);
}

BREACH(allocates_untagged, "BAD_POOL_CALLER.*allocates a block without a tag")
{
    UNUSED;
    (void)ExAllocatePoolWithTag(POOL, 64, 0);
}

BREACH(leaks_pool, "1 blocks, 40 bytes, are not freed at the unload; the first has tag Brak, 40 bytes")
{
    UNUSED;
    (void)Block(POOL, 40);
}

/* ---- MDLs ---- */

static PMDL Mdl(PVOID block)
{
    return IoAllocateMdl(block, 64, FALSE, FALSE, NULL);
}

BREACH(maps_unbuilt, "maps an MDL that is neither built nor locked")
{
    UNUSED;
    (void)MmGetSystemAddressForMdlSafe(Mdl(Block(POOL, 64)), NormalPagePriority);
}

BREACH(sends_unbuilt, "WskSend.*is given an MDL that is neither built nor locked")
{
    WSK_BUF buffer = {Mdl(Block(POOL, 64)), 0, 64};

    (void)Of(link)->WskSend(link->socket, &buffer, 0, Ready(link));
    (void)Wait(link);
}

BREACH(builds_twice, "builds an MDL that is built or locked already")
{
    MmBuildMdlForNonPagedPool(link->mdl);
}

BREACH(builds_paged, "builds an MDL of paged pool")
{
    UNUSED;
    MmBuildMdlForNonPagedPool(Mdl(Block(PagedPool, 64)));
}

BREACH(builds_stack, "builds an MDL of the thread's stack")
{
    UCHAR room[64];

    UNUSED;
    MmBuildMdlForNonPagedPool(Mdl(room));
}

BREACH(locks_built, "locks the pages of an MDL twice, or of a built one")
{
    MmProbeAndLockPages(link->mdl, KernelMode, IoReadAccess);
}

BREACH(unlocks_built, "unlocks an MDL of nonpaged pool")
{
    MmUnlockPages(link->mdl);
}

BREACH(unlocks_partial, "unlocks a partial MDL")
{
    PMDL mdl = Mdl(Block(PagedPool, 64));

    UNUSED;
    mdl->MdlFlags |= MDL_PARTIAL;
    MmUnlockPages(mdl);
}

BREACH(unlocks_unlocked, "unlocks an MDL whose pages are not locked")
{
    UNUSED;
    MmUnlockPages(Mdl(Block(PagedPool, 64)));
}

BREACH(frees_locked_mdl, "frees an MDL whose pages are locked")
{
    PMDL mdl = Mdl(Block(PagedPool, 64));

    UNUSED;
    MmProbeAndLockPages(mdl, KernelMode, IoReadAccess);
    IoFreeMdl(mdl);
}

BREACH(frees_mdl_twice, "IoFreeMdl.*frees a block twice")
{
    PMDL mdl = Mdl(Block(POOL, 64));

    UNUSED;
    IoFreeMdl(mdl);
    IoFreeMdl(mdl);
}

BREACH(frees_buffer_in_use, "finds the memory of its buffer freed before the IRP was completed")
{
    PVOID block = Block(POOL, 64);
    PMDL mdl = Mdl(block);
    WSK_BUF buffer = {mdl, 0, 64};

    MmBuildMdlForNonPagedPool(mdl);
    Free(block);
    (void)Of(link)->WskSend(link->socket, &buffer, 0, Ready(link));
    (void)Wait(link);
    IoFreeMdl(mdl);
}

/* ---- IRPs ---- */

static PIRP Pending(LINK *link)
{
    WSK_BUF buffer = {link->mdl, 0, PAGE_SIZE};

    (void)Of(link)->WskReceive(link->socket, &buffer, WSK_FLAG_WAITALL, Ready(link));
    return link->irp;
}

BREACH(frees_pending_irp, "frees an IRP that WSK has not completed")
{
    IoFreeIrp(Pending(link));
}

BREACH(reuses_pending_irp, "makes an IRP ready for another use that WSK has not completed")
{
    IoReuseIrp(Pending(link), STATUS_UNSUCCESSFUL);
}

BREACH(frees_irp_as_pool, "frees an IRP, which goes back by IoFreeIrp")
{
    UNUSED;
    Free(IoAllocateIrp(1, FALSE));
}

/* Tells nobody: whoever waited would use the IRP again, which is another breach, before this one is noticed. */
static NTSTATUS NTAPI LetsGo(PDEVICE_OBJECT device, PIRP irp, PVOID done)
{
    (void)device, (void)irp, (void)done;
    return STATUS_SUCCESS;
}

BREACH(lets_irp_go, "lets the I/O manager complete an IRP of the driver's own")
{
    WSK_BUF buffer = {link->mdl, 0, 1};

    (void)Ready(link);
    IoSetCompletionRoutine(link->irp, LetsGo, &link->done, TRUE, TRUE, TRUE);
    (void)Of(link)->WskSend(link->socket, &buffer, 0, link->irp);
    (void)Wait(link);
}

static void (*const breaches[])(LINK *) = {
    event_fails,
    event_keeps_irql,
    event_keeps_lock,
    never_closes,
    sends_when_closed,
    context_on_stack,
    context_that_is_freed,
    context_in_paged_pool,
    context_freed_too_soon,
    uses_irp_twice,
    irp_without_routine,
    releases_uncaptured,
    captures_at_dispatch,
    registers_on_stack,
    deregisters_at_dispatch,
    stays_registered,
    registers_at_dispatch,
    frees_table,
    deregisters_twice,
    calls_uncaptured,
    receives_without_irp,
    aborts_with_buffer,
    static_events_late,
    disconnects_unconnected,
    takes_lock_twice,
    releases_free_lock,
    releases_lock_of_another,
    takes_lock_too_high,
    takes_lock_too_low,
    releases_lock_too_high,
    releases_lock_to_irql,
    releases_queued_as_ordinary,
    takes_ordinary_as_queued,
    raises_downwards,
    lowers_upwards,
    lowers_with_lock,
    takes_locks_both_ways,
    releases_free_mutex,
    releases_mutex_of_another,
    releases_fast_mutex_too_low,
    ends_with_mutex,
    dpc_keeps_irql,
    dpc_keeps_lock,
    dpc_waits,
    frees_timer,
    frees_dpc,
    frees_lookaside,
    reads_freed_entry,
    leaves_timer,
    leaves_lookaside,
    event_in_paged_pool,
    digs_deep,
    waits_for_ever,
    waits_a_second,
    waits_too_high,
    sets_event_too_high,
    sets_event_with_wait,
    zw_close,
    create_thread,
    reference_handle,
    delete_link,
    delete_value,
    routine_address,
    compare_string,
    flush_dpcs,
    delete_device,
    delay_thread,
    critical_region,
    fast_mutex,
    probe,
    resource,
    raise_status,
    rundown,
    cancel_timer,
    allocate_irp,
    wsk_receive,
    reads_freed,
    hands_on_freed,
    writes_beyond,
    hands_on_too_short,
    writes_into_slack,
    writes_before,
    frees_twice,
    frees_inside,
    frees_by_other_tag,
    frees_held_lock,
    paged_at_dispatch,
    frees_paged_at_dispatch,
    nonpaged_too_high,
    frees_nonpaged_too_high,
    allocates_nothing,
    allocates_untagged,
    leaks_pool,
    maps_unbuilt,
    sends_unbuilt,
    builds_twice,
    builds_paged,
    builds_stack,
    locks_built,
    unlocks_built,
    unlocks_partial,
    unlocks_unlocked,
    frees_locked_mdl,
    frees_mdl_twice,
    frees_buffer_in_use,
    frees_pending_irp,
    reuses_pending_irp,
    frees_irp_as_pool,
    lets_irp_go,
    waits_not_at_once,
    leaves_handle,
};

/* ---- A connection ------------------------------------------------------------------------------------------------------------------ */

static NTSTATUS Connect(LINK *link)
{
    SOCKADDR_IN local = {.sin_family = AF_INET};
    SOCKADDR_IN peer = {.sin_family = AF_INET, .sin_port = RtlUshortByteSwap(7007)};
    static const UCHAR address[] = {10, 77, 0, 20};
    NTSTATUS status;

    RtlCopyMemory(&peer.sin_addr, address, sizeof address);
    (void)Us.npi.Dispatch->WskSocketConnect(Us.npi.Client, SOCK_STREAM, IPPROTO_TCP, (PSOCKADDR)&local,
                                            (PSOCKADDR)&peer, 0, link->ticket, &Events, NULL, NULL, NULL, Ready(link));
    status = WaitOrStop(link);
    if (NT_SUCCESS(status))
        link->socket = (PWSK_SOCKET)link->irp->IoStatus.Information;
    return status;
}

/* A byte says that what is to be done wrong is done, or prepared. */
static void Answer(LINK *link)
{
    WSK_BUF buffer = {link->mdl, 0, 1};

    (void)Of(link)->WskSend(link->socket, &buffer, 0, Ready(link));
    (void)Wait(link);
}

static void Converse(LINK *link)
{
    SIZE_T length = Receive(link);
    PVOID either[] = {&link->left, &Us.stop};

    if (length && length <= sizeof breaches / sizeof *breaches)
        breaches[length - 1](link);
    if (length)
        Answer(link);
    while (length)
        length = Receive(link);
    KeWaitForMultipleObjects(2, either, WaitAny, Executive, KernelMode, FALSE, NULL, NULL);
    if (link->breach == NO_CLOSE)
        return;
    (void)Of(link)->WskCloseSocket(link->socket, Ready(link));
    (void)Wait(link);
    if (link->breach == SEND_AFTER_CLOSE) {
        WSK_BUF buffer = {link->mdl, 0, 1};

        (void)Of(link)->WskSend(link->socket, &buffer, 0, Ready(link));
        (void)Wait(link);
    }
}

static void Discard(LINK *link)
{
    if (link->mdl)
        IoFreeMdl(link->mdl);
    if (link->irp)
        IoFreeIrp(link->irp);
    if (link->data)
        Free(link->data);
    if (link->ticket && link->ticket != Us.freed_ticket)
        Free(link->ticket);
    Free(link);
}

static LINK *Create(void)
{
    LINK *link = Block(POOL, sizeof *link);

    if (!link)
        return NULL;
    RtlZeroMemory(link, sizeof *link);
    KeInitializeEvent(&link->done, NotificationEvent, FALSE);
    KeInitializeEvent(&link->left, NotificationEvent, FALSE);
    link->ticket = Block(POOL, sizeof *link->ticket);
    link->irp = IoAllocateIrp(1, FALSE);
    link->data = Block(POOL, PAGE_SIZE);
    link->mdl = link->data ? IoAllocateMdl(link->data, PAGE_SIZE, FALSE, FALSE, NULL) : NULL;
    if (!link->ticket || !link->irp || !link->mdl) {
        Discard(link);
        return NULL;
    }
    MmBuildMdlForNonPagedPool(link->mdl);
    link->ticket->link = link;
    return link;
}

static VOID NTAPI Run(PVOID unused)
{
    LINK *link = Create();

    UNREFERENCED_PARAMETER(unused);
    if (link) {
        if (NT_SUCCESS(Connect(link)))
            Converse(link);
        Discard(link);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

/* ---- Load and unload --------------------------------------------------------------------------------------------------------------- */

static void Finish(void)
{
    KeSetEvent(&Us.stop, IO_NO_INCREMENT, FALSE);
    for (int i = 0; i < CONNECTIONS; i++)
        if (Us.threads[i]) {
            KeWaitForSingleObject(Us.threads[i], Executive, KernelMode, FALSE, NULL);
            ObDereferenceObject(Us.threads[i]);
        }
    WskReleaseProviderNPI(&Us.registration);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    KIRQL irql = PASSIVE_LEVEL;

    UNREFERENCED_PARAMETER(driver);
    Finish();
    if (Us.unload == UNLOAD_REGISTERED)
        return;
    if (Us.unload == UNLOAD_AT_DISPATCH)
        irql = Dispatch();
    WskDeregister(&Us.registration);
    if (Us.unload == UNLOAD_AT_DISPATCH)
        KeLowerIrql(irql);
    if (Us.unload == UNLOAD_TWICE)
        WskDeregister(&Us.registration);
}

static NTSTATUS Begin(void)
{
    WSK_EVENT_CALLBACK_CONTROL control = {.NpiId = &NPI_WSK_INTERFACE_ID, .EventMask = WSK_EVENT_DISCONNECT};
    NTSTATUS status = WskCaptureProviderNPI(&Us.registration, 5000, &Us.npi);
    HANDLE thread;

    if (!NT_SUCCESS(status))
        return status;
    status = Us.npi.Dispatch->WskControlClient(Us.npi.Client, WSK_SET_STATIC_EVENT_CALLBACKS, sizeof control, &control,
                                               0, NULL, NULL, NULL);
    for (int i = 0; i < CONNECTIONS && NT_SUCCESS(status); i++) {
        status = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Run, NULL);
        if (NT_SUCCESS(status)) {
            (void)ObReferenceObjectByHandle(thread, SYNCHRONIZE, NULL, KernelMode, &Us.threads[i], NULL);
            ZwClose(thread);
        }
    }
    if (!NT_SUCCESS(status))
        Finish();
    return status;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING key)
{
    WSK_CLIENT_NPI npi = {NULL, &Table};
    NTSTATUS status;

    UNREFERENCED_PARAMETER(key);
    KeInitializeEvent(&Us.stop, NotificationEvent, FALSE);
    KeInitializeEvent(&Things.go, NotificationEvent, FALSE);
    KeInitializeEvent(&Things.gone, NotificationEvent, FALSE);
    KeInitializeMutex(&Things.mutex, 0);
    ExInitializeFastMutex(&Things.fast);
    driver->DriverUnload = Unload;
    status = WskRegister(&npi, &Us.registration);
    if (!NT_SUCCESS(status))
        return status;
    status = Begin();
#ifndef FORGETS_WHEN_SHORT
    if (!NT_SUCCESS(status))
        WskDeregister(&Us.registration);
#endif
    return status;
}
