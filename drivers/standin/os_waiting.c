/* epoll, eventfd and futex on Linux; see os.h. */
#include "linux_call.h"

enum {
    LX_EPOLL_CLOEXEC = 0x80000,
    LX_EPOLL_CTL_ADD = 1,
    LX_EPOLL_CTL_MOD = 3,
    LX_FUTEX_WAIT_PRIVATE = 128,
    LX_FUTEX_WAKE_PRIVATE = 129,
    LX_CLOCK_MONOTONIC = 1,
    LX_RLIMIT_NOFILE = 7,
};

#define LX_EPOLLET 0x80000000u

struct lx_timespec {
    LONGLONG seconds, nanoseconds;
};

/* ---- Waiting for sockets ------------------------------------------------------------------------------------------------------------ */

int os_epoll_create(void)
{
    return (int)call(SYS_epoll_create1, LX_EPOLL_CLOEXEC, 0, 0, 0, 0);
}

int os_epoll_watch(int epoll, int fd, void *data)
{
    os_ready interest = {OS_IN | OS_OUT | OS_RDHUP | LX_EPOLLET, data};
    int result = (int)call(SYS_epoll_ctl, epoll, LX_EPOLL_CTL_ADD, fd, ARG(&interest), 0);

    if (result == -OS_EEXIST)
        result = (int)call(SYS_epoll_ctl, epoll, LX_EPOLL_CTL_MOD, fd, ARG(&interest), 0);
    return result;
}

int os_epoll_wait(int epoll, os_ready *ready, int count)
{
    return (int)call(SYS_epoll_wait, epoll, ARG(ready), count, -1, 0);
}

int os_wake_create(int epoll, void *data)
{
    os_ready interest = {OS_IN, data};
    int fd = (int)call(SYS_eventfd2, 0, LX_SOCK_NONBLOCK | LX_SOCK_CLOEXEC, 0, 0, 0);

    if (fd >= 0)
        call(SYS_epoll_ctl, epoll, LX_EPOLL_CTL_ADD, fd, ARG(&interest), 0);
    return fd;
}

void os_wake_set(int fd)
{
    ULONGLONG one = 1;

    call(SYS_write, fd, ARG(&one), sizeof one, 0, 0);
}

void os_wake_clear(int fd)
{
    ULONGLONG count;

    call(SYS_read, fd, ARG(&count), sizeof count, 0, 0);
}

/* ---- Threads --------------------------------------------------------------------------------------------------------------------------- */

int os_thread_id(void)
{
    return (int)call(SYS_gettid, 0, 0, 0, 0, 0);
}

void os_raise_file_limit(void)
{
    ULONGLONG limit[2]; /* soft, hard */

    if (call(SYS_prlimit64, 0, LX_RLIMIT_NOFILE, 0, ARG(limit), 0) == 0 && limit[0] < limit[1]) {
        limit[0] = limit[1];
        call(SYS_prlimit64, 0, LX_RLIMIT_NOFILE, ARG(limit), 0, 0);
    }
}

bool os_read_file(const char *path, char *text, size_t size)
{
    int fd = (int)call(SYS_open, ARG(path), 0, 0, 0, 0); /* O_RDONLY */
    LONGLONG got;

    if (fd < 0)
        return false;
    got = call(SYS_read, fd, ARG(text), (LONGLONG)size - 1, 0, 0);
    os_close(fd);
    if (got < 0)
        return false;
    text[got] = 0;
    return true;
}

ULONGLONG os_milliseconds(void)
{
    struct lx_timespec now;

    call(SYS_clock_gettime, LX_CLOCK_MONOTONIC, ARG(&now), 0, 0, 0);
    return (ULONGLONG)now.seconds * 1000 + (ULONGLONG)now.nanoseconds / 1000000;
}

void os_futex_wait(int *word, int value, int timeout_ms)
{
    struct lx_timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000ll};

    call_once(SYS_futex, ARG(word), LX_FUTEX_WAIT_PRIVATE, value, timeout_ms < 0 ? 0 : ARG(&timeout), 0, 0);
}

void os_futex_wake(int *word, int count)
{
    call(SYS_futex, ARG(word), LX_FUTEX_WAKE_PRIVATE, count, 0, 0);
}
