/* What the parts of the peer program share: the request being answered, its reply, and the sockets by name. */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "json.h"

enum { NAME_SIZE = 24, SOCKETS = 16384 };

/* Arguments. A wrong one is noted, and the default is returned; `good` then answers the request with the complaint. */
long long number(const char *name, long long otherwise, long long least, long long most);
long long number_or_null(const char *name, long long least, long long most); /* -1 for null, or when not given */
const char *text(const char *name, const char *otherwise);
bool flag(const char *name);
bool given(const char *name);
bool good(void);

/* Replies. Fields may be added before or after; the request is answered with `ok` unless `fail` was called. */
void fail(const char *why);
void fail_errno(const char *what, int error);
void put_number(const char *name, long long value);
void put_text(const char *name, const char *value);
void put_true(const char *name);
void put_array(const char *name, const int *values, size_t count);

/* The time (ms, monotonic), the moment at which this request's `timeout_ms` is over, and waiting for poll(2) events
 * until then. wait_for returns the events, or 0 after the time, or when a signal says that nothing will come. */
int64_t now_ms(void);
int64_t deadline(void);
int wait_for(int fd, int events, int64_t until);

/* Sockets by name. All are non-blocking. `named` fails the request (-1) when there is none, or when an argument that
 * was fetched before is wrong; `keep` fails it when the name is taken, and closes the socket. */
int named(const char *name);
bool keep(const char *name, int fd);
void forget(const char *name);

int port_of(const struct sockaddr_storage *address);
socklen_t size_of(const struct sockaddr_storage *address);
bool set_linger(int fd, long long seconds); /* -1: off */

/* A connection made with the request's host and port, or accepted; -1 after failing the request. */
int open_connection(void);
int accept_connection(int listener, int64_t until, struct sockaddr_storage *from);

/* Requests, by file. */
void do_listen(void);
void do_accept(void);
void do_connect(void);
void do_shutdown(void);
void do_close(void);

void do_send(void);
void do_receive(void);
void do_await(void);

void do_option(void);
void do_state(void);
void do_sysctl(void);

void do_repair_close(void);
void do_destroy(void);

void do_accept_many(void);
void do_connect_many(void);
void do_close_many(void);

#endif
