/* Endings that no ordinary program causes; they need CAP_NET_ADMIN. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "peer.h"

/* C33: a socket in repair mode closes without a segment on the wire (tcp(7) of CRIU; net/ipv4/tcp.c, tcp_close). */
void do_repair_close(void)
{
    const char *name = text("sock", "0");
    int on = 1, fd = named(name);
    if (fd < 0)
        return;
    if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on)) {
        fail_errno("repair_close", errno);
        return;
    }
    forget(name);
    close(fd);
}

struct destroy_request {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
};

static void identify(const struct sockaddr_storage *address, __be16 *port, __be32 *host)
{
    *port = htons((uint16_t)port_of(address));
    if (address->ss_family == AF_INET6)
        memcpy(host, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
    else
        memcpy(host, &((const struct sockaddr_in *)address)->sin_addr, 4);
}

/* Send one request over netlink and take its acknowledgement. Returns an errno value, or 0. */
static int ask_kernel(struct destroy_request *request)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr body;
        char rest[512];
    } reply;
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    int error = EIO;
    if (netlink < 0)
        return errno;
    if (send(netlink, request, sizeof *request, 0) < 0)
        error = errno;
    else if (recv(netlink, &reply, sizeof reply, 0) >= (ssize_t)(sizeof reply.header + sizeof reply.body) &&
             reply.header.nlmsg_type == NLMSG_ERROR)
        error = -reply.body.error;
    close(netlink);
    return error;
}

/* C19: SOCK_DESTROY (sock_diag(7)); the socket stays open here and reads ECONNABORTED. */
void do_destroy(void)
{
    struct sockaddr_storage own = {0}, other = {0};
    socklen_t own_size = sizeof own, other_size = sizeof other;
    int fd = named(text("sock", "0"));
    if (fd < 0)
        return;
    if (getsockname(fd, (struct sockaddr *)&own, &own_size) ||
        getpeername(fd, (struct sockaddr *)&other, &other_size)) {
        fail_errno("destroy", errno);
        return;
    }
    struct destroy_request request = {
        .header = {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DESTROY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .body = {.sdiag_family = (__u8)own.ss_family,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_states = ~0u,
                 .id.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}},
    };
    identify(&own, &request.body.id.idiag_sport, request.body.id.idiag_src);
    identify(&other, &request.body.id.idiag_dport, request.body.id.idiag_dst);
    int error = ask_kernel(&request);
    if (error)
        fail_errno("destroy", error);
}
