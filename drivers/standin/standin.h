/*
 * The stand-in WSK provider: WSK, as a client driver sees it, on Linux TCP sockets.
 *
 * One thread, the engine, owns every socket: it alone reads, writes, calls event callbacks and completes pended IRPs. A WSK function
 * checks its arguments, puts a request into the engine's inbox and returns STATUS_PENDING; if it refuses, it completes the IRP with
 * the status it returns (R86). So a socket's state needs no lock, nothing recurses, a callback may call any WSK function (R16),
 * and what Windows must wait for ("running callbacks have returned", R30, R70) has happened when the engine reads its inbox again.
 * The price is said in docs/standin.md: callbacks of two sockets never overlap.
 *
 *   driver --WskXxx--> api.c --request--> engine.c --> connect.c   open, bind, connect, close
 *                                             ^        transfer.c  send, receive, disconnect
 *   Linux sockets (os_*.c) --readiness----+        events.c    receive and disconnect callbacks
 *                                                      listen.c    accepting
 *                                                      threads.c   what other threads complete and call, if a scenario wants it
 *
 * The files stand below in their order: each calls only files that stand before it. What a low one must call of a high one is in one
 * table, struct upcalls, which operations.c fills.
 *
 * R and C numbers are those of the requirements and endings in docs/reference/wsk.md; X marks what no document says, where the
 * provider does the plainest thing.
 */
#ifndef STANDIN_H
#define STANDIN_H

#include "lock.h"
#include "os.h"
#include "strict.h"
#include "wsk.h"

#define POOL_TAG 0x70736b57 /* 'Wksp' */

/* One line on the debug output that the lab collects: the driver broke a rule of WSK. */
#define REPORT(rule, format, ...)                                                                                      \
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "WSKPROV rule=" rule " " format "\n", ##__VA_ARGS__)

/* Another such line: the driver asked for something that Windows has and this provider has not. No fault of the driver's. */
#define UNSUPPORTED(format, ...) REPORT("unsupported", format, ##__VA_ARGS__)

/* Something that epoll watches. `ready` runs in the engine; `events` is a set of enum os_readiness. */
struct watch {
    void (*ready)(struct watch *watch, ULONG events);
};

#define CONNECTION_EVENTS (WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT | WSK_EVENT_SEND_BACKLOG)

/* One WskRegister; the PWSK_CLIENT that the driver gets. Everything is under provider.lock. */
struct client {
    LIST_ENTRY link;
    PWSK_REGISTRATION registration;
    const void *dispatch; /* of the client: a constant of its image */
    USHORT version;
    bool leaving; /* WskDeregister has been called */
    bool captured; /* once, at least */
    bool had_sockets;
    ULONGLONG registered_at; /* ms */
    ULONG captures;
    ULONG sockets;
    ULONG requests; /* IRPs not yet completed, or whose completion routine still runs */
    ULONG static_events;
    LIST_ENTRY retained; /* indications that a WskReceiveEvent kept (R54) */
};

enum socket_kind { BASIC_SOCKET, LISTEN_SOCKET, CONNECTION_SOCKET, SOCKET_KINDS };

enum socket_state {
    STATE_OPEN,
    STATE_BOUND,
    STATE_LISTENING,
    STATE_CONNECTING,
    STATE_CONNECTED, /* also after the remote end's FIN or RST */
    STATE_DISCONNECTED, /* by this end, abortively: there is no Linux socket any more */
};

/* What is called at a simulated IRQL, each kind with a count of its own: with one seed, the same again. */
enum level_kind { LEVEL_RECEIVE, LEVEL_DISCONNECT, LEVEL_ACCEPT, LEVEL_INSPECT, LEVEL_COMPLETION, LEVEL_KINDS };

/* What other threads than the engine do for a socket: one thing after the other, each strand at its own pace. */
enum strand_kind { STRAND_COMPLETIONS, STRAND_EVENTS, STRANDS };

struct strand {
    LIST_ENTRY jobs;
    struct socket *socket;
    bool busy; /* a thread is at it */
};

enum socket_magic { SOCKET_LIVE = 0x534b4f53, SOCKET_DEAD = 0x44414544 };

struct socket {
    WSK_SOCKET wsk; /* first: the driver's PWSK_SOCKET */
    struct watch watch;
    enum socket_kind kind;
    struct client *client;
    ADDRESS_FAMILY family;
    PVOID context;
    const WSK_CLIENT_CONNECTION_DISPATCH *events_to;
    const WSK_CLIENT_LISTEN_DISPATCH *accepts_to;

