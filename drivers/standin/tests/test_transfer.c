/* Sends and receives. */
#include "client.h"
#include "peer.h"

static void check_bytes(const struct call *call, SIZE_T count, SIZE_T position)
{
    for (SIZE_T i = 0; i < count; i++)
        CHECK_EQ(call->data[i], (position + i) % 251);
}

static void R43_receive_what_is_there(void)
{
    struct pair p;
    struct call *call;

    pair_open_tiny(&p, 0);
    call = receive(&p.client, 100, 0);
    CHECK_EQ(call->returned, STATUS_PENDING);
    peer_send(p.peer, 30);
    call_wait(call);
    check_bytes(call, 30, 0);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 30);
    peer_close(p.peer);
    close_connection(&p.client);
}

static void R44_several_receives_end_with_zero(void)
{
    struct pair p;
    struct call *calls[4];

    pair_open_tiny(&p, 0);
    for (int i = 0; i < 4; i++)
        calls[i] = receive(&p.client, 10, 0);
    peer_close(p.peer);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(call_end_bytes(calls[i], STATUS_SUCCESS), 0);
    close_connection(&p.client);
}

static void R47_waitall(void)
{
    struct pair p;
    struct call *call;

    pair_open_tiny(&p, 0);
    call = receive(&p.client, 100, WSK_FLAG_WAITALL);
    peer_send(p.peer, 40);
    CHECK(!call_done(call));
    peer_send(p.peer, 60);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 100);
    call = receive(&p.client, 100, WSK_FLAG_WAITALL);
    peer_send(p.peer, 40);
    peer_close(p.peer);
    call_wait(call);
    check_bytes(call, 40, 0);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 40);
    close_connection(&p.client);
}

static void R48_drain(void)
{
    struct pair p;
    struct call *call;

    pair_open_tiny(&p, WSK_EVENT_DISCONNECT);
    call = receive(&p.client, 0, WSK_FLAG_DRAIN);
    peer_send(p.peer, 1000000);
    CHECK(!call_done(call));
    peer_close(p.peer);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 0);
    CHECK(wait_until(&p.client, &p.client.graceful, 1));
    close_connection(&p.client);
}

static void R48_drain_ends_with_reset(void)
{
    struct pair p;
    struct call *call;

    pair_open_tiny(&p, 0);
    call = receive(&p.client, 0, WSK_FLAG_DRAIN);
    peer_send(p.peer, 1000);
    peer_reset(p.peer);
    CHECK_EQ(call_end(call), STATUS_CONNECTION_RESET);
    close_connection(&p.client);
}

static void R49_waitall_and_drain_exclude_each_other(void)
{
    struct pair p;

    pair_open_tiny(&p, 0);
    CHECK_EQ(call_end(receive(&p.client, 0, WSK_FLAG_WAITALL | WSK_FLAG_DRAIN)), STATUS_INVALID_PARAMETER);
    CHECK_EQ(call_end(receive(&p.client, 5, WSK_FLAG_DRAIN)), STATUS_INVALID_PARAMETER);
    peer_close(p.peer);
    close_connection(&p.client);
}

static void receive_of_nothing_waits_for_data(void)
{
    struct pair p;
    struct call *call;

    pair_open_tiny(&p, 0);
    call = receive(&p.client, 0, 0);
    peer_send(p.peer, 8);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 0);
    CHECK_EQ(call_end_bytes(receive(&p.client, 100, 0), STATUS_SUCCESS), 8);
    peer_close(p.peer);
    close_connection(&p.client);
}

/* Offset and a chain of MDLs: the parts of two blocks that the WSK_BUF names. */
static void buffers_of_several_mdls(void)
{
    struct pair p;
    UCHAR first[600], second[5000];
    struct call *call = call_new(0);

    for (int i = 0; i < 500; i++)
        first[100 + i] = (UCHAR)(i % 251);
    for (int i = 0; i < 5000; i++)
        second[i] = (UCHAR)((500 + i) % 251);
    pair_open_tiny(&p, 0);
    call->buffer.Mdl = IoAllocateMdl(first, sizeof first, FALSE, FALSE, NULL);
    call->buffer.Mdl->Next =
        IoAllocateMdl(second, sizeof second, FALSE, FALSE, NULL); /* not built: Wine's never look built */
    call->buffer.Offset = 100;
    call->buffer.Length = 500 + 3000;
    MmBuildMdlForNonPagedPool(call->buffer.Mdl);
    call->returned = functions(&p.client)->WskSend(p.client.socket, &call->buffer, 0, call->irp);
    peer_receive(p.peer, 3500);
    call_wait(call);
    IoFreeMdl(call->buffer.Mdl->Next);
    IoFreeMdl(call->buffer.Mdl);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 3500);
    peer_close(p.peer);
    close_connection(&p.client);
}

