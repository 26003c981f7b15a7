/*
 * DPCs: Wine queues none, and calls those of timers at no IRQL. Here each runs in a thread of ntdll's pool, at a simulated DISPATCH_LEVEL.
 *
 * A DPC's routine is kept in its list entry, which only the kernel uses, and DpcData says whether it is queued; what Wine's timers find as
 * the routine is run_checked.
 */
#include "strict.h"

#define POSTED_TAG 0x74736f50 /* 'Post' */

static struct {
    struct lock lock;
    struct condition idle;
    ULONG posted; /* handed to the pool, and not back yet */
} dpcs;

static PKDEFERRED_ROUTINE *routine_of(PKDPC dpc)
{
    return (PKDEFERRED_ROUTINE *)(void *)&dpc->DpcListEntry;
}

/* The DPC may be gone, or queued again, once its routine has been called. */
static void NTAPI run_checked(PKDPC dpc, PVOID context, PVOID first, PVOID second)
{
    PKDEFERRED_ROUTINE routine = *routine_of(dpc);
    const struct site site = {"a DPC", (const void *)(ULONG_PTR)routine};
    KIRQL before = irql_now();
    bool begun;

    objects_fired(dpc);
    irql_set(DISPATCH_LEVEL);
    begun = stack_begin();
    routine(dpc, context, first, second);
    stack_end(begun);
    if (spin_held())
        STOP(&site, CHECK_IRQL_UNEXPECTED, (ULONG_PTR)irql_now() << 16 | DISPATCH_LEVEL << 8, routine, 0, 0,
             "returns with a spin lock held");
    if (irql_now() != DISPATCH_LEVEL)
        STOP(&site, CHECK_IRQL_UNEXPECTED, (ULONG_PTR)irql_now() << 16 | DISPATCH_LEVEL << 8, routine, 0, 0,
             "returns at IRQL %u, and was called at 2", irql_now());
    irql_set(before);
}

void dpc_initialize(PKDPC dpc, PKDEFERRED_ROUTINE routine, PVOID context)
{
    RtlZeroMemory(dpc, sizeof *dpc);
    dpc->Type = 0x13; /* DpcObject */
    *routine_of(dpc) = routine;
    dpc->DeferredRoutine = run_checked;
    dpc->DeferredContext = context;
}

