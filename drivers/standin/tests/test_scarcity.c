/* A provider that is not ready, and WSK functions that are short of memory: what a scenario of the strict mode may ask for. */
#include "client.h"
#include "peer.h"
#include "standin.h"

static const WSK_CLIENT_DISPATCH dispatch = {.Version = MAKE_WSK_VERSION(1, 0)};
static WSK_CLIENT_NPI npi = {NULL, &dispatch};

static void asks(const char *settings)
{
    scenario_asks(settings);
    strict_turn_on(STRICT_MEMORY);
}

static void asks_nothing(void)
{
    strict_turn_on(0);
    scenario_asks("");
}

static NTSTATUS capture(ULONG wait_ms, ULONG times)
{
    WSK_REGISTRATION other;
    WSK_PROVIDER_NPI provider;
    NTSTATUS status = STATUS_SUCCESS;

    CHECK_EQ(WskRegister(&npi, &other), STATUS_SUCCESS);
    for (ULONG i = 0; i < times; i++) {
        status = WskCaptureProviderNPI(&other, wait_ms, &provider);
        if (NT_SUCCESS(status))
            WskReleaseProviderNPI(&other);
    }
    WskDeregister(&other);
    return status;
}

static void R78_provider_not_ready(void)
{
    asks("provider=absent\n");
    CHECK_EQ(capture(WSK_NO_WAIT, 1), STATUS_DEVICE_NOT_READY);
    CHECK_EQ(capture(20, 1), STATUS_DEVICE_NOT_READY);
    asks("provider=late\n");
    CHECK_EQ(capture(WSK_NO_WAIT, 1), STATUS_DEVICE_NOT_READY);
    CHECK_EQ(capture(20000, 1), STATUS_SUCCESS);
    asks("provider=refuses\n");
    CHECK_EQ(capture(WSK_NO_WAIT, 1), STATUS_NOINTERFACE);
    asks_nothing();
    CHECK_EQ(capture(WSK_NO_WAIT, 1), STATUS_SUCCESS);
}

static void R78_provider_leaves(void)
{
    asks("provider=leaves\n");
    CHECK_EQ(capture(WSK_NO_WAIT, 1), STATUS_SUCCESS);
    CHECK_EQ(capture(WSK_NO_WAIT, 2), STATUS_DEVICE_NOT_READY);
    asks_nothing();
}

static void R77_endless_wait_for_no_provider(void)
{
    expect_rule("R77");
    asks("provider=absent\n");
    CHECK_EQ(capture(WSK_INFINITE_WAIT, 1), STATUS_DEVICE_NOT_READY);
    CHECK_EQ(rule_seen("R77"), 1);
    asks_nothing();
}

struct waiting {
    WSK_REGISTRATION registration;
    KEVENT done;
    NTSTATUS status;
};

static VOID NTAPI capture_thread(PVOID context)
{
    struct waiting *waiting = context;
    WSK_PROVIDER_NPI provider;

    waiting->status = WskCaptureProviderNPI(&waiting->registration, 600000, &provider);
    KeSetEvent(&waiting->done, IO_NO_INCREMENT, FALSE);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static bool waits(const struct client *client)
{
    bool waiting;

    lock_acquire(&provider.lock);
    waiting = client->requests > 0;
    lock_release(&provider.lock);
    return waiting;
}

static void R81_deregister_ends_a_capture_that_waits(void)
{
    struct waiting waiting = {.status = STATUS_PENDING};
    HANDLE thread;

    KeInitializeEvent(&waiting.done, NotificationEvent, FALSE);
    CHECK_EQ(WskRegister(&npi, &waiting.registration), STATUS_SUCCESS);
    asks("provider=absent\n");
    CHECK_EQ(PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, capture_thread, &waiting),
             STATUS_SUCCESS);
    while (!waits(waiting.registration.ReservedRegistrationContext))
        ;
    WskDeregister(&waiting.registration);
    CHECK_EQ(KeWaitForSingleObject(&waiting.done, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    CHECK_EQ(ZwWaitForSingleObject(thread, FALSE, NULL), STATUS_SUCCESS);
    ZwClose(thread);
    CHECK_EQ(waiting.status, STATUS_DEVICE_NOT_READY);
    asks_nothing();
}

static void the_asked_for_function_is_short_of_memory(void)
{
    struct pair p;

    pair_open(&p, 0);
    watch_witness(false);
    asks("fail=2 seed=1\n");
    CHECK_EQ(call_end(send_bytes(&p.client, 10, 0)), STATUS_SUCCESS);
    CHECK_EQ(call_end(send_bytes(&p.client, 10, 0)), STATUS_INSUFFICIENT_RESOURCES);
    CHECK_EQ(call_end(send_bytes(&p.client, 10, 0)), STATUS_SUCCESS);
    CHECK_EQ(witness_seen("WSKSCARCE n=00000002", "call=WskSend at="), 1);
    asks("fail=1 seed=2\n"); /* another scenario counts anew, and a close is none of what may fail */
    CHECK_EQ(call_end(close_begin(p.client.socket)), STATUS_SUCCESS);
    asks_nothing();
    peer_close(p.peer);
    watch_witness(false);
}

static void what_another_driver_allocates_is_not_counted(void)
{
    struct pair p;

    pair_open(&p, 0);
    asks("fail=1 of=my.sys\n");
    CHECK_EQ(call_end(send_bytes(&p.client, 10, 0)), STATUS_SUCCESS);
    asks_nothing();
    peer_close(p.peer);
    close_connection(&p.client);
}

const struct test scarcity_tests[] = {
    {"R78_provider_not_ready", R78_provider_not_ready},
    {"R78_provider_leaves", R78_provider_leaves},
    {"R77_endless_wait_for_no_provider", R77_endless_wait_for_no_provider},
    {"R81_deregister_ends_a_capture_that_waits", R81_deregister_ends_a_capture_that_waits},
    {"the_asked_for_function_is_short_of_memory", the_asked_for_function_is_short_of_memory},
    {"what_another_driver_allocates_is_not_counted", what_another_driver_allocates_is_not_counted},
    {NULL, NULL},
};
