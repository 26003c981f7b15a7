/* What the driver is told, and its load and unload. */
#include "breaker.h"

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD Unload;

static void (*const breaches[])(LINK *) = {
#define ENTRY(name) name,
    BREACHES(ENTRY)
#undef ENTRY
};

static NTSTATUS Connect(LINK *link)
{
    SOCKADDR_IN local = {.sin_family = AF_INET};
    SOCKADDR_IN peer = {.sin_family = AF_INET, .sin_port = RtlUshortByteSwap(7007)};
    static const UCHAR address[] = {10, 77, 0, 20};
    NTSTATUS status;

    RtlCopyMemory(&peer.sin_addr, address, sizeof address);
    (void)Us.npi.Dispatch->WskSocketConnect(Us.npi.Client, SOCK_STREAM, IPPROTO_TCP, (PSOCKADDR)&local,
                                            (PSOCKADDR)&peer, 0, link->ticket, &Events, NULL, NULL, NULL, Ready(link));
    status = WaitOrStop(link);
    if (NT_SUCCESS(status))
        link->socket = (PWSK_SOCKET)link->irp->IoStatus.Information;
    return status;
}

/* A byte says that what is to be done wrong is done, or prepared. */
static void Answer(LINK *link)
{
    WSK_BUF buffer = {link->mdl, 0, 1};

    (void)Of(link)->WskSend(link->socket, &buffer, 0, Ready(link));
    (void)Wait(link);
}

static void Converse(LINK *link)
{
    SIZE_T length = Receive(link);
    PVOID either[] = {&link->left, &Us.stop};

    if (length && length <= sizeof breaches / sizeof *breaches)
        breaches[length - 1](link);
    if (length)
        Answer(link);
    while (length)
        length = Receive(link);
    KeWaitForMultipleObjects(2, either, WaitAny, Executive, KernelMode, FALSE, NULL, NULL);
    if (link->breach == NO_CLOSE)
        return;
    (void)Of(link)->WskCloseSocket(link->socket, Ready(link));
    (void)Wait(link);
    if (link->breach == SEND_AFTER_CLOSE) {
        WSK_BUF buffer = {link->mdl, 0, 1};

        (void)Of(link)->WskSend(link->socket, &buffer, 0, Ready(link));
        (void)Wait(link);
    }
}

static void Discard(LINK *link)
{
    if (link->mdl)
        IoFreeMdl(link->mdl);
    if (link->irp)
        IoFreeIrp(link->irp);
    if (link->data)
        Free(link->data);
    if (link->ticket && link->ticket != Us.freed_ticket)
        Free(link->ticket);
    Free(link);
}

static LINK *Create(void)
{
    LINK *link = Block(POOL, sizeof *link);

    if (!link)
        return NULL;
    RtlZeroMemory(link, sizeof *link);
    KeInitializeEvent(&link->done, NotificationEvent, FALSE);
    KeInitializeEvent(&link->left, NotificationEvent, FALSE);
    link->ticket = Block(POOL, sizeof *link->ticket);
    link->irp = IoAllocateIrp(1, FALSE);
    link->data = Block(POOL, PAGE_SIZE);
    link->mdl = link->data ? IoAllocateMdl(link->data, PAGE_SIZE, FALSE, FALSE, NULL) : NULL;
    if (!link->ticket || !link->irp || !link->mdl) {
        Discard(link);
        return NULL;
    }
    MmBuildMdlForNonPagedPool(link->mdl);
    link->ticket->link = link;
    return link;
}

static VOID NTAPI Run(PVOID unused)
{
    LINK *link = Create();

    UNREFERENCED_PARAMETER(unused);
    if (link) {
        if (NT_SUCCESS(Connect(link)))
            Converse(link);
        Discard(link);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

/* ---- Load and unload --------------------------------------------------------------------------------------------------------------- */

static void Finish(void)
{
    KeSetEvent(&Us.stop, IO_NO_INCREMENT, FALSE);
    for (int i = 0; i < CONNECTIONS; i++)
        if (Us.threads[i]) {
            KeWaitForSingleObject(Us.threads[i], Executive, KernelMode, FALSE, NULL);
            ObDereferenceObject(Us.threads[i]);
        }
    WskReleaseProviderNPI(&Us.registration);
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    KIRQL irql = PASSIVE_LEVEL;

    UNREFERENCED_PARAMETER(driver);
    Finish();
    if (Us.unload == UNLOAD_REGISTERED)
        return;
    if (Us.unload == UNLOAD_AT_DISPATCH)
        irql = Dispatch();
    WskDeregister(&Us.registration);
    if (Us.unload == UNLOAD_AT_DISPATCH)
        KeLowerIrql(irql);
    if (Us.unload == UNLOAD_TWICE)
        WskDeregister(&Us.registration);
}

static NTSTATUS Begin(void)
{
    WSK_EVENT_CALLBACK_CONTROL control = {.NpiId = &NPI_WSK_INTERFACE_ID, .EventMask = WSK_EVENT_DISCONNECT};
    NTSTATUS status = WskCaptureProviderNPI(&Us.registration, 5000, &Us.npi);
    HANDLE thread;

    if (!NT_SUCCESS(status))
        return status;
    status = Us.npi.Dispatch->WskControlClient(Us.npi.Client, WSK_SET_STATIC_EVENT_CALLBACKS, sizeof control, &control,
                                               0, NULL, NULL, NULL);
    for (int i = 0; i < CONNECTIONS && NT_SUCCESS(status); i++) {
        status = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, Run, NULL);
        if (NT_SUCCESS(status)) {
            (void)ObReferenceObjectByHandle(thread, SYNCHRONIZE, NULL, KernelMode, &Us.threads[i], NULL);
            ZwClose(thread);
        }
    }
    if (!NT_SUCCESS(status))
        Finish();
    return status;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING key)
{
    WSK_CLIENT_NPI npi = {NULL, &Table};
    NTSTATUS status;

    UNREFERENCED_PARAMETER(key);
    KeInitializeEvent(&Us.stop, NotificationEvent, FALSE);
    KeInitializeEvent(&Things.go, NotificationEvent, FALSE);
    KeInitializeEvent(&Things.gone, NotificationEvent, FALSE);
    KeInitializeMutex(&Things.mutex, 0);
    ExInitializeFastMutex(&Things.fast);
    driver->DriverUnload = Unload;
    status = WskRegister(&npi, &Us.registration);
    if (!NT_SUCCESS(status))
        return status;
    status = Begin();
#ifndef FORGETS_WHEN_SHORT
    if (!NT_SUCCESS(status))
        WskDeregister(&Us.registration);
#endif
    return status;
}
