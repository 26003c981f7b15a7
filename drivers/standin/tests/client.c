/* See client.h. */
#include "client.h"

#include <string.h>
#include <unistd.h>

#include "lock.h"
#include "peer.h"
#include "strict.h"

PWSK_CLIENT wsk_client;
const WSK_PROVIDER_DISPATCH *wsk;
WSK_REGISTRATION registration;

static const WSK_CLIENT_DISPATCH client_dispatch = {.Version = MAKE_WSK_VERSION(1, 0)};
static WSK_CLIENT_NPI client_npi = {NULL, &client_dispatch};
static int descriptors;

/* ---- Debug lines ---------------------------------------------------------------------------------------------------------------- */

static char expected_rule[16];
static LONG expected_count;

static char told[1 << 16]; /* by the witness */
static size_t told_length;
static struct lock telling;

static void keep_told(const char *text)
{
    size_t length = strlen(text);

    lock_acquire(&telling);
    CHECK(told_length + length < sizeof told);
    memcpy(told + told_length, text, length);
    told_length += length;
    lock_release(&telling);
}

void watch_witness(bool on)
{
    lock_acquire(&telling);
    memset(told, 0, told_length);
    told_length = 0;
    lock_release(&telling);
    strict_turn_on(on ? STRICT_WITNESS : 0);
}

