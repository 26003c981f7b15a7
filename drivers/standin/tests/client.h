/* A small WSK client for the provider's tests: calls with an IRP to wait for, and connections that record their events. */
#ifndef STANDIN_TESTS_CLIENT_H
#define STANDIN_TESTS_CLIENT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "wsk.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define CHECK_EQ(left, right)                                                                                          \
    do {                                                                                                               \
        long long left_ = (long long)(left), right_ = (long long)(right);                                              \
        if (left_ != right_) {                                                                                         \
            fprintf(stderr, "%s:%d: %s is %lld (0x%llx), expected %s = %lld (0x%llx)\n", __FILE__, __LINE__, #left,    \
                    left_, (unsigned long long)left_, #right, right_, (unsigned long long)right_);                     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* One WSK call. `returned` is what the function returned; after call_wait the IRP's status and information. */
struct call {
    PIRP irp;
    KEVENT done;
    LONG completions;
    int thread; /* that of its completion */
    NTSTATUS returned, status;
    ULONG_PTR information;
    WSK_BUF buffer;
    UCHAR *data;
};

struct call *call_new(SIZE_T size); /* with a buffer of `size` bytes behind an MDL */
bool call_done(struct call *call);
void call_wait(struct call *call); /* at most 10 s, then the test fails */
NTSTATUS call_end(struct call *call); /* waits, frees, returns the status */
SIZE_T call_end_bytes(struct call *call, NTSTATUS expected);

enum receive_answer { TAKE_ALL, TAKE_SOME, REFUSE, KEEP };

/* A connection socket and what its callbacks were told. The callbacks' fields are read after `changed` only. */
struct connection {
    PWSK_SOCKET socket;
    _Atomic LONG graceful, abortive; /* WskDisconnectEvent without and with WSK_FLAG_ABORTIVE */
    _Atomic LONG last_flags;
    _Atomic LONG indicated; /* bytes that WskReceiveEvent was given and took */
    _Atomic LONG indications; /* calls of WskReceiveEvent */
    _Atomic LONG chained; /* buffers of them that went on in a second MDL */
    LONG order[4]; /* what came when: 'r', 'g', 'a' */
    _Atomic LONG events;
    enum receive_answer answer;
    SIZE_T take; /* TAKE_SOME */
    PWSK_DATA_INDICATION kept;
    NTSTATUS return_status; /* of WskDisconnectEvent */
    KEVENT *hold; /* WskDisconnectEvent waits for it before it returns (a lab's trick, never a driver's) */
    KEVENT in_callback;
    void (*in_event)(struct connection *connection);
    struct call *started; /* a call made inside the event */
    KEVENT changed;
};

extern PWSK_CLIENT wsk_client;
extern const WSK_PROVIDER_DISPATCH *wsk;
extern WSK_REGISTRATION registration;
extern const WSK_CLIENT_CONNECTION_DISPATCH connection_events;

/* Called around each test: registration, and the check that nothing is left. */
void client_start(void);
void client_stop(void);

/* Debug lines of the provider, "WSKPROV ...": a test that provokes one names its rule, any other fails the test. */
/* Lines of the witness are forgotten, and kept from now on: how many have both words, one after the other. */
void watch_witness(bool on);
void scenario_asks(const char *settings); /* in the file that the lab writes; "" */
int witness_seen(const char *first, const char *second);
void expect_rule(const char *rule);
int rule_seen(const char *rule);

void connection_init(struct connection *connection);
bool wait_until(struct connection *connection, _Atomic LONG *counter, LONG at_least);

SOCKADDR_IN loopback(int port);
NTSTATUS connect_to(struct connection *connection, int port); /* WskSocketConnect */
NTSTATUS open_socket(struct connection *connection, ULONG flags, const void *dispatch);
struct call *bind_socket(PWSK_SOCKET socket, int port);
struct call *connect_socket(PWSK_SOCKET socket, int port);
NTSTATUS set_events(PWSK_SOCKET socket, ULONG mask, PIRP irp);
NTSTATUS set_static_events(ULONG mask);
struct call *receive(struct connection *connection, SIZE_T size, ULONG flags);
struct call *send_bytes(struct connection *connection, SIZE_T size, ULONG flags);
struct call *disconnect(struct connection *connection, ULONG flags);
struct call *close_begin(PWSK_SOCKET socket);
void close_connection(struct connection *connection);
/* A connection and its peer. Tiny: the peer takes little before its window closes. */
struct pair {
    struct connection client;
    int peer;
};

void pair_open(struct pair *pair, ULONG events);
void pair_open_tiny(struct pair *pair, ULONG events);

const WSK_PROVIDER_CONNECTION_DISPATCH *functions(const struct connection *connection);

/* The tests: a name and a function. */
struct test {
    const char *name;
    void (*run)(void);
};

extern const struct test connection_tests[], closing_tests[], transfer_tests[], event_tests[], listen_tests[],
    rule_tests[], witness_tests[], scarcity_tests[], thread_tests[];

#endif
