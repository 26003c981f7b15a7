/* Spin locks, the IRQL that they raise, and mutexes. */
#include "breaker.h"

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

void Start(PKSTART_ROUTINE routine)
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

VOID NTAPI HoldMutex(PVOID unused)
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
