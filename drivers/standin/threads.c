/*
 * What other threads than the engine do, where a scenario of the strict mode wants that: complete IRPs and call WskDisconnectEvent at
 * the same time as the engine calls something else, later than they could, or in the thread of the call itself, before it returns.
 *
 * Which of them it is, and how late, is drawn from the seed for each socket and each call; how the threads are scheduled is not. Order is
 * kept among the completions of a socket and among its events, as callers of a stream rely on it, but not between the two, nor between
 * sockets.
 */
#include "standin.h"

enum {
    DRAW_THREAD = LEVEL_KINDS, /* beside those of the IRQLs */
    DRAW_DELAY,
    DRAW_INLINE,
    PATIENCE_MS = 200, /* of the thread of a call, which may hold what a callback waits for */
};

/* ---- Strands --------------------------------------------------------------------------------------------------------------------------- */

struct job {
    LIST_ENTRY link;
    struct client *client;
    ULONG delay; /* ms */
    bool dispatch, event;
    ULONG flags; /* of the event */
    struct seen seen; /* of the completion */
};

void threads_of_new(struct socket *socket)
{
    InitializeListHead(&socket->later);
    for (ULONG i = 0; i < STRANDS; i++) {
        InitializeListHead(&socket->strands[i].jobs);
        socket->strands[i].socket = socket;
    }
}

static void sleep_ms(ULONG milliseconds)
{
    int never = 0;
    ULONGLONG until = os_milliseconds() + milliseconds, now;

    while ((now = os_milliseconds()) < until)
        os_futex_wait(&never, 0, (int)(until - now));
}

static void run(struct socket *socket, struct job *job)
{
    if (job->delay)
        sleep_ms(job->delay);
    if (job->event)
        provider.up->disconnect(socket, job->flags, level_begin(job->dispatch));
    else
        provider.up->complete(&job->seen, level_begin(job->dispatch));
}

/* With the lock held: the next job; NULL, and nobody is at the strand any more. */
static struct job *next_job(struct strand *strand)
{
    if (IsListEmpty(&strand->jobs)) {
        strand->busy = false;
        return NULL;
    }
    return CONTAINING_RECORD(RemoveHeadList(&strand->jobs), struct job, link);
}

static VOID NTAPI run_strand(PVOID context)
{
    struct strand *strand = context;
    struct socket *socket = strand->socket;
    struct job *job, *done;
    bool wake;

    lock_acquire(&provider.lock);
    job = next_job(strand);
    while (job) {
        lock_release(&provider.lock);
        run(socket, job);
        done = job;
        lock_acquire(&provider.lock);
        if (done->event && IsListEmpty(&strand->jobs))
            socket->running &= ~(ULONG)WSK_EVENT_DISCONNECT;
        socket->outside--;
        wake = !IsListEmpty(&socket->later);
        while (!IsListEmpty(&socket->later))
            InsertTailList(&provider.inbox, RemoveHeadList(&socket->later));
        job = next_job(strand);
        done->client->requests--; /* from now on everything may be gone, if there is no other job */
        condition_broadcast(&provider.changed);
        ExFreePoolWithTag(done, POOL_TAG);
        if (wake)
            engine_wake();
    }
    lock_release(&provider.lock);
}

/* The draws are made in the engine, so that they come in the same order again. */
static ULONG draw(struct socket *socket, ULONG what, ULONG below)
{
    return strict_pick(&socket->level, socket->number, what, socket->drawn++, below);
}

static ULONG draw_delay(struct socket *socket)
{
    static const UCHAR delays[] = {0, 0, 0, 0, 1, 2, 5, 20};

    return delays[draw(socket, DRAW_DELAY, RTL_NUMBER_OF(delays))];
}

static void add(struct socket *socket, enum strand_kind kind, struct job *job)
{
    struct strand *strand = &socket->strands[kind];
    bool begins;

    lock_acquire(&provider.lock);
    if (job->event)
        job->client->requests++;
    InsertTailList(&strand->jobs, &job->link);
    socket->outside++;
    begins = !strand->busy;
    strand->busy = true;
    lock_release(&provider.lock);
    if (begins && !os_post(run_strand, strand))
        run_strand(strand); /* better by the engine than never */
}

static struct job *job_new(struct socket *socket, struct client *client, enum level_kind kind)
{
    struct job *job = ExAllocatePoolWithTag(NonPagedPool, sizeof *job, POOL_TAG);

    if (!job)
        return NULL;
    RtlZeroMemory(job, sizeof *job);
    job->client = client;
    job->dispatch = level_draw(socket, kind);
    job->delay = socket->level.concurrent ? draw_delay(socket) : 0;
    return job;
}

