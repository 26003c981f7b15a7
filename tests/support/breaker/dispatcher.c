/* DPCs, timers, lookaside lists, handles, waits and events. */
#include "breaker.h"

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
