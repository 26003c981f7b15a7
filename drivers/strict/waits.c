/* Waits and events: their rule depends on the arguments, not only on the IRQL. */
#include "strict.h"

void resident_check(const struct site *site, const void *object)
{
    if (pool_is_paged(object))
        STOP(site, CHECK_VERIFIER, 0xE1, object, 0, 0, "initializes an object of the kernel's in paged pool");
}

/*
 * KeSetEvent with Wait returns at DISPATCH_LEVEL, and the wait that has to be the next call goes on from there: between the two no other
 * thread runs. Whoever does not wait stays there.
 */
static void promise_wait(void)
{
    os_thread_word()->promised = (irql_now() + 1) & 3;
    irql_set(DISPATCH_LEVEL);
}

static void keep_promise(void)
{
    struct thread_word *word = os_thread_word();

    if (word->promised) {
        irql_set(word->promised - 1);
        word->promised = 0;
    }
}

void promise_check(const struct site *site)
{
    if (os_thread_word()->promised)
        STOP(site, CHECK_IRQL_UNEXPECTED, DISPATCH_LEVEL << 16, 0, 0, 0,
             "is called at DISPATCH_LEVEL, where KeSetEvent with Wait has left the thread: only a wait may come next");
}

/* At DISPATCH_LEVEL a wait may only look: with a timeout of zero. Above it there is no waiting at all. */
void wait_check(const struct site *site, const void *object, const LARGE_INTEGER *timeout)
{
    KIRQL irql;

    keep_promise();
    irql = irql_now();
    stack_check(site);
    if (irql < DISPATCH_LEVEL)
        return;
    if (irql > DISPATCH_LEVEL)
        STOP(site, CHECK_VERIFIER, 0x120, irql, object, timeout, "waits at IRQL %u", irql);
    if (!timeout)
        STOP(site, CHECK_VERIFIER, 0x121, irql, object, 0, "waits without a limit at DISPATCH_LEVEL");
    else if (timeout->QuadPart)
        STOP(site, CHECK_VERIFIER, 0x122, irql, object, timeout,
             "waits at DISPATCH_LEVEL with a timeout that is not zero");
}

/* Wait TRUE promises a wait at once, so what holds for the wait holds for the call. */
void set_event_check(const struct site *site, const void *event, BOOLEAN wait)
{
    KIRQL irql = irql_now();

    promise_check(site);
    if (irql > (wait ? APC_LEVEL : DISPATCH_LEVEL))
        STOP(site, CHECK_VERIFIER, 0x80, irql, event, 0, "sets an event at IRQL %u%s", irql, wait ? " with Wait" : "");
    if (wait && strict_on(STRICT_IRQL))
        promise_wait();
}

#if !defined(WSKLAB_NATIVE)

static NTSTATUS NTAPI wait_for_one(PVOID object, KWAIT_REASON reason, KPROCESSOR_MODE mode, BOOLEAN alertable,
                                   PLARGE_INTEGER timeout)
{
    const struct site site = SITE("KeWaitForSingleObject");

    wait_check(&site, object, timeout);
    if (mutex_is(object))
        return mutex_wait(&site, object, timeout);
    return KeWaitForSingleObject(object, reason, mode, alertable, timeout);
}

static NTSTATUS NTAPI wait_for_several(ULONG count, PVOID objects[], WAIT_TYPE type, KWAIT_REASON reason,
                                       KPROCESSOR_MODE mode, BOOLEAN alertable, PLARGE_INTEGER timeout,
                                       PKWAIT_BLOCK blocks)
{
    wait_check(&SITE("KeWaitForMultipleObjects"), count ? objects[0] : NULL, timeout);
    return KeWaitForMultipleObjects(count, objects, type, reason, mode, alertable, timeout, blocks);
}

static LONG NTAPI set_event(PRKEVENT event, KPRIORITY increment, BOOLEAN wait)
{
    set_event_check(&SITE("KeSetEvent"), event, wait);
    return KeSetEvent(event, increment, FALSE);
}

static VOID NTAPI initialize_event(PRKEVENT event, EVENT_TYPE type, BOOLEAN state)
{
    resident_check(&SITE("KeInitializeEvent"), event);
    KeInitializeEvent(event, type, state);
}

static VOID NTAPI initialize_timer(PKTIMER timer)
{
    const struct site site = SITE("KeInitializeTimer");

    irql_rule_of(&site);
    resident_check(&site, timer);
    KeInitializeTimerEx(timer, NotificationTimer);
}

static VOID NTAPI initialize_timer_ex(PKTIMER timer, TIMER_TYPE type)
{
    const struct site site = SITE("KeInitializeTimerEx");

    irql_rule_of(&site);
    resident_check(&site, timer);
    KeInitializeTimerEx(timer, type);
}

const struct replacement wait_replacements[] = {
    {"KeInitializeEvent", initialize_event},
    {"KeInitializeTimer", initialize_timer},
    {"KeInitializeTimerEx", initialize_timer_ex},
    {"KeWaitForSingleObject", wait_for_one},
    {"KeWaitForMutexObject", wait_for_one},
    {"KeWaitForMultipleObjects", wait_for_several},
    {"KeSetEvent", set_event},
    {NULL, NULL},
};

#endif
