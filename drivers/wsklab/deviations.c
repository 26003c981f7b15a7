/*
 * deviations.c - what wrong builds do in WskDisconnectEvent against the rules of the kernel, not of WSK: see drivers/twins.yaml.
 *
 * Wine forgives all of it; the stand-in's strict mode does not, nor does Windows with Driver Verifier. And when a twin
 * goes wrong that does not always.
 */
#include "deviations.h"

#include "account.h"

#define OTHER_TAG 0x65736c45u /* "Else" */

#ifdef WSKLAB_NATIVE
#define raise_irql() ((void)0)
#define unlock_pages(mdl) ((void)(mdl))
#define misuse_objects(connection) ((void)(connection))
#else
#define unlock_pages(mdl) MmUnlockPages(mdl)
#define raise_irql() ((void)KfRaiseIrql(DISPATCH_LEVEL + 1)) /* also wrong where the callback is at DISPATCH_LEVEL */
#endif

static void wait_a_moment(void)
{
    LARGE_INTEGER moment = {.QuadPart = -10000};
    (void)KeWaitForSingleObject(&wsklab.clean, Executive, KernelMode, FALSE, &moment);
}

#ifndef WSKLAB_NATIVE

/* What lives in memory of the driver's and is the kernel's to use. */
typedef struct OBJECTS {
    KDPC dpc;
    KTIMER timer;
    KMUTEX mutex;
    NPAGED_LOOKASIDE_LIST list;
} OBJECTS;

static VOID NTAPI on_dpc(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    UNREFERENCED_PARAMETER(dpc);
    UNREFERENCED_PARAMETER(context);
    UNREFERENCED_PARAMETER(first);
    UNREFERENCED_PARAMETER(second);
    if (TWIN(WAITS_IN_DPC))
        wait_a_moment();
}

static void misuse_objects(CONNECTION *connection)
{
    OBJECTS *objects = ExAllocatePoolWithTag(NonPagedPool, sizeof *objects, WSKLAB_TAG);
    LARGE_INTEGER later = {.QuadPart = -600000000};
    UNREFERENCED_PARAMETER(connection);
    if (!objects)
        return;
    KeInitializeDpc(&objects->dpc, on_dpc, NULL);
    KeInitializeTimerEx(&objects->timer, NotificationTimer);
    KeInitializeMutex(&objects->mutex, 0);
    ExInitializeNPagedLookasideList(&objects->list, NULL, NULL, 0, 48, WSKLAB_TAG, 0);
    if (TWIN(READS_FREED_ENTRY)) {
        volatile UCHAR *entry = ExAllocateFromNPagedLookasideList(&objects->list);
        if (entry) {
            ExFreeToNPagedLookasideList(&objects->list, (PVOID)(ULONG_PTR)entry);
            (void)entry[0];
        }
    }
    if (TWIN(RELEASES_FREE_MUTEX))
        (void)KeReleaseMutex(&objects->mutex, FALSE);
    if (TWIN(FREES_TIMER))
        (void)KeSetTimer(&objects->timer, later, &objects->dpc);
    if (TWIN(FREES_QUEUED_DPC) || TWIN(WAITS_IN_DPC))
        (void)KeInsertQueueDpc(&objects->dpc, NULL, NULL);
    if (TWIN(WAITS_IN_DPC))
        return; /* which lives until it has run, and is leaked here */
    if (!TWIN(KEEPS_LOOKASIDE))
        ExDeleteNPagedLookasideList(&objects->list);
    ExFreePoolWithTag(objects, WSKLAB_TAG);
}

#endif

/* Under the lock of the connection, so at DISPATCH_LEVEL. */
static void under_lock(CONNECTION *connection)
{
    KIRQL irql;
    KIRQL again;
    KeAcquireSpinLock(&connection->lock, &irql);
    if (TWIN(TAKES_LOCK_TWICE))
        KeAcquireSpinLock(&connection->lock, &again);
    if (TWIN(WAITS_UNDER_LOCK))
        wait_a_moment();
    if (TWIN(SLEEPS_UNDER_LOCK))
        sleep_ms(1);
    if (TWIN(CLOSES_HANDLE_UNDER_LOCK))
        (void)ZwClose(NULL);
    if (TWIN(PAGED_UNDER_LOCK))
        ExFreePoolWithTag(ExAllocatePoolWithTag(PagedPool, 16, WSKLAB_TAG), WSKLAB_TAG);
    if (!TWIN(KEEPS_LOCK))
        KeReleaseSpinLock(&connection->lock, irql);
}

