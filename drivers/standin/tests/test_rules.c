/* Registration, and the reports about drivers that break a rule. */
#include "client.h"
#include "peer.h"

static void R10_wrong_return_value(void)
{
    struct pair p;

    expect_rule("R10");
    pair_open(&p, 0);
    p.client.return_status = STATUS_UNSUCCESSFUL;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    close_connection(&p.client);
}

static void R63_abortive_with_a_buffer(void)
{
    struct pair p;
    struct call *call = call_new(4);

    expect_rule("R63");
    pair_open(&p, 0);
    call->returned = functions(&p.client)->WskDisconnect(p.client.socket, &call->buffer, WSK_FLAG_ABORTIVE, call->irp);
    CHECK_EQ(call_end(call), STATUS_INVALID_PARAMETER);
    peer_close(p.peer);
    close_connection(&p.client);
}

static void R72_use_of_a_closed_socket(void)
{
    struct pair p;
    struct call *call = call_new(4);
    const WSK_PROVIDER_CONNECTION_DISPATCH *table;

    expect_rule("R72");
    pair_open(&p, 0);
    table = functions(&p.client);
    close_connection(&p.client);
    call->returned = table->WskSend(p.client.socket, &call->buffer, 0, call->irp);
    CHECK_EQ(call_end(call), STATUS_INVALID_HANDLE); /* R86 */
    peer_close(p.peer);
}

static void R84_irp_used_twice(void)
{
    struct pair p;
    struct call *call;

    expect_rule("R84");
    pair_open(&p, 0);
    call = receive(&p.client, 10, 0);
    CHECK_EQ(functions(&p.client)->WskReceive(p.client.socket, &call->buffer, 0, call->irp), STATUS_INVALID_PARAMETER);
    peer_close(p.peer);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 0);
    close_connection(&p.client);
}

static void R78_versions(void)
{
    static const WSK_CLIENT_DISPATCH future = {.Version = MAKE_WSK_VERSION(9, 9)};
    WSK_CLIENT_NPI npi = {NULL, &future};
    WSK_REGISTRATION other;
    WSK_PROVIDER_CHARACTERISTICS offered;
    WSK_PROVIDER_NPI provider;

    CHECK_EQ(WskRegister(&npi, &other), STATUS_SUCCESS);
    CHECK_EQ(WskCaptureProviderNPI(&other, WSK_NO_WAIT, &provider), STATUS_NOINTERFACE);
    CHECK_EQ(WskQueryProviderCharacteristics(&other, &offered), STATUS_SUCCESS);
    CHECK_EQ(offered.LowestVersion, MAKE_WSK_VERSION(1, 0));
    WskDeregister(&other);
}

struct deregistration {
    WSK_REGISTRATION registration;
    KEVENT done;
};

static VOID NTAPI deregister_thread(PVOID context)
{
    struct deregistration *d = context;

    WskDeregister(&d->registration);
    KeSetEvent(&d->done, IO_NO_INCREMENT, FALSE);
}

static void R80_deregister_waits_for_sockets(void)
{
    static const WSK_CLIENT_DISPATCH dispatch = {.Version = MAKE_WSK_VERSION(1, 0)};
    WSK_CLIENT_NPI npi = {NULL, &dispatch};
    struct deregistration d;
    WSK_PROVIDER_NPI provider;
    struct call *call = call_new(0);
    LARGE_INTEGER limit = {.QuadPart = -100000000}, soon = {.QuadPart = -1};
    PWSK_SOCKET socket;
    HANDLE thread;

    KeInitializeEvent(&d.done, NotificationEvent, FALSE);
    CHECK_EQ(WskRegister(&npi, &d.registration), STATUS_SUCCESS);
    CHECK_EQ(WskCaptureProviderNPI(&d.registration, WSK_NO_WAIT, &provider), STATUS_SUCCESS);
    call->returned = provider.Dispatch->WskSocket(provider.Client, AF_INET, SOCK_STREAM, IPPROTO_TCP,
                                                  WSK_FLAG_CONNECTION_SOCKET, NULL, NULL, NULL, NULL, NULL, call->irp);
    call_wait(call);
    socket = (PWSK_SOCKET)call->information;
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    CHECK_EQ(PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, deregister_thread, &d), STATUS_SUCCESS);
    WskReleaseProviderNPI(&d.registration);
    CHECK_EQ(KeWaitForSingleObject(&d.done, Executive, KernelMode, FALSE, &soon), STATUS_TIMEOUT);
    CHECK_EQ(call_end(close_begin(socket)), STATUS_SUCCESS);
    CHECK_EQ(KeWaitForSingleObject(&d.done, Executive, KernelMode, FALSE, &limit), STATUS_SUCCESS);
    ZwWaitForSingleObject(thread, FALSE, NULL);
    ZwClose(thread);
}

