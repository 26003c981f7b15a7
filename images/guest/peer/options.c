/* Socket options, what the kernel says of a connection, and kernel settings. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <unistd.h>

#include "peer.h"

static const struct option {
    const char *name;
    int level, option;
} options[] = {
    {"nodelay", IPPROTO_TCP, TCP_NODELAY},
    {"cork", IPPROTO_TCP, TCP_CORK},
    {"keepalive", SOL_SOCKET, SO_KEEPALIVE},
    {"keepidle", IPPROTO_TCP, TCP_KEEPIDLE},
    {"keepintvl", IPPROTO_TCP, TCP_KEEPINTVL},
    {"keepcnt", IPPROTO_TCP, TCP_KEEPCNT},
    {"user_timeout_ms", IPPROTO_TCP, TCP_USER_TIMEOUT},
    {"rcvbuf", SOL_SOCKET, SO_RCVBUF},
    {"sndbuf", SOL_SOCKET, SO_SNDBUF},
    {"quickack", IPPROTO_TCP, TCP_QUICKACK},
    {"linger2", IPPROTO_TCP, TCP_LINGER2},
    {"window_clamp", IPPROTO_TCP, TCP_WINDOW_CLAMP},
};
enum { OPTIONS = sizeof options / sizeof *options };

void do_option(void)
{
    int values[OPTIONS];
    long long linger = number_or_null("linger", 0, 65535);
    for (size_t i = 0; i < OPTIONS; i++)
        values[i] = (int)number(options[i].name, 0, 0, 1 << 30);
    int fd = named(text("sock", "0"));
    if (fd < 0 || (given("linger") && !set_linger(fd, linger)))
        return;
    for (size_t i = 0; i < OPTIONS; i++)
        if (given(options[i].name) && setsockopt(fd, options[i].level, options[i].option, &values[i], sizeof *values))
            fail_errno(options[i].name, errno);
}

void do_state(void)
{
    /* By number, include/net/tcp_states.h of Linux; 0 is no state. */
    static const char *const states[] = {"?",         "ESTABLISHED", "SYN_SENT",   "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2",
                                         "TIME_WAIT", "CLOSE",       "CLOSE_WAIT", "LAST_ACK", "LISTEN",    "CLOSING"};
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    int unread = 0, unsent = 0, fd = named(text("sock", "0"));
    if (fd < 0)
        return;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size)) {
        fail_errno("state", errno);
        return;
    }
    ioctl(fd, SIOCINQ, &unread);
    ioctl(fd, SIOCOUTQ, &unsent);
    put_text("state", info.tcpi_state < sizeof states / sizeof *states ? states[info.tcpi_state] : "?");
    put_number("unread", unread);
    put_number("unsent", unsent);
    put_number("unacked", info.tcpi_unacked);
    put_number("retransmits", info.tcpi_retransmits);
    put_number("probes", info.tcpi_probes);
}

/* Open /proc/sys/NAME, where NAME may be written with dots or slashes. */
static int open_setting(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789_./-";
    char path[200];
    int length = snprintf(path, sizeof path, "/proc/sys/%s", name);
    if (length >= (int)sizeof path || strspn(name, allowed) != strlen(name) || strstr(name, "..")) {
        fail("name must be a kernel setting such as net.ipv4.tcp_fin_timeout");
        return -1;
    }
    if (!strchr(name, '/'))
        for (char *dot = path; (dot = strchr(dot, '.')) != NULL;)
            *dot = '/';
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        fail_errno("the kernel setting cannot be opened", errno);
    return fd;
}

void do_sysctl(void)
{
    char was[200] = "";
    const char *name = text("name", ""), *value = text("value", NULL);
    int fd = good() ? open_setting(name) : -1;
    if (fd < 0)
        return;
    ssize_t length = read(fd, was, sizeof was - 1);
    was[length > 0 ? length : 0] = 0;
    was[strcspn(was, "\n")] = 0;
    if (value && pwrite(fd, value, strlen(value), 0) < 0)
        fail_errno("the kernel refuses the value", errno);
    put_text("was", was);
    close(fd);
}
