/*
 * wsklab.h - the driver's own types. Nothing here is seen outside the driver; protocol.h is.
 *
 *   driver.c      load, unload, the device and its three ioctls
 *   commands.c    one function per command
 *   start.c       receives, sends, disconnects and event masks: for commands, callbacks and the worker
 *   operation.c   one IRP given to WSK: made, started, completed, freed
 *   call.c        the one place that calls WSK functions of a socket
 *   connection.c  one socket: its number, its life, who may close it when
 *   events.c      the callbacks of a connection
 *   accept.c      the callbacks of a listener
 *   deviations.c  what only the strict mode of the stand-in, or Driver Verifier, sees: wrong builds alone
 *   worker.c      what follows a completion, outside of it (R85)
 *   log.c         lines and the ring
 *   account.c     counted allocation, and "everything is back"
 */
#ifndef WSKLAB_H
#define WSKLAB_H

#include <wsk.h>

#include "protocol.h"
#include "twin.h"

#define WSKLAB_TAG 0x624c7357u /* "WsLb" */
#define MAGIC_ALIVE 0x57534b21u /* a context that WSK may call back with */
#define MAGIC_CLOSED 0xdead57c5u /* its close has completed: no callback may come (R73) */
#define MAX_LENGTH (16u * 1024 * 1024)
#define RETAINED 32u /* indication lists kept for one connection */
#define MAX_HOLD_US (10u * 1000 * 1000)

enum callback { CALLBACK_DISCONNECT, CALLBACK_RECEIVE, CALLBACK_ACCEPT, CALLBACKS };

/* What a callback does besides printing. Never changed once published, so that callbacks need no lock. */
typedef struct PROGRAM {
    struct PROGRAM *older; /* freed with the connection: a callback may still be reading it */
    WSKLAB_COMMAND command;
} PROGRAM;

typedef union ADDRESS {
    SOCKADDR header;
    SOCKADDR_IN v4;
    SOCKADDR_IN6 v6;
    UCHAR bytes[WSKLAB_ADDRESS];
} ADDRESS;

struct OPERATION;

/* The context WSK knows: nonpaged, and not freed before the close has completed and every IRP is back. */
typedef struct CONNECTION {
    uint32_t magic;
    uint32_t id;
    uint32_t cookie;
    uint32_t kind;
    LIST_ENTRY link;     /* in the table, later among the graves */
    LONG references;     /* the table's, and one of each operation */
    KSPIN_LOCK lock;     /* guards what follows, for a few instructions */
    PWSK_SOCKET socket;
    uint32_t calls;         /* WSK functions running on the socket now (R68) */
    volatile LONG closing; /* CLOSE was asked for: no further call may start */
    struct OPERATION *maker;  /* WskSocket, WskSocketConnect or WskAccept, which may still give a socket */
    struct OPERATION *closer; /* the close that waits for `calls` and `maker` */
    LIST_ENTRY operations;    /* their IRPs are with WSK */
    uint32_t retained_count;
    PWSK_DATA_INDICATION retained[RETAINED]; /* indication lists kept by a callback (R54) */
    ADDRESS local;            /* as far as known; its port is printed when a connect completes */
    /* Written in callbacks, interlocked. */
    volatile LONG disconnects;
    volatile LONG in_disconnect;
    volatile LONG in_receive;
    volatile LONG accepts;
    volatile LONG aborted;
    PROGRAM *volatile programs[CALLBACKS];
} CONNECTION;

enum follow { FOLLOW_NOTHING, FOLLOW_CONNECTED, FOLLOW_RESEND, FOLLOW_REPEAT, FOLLOW_ABORT };

/* Verbs that are parts of a command. */
enum { OP_LOCAL = WSKLAB_OP_CALLBACK + 1, OP_REMOTE };

/* One call of a WSK function. Two hold it: who starts it, and its IRP until that completes. */
typedef struct OPERATION {
    LIST_ENTRY link;      /* in connection->operations */
    LIST_ENTRY work;      /* in the worker's list */
    CONNECTION *connection;
    uint32_t verb;           /* enum wsklab_op */
    volatile LONG references;
    volatile LONG completions;
    WSKLAB_COMMAND command; /* what was asked; command.id is this operation's id */
    CONNECTION *target;   /* the connection that gets the socket: of ACCEPT the new one, else `connection` */
    PIRP irp;             /* NULL for calls without one */
    PUCHAR data;
    PMDL mdl;
    WSK_BUF buffer;
    ADDRESS local, remote;
    WSK_EVENT_CALLBACK_CONTROL control;
    UCHAR out[WSKLAB_DATA]; /* of CONTROL */
    SIZE_T returned;        /* bytes of it */
    uint32_t follow;         /* what the worker does after the completion */
    KEVENT done;
    NTSTATUS status;
} OPERATION;

typedef struct DRIVER {
    WSK_REGISTRATION registration;
    WSK_PROVIDER_NPI provider;
    PDEVICE_OBJECT device;
    ULONG_PTR base;       /* of the image, so that an address in a crash can be named */
    volatile LONG sockets, irps, indications, callbacks, connections, allocations;
    volatile LONG cleaning;
    KEVENT clean;         /* set when a CLOSE_ALL has come to its end */
} DRIVER;