bool threads_complete(struct socket *socket, struct client *client, const struct seen *seen)
{
    ULONG pend = strcmp(seen->function, "WskSend") == 0 && NT_SUCCESS(seen->status) ? socket->level.pend : 0;
    bool wanted, behind;
    struct job *job;

    if (!socket->level.concurrent && !socket->level.pend)
        return false;
    wanted = pend || (socket->level.concurrent && draw(socket, DRAW_THREAD, 2));
    lock_acquire(&provider.lock);
    behind = socket->strands[STRAND_COMPLETIONS].busy; /* by the engine, it would overtake what came before it */
    lock_release(&provider.lock);
    if ((!wanted && !behind) || !(job = job_new(socket, client, LEVEL_COMPLETION)))
        return false;
    job->seen = *seen;
    job->delay += pend;
    add(socket, STRAND_COMPLETIONS, job);
    return true;
}

bool threads_disconnect(struct socket *socket, ULONG flags)
{
    struct job *job;
    bool behind;

    if (!socket->level.concurrent)
        return false;
    lock_acquire(&provider.lock);
    behind = socket->strands[STRAND_EVENTS].busy;
    lock_release(&provider.lock);
    if ((!draw(socket, DRAW_THREAD, 2) && !behind) || !(job = job_new(socket, socket->client, LEVEL_DISCONNECT)))
        return false;
    job->event = true;
    job->flags = flags;
    add(socket, STRAND_EVENTS, job);
    return true;
}

bool threads_wait(struct request *request, bool for_all)
{
    struct socket *socket = request->socket;
    bool waits;

    lock_acquire(&provider.lock);
    waits = for_all ? socket->outside != 0 : socket->running != 0 && socket->outside != 0;
    if (waits)
        InsertTailList(&socket->later, &request->link);
    lock_release(&provider.lock);
    return waits;
}

/* ---- In the thread of the call ------------------------------------------------------------------------------------------------------ */

/* Shared by the thread of the call and the engine; the last of them frees it. */
struct inline_call {
    int state;
    LONG holders;
    bool done; /* the engine has finished it; the engine's alone */
    struct seen seen;
};

enum { WAITING, FINISHED, PENDED, GIVEN_UP, TELLING };

static bool go(struct inline_call *call, int from, int to)
{
    if (!__atomic_compare_exchange_n(&call->state, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        return false;
    os_futex_wake(&call->state, 2);
    return true;
}

static void drop(struct inline_call *call)
{
    if (InterlockedDecrement(&call->holders) == 0)
        ExFreePoolWithTag(call, POOL_TAG);
}

struct inline_call *inline_begin(const struct socket *socket)
{
    const struct strict_settings *settings = socket ? &socket->level : &provider.level;
    static LONG calls;
    struct inline_call *call;

    if (!settings->concurrent || in_engine() || spin_held() ||
        !strict_pick(settings, socket ? socket->number : 0, DRAW_INLINE, (ULONG)InterlockedIncrement(&calls), 2))
        return NULL;
    call = ExAllocatePoolWithTag(NonPagedPool, sizeof *call, POOL_TAG);
    if (!call)
        return NULL;
    RtlZeroMemory(call, sizeof *call);
    call->holders = 2;
    return call;
}

bool inline_await(struct inline_call *call, const struct request *request, struct seen *seen)
{
    ULONGLONG until = os_milliseconds() + PATIENCE_MS;
    bool finished;
    int state;

    while ((state = __atomic_load_n(&call->state, __ATOMIC_ACQUIRE)) == WAITING || state == TELLING) {
        LONGLONG left = (LONGLONG)(until - os_milliseconds());

        if (left <= 0 && go(call, WAITING, TELLING)) {
            witness_call(request, STATUS_PENDING); /* before the engine can tell that it is done */
            (void)go(call, TELLING, GIVEN_UP);
            break;
        }
        os_futex_wait(&call->state, state, left > 0 ? (int)left : 1000);
    }
    finished = __atomic_load_n(&call->state, __ATOMIC_ACQUIRE) == FINISHED;
    if (finished) {
        *seen = call->seen;
        witness_call(request, seen->status);
    }
    drop(call);
    return finished;
}

bool inline_finish(struct inline_call *call, const struct seen *seen)
{
    int state;

    call->done = true;
    call->seen = *seen;
    if (go(call, WAITING, FINISHED))
        return true;
    while ((state = __atomic_load_n(&call->state, __ATOMIC_ACQUIRE)) == TELLING)
        os_futex_wait(&call->state, TELLING, 1000);
    return false;
}

void inline_pended(struct inline_call *call, struct request *request)
{
    int state;

    if (!call->done) { /* so the request is there */
        request->waiter = NULL;
        if (go(call, WAITING, TELLING)) {
            witness_call(request, STATUS_PENDING);
            (void)go(call, TELLING, PENDED);
        }
        while ((state = __atomic_load_n(&call->state, __ATOMIC_ACQUIRE)) == TELLING)
            os_futex_wait(&call->state, TELLING, 1000);
    }
    drop(call);
}
