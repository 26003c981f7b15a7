/* Waiting, threads and time on POSIX threads; see ntshim.h. */
#define _GNU_SOURCE
#include "ntshim.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- Waiting: one mutex and one condition for every event and thread ------------------------------------------------------ */

enum { THREAD_MARK = 0x54485244 };

typedef struct thread {
    LONG mark; /* where a KEVENT has its type: tells a thread from an event */
    bool ended;
    int references; /* the handle, the object reference, the running thread */
    PKSTART_ROUTINE routine;
    PVOID context;
    pthread_t id;
} thread;

static pthread_mutex_t wait_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wait_changed;
static pthread_once_t wait_once = PTHREAD_ONCE_INIT;

static void wait_setup(void)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&wait_changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void wait_lock(void)
{
    pthread_once(&wait_once, wait_setup);
    pthread_mutex_lock(&wait_mutex);
}

void KeInitializeEvent(PKEVENT event, EVENT_TYPE type, BOOLEAN state)
{
    event->Type = type;
    event->State = state;
}

LONG KeSetEvent(PKEVENT event, KPRIORITY increment, BOOLEAN wait)
{
    LONG before;

    (void)increment, (void)wait;
    wait_lock();
    before = event->State;
    event->State = 1;
    pthread_cond_broadcast(&wait_changed);
    pthread_mutex_unlock(&wait_mutex);
    return before;
}

LONG KeResetEvent(PKEVENT event)
{
    LONG before;

    wait_lock();
    before = event->State;
    event->State = 0;
    pthread_mutex_unlock(&wait_mutex);
    return before;
}

void KeClearEvent(PKEVENT event)
{
    KeResetEvent(event);
}

LONG KeReadStateEvent(PKEVENT event)
{
    LONG state;

    wait_lock();
    state = event->State;
    pthread_mutex_unlock(&wait_mutex);
    return state;
}

/* Takes the object if it is signalled; a synchronization event is reset by that. */
static bool take(PVOID object)
{
    PKEVENT event = object;

    if (*(LONG *)object == THREAD_MARK)
        return ((thread *)object)->ended;
    if (!event->State)
        return false;
    if (event->Type == SynchronizationEvent)
        event->State = 0;
    return true;
}

static struct timespec after(LONGLONG hundred_ns)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += hundred_ns / 10000000;
    at.tv_nsec += hundred_ns % 10000000 * 100;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

NTSTATUS KeWaitForSingleObject(PVOID object, KWAIT_REASON reason, KPROCESSOR_MODE mode, BOOLEAN alertable,
                               PLARGE_INTEGER timeout)
{
    struct timespec until = {0, 0};
    NTSTATUS status = STATUS_SUCCESS;

    (void)reason, (void)mode, (void)alertable;
    if (timeout)
        until = after(timeout->QuadPart < 0 ? -timeout->QuadPart : timeout->QuadPart);
    wait_lock();
    while (!take(object)) {
        if (!timeout)
            pthread_cond_wait(&wait_changed, &wait_mutex);
        else if (pthread_cond_timedwait(&wait_changed, &wait_mutex, &until) == ETIMEDOUT) {
            status = take(object) ? STATUS_SUCCESS : STATUS_TIMEOUT;
            break;
        }
    }
    pthread_mutex_unlock(&wait_mutex);
    return status;
}

/* ---- Threads ------------------------------------------------------------------------------------------------------------------ */

/* With the mutex held. */
static void thread_drop(thread *t)
{
    if (--t->references == 0) {
        InterlockedDecrement(&shim_alive.threads);
        free(t);
    }
}

static void thread_release(thread *t)
{
    wait_lock();
    thread_drop(t);
    pthread_mutex_unlock(&wait_mutex);
}

static _Thread_local thread *current;

static void thread_end(void *argument)
{
    thread *t = argument;

    wait_lock();
    t->ended = true;
    pthread_cond_broadcast(&wait_changed);
    thread_drop(t);
    pthread_mutex_unlock(&wait_mutex);
}