extern DRIVER wsklab;

#ifdef __GNUC__ /* the WDK has it */
#define ReadAcquire(number) __atomic_load_n((number), __ATOMIC_ACQUIRE)
#define ReadPointerAcquire(pointer) __atomic_load_n((pointer), __ATOMIC_ACQUIRE)
#endif

#ifndef WSKLAB_NATIVE
/* ntoskrnl exports it; mingw's kernel headers do not declare it. With %s %u %x it is fit for any IRQL. */
int __cdecl _vsnprintf(char *text, size_t size, const char *format, va_list arguments);
#endif

/* log.c */
NTSTATUS log_start(void);
void log_stop(void);
void log_line(uint32_t connection, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint32_t log_read(const WSKLAB_RING_REQUEST *request, WSKLAB_RING_REPLY *reply, uint32_t size);
uint64_t log_next(void);
uint32_t log_capacity(void);
const char *log_build(void);
void hex_text(char *text, const UCHAR *bytes, uint32_t count);
uint32_t port_of(const ADDRESS *address);
uint32_t fnv1a(uint32_t sum, const UCHAR *bytes, SIZE_T count);
#define FNV1A_START 0x811c9dc5u

/* account.c */
PVOID allocate(SIZE_T size);
void release_memory(PVOID memory);
void kept(LONG count);
void settle(void);
void wait_until_clean(void);
KIRQL current_irql(void);
void stall(uint32_t microseconds);
void sleep_ms(uint32_t milliseconds);

/* connection.c */
void connections_start(void);
void connections_stop(void);
NTSTATUS connection_create(uint32_t id, uint32_t kind, uint32_t cookie, CONNECTION **made);
CONNECTION *connection_find(uint32_t id);
CONNECTION *connection_next_open(uint32_t *bucket);
void connection_hold(CONNECTION *connection);
void connection_drop(CONNECTION *connection);
BOOLEAN connection_enter(CONNECTION *connection, PWSK_SOCKET *socket);
void connection_leave(CONNECTION *connection);
BOOLEAN connection_making(CONNECTION *connection, OPERATION *maker);
void connection_made(CONNECTION *connection, PWSK_SOCKET socket);
NTSTATUS connection_close(CONNECTION *connection, uint32_t id);
void connection_try_close(CONNECTION *connection);
void connection_closed(CONNECTION *connection);
PWSK_DATA_INDICATION connection_take_retained(CONNECTION *connection);
BOOLEAN connection_retain(CONNECTION *connection, PWSK_DATA_INDICATION list);

/* operation.c */
OPERATION *operation_create(CONNECTION *connection, uint32_t verb, const WSKLAB_COMMAND *command, BOOLEAN irp);
NTSTATUS operation_give_buffer(OPERATION *operation, uint32_t length);
NTSTATUS operation_start(OPERATION *operation);
NTSTATUS operation_run(OPERATION *operation);
NTSTATUS operation_refuse(OPERATION *operation, NTSTATUS status);
NTSTATUS refuse(uint32_t connection, uint32_t verb, uint32_t id, NTSTATUS status);
NTSTATUS operation_issue(OPERATION *operation, PWSK_SOCKET socket);
void operation_hold(OPERATION *operation);
BOOLEAN operation_cancel(CONNECTION *connection, uint32_t id);
void operation_drop(OPERATION *operation);
const char *verb_name(uint32_t verb);

/* call.c */
NTSTATUS call_wsk(OPERATION *operation, PWSK_SOCKET socket);
NTSTATUS call_static_events(const WSKLAB_COMMAND *command);
void call_release(PWSK_SOCKET socket, PWSK_DATA_INDICATION list);
void set_event_control(OPERATION *operation);
PVOID accepted_context(CONNECTION *connection);

/* commands.c, start.c */
NTSTATUS command_execute(const WSKLAB_COMMAND *command);
void follow_connect(CONNECTION *connection, const WSKLAB_COMMAND *command);
NTSTATUS start_events(CONNECTION *connection, const WSKLAB_COMMAND *command, uint32_t verb);
NTSTATUS start_receives(CONNECTION *connection, const WSKLAB_COMMAND *command);
NTSTATUS start_sends(CONNECTION *connection, const WSKLAB_COMMAND *command);
NTSTATUS start_disconnect(CONNECTION *connection, const WSKLAB_COMMAND *command);
void close_all(uint32_t id);
void sweep(uint32_t id);

/* events.c, accept.c */
BOOLEAN callback_enter(const CONNECTION *connection, const char *name);
void callback_leave(void);
void run_program(CONNECTION *connection, enum callback which);
extern const WSK_CLIENT_CONNECTION_DISPATCH connection_events;
extern const WSK_CLIENT_LISTEN_DISPATCH listen_events;

/* deviations.c */
void deviate_strictly(CONNECTION *connection);

/* worker.c */
NTSTATUS worker_start(void);
void worker_stop(void);
void worker_queue(OPERATION *operation);
void worker_wake(void);

#endif
