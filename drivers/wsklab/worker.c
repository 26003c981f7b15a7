/*
 * worker.c - one thread for what follows a completion (upcalls.follow): no WSK function is started from a completion routine (R85).
 */
#include "worker.h"

static LIST_ENTRY queue;
static KSPIN_LOCK queue_lock;
static KEVENT wake;
static volatile LONG stopping;
static PVOID thread_object;

/* Takes the caller's hold. Any IRQL up to DISPATCH_LEVEL. */
void worker_queue(OPERATION *operation)
{
    KIRQL irql;
    KeAcquireSpinLock(&queue_lock, &irql);
    InsertTailList(&queue, &operation->work);
    KeReleaseSpinLock(&queue_lock, irql);
    worker_wake();
}

void worker_wake(void)
{
    KeSetEvent(&wake, IO_NO_INCREMENT, FALSE);
}

static OPERATION *next(void)
{
    OPERATION *operation = NULL;
    KIRQL irql;
    KeAcquireSpinLock(&queue_lock, &irql);
    if (!IsListEmpty(&queue))
        operation = CONTAINING_RECORD(RemoveHeadList(&queue), OPERATION, work);
    KeReleaseSpinLock(&queue_lock, irql);
    return operation;
}

static VOID NTAPI thread(PVOID context)
{
    UNREFERENCED_PARAMETER(context);
    for (;;) {
        KeWaitForSingleObject(&wake, Executive, KernelMode, FALSE, NULL);
        OPERATION *operation;
        while ((operation = next()) != NULL)
            upcalls.follow(operation);
        upcalls.woken();
        if (ReadAcquire(&stopping))
            PsTerminateSystemThread(STATUS_SUCCESS);
    }
}

NTSTATUS worker_start(void)
{
    HANDLE handle;
    InitializeListHead(&queue);
    KeInitializeSpinLock(&queue_lock);
    KeInitializeEvent(&wake, SynchronizationEvent, FALSE);
    NTSTATUS status = PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, thread, NULL);
    if (!NT_SUCCESS(status))
        return status;
    status = ObReferenceObjectByHandle(handle, SYNCHRONIZE, NULL, KernelMode, &thread_object, NULL);
    ZwClose(handle);
    return status;
}

/* Waits for the thread's end: its code must not be unloaded under it. */
void worker_stop(void)
{
    if (!thread_object)
        return;
    InterlockedExchange(&stopping, 1);
    worker_wake();
    KeWaitForSingleObject(thread_object, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(thread_object);
}
