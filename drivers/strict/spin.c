/*
 * Spin locks, with an owner and an IRQL. A waiter sleeps instead of spinning, as the guest has one processor.
 *
 * The word of a lock is used as a lock of lock.h, so that one which the driver has zeroed itself, as drivers built for Windows 7 do
 * inline, is as good as an initialized one. Who holds what is kept beside it.
 */
#include "strict.h"

enum { HELD_MOST = 256 };

/* The locks held now, by anybody. */
static struct {
    struct lock lock;
    struct held {
        PKSPIN_LOCK lock;
        int thread;
        enum spin_kind kind;
    } held[HELD_MOST];
    ULONG count;
} table;

/* With table.lock held. */
static struct held *find(PKSPIN_LOCK lock)
{
    for (ULONG i = 0; i < table.count; i++)
        if (table.held[i].lock == lock)
            return &table.held[i];
    return NULL;
}

/* The record of a lock as it is at this moment; its lock is NULL when nobody holds it. */
static struct held look(PKSPIN_LOCK lock)
{
    struct held found = {0}, *held;

    lock_acquire(&table.lock);
    held = find(lock);
    if (held)
        found = *held;
    lock_release(&table.lock);
    return found;
}

static void note(PKSPIN_LOCK lock, enum spin_kind kind)
{
    lock_acquire(&table.lock);
    if (table.count < HELD_MOST)
        table.held[table.count++] = (struct held){lock, os_thread_id(), kind};
    lock_release(&table.lock);
}

static void forget(PKSPIN_LOCK lock)
{
    struct held *held;

    lock_acquire(&table.lock);
    held = find(lock);
    if (held)
        *held = table.held[--table.count];
    lock_release(&table.lock);
}

bool spin_held_in(const void *from, SIZE_T size)
{
    bool found = false;

    lock_acquire(&table.lock);
    for (ULONG i = 0; i < table.count; i++)
        found |= (ULONG_PTR)table.held[i].lock - (ULONG_PTR)from < size;
    lock_release(&table.lock);
    return found;
}

ULONG spin_held(void)
{
    return os_thread_word()->locks;
}

KIRQL spin_acquire(const struct site *site, PKSPIN_LOCK lock, enum spin_kind kind, bool raise)
{
    KIRQL before = irql_now();
    struct held held = look(lock);

    if (raise && before > DISPATCH_LEVEL)
        STOP(site, CHECK_VERIFIER, 0x42, before, lock, 0, "takes a spin lock at IRQL %u", before);
    if (!raise && before < DISPATCH_LEVEL)
        STOP(site, CHECK_VERIFIER, 0x40, before, lock, 0, "takes a spin lock at %s", irql_name(before));
    if (held.lock && held.thread == os_thread_id())
        STOP(site, CHECK_SPIN_LOCK_ALREADY_OWNED, lock, 0, 0, 0, "takes a spin lock that this thread holds already");
    if (held.lock && held.kind != kind)
        STOP(site, CHECK_VERIFIER, 0x1008, lock, 0, 0,
             "takes a lock as queued that is held as ordinary, or the reverse");
    stack_check(site);
    promise_check(site);
    order_before(site, lock);
    irql_set(DISPATCH_LEVEL);
    lock_acquire((struct lock *)lock);
    order_taken(lock);
    os_thread_word()->locks++;
    note(lock, kind);
    return before;
}

void spin_release(const struct site *site, PKSPIN_LOCK lock, enum spin_kind kind, bool lower, KIRQL irql)
{
    KIRQL now = irql_now();
    struct held held = look(lock);

    if (!held.lock)
        STOP(site, CHECK_SPIN_LOCK_NOT_OWNED, lock, 0, 0, 0, "releases a spin lock that is not held");
    if (held.thread != os_thread_id())
        STOP(site, CHECK_VERIFIER, 0x1004, lock, held.thread, os_thread_id(), "releases a spin lock of another thread");
    if (held.kind != kind)
        STOP(site, CHECK_VERIFIER, 0x1009, lock, 0, 0, "releases as ordinary what was taken as queued, or the reverse");
    if (now != DISPATCH_LEVEL)
        STOP(site, CHECK_VERIFIER, lower ? 0x32 : 0x41, now, lock, 0, "releases a spin lock at %s", irql_name(now));
    if (lower && irql > DISPATCH_LEVEL)
        STOP(site, CHECK_VERIFIER, 0x31, now, irql, 0, "releases a spin lock to IRQL %u, which it never had", irql);
    forget(lock);
    order_released(lock);
    os_thread_word()->locks--;
    lock_release((struct lock *)lock);
    if (lower)
        irql_lower(site, irql);
}

