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
#else
#define unlock_pages(mdl) MmUnlockPages(mdl)
#define raise_irql() ((void)KfRaiseIrql(DISPATCH_LEVEL + 1)) /* also wrong where the callback is at DISPATCH_LEVEL */
#endif

static void wait_a_moment(void)
{
    LARGE_INTEGER moment = {.QuadPart = -10000};
    (void)KeWaitForSingleObject(&wsklab.clean, Executive, KernelMode, FALSE, &moment);
}

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
}

BOOLEAN race_lost(void)
{
    LARGE_INTEGER frequency;
    uint64_t count = (uint64_t)KeQueryPerformanceCounter(&frequency).QuadPart;
    return count / 8 % 20 == 0;
}
