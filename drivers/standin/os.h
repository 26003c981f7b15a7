/*
 * What the provider needs from Linux. Only linux_call.h, os_sockets.c and os_waiting.c know Linux's numbers and layouts.
 *
 * The provider is a PE image, but Wine maps it into an ordinary Linux process, so it makes Linux system calls itself. It has to:
 * through Wine's own sockets (8.0) a RST cannot be told from a FIN - FD_CLOSE carries error 0 for both, and a socket that was given to
 * WSAEventSelect returns 0 from the next recv in both cases. The kernel's own answers (EPOLLRDHUP, SO_ERROR, recv) are exact.
 * It also makes the same source an ordinary Linux program for the sanitizers.
 *
 * Functions return a result >= 0, or a negative error number of the enum below. A call interrupted by a signal is repeated: Wine
 * uses signals of its own.
 */
#ifndef STANDIN_OS_H
#define STANDIN_OS_H

#include <stdbool.h>

#include "wsk.h"

enum os_error {
    OS_EINTR = 4,
    OS_EAGAIN = 11,
    OS_EFAULT = 14,
    OS_EEXIST = 17,
    OS_EMFILE = 24,
    OS_EPIPE = 32,
    OS_EADDRINUSE = 98,
    OS_EADDRNOTAVAIL = 99,
    OS_ENETDOWN = 100,
    OS_ENETUNREACH = 101,
    OS_ECONNABORTED = 103,
    OS_ECONNRESET = 104,
    OS_ENOBUFS = 105,
    OS_ETIMEDOUT = 110,
    OS_ECONNREFUSED = 111,
    OS_EHOSTUNREACH = 113,
    OS_EINPROGRESS = 115,
};

/* Room for an address of either family; Windows' layout equals Linux's but for the family's number, which os_sockets.c translates. */
typedef union os_address {
    SOCKADDR any;
    SOCKADDR_IN v4;
    SOCKADDR_IN6 v6;
} os_address;

size_t os_address_size(ADDRESS_FAMILY family); /* 0: no family we know */

/* ---- TCP sockets, never blocking ------------------------------------------------------------------------------------------- */

typedef struct os_vector {
    void *base;
    size_t length;
} os_vector;

enum { OS_VECTORS = 16 }; /* the most that one os_send or os_receive takes */

int os_tcp_socket(ADDRESS_FAMILY family);
int os_bind(int fd, const os_address *address);
/* As os_bind, but a port of 0 is chosen by os_connect: then only the four-tuple has to be unique, not the port. */
int os_bind_for_connect(int fd, const os_address *address);
int os_listen(int fd);
int os_accept(int fd, os_address *remote);
int os_connect(int fd, const os_address *address);
int os_local_address(int fd, os_address *address);
long os_send(int fd, const os_vector *vectors, unsigned count);
long os_receive(int fd, const os_vector *vectors, unsigned count); /* 0: the peer's FIN, or an error already taken */
long os_peek(int fd, void *to, size_t size);
long os_discard(int fd, size_t size);
int os_shutdown_send(int fd);
int os_take_error(int fd); /* SO_ERROR, which reading clears; 0 or a positive error number */
long os_unsent(int fd); /* bytes taken by the kernel and never yet on the wire */
bool os_fin_acknowledged(int fd); /* our FIN */
bool os_both_closed(int fd); /* both FINs are out, or the connection is gone */
int os_mute(int fd); /* arriving segments are dropped from now on */

void os_close(int fd);
void os_close_reset(int fd); /* RST */
void os_close_silent(int fd); /* nothing on the wire; needs CAP_NET_ADMIN, otherwise as os_close_reset */

enum os_option {
    OS_KEEPALIVE,
    OS_REUSE_ADDRESS,
    OS_SEND_BUFFER,
    OS_RECEIVE_BUFFER,
    OS_NO_DELAY,
    OS_KEEP_IDLE,
    OS_KEEP_INTERVAL,
    OS_KEEP_COUNT,
    OS_USER_TIMEOUT, /* ms: TCP_USER_TIMEOUT */
    OS_V6_ONLY,
};

int os_set_option(int fd, enum os_option option, int value);
int os_get_option(int fd, enum os_option option, int *value);

/* ---- Waiting for sockets ------------------------------------------------------------------------------------------------------ */

enum os_readiness {
    OS_IN = 0x1,
    OS_OUT = 0x4,
    OS_ERR = 0x8,
    OS_HUP = 0x10,
    OS_RDHUP = 0x2000,
};

typedef struct __attribute__((packed)) os_ready {
    ULONG events;
    void *data;
} os_ready;

int os_epoll_create(void);
/* Edge-triggered, for everything in os_readiness. Watching a socket again reports at once what is ready now. */
int os_epoll_watch(int epoll, int fd, void *data);
int os_epoll_wait(int epoll, os_ready *ready, int count);

/* An eventfd: the way to wake a thread that is in os_epoll_wait. Level-triggered. */
int os_wake_create(int epoll, void *data);
void os_wake_set(int fd);
void os_wake_clear(int fd);

/* ---- Threads --------------------------------------------------------------------------------------------------------------------- */

int os_thread_id(void);
void os_raise_file_limit(void);
/* The beginning of a text file, ended with a 0; false: it cannot be read. */
bool os_read_file(const char *path, char *text, size_t size);
ULONGLONG os_milliseconds(void);
/* Sleeps while *word == value; `timeout_ms` < 0: for ever. May return early. */
void os_futex_wait(int *word, int value, int timeout_ms);
void os_futex_wake(int *word, int count);

#endif
