/* Ends made by this side: disconnect, abort, close, silent mode. */
#include "client.h"
#include "peer.h"

static void C53_local_disconnect_first(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    CHECK_EQ(call_end(disconnect(&p.client, 0)), STATUS_SUCCESS); /* R60 */
    CHECK_EQ(peer_end(p.peer), 0);
    CHECK_EQ(p.client.events, 0); /* R21 */
    CHECK_EQ(call_end(send_bytes(&p.client, 1, 0)), STATUS_LOCAL_DISCONNECT);
    peer_send(p.peer, 300);
    CHECK_EQ(call_end_bytes(receive(&p.client, 300, WSK_FLAG_WAITALL), STATUS_SUCCESS), 300);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    CHECK_EQ(p.client.abortive, 0);
    close_connection(&p.client);
}

static void C55_local_disconnect_answered_by_reset(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    CHECK_EQ(call_end(disconnect(&p.client, 0)), STATUS_SUCCESS);
    peer_reset(p.peer);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    CHECK_EQ(p.client.graceful, 0);
    close_connection(&p.client);
}

static void R21_local_abort_makes_no_event(void)
{
    struct pair p;
    struct call *pending;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    pending = receive(&p.client, 10, 0);
    CHECK_EQ(call_end(disconnect(&p.client, WSK_FLAG_ABORTIVE)), STATUS_SUCCESS);
    CHECK_EQ(call_end(pending), STATUS_CANCELLED); /* R64 */
    CHECK(peer_end(p.peer) != 0);
    CHECK_EQ(call_end(send_bytes(&p.client, 1, 0)), STATUS_LOCAL_DISCONNECT); /* R66 */
    CHECK_EQ(call_end(receive(&p.client, 1, 0)), STATUS_LOCAL_DISCONNECT);
    CHECK_EQ(p.client.events, 0);
    peer_close(p.peer);
    close_connection(&p.client);
}

static void R65_disconnect_without_connection(void)
{
    struct connection client;

    expect_rule("R65");
    CHECK_EQ(open_socket(&client, WSK_FLAG_CONNECTION_SOCKET, &connection_events), STATUS_SUCCESS);
    CHECK_EQ(call_end(disconnect(&client, 0)), STATUS_INVALID_DEVICE_STATE);
    close_connection(&client);
}

static void R69_close_with_receives_pending(void)
{
    struct pair p;
    struct call *pending[4], *closing;

    pair_open(&p, 0);
    for (int i = 0; i < 4; i++)
        pending[i] = receive(&p.client, 10, 0);
    closing = close_begin(p.client.socket);
    call_wait(closing);
    for (int i = 0; i < 4; i++) {
        CHECK(call_done(pending[i]));
        CHECK_EQ(call_end(pending[i]), STATUS_CANCELLED);
    }
    CHECK_EQ(call_end(closing), STATUS_SUCCESS);
    peer_close(p.peer);
}

static void R71_close_is_abortive(void)
{
    struct pair p;

    pair_open(&p, 0);
    close_connection(&p.client);
    CHECK(peer_end(p.peer) != 0);
    peer_close(p.peer);
}

static void R71_close_after_half_a_disconnect_is_abortive(void)
{
    struct pair p;

    pair_open(&p, 0);
    CHECK_EQ(call_end(disconnect(&p.client, 0)), STATUS_SUCCESS);
    close_connection(&p.client);
    CHECK_EQ(peer_end(p.peer), 0); /* the FIN came first ... */
    peer_close(p.peer);
}

static void R71_close_after_both_fins_is_silent(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    peer_send(p.peer, 100); /* never read: must not become a RST */
    peer_shutdown_write(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    CHECK_EQ(call_end(disconnect(&p.client, 0)), STATUS_SUCCESS);
    close_connection(&p.client);
    CHECK_EQ(peer_end(p.peer), 0);
    peer_close(p.peer);
}

static void R87_silent_mode(void)
{
    struct pair p;
    struct call *silence;
    const WSK_PROVIDER_BASIC_DISPATCH *basic;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    basic = p.client.socket->Dispatch;
    silence = call_new(0);
    silence->returned = basic->WskControlSocket(p.client.socket, WskIoctl, SIO_WSK_SET_TCP_SILENT_MODE, 0, 0, NULL, 0,
                                                NULL, NULL, silence->irp);
    CHECK_EQ(call_end(silence), STATUS_SUCCESS);
    CHECK_EQ(call_end(send_bytes(&p.client, 1, 0)), STATUS_INVALID_DEVICE_STATE);
    CHECK_EQ(call_end(disconnect(&p.client, 0)), STATUS_INVALID_DEVICE_STATE);
    peer_reset(p.peer); /* is dropped */
    CHECK_EQ(p.client.events, 0);
    close_connection(&p.client);
}

const struct test closing_tests[] = {
    {"C53_local_disconnect_first", C53_local_disconnect_first},
    {"C55_local_disconnect_answered_by_reset", C55_local_disconnect_answered_by_reset},
    {"R21_local_abort_makes_no_event", R21_local_abort_makes_no_event},
    {"R65_disconnect_without_connection", R65_disconnect_without_connection},
    {"R69_close_with_receives_pending", R69_close_with_receives_pending},
    {"R71_close_is_abortive", R71_close_is_abortive},
    {"R71_close_after_half_a_disconnect_is_abortive", R71_close_after_half_a_disconnect_is_abortive},
    {"R71_close_after_both_fins_is_silent", R71_close_after_both_fins_is_silent},
    {"R87_silent_mode", R87_silent_mode},
    {NULL, NULL},
};
