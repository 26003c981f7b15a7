/* Routines with an IRQL, one of each rule of rules.yaml, and kernel stacks. */
#include "breaker.h"

static ULONG Dig(ULONG depth)
{
    volatile UCHAR frame[900];

    frame[depth % sizeof frame] = 1;
    if (depth)
        return Dig(depth - 1) + frame[depth % sizeof frame];
    KeSetEvent(&Things.go, IO_NO_INCREMENT, FALSE);
    (void)KeWaitForSingleObject(&Things.go, Executive, KernelMode, FALSE, NULL);
    return frame[0];
}

BREACH(digs_deep, "is called with \\d+ bytes of stack in use; a kernel stack has 24 KB")
{
    UNUSED;
    (void)Dig(40);
}

#define AT(level, name, rule, call)                                                                                    \
    BREACH(name, rule)                                                                                                 \
    {                                                                                                                  \
        UNUSED;                                                                                                        \
        (void)level();                                                                                                 \
        call;                                                                                                          \
    }

static UNICODE_STRING Nothing;
static ERESOURCE Resource;

AT(Dispatch, zw_close, "0002001f.*ZwClose.*is called at DISPATCH_LEVEL, and may be at most at PASSIVE_LEVEL",
   ZwClose(NULL))
AT(Dispatch, create_thread, "0002001c.*PsCreateSystemThread.*is called at DISPATCH_LEVEL", Start(HoldMutex))
AT(Dispatch, reference_handle, "0002001b.*ObReferenceObjectByHandle.*is called at DISPATCH_LEVEL",
   (void)ObReferenceObjectByHandle(NULL, 0, NULL, KernelMode, &Us.threads[0], NULL))
AT(Dispatch, delete_link, "0002000d.*IoDeleteSymbolicLink.*is called at DISPATCH_LEVEL", IoDeleteSymbolicLink(&Nothing))
AT(Dispatch, delete_value, "0002001e.*RtlDeleteRegistryValue.*is called at DISPATCH_LEVEL",
   RtlDeleteRegistryValue(RTL_REGISTRY_ABSOLUTE, L"x", L"x"))
AT(Dispatch, routine_address, "00020023.*MmGetSystemRoutineAddress.*is called at DISPATCH_LEVEL",
   MmGetSystemRoutineAddress(&Nothing))
AT(Dispatch, compare_string, "IRQL_NOT_LESS_OR_EQUAL.*RtlEqualUnicodeString.*is called at DISPATCH_LEVEL",
   RtlEqualUnicodeString(&Nothing, &Nothing, TRUE))
AT(Dispatch, flush_dpcs, "00020011.*KeFlushQueuedDpcs.*is called at DISPATCH_LEVEL", KeFlushQueuedDpcs())
AT(Dispatch, delete_device, "00020009.*IoDeleteDevice.*is called at DISPATCH_LEVEL", IoDeleteDevice(NULL))
AT(Dispatch, delay_thread, "0002000f.*KeDelayExecutionThread.*is called at DISPATCH_LEVEL",
   KeDelayExecutionThread(KernelMode, FALSE, &(LARGE_INTEGER){.QuadPart = SECOND}))
AT(Dispatch, critical_region, "00020010.*KeEnterCriticalRegion.*is called at DISPATCH_LEVEL", KeEnterCriticalRegion())
AT(Dispatch, fast_mutex, "00020005.*ExAcquireFastMutex.*is called at DISPATCH_LEVEL", ExAcquireFastMutex(&Things.fast))
AT(Dispatch, probe, "00020006.*ProbeForRead.*is called at DISPATCH_LEVEL", ProbeForRead(&Things, 1, 1))
AT(Dispatch, resource, "00020007.*ExAcquireResourceExclusiveLite.*is called at DISPATCH_LEVEL",
   ExAcquireResourceExclusiveLite(&Resource, TRUE))
AT(Dispatch, raise_status, "00020008.*ExRaiseStatus.*is called at DISPATCH_LEVEL", ExRaiseStatus(STATUS_UNSUCCESSFUL))
AT(Dispatch, rundown, "IRQL_NOT_LESS_OR_EQUAL.*ExWaitForRundownProtectionRelease.*is called at DISPATCH_LEVEL",
   ExWaitForRundownProtectionRelease(NULL))
AT(High, cancel_timer, "00020011.*KeCancelTimer.*is called at a device's IRQL", KeCancelTimer(&Things.timer))
AT(High, allocate_irp, "IRQL_NOT_LESS_OR_EQUAL.*IoAllocateIrp.*is called at a device's IRQL", IoAllocateIrp(1, FALSE))
AT(High, wsk_receive, "IRQL_NOT_LESS_OR_EQUAL.*WskReceive.*is called at IRQL 3, and may be at most at DISPATCH_LEVEL",
   Of(link)->WskReceive(link->socket, NULL, 0, link->irp))