static void *thread_main(void *argument)
{
    current = argument;
    pthread_cleanup_push(thread_end, argument);
    current->routine(current->context);
    pthread_cleanup_pop(1);
    return NULL;
}

NTSTATUS PsCreateSystemThread(PHANDLE handle, ULONG access, POBJECT_ATTRIBUTES attributes, HANDLE process,
                              PCLIENT_ID id, PKSTART_ROUTINE routine, PVOID context)
{
    thread *t = calloc(1, sizeof *t);

    (void)access, (void)attributes, (void)process, (void)id;
    if (!t)
        return STATUS_INSUFFICIENT_RESOURCES;
    t->mark = THREAD_MARK;
    t->references = 2;
    t->routine = routine;
    t->context = context;
    InterlockedIncrement(&shim_alive.threads);
    if (pthread_create(&t->id, NULL, thread_main, t)) {
        InterlockedDecrement(&shim_alive.threads);
        free(t);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    pthread_detach(t->id);
    *handle = t;
    return STATUS_SUCCESS;
}

NTSTATUS PsTerminateSystemThread(NTSTATUS status)
{
    (void)status;
    pthread_exit(NULL);
}

NTSTATUS ObReferenceObjectByHandle(HANDLE handle, ACCESS_MASK access, POBJECT_TYPE type, KPROCESSOR_MODE mode,
                                   PVOID *object, PVOID information)
{
    (void)access, (void)type, (void)mode, (void)information;
    wait_lock();
    ((thread *)handle)->references++;
    pthread_mutex_unlock(&wait_mutex);
    *object = handle;
    return STATUS_SUCCESS;
}

void ObDereferenceObject(PVOID object)
{
    thread_release(object);
}

NTSTATUS ZwClose(HANDLE handle)
{
    thread_release(handle);
    return STATUS_SUCCESS;
}

NTSTATUS ZwWaitForSingleObject(HANDLE handle, BOOLEAN alertable, PLARGE_INTEGER timeout)
{
    return KeWaitForSingleObject(handle, Executive, KernelMode, alertable, timeout);
}

HANDLE PsGetCurrentThreadId(void)
{
    return (HANDLE)(ULONG_PTR)gettid();
}

HANDLE PsGetCurrentProcessId(void)
{
    return (HANDLE)(ULONG_PTR)getpid();
}

/* ---- Time ------------------------------------------------------------------------------------------------------------------------ */

static ULONGLONG nanoseconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (ULONGLONG)now.tv_sec * 1000000000 + (ULONGLONG)now.tv_nsec;
}

NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE mode, BOOLEAN alertable, PLARGE_INTEGER interval)
{
    struct timespec until = after(interval->QuadPart < 0 ? -interval->QuadPart : interval->QuadPart);

    (void)mode, (void)alertable;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
    return STATUS_SUCCESS;
}

void KeStallExecutionProcessor(ULONG microseconds)
{
    ULONGLONG until = nanoseconds(CLOCK_MONOTONIC) + microseconds * 1000ull;

    while (nanoseconds(CLOCK_MONOTONIC) < until)
        sched_yield();
}

LARGE_INTEGER KeQueryPerformanceCounter(PLARGE_INTEGER frequency)
{
    LARGE_INTEGER now = {.QuadPart = (LONGLONG)(nanoseconds(CLOCK_MONOTONIC) / 100)};

    if (frequency)
        frequency->QuadPart = 10000000;
    return now;
}

void KeQuerySystemTime(PLARGE_INTEGER time)
{
    /* 1601 to 1970: 134,774 days. */
    time->QuadPart = (LONGLONG)(nanoseconds(CLOCK_REALTIME) / 100) + 134774ll * 86400 * 10000000;
}

ULONGLONG KeQueryInterruptTime(void)
{
    return nanoseconds(CLOCK_MONOTONIC) / 100;
}

ULONG KeGetCurrentProcessorNumberEx(PVOID number)
{
    (void)number;
    return (ULONG)sched_getcpu();
}