    /* Under provider.lock. */
    enum socket_magic magic;
    LIST_ENTRY graveyard;
    bool closing; /* WskCloseSocket has been called: no callback starts any more (R73) */
    ULONG calls; /* WSK functions of this socket that have not returned (R68) */
    ULONG enabled; /* events with their callback switched on */
    ULONG receives_coming; /* WskReceive calls still in the inbox: they go before WskReceiveEvent (R50) */
    ULONG running; /* the events whose callbacks run now, or wait for their thread */
    struct strand strands[STRANDS];
    ULONG outside; /* completions and callbacks that other threads than the engine make, or will make */
    LIST_ENTRY later; /* requests that wait for those */
    enum socket_state state; /* written by the engine */
    int fd; /* -1: none; written by the engine */
    bool conditional_accept;

    struct strict_settings level; /* at which IRQL callbacks and completion routines are called */
    ULONG number; /* of the sockets made since these settings came */
    ULONG serial; /* of all sockets: what the witness calls it */

    /* The engine's alone. */
    ULONG called[LEVEL_KINDS];
    ULONG drawn; /* of what may go to another thread */
    os_address local, remote;
    bool remote_fin, local_fin; /* seen, sent */
    int error; /* what ended the connection (enum os_error), 0 while it lives */
    bool told_dead; /* WskReceiveEvent or WskAcceptEvent was called with nothing */
    bool told_graceful, told_abortive; /* WskDisconnectEvent was called */
    bool indications_stopped; /* the client refused data: none until the next WskReceive (R52, R53) */
    bool silent; /* R87 */
    bool leaving; /* a graceful WskDisconnect has been queued: nothing may be sent after it */
    LIST_ENTRY sends; /* WskSend and WskDisconnect, in order */
    LIST_ENTRY receives;
    LIST_ENTRY accepts;
    LIST_ENTRY arrivals; /* connections that wait for the client's verdict or for a WskAccept */
    struct request *connect;
};

enum operation {
    OP_OPEN,
    OP_OPEN_CONNECT,
    OP_BIND,
    OP_CONNECT,
    OP_LOCAL_ADDRESS,
    OP_REMOTE_ADDRESS,
    OP_SEND,
    OP_RECEIVE,
    OP_DISCONNECT,
    OP_ACCEPT,
    OP_INSPECTED,
    OP_EVENTS_OFF, /* complete a disable that found the callback running (R30) */
    OP_SILENT,
    OP_WAKE, /* no IRP: look at the socket again, an event was switched on */
    OP_CLOSE,
    OPERATIONS,
};

/* One IRP on its way, from the WSK function to its completion. */
struct request {
    LIST_ENTRY link; /* the inbox, then a queue of the socket; to itself when in neither */
    LIST_ENTRY in_flight; /* provider.in_flight */
    LIST_ENTRY cancelled; /* provider.cancelled, when IoCancelIrp was called */
    enum operation operation;
    const char *function;
    struct client *client;
    struct socket *socket;
    PIRP irp; /* NULL for OP_WAKE */
    bool at_once; /* completed in this thread */
    struct inline_call *waiter; /* the thread of the call waits, and may complete it itself */
    bool cancellable;
    ULONG flags;
    WSK_BUF buffer; /* send, receive, disconnect, the data of WskConnectEx */
    SIZE_T done; /* bytes of the buffer so far */
    os_address local, remote;
    PSOCKADDR local_out, remote_out;
    PVOID context; /* accept */
    const WSK_CLIENT_CONNECTION_DISPATCH *dispatch;
    WSK_INSPECT_ID inspected;
    WSK_INSPECT_ACTION action;
};

/* A call of the driver's code: the thread's IRQL before it and during it, and the spin locks that it held. */
struct level {
    KIRQL before, during;
    ULONG locks;
    bool stack; /* it is where the driver's part of the stack begins */
};

/* One line of the witness; what it has not is 0. */
struct seen {
    const char *what; /* "open", "call", "done", "event" or "back" */
    const char *function;
    const struct client *client;
    ULONG socket; /* its serial number */
    PIRP irp;
    const void *context;
    ULONG flags;
    NTSTATUS status; /* returned, or completed with */
    ULONG_PTR information; /* of the completion; of an accepting callback, the new socket's serial number;
                              of a connection that is open, its ports, the local one above */
};

/* What lies above the engine and the sockets, and is called by them. */
struct upcalls {
    struct {
        const void *dispatch; /* the functions that the driver is given */
        void (*ready)(struct watch *watch, ULONG events);
    } kinds[SOCKET_KINDS];
    void (*handle[OPERATIONS])(struct request *request);
    void (*cancel)(struct request *request);
    void (*pended)(struct inline_call *call, struct request *request);
    void (*complete)(const struct seen *seen, struct level level);
    void (*disconnect)(struct socket *socket, ULONG flags, struct level level);
};

