/* Data: sending a pattern, receiving and summing up, waiting for the end. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "peer.h"

enum { CHUNK = 65536, SHOWN = 64, MOMENT = 20 };
#define FNV_START 0x811c9dc5u

static unsigned char buffer[CHUNK];

/* FNV-1a, 32 bits (RFC 9923), the sum that the driver prints as well. */
static uint32_t fnv(uint32_t sum, const unsigned char *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ data[i]) * 0x01000193u;
    return sum;
}

static void put_sum(uint32_t sum)
{
    char hex[9];
    snprintf(hex, sizeof hex, "%08x", sum);
    put_text("sum", hex);
}

static void put_hex(const unsigned char *data, size_t length)
{
    char hex[2 * SHOWN + 1] = "";
    for (size_t i = 0; i < length; i++)
        snprintf(hex + 2 * i, 3, "%02x", data[i]);
    put_text("hex", hex);
}

/* Decode hex digits into the buffer. Returns the number of bytes, or -1. */
static long long from_hex(const char *hex)
{
    size_t length = strlen(hex);
    if (length % 2 || length / 2 > CHUNK || strspn(hex, "0123456789abcdefABCDEF") != length)
        return -1;
    for (size_t i = 0; i < length / 2; i++) {
        unsigned byte;
        sscanf(hex + 2 * i, "%2x", &byte);
        buffer[i] = (unsigned char)byte;
    }
    return (long long)length / 2;
}

/*
 * Whether the other side's window has shut: all that was sent is acknowledged, and the kernel has begun to probe for
 * room for more (RFC 9293, 3.8.6.1). A socket that takes nothing for a moment may only wait for an acknowledgement, and
 * what it holds, a FIN among it, goes out with the next one.
 */
static bool window_shut(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_unacked == 0 && info.tcpi_probes > 0;
}

void do_send(void)
{
    long long bytes = number("bytes", 0, 0, 1LL << 40), seed = number("seed", 0, 0, 255), sent = 0;
    const char *hex = text("hex", NULL);
    bool full = flag("full");
    int64_t until = deadline();
    uint32_t sum = FNV_START;
    if (hex && (bytes = from_hex(hex)) < 0) {
        fail("hex must be pairs of hexadecimal digits, of 65536 bytes at most");
        return;
    }
    int fd = named(text("sock", "0"));
    if (fd < 0)
        return;
    while (sent < bytes) {
        size_t length = bytes - sent < CHUNK ? (size_t)(bytes - sent) : CHUNK;
        unsigned char *from = buffer + (hex ? sent : 0);
        if (!hex)
            for (size_t i = 0; i < length; i++)
                buffer[i] = (unsigned char)(seed + sent + (long long)i);
        ssize_t done = send(fd, from, length, MSG_NOSIGNAL);
        if (done >= 0) {
            sum = fnv(sum, from, (size_t)done);
            sent += done;
        } else if (errno != EAGAIN) {
            fail_errno("send", errno);
            break;
        } else if (full && (window_shut(fd) || now_ms() >= until)) {
            break;
        } else if (full) {
            (void)wait_for(fd, POLLOUT, now_ms() + MOMENT);
        } else if (!wait_for(fd, POLLOUT, until)) {
            fail_errno("the other side did not take all the data in time", ETIMEDOUT);
            break;
        }
    }
    put_number("bytes", sent);
    put_sum(sum);
}

void do_receive(void)
{
    const char *goal = text("until", "");
    bool to_eof = !strcmp(goal, "eof"), now = !strcmp(goal, "now"), eof = false;
    long long wanted = number("bytes", 1LL << 40, 0, 1LL << 40), got = 0;
    int64_t until = deadline();
    uint32_t sum = FNV_START;
    unsigned char shown[SHOWN];
    if (to_eof + now + given("bytes") != 1) {
        fail("give either bytes, or until as eof or now");
        return;
    }
    int fd = named(text("sock", "0"));
    if (fd < 0)
        return;
    while (got < wanted && !eof) {
        size_t length = wanted - got < CHUNK ? (size_t)(wanted - got) : CHUNK;
        ssize_t done = recv(fd, buffer, length, 0);
        if (done > 0) {
            if (got < SHOWN)
                memcpy(shown + got, buffer, (size_t)(done < SHOWN - got ? done : SHOWN - got));
            sum = fnv(sum, buffer, (size_t)done);
            got += done;
        } else if (done == 0) {
            eof = true;
            put_true("eof");
            if (!to_eof && !now)
                fail("the connection ended first");
        } else if (errno != EAGAIN) {
            fail_errno("receive", errno);
            break;
        } else if (now) {
            break;
        } else if (!wait_for(fd, POLLIN, until)) {
            fail_errno("not all the data came in time", ETIMEDOUT);
            break;
        }
    }
    put_number("bytes", got);
    put_sum(sum);
    put_hex(shown, (size_t)(got < SHOWN ? got : SHOWN));
}

void do_await(void)
{
    const char *what = text("for", "");
    /* POLLERR and POLLHUP need not be asked for. EOF shows as POLLRDHUP even behind data that nobody reads. */
    int events = !strcmp(what, "readable") ? POLLIN : !strcmp(what, "eof") ? POLLRDHUP : 0;
    int64_t until = deadline();
    if (!events && strcmp(what, "reset")) {
        fail("for must be readable, eof or reset");
        return;
    }
    int fd = named(text("sock", "0")), error = 0;
    socklen_t size = sizeof error;
    if (fd < 0)
        return;
    int seen = wait_for(fd, events, until);
    if (seen & POLLERR)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (!seen)
        fail_errno("it did not happen in time", ETIMEDOUT);
    else if (events && error)
        fail_errno("the connection ended with an error", error);
    else if (!events && !error)
        fail("the connection ended without a reset");
    else if (error)
        put_number("reset", error);
}
