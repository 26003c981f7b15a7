/*
 * Callbacks and completion routines at a simulated DISPATCH_LEVEL, which WSK may choose for each of them (R14).
 *
 * The thread stays a thread: what makes the IRQL one is that the kernel's routines refuse what they would on Windows (../strict).
 */
#include "standin.h"

void level_refresh(void)
{
    struct strict_settings now = strict_settings();

    __atomic_store_n(&provider.quiet, now.quiet, __ATOMIC_RELAXED);
    lock_acquire(&provider.lock);
    if (now.irql != provider.level.irql || now.seed != provider.level.seed ||
        now.concurrent != provider.level.concurrent || now.pend != provider.level.pend ||
        now.rare != provider.level.rare) {
        provider.level = now;
        provider.numbered = 0;
    }
    lock_release(&provider.lock);
}

void level_of_new(struct socket *socket)
{
    socket->level = provider.level;
    socket->number = provider.numbered++;
    socket->serial = ++provider.serials;
}

bool level_draw(struct socket *socket, enum level_kind kind)
{
    return socket->level.irql != IRQL_PASSIVE &&
           strict_draw(&socket->level, socket->number, kind, socket->called[kind]++);
}

struct level level_enter(struct socket *socket, enum level_kind kind)
{
    return level_begin(irql_now() < DISPATCH_LEVEL && socket && level_draw(socket, kind));
}

/* Never lowered: a call that is completed in the driver's own thread is completed at the driver's IRQL or above. */
struct level level_begin(bool dispatch)
{
    struct level level = {irql_now(), irql_now(), spin_held(), stack_begin()};

    if (level.before < DISPATCH_LEVEL && dispatch) {
        level.during = DISPATCH_LEVEL;
        irql_set(DISPATCH_LEVEL);
    }
    return level;
}

ULONG level_flag(struct level level)
{
    return level.during == DISPATCH_LEVEL ? WSK_FLAG_AT_DISPATCH_LEVEL : 0;
}

void level_leave(struct level level, const char *what, const void *routine)
{
    const struct site site = {what, routine};
    KIRQL now = irql_now();

    stack_end(level.stack);
    if (!strict_on(STRICT_IRQL))
        return;
    if (spin_held() != level.locks)
        STOP(&site, CHECK_IRQL_UNEXPECTED, (ULONG_PTR)now << 16 | level.during << 8, routine, 0, 0,
             "returns with a spin lock held");
    if (now != level.during)
        STOP(&site, CHECK_VERIFIER, 0xFA, routine, level.during, now, "returns at IRQL %u, and was called at %u", now,
             level.during);
    irql_set(level.before);
}
