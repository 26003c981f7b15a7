/* Kernel services on POSIX threads; see ntshim.h. */
#define _GNU_SOURCE
#include "ntshim.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static shim_counts counts;
static KSPIN_LOCK cancel_lock;

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

NTSTATUS KeWaitForSingleObject(PVOID object, KWAIT_REASON reason, KPROCESSOR_MODE mode, BOOLEAN alertable, PLARGE_INTEGER timeout)
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
        InterlockedDecrement(&counts.threads);
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

NTSTATUS PsCreateSystemThread(PHANDLE handle, ULONG access, POBJECT_ATTRIBUTES attributes, HANDLE process, PCLIENT_ID id,
                              PKSTART_ROUTINE routine, PVOID context)
{
    thread *t = calloc(1, sizeof *t);

    (void)access, (void)attributes, (void)process, (void)id;
    if (!t)
        return STATUS_INSUFFICIENT_RESOURCES;
    t->mark = THREAD_MARK;
    t->references = 2;
    t->routine = routine;
    t->context = context;
    InterlockedIncrement(&counts.threads);
    if (pthread_create(&t->id, NULL, thread_main, t)) {
        InterlockedDecrement(&counts.threads);
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

NTSTATUS ObReferenceObjectByHandle(HANDLE handle, ACCESS_MASK access, POBJECT_TYPE type, KPROCESSOR_MODE mode, PVOID *object,
                                   PVOID information)
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

/* ---- Spin locks: a word, and a wait that yields ---------------------------------------------------------------------------------- */

void KeInitializeSpinLock(PKSPIN_LOCK lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

void KeAcquireSpinLock(PKSPIN_LOCK lock, PKIRQL irql)
{
    *irql = PASSIVE_LEVEL;
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
        sched_yield();
}

void KeReleaseSpinLock(PKSPIN_LOCK lock, KIRQL irql)
{
    (void)irql;
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

void KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK lock, PKLOCK_QUEUE_HANDLE handle)
{
    KIRQL irql;

    handle->Lock = lock;
    KeAcquireSpinLock(lock, &irql);
}

void KeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE handle)
{
    KeReleaseSpinLock(handle->Lock, PASSIVE_LEVEL);
}

/* ---- Pool and MDLs ------------------------------------------------------------------------------------------------------------------ */

PVOID ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T size, ULONG tag)
{
    PVOID block = malloc(size ? size : 1);

    (void)type, (void)tag;
    if (block) {
        memset(block, 0xcd, size); /* pool comes uncleared: whoever relies on zeroes is found here */
        InterlockedIncrement(&counts.pool);
    }
    return block;
}

void ExFreePoolWithTag(PVOID block, ULONG tag)
{
    (void)tag;
    InterlockedDecrement(&counts.pool);
    free(block);
}

PMDL IoAllocateMdl(PVOID address, ULONG length, BOOLEAN secondary, BOOLEAN charge, PIRP irp)
{
    PMDL mdl = calloc(1, sizeof *mdl);

    (void)secondary, (void)charge, (void)irp;
    if (!mdl)
        return NULL;
    InterlockedIncrement(&counts.mdls);
    mdl->Size = sizeof *mdl;
    mdl->ByteOffset = (ULONG)((ULONG_PTR)address & 0xfff);
    mdl->StartVa = (PCHAR)address - mdl->ByteOffset;
    mdl->ByteCount = length;
    return mdl;
}

void MmBuildMdlForNonPagedPool(PMDL mdl)
{
    mdl->MdlFlags |= MDL_SOURCE_IS_NONPAGED_POOL;
    mdl->MappedSystemVa = MmGetMdlVirtualAddress(mdl);
}

void IoFreeMdl(PMDL mdl)
{
    InterlockedDecrement(&counts.mdls);
    free(mdl);
}

/* ---- IRPs ------------------------------------------------------------------------------------------------------------------------------ */

static void irp_setup(PIRP irp, CHAR stack_size)
{
    memset(irp, 0, sizeof *irp + (size_t)stack_size * sizeof irp->Stack[0]);
    irp->StackCount = stack_size;
    irp->CurrentLocation = (CHAR)(stack_size + 1);
    irp->Tail.Overlay.CurrentStackLocation = irp->Stack + stack_size;
}

PIRP IoAllocateIrp(CCHAR stack_size, BOOLEAN charge_quota)
{
    /* One location more than asked: IoCancelIrp of an idle IRP may look at the one behind the last. */
    PIRP irp = malloc(sizeof *irp + ((size_t)stack_size + 1) * sizeof irp->Stack[0]);

    (void)charge_quota;
    if (!irp)
        return NULL;
    irp_setup(irp, stack_size);
    InterlockedIncrement(&counts.irps);
    return irp;
}

void IoReuseIrp(PIRP irp, NTSTATUS status)
{
    irp_setup(irp, irp->StackCount);
    irp->IoStatus.Status = status;
}

void IoFreeIrp(PIRP irp)
{
    InterlockedDecrement(&counts.irps);
    free(irp);
}

void IoAcquireCancelSpinLock(PKIRQL irql)
{
    KeAcquireSpinLock(&cancel_lock, irql);
}

void IoReleaseCancelSpinLock(KIRQL irql)
{
    KeReleaseSpinLock(&cancel_lock, irql);
}

BOOLEAN IoCancelIrp(PIRP irp)
{
    PDRIVER_CANCEL routine;
    KIRQL irql;

    IoAcquireCancelSpinLock(&irql);
    __atomic_store_n(&irp->Cancel, TRUE, __ATOMIC_RELEASE);
    routine = IoSetCancelRoutine(irp, NULL);
    if (!routine) {
        IoReleaseCancelSpinLock(irql);
        return FALSE;
    }
    irp->CancelIrql = irql;
    routine(NULL, irp); /* releases the cancel lock */
    return TRUE;
}

void IoCompleteRequest(PIRP irp, CCHAR boost)
{
    (void)boost;
    while (irp->CurrentLocation <= irp->StackCount) {
        PIO_STACK_LOCATION at = IoGetCurrentIrpStackLocation(irp);
        UCHAR wanted = NT_SUCCESS(irp->IoStatus.Status) ? SL_INVOKE_ON_SUCCESS : SL_INVOKE_ON_ERROR;

        irp->PendingReturned = (at->Control & SL_PENDING_RETURNED) != 0;
        if (__atomic_load_n(&irp->Cancel, __ATOMIC_ACQUIRE))
            wanted |= SL_INVOKE_ON_CANCEL;
        irp->CurrentLocation++;
        irp->Tail.Overlay.CurrentStackLocation++;
        if (at->CompletionRoutine && (at->Control & wanted) &&
            at->CompletionRoutine(NULL, irp, at->Context) == STATUS_MORE_PROCESSING_REQUIRED)
            return;
    }
    if (irp->UserIosb)
        *irp->UserIosb = irp->IoStatus;
    if (irp->UserEvent)
        KeSetEvent(irp->UserEvent, IO_NO_INCREMENT, FALSE);
    IoFreeIrp(irp);
}

/* ---- Debug output --------------------------------------------------------------------------------------------------------------------------- */

static void (*debug_sink)(const char *text);

void shim_on_debug(void (*sink)(const char *text))
{
    __atomic_store_n(&debug_sink, sink, __ATOMIC_RELEASE);
}

shim_counts shim_count(void)
{
    shim_counts now;

    now.pool = __atomic_load_n(&counts.pool, __ATOMIC_SEQ_CST);
    now.irps = __atomic_load_n(&counts.irps, __ATOMIC_SEQ_CST);
    now.mdls = __atomic_load_n(&counts.mdls, __ATOMIC_SEQ_CST);
    now.threads = __atomic_load_n(&counts.threads, __ATOMIC_SEQ_CST);
    return now;
}

int shim_vsnprintf(char *buffer, size_t size, const char *format, va_list arguments)
{
    char translated[512];
    size_t used = 0;

    while (*format && used + 3 < sizeof translated) {
        if (!strncmp(format, "I64", 3) && used && (translated[used - 1] == '%' || (translated[used - 1] >= '0' && translated[used - 1] <= '9'))) {
            translated[used++] = 'l';
            translated[used++] = 'l';
            format += 3;
        } else
            translated[used++] = *format++;
    }
    translated[used] = 0;
    return vsnprintf(buffer, size, translated, arguments);
}

int shim_snprintf(char *buffer, size_t size, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = shim_vsnprintf(buffer, size, format, arguments);
    va_end(arguments);
    return length;
}

static void debug_write(const char *format, va_list arguments)
{
    void (*sink)(const char *) = __atomic_load_n(&debug_sink, __ATOMIC_ACQUIRE);
    char text[512];

    shim_vsnprintf(text, sizeof text, format, arguments);
    if (sink)
        sink(text);
    else
        fputs(text, stderr);
}

ULONG DbgPrintEx(ULONG component, ULONG level, PCSTR format, ...)
{
    va_list arguments;

    (void)component, (void)level;
    va_start(arguments, format);
    debug_write(format, arguments);
    va_end(arguments);
    return 0;
}

ULONG DbgPrint(PCSTR format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    debug_write(format, arguments);
    va_end(arguments);
    return 0;
}