#if !defined(WSKLAB_NATIVE)

static void NTAPI initialize(PKSPIN_LOCK lock)
{
    const struct site site = SITE("KeInitializeSpinLock");

    resident_check(&site, lock);
    if (look(lock).lock)
        STOP(&site, CHECK_VERIFIER, 0x1005, lock, 0, 0, "initializes a spin lock that is held");
    order_forget(lock, sizeof *lock);
    *lock = 0;
}

static KIRQL NTAPI acquire(PKSPIN_LOCK lock)
{
    return spin_acquire(&SITE("KeAcquireSpinLock"), lock, SPIN_ORDINARY, true);
}

static void NTAPI acquire_classic(PKSPIN_LOCK lock, PKIRQL irql)
{
    *irql = spin_acquire(&SITE("KeAcquireSpinLock"), lock, SPIN_ORDINARY, true);
}

static void NTAPI release(PKSPIN_LOCK lock, KIRQL irql)
{
    spin_release(&SITE("KeReleaseSpinLock"), lock, SPIN_ORDINARY, true, irql);
}

static void NTAPI acquire_at_dispatch(PKSPIN_LOCK lock)
{
    (void)spin_acquire(&SITE("KeAcquireSpinLockAtDpcLevel"), lock, SPIN_ORDINARY, false);
}

static void NTAPI release_at_dispatch(PKSPIN_LOCK lock)
{
    spin_release(&SITE("KeReleaseSpinLockFromDpcLevel"), lock, SPIN_ORDINARY, false, 0);
}

static void NTAPI acquire_queued(PKSPIN_LOCK lock, PKLOCK_QUEUE_HANDLE handle)
{
    handle->OldIrql = spin_acquire(&SITE("KeAcquireInStackQueuedSpinLock"), lock, SPIN_QUEUED, true);
    handle->LockQueue.Lock = lock;
}

static void NTAPI release_queued(PKLOCK_QUEUE_HANDLE handle)
{
    spin_release(&SITE("KeReleaseInStackQueuedSpinLock"), (PKSPIN_LOCK)handle->LockQueue.Lock, SPIN_QUEUED, true,
                 handle->OldIrql);
}

static void NTAPI acquire_queued_at_dispatch(PKSPIN_LOCK lock, PKLOCK_QUEUE_HANDLE handle)
{
    (void)spin_acquire(&SITE("KeAcquireInStackQueuedSpinLockAtDpcLevel"), lock, SPIN_QUEUED, false);
    handle->LockQueue.Lock = lock;
}

static void NTAPI release_queued_at_dispatch(PKLOCK_QUEUE_HANDLE handle)
{
    spin_release(&SITE("KeReleaseInStackQueuedSpinLockFromDpcLevel"), (PKSPIN_LOCK)handle->LockQueue.Lock, SPIN_QUEUED,
                 false, 0);
}

static KIRQL NTAPI current(void)
{
    return irql_now();
}

static KIRQL NTAPI raise(KIRQL to)
{
    return irql_raise(&SITE("KeRaiseIrql"), to);
}

static KIRQL NTAPI raise_to_dispatch(void)
{
    return irql_raise(&SITE("KeRaiseIrqlToDpcLevel"), DISPATCH_LEVEL);
}

static void NTAPI lower(KIRQL to)
{
    irql_lower(&SITE("KeLowerIrql"), to);
}

const struct replacement spin_replacements[] = {
    {"KeInitializeSpinLock", initialize},
    {"KeAcquireSpinLock", acquire_classic},
    {"KeAcquireSpinLockRaiseToDpc", acquire},
    {"KeReleaseSpinLock", release},
    {"KeAcquireSpinLockAtDpcLevel", acquire_at_dispatch},
    {"KefAcquireSpinLockAtDpcLevel", acquire_at_dispatch},
    {"KeReleaseSpinLockFromDpcLevel", release_at_dispatch},
    {"KefReleaseSpinLockFromDpcLevel", release_at_dispatch},
    {"KeAcquireInStackQueuedSpinLock", acquire_queued},
    {"KeReleaseInStackQueuedSpinLock", release_queued},
    {"KeAcquireInStackQueuedSpinLockAtDpcLevel", acquire_queued_at_dispatch},
    {"KeReleaseInStackQueuedSpinLockFromDpcLevel", release_queued_at_dispatch},
    {"KeGetCurrentIrql", current},
    {"KfRaiseIrql", raise},
    {"KeRaiseIrqlToDpcLevel", raise_to_dispatch},
    {"KeLowerIrql", lower},
    {"KfLowerIrql", lower},
    {NULL, NULL},
};

#endif
