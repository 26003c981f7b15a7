/* What a correct client of WSK does: its calls, waited for, one connection after the other. */
#include "breaker.h"

STATE Us;
THINGS Things;
const WSK_CLIENT_DISPATCH Table = {.Version = MAKE_WSK_VERSION(1, 0)};

NTSTATUS NTAPI Completed(PDEVICE_OBJECT device, PIRP irp, PVOID done)
{
    UNREFERENCED_PARAMETER(device);
    UNREFERENCED_PARAMETER(irp);
    KeSetEvent(done, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

PIRP Ready(LINK *link)
{
    IoReuseIrp(link->irp, STATUS_UNSUCCESSFUL);
    KeClearEvent(&link->done);
    IoSetCompletionRoutine(link->irp, Completed, &link->done, TRUE, TRUE, TRUE);
    return link->irp;
}

NTSTATUS Wait(LINK *link)
{
    KeWaitForSingleObject(&link->done, Executive, KernelMode, FALSE, NULL);
    return link->irp->IoStatus.Status;
}

/* Until it is completed, or the driver is to stop: then it is cancelled. */
NTSTATUS WaitOrStop(LINK *link)
{
    PVOID either[] = {&link->done, &Us.stop};

    if (KeWaitForMultipleObjects(2, either, WaitAny, Executive, KernelMode, FALSE, NULL, NULL) != STATUS_WAIT_0)
        (void)IoCancelIrp(link->irp);
    return Wait(link);
}

const WSK_PROVIDER_CONNECTION_DISPATCH *Of(const LINK *link)
{
    return link->socket->Dispatch;
}

SIZE_T Receive(LINK *link)
{
    WSK_BUF buffer = {link->mdl, 0, PAGE_SIZE};

    (void)Of(link)->WskReceive(link->socket, &buffer, 0, Ready(link));
    return NT_SUCCESS(WaitOrStop(link)) ? link->irp->IoStatus.Information : 0;
}

static NTSTATUS WSKAPI OnDisconnect(PVOID context, ULONG flags)
{
    LINK *link = context == Us.freed_ticket ? Us.freed_of : ((TICKET *)context)->link;
    LONG breach = link->breach; /* NO_CLOSE frees the link as soon as the event is set */
    KIRQL irql;

    UNREFERENCED_PARAMETER(flags);
    KeSetEvent(&link->left, IO_NO_INCREMENT, FALSE);
    if (breach == IN_EVENT_IRQL)
        (void)KfRaiseIrql(DISPATCH_LEVEL + 1);
    if (breach == IN_EVENT_LOCK)
        KeAcquireSpinLock(&link->lock, &irql);
    return breach == IN_EVENT_FAIL ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS;
}

const WSK_CLIENT_CONNECTION_DISPATCH Events = {.WskDisconnectEvent = OnDisconnect};

/* A second socket, whose context is what is wrong. */
void SocketWith(LINK *link, PVOID context)
{
    PWSK_SOCKET first = link->socket;

    (void)Us.npi.Dispatch->WskSocket(Us.npi.Client, AF_INET, SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_CONNECTION_SOCKET,
                                     context, &Events, NULL, NULL, NULL, Ready(link));
    if (!NT_SUCCESS(Wait(link)))
        return;
    link->socket = (PWSK_SOCKET)link->irp->IoStatus.Information;
    if (link->breach == DISCONNECT_SECOND) {
        (void)Of(link)->WskDisconnect(link->socket, NULL, 0, Ready(link));
        (void)Wait(link);
    }
    (void)Of(link)->WskCloseSocket(link->socket, Ready(link));
    (void)Wait(link);
    link->socket = first;
}

PVOID Block(POOL_TYPE type, SIZE_T size)
{
    return ExAllocatePoolWithTag(type, size, TAG);
}

void Free(PVOID block)
{
    ExFreePoolWithTag(block, TAG);
}

KIRQL Dispatch(void)
{
    return KfRaiseIrql(DISPATCH_LEVEL);
}

KIRQL High(void)
{
    return KfRaiseIrql(DISPATCH_LEVEL + 1);
}
