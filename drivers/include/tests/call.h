/* One WSK call that is waited for, as most public WSK code has it. For the compile tests of this folder, C and C++. */
#ifndef WSK_TESTS_CALL_H
#define WSK_TESTS_CALL_H

#include <ntddk.h>
#include <wsk.h>

typedef struct _CALL {
    PIRP Irp;
    KEVENT Done;
} CALL, *PCALL;

static inline NTSTATUS NTAPI CallCompleted(PDEVICE_OBJECT DeviceObject, PIRP Irp, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    UNREFERENCED_PARAMETER(Irp);
    KeSetEvent((PKEVENT)Context, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static inline PIRP CallIrp(PCALL Call)
{
    IoReuseIrp(Call->Irp, STATUS_UNSUCCESSFUL);
    KeInitializeEvent(&Call->Done, SynchronizationEvent, FALSE);
    IoSetCompletionRoutine(Call->Irp, CallCompleted, &Call->Done, TRUE, TRUE, TRUE);
    return Call->Irp;
}

static inline NTSTATUS CallWait(PCALL Call)
{
    KeWaitForSingleObject(&Call->Done, Executive, KernelMode, FALSE, NULL);
    return Call->Irp->IoStatus.Status;
}

#endif
