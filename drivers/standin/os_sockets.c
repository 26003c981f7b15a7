/* TCP sockets on Linux; see os.h. */
#include "linux_call.h"

/* Linux's values where Windows has others under the same name. */
enum {
    LX_AF_INET6 = 10,
    LX_MSG_PEEK = 0x2,
    LX_MSG_TRUNC = 0x20,
    LX_MSG_DONTWAIT = 0x40,
    LX_MSG_NOSIGNAL = 0x4000,
    LX_SHUT_WR = 1,
    LX_SOL_IP = 0,
    LX_SOL_SOCKET = 1,
    LX_SOL_TCP = 6,
    LX_SOL_IPV6 = 41,
    LX_SO_REUSEADDR = 2,
    LX_SO_ERROR = 4,
    LX_SO_SNDBUF = 7,
    LX_SO_RCVBUF = 8,
    LX_SO_KEEPALIVE = 9,
    LX_SO_LINGER = 13,
    LX_SO_ATTACH_FILTER = 26,
    LX_TCP_NODELAY = 1,
    LX_TCP_KEEPIDLE = 4,
    LX_TCP_KEEPINTVL = 5,
    LX_TCP_KEEPCNT = 6,
    LX_TCP_INFO = 11,
    LX_TCP_USER_TIMEOUT = 18,
    LX_TCP_REPAIR = 19,
    LX_TCP_NOTSENT_LOWAT = 25,
    LX_IP_BIND_ADDRESS_NO_PORT = 24,
    LX_IPV6_V6ONLY = 26,
    LX_SIOCOUTQNSD = 0x894B,
    LX_BACKLOG = 4096,
};

/* TCP states as tcp_info shows them. */
enum { LX_TCP_FIN_WAIT2 = 5, LX_TCP_TIME_WAIT = 6, LX_TCP_CLOSE = 7, LX_TCP_LAST_ACK = 9, LX_TCP_CLOSING = 11 };

struct lx_msghdr {
    void *name;
    ULONG name_length;
    const os_vector *vectors;
    size_t count;
    void *control;
    size_t control_length;
    int flags;
};

static int set_option(int fd, int level, int name, int value)
{
    return (int)call(SYS_setsockopt, fd, level, name, ARG(&value), sizeof value);
}

/* ---- Addresses ---------------------------------------------------------------------------------------------------------------- */

size_t os_address_size(ADDRESS_FAMILY family)
{
    return family == AF_INET ? sizeof(SOCKADDR_IN) : family == AF_INET6 ? sizeof(SOCKADDR_IN6) : 0;
}

static os_address to_linux(const os_address *address)
{
    os_address translated = *address;

    if (translated.any.sa_family == AF_INET6)
        translated.any.sa_family = LX_AF_INET6;
    return translated;
}

static void from_linux(os_address *address)
{
    if (address->any.sa_family == LX_AF_INET6)
        address->any.sa_family = AF_INET6;
}

/* ---- TCP sockets ----------------------------------------------------------------------------------------------------------------- */

/*
 * The kernel buffers what it is given, WSK does not (R57). With this limit a socket counts as writable only while nothing waits to be
 * sent, so that "all of it was sent" can be waited for.
 */
static void limit_unsent(int fd)
{
    set_option(fd, LX_SOL_TCP, LX_TCP_NOTSENT_LOWAT, 1);
}

int os_tcp_socket(ADDRESS_FAMILY family)
{
    int fd = (int)call(SYS_socket, family == AF_INET6 ? LX_AF_INET6 : AF_INET,
                       SOCK_STREAM | LX_SOCK_NONBLOCK | LX_SOCK_CLOEXEC, IPPROTO_TCP, 0, 0);

    if (fd < 0)
        return fd;
    if (family == AF_INET6)
        set_option(fd, LX_SOL_IPV6, LX_IPV6_V6ONLY, 1);
    limit_unsent(fd);
    return fd;
}

int os_bind(int fd, const os_address *address)
{
    os_address local = to_linux(address);

    return (int)call(SYS_bind, fd, ARG(&local), (LONGLONG)os_address_size(address->any.sa_family), 0, 0);
}

int os_bind_for_connect(int fd, const os_address *address)
{
    set_option(fd, LX_SOL_IP, LX_IP_BIND_ADDRESS_NO_PORT, 1);
    return os_bind(fd, address);
}

int os_listen(int fd)
{
    return (int)call(SYS_listen, fd, LX_BACKLOG, 0, 0, 0);
}

int os_accept(int fd, os_address *remote)
{
    ULONG size = sizeof *remote;
    int accepted = (int)call(SYS_accept4, fd, ARG(remote), ARG(&size), LX_SOCK_NONBLOCK | LX_SOCK_CLOEXEC, 0);

    if (accepted < 0)
        return accepted;
    from_linux(remote);
    limit_unsent(accepted);
    return accepted;
}

int os_connect(int fd, const os_address *address)
{
    os_address remote = to_linux(address);

    return (int)call(SYS_connect, fd, ARG(&remote), (LONGLONG)os_address_size(address->any.sa_family), 0, 0);
}

int os_local_address(int fd, os_address *address)
{
    ULONG size = sizeof *address;
    int result = (int)call(SYS_getsockname, fd, ARG(address), ARG(&size), 0, 0);

    if (result == 0)
        from_linux(address);
    return result;
}

