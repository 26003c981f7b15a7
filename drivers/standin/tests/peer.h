/* The other end of the tests' connections: plain blocking sockets on 127.0.0.1. Kept apart from wsk.h, whose names clash with Linux's. */
#ifndef STANDIN_TESTS_PEER_H
#define STANDIN_TESTS_PEER_H

#include <stddef.h>

int peer_listen(int *port); /* with *port 0 any port */
int peer_listen6(int *port); /* on ::1 */
int peer_listen_tiny(int *port); /* its accepted sockets have the smallest receive buffer */
int peer_listen_deaf(int *port); /* drops every segment: a connect stays pending */
int peer_closed_port(void); /* a port where nobody listens */
int peer_accept(int listener);
int peer_connect(int port);
int peer_try_connect(int port); /* -1: refused */
void peer_send(int fd, size_t size); /* byte i is (i % 251) */
void peer_receive(int fd, size_t size);
size_t peer_drain(int fd);
void peer_shutdown_write(int fd);
void peer_close(int fd);
void peer_reset(int fd); /* SO_LINGER {1, 0} and close */
void peer_vanish(int fd); /* closes without a segment (TCP_REPAIR, which needs CAP_NET_ADMIN) */
void peer_go_deaf(int fd); /* arriving segments are dropped, nothing is answered */
int peer_end(int fd); /* waits for the end: 0 FIN, otherwise the error number */
int peer_local_port(int fd);
int open_descriptors(void);

#endif