static bool take(PKDPC dpc)
{
    PVOID queued = dpc;

    return __atomic_compare_exchange_n((PVOID *)(ULONG_PTR)&dpc->DpcData, &queued, NULL, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

static VOID NTAPI run_posted(PVOID context)
{
    PKDPC dpc = context;

    /* Removed before it could run, its memory may be gone: what is asked first is the table. */
    if (object_unused(OBJECT_DPC, dpc) && take(dpc))
        run_checked(dpc, dpc->DeferredContext, dpc->SystemArgument1, dpc->SystemArgument2);
    lock_acquire(&dpcs.lock);
    dpcs.posted--;
    condition_broadcast(&dpcs.idle);
    lock_release(&dpcs.lock);
}

BOOLEAN dpc_insert(PKDPC dpc, PVOID first, PVOID second)
{
    PVOID none = NULL;

    if (!__atomic_compare_exchange_n((PVOID *)(ULONG_PTR)&dpc->DpcData, &none, (PVOID)dpc, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED))
        return FALSE;
    dpc->SystemArgument1 = first;
    dpc->SystemArgument2 = second;
    object_used(OBJECT_DPC, dpc, (const void *)(ULONG_PTR)*routine_of(dpc), NULL);
    lock_acquire(&dpcs.lock);
    dpcs.posted++;
    lock_release(&dpcs.lock);
    if (!os_post(run_posted, dpc))
        run_posted(dpc); /* better here than never */
    return TRUE;
}

BOOLEAN dpc_remove(PKDPC dpc)
{
    if (!take(dpc))
        return FALSE;
    (void)object_unused(OBJECT_DPC, dpc);
    return TRUE;
}

void dpc_flush(void)
{
    lock_acquire(&dpcs.lock);
    while (dpcs.posted)
        condition_wait(&dpcs.idle, &dpcs.lock, -1);
    lock_release(&dpcs.lock);
}

/* What is to be called in another thread, which frees it. */
struct posted {
    VOID(NTAPI *routine)(PVOID context);
    PVOID context;
};

static void run_one(struct posted *given)
{
    struct posted posted = *given;

    ExFreePoolWithTag(given, POSTED_TAG);
    posted.routine(posted.context);
}

#if defined(WSKLAB_NATIVE)

static void *on_thread(void *given)
{
    run_one(given);
    return NULL;
}

static bool to_another_thread(struct posted *posted)
{
    pthread_t thread;

    return !pthread_create(&thread, NULL, on_thread, posted) && !pthread_detach(thread);
}

#else

/* Of ntdll, not in the driver headers. */
NTSYSAPI NTSTATUS NTAPI TpSimpleTryPost(VOID(NTAPI *callback)(PVOID instance, PVOID context), PVOID context,
                                        PVOID environment);

static VOID NTAPI on_pool(PVOID instance, PVOID given)
{
    (void)instance;
    run_one(given);
}

static bool to_another_thread(struct posted *posted)
{
    return NT_SUCCESS(TpSimpleTryPost(on_pool, posted, NULL));
}

#endif

bool os_post(VOID(NTAPI *routine)(PVOID context), PVOID context)
{
    struct posted *posted = ExAllocatePoolWithTag(NonPagedPool, sizeof *posted, POSTED_TAG);

    if (!posted)
        return false;
    *posted = (struct posted){routine, context};
    if (to_another_thread(posted))
        return true;
    ExFreePoolWithTag(posted, POSTED_TAG);
    return false;
}

#if !defined(WSKLAB_NATIVE)

static VOID NTAPI initialize(PRKDPC dpc, PKDEFERRED_ROUTINE routine, PVOID context)
{
    dpc_initialize(dpc, routine, context);
}

static BOOLEAN NTAPI insert(PRKDPC dpc, PVOID first, PVOID second)
{
    return dpc_insert(dpc, first, second);
}

static BOOLEAN NTAPI remove_queued(PRKDPC dpc)
{
    return dpc_remove(dpc);
}

static VOID NTAPI flush(VOID)
{
    irql_rule_of(&SITE("KeFlushQueuedDpcs"));
    dpc_flush();
}

/* ---- Timers are Wine's; which are set is known ---------------------------------------------------------------------------------------- */

static void note_timer(PKTIMER timer, PKDPC dpc, LONG period, const struct site *site)
{
    irql_rule_of(site);
    if (period || dpc) /* what fires once and tells nobody cannot be seen to end */
        object_used(OBJECT_TIMER, timer, site->caller, period ? NULL : dpc);
}

static BOOLEAN NTAPI set_timer_ex(PKTIMER timer, LARGE_INTEGER due, LONG period, PKDPC dpc)
{
    note_timer(timer, dpc, period, &SITE("KeSetTimerEx"));
    return KeSetTimerEx(timer, due, period, dpc);
}

static BOOLEAN NTAPI set_timer(PKTIMER timer, LARGE_INTEGER due, PKDPC dpc)
{
    note_timer(timer, dpc, 0, &SITE("KeSetTimer"));
    return KeSetTimerEx(timer, due, 0, dpc);
}

static BOOLEAN NTAPI cancel_timer(PKTIMER timer)
{
    irql_rule_of(&SITE("KeCancelTimer"));
    (void)object_unused(OBJECT_TIMER, timer);
    return KeCancelTimer(timer);
}

const struct replacement dpc_replacements[] = {
    {"KeInitializeDpc", initialize},     {"KeInsertQueueDpc", insert},
    {"KeRemoveQueueDpc", remove_queued}, {"KeFlushQueuedDpcs", flush},
    {"KeSetTimer", set_timer},           {"KeSetTimerEx", set_timer_ex},
    {"KeCancelTimer", cancel_timer},     {NULL, NULL},
};

#endif
