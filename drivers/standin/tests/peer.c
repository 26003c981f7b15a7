/* See peer.h. */
#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_S = 10 };

static int must(int result, const char *what)
{
    if (result >= 0)
        return result;
    perror(what);
    exit(3);
}

static void limit(int fd)
{
    struct timeval patience = {PATIENCE_S, 0};

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

static int listen_on(int *port, int receive_buffer)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((unsigned short)*port)};
    socklen_t size = sizeof address;
    int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"), one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    must(bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
    must(listen(fd, 4096), "listen");
    limit(fd);
    getsockname(fd, (struct sockaddr *)&address, &size);
    *port = ntohs(address.sin_port);
    return fd;
}

int peer_listen(int *port)
{
    return listen_on(port, 0);
}

int peer_listen_tiny(int *port)
{
    return listen_on(port, 1);
}

void peer_go_deaf(int fd)
{
    struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {1, &nothing};

    must(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), "SO_ATTACH_FILTER");
}

int peer_listen_deaf(int *port)
{
    int fd = listen_on(port, 0);

    peer_go_deaf(fd);
    return fd;
}

int peer_listen6(int *port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    socklen_t size = sizeof address;
    int fd = must(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

    must(bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
    must(listen(fd, 16), "listen");
    limit(fd);
    getsockname(fd, (struct sockaddr *)&address, &size);
    *port = ntohs(address.sin6_port);
    return fd;
}

int peer_closed_port(void)
{
    int port = 0, fd = peer_listen(&port);

    close(fd);
    return port;
}

int peer_accept(int listener)
{
    int fd = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept");

    limit(fd);
    return fd;
}

int peer_connect(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((unsigned short)port)};
    int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

    limit(fd);
    must(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
    return fd;
}

int peer_try_connect(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((unsigned short)port)};
    int fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

void peer_send(int fd, size_t size)
{
    unsigned char piece[4096];
    size_t sent = 0;

    while (sent < size) {
        size_t count = size - sent < sizeof piece ? size - sent : sizeof piece;
        ssize_t done;

        for (size_t i = 0; i < count; i++)
            piece[i] = (unsigned char)((sent + i) % 251);
        done = must((int)send(fd, piece, count, MSG_NOSIGNAL), "peer send");
        sent += (size_t)done;
    }
}

void peer_receive(int fd, size_t size)
{
    unsigned char piece[4096];
    size_t received = 0;

    while (received < size) {
        size_t count = size - received < sizeof piece ? size - received : sizeof piece;
        ssize_t done = must((int)recv(fd, piece, count, 0), "peer receive");

        if (done == 0) {
            fprintf(stderr, "peer: the connection ended after %zu of %zu bytes\n", received, size);
            exit(3);
        }
        for (ssize_t i = 0; i < done; i++)
            if (piece[i] != (unsigned char)((received + (size_t)i) % 251)) {
                fprintf(stderr, "peer: wrong byte at %zu\n", received + (size_t)i);
                exit(3);
            }
        received += (size_t)done;
    }
}

size_t peer_drain(int fd)
{
    char piece[65536];
    size_t total = 0;
    ssize_t done;

    while ((done = recv(fd, piece, sizeof piece, 0)) > 0)
        total += (size_t)done;
    return total;
}

void peer_shutdown_write(int fd)
{
    shutdown(fd, SHUT_WR);
}

void peer_close(int fd)
{
    close(fd);
}

void peer_reset(int fd)
{
    struct linger linger = {1, 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

void peer_vanish(int fd)
{
    int one = 1;

    must(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &one, sizeof one), "TCP_REPAIR");
    close(fd);
}

int peer_end(int fd)
{
    char piece[4096];
    ssize_t done;

    while ((done = recv(fd, piece, sizeof piece, 0)) > 0)
        ;
    return done == 0 ? 0 : errno;
}

int peer_local_port(int fd)
{
    struct sockaddr_in address;
    socklen_t size = sizeof address;

    getsockname(fd, (struct sockaddr *)&address, &size);
    return ntohs(address.sin_port);
}

int open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = -3; /* ".", "..", and the folder itself */

    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}
