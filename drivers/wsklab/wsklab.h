/*
 * wsklab.h - the driver's own types. Nothing here is seen outside the driver; protocol.h is.
 *
 *   driver.c      load, unload, the device and its three ioctls
 *   commands.c    one function per command
 *   upcalls.c     the table of what is called upwards
 *   follow.c      what follows a completion, in the worker (R85)
 *   accept.c      the callbacks of a listener
 *   events.c      the callbacks of a connection
 *   closing.c     a connection with what its close takes, and who may close it when
 *   start.c       receives, sends, disconnects and event masks: for commands, callbacks and the worker
 *   operation.c   one IRP given to WSK: made, started, completed, freed
 *   call.c        the one place that calls WSK functions of a socket
 *   deviations.c  what only the strict mode of the stand-in, or Driver Verifier, sees: wrong builds alone
 *   worker.c      the thread and its list
 *   connection.c  one socket: its number, its context, who uses it now
 *   account.c     counted allocation, and "everything is back"
 *   log.c         lines and the ring
 *
 * Each file calls those below it, whose headers it includes, and none above. WSK's callbacks and what follows a
 * completion come up through UPCALLS.
 */
#ifndef WSKLAB_H
#define WSKLAB_H

#include <wsk.h>

#include "protocol.h"
#include "twin.h"

#define WSKLAB_TAG 0x624c7357u /* "WsLb" */
#define MAGIC_ALIVE 0x57534b21u /* a context that WSK may call back with */
#define MAGIC_CLOSED 0xdead57c5u /* its close has completed: no callback may come (R73) */
/* Windows 8 and later: nonpaged and not executable (memory integrity refuses the executable kind). */
#define NONPAGED_NX ((POOL_TYPE)512)
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
    struct OPERATION *reserve; /* what the close will take: it must not fail for want of memory */
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

/* What is called from below: by WSK, by the worker's thread, and when a socket is idle. */
typedef struct UPCALLS {
    const WSK_CLIENT_CONNECTION_DISPATCH *connection;
    const WSK_CLIENT_LISTEN_DISPATCH *listen;
    void (*idle)(CONNECTION *connection);  /* no call runs on its socket: a close that was asked for may start */
    void (*follow)(OPERATION *operation); /* in the worker, with a hold that it gives away */
    void (*woken)(void);                  /* in the worker, when it has followed everything */
} UPCALLS;

extern const UPCALLS upcalls;

/* IoSetCompletionRoutineEx. */
typedef NTSTATUS(NTAPI *SET_COMPLETION)(PDEVICE_OBJECT device, PIRP irp, PIO_COMPLETION_ROUTINE routine, PVOID context,
                                        BOOLEAN success, BOOLEAN error, BOOLEAN cancel);

typedef struct DRIVER {
    WSK_REGISTRATION registration;
    WSK_PROVIDER_NPI provider;
    PDEVICE_OBJECT device;
    SET_COMPLETION set_completion; /* NULL where the kernel has none that works */
    ULONG_PTR base;       /* of the image, so that an address in a crash can be named */
    volatile LONG sockets, irps, indications, callbacks, connections, allocations;
    volatile LONG cleaning;
    KEVENT clean;         /* set when a CLOSE_ALL has come to its end */
} DRIVER;

extern DRIVER wsklab;

/* As drivers of the field have them: discarded after DriverEntry, and pageable. */
#ifdef WSKLAB_MSVC
#define INIT_CODE __attribute__((section("INIT")))
#define PAGED_FUNCTION __attribute__((section("PAGE")))
#else
#define INIT_CODE
#define PAGED_FUNCTION
#endif

#ifdef __GNUC__ /* the WDK has it */
#define ReadAcquire(number) __atomic_load_n((number), __ATOMIC_ACQUIRE)
#define ReadPointerAcquire(pointer) __atomic_load_n((pointer), __ATOMIC_ACQUIRE)
#endif

#ifndef WSKLAB_NATIVE
/* ntoskrnl exports it; mingw's kernel headers do not declare it. With %s %u %x it is fit for any IRQL. */
int __cdecl _vsnprintf(char *text, size_t size, const char *format, va_list arguments);
#endif

#endif