static void BF17_failing_creation(void)
{
    struct call *call = call_new(0);

    expect_rule("unsupported");
    call->returned = wsk->WskSocket(wsk_client, 77, SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_CONNECTION_SOCKET, NULL, NULL,
                                    NULL, NULL, NULL, call->irp);
    CHECK_EQ(call_end(call), STATUS_INVALID_PARAMETER);
    call = call_new(0);
    call->returned = wsk->WskSocket(wsk_client, AF_INET, SOCK_DGRAM, IPPROTO_UDP, WSK_FLAG_DATAGRAM_SOCKET, NULL, NULL,
                                    NULL, NULL, NULL, call->irp);
    CHECK_EQ(call_end(call), STATUS_NOT_SUPPORTED);
}

/* What Windows has and the provider has not: every slot of the table is filled, the IRP is completed, and a line says so. */
static void unsupported_calls_complete_and_are_told(void)
{
    static const WSK_CLIENT_STREAM_DISPATCH stream_events = {NULL, NULL};
    struct pair p;
    UNICODE_STRING name = {0, 0, NULL};
    PADDRINFOEXW found = NULL;
    ULONG value = 0, backlog;
    SIZE_T size;
    SOCKADDR_IN address = loopback(1);
    struct call *call = call_new(0);

    expect_rule("unsupported");
    call->returned = wsk->WskGetAddressInfo(wsk_client, &name, NULL, NS_ALL, NULL, NULL, &found, NULL, NULL, call->irp);
    CHECK_EQ(call_end(call), STATUS_NOT_SUPPORTED);
    CHECK_EQ(rule_seen("unsupported"), 1);
    call = call_new(0);
    call->returned = wsk->WskGetNameInfo(wsk_client, (PSOCKADDR)&address, sizeof address, &name, NULL, NI_NUMERICHOST,
                                         NULL, NULL, call->irp);
    CHECK_EQ(call_end(call), STATUS_NOT_SUPPORTED);
    CHECK_EQ(rule_seen("unsupported"), 2);
    call = call_new(0);
    call->returned = wsk->WskSocket(wsk_client, AF_INET, SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_STREAM_SOCKET, NULL,
                                    &stream_events, NULL, NULL, NULL, call->irp);
    CHECK_EQ(call_end(call), STATUS_NOT_SUPPORTED);
    CHECK_EQ(rule_seen("unsupported"), 3);
    CHECK_EQ(wsk->WskControlClient(wsk_client, WSK_TRANSPORT_LIST_QUERY, 0, NULL, sizeof value, &value, &size, NULL),
             STATUS_NOT_SUPPORTED);
    CHECK_EQ(rule_seen("unsupported"), 4);

    pair_open(&p, 0);
    CHECK_EQ(functions(&p.client)->WskControlSocket(p.client.socket, WskSetOption, SO_LINGER, SOL_SOCKET, sizeof value,
                                                    &value, 0, NULL, NULL, NULL),
             STATUS_NOT_SUPPORTED);
    CHECK_EQ(functions(&p.client)->Basic.WskControlSocket(p.client.socket, WskIoctl, SIO_WSK_QUERY_RECEIVE_BACKLOG, 0,
                                                          0, NULL, sizeof backlog, &backlog, &size, NULL),
             STATUS_NOT_SUPPORTED);
    CHECK_EQ(rule_seen("unsupported"), 6);
    peer_close(p.peer);
    close_connection(&p.client);
}

const struct test rule_tests[] = {
    {"R10_wrong_return_value", R10_wrong_return_value},
    {"R63_abortive_with_a_buffer", R63_abortive_with_a_buffer},
    {"R72_use_of_a_closed_socket", R72_use_of_a_closed_socket},
    {"R84_irp_used_twice", R84_irp_used_twice},
    {"R78_versions", R78_versions},
    {"R80_deregister_waits_for_sockets", R80_deregister_waits_for_sockets},
    {"BF17_failing_creation", BF17_failing_creation},
    {"unsupported_calls_complete_and_are_told", unsupported_calls_complete_and_are_told},
    {NULL, NULL},
};