void scenario_asks(const char *settings)
{
    static char path[] = "/tmp/wsklab-settings-XXXXXX";
    static int made = -1;

    if (made < 0) {
        made = mkstemp(path);
        CHECK(made >= 0 && unlink(path) == 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", made);
        descriptors++; /* which stays open */
    }
    CHECK(ftruncate(made, 0) == 0 && pwrite(made, settings, strlen(settings), 0) == (ssize_t)strlen(settings));
    strict_settings_from(path);
}

int witness_seen(const char *first, const char *second)
{
    int count = 0;

    lock_acquire(&telling);
    for (const char *line = told; *line; line = strchr(line, '\n') + 1) {
        const char *found = strstr(line, first), *end = strchr(line, '\n');
        const char *then = found && found < end ? strstr(found, second) : NULL;

        count += then && then < end;
    }
    lock_release(&telling);
    return count;
}

static void on_debug(const char *text)
{
    char wanted[32];

    if (strstr(text, "WSKSEEN ") || strstr(text, "WSKSCARCE ")) {
        keep_told(text);
        return;
    }
    snprintf(wanted, sizeof wanted, "rule=%s ", expected_rule);
    if (expected_rule[0] && strstr(text, wanted)) {
        InterlockedIncrement(&expected_count);
        return;
    }
    fprintf(stderr, "unexpected debug line: %s", text);
    exit(1);
}

void expect_rule(const char *rule)
{
    snprintf(expected_rule, sizeof expected_rule, "%s", rule);
    InterlockedExchange(&expected_count, 0);
}

int rule_seen(const char *rule)
{
    CHECK(!strcmp(rule, expected_rule));
    return InterlockedExchangeAdd(&expected_count, 0);
}

/* ---- Calls -------------------------------------------------------------------------------------------------------------------------- */

static LARGE_INTEGER seconds(int count)
{
    return (LARGE_INTEGER){.QuadPart = -10000000ll * count};
}

static NTSTATUS NTAPI completed(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
    struct call *call = context;

    (void)device;
    CHECK(irp == call->irp);
    CHECK_EQ(InterlockedIncrement(&call->completions), 1);
    call->thread = os_thread_id();
    call->status = irp->IoStatus.Status;
    call->information = irp->IoStatus.Information;
    KeSetEvent(&call->done, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

struct call *call_new(SIZE_T size)
{
    struct call *call = calloc(1, sizeof *call);

    call->irp = IoAllocateIrp(1, FALSE);
    KeInitializeEvent(&call->done, NotificationEvent, FALSE);
    IoSetCompletionRoutine(call->irp, completed, call, TRUE, TRUE, TRUE);
    if (size) {
        call->data = malloc(size);
        for (SIZE_T i = 0; i < size; i++)
            call->data[i] = (UCHAR)(i % 251);
        call->buffer.Mdl = IoAllocateMdl(call->data, (ULONG)size, FALSE, FALSE, NULL);
        MmBuildMdlForNonPagedPool(call->buffer.Mdl);
        call->buffer.Length = size;
    }
    return call;
}

bool call_done(struct call *call)
{
    return KeReadStateEvent(&call->done) != 0;
}

void call_wait(struct call *call)
{
    LARGE_INTEGER limit = seconds(10);

    if (KeWaitForSingleObject(&call->done, Executive, KernelMode, FALSE, &limit) == STATUS_SUCCESS)
        return;
    fprintf(stderr, "an IRP was not completed\n");
    abort();
}

NTSTATUS call_end(struct call *call)
{
    NTSTATUS status;

    call_wait(call);
    status = call->status;
    if (call->returned != STATUS_PENDING)
        CHECK_EQ(call->returned, status); /* R86 */
    if (call->data) {
        IoFreeMdl(call->buffer.Mdl);
        free(call->data);
    }
    IoFreeIrp(call->irp);
    free(call);
    return status;
}

SIZE_T call_end_bytes(struct call *call, NTSTATUS expected)
{
    SIZE_T bytes;

    call_wait(call);
    bytes = call->information;
    CHECK_EQ(call_end(call), expected);
    return bytes;
}

/* ---- Events -------------------------------------------------------------------------------------------------------------------------- */

static void note(struct connection *connection, LONG what)
{
    LONG at = InterlockedIncrement(&connection->events) - 1;

    if (at < (LONG)RTL_NUMBER_OF(connection->order))
        connection->order[at] = what;
}

static NTSTATUS NTAPI on_disconnect(PVOID context, ULONG flags)
{
    struct connection *connection = context;

    CHECK_EQ(flags & ~(ULONG)WSK_FLAG_ABORTIVE, 0); /* R9, and never WSK_FLAG_AT_DISPATCH_LEVEL */
    note(connection, flags ? 'a' : 'g');
    InterlockedExchange(&connection->last_flags, (LONG)flags);
    KeSetEvent(&connection->in_callback, IO_NO_INCREMENT, FALSE);
    if (connection->in_event)
        connection->in_event(connection);
    if (connection->hold) {
        LARGE_INTEGER limit = seconds(10);

        CHECK_EQ(KeWaitForSingleObject(connection->hold, Executive, KernelMode, FALSE, &limit), STATUS_SUCCESS);
    }
    InterlockedIncrement(flags & WSK_FLAG_ABORTIVE ? &connection->abortive : &connection->graceful);
    KeSetEvent(&connection->changed, IO_NO_INCREMENT, FALSE);
    return connection->return_status;
}

static void check_pieces(struct connection *connection, const WSK_DATA_INDICATION *piece, SIZE_T length,
                         SIZE_T position)
{
    SIZE_T total = 0;

    for (; piece; piece = piece->Next) {
        SIZE_T offset = piece->Buffer.Offset;
        SIZE_T left = piece->Buffer.Length;

        for (PMDL mdl = piece->Buffer.Mdl; left; mdl = mdl->Next, offset = 0) {
            const UCHAR *bytes = (const UCHAR *)MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority) + offset;
            SIZE_T here = MmGetMdlByteCount(mdl) - offset;

            if (here > left)
                here = left;
            for (SIZE_T i = 0; i < here; i++)
                CHECK_EQ(bytes[i], (position + total + i) % 251);
            total += here;
            left -= here;
            if (left)
                connection->chained++;
        }
    }
    CHECK_EQ(total, length);
}

static NTSTATUS NTAPI on_receive(PVOID context, ULONG flags, PWSK_DATA_INDICATION data, SIZE_T length, SIZE_T *accepted)
{
    struct connection *connection = context;
    NTSTATUS status = STATUS_SUCCESS;
    SIZE_T took = length;

    CHECK_EQ(flags, 0);
    check_pieces(connection, data, length, (SIZE_T)__atomic_load_n(&connection->indicated, __ATOMIC_SEQ_CST));
    note(connection, 'r');
    if (connection->answer == TAKE_SOME)
        *accepted = took = connection->take;
    else if (connection->answer == REFUSE) {
        status = STATUS_DATA_NOT_ACCEPTED;
        took = 0;
    } else if (connection->answer == KEEP) {
        connection->kept = data;
        status = STATUS_PENDING;
    }
    InterlockedExchangeAdd(&connection->indicated, (LONG)took);
    InterlockedIncrement(&connection->indications);
    KeSetEvent(&connection->changed, IO_NO_INCREMENT, FALSE);
    return status;
}

const WSK_CLIENT_CONNECTION_DISPATCH connection_events = {.WskReceiveEvent = on_receive,
                                                          .WskDisconnectEvent = on_disconnect};

void connection_init(struct connection *connection)
{
    memset(connection, 0, sizeof *connection);
    KeInitializeEvent(&connection->changed, SynchronizationEvent, FALSE);
    KeInitializeEvent(&connection->in_callback, NotificationEvent, FALSE);
}

bool wait_until(struct connection *connection, _Atomic LONG *counter, LONG at_least)
{
    LARGE_INTEGER limit = seconds(10);

    while (__atomic_load_n(counter, __ATOMIC_SEQ_CST) < at_least)
        if (KeWaitForSingleObject(&connection->changed, Executive, KernelMode, FALSE, &limit) != STATUS_SUCCESS)
            return false;
    return true;
}

/* ---- The calls ---------------------------------------------------------------------------------------------------------------------------- */

const WSK_PROVIDER_CONNECTION_DISPATCH *functions(const struct connection *connection)
{
    return connection->socket->Dispatch;
}

static const WSK_PROVIDER_BASIC_DISPATCH *basic(PWSK_SOCKET socket)
{
    return socket->Dispatch;
}

SOCKADDR_IN loopback(int port)
{
    SOCKADDR_IN address = {.sin_family = AF_INET, .sin_port = RtlUshortByteSwap((USHORT)port)};

    address.sin_addr.S_un.S_un_b.s_b1 = 127;
    address.sin_addr.S_un.S_un_b.s_b4 = 1;
    return address;
}

NTSTATUS connect_to(struct connection *connection, int port)
{
    SOCKADDR_IN local = loopback(0), remote = loopback(port);
    struct call *call = call_new(0);
    NTSTATUS status;

    connection_init(connection);
    call->returned = wsk->WskSocketConnect(wsk_client, SOCK_STREAM, IPPROTO_TCP, (PSOCKADDR)&local, (PSOCKADDR)&remote,
                                           0, connection, &connection_events, NULL, NULL, NULL, call->irp);
    call_wait(call);
    connection->socket = (PWSK_SOCKET)call->information;
    status = call_end(call);
    return status;
}

NTSTATUS open_socket(struct connection *connection, ULONG flags, const void *dispatch)
{
    struct call *call = call_new(0);

    connection_init(connection);
    call->returned = wsk->WskSocket(wsk_client, AF_INET, SOCK_STREAM, IPPROTO_TCP, flags, connection, dispatch, NULL,
                                    NULL, NULL, call->irp);
    call_wait(call);
    connection->socket = (PWSK_SOCKET)call->information;
    return call_end(call);
}

struct call *bind_socket(PWSK_SOCKET socket, int port)
{
    SOCKADDR_IN local = loopback(port);
    struct call *call = call_new(0);

    /* WskBind is at the same place in both tables. */
    call->returned =
        ((const WSK_PROVIDER_CONNECTION_DISPATCH *)socket->Dispatch)->WskBind(socket, (PSOCKADDR)&local, 0, call->irp);
    return call;
}

struct call *connect_socket(PWSK_SOCKET socket, int port)
{
    SOCKADDR_IN remote = loopback(port);
    struct call *call = call_new(0);

    call->returned = ((const WSK_PROVIDER_CONNECTION_DISPATCH *)socket->Dispatch)
                         ->WskConnect(socket, (PSOCKADDR)&remote, 0, call->irp);
    return call;
}

NTSTATUS set_events(PWSK_SOCKET socket, ULONG mask, PIRP irp)
{
    WSK_EVENT_CALLBACK_CONTROL control = {&NPI_WSK_INTERFACE_ID, mask};

    return basic(socket)->WskControlSocket(socket, WskSetOption, SO_WSK_EVENT_CALLBACK, SOL_SOCKET, sizeof control,
                                           &control, 0, NULL, NULL, irp);
}

NTSTATUS set_static_events(ULONG mask)
{
    WSK_EVENT_CALLBACK_CONTROL control = {&NPI_WSK_INTERFACE_ID, mask};

    return wsk->WskControlClient(wsk_client, WSK_SET_STATIC_EVENT_CALLBACKS, sizeof control, &control, 0, NULL, NULL,
                                 NULL);
}

struct call *receive(struct connection *connection, SIZE_T size, ULONG flags)
{
    struct call *call = call_new(size);

    if (size)
        memset(call->data, 0xee, size);
    call->returned = functions(connection)->WskReceive(connection->socket, &call->buffer, flags, call->irp);
    return call;
}

struct call *send_bytes(struct connection *connection, SIZE_T size, ULONG flags)
{
    struct call *call = call_new(size);

    call->returned = functions(connection)->WskSend(connection->socket, &call->buffer, flags, call->irp);
    return call;
}

struct call *disconnect(struct connection *connection, ULONG flags)
{
    struct call *call = call_new(0);

    call->returned = functions(connection)->WskDisconnect(connection->socket, NULL, flags, call->irp);
    return call;
}

struct call *close_begin(PWSK_SOCKET socket)
{
    struct call *call = call_new(0);

    call->returned = basic(socket)->WskCloseSocket(socket, call->irp);
    return call;
}

void close_connection(struct connection *connection)
{
    CHECK_EQ(call_end(close_begin(connection->socket)), STATUS_SUCCESS);
}

static void pair_connect(struct pair *pair, ULONG events, int (*listen)(int *port))
{
    int port = 0, listener = listen(&port);

    CHECK_EQ(connect_to(&pair->client, port), STATUS_SUCCESS);
    pair->peer = peer_accept(listener);
    peer_close(listener);
    if (events)
        CHECK_EQ(set_events(pair->client.socket, events, NULL), STATUS_SUCCESS); /* R23, R24 */
}

void pair_open(struct pair *pair, ULONG events)
{
    pair_connect(pair, events, peer_listen);
}

void pair_open_tiny(struct pair *pair, ULONG events)
{
    pair_connect(pair, events, peer_listen_tiny);
}

/* ---- Around a test -------------------------------------------------------------------------------------------------------------------------- */

void client_start(void)
{
    WSK_PROVIDER_NPI npi;

    shim_on_debug(on_debug);
    descriptors = open_descriptors();
    CHECK_EQ(WskRegister(&client_npi, &registration), STATUS_SUCCESS);
    CHECK_EQ(WskCaptureProviderNPI(&registration, WSK_NO_WAIT, &npi), STATUS_SUCCESS);
    wsk_client = npi.Client;
    wsk = npi.Dispatch;
}

void client_stop(void)
{
    shim_counts left;

    WskReleaseProviderNPI(&registration);
    WskDeregister(&registration);
    left = shim_count();
    CHECK_EQ(left.pool, 0);
    CHECK_EQ(left.irps, 0);
    CHECK_EQ(left.mdls, 0);
    CHECK_EQ(left.threads, 0);
    CHECK_EQ(open_descriptors(), descriptors);
    if (expected_rule[0])
        CHECK(rule_seen(expected_rule) > 0);
}
