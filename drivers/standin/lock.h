/*
 * A lock that sleeps and a condition to wait on, both on Linux futexes.
 *
 * No spin lock: the guest has one processor, and a spinning waiter would keep the owner from running. No lock of Wine's: the
 * native build has none. The lock is the three-state one of Ulrich Drepper, "Futexes Are Tricky" (2011), section 5.
 */
#ifndef STANDIN_LOCK_H
#define STANDIN_LOCK_H

#include "os.h"

struct lock {
    int state; /* 0 free, 1 held, 2 held and somebody may be waiting */
};

/* Counts the broadcasts, so that one between unlocking and sleeping is not lost. */
struct condition {
    int broadcasts;
};

static inline void lock_acquire(struct lock *lock)
{
    int expected = 0;

    if (__atomic_compare_exchange_n(&lock->state, &expected, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(&lock->state, 2, __ATOMIC_ACQUIRE) != 0)
        os_futex_wait(&lock->state, 2, -1);
}

static inline void lock_release(struct lock *lock)
{
    if (__atomic_exchange_n(&lock->state, 0, __ATOMIC_RELEASE) == 2)
        os_futex_wake(&lock->state, 1);
}

/* May return without a broadcast: wait in a loop. `timeout_ms` < 0: no limit. */
static inline void condition_wait(struct condition *condition, struct lock *lock, int timeout_ms)
{
    int seen = __atomic_load_n(&condition->broadcasts, __ATOMIC_RELAXED);

    lock_release(lock);
    os_futex_wait(&condition->broadcasts, seen, timeout_ms);
    lock_acquire(lock);
}

static inline void condition_broadcast(struct condition *condition)
{
    __atomic_add_fetch(&condition->broadcasts, 1, __ATOMIC_RELEASE);
    os_futex_wake(&condition->broadcasts, 0x7fffffff);
}

#endif
