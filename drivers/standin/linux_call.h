/* Linux system calls on x86-64, made without a C library. Only for os_sockets.c and os_waiting.c. */
#ifndef STANDIN_LINUX_CALL_H
#define STANDIN_LINUX_CALL_H

#include "os.h"

#if !defined(__x86_64__)
#error "the stand-in provider is for x86-64"
#endif

enum {
    SYS_read = 0,
    SYS_write = 1,
    SYS_open = 2,
    SYS_close = 3,
    SYS_ioctl = 16,
    SYS_socket = 41,
    SYS_connect = 42,
    SYS_recvfrom = 45,
    SYS_sendmsg = 46,
    SYS_recvmsg = 47,
    SYS_shutdown = 48,
    SYS_bind = 49,
    SYS_listen = 50,
    SYS_getsockname = 51,
    SYS_setsockopt = 54,
    SYS_getsockopt = 55,
    SYS_gettid = 186,
    SYS_futex = 202,
    SYS_clock_gettime = 228,
    SYS_epoll_wait = 232,
    SYS_epoll_ctl = 233,
    SYS_accept4 = 288,
    SYS_eventfd2 = 290,
    SYS_epoll_create1 = 291,
    SYS_prlimit64 = 302,
};

/* Also for eventfd. */
enum {
    LX_SOCK_NONBLOCK = 0x800,
    LX_SOCK_CLOEXEC = 0x80000,
};

#define ARG(x) ((LONGLONG)(ULONG_PTR)(x))

static inline LONGLONG call_once(LONGLONG number, LONGLONG a, LONGLONG b, LONGLONG c, LONGLONG d, LONGLONG e,
                                 LONGLONG f)
{
    register LONGLONG r10 __asm__("r10") = d;
    register LONGLONG r8 __asm__("r8") = e;
    register LONGLONG r9 __asm__("r9") = f;
    LONGLONG result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline LONGLONG call(LONGLONG number, LONGLONG a, LONGLONG b, LONGLONG c, LONGLONG d, LONGLONG e)
{
    LONGLONG result;

    do
        result = call_once(number, a, b, c, d, e, 0);
    while (result == -OS_EINTR);
    return result;
}

#endif
