/* Event callbacks: on, off, static, held, and the receive event. */
#include "client.h"
#include "peer.h"

static void R25_enabling_needs_a_connection(void)
{
    struct connection client;

    CHECK_EQ(open_socket(&client, WSK_FLAG_CONNECTION_SOCKET, &connection_events), STATUS_SUCCESS);
    CHECK_EQ(set_events(client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_INVALID_DEVICE_STATE);
    close_connection(&client);
}

static void R24_enabling_with_an_irp_completes_it(void)
{
    struct pair p;
    struct call *call = call_new(0);

    pair_open(&p, 0);
    call->returned = set_events(p.client.socket, WSK_EVENT_DISCONNECT, call->irp);
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    peer_reset(p.peer);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    close_connection(&p.client);
}

static void R28_two_disables_at_once(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT | WSK_EVENT_RECEIVE); /* R27 */
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISABLE | WSK_EVENT_DISCONNECT | WSK_EVENT_RECEIVE, NULL),
             STATUS_INVALID_PARAMETER);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    close_connection(&p.client);
}

static void R29_disable_then_fin_then_enable(void)
{
    struct pair p;
    struct call *call = call_new(0);

    pair_open(&p, WSK_EVENT_DISCONNECT);
    call->returned = set_events(p.client.socket, WSK_EVENT_DISABLE | WSK_EVENT_DISCONNECT, call->irp);
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    peer_close(p.peer);
    CHECK_EQ(call_end_bytes(receive(&p.client, 1, 0), STATUS_SUCCESS), 0);
    CHECK_EQ(p.client.events, 0); /* R32 */
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    CHECK(wait_until(&p.client, &p.client.graceful, 1)); /* R33 */
    close_connection(&p.client);
}

static void wait_for_callback(struct connection *connection)
{
    LARGE_INTEGER limit = {.QuadPart = -100000000};

    CHECK_EQ(KeWaitForSingleObject(&connection->in_callback, Executive, KernelMode, FALSE, &limit), STATUS_SUCCESS);
}

static void R30_disable_while_running_with_irp(void)
{
    struct pair p;
    struct call *call = call_new(0);
    KEVENT hold;

    KeInitializeEvent(&hold, NotificationEvent, FALSE);
    pair_open(&p, 0);
    p.client.hold = &hold;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_close(p.peer);
    wait_for_callback(&p.client);
    call->returned = set_events(p.client.socket, WSK_EVENT_DISABLE | WSK_EVENT_DISCONNECT, call->irp);
    CHECK_EQ(call->returned, STATUS_PENDING);
    CHECK(!call_done(call));
    KeSetEvent(&hold, IO_NO_INCREMENT, FALSE);
    call_wait(call);
    CHECK_EQ(p.client.graceful, 1); /* the callback had returned */
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    close_connection(&p.client);
}

static void R31_disable_while_running_without_irp(void)
{
    struct pair p;
    KEVENT hold;

    KeInitializeEvent(&hold, NotificationEvent, FALSE);
    pair_open(&p, 0);
    p.client.hold = &hold;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_close(p.peer);
    wait_for_callback(&p.client);
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISABLE | WSK_EVENT_DISCONNECT, NULL), STATUS_EVENT_PENDING);
    KeSetEvent(&hold, IO_NO_INCREMENT, FALSE);
    close_connection(&p.client);
}

static void R70_close_waits_for_the_callback(void)
{
    struct pair p;
    struct call *closing;
    KEVENT hold;

    KeInitializeEvent(&hold, NotificationEvent, FALSE);
    pair_open(&p, 0);
    p.client.hold = &hold;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_reset(p.peer);
    wait_for_callback(&p.client);
    closing = close_begin(p.client.socket);
    CHECK(!call_done(closing));
    KeSetEvent(&hold, IO_NO_INCREMENT, FALSE);
    call_wait(closing);
    CHECK_EQ(p.client.abortive, 1);
    CHECK_EQ(call_end(closing), STATUS_SUCCESS);
}

