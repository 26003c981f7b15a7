/* The IRQL of each thread. Wine has none: CR8 reads 0 there, and no routine of its kernel looks at it. */
#include "strict.h"

const char *irql_name(KIRQL irql)
{
    static const char *const names[] = {"PASSIVE_LEVEL", "APC_LEVEL", "DISPATCH_LEVEL"};

    return irql < RTL_NUMBER_OF(names) ? names[irql] : "a device's IRQL";
}

KIRQL irql_now(void)
{
    return os_thread_word()->irql;
}

void irql_set(KIRQL irql)
{
    os_thread_word()->irql = irql;
}

KIRQL irql_raise(const struct site *site, KIRQL to)
{
    KIRQL now = irql_now();

    if (to < now || to > HIGHEST_LEVEL)
        STOP(site, CHECK_VERIFIER, 0x30, now, to, 0, "raises the IRQL from %u to %u", now, to);
    irql_set(to);
    return now;
}

void irql_lower(const struct site *site, KIRQL to)
{
    KIRQL now = irql_now();

    if (to > now)
        STOP(site, CHECK_VERIFIER, 0x31, now, to, 0, "lowers the IRQL from %u to %u", now, to);
    if (to < DISPATCH_LEVEL && spin_held())
        STOP(site, CHECK_VERIFIER, 0x31, now, to, 0, "lowers the IRQL to %u with a spin lock held", to);
    irql_set(to);
}
