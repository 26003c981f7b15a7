/* The engine: the one thread that waits for sockets and requests, and has all the work done by what provider.up names. */
#include "standin.h"

struct provider provider;

#if !defined(WSKLAB_NATIVE)
NTSYSAPI NTSTATUS NTAPI ZwWaitForSingleObject(HANDLE handle, BOOLEAN alertable,
                                              PLARGE_INTEGER timeout); /* only in ntifs.h */
#endif

static void move_list(LIST_ENTRY *to, LIST_ENTRY *from)
{
    InitializeListHead(to);
    while (!IsListEmpty(from))
        InsertTailList(to, RemoveHeadList(from));
}

/* Takes everything that waits; returns false when there was nothing. */
static bool read_inbox(void)
{
    LIST_ENTRY requests, cancelled;

    /* Both lists at one moment: what is in `cancelled` has then been handled before, or is handled in this round. */
    lock_acquire(&provider.lock);
    move_list(&requests, &provider.inbox);
    move_list(&cancelled, &provider.cancelled);
    lock_release(&provider.lock);
    if (IsListEmpty(&requests) && IsListEmpty(&cancelled))
        return false;

    while (!IsListEmpty(&requests)) {
        struct request *request = CONTAINING_RECORD(RemoveHeadList(&requests), struct request, link);
        struct inline_call *waiter = request->waiter;

        InitializeListHead(&request->link);
        provider.up->handle[request->operation](request);
        if (waiter)
            provider.up->pended(waiter, request);
    }
    for (;;) {
        struct request *request = NULL;

        /* Under the lock, because a request that is finished leaves this list too. */
        lock_acquire(&provider.lock);
        if (!IsListEmpty(&cancelled)) {
            request = CONTAINING_RECORD(RemoveHeadList(&cancelled), struct request, cancelled);
            InitializeListHead(&request->cancelled);
        }
        lock_release(&provider.lock);
        if (!request)
            return true;
        provider.up->cancel(request);
    }
}

static bool stopping(void)
{
    bool stop;

    lock_acquire(&provider.lock);
    stop = provider.stop;
    lock_release(&provider.lock);
    return stop;
}

static VOID NTAPI engine_main(PVOID context)
{
    enum { BATCH = 64 };
    os_ready ready[BATCH];

    (void)context;
    lock_acquire(&provider.lock);
    provider.engine_thread = os_thread_id();
    lock_release(&provider.lock);
    while (!stopping()) {
        int count = os_epoll_wait(provider.epoll, ready, BATCH);

        for (int i = 0; i < count; i++) {
            struct watch *watch = ready[i].data;

            if (watch)
                watch->ready(watch, ready[i].events);
            else
                os_wake_clear(provider.wake);
        }
        while (read_inbox())
            ;
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

bool in_engine(void)
{
    bool same;

    lock_acquire(&provider.lock);
    same = provider.engine && provider.engine_thread == os_thread_id();
    lock_release(&provider.lock);
    return same;
}

void engine_wake(void)
{
    os_wake_set(provider.wake);
}

NTSTATUS engine_start(const struct upcalls *up)
{
    NTSTATUS status;

    provider.up = up;
    InitializeListHead(&provider.clients);
    InitializeListHead(&provider.inbox);
    InitializeListHead(&provider.cancelled);
    InitializeListHead(&provider.graveyard);
    for (ULONG i = 0; i < IN_FLIGHT_BUCKETS; i++)
        InitializeListHead(&provider.in_flight[i]);
    provider.stop = false;
    provider.buried = 0;
    provider.engine_thread = 0;
    os_raise_file_limit();
    provider.epoll = os_epoll_create();
    provider.wake = os_wake_create(provider.epoll, NULL);
    if (provider.epoll < 0 || provider.wake < 0)
        return STATUS_INSUFFICIENT_RESOURCES;
    status = PsCreateSystemThread(&provider.engine, THREAD_ALL_ACCESS, NULL, NULL, NULL, engine_main, NULL);
    if (!NT_SUCCESS(status)) {
        provider.engine = NULL;
        os_close(provider.epoll);
        os_close(provider.wake);
    }
    return status;
}

void engine_stop(void)
{
    HANDLE engine = provider.engine;

    provider.stop = true;
    engine_wake();
    lock_release(&provider.lock);
    /* Its code goes away with the driver that imports it, so it has to be gone before. */
    ZwWaitForSingleObject(engine, FALSE, NULL);
    ZwClose(engine);
    lock_acquire(&provider.lock);
    os_close(provider.epoll);
    os_close(provider.wake);
    provider.engine = NULL;
    condition_broadcast(&provider.changed);
}
