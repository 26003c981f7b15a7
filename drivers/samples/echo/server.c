/* Load and unload, the listening socket, accepting. */
#include "echo.h"

#define DEFAULT_PORT 7
#define WSK_PATIENCE 10000 /* milliseconds: WSK may still be starting, but DriverEntry must not wait for ever */

DRIVER_INITIALIZE DriverEntry;
static DRIVER_UNLOAD EchoUnload;

static ECHO_SERVER Server;

static const WSK_CLIENT_DISPATCH EchoClient = {.Version = MAKE_WSK_VERSION(1, 0)};

/* ---- Calls of the listening socket: one IRP, waited for ---------------------------------------------------------------------- */

typedef struct ECHO_CALL {
    PIRP Irp;
    KEVENT Done;
} ECHO_CALL;

static NTSTATUS NTAPI EchoCallDone(PDEVICE_OBJECT Device, PIRP Irp, PVOID Context)
{
    UNREFERENCED_PARAMETER(Device);
    UNREFERENCED_PARAMETER(Irp);
    KeSetEvent(Context, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static PIRP EchoCallPrepare(ECHO_CALL *Call)
{
    IoReuseIrp(Call->Irp, STATUS_UNSUCCESSFUL);
    KeClearEvent(&Call->Done);
    IoSetCompletionRoutine(Call->Irp, EchoCallDone, &Call->Done, TRUE, TRUE, TRUE);
    return Call->Irp;
}

/* Whatever the function returned, its IRP is completed. */
static NTSTATUS EchoCallWait(ECHO_CALL *Call)
{
    KeWaitForSingleObject(&Call->Done, Executive, KernelMode, FALSE, NULL);
    return Call->Irp->IoStatus.Status;
}

static NTSTATUS EchoCallInit(ECHO_CALL *Call)
{
    KeInitializeEvent(&Call->Done, NotificationEvent, FALSE);
    Call->Irp = IoAllocateIrp(1, FALSE);
    return Call->Irp ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

/* ---- Listening ------------------------------------------------------------------------------------------------------------------ */

static NTSTATUS WSKAPI EchoAcceptEvent(PVOID Context, ULONG Flags, PSOCKADDR Local, PSOCKADDR Remote,
                                       PWSK_SOCKET Socket, PVOID *SocketContext,
                                       const WSK_CLIENT_CONNECTION_DISPATCH **SocketEvents)
{
    ECHO_CONNECTION *connection;

    UNREFERENCED_PARAMETER(Flags);
    UNREFERENCED_PARAMETER(Local);
    if (!Socket) {
        ECHO_SAY(": the listening socket is dead; nobody is accepted until the driver is started again");
        return STATUS_REQUEST_NOT_ACCEPTED;
    }
    connection = EchoConnectionCreate(Context, Socket, (const SOCKADDR_IN *)Remote);
    if (!connection)
        return STATUS_REQUEST_NOT_ACCEPTED; /* WSK closes the socket */
    *SocketContext = connection;
    *SocketEvents = &EchoConnectionEvents;
    return STATUS_SUCCESS;
}

static const WSK_CLIENT_LISTEN_DISPATCH EchoListenerEvents = {.WskAcceptEvent = EchoAcceptEvent};

static void EchoCloseListener(ECHO_CALL *Call)
{
    const WSK_PROVIDER_BASIC_DISPATCH *basic = Server.Listener->Dispatch;

    (void)basic->WskCloseSocket(Server.Listener, EchoCallPrepare(Call));
    (void)EchoCallWait(Call);
    Server.Listener = NULL;
}

/* The events for connections are enabled here, once, for all sockets that WskAcceptEvent will bring. */
static NTSTATUS EchoBindAndEnable(ECHO_CALL *Call, USHORT Port)
{
    const WSK_PROVIDER_LISTEN_DISPATCH *wsk = Server.Listener->Dispatch;
    const WSK_PROVIDER_BASIC_DISPATCH *basic = Server.Listener->Dispatch;
    SOCKADDR_IN local = {.sin_family = AF_INET, .sin_port = RtlUshortByteSwap(Port)};
    WSK_EVENT_CALLBACK_CONTROL events = {
        .NpiId = &NPI_WSK_INTERFACE_ID,
        .EventMask = WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT,
    };
    NTSTATUS status;

    (void)wsk->WskBind(Server.Listener, (PSOCKADDR)&local, 0, EchoCallPrepare(Call));
    status = EchoCallWait(Call);
    if (!NT_SUCCESS(status))
        return status;
    return basic->WskControlSocket(Server.Listener, WskSetOption, SO_WSK_EVENT_CALLBACK, SOL_SOCKET, sizeof events,
                                   &events, 0, NULL, NULL, NULL);
}

static NTSTATUS EchoListen(USHORT Port)
{
    ECHO_CALL call;
    NTSTATUS status = EchoCallInit(&call);

    if (!NT_SUCCESS(status))
        return status;
    (void)Server.Wsk.Dispatch->WskSocket(Server.Wsk.Client, AF_INET, SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_LISTEN_SOCKET,
                                         &Server, &EchoListenerEvents, NULL, NULL, NULL, EchoCallPrepare(&call));
    status = EchoCallWait(&call);
    if (NT_SUCCESS(status)) {
        Server.Listener = (PWSK_SOCKET)call.Irp->IoStatus.Information;
        status = EchoBindAndEnable(&call, Port);
        if (!NT_SUCCESS(status))
            EchoCloseListener(&call);
    }
    IoFreeIrp(call.Irp);
    return status;
}

/* ---- Load and unload --------------------------------------------------------------------------------------------------------------- */

static USHORT EchoReadPort(PUNICODE_STRING ServiceKey)
{
    UNICODE_STRING parameters = RTL_CONSTANT_STRING(L"Parameters"), name = RTL_CONSTANT_STRING(L"Port");
    union {
        KEY_VALUE_PARTIAL_INFORMATION Value;
        UCHAR Room[sizeof(KEY_VALUE_PARTIAL_INFORMATION) + sizeof(ULONG)];
    } found;
    OBJECT_ATTRIBUTES attributes;
    HANDLE service, key;
    ULONG port = DEFAULT_PORT, size;

    InitializeObjectAttributes(&attributes, ServiceKey, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    if (!NT_SUCCESS(ZwOpenKey(&service, KEY_READ, &attributes)))
        return DEFAULT_PORT;
    InitializeObjectAttributes(&attributes, &parameters, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, service, NULL);
    if (NT_SUCCESS(ZwOpenKey(&key, KEY_READ, &attributes))) {
        if (NT_SUCCESS(ZwQueryValueKey(key, &name, KeyValuePartialInformation, &found, sizeof found, &size)) &&
            found.Value.Type == REG_DWORD)
            RtlCopyMemory(&port, found.Value.Data, sizeof port);
        ZwClose(key);
    }
    ZwClose(service);
    return (USHORT)port;
}

static VOID NTAPI EchoUnload(PDRIVER_OBJECT Driver)
{
    ECHO_CALL call;
    KIRQL irql;

    UNREFERENCED_PARAMETER(Driver);
    while (!NT_SUCCESS(EchoCallInit(&call))) { /* the socket cannot be left open, and closing it needs an IRP */
        LARGE_INTEGER moment = {.QuadPart = -1000000};
        KeDelayExecutionThread(KernelMode, FALSE, &moment);
    }
    EchoCloseListener(&call); /* completes after the last WskAcceptEvent has returned */
    IoFreeIrp(call.Irp);

    KeAcquireSpinLock(&Server.Lock, &irql);
    for (PLIST_ENTRY link = Server.Connections.Flink; link != &Server.Connections; link = link->Flink)
        EchoConnectionStop(link);
    KeReleaseSpinLock(&Server.Lock, irql);
    KeWaitForSingleObject(&Server.Empty, Executive, KernelMode, FALSE, NULL);

    WskReleaseProviderNPI(&Server.Registration);
    WskDeregister(&Server.Registration);
    IoDeleteDevice(Server.Device);
    ECHO_SAY(": stopped, %u connections served", (unsigned)Server.Served);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT Driver, PUNICODE_STRING RegistryPath)
{
    WSK_CLIENT_NPI client = {.ClientContext = &Server, .Dispatch = &EchoClient};
    USHORT port = EchoReadPort(RegistryPath);
    NTSTATUS status;

    KeInitializeSpinLock(&Server.Lock);
    InitializeListHead(&Server.Connections);
    KeInitializeEvent(&Server.Empty, NotificationEvent, TRUE);
    status = IoCreateDevice(Driver, 0, NULL, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &Server.Device);
    if (!NT_SUCCESS(status))
        return status;
    status = WskRegister(&client, &Server.Registration);
    if (NT_SUCCESS(status)) {
        status = WskCaptureProviderNPI(&Server.Registration, WSK_PATIENCE, &Server.Wsk);
        if (NT_SUCCESS(status)) {
            status = EchoListen(port);
            if (!NT_SUCCESS(status))
                WskReleaseProviderNPI(&Server.Registration);
        }
        if (!NT_SUCCESS(status))
            WskDeregister(&Server.Registration);
    }
    if (!NT_SUCCESS(status)) {
        ECHO_SAY(": cannot listen on port %u: %08x", port, (unsigned)status);
        IoDeleteDevice(Server.Device);
        return status;
    }
    Driver->DriverUnload = EchoUnload;
    ECHO_SAY(": listening on port %u", port);
    return STATUS_SUCCESS;
}