static void misuse_pool(void)
{
    UCHAR *block = ExAllocatePoolWithTag(NonPagedPool, TWIN(WRITES_INTO_SLACK) ? 20 : 64, WSKLAB_TAG);
    volatile UCHAR *bytes = block;
    KIRQL irql;
    if (!block || TWIN(LEAKS_POOL))
        return;
    if (TWIN(WRITES_BEYOND))
        bytes[64] = 1;
    if (TWIN(WRITES_INTO_SLACK))
        bytes[20] = 1;
    if (TWIN(FREES_INSIDE))
        block += 16;
    if (TWIN(FREES_HELD_LOCK)) {
        KeInitializeSpinLock((PKSPIN_LOCK)block);
        KeAcquireSpinLock((PKSPIN_LOCK)block, &irql);
    }
    ExFreePoolWithTag(block, TWIN(FREES_BY_OTHER_TAG) ? OTHER_TAG : WSKLAB_TAG);
    if (TWIN(FREES_TWICE))
        ExFreePoolWithTag(block, WSKLAB_TAG);
    if (TWIN(READS_FREED))
        (void)bytes[0];
}

static void misuse_mdl(void)
{
    UCHAR *block = allocate(64);
    PMDL mdl = block ? IoAllocateMdl(block, 64, FALSE, FALSE, NULL) : NULL;
    if (!mdl)
        return;
    if (!TWIN(MAPS_UNBUILT))
        MmBuildMdlForNonPagedPool(mdl);
    if (TWIN(MAPS_UNBUILT))
        (void)MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority);
    if (TWIN(UNLOCKS_BUILT))
        unlock_pages(mdl);
    IoFreeMdl(mdl);
    if (TWIN(FREES_MDL_TWICE))
        IoFreeMdl(mdl);
    release_memory(block);
}

/* Two locks, in the one order and then in the other: one thread at a time, so that nothing happens. */
static void lock_both_ways(CONNECTION *connection)
{
    static KSPIN_LOCK other;
    KIRQL outer;
    KIRQL inner;
    KeAcquireSpinLock(&connection->lock, &outer);
    KeAcquireSpinLock(&other, &inner);
    KeReleaseSpinLock(&other, inner);
    KeReleaseSpinLock(&connection->lock, outer);
    KeAcquireSpinLock(&other, &outer);
    KeAcquireSpinLock(&connection->lock, &inner);
    KeReleaseSpinLock(&connection->lock, inner);
    KeReleaseSpinLock(&other, outer);
}

static void free_irp_as_pool(void)
{
    PIRP irp = IoAllocateIrp(1, FALSE);
    if (irp)
        ExFreePoolWithTag(irp, WSKLAB_TAG);
}

/* Returns what it was given, so that the compiler keeps each frame. */
static uint32_t dig(uint32_t depth)
{
    volatile UCHAR frame[900];
    frame[depth % sizeof frame] = 1;
    if (depth)
        return dig(depth - 1) + frame[depth % sizeof frame];
    KeSetEvent(&wsklab.clean, IO_NO_INCREMENT, FALSE);
    KeClearEvent(&wsklab.clean);
    return frame[0];
}

void deviate_strictly(CONNECTION *connection)
{
    if (TWIN(TAKES_LOCK_TWICE) || TWIN(WAITS_UNDER_LOCK) || TWIN(SLEEPS_UNDER_LOCK) || TWIN(CLOSES_HANDLE_UNDER_LOCK) ||
        TWIN(PAGED_UNDER_LOCK) || TWIN(KEEPS_LOCK))
        under_lock(connection);
    if (TWIN(RELEASES_FREE_LOCK))
        KeReleaseSpinLock(&connection->lock, PASSIVE_LEVEL);
    if (TWIN(KEEPS_IRQL))
        raise_irql();
    if (TWIN(WAITS_IN_EVENT))
        wait_a_moment();
    if (TWIN(READS_FREED) || TWIN(WRITES_BEYOND) || TWIN(WRITES_INTO_SLACK) || TWIN(FREES_TWICE) ||
        TWIN(FREES_INSIDE) || TWIN(FREES_BY_OTHER_TAG) || TWIN(LEAKS_POOL) || TWIN(FREES_HELD_LOCK))
        misuse_pool();
    if (TWIN(MAPS_UNBUILT) || TWIN(UNLOCKS_BUILT) || TWIN(FREES_MDL_TWICE))
        misuse_mdl();
    if (TWIN(TAKES_LOCKS_BOTH_WAYS))
        lock_both_ways(connection);
    if (TWIN(FREES_IRP_AS_POOL))
        free_irp_as_pool();
    if (TWIN(DIGS_DEEP))
        (void)dig(40);
    if (TWIN(WAITS_IN_DPC) || TWIN(FREES_TIMER) || TWIN(FREES_QUEUED_DPC) || TWIN(KEEPS_LOOKASIDE) ||
        TWIN(READS_FREED_ENTRY) || TWIN(RELEASES_FREE_MUTEX))
        misuse_objects(connection);
}

BOOLEAN race_lost(void)
{
    LARGE_INTEGER frequency;
    uint64_t count = (uint64_t)KeQueryPerformanceCounter(&frequency).QuadPart;
    return count / 8 % 20 == 0;
}
