/* Spin locks, pool, MDLs and IRPs; see ntshim.h. */
#define _GNU_SOURCE
#include "ntshim.h"

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

shim_counts shim_alive;

shim_counts shim_count(void)
{
    shim_counts now;

    now.pool = __atomic_load_n(&shim_alive.pool, __ATOMIC_SEQ_CST);
    now.irps = __atomic_load_n(&shim_alive.irps, __ATOMIC_SEQ_CST);
    now.mdls = __atomic_load_n(&shim_alive.mdls, __ATOMIC_SEQ_CST);
    now.threads = __atomic_load_n(&shim_alive.threads, __ATOMIC_SEQ_CST);
    return now;
}

/* ---- Spin locks: a word, and a wait that yields ---------------------------------------------------------------------------------- */

void KeInitializeSpinLock(PKSPIN_LOCK lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

void KeAcquireSpinLock(PKSPIN_LOCK lock, PKIRQL irql)
{
    *irql = PASSIVE_LEVEL;
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
        sched_yield();
}

void KeReleaseSpinLock(PKSPIN_LOCK lock, KIRQL irql)
{
    (void)irql;
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

void KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK lock, PKLOCK_QUEUE_HANDLE handle)
{
    KIRQL irql;

    handle->Lock = lock;
    KeAcquireSpinLock(lock, &irql);
}

void KeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE handle)
{
    KeReleaseSpinLock(handle->Lock, PASSIVE_LEVEL);
}

/* ---- Pool and MDLs ------------------------------------------------------------------------------------------------------------------ */

PVOID ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T size, ULONG tag)
{
    PVOID block = malloc(size ? size : 1);

    (void)type, (void)tag;
    if (block) {
        memset(block, 0xcd, size); /* pool comes uncleared: whoever relies on zeroes is found here */
        InterlockedIncrement(&shim_alive.pool);
    }
    return block;
}

void ExFreePoolWithTag(PVOID block, ULONG tag)
{
    (void)tag;
    InterlockedDecrement(&shim_alive.pool);
    free(block);
}

PMDL IoAllocateMdl(PVOID address, ULONG length, BOOLEAN secondary, BOOLEAN charge, PIRP irp)
{
    PMDL mdl = calloc(1, sizeof *mdl);

    (void)secondary, (void)charge, (void)irp;
    if (!mdl)
        return NULL;
    InterlockedIncrement(&shim_alive.mdls);
    mdl->Size = sizeof *mdl;
    mdl->ByteOffset = (ULONG)((ULONG_PTR)address & 0xfff);
    mdl->StartVa = (PCHAR)address - mdl->ByteOffset;
    mdl->ByteCount = length;
    return mdl;
}

void MmBuildMdlForNonPagedPool(PMDL mdl)
{
    mdl->MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
    mdl->MappedSystemVa = MmGetMdlVirtualAddress(mdl);
}

void IoFreeMdl(PMDL mdl)
{
    InterlockedDecrement(&shim_alive.mdls);
    free(mdl);
}

/* ---- IRPs ------------------------------------------------------------------------------------------------------------------------------ */

static KSPIN_LOCK cancel_lock;

static void irp_setup(PIRP irp, CHAR stack_size)
{
    memset(irp, 0, sizeof *irp + (size_t)stack_size * sizeof irp->Stack[0]);
    irp->StackCount = stack_size;
    irp->CurrentLocation = (CHAR)(stack_size + 1);
    irp->Tail.Overlay.CurrentStackLocation = irp->Stack + stack_size;
}

PIRP IoAllocateIrp(CCHAR stack_size, BOOLEAN charge_quota)
{
    /* One location more than asked: IoCancelIrp of an idle IRP may look at the one behind the last. */
    PIRP irp = malloc(sizeof *irp + ((size_t)stack_size + 1) * sizeof irp->Stack[0]);

    (void)charge_quota;
    if (!irp)
        return NULL;
    irp_setup(irp, stack_size);
    InterlockedIncrement(&shim_alive.irps);
    return irp;
}

void IoReuseIrp(PIRP irp, NTSTATUS status)
{
    irp_setup(irp, irp->StackCount);
    irp->IoStatus.Status = status;
}

void IoFreeIrp(PIRP irp)
{
    InterlockedDecrement(&shim_alive.irps);
    free(irp);
}

void IoAcquireCancelSpinLock(PKIRQL irql)
{
    KeAcquireSpinLock(&cancel_lock, irql);
}

void IoReleaseCancelSpinLock(KIRQL irql)
{
    KeReleaseSpinLock(&cancel_lock, irql);
}

BOOLEAN IoCancelIrp(PIRP irp)
{
    PDRIVER_CANCEL routine;
    KIRQL irql;

    IoAcquireCancelSpinLock(&irql);
    __atomic_store_n(&irp->Cancel, TRUE, __ATOMIC_RELEASE);
    routine = IoSetCancelRoutine(irp, NULL);
    if (!routine) {
        IoReleaseCancelSpinLock(irql);
        return FALSE;
    }
    irp->CancelIrql = irql;
    routine(NULL, irp); /* releases the cancel lock */
    return TRUE;
}

void IoCompleteRequest(PIRP irp, CCHAR boost)
{
    (void)boost;
    while (irp->CurrentLocation <= irp->StackCount) {
        PIO_STACK_LOCATION at = IoGetCurrentIrpStackLocation(irp);
        UCHAR wanted = NT_SUCCESS(irp->IoStatus.Status) ? SL_INVOKE_ON_SUCCESS : SL_INVOKE_ON_ERROR;

        irp->PendingReturned = (at->Control & SL_PENDING_RETURNED) != 0;
        if (__atomic_load_n(&irp->Cancel, __ATOMIC_ACQUIRE))
            wanted |= SL_INVOKE_ON_CANCEL;
        irp->CurrentLocation++;
        irp->Tail.Overlay.CurrentStackLocation++;
        if (at->CompletionRoutine && (at->Control & wanted) &&
            at->CompletionRoutine(NULL, irp, at->Context) == STATUS_MORE_PROCESSING_REQUIRED)
            return;
    }
    if (irp->UserIosb)
        *irp->UserIosb = irp->IoStatus;
    if (irp->UserEvent)
        KeSetEvent(irp->UserEvent, IO_NO_INCREMENT, FALSE);
    IoFreeIrp(irp);
}
