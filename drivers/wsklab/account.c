/*
 * account.c - counted allocation, "is everything back", and two small things about time and IRQL.
 */
#include "account.h"
#include "log.h"

PVOID allocate(SIZE_T size)
{
    PVOID memory = ExAllocatePoolWithTag(NONPAGED_NX, size, WSKLAB_TAG);
    if (memory) {
        RtlZeroMemory(memory, size);
        InterlockedIncrement(&wsklab.allocations);
    }
    return memory;
}

void release_memory(PVOID memory)
{
    if (!memory)
        return;
    ExFreePoolWithTag(memory, WSKLAB_TAG);
    InterlockedDecrement(&wsklab.allocations);
}

/* `count` blocks are kept on purpose: they are no leak, and are freed with release_memory after kept(-count). */
void kept(LONG count)
{
    InterlockedExchangeAdd(&wsklab.allocations, -count);
}

/* Called after anything was given back. Prints ev=clean once when a CLOSE_ALL has come to its end. */
void settle(void)
{
    if (!ReadAcquire(&wsklab.cleaning) || ReadAcquire(&wsklab.sockets) || ReadAcquire(&wsklab.irps) ||
        ReadAcquire(&wsklab.indications) || ReadAcquire(&wsklab.connections))
        return;
    if (InterlockedExchange(&wsklab.cleaning, 0) == 0)
        return;
    log_line(0, "ev=clean sockets=0 irps=0 indications=0 allocs=%u", (uint32_t)ReadAcquire(&wsklab.allocations));
    KeSetEvent(&wsklab.clean, IO_NO_INCREMENT, FALSE);
}

/* For unload: without an end, but not in silence. */
void wait_until_clean(void)
{
    LARGE_INTEGER ten_seconds = {.QuadPart = -10ll * 10000000};
    while (KeWaitForSingleObject(&wsklab.clean, Executive, KernelMode, FALSE, &ten_seconds) == STATUS_TIMEOUT)
        log_line(0, "ev=waiting sockets=%u irps=%u indications=%u", (uint32_t)ReadAcquire(&wsklab.sockets),
                 (uint32_t)ReadAcquire(&wsklab.irps), (uint32_t)ReadAcquire(&wsklab.indications));
}

/*
 * On x64 KeGetCurrentIrql is a compiler intrinsic in the WDK and not to be had everywhere; taking a lock that
 * nobody else knows says the same through an import that every system has.
 */
KIRQL current_irql(void)
{
#ifdef WSKLAB_MSVC
    ULONG_PTR irql_now;
    __asm__ volatile("movq %%cr8, %0" : "=r"(irql_now));
    return (KIRQL)irql_now;
#else
    KSPIN_LOCK own;
    KeInitializeSpinLock(&own);
    KIRQL irql;
    KeAcquireSpinLock(&own, &irql);
    KeReleaseSpinLock(&own, irql);
    return irql;
#endif
}

/* Busy, so that it may be used in a callback at DISPATCH_LEVEL. */
void stall(uint32_t microseconds)
{
    LARGE_INTEGER frequency;
    LONG64 start = KeQueryPerformanceCounter(&frequency).QuadPart;
    LONG64 ticks = frequency.QuadPart * (LONG64)min(microseconds, MAX_HOLD_US) / 1000000;
    while (KeQueryPerformanceCounter(NULL).QuadPart - start < ticks)
        YieldProcessor();
}

void sleep_ms(uint32_t milliseconds)
{
    LARGE_INTEGER interval = {.QuadPart = -10000ll * milliseconds};
    (void)KeDelayExecutionThread(KernelMode, FALSE, &interval);
}
