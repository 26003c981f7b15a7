/* How connections begin, and how the peer ends them: what the driver is told against what the peer does. */
#include "client.h"
#include "peer.h"

static void C01_fin(void)
{
    struct pair p;
    struct call *pending;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    pending = receive(&p.client, 10, 0);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    CHECK_EQ(call_end_bytes(pending, STATUS_SUCCESS), 0); /* R43 */
    CHECK_EQ(call_end_bytes(receive(&p.client, 10, 0), STATUS_SUCCESS), 0);
    CHECK_EQ(p.client.abortive, 0);
    close_connection(&p.client);
}

static void C02_half_close_then_send(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    peer_shutdown_write(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    CHECK_EQ(call_end_bytes(send_bytes(&p.client, 5000, 0), STATUS_SUCCESS), 5000); /* R12 */
    peer_receive(p.peer, 5000);
    CHECK_EQ(call_end(disconnect(&p.client, 0)), STATUS_SUCCESS);
    CHECK_EQ(peer_end(p.peer), 0);
    peer_close(p.peer);
    CHECK_EQ(p.client.abortive, 0);
    close_connection(&p.client);
}

static void C05_reset(void)
{
    struct pair p;
    struct call *pending;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    pending = receive(&p.client, 10, 0);
    peer_reset(p.peer);
    CHECK(wait_until(&p.client, &p.client.abortive, 1)); /* R5 */
    CHECK_EQ(p.client.graceful, 0);
    CHECK_EQ(call_end(pending), STATUS_CONNECTION_RESET); /* R45 */
    CHECK_EQ(call_end(receive(&p.client, 10, 0)), STATUS_CONNECTION_RESET);
    CHECK_EQ(call_end(send_bytes(&p.client, 4, 0)), STATUS_CONNECTION_RESET); /* R13 */
    CHECK_EQ(call_end(disconnect(&p.client, 0)), STATUS_FILE_FORCED_CLOSED); /* R67 */
    CHECK_EQ(p.client.events, 1);
    close_connection(&p.client);
}

static void C07_data_then_fin(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    peer_send(p.peer, 20);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1)); /* nobody reads: the event does not wait */
    CHECK_EQ(call_end_bytes(receive(&p.client, 100, 0), STATUS_SUCCESS), 20);
    CHECK_EQ(call_end_bytes(receive(&p.client, 100, 0), STATUS_SUCCESS), 0);
    close_connection(&p.client);
}

static void C09_data_then_reset(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    peer_send(p.peer, 20);
    peer_reset(p.peer);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    CHECK_EQ(p.client.graceful, 0);
    CHECK_EQ(call_end_bytes(receive(&p.client, 100, 0), STATUS_SUCCESS), 20);
    CHECK_EQ(call_end(receive(&p.client, 100, 0)), STATUS_CONNECTION_RESET);
    close_connection(&p.client);
}

static void C10_peer_closes_with_unread_data(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    CHECK_EQ(call_end(send_bytes(&p.client, 10, 0)), STATUS_SUCCESS);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    CHECK_EQ(p.client.graceful, 0);
    close_connection(&p.client);
}

