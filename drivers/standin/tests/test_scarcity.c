/* A provider that is not ready, and WSK functions that are short of memory: what a scenario of the strict mode may ask for. */
#include "client.h"
#include "peer.h"
#include "standin.h"

static const WSK_CLIENT_DISPATCH dispatch = {.Version = MAKE_WSK_VERSION(1, 0)};
static WSK_CLIENT_NPI npi = {NULL, &dispatch};
static WSK_REGISTRATION kept; /* not on a stack */

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
    WSK_PROVIDER_NPI captured;
    NTSTATUS status = STATUS_SUCCESS;

    CHECK_EQ(WskRegister(&npi, &kept), STATUS_SUCCESS);
    for (ULONG i = 0; i < times; i++) {
        status = WskCaptureProviderNPI(&kept, wait_ms, &captured);
        if (NT_SUCCESS(status))
            WskReleaseProviderNPI(&kept);
    }
    WskDeregister(&kept);
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
    static struct waiting waiting;
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

static void R76_registration_that_does_not_stay(void)
{
    WSK_REGISTRATION other;
    WSK_CLIENT_DISPATCH *table;
    WSK_CLIENT_NPI mine;
    bool exhausted;

    expect_rule("R76");
    strict_turn_on(STRICT_MEMORY);
    CHECK_EQ(WskRegister(&npi, &other), STATUS_SUCCESS); /* on the stack, as a driver must not */
    CHECK_EQ(rule_seen("R76"), 1);
    WskDeregister(&other);
    table = pool_allocate(&SITE("test"), false, sizeof *table, 0x74736554, &exhausted);
    *table = dispatch;
    mine = (WSK_CLIENT_NPI){NULL, table};
    CHECK_EQ(WskRegister(&mine, &kept), STATUS_SUCCESS);
    CHECK_EQ(rule_seen("R76"), 1);
    CHECK(pool_free(&SITE("test"), table, 0x74736554));
    WskDeregister(&kept);
    CHECK_EQ(rule_seen("R76"), 2);
    strict_turn_on(0);
}

static void R79_release_without_capture(void)
{
    expect_rule("R79");
    CHECK_EQ(WskRegister(&npi, &kept), STATUS_SUCCESS);
    WskReleaseProviderNPI(&kept);
    CHECK_EQ(rule_seen("R79"), 1);
    WskDeregister(&kept);
}

static void R82_deregistered_twice(void)
{
    expect_rule("R82");
    CHECK_EQ(WskRegister(&npi, &kept), STATUS_SUCCESS);
    WskDeregister(&kept);
    WskDeregister(&kept);
    CHECK_EQ(rule_seen("R82"), 1);
}

static void R74_close_at_dispatch_level(void)
{
    struct call *call = call_new(0);
    struct pair p;

    strict_turn_on(STRICT_IRQL);
    pair_open(&p, 0);
    irql_set(DISPATCH_LEVEL);
    call->returned = functions(&p.client)->Basic.WskCloseSocket(p.client.socket, call->irp);
    irql_set(PASSIVE_LEVEL);
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    peer_close(p.peer);
    strict_turn_on(0);
}

