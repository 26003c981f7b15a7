/* Completions and events from several threads, late, and in the thread of the call: what a scenario of the strict mode may ask for. */
#include "client.h"
#include "peer.h"
#include "standin.h"

enum { CALLS = 40 };

static void asks(const char *settings)
{
    scenario_asks(settings);
    strict_turn_on(STRICT_IRQL);
}

static void asks_nothing(void)
{
    strict_turn_on(0);
    scenario_asks("");
}

/* The engine's thread, as the provider knows it. */
static int engine(void)
{
    int thread;

    lock_acquire(&provider.lock);
    thread = provider.engine_thread;
    lock_release(&provider.lock);
    return thread;
}

static void completions_come_from_several_threads(void)
{
    int here = os_thread_id(), by_engine = 0, inside = 0, elsewhere = 0;
    struct pair p;

    asks("concurrent=on seed=5\n");
    pair_open(&p, 0);
    for (int i = 0; i < CALLS; i++) {
        struct call *call = send_bytes(&p.client, 10, 0);
        bool done = call_done(call);
        NTSTATUS returned = call->returned;

        call_wait(call);
        by_engine += call->thread == engine();
        inside += call->thread == here;
        elsewhere += call->thread != engine() && call->thread != here;
        CHECK(returned == STATUS_PENDING ? call->thread != here : done && call->thread == here);
        CHECK_EQ(call_end(call), STATUS_SUCCESS);
    }
    CHECK(by_engine > 2 && inside > 2 && elsewhere > 2);
    close_connection(&p.client);
    peer_close(p.peer);
    asks_nothing();
}

static void receives_keep_their_order(void)
{
    struct call *calls[CALLS];
    struct pair p;

    asks("concurrent=on seed=6\n");
    pair_open(&p, WSK_EVENT_DISCONNECT);
    for (int i = 0; i < CALLS; i++)
        calls[i] = receive(&p.client, 10, WSK_FLAG_WAITALL);
    peer_send(p.peer, 10 * CALLS);
    for (int i = CALLS - 1; i >= 0; i--)
        call_wait(calls[i]);
    for (int i = 0; i < CALLS; i++)
        CHECK_EQ(call_end_bytes(calls[i], STATUS_SUCCESS), 10);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    close_connection(&p.client);
    asks_nothing();
}

static void R70_close_waits_for_other_threads(void)
{
    enum { ROUNDS = 30 };

    asks("concurrent=on seed=7\n");
    for (int i = 0; i < ROUNDS; i++) {
        struct call *first, *second;
        struct pair p;

        pair_open(&p, WSK_EVENT_DISCONNECT);
        first = receive(&p.client, 10, 0);
        second = receive(&p.client, 10, 0);
        if (i % 3 == 0)
            peer_reset(p.peer);
        close_connection(&p.client);
        CHECK(call_done(first) && call_done(second)); /* R69 */
        (void)call_end(first);
        (void)call_end(second);
        CHECK(p.client.graceful + p.client.abortive <= 1);
        if (i % 3)
            peer_close(p.peer);
    }
    asks_nothing();
}

static void R30_disable_waits_for_an_event_elsewhere(void)
{
    enum { ROUNDS = 20 };

    asks("concurrent=on seed=8\n");
    for (int i = 0; i < ROUNDS; i++) {
        struct call *call = call_new(0);
        LONG told;
        struct pair p;

        pair_open(&p, WSK_EVENT_DISCONNECT);
        peer_close(p.peer);
        call->returned = set_events(p.client.socket, WSK_EVENT_DISCONNECT | WSK_EVENT_DISABLE, call->irp);
        CHECK_EQ(call_end(call), STATUS_SUCCESS);
        told = p.client.graceful;
        close_connection(&p.client);
        CHECK_EQ(p.client.graceful, told); /* none came after it */
    }
    asks_nothing();
}

static void a_send_pends_for_long(void)
{
    struct pair p;
    struct call *call;
    ULONGLONG began;

    asks("pend=80\n");
    pair_open(&p, 0);
    began = os_milliseconds();
    call = send_bytes(&p.client, 10, 0);
    CHECK_EQ(call->returned, STATUS_PENDING);
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    CHECK(os_milliseconds() - began >= 80);
    close_connection(&p.client);
    peer_close(p.peer);
    asks_nothing();
}

const struct test thread_tests[] = {
    {"completions_come_from_several_threads", completions_come_from_several_threads},
    {"receives_keep_their_order", receives_keep_their_order},
    {"R70_close_waits_for_other_threads", R70_close_waits_for_other_threads},
    {"R30_disable_waits_for_an_event_elsewhere", R30_disable_waits_for_an_event_elsewhere},
    {"a_send_pends_for_long", a_send_pends_for_long},
    {NULL, NULL},
};
