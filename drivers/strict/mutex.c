/*
 * Mutexes: the kernel's own, which Wine 8.0 never gives to a second thread, and fast mutexes.
 *
 * What is known of a KMUTEX is kept in its list entry, which only the kernel uses. A wait for several objects of which one is a mutex is
 * Wine's, and hangs where the mutex is held.
 */
#include "strict.h"

enum { MUTEX_TYPE = 2 /* MutantObject */ };

struct mutex {
    int state; /* 0 free, 1 held */
    int owner; /* the thread */
    ULONG depth;
    ULONG unused;
};

static struct mutex *state_of(PKMUTEX mutex)
{
    _Static_assert(sizeof(struct mutex) <= sizeof mutex->MutantListEntry, "the room for it");
    return (struct mutex *)(void *)&mutex->MutantListEntry;
}

bool mutex_is(const void *object)
{
    return ((const KMUTEX *)object)->Header.Type == MUTEX_TYPE;
}

void mutex_initialize(PKMUTEX mutex)
{
    RtlZeroMemory(mutex, sizeof *mutex);
    mutex->Header.Type = MUTEX_TYPE;
    mutex->Header.SignalState = 1;
    order_forget(mutex, sizeof *mutex);
}

/* In units of 100 ns, negative: from now on; as milliseconds, -1 for ever. An absolute time is taken for long. */
static int milliseconds(const LARGE_INTEGER *timeout)
{
    if (!timeout)
        return -1;
    if (timeout->QuadPart > 0)
        return 60000;
    return (int)(-timeout->QuadPart / 10000 > 0x7fffffff ? 0x7fffffff : -timeout->QuadPart / 10000);
}

NTSTATUS mutex_wait(const struct site *site, PKMUTEX mutex, const LARGE_INTEGER *timeout)
{
    struct mutex *state = state_of(mutex);
    int limit = milliseconds(timeout);
    ULONGLONG until = os_milliseconds() + (ULONGLONG)(limit < 0 ? 0 : limit);

    if (__atomic_load_n(&state->state, __ATOMIC_ACQUIRE) && state->owner == os_thread_id()) {
        state->depth++;
        return STATUS_SUCCESS;
    }
    order_before(site, mutex);
    while (__atomic_exchange_n(&state->state, 1, __ATOMIC_ACQUIRE)) {
        LONGLONG left = (LONGLONG)(until - os_milliseconds());

        if (limit >= 0 && left <= 0)
            return STATUS_TIMEOUT;
        os_futex_wait(&state->state, 1, limit < 0 ? 1000 : (int)left);
    }
    state->owner = os_thread_id();
    state->depth = 1;
    mutex->Header.SignalState = 0;
    os_thread_word()->mutexes++;
    order_taken(mutex);
    return STATUS_SUCCESS;
}

LONG mutex_release(const struct site *site, PKMUTEX mutex)
{
    struct mutex *state = state_of(mutex);

    if (!__atomic_load_n(&state->state, __ATOMIC_ACQUIRE))
        STOP(site, CHECK_VERIFIER, 0x1007, mutex, 0, 0, "releases a mutex that is not held");
    if (state->owner != os_thread_id())
        STOP(site, CHECK_VERIFIER, 0x1004, mutex, state->owner, os_thread_id(), "releases a mutex of another thread");
    if (--state->depth)
        return -(LONG)state->depth;
    order_released(mutex);
    os_thread_word()->mutexes--;
    state->owner = 0;
    mutex->Header.SignalState = 1;
    __atomic_store_n(&state->state, 0, __ATOMIC_RELEASE);
    os_futex_wake(&state->state, 1);
    return 0;
}

/* A thread that ends, or a callback that returns, holds none. */
void mutex_check_none(const struct site *site)
{
    if (os_thread_word()->mutexes || spin_held())
        STOP(site, CHECK_VERIFIER, 0x100A, os_thread_id(), 0, 0, "ends a thread that holds a mutex or a spin lock");
}

#if !defined(WSKLAB_NATIVE)

static VOID NTAPI initialize(PRKMUTEX mutex, ULONG level)
{
    (void)level;
    resident_check(&SITE("KeInitializeMutex"), mutex);
    mutex_initialize(mutex);
}

static LONG NTAPI release(PRKMUTEX mutex, BOOLEAN wait)
{
    const struct site site = SITE("KeReleaseMutex");

    (void)wait;
    irql_rule_of(&site);
    return mutex_release(&site, mutex);
}

static LONG NTAPI read_state(PRKMUTEX mutex)
{
    return mutex->Header.SignalState;
}

/* ---- Fast mutexes: Wine's, with the IRQL and the order ------------------------------------------------------------------------------ */

static VOID FASTCALL acquire_fast(PFAST_MUTEX mutex)
{
    const struct site site = SITE("ExAcquireFastMutex");
    KIRQL before = irql_now();

    irql_rule_of(&site);
    order_before(&site, mutex);
    ExAcquireFastMutex(mutex);
    order_taken(mutex);
    os_thread_word()->mutexes++;
    mutex->OldIrql = before;
    irql_set(APC_LEVEL);
}

static VOID FASTCALL release_fast(PFAST_MUTEX mutex)
{
    const struct site site = SITE("ExReleaseFastMutex");
    KIRQL before = (KIRQL)mutex->OldIrql;

    if (irql_now() != APC_LEVEL)
        STOP(&site, CHECK_VERIFIER, 0x34, irql_now(), mutex, 0, "releases a fast mutex at %s", irql_name(irql_now()));
    order_released(mutex);
    os_thread_word()->mutexes--;
    ExReleaseFastMutex(mutex);
    irql_set(before);
}

static NTSTATUS NTAPI end_thread(NTSTATUS status)
{
    const struct site site = SITE("PsTerminateSystemThread");

    irql_rule_of(&site);
    mutex_check_none(&site);
    return PsTerminateSystemThread(status);
}

const struct replacement mutex_replacements[] = {
    {"KeInitializeMutex", initialize},
    {"KeReleaseMutex", release},
    {"KeReadStateMutex", read_state},
    {"ExAcquireFastMutex", acquire_fast},
    {"ExReleaseFastMutex", release_fast},
    {"PsTerminateSystemThread", end_thread},
    {NULL, NULL},
};

#endif
