/*
 * worker.c - one thread for what follows a completion: no WSK function is started from a completion routine (R85).
 */
#include "wsklab.h"

static LIST_ENTRY queue;
static KSPIN_LOCK queue_lock;
static KEVENT wake;
static volatile LONG stopping;
static PVOID thread_object;

/* Takes a hold of its own. Any IRQL up to DISPATCH_LEVEL. */
void worker_queue(OPERATION *operation)
{
    KIRQL irql;
    operation_hold(operation);
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

static void work(OPERATION *operation)
{
    CONNECTION *connection = operation->target;
    if (operation->follow == FOLLOW_RESEND) { /* only the twin that sends for ever */
        sleep_ms(20);
        (void)start_sends(connection, &operation->command);
        return;
    }
    if (operation->follow == FOLLOW_REPEAT) { /* only the twin that tells of a disconnect again, and late */
        sleep_ms(200);
        log_line(connection->id, "ev=disc flags=%08x ab=%u disp=0 irql=0 cpu=0 n=2 depth=1 rdepth=0 cookie=%08x",
                 operation->command.flags, operation->command.flags & WSK_FLAG_ABORTIVE, connection->cookie);
        return;
    }
    if (operation->follow == FOLLOW_ABORT) { /* only the twin that resets what it has sent on */
        (void)start_disconnect(connection, &(WSKLAB_COMMAND){.flags = WSK_FLAG_ABORTIVE});
        return;
    }
    connection_try_close(connection); /* a close that came while the socket was being made */
    if (NT_SUCCESS(operation->status))
        follow_connect(connection, &operation->command);
}

static VOID NTAPI thread(PVOID context)
{
    UNREFERENCED_PARAMETER(context);
    for (;;) {
        KeWaitForSingleObject(&wake, Executive, KernelMode, FALSE, NULL);
        OPERATION *operation;
        while ((operation = next()) != NULL) {
            work(operation);
            operation_drop(operation);
        }
        if (ReadAcquire(&wsklab.cleaning))
            sweep(0); /* a connection accepted after CLOSE_ALL had passed its place in the table */
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