static void R34_wrong_npi(void)
{
    static const NPIID other = {1, 2, 3, {4}};
    struct pair p;
    WSK_EVENT_CALLBACK_CONTROL control = {&other, WSK_EVENT_DISCONNECT};

    pair_open(&p, 0);
    CHECK_EQ(((const WSK_PROVIDER_BASIC_DISPATCH *)p.client.socket->Dispatch)
                 ->WskControlSocket(p.client.socket, WskSetOption, SO_WSK_EVENT_CALLBACK, SOL_SOCKET, sizeof control,
                                    &control, 0, NULL, NULL, NULL),
             STATUS_INVALID_PARAMETER);
    peer_close(p.peer);
    close_connection(&p.client);
}

static void R36_static_events(void)
{
    struct pair p;

    CHECK_EQ(set_static_events(WSK_EVENT_DISCONNECT | WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE_FROM),
             STATUS_SUCCESS); /* R37 */
    pair_open(&p, 0);
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISABLE | WSK_EVENT_DISCONNECT, NULL), STATUS_INVALID_DEVICE_STATE);
    peer_reset(p.peer);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    close_connection(&p.client);
}

static void R36_static_events_after_the_first_socket(void)
{
    struct connection client;

    expect_rule("R36");
    CHECK_EQ(open_socket(&client, WSK_FLAG_CONNECTION_SOCKET, &connection_events), STATUS_SUCCESS);
    CHECK_EQ(set_static_events(WSK_EVENT_DISCONNECT), STATUS_INVALID_DEVICE_STATE);
    close_connection(&client);
}

static void start_send(struct connection *connection)
{
    connection->started = send_bytes(connection, 7, 0);
}

static void start_close(struct connection *connection)
{
    connection->started = close_begin(connection->socket);
    CHECK(!call_done(connection->started));
}

static void R16_send_from_the_callback(void)
{
    struct pair p;

    pair_open(&p, 0);
    p.client.in_event = start_send;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_shutdown_write(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    peer_receive(p.peer, 7);
    CHECK_EQ(call_end(p.client.started), STATUS_SUCCESS);
    peer_close(p.peer);
    close_connection(&p.client);
}

static void R16_close_from_the_callback(void)
{
    struct pair p;

    pair_open(&p, 0);
    p.client.in_event = start_close;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_reset(p.peer);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    CHECK_EQ(call_end(p.client.started), STATUS_SUCCESS);
}

static void R51_receive_event_takes_all(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT);
    peer_send(p.peer, 100000);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    CHECK_EQ(p.client.indicated, 100000); /* R55: all the data before the event */
    CHECK(p.client.chained > 0);
    close_connection(&p.client);
}

/* All of it is there before the event is on: one indication, of several buffers, each at an offset of its own. */
static void R53_a_long_indication_accepted_in_part(void)
{
    struct pair p;

    pair_open(&p, 0);
    p.client.answer = TAKE_SOME;
    p.client.take = 2000;
    peer_send(p.peer, 5000);
    CHECK_EQ(call_end_bytes(receive(&p.client, 0, 0), STATUS_SUCCESS), 0);
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_RECEIVE, NULL), STATUS_SUCCESS);
    CHECK(wait_until(&p.client, &p.client.indicated, 2000));
    CHECK(p.client.chained > 0);
    CHECK_EQ(call_end_bytes(receive(&p.client, 3000, WSK_FLAG_WAITALL), STATUS_SUCCESS), 3000);
    CHECK_EQ(p.client.indications, 1);
    peer_close(p.peer);
    close_connection(&p.client);
}

static void R50_receive_goes_before_the_event(void)
{
    struct pair p;
    struct call *call;

    pair_open(&p, 0);
    call = receive(&p.client, 10, WSK_FLAG_WAITALL);
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_RECEIVE, NULL), STATUS_SUCCESS);
    peer_send(p.peer, 10);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 10);
    CHECK_EQ(p.client.indications, 0);
    peer_send(p.peer, 5);
    CHECK(wait_until(&p.client, &p.client.indicated, 5));
    peer_close(p.peer);
    close_connection(&p.client);
}

