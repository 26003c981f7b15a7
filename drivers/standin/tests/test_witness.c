/* What the provider tells of every call and callback with the strict mode on, and the contexts that it looks at. */
#include "client.h"
#include "peer.h"
#include "strict.h"

static void a_connection_is_told_call_by_call(void)
{
    struct pair p;

    watch_witness(true);
    pair_open(&p, WSK_EVENT_DISCONNECT);
    CHECK_EQ(witness_seen("ev=call fn=WskSocketConnect", "st=00000103"), 1);
    CHECK_EQ(witness_seen("ev=done fn=WskSocketConnect", "st=00000000"), 1);
    CHECK_EQ(witness_seen("ev=open fn=WskSocketConnect", "st=00000000"), 1);
    CHECK_EQ(witness_seen("ev=call fn=WskControlSocket", "flags=00000080 st=00000000"), 1);
    peer_reset(p.peer);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    close_connection(&p.client);
    CHECK_EQ(witness_seen("ev=event fn=WskDisconnectEvent", "flags=00000001"), 1);
    CHECK_EQ(witness_seen("ev=back fn=WskDisconnectEvent", "st=00000000"), 1);
    CHECK_EQ(witness_seen("ev=call fn=WskCloseSocket", "st=00000103"), 1);
    CHECK_EQ(witness_seen("ev=done fn=WskCloseSocket", "st=00000000"), 1);
    watch_witness(false);
}

static void what_a_callback_returns_is_told(void)
{
    struct pair p;

    watch_witness(true);
    expect_rule("R10");
    pair_open(&p, 0);
    p.client.return_status = STATUS_UNSUCCESSFUL;
    CHECK_EQ(set_events(p.client.socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    close_connection(&p.client);
    CHECK_EQ(witness_seen("ev=back fn=WskDisconnectEvent", "st=c0000001"), 1);
    watch_witness(false);
}

static void a_call_on_a_closed_socket_is_told(void)
{
    struct pair p;
    struct call *call = call_new(4);
    const WSK_PROVIDER_CONNECTION_DISPATCH *table;

    expect_rule("R72");
    pair_open(&p, 0);
    table = functions(&p.client);
    close_connection(&p.client);
    watch_witness(true);
    call->returned = table->WskSend(p.client.socket, &call->buffer, 0, call->irp);
    CHECK_EQ(call_end(call), STATUS_INVALID_HANDLE);
    CHECK_EQ(witness_seen("ev=call fn=WskSend", "st=c0000008"), 1);
    CHECK_EQ(witness_seen("ev=done fn=WskSend", "st=c0000008"), 1);
    watch_witness(false);
    peer_close(p.peer);
}

static void R4_context_on_the_stack(void)
{
    int port = 0, listener = peer_listen(&port);
    struct connection connection; /* as a driver must not */

    expect_rule("R4");
    strict_turn_on(STRICT_MEMORY);
    CHECK_EQ(open_socket(&connection, WSK_FLAG_CONNECTION_SOCKET, &connection_events), STATUS_SUCCESS);
    strict_turn_on(0);
    CHECK_EQ(rule_seen("R4"), 1);
    close_connection(&connection);
    peer_close(listener);
}

/* A socket with this context, closed again; the provider looks at the context with the memory checks on. */
static void open_with(void *context)
{
    struct call *call = call_new(0);
    PWSK_SOCKET socket;

    strict_turn_on(STRICT_MEMORY);
    call->returned = wsk->WskSocket(wsk_client, AF_INET, SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_CONNECTION_SOCKET, context,
                                    NULL, NULL, NULL, NULL, call->irp);
    strict_turn_on(0);
    call_wait(call);
    socket = (PWSK_SOCKET)call->information;
    CHECK_EQ(call_end(call), STATUS_SUCCESS);
    CHECK_EQ(call_end(close_begin(socket)), STATUS_SUCCESS);
}

static void *block(bool paged)
{
    bool exhausted;
    void *made = pool_allocate(&SITE("test"), paged, 64, 0x74736554, &exhausted);

    CHECK(made != NULL);
    return made;
}

static void R4_context_that_was_freed(void)
{
    void *context = block(false);

    expect_rule("R4");
    open_with(context);
    CHECK_EQ(rule_seen("R4"), 0);
    CHECK(pool_free(&SITE("test"), context, 0x74736554));
    open_with(context);
    CHECK_EQ(rule_seen("R4"), 1);
}

static void R42_context_in_paged_pool(void)
{
    void *context = block(true);

    expect_rule("R42");
    open_with(context);
    CHECK_EQ(rule_seen("R42"), 1);
    CHECK(pool_free(&SITE("test"), context, 0x74736554));
}

static void nothing_is_told_unasked(void)
{
    struct pair p;

    watch_witness(false);
    pair_open(&p, WSK_EVENT_DISCONNECT);
    peer_close(p.peer);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    close_connection(&p.client);
    CHECK_EQ(witness_seen("WSKSEEN", ""), 0);
}

const struct test witness_tests[] = {
    {"a_connection_is_told_call_by_call", a_connection_is_told_call_by_call},
    {"what_a_callback_returns_is_told", what_a_callback_returns_is_told},
    {"a_call_on_a_closed_socket_is_told", a_call_on_a_closed_socket_is_told},
    {"R4_context_on_the_stack", R4_context_on_the_stack},
    {"R4_context_that_was_freed", R4_context_that_was_freed},
    {"R42_context_in_paged_pool", R42_context_in_paged_pool},
    {"nothing_is_told_unasked", nothing_is_told_unasked},
    {NULL, NULL},
};