long os_send(int fd, const os_vector *vectors, unsigned count)
{
    struct lx_msghdr message = {.vectors = vectors, .count = count};

    return (long)call(SYS_sendmsg, fd, ARG(&message), LX_MSG_DONTWAIT | LX_MSG_NOSIGNAL, 0, 0);
}

long os_receive(int fd, const os_vector *vectors, unsigned count)
{
    struct lx_msghdr message = {.vectors = vectors, .count = count};

    return (long)call(SYS_recvmsg, fd, ARG(&message), LX_MSG_DONTWAIT, 0, 0);
}

long os_peek(int fd, void *to, size_t size)
{
    return (long)call(SYS_recvfrom, fd, ARG(to), (LONGLONG)size, LX_MSG_DONTWAIT | LX_MSG_PEEK, 0);
}

long os_discard(int fd, size_t size)
{
    return (long)call(SYS_recvfrom, fd, 0, (LONGLONG)size, LX_MSG_DONTWAIT | LX_MSG_TRUNC, 0);
}

int os_shutdown_send(int fd)
{
    return (int)call(SYS_shutdown, fd, LX_SHUT_WR, 0, 0, 0);
}

static int get_option(int fd, int level, int name, void *value, ULONG size)
{
    return (int)call(SYS_getsockopt, fd, level, name, ARG(value), ARG(&size));
}

int os_take_error(int fd)
{
    int error = 0;

    get_option(fd, LX_SOL_SOCKET, LX_SO_ERROR, &error, sizeof error);
    return error;
}

long os_unsent(int fd)
{
    int bytes = 0;

    call(SYS_ioctl, fd, LX_SIOCOUTQNSD, ARG(&bytes), 0, 0);
    return bytes;
}

static UCHAR tcp_state(int fd)
{
    UCHAR state = 0; /* tcp_info starts with it */

    get_option(fd, LX_SOL_TCP, LX_TCP_INFO, &state, sizeof state);
    return state;
}

bool os_fin_acknowledged(int fd)
{
    UCHAR state = tcp_state(fd);

    return state == LX_TCP_FIN_WAIT2 || state == LX_TCP_TIME_WAIT || state == LX_TCP_CLOSE;
}

bool os_both_closed(int fd)
{
    UCHAR state = tcp_state(fd);

    return state == LX_TCP_LAST_ACK || state == LX_TCP_CLOSING || state == LX_TCP_TIME_WAIT || state == LX_TCP_CLOSE;
}

int os_mute(int fd)
{
    struct {
        USHORT code;
        UCHAR jump_true, jump_false;
        ULONG value;
    } accept_nothing = {0x06, 0, 0, 0}; /* BPF_RET | BPF_K, 0 bytes */
    struct {
        USHORT count;
        void *instructions;
    } program = {1, &accept_nothing};

    /* Otherwise the kernel would still send probes. */
    set_option(fd, LX_SOL_SOCKET, LX_SO_KEEPALIVE, 0);
    return (int)call(SYS_setsockopt, fd, LX_SOL_SOCKET, LX_SO_ATTACH_FILTER, ARG(&program), sizeof program);
}

void os_close(int fd)
{
    /* Never repeated after EINTR: Linux has released the descriptor all the same. */
    call_once(SYS_close, fd, 0, 0, 0, 0, 0);
}

void os_close_reset(int fd)
{
    struct {
        int on, seconds;
    } linger = {1, 0};

    call(SYS_setsockopt, fd, LX_SOL_SOCKET, LX_SO_LINGER, ARG(&linger), sizeof linger);
    os_close(fd);
}

void os_close_silent(int fd)
{
    if (set_option(fd, LX_SOL_TCP, LX_TCP_REPAIR, 1) == 0)
        os_close(fd);
    else
        os_close_reset(fd);
}

static const struct {
    int level, name;
} options[] = {
    [OS_KEEPALIVE] = {LX_SOL_SOCKET, LX_SO_KEEPALIVE},     [OS_REUSE_ADDRESS] = {LX_SOL_SOCKET, LX_SO_REUSEADDR},
    [OS_SEND_BUFFER] = {LX_SOL_SOCKET, LX_SO_SNDBUF},      [OS_RECEIVE_BUFFER] = {LX_SOL_SOCKET, LX_SO_RCVBUF},
    [OS_NO_DELAY] = {LX_SOL_TCP, LX_TCP_NODELAY},          [OS_KEEP_IDLE] = {LX_SOL_TCP, LX_TCP_KEEPIDLE},
    [OS_KEEP_INTERVAL] = {LX_SOL_TCP, LX_TCP_KEEPINTVL},   [OS_KEEP_COUNT] = {LX_SOL_TCP, LX_TCP_KEEPCNT},
    [OS_USER_TIMEOUT] = {LX_SOL_TCP, LX_TCP_USER_TIMEOUT}, [OS_V6_ONLY] = {LX_SOL_IPV6, LX_IPV6_V6ONLY},
};

int os_set_option(int fd, enum os_option option, int value)
{
    return set_option(fd, options[option].level, options[option].name, value);
}

int os_get_option(int fd, enum os_option option, int *value)
{
    return get_option(fd, options[option].level, options[option].name, value, sizeof *value);
}
