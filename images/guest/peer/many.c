/* Many connections at once: INTO0, INTO1 and so on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"

static int ports[SOCKETS], resets[SOCKETS], order[SOCKETS];

static int count(void)
{
    return (int)number("count", 1, 1, SOCKETS);
}

static const char *member(const char *into, int i)
{
    static char name[NAME_SIZE + 12];
    snprintf(name, sizeof name, "%.*s%d", NAME_SIZE, into, i);
    return name;
}

static int peer_port(int fd)
{
    struct sockaddr_storage other = {0};
    socklen_t size = sizeof other;
    getpeername(fd, (struct sockaddr *)&other, &size);
    return port_of(&other);
}

void do_accept_many(void)
{
    const char *into = text("into", "m");
    int wanted = count(), done = 0;
    int64_t until = deadline();
    int listener = named(text("from", "listener"));
    if (listener < 0)
        return;
    for (; done < wanted; done++) {
        struct sockaddr_storage from;
        int fd = accept_connection(listener, until, &from);
        if (fd < 0 || !keep(member(into, done), fd))
            break;
        ports[done] = port_of(&from);
    }
    put_array("ports", ports, (size_t)done);
}

void do_connect_many(void)
{
    const char *into = text("into", "m");
    int wanted = count(), done = 0;
    for (; done < wanted; done++) {
        struct sockaddr_storage own = {0};
        socklen_t size = sizeof own;
        int fd = open_connection();
        if (fd < 0 || !keep(member(into, done), fd))
            break;
        getsockname(fd, (struct sockaddr *)&own, &size);
        ports[done] = port_of(&own);
    }
    put_array("ports", ports, (size_t)done);
}

/* xorshift32 (Marsaglia 2003): the same seed gives the same order everywhere. */
static uint32_t next(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

void do_close_many(void)
{
    const char *into = text("into", "m"), *how = text("how", "close");
    uint32_t state = (uint32_t)number("seed", 0, 0, UINT32_MAX);
    bool shuffled = state != 0, mixed = !strcmp(how, "mixed"), reset = !strcmp(how, "reset");
    int wanted = count(), done = 0, to_reset = wanted / 2;
    if (!mixed && !reset && strcmp(how, "close"))
        fail("how must be close, reset or mixed");
    else if (mixed && !shuffled)
        fail("mixed needs a seed other than 0");
    else if (good()) {
        for (int i = 0; i < wanted; i++) {
            int other = shuffled ? (int)(next(&state) % (uint32_t)(i + 1)) : i;
            order[i] = order[other];
            order[other] = i;
        }
        for (; done < wanted; done++) {
            const char *name = member(into, order[done]);
            int fd = named(name);
            /* Exactly half of them, in an order drawn: each is drawn from the resets and closes still to come. */
            resets[done] = mixed ? (int)(next(&state) % (uint32_t)(wanted - done)) < to_reset : reset;
            to_reset -= resets[done];
            if (fd < 0 || (resets[done] && !set_linger(fd, 0)))
                break;
            ports[done] = peer_port(fd);
            forget(name);
            close(fd);
        }
        put_array("order", order, (size_t)done);
        put_array("ports", ports, (size_t)done);
        put_array("resets", resets, (size_t)done);
    }
}
