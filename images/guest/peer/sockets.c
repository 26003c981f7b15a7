/* Sockets by name: making, ending and forgetting them. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"

static struct {
    char name[NAME_SIZE];
    int fd;
} table[SOCKETS];
static size_t used;

static size_t find(const char *name)
{
    size_t i = 0;
    while (i < used && strcmp(table[i].name, name))
        i++;
    return i;
}

int named(const char *name)
{
    if (!good())
        return -1;
    size_t i = find(name);
    if (i < used)
        return table[i].fd;
    fail("there is no socket of this name");
    return -1;
}

bool keep(const char *name, int fd)
{
    const char *wrong = strlen(name) >= NAME_SIZE ? "the name of the socket is too long"
                        : find(name) < used       ? "a socket of this name is open"
                        : used == SOCKETS         ? "too many sockets"
                                                  : NULL;
    if (wrong) {
        fail(wrong);
        close(fd);
        return false;
    }
    strcpy(table[used].name, name);
    table[used++].fd = fd;
    return true;
}

void forget(const char *name)
{
    size_t i = find(name);
    if (i < used)
        table[i] = table[--used];
}

int port_of(const struct sockaddr_storage *address)
{
    return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                                : ((const struct sockaddr_in *)address)->sin_port);
}

socklen_t size_of(const struct sockaddr_storage *address)
{
    return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static bool fill(struct sockaddr_storage *address, const char *host, int port)
{
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &ipv4->sin_addr) == 1) {
        ipv4->sin_family = AF_INET;
        ipv4->sin_port = htons((uint16_t)port);
        return true;
    }
    if (inet_pton(AF_INET6, host, &ipv6->sin6_addr) == 1) {
        ipv6->sin6_family = AF_INET6;
        ipv6->sin6_port = htons((uint16_t)port);
        return true;
    }
    fail("host must be an IPv4 or IPv6 address");
    return false;
}

static void put_own_port(int fd)
{
    struct sockaddr_storage own = {0};
    socklen_t size = sizeof own;
    getsockname(fd, (struct sockaddr *)&own, &size);
    put_number("port", port_of(&own));
}

/* A socket bound to the address, or -1. The port may be in TIME_WAIT: C27 uses a 4-tuple again. */
static int bound(const struct sockaddr_storage *own)
{
    int one = 1, fd = socket(own->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail_errno("socket", errno);
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (port_of(own) || own->ss_family == AF_UNSPEC) {
        if (bind(fd, (const struct sockaddr *)own, size_of(own))) {
            fail_errno("bind", errno);
            close(fd);
            return -1;
        }
    }
    return fd;
}

void do_listen(void)
{
    struct sockaddr_storage own;
    const char *family = text("family", "ipv4");
    const char *host = text("host", strcmp(family, "ipv6") ? "0.0.0.0" : "::");
    int port = (int)number("port", 0, 0, 65535), backlog = (int)number("backlog", 16, 0, 65535);
    const char *name = text("sock", "listener");
    if (!good() || !fill(&own, host, port))
        return;
    int fd = bound(&own);
    if (fd < 0)
        return;
    if (listen(fd, backlog)) {
        fail_errno("listen", errno);
        close(fd);
    } else if (keep(name, fd)) {
        put_own_port(fd);
    }
}

int accept_connection(int listener, int64_t until, struct sockaddr_storage *from)
{
    for (;;) {
        socklen_t size = sizeof *from;
        int fd = accept4(listener, (struct sockaddr *)from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        if (errno != EAGAIN) {
            fail_errno("accept", errno);
            return -1;
        }
        if (!wait_for(listener, POLLIN, until)) {
            fail_errno("nobody connected in time", ETIMEDOUT);
            return -1;
        }
    }
}

void do_accept(void)
{
    struct sockaddr_storage from;
    char host[INET6_ADDRSTRLEN] = "";
    const char *name = text("sock", "0");
    int64_t until = deadline();
    int listener = named(text("from", "listener"));
    if (listener < 0)
        return;
    int fd = accept_connection(listener, until, &from);
    if (fd < 0 || !keep(name, fd))
        return;
    const void *address = from.ss_family == AF_INET6 ? (void *)&((struct sockaddr_in6 *)&from)->sin6_addr
                                                     : (void *)&((struct sockaddr_in *)&from)->sin_addr;
    put_text("host", inet_ntop(from.ss_family, address, host, sizeof host));
    put_number("port", port_of(&from));
}

int open_connection(void)
{
    struct sockaddr_storage to, own;
    int port = (int)number("port", 0, 1, 65535), local = (int)number("local_port", 0, 0, 65535), error = 0;
    int64_t until = deadline();
    const char *host = text("host", "");
    if (!good() || !fill(&to, host, port) || !fill(&own, to.ss_family == AF_INET6 ? "::" : "0.0.0.0", local))
        return -1;
    int fd = bound(&own);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&to, size_of(&to))) {
        socklen_t size = sizeof error;
        error = errno;
        if (error == EINPROGRESS) {
            error = ETIMEDOUT;
            if (wait_for(fd, POLLOUT, until))
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        }
    }
    if (!error)
        return fd;
    fail_errno("connect", error);
    close(fd);
    return -1;
}

void do_connect(void)
{
    const char *name = text("sock", "0");
    int fd = open_connection();
    if (fd >= 0 && keep(name, fd))
        put_own_port(fd);
}

void do_shutdown(void)
{
    static const struct {
        const char *name;
        int how;
    } ways[] = {{"read", SHUT_RD}, {"write", SHUT_WR}, {"both", SHUT_RDWR}};
    const char *how = text("how", "write"), *name = text("sock", "0");
    size_t i = 0;
    while (i < sizeof ways / sizeof *ways && strcmp(ways[i].name, how))
        i++;
    if (i == sizeof ways / sizeof *ways) {
        fail("how must be read, write or both");
        return;
    }
    int fd = named(name);
    if (fd >= 0 && shutdown(fd, ways[i].how))
        fail_errno("shutdown", errno);
}

bool set_linger(int fd, long long seconds)
{
    struct linger linger = {.l_onoff = seconds >= 0, .l_linger = seconds >= 0 ? (int)seconds : 0};
    if (!setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger))
        return true;
    fail_errno("linger", errno);
    return false;
}

void do_close(void)
{
    const char *name = text("sock", "0");
    long long seconds = number_or_null("linger", 0, 65535);
    int fd = named(name);
    if (fd < 0 || (given("linger") && !set_linger(fd, seconds)))
        return;
    forget(name);
    if (close(fd))
        fail_errno("close", errno);
}
