/* In the style of code that decides late whether a socket listens or connects, and sends and receives with control information. */
#include "call.h"

NTSTATUS Listen(PWSK_SOCKET Socket, PCALL Call);
NTSTATUS Connect(PWSK_SOCKET Socket, PSOCKADDR Remote, PWSK_BUF First, PCALL Call);
NTSTATUS Exchange(PWSK_SOCKET Socket, PWSK_BUF Buffer, PCALL Call);
NTSTATUS Silence(PWSK_SOCKET Socket, PIRP Irp);
NTSTATUS Extend(PWSK_SOCKET Socket, PNPIID Id, WSK_EXTENSION_CONTROL_OUT *Given);

static NTSTATUS WSKAPI ReceivedEx(PVOID SocketContext, ULONG Flags, PWSK_DATA_INDICATION DataIndication,
                                  PCMSGHDR ControlInfo, ULONG ControlInfoLength, SIZE_T BytesIndicated,
                                  SIZE_T *BytesAccepted)
{
    UNREFERENCED_PARAMETER(SocketContext);
    UNREFERENCED_PARAMETER(Flags);
    UNREFERENCED_PARAMETER(DataIndication);
    if (ControlInfo && ControlInfoLength >= sizeof(CMSGHDR) && ControlInfo->cmsg_level == IPPROTO_TCP)
        *BytesAccepted = BytesIndicated;
    return STATUS_SUCCESS;
}

extern const PFN_WSK_RECEIVE_EX_EVENT ReceiveEx;
extern const WSK_CLIENT_STREAM_DISPATCH StreamEvents;
extern const WSK_TDI_MAP_INFO Maps;

const PFN_WSK_RECEIVE_EX_EVENT ReceiveEx = ReceivedEx;
static const WSK_CLIENT_CONNECTION_DISPATCH Connected = {NULL, NULL, NULL};
const WSK_CLIENT_STREAM_DISPATCH StreamEvents = {NULL, &Connected};
static const WSK_TDI_MAP Map[] = {{SOCK_STREAM, AF_INET, IPPROTO_TCP, L"\\Device\\Tcp"}};
const WSK_TDI_MAP_INFO Maps = {1, Map};

NTSTATUS Listen(PWSK_SOCKET Socket, PCALL Call)
{
    const WSK_PROVIDER_STREAM_DISPATCH *table = (const WSK_PROVIDER_STREAM_DISPATCH *)Socket->Dispatch;
    SOCKADDR_IN local, remote;
    NTSTATUS status = table->WskListen(Socket, CallIrp(Call));

    if (NT_SUCCESS(status))
        status = table->WskAccept(Socket, 0, NULL, NULL, (PSOCKADDR)&local, (PSOCKADDR)&remote, CallIrp(Call));
    if (NT_SUCCESS(status) && remote.sin_addr.S_un.S_un_b.s_b1 == 127)
        status = table->WskGetLocalAddress(Socket, (PSOCKADDR)&local, CallIrp(Call));
    return status;
}

NTSTATUS Connect(PWSK_SOCKET Socket, PSOCKADDR Remote, PWSK_BUF First, PCALL Call)
{
    const WSK_PROVIDER_STREAM_DISPATCH *table = (const WSK_PROVIDER_STREAM_DISPATCH *)Socket->Dispatch;

    return First ? table->WskConnectEx(Socket, Remote, First, 0, CallIrp(Call))
                 : table->WskConnect(Socket, Remote, 0, CallIrp(Call));
}

NTSTATUS Exchange(PWSK_SOCKET Socket, PWSK_BUF Buffer, PCALL Call)
{
    const WSK_PROVIDER_CONNECTION_DISPATCH *table = (const WSK_PROVIDER_CONNECTION_DISPATCH *)Socket->Dispatch;
    CMSGHDR control = {WSA_CMSG_LEN(0), IPPROTO_TCP, 1};
    ULONG length = sizeof control;
    NTSTATUS status = table->WskSendEx(Socket, Buffer, WSK_FLAG_NODELAY, length, &control, CallIrp(Call));

    if (status == STATUS_PENDING)
        status = CallWait(Call);
    if (NT_SUCCESS(status))
        status = table->WskReceiveEx(Socket, Buffer, WSK_FLAG_WAITALL, &length, &control, NULL, CallIrp(Call));
    return status;
}

NTSTATUS Silence(PWSK_SOCKET Socket, PIRP Irp)
{
    const WSK_PROVIDER_STREAM_DISPATCH *table = (const WSK_PROVIDER_STREAM_DISPATCH *)Socket->Dispatch;

    return table->Basic.WskControlSocket(Socket, WskIoctl, SIO_WSK_SET_TCP_SILENT_MODE, 0, 0, NULL, 0, NULL, NULL, Irp);
}

NTSTATUS Extend(PWSK_SOCKET Socket, PNPIID Id, WSK_EXTENSION_CONTROL_OUT *Given)
{
    const WSK_PROVIDER_STREAM_DISPATCH *table = (const WSK_PROVIDER_STREAM_DISPATCH *)Socket->Dispatch;
    WSK_EXTENSION_CONTROL_IN extension = {Id, NULL, NULL};
    SIZE_T size;

    return table->WskControlSocket(Socket, WskIoctl, SIO_WSK_REGISTER_EXTENSION, 0, sizeof extension, &extension,
                                   sizeof *Given, Given, &size, NULL);
}