static void C16_fin_then_reset(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    peer_shutdown_write(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    peer_reset(p.peer);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    CHECK_EQ(p.client.order[0], 'g');
    CHECK_EQ(p.client.order[1], 'a');
    CHECK_EQ(p.client.events, 2);
    close_connection(&p.client);
}

static void C17_send_after_full_close(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    CHECK_EQ(call_end(send_bytes(&p.client, 4, 0)), STATUS_SUCCESS);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    CHECK_EQ(call_end(send_bytes(&p.client, 4, 0)), STATUS_CONNECTION_RESET);
    close_connection(&p.client);
}

static void C21_connect_refused(void)
{
    struct connection client;

    CHECK_EQ(connect_to(&client, peer_closed_port()), STATUS_CONNECTION_REFUSED);
    CHECK_EQ(open_socket(&client, WSK_FLAG_CONNECTION_SOCKET, NULL), STATUS_SUCCESS);
    CHECK_EQ(call_end(bind_socket(client.socket, 0)), STATUS_SUCCESS);
    CHECK_EQ(call_end(connect_socket(client.socket, peer_closed_port())), STATUS_CONNECTION_REFUSED);
    close_connection(&client);
}

static void C25_reset_before_enabling(void)
{
    struct pair p;

    pair_open(&p, 0);
    peer_reset(p.peer);
    CHECK_EQ(call_end(receive(&p.client, 1, 0)), STATUS_CONNECTION_RESET); /* so it has arrived */
    CHECK_EQ(p.client.events, 0);                                         /* R2 */
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    CHECK(wait_until(&p.client, &p.client.abortive, 1)); /* R35 */
    close_connection(&p.client);
}

static void C26_fin_before_enabling(void)
{
    struct pair p;

    pair_open(&p, 0);
    peer_close(p.peer);
    CHECK_EQ(call_end_bytes(receive(&p.client, 1, 0), STATUS_SUCCESS), 0);
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    close_connection(&p.client);
}

static void C28_close_with_connect_pending(void)
{
    struct connection client;
    struct call *connecting, *closing;
    int port = 0, listener = peer_listen_deaf(&port);

    CHECK_EQ(open_socket(&client, WSK_FLAG_CONNECTION_SOCKET, &connection_events), STATUS_SUCCESS);
    CHECK_EQ(call_end(bind_socket(client.socket, 0)), STATUS_SUCCESS);
    connecting = connect_socket(client.socket, port);
    closing = close_begin(client.socket);
    call_wait(closing);
    CHECK(call_done(connecting)); /* before the close was (R69) */
    CHECK_EQ(call_end(closing), STATUS_SUCCESS);
    CHECK_EQ(call_end(connecting), STATUS_CANCELLED);
    peer_close(listener);
}

static void cancel_a_connect(void)
{
    SOCKADDR_IN local = loopback(0), remote;
    struct connection client;
    struct call *connecting;
    int port = 0, listener = peer_listen_deaf(&port);

    CHECK_EQ(open_socket(&client, WSK_FLAG_CONNECTION_SOCKET, &connection_events), STATUS_SUCCESS);
    CHECK_EQ(call_end(bind_socket(client.socket, 0)), STATUS_SUCCESS);
    connecting = connect_socket(client.socket, port);
    IoCancelIrp(connecting->irp);
    CHECK_EQ(call_end(connecting), STATUS_CANCELLED);
    CHECK_EQ(call_end(connect_socket(client.socket, port)), STATUS_INVALID_DEVICE_STATE);
    close_connection(&client);

    remote = loopback(port);
    connecting = call_new(0);
    connecting->returned =
        wsk->WskSocketConnect(wsk_client, SOCK_STREAM, IPPROTO_TCP, (PSOCKADDR)&local, (PSOCKADDR)&remote, 0, &client,
                              &connection_events, NULL, NULL, NULL, connecting->irp);
    IoCancelIrp(connecting->irp);
    CHECK_EQ(call_end(connecting), STATUS_CANCELLED);
    peer_close(listener);
}

static void set_option(struct connection *client, ULONG level, ULONG name, ULONG value)
{
    const WSK_PROVIDER_BASIC_DISPATCH *basic = client->socket->Dispatch;

    CHECK_EQ(
        basic->WskControlSocket(client->socket, WskSetOption, name, level, sizeof value, &value, 0, NULL, NULL, NULL),
        STATUS_SUCCESS);
}

static void C30_unacknowledged_data(void)
{
    struct pair p;
    struct call *pending;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    set_option(&p.client, IPPROTO_TCP, TCP_MAXRTMS, 300);
    peer_go_deaf(p.peer);
    pending = receive(&p.client, 10, 0);
    CHECK_EQ(call_end(send_bytes(&p.client, 10, 0)), STATUS_SUCCESS); /* sent; nobody acknowledges it */
    CHECK_EQ(call_end(pending), STATUS_IO_TIMEOUT);
    CHECK(wait_until(&p.client, &p.client.abortive, 1)); /* R22, X */
    peer_close(p.peer);
    close_connection(&p.client);
}

static void C31_keepalive(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    set_option(&p.client, IPPROTO_TCP, TCP_KEEPIDLE, 1);
    set_option(&p.client, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    set_option(&p.client, IPPROTO_TCP, TCP_KEEPCNT, 1);
    set_option(&p.client, SOL_SOCKET, SO_KEEPALIVE, 1);
    peer_go_deaf(p.peer);
    CHECK_EQ(call_end(receive(&p.client, 10, 0)), STATUS_IO_TIMEOUT);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    peer_close(p.peer);
    close_connection(&p.client);
}

static void C33_peer_vanished(void)
{
    struct pair p;

    pair_open(&p, WSK_EVENT_DISCONNECT);
    peer_vanish(p.peer);
    CHECK_EQ(call_end(send_bytes(&p.client, 2, 0)), STATUS_SUCCESS);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    CHECK_EQ(p.client.graceful, 0);
    close_connection(&p.client);
}

static void ipv6(void)
{
    struct connection client;
    SOCKADDR_IN6 local = {.sin6_family = AF_INET6}, remote = local, seen = {0};
    struct call *call = call_new(0);
    int port, listener = peer_listen6(&port), peer;

    local.sin6_addr.u.Byte[15] = remote.sin6_addr.u.Byte[15] = 1;
    remote.sin6_port = RtlUshortByteSwap((USHORT)port);
    connection_init(&client);
    call->returned = wsk->WskSocketConnect(wsk_client, SOCK_STREAM, IPPROTO_TCP, (PSOCKADDR)&local, (PSOCKADDR)&remote,
                                           0, &client, &connection_events, NULL, NULL, NULL, call->irp);
    call_wait(call);
    client.socket = (PWSK_SOCKET)call->information;
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    peer = peer_accept(listener);
    call = call_new(0);
    call->returned = functions(&client)->WskGetRemoteAddress(client.socket, (PSOCKADDR)&seen, call->irp);
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    CHECK_EQ(seen.sin6_family, AF_INET6);
    CHECK_EQ(seen.sin6_port, remote.sin6_port);
    CHECK_EQ(set_events(client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_reset(peer);
    CHECK(wait_until(&client, &client.abortive, 1));
    close_connection(&client);
    peer_close(listener);
}

const struct test connection_tests[] = {
    {"C01_fin", C01_fin},
    {"C02_half_close_then_send", C02_half_close_then_send},
    {"C05_reset", C05_reset},
    {"C07_data_then_fin", C07_data_then_fin},
    {"C09_data_then_reset", C09_data_then_reset},
    {"C10_peer_closes_with_unread_data", C10_peer_closes_with_unread_data},
    {"C16_fin_then_reset", C16_fin_then_reset},
    {"C17_send_after_full_close", C17_send_after_full_close},
    {"C21_connect_refused", C21_connect_refused},
    {"C25_reset_before_enabling", C25_reset_before_enabling},
    {"C26_fin_before_enabling", C26_fin_before_enabling},
    {"C28_close_with_connect_pending", C28_close_with_connect_pending},
    {"cancel_a_connect", cancel_a_connect},
    {"C30_unacknowledged_data", C30_unacknowledged_data},
    {"C31_keepalive", C31_keepalive},
    {"C33_peer_vanished", C33_peer_vanished},
    {"ipv6", ipv6},
    {NULL, NULL},
};