enum { IN_FLIGHT_BUCKETS = 1024, GRAVEYARD_SIZE = 1024 };

struct provider {
    struct lock lock;
    struct condition changed; /* a client's counters, or the engine's end */
    LIST_ENTRY clients;
    LIST_ENTRY inbox;
    LIST_ENTRY cancelled;
    LIST_ENTRY in_flight[IN_FLIGHT_BUCKETS]; /* by IRP */
    LIST_ENTRY graveyard; /* closed sockets, kept a while so that their use is reported and does not crash */
    ULONG buried;

    struct strict_settings level; /* of the newest socket */
    ULONG numbered; /* sockets with these settings */
    ULONG serials; /* sockets so far */
    bool quiet; /* the witness is; atomic */

    const struct upcalls *up; /* set by the first engine_start, the same for ever */
    HANDLE engine;
    int engine_thread; /* Linux thread id */
    int epoll, wake;
    bool stop;
};

/* ---- status.c --------------------------------------------------------------------------------------------------------------------- */

NTSTATUS status_of(long error); /* of an enum os_error, either sign */

/* ---- buffer.c --------------------------------------------------------------------------------------------------------------------- */

/* The part of a buffer behind its first `done` bytes; returns how many vectors. */
unsigned buffer_vectors(const WSK_BUF *buffer, SIZE_T done, os_vector *vectors, unsigned most);
/* Linux found no memory there (OS_EFAULT): a driver that frees the buffer of an IRP that is pending. */
void buffer_gone(const struct request *request);
/* Whether the MDL chain is as long as the buffer says. */
bool buffer_valid(const WSK_BUF *buffer);

/* ---- engine.c ------------------------------------------------------------------------------------------------------------------ */

extern struct provider provider;

/* Both are called with the lock held, and release it meanwhile. */
NTSTATUS engine_start(const struct upcalls *up);
void engine_stop(void);
void engine_wake(void);
bool in_engine(void);

/* ---- level.c --------------------------------------------------------------------------------------------------------------------- */

void level_refresh(void); /* reads what the scenario asks for */
void level_of_new(struct socket *socket); /* with the lock held */
/* Before the driver's code runs; `socket` may be NULL. */
struct level level_enter(struct socket *socket, enum level_kind kind);
bool level_draw(struct socket *socket, enum level_kind kind); /* in the engine: whether at DISPATCH_LEVEL */
struct level level_begin(bool dispatch);
ULONG level_flag(struct level level); /* WSK_FLAG_AT_DISPATCH_LEVEL exactly at DISPATCH_LEVEL, or 0 */
/* After it: the IRQL must be what it was, and no lock may be held that was not before. */
void level_leave(struct level level, const char *what, const void *routine);

/* ---- witness.c ------------------------------------------------------------------------------------------------------------------- */

void witness(const struct seen *seen);
bool witness_on(void);
/* What a driver gives a socket as its context must outlive the call, and be there at DISPATCH_LEVEL. */
void witness_context(const char *function, const void *context);
void witness_event(const char *function, const struct socket *socket, ULONG flags);
void witness_return(const char *function, const struct socket *socket, NTSTATUS status);
void witness_call(const struct request *request, NTSTATUS returned);

/* ---- threads.c ------------------------------------------------------------------------------------------------------------------- */

void threads_of_new(struct socket *socket);
/* Whether another thread will complete this, after all that it has to complete for this socket before. */
bool threads_complete(struct socket *socket, struct client *client, const struct seen *seen);
/* Whether another thread will call WskDisconnectEvent. */
bool threads_disconnect(struct socket *socket, ULONG flags);
/* Whether the request must wait for what other threads do for its socket; then it comes back by itself. */
bool threads_wait(struct request *request, bool for_all);
/* Whether the thread of a call should wait for its end, and where it does so. */
struct inline_call *inline_begin(const struct socket *socket);
/* In that thread; returns false when the call is pending. The call is told by then. */
bool inline_await(struct inline_call *call, const struct request *request, struct seen *seen);
/* In the engine: whether the call's own thread completes it now. */
bool inline_finish(struct inline_call *call, const struct seen *seen);
/* In the engine: the call was taken up and is not finished. Does nothing if it was. */
void inline_pended(struct inline_call *call, struct request *request);

/* ---- request.c ------------------------------------------------------------------------------------------------------------------ */

/*
 * Begins a WSK function that has an IRP. On success the caller fills the request in and hands it to request_submit or request_refuse.
 * Otherwise NULL: *status is what the function must return, and the IRP has been completed with it if that was possible.
 */
struct request *request_begin(const char *function, struct client *client, struct socket *socket, PIRP irp,
                              enum operation operation, NTSTATUS *status);
