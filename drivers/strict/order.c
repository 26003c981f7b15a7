/*
 * The order in which locks are taken, over all threads and for the whole run: spin locks, mutexes and fast mutexes. Two that are taken
 * in one order here and in the other there may lock up; that is a stop although it did not happen this time.
 *
 * A lock is known by its address until it is initialized anew or its memory is freed. Locks on a stack are nobody else's.
 */
#include "strict.h"

enum { EDGES = 2048, HELD = 64, NODES = 256 };

/* `second` was taken with `first` held. */
struct edge {
    const void *first, *second;
    const void *caller;
};

static struct {
    struct lock lock;
    struct edge edges[EDGES];
    ULONG count;
    struct {
        const void *lock;
        int thread;
    } held[HELD];
    ULONG holding;
} order;

/* With order.lock held. The edge by which `to` was reached from `from`, over any number of locks; NULL: it is not. */
static const struct edge *path(const void *from, const void *to)
{
    static const void *reached[NODES];
    ULONG count = 1;

    reached[0] = from;
    for (ULONG at = 0; at < count; at++)
        for (ULONG i = 0; i < order.count; i++) {
            bool known = false;

            if (order.edges[i].first != reached[at])
                continue;
            if (order.edges[i].second == to)
                return &order.edges[i];
            for (ULONG j = 0; j < count && !known; j++)
                known = reached[j] == order.edges[i].second;
            if (!known && count < NODES)
                reached[count++] = order.edges[i].second;
        }
    return NULL;
}

static bool known(const void *first, const void *second)
{
    for (ULONG i = 0; i < order.count; i++)
        if (order.edges[i].first == first && order.edges[i].second == second)
            return true;
    return false;
}

void order_before(const struct site *site, const void *lock)
{
    const struct edge *other = NULL;
    const void *held = NULL, *before = NULL;
    char place[64];

    if (os_on_stack(lock))
        return;
    lock_acquire(&order.lock);
    for (ULONG i = 0; i < order.holding && !other; i++) {
        if (order.held[i].thread != os_thread_id() || order.held[i].lock == lock)
            continue;
        held = order.held[i].lock;
        if (known(held, lock))
            continue;
        other = path(lock, held);
        if (!other && order.count < EDGES)
            order.edges[order.count++] = (struct edge){held, lock, site->caller};
    }
    before = other ? other->caller : NULL;
    lock_release(&order.lock);
    if (!other)
        return;
    strict_place(before, place, sizeof place);
    STOP(site, CHECK_VERIFIER, 0x1001, lock, held, before,
         "takes a lock with another held that elsewhere is taken behind it (%s): two threads would wait for each other",
         place[0] ? place : "a place unknown");
}

void order_taken(const void *lock)
{
    lock_acquire(&order.lock);
    if (order.holding < HELD && !os_on_stack(lock)) {
        order.held[order.holding].lock = lock;
        order.held[order.holding++].thread = os_thread_id();
    }
    lock_release(&order.lock);
}

void order_released(const void *lock)
{
    lock_acquire(&order.lock);
    for (ULONG i = 0; i < order.holding; i++)
        if (order.held[i].lock == lock && order.held[i].thread == os_thread_id()) {
            order.held[i] = order.held[--order.holding];
            break;
        }
    lock_release(&order.lock);
}

void order_forget(const void *from, SIZE_T size)
{
    lock_acquire(&order.lock);
    for (ULONG i = 0; i < order.count;) {
        const struct edge *edge = &order.edges[i];

        if ((ULONG_PTR)edge->first - (ULONG_PTR)from < size || (ULONG_PTR)edge->second - (ULONG_PTR)from < size)
            order.edges[i] = order.edges[--order.count];
        else
            i++;
    }
    lock_release(&order.lock);
}