static void R26_listener_is_enabled_after_the_bind(void)
{
    static const WSK_CLIENT_LISTEN_DISPATCH nothing = {.WskAcceptEvent = NULL};
    struct connection listener;

    CHECK_EQ(open_socket(&listener, WSK_FLAG_LISTEN_SOCKET, &nothing), STATUS_SUCCESS);
    CHECK_EQ(set_events(listener.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_INVALID_DEVICE_STATE);
    CHECK_EQ(call_end(bind_socket(listener.socket, 0)), STATUS_SUCCESS);
    CHECK_EQ(set_events(listener.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    CHECK_EQ(call_end(close_begin(listener.socket)), STATUS_SUCCESS);
}

static NTSTATUS WSKAPI on_nothing(PVOID context, ULONG flags, PWSK_DATA_INDICATION list, SIZE_T size, SIZE_T *taken)
{
    (void)taken;
    CHECK(!flags || flags == WSK_FLAG_ENTIRE_MESSAGE);
    InterlockedIncrement((LONG *)context + (list == NULL && size == 0)); /* with data, without */
    return STATUS_SUCCESS;
}

static NTSTATUS WSKAPI on_end(PVOID context, ULONG flags)
{
    (void)context, (void)flags;
    return STATUS_SUCCESS;
}

static void await(LONG *counter)
{
    ULONGLONG until = os_milliseconds() + 10000;

    while (!InterlockedExchangeAdd(counter, 0) && os_milliseconds() < until)
        os_futex_wait(counter, 0, 10);
    CHECK(InterlockedExchangeAdd(counter, 0) > 0);
}

static void R51_receive_event_without_data(void)
{
    static const WSK_CLIENT_CONNECTION_DISPATCH table = {.WskReceiveEvent = on_nothing, .WskDisconnectEvent = on_end};
    int port = 0, listener = peer_listen(&port), peer;
    struct call *call = call_new(0);
    SOCKADDR_IN any = loopback(0), remote = loopback(port);
    static LONG seen[2];
    PWSK_SOCKET socket;

    asks("rare=on\n");
    call->returned = wsk->WskSocketConnect(wsk_client, SOCK_STREAM, IPPROTO_TCP, (PSOCKADDR)&any, (PSOCKADDR)&remote, 0,
                                           seen, &table, NULL, NULL, NULL, call->irp);
    strict_turn_on(0);
    call_wait(call);
    socket = (PWSK_SOCKET)call->information;
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    peer = peer_accept(listener);
    CHECK_EQ(set_events(socket, WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_send(peer, 10);
    await(&seen[0]);
    peer_reset(peer);
    await(&seen[1]);
    CHECK_EQ(call_end(close_begin(socket)), STATUS_SUCCESS);
    CHECK_EQ(seen[1], 1);
    peer_close(listener);
    asks_nothing();
}

static NTSTATUS WSKAPI on_accept(PVOID context, ULONG flags, PSOCKADDR local, PSOCKADDR remote, PWSK_SOCKET socket,
                                 PVOID *made, const WSK_CLIENT_CONNECTION_DISPATCH **table)
{
    (void)flags, (void)local, (void)remote, (void)made, (void)table;
    InterlockedIncrement((LONG *)context + (socket == NULL));
    return socket ? STATUS_REQUEST_NOT_ACCEPTED : STATUS_SUCCESS;
}

/* Binds a listening socket and has its connections told by WskAcceptEvent. Returns its port. */
static int accepting(PWSK_SOCKET socket)
{
    struct call *call;
    os_address local;

    CHECK_EQ(call_end(bind_socket(socket, 0)), STATUS_SUCCESS);
    CHECK_EQ(set_events(socket, WSK_EVENT_ACCEPT, NULL), STATUS_SUCCESS);
    call = call_new(0);
    call->returned =
        ((const WSK_PROVIDER_LISTEN_DISPATCH *)socket->Dispatch)->WskGetLocalAddress(socket, &local.any, call->irp);
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    return __builtin_bswap16(local.v4.sin_port);
}

static void R39_accept_event_without_a_socket(void)
{
    static const WSK_CLIENT_LISTEN_DISPATCH table = {.WskAcceptEvent = on_accept};
    static LONG seen[2]; /* with a socket, without */
    struct call *call = call_new(0);
    PWSK_SOCKET socket;
    int peer;

    asks("rare=on\n");
    call->returned = wsk->WskSocket(wsk_client, AF_INET, SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_LISTEN_SOCKET, seen, &table,
                                    NULL, NULL, NULL, call->irp);
    strict_turn_on(0);
    call_wait(call);
    socket = (PWSK_SOCKET)call->information;
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    peer = peer_connect(accepting(socket));
    await(&seen[1]);
    CHECK_EQ(call_end(close_begin(socket)), STATUS_SUCCESS);
    CHECK(seen[0] == 0 && seen[1] == 1);
    peer_close(peer);
    asks_nothing();
}

static VOID NTAPI connect_many(PVOID context)
{
    int *port = context;

    for (int i = 0; i < 30; i++) {
        int peer = peer_try_connect(*port);

        if (peer >= 0)
            peer_reset(peer);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

static void BF14_listener_closed_while_connections_come(void)
{
    static const WSK_CLIENT_LISTEN_DISPATCH table = {.WskAcceptEvent = on_accept};
    static LONG seen[2];

    for (int round = 0; round < 5; round++) {
        struct call *call = call_new(0);
        PWSK_SOCKET socket;
        HANDLE thread;
        int port;

        call->returned = wsk->WskSocket(wsk_client, AF_INET, SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_LISTEN_SOCKET, seen,
                                        &table, NULL, NULL, NULL, call->irp);
        call_wait(call);
        socket = (PWSK_SOCKET)call->information;
        CHECK_EQ(call_end(call), STATUS_SUCCESS);
        port = accepting(socket);
        InterlockedExchange(&seen[0], 0);
        CHECK_EQ(PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, connect_many, &port),
                 STATUS_SUCCESS);
        await(&seen[0]);
        CHECK_EQ(call_end(close_begin(socket)), STATUS_SUCCESS);
        InterlockedExchange(&seen[0], -1000);
        ZwWaitForSingleObject(thread, FALSE, NULL);
        ZwClose(thread);
        CHECK_EQ(seen[0], -1000); /* R73: none after the close */
    }
}

const struct test scarcity_tests[] = {
    {"R78_provider_not_ready", R78_provider_not_ready},
    {"R78_provider_leaves", R78_provider_leaves},
    {"R77_endless_wait_for_no_provider", R77_endless_wait_for_no_provider},
    {"R81_deregister_ends_a_capture_that_waits", R81_deregister_ends_a_capture_that_waits},
    {"the_asked_for_function_is_short_of_memory", the_asked_for_function_is_short_of_memory},
    {"what_another_driver_allocates_is_not_counted", what_another_driver_allocates_is_not_counted},
    {"R76_registration_that_does_not_stay", R76_registration_that_does_not_stay},
    {"R79_release_without_capture", R79_release_without_capture},
    {"R82_deregistered_twice", R82_deregistered_twice},
    {"R74_close_at_dispatch_level", R74_close_at_dispatch_level},
    {"R26_listener_is_enabled_after_the_bind", R26_listener_is_enabled_after_the_bind},
    {"R51_receive_event_without_data", R51_receive_event_without_data},
    {"R39_accept_event_without_a_socket", R39_accept_event_without_a_socket},
    {"BF14_listener_closed_while_connections_come", BF14_listener_closed_while_connections_come},
    {NULL, NULL},
};