static void R52_refused_data_waits_for_a_receive(void)
{
    struct pair p;

    pair_open(&p, 0);
    p.client.answer = REFUSE;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_send(p.peer, 30);
    CHECK(wait_until(&p.client, &p.client.indications, 1));
    peer_send(p.peer, 30);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1)); /* the event comes all the same */
    CHECK_EQ(p.client.indications, 1);
    CHECK_EQ(call_end_bytes(receive(&p.client, 60, WSK_FLAG_WAITALL), STATUS_SUCCESS), 60);
    close_connection(&p.client);
}

static void R53_data_accepted_in_part(void)
{
    struct pair p;

    pair_open(&p, 0);
    p.client.answer = TAKE_SOME;
    p.client.take = 12;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_RECEIVE, NULL), STATUS_SUCCESS);
    peer_send(p.peer, 30);
    CHECK(wait_until(&p.client, &p.client.indicated, 12));
    p.client.answer = TAKE_ALL;
    CHECK_EQ(call_end_bytes(receive(&p.client, 0, 0), STATUS_SUCCESS),
             0); /* of length 0: only switches indications on */
    CHECK(wait_until(&p.client, &p.client.indicated, 30));
    peer_close(p.peer);
    close_connection(&p.client);
}

static void R54_kept_indications(void)
{
    struct pair p;

    pair_open(&p, 0);
    p.client.answer = KEEP;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_send(p.peer, 3000);
    CHECK(wait_until(&p.client, &p.client.indications, 1));
    peer_reset(p.peer);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    CHECK(p.client.kept->Next != NULL);
    CHECK_EQ(functions(&p.client)->WskRelease(p.client.socket, p.client.kept), STATUS_SUCCESS);
    close_connection(&p.client);
}

static void R54_kept_indications_never_released(void)
{
    struct pair p;

    expect_rule("R54");
    pair_open(&p, 0);
    p.client.answer = KEEP;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_RECEIVE, NULL), STATUS_SUCCESS);
    peer_send(p.peer, 10);
    CHECK(wait_until(&p.client, &p.client.indications, 1));
    peer_close(p.peer);
    close_connection(&p.client);
}

const struct test event_tests[] = {
    {"R24_enabling_with_an_irp_completes_it", R24_enabling_with_an_irp_completes_it},
    {"R25_enabling_needs_a_connection", R25_enabling_needs_a_connection},
    {"R28_two_disables_at_once", R28_two_disables_at_once},
    {"R29_disable_then_fin_then_enable", R29_disable_then_fin_then_enable},
    {"R30_disable_while_running_with_irp", R30_disable_while_running_with_irp},
    {"R31_disable_while_running_without_irp", R31_disable_while_running_without_irp},
    {"R70_close_waits_for_the_callback", R70_close_waits_for_the_callback},
    {"R34_wrong_npi", R34_wrong_npi},
    {"R36_static_events", R36_static_events},
    {"R36_static_events_after_the_first_socket", R36_static_events_after_the_first_socket},
    {"R16_send_from_the_callback", R16_send_from_the_callback},
    {"R16_close_from_the_callback", R16_close_from_the_callback},
    {"R51_receive_event_takes_all", R51_receive_event_takes_all},
    {"R50_receive_goes_before_the_event", R50_receive_goes_before_the_event},
    {"R52_refused_data_waits_for_a_receive", R52_refused_data_waits_for_a_receive},
    {"R53_data_accepted_in_part", R53_data_accepted_in_part},
    {"R53_a_long_indication_accepted_in_part", R53_a_long_indication_accepted_in_part},
    {"R54_kept_indications", R54_kept_indications},
    {"R54_kept_indications_never_released", R54_kept_indications_never_released},
    {NULL, NULL},
};