static void buffer_longer_than_its_mdl(void)
{
    struct pair p;
    struct call *call = call_new(10);

    pair_open_tiny(&p, 0);
    call->buffer.Length = 11;
    call->returned = functions(&p.client)->WskSend(p.client.socket, &call->buffer, 0, call->irp);
    CHECK_EQ(call_end(call), STATUS_INVALID_PARAMETER);
    peer_close(p.peer);
    close_connection(&p.client);
}

/* R57: the peer does not read, so the send cannot be complete. */
static void R57_send_waits_for_the_window(void)
{
    struct pair p;
    struct call *call;

    pair_open_tiny(&p, 0);
    call = send_bytes(&p.client, 4000000, 0);
    CHECK_EQ(call_end(receive(&p.client, 0, WSK_FLAG_WAITALL | WSK_FLAG_DRAIN)),
             STATUS_INVALID_PARAMETER); /* time passes */
    CHECK(!call_done(call));
    peer_receive(p.peer, 4000000);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 4000000);
    peer_close(p.peer);
    close_connection(&p.client);
}

/* R62, C47: data, then the FIN, even when the window was closed in between. */
static void R60_disconnect_waits_for_sends(void)
{
    struct pair p;
    struct call *sending, *leaving;

    pair_open_tiny(&p, 0);
    sending = send_bytes(&p.client, 2000000, 0);
    leaving = call_new(10);
    leaving->returned = functions(&p.client)->WskDisconnect(p.client.socket, &leaving->buffer, 0, leaving->irp);
    CHECK(!call_done(leaving));
    peer_receive(p.peer, 2000000);
    peer_receive(p.peer, 10);
    CHECK_EQ(call_end(sending), STATUS_SUCCESS);
    CHECK_EQ(call_end(leaving), STATUS_SUCCESS);
    CHECK_EQ(peer_end(p.peer), 0);
    peer_close(p.peer);
    close_connection(&p.client);
}

/* C50, R61: a graceful disconnect that hangs is ended by an abortive one. */
static void C50_abort_ends_a_hanging_disconnect(void)
{
    struct pair p;
    struct call *sending, *leaving;

    pair_open_tiny(&p, WSK_EVENT_DISCONNECT);
    sending = send_bytes(&p.client, 4000000, 0);
    leaving = disconnect(&p.client, 0);
    CHECK_EQ(call_end(disconnect(&p.client, WSK_FLAG_ABORTIVE)), STATUS_SUCCESS);
    CHECK_EQ(call_end(sending), STATUS_CANCELLED);
    CHECK_EQ(call_end(leaving), STATUS_CANCELLED);
    CHECK_EQ(p.client.events, 0);
    peer_close(p.peer);
    close_connection(&p.client);
}

/* C49: the peer closes without having read. */
static void C49_reset_with_send_pending(void)
{
    struct pair p;
    struct call *sending, *reading;

    pair_open_tiny(&p, WSK_EVENT_DISCONNECT);
    sending = send_bytes(&p.client, 4000000, 0);
    reading = receive(&p.client, 10, 0);
    peer_receive(p.peer, 1); /* so there is more to read, and the close makes a RST */
    peer_close(p.peer);
    CHECK_EQ(call_end(sending), STATUS_CONNECTION_RESET);
    CHECK_EQ(call_end(reading), STATUS_CONNECTION_RESET);
    CHECK(wait_until(&p.client, &p.client.abortive, 1));
    close_connection(&p.client);
}

static void cancel_a_receive(void)
{
    struct pair p;
    struct call *first, *second;

    pair_open_tiny(&p, 0);
    first = receive(&p.client, 10, 0);
    second = receive(&p.client, 10, 0);
    IoCancelIrp(first->irp);
    CHECK_EQ(call_end(first), STATUS_CANCELLED);
    peer_send(p.peer, 10);
    CHECK_EQ(call_end_bytes(second, STATUS_SUCCESS), 10);
    peer_close(p.peer);
    close_connection(&p.client);
}

/* Cancelling races with completion: each IRP is completed once, and nothing is lost. */
static void cancel_races_with_data(void)
{
    struct pair p;
    SIZE_T received = 0;

    pair_open_tiny(&p, 0);
    for (int round = 0; round < 300; round++) {
        struct call *call = receive(&p.client, 1, 0);

        peer_send(p.peer, 1);
        if (round % 2)
            IoCancelIrp(call->irp);
        call_wait(call);
        received += call->information;
        call_end(call);
    }
    while (received < 300)
        received += call_end_bytes(receive(&p.client, 300, 0), STATUS_SUCCESS);
    peer_close(p.peer);
    close_connection(&p.client);
}