/* A call on a closed socket: completes the IRP, returns what the call must return. */
NTSTATUS request_lost(const char *function, PIRP irp);
NTSTATUS request_submit(struct request *request); /* always STATUS_PENDING */
NTSTATUS request_refuse(struct request *request, NTSTATUS status); /* completes the IRP at once, returns `status` */
void request_finish(struct request *request, NTSTATUS status, ULONG_PTR information);
void request_finish_all(LIST_ENTRY *queue, NTSTATUS status);
struct request *request_first(LIST_ENTRY *queue);
/* Asks the engine to look at the socket again. */
void request_wake(struct socket *socket);

/* The socket of a WSK function, or NULL if it is closed, which is reported. */
struct socket *socket_enter(const char *function, PWSK_SOCKET wsk);
void socket_leave(struct socket *socket);

/* The driver's completion routine is called, at DISPATCH_LEVEL or where the thread is. */
void request_complete(const struct seen *seen, struct level level);
/* The driver's code that ran for this client has returned, whichever thread it was. */
void request_returned(struct client *client);

/* ---- socket.c --------------------------------------------------------------------------------------------------------------------- */

struct socket *socket_new(struct client *client, enum socket_kind kind, ADDRESS_FAMILY family, PVOID context);
void socket_bury(struct socket *socket);
void graveyard_clear(void); /* with the lock held */
void socket_set_state(struct socket *socket, enum socket_state state);
void socket_set_fd(struct socket *socket, int fd);
/* Ends the Linux socket by one of os_close, os_close_reset, os_close_silent. */
void socket_shut(struct socket *socket, void (*how)(int fd));
/* A connection exists: from now on its readiness counts. */
void socket_connected(struct socket *socket, const char *function);
/* The events for which the client gave a callback; on a listener also those for the sockets that come out of it (R38). */
ULONG events_offered(const struct socket *socket);
/* What ended the connection; only the first cause counts. */
void connection_failed(struct socket *socket, long error);

/* ---- events.c ----------------------------------------------------------------------------------------------------------------------- */

/* Whether the callback of `event` may be called; if so it counts as running until callback_end. */
bool callback_begin(struct socket *socket, ULONG event);
void callback_end(struct socket *socket, ULONG event);
bool callback_enabled(struct socket *socket, ULONG event);
void events_receive(struct socket *socket);
void events_disconnect(struct socket *socket);
void event_disconnect(struct socket *socket, ULONG flags, struct level level); /* the call itself */
void events_release(struct client *client, PWSK_DATA_INDICATION list, const char *function);
void events_free_retained(struct client *client);

/* ---- transfer.c ------------------------------------------------------------------------------------------------------------------- */

void connection_advance(struct socket *socket); /* does all that can be done now */
void transfer_send(struct request *request);
void transfer_receive(struct request *request);
void transfer_disconnect(struct request *request);

/* ---- listen.c ----------------------------------------------------------------------------------------------------------------------- */

void listen_ready(struct watch *watch, ULONG events);
void listen_advance(struct socket *socket);
void listen_accept(struct request *request);
void listen_inspected(struct request *request);
void listen_drop_arrivals(struct socket *socket);

/* ---- connect.c ------------------------------------------------------------------------------------------------------------------- */

void connection_ready(struct watch *watch, ULONG events);
void socket_open(struct request *request);
void socket_open_connect(struct request *request);
void socket_bind(struct request *request);
void socket_connect(struct request *request);
void socket_local_address(struct request *request);
void socket_remote_address(struct request *request);
void socket_silence(struct request *request);
void socket_close(struct request *request);
void socket_connect_cancelled(struct request *request);

/* ---- control.c ------------------------------------------------------------------------------------------------------------------- */

NTSTATUS WSKAPI control_socket(PWSK_SOCKET socket, WSK_CONTROL_SOCKET_TYPE type, ULONG code, ULONG level,
                               SIZE_T in_size, PVOID in, SIZE_T out_size, PVOID out, SIZE_T *out_returned, PIRP irp);
NTSTATUS WSKAPI control_client(PWSK_CLIENT client, ULONG code, SIZE_T in_size, PVOID in, SIZE_T out_size, PVOID out,
                               SIZE_T *out_returned, PIRP irp);

/* ---- api.c ----------------------------------------------------------------------------------------------------------------------- */

extern const WSK_PROVIDER_DISPATCH provider_dispatch;
extern const WSK_PROVIDER_BASIC_DISPATCH basic_dispatch;
extern const WSK_PROVIDER_LISTEN_DISPATCH listen_dispatch;
extern const WSK_PROVIDER_CONNECTION_DISPATCH connection_dispatch;

/* ---- operations.c ---------------------------------------------------------------------------------------------------------------- */

extern const struct upcalls provider_upcalls;

#endif