static void irp_cancelled_before_the_call(void)
{
    struct pair p;
    struct call *call = call_new(10);

    pair_open_tiny(&p, 0);
    IoCancelIrp(call->irp);
    call->returned = functions(&p.client)->WskReceive(p.client.socket, &call->buffer, 0, call->irp);
    CHECK_EQ(call_end(call), STATUS_CANCELLED);
    peer_close(p.peer);
    close_connection(&p.client);
}

static void options(void)
{
    struct pair p;
    const WSK_PROVIDER_BASIC_DISPATCH *basic;
    const struct {
        ULONG level, name;
        ULONG value;
    } settable[] = {{SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 7}, {IPPROTO_TCP, TCP_KEEPINTVL, 3},
                    {IPPROTO_TCP, TCP_KEEPCNT, 4}, {IPPROTO_TCP, TCP_NODELAY, 1},  {IPPROTO_TCP, TCP_MAXRT, 9}};

    pair_open_tiny(&p, 0);
    basic = p.client.socket->Dispatch;
    for (SIZE_T i = 0; i < RTL_NUMBER_OF(settable); i++) {
        ULONG value = settable[i].value, back = 0;
        SIZE_T size = 0;
        struct call *call = call_new(0);

        call->returned = basic->WskControlSocket(p.client.socket, WskSetOption, settable[i].name, settable[i].level,
                                                 sizeof value, &value, 0, NULL, NULL, call->irp);
        CHECK_EQ(call_end(call), STATUS_SUCCESS);
        CHECK_EQ(basic->WskControlSocket(p.client.socket, WskGetOption, settable[i].name, settable[i].level, 0, NULL,
                                         sizeof back, &back, &size, NULL),
                 STATUS_SUCCESS);
        CHECK_EQ(back, value);
        CHECK_EQ(size, sizeof back);
    }
    peer_close(p.peer);
    close_connection(&p.client);
}

/* Without control information they are WskSend and WskReceive. */
static void send_ex_and_receive_ex(void)
{
    struct pair p;
    CMSGHDR control = {.cmsg_len = WSA_CMSG_LEN(0), .cmsg_level = IPPROTO_TCP, .cmsg_type = 1};
    ULONG length = sizeof control;
    struct call *call = call_new(4);

    expect_rule("unsupported");
    pair_open(&p, 0);
    call->returned = functions(&p.client)->WskSendEx(p.client.socket, &call->buffer, 0, 0, NULL, call->irp);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 4);
    peer_receive(p.peer, 4);
    call = call_new(4);
    call->returned =
        functions(&p.client)->WskSendEx(p.client.socket, &call->buffer, 0, sizeof control, &control, call->irp);
    CHECK_EQ(call_end(call), STATUS_NOT_SUPPORTED);

    peer_send(p.peer, 3);
    call = call_new(3);
    call->returned = functions(&p.client)->WskReceiveEx(p.client.socket, &call->buffer, WSK_FLAG_WAITALL, &length,
                                                        &control, NULL, call->irp);
    CHECK_EQ(call_end_bytes(call, STATUS_SUCCESS), 3);
    CHECK_EQ(length, 0);
    peer_close(p.peer);
    close_connection(&p.client);
}

const struct test transfer_tests[] = {
    {"R43_receive_what_is_there", R43_receive_what_is_there},
    {"R44_several_receives_end_with_zero", R44_several_receives_end_with_zero},
    {"R47_waitall", R47_waitall},
    {"R48_drain", R48_drain},
    {"R48_drain_ends_with_reset", R48_drain_ends_with_reset},
    {"R49_waitall_and_drain_exclude_each_other", R49_waitall_and_drain_exclude_each_other},
    {"receive_of_nothing_waits_for_data", receive_of_nothing_waits_for_data},
    {"buffers_of_several_mdls", buffers_of_several_mdls},
    {"buffer_longer_than_its_mdl", buffer_longer_than_its_mdl},
    {"R57_send_waits_for_the_window", R57_send_waits_for_the_window},
    {"R60_disconnect_waits_for_sends", R60_disconnect_waits_for_sends},
    {"C50_abort_ends_a_hanging_disconnect", C50_abort_ends_a_hanging_disconnect},
    {"C49_reset_with_send_pending", C49_reset_with_send_pending},
    {"cancel_a_receive", cancel_a_receive},
    {"cancel_races_with_data", cancel_races_with_data},
    {"irp_cancelled_before_the_call", irp_cancelled_before_the_call},
    {"options", options},
    {"send_ex_and_receive_ex", send_ex_and_receive_ex},
    {NULL, NULL},
};
