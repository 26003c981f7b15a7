/* In the style of a tunnel: datagrams sent in lists, the source address chosen by a control message, received by an event callback. */
#include "call.h"

typedef struct _ENDPOINT {
    SOCKADDR_INET Remote;
    CMSGHDR Control; /* with its data behind it, as WSA_CMSG_DATA finds it */
    union {
        IN_PKTINFO Source4;
        IN6_PKTINFO Source6;
    } u;
    UCHAR Room[WSA_CMSG_SPACE(0)];
} ENDPOINT, *PENDPOINT;

void ChooseSource(PENDPOINT Endpoint, const SOCKADDR_INET *Source, ULONG Interface);
NTSTATUS SendAll(PWSK_SOCKET Socket, PENDPOINT Endpoint, PWSK_BUF_LIST First, PIRP Irp);
NTSTATUS SendOne(PWSK_SOCKET Socket, PENDPOINT Endpoint, PWSK_BUF Buffer, PIRP Irp);
NTSTATUS Receive(PWSK_SOCKET Socket, PWSK_BUF Buffer, PSOCKADDR From, PCALL Call, ULONG *Kind);
NTSTATUS Enable(PWSK_SOCKET Socket, PSOCKADDR Remote, PIRP Irp);
ULONG InterfaceOf(PCHAR Control, ULONG Length);
NTSTATUS WSKAPI ReceiveFromEvent(PVOID SocketContext, ULONG Flags, PWSK_DATAGRAM_INDICATION DataIndication);

extern const WSK_CLIENT_DATAGRAM_DISPATCH DatagramEvents;
const WSK_CLIENT_DATAGRAM_DISPATCH DatagramEvents = {ReceiveFromEvent};

void ChooseSource(PENDPOINT Endpoint, const SOCKADDR_INET *Source, ULONG Interface)
{
    if (Source->si_family == AF_INET) {
        Endpoint->Control.cmsg_len = WSA_CMSG_LEN(sizeof(IN_PKTINFO));
        Endpoint->Control.cmsg_level = IPPROTO_IP;
        Endpoint->Control.cmsg_type = IP_PKTINFO;
        Endpoint->u.Source4.ipi_addr = Source->Ipv4.sin_addr;
        Endpoint->u.Source4.ipi_ifindex = Interface;
    } else {
        Endpoint->Control.cmsg_len = WSA_CMSG_LEN(sizeof(IN6_PKTINFO));
        Endpoint->Control.cmsg_level = IPPROTO_IPV6;
        Endpoint->Control.cmsg_type = IPV6_PKTINFO;
        Endpoint->u.Source6.ipi6_addr = Source->Ipv6.sin6_addr;
        Endpoint->u.Source6.ipi6_ifindex = Interface;
    }
}

NTSTATUS SendAll(PWSK_SOCKET Socket, PENDPOINT Endpoint, PWSK_BUF_LIST First, PIRP Irp)
{
    PFN_WSK_SEND_MESSAGES send = ((WSK_PROVIDER_DATAGRAM_DISPATCH *)Socket->Dispatch)->WskSendMessages;

    return send(Socket, First, 0, (PSOCKADDR)&Endpoint->Remote, (ULONG)WSA_CMSGDATA_ALIGN(Endpoint->Control.cmsg_len),
                &Endpoint->Control, Irp);
}

NTSTATUS SendOne(PWSK_SOCKET Socket, PENDPOINT Endpoint, PWSK_BUF Buffer, PIRP Irp)
{
    return ((WSK_PROVIDER_DATAGRAM_DISPATCH *)Socket->Dispatch)
        ->WskSendTo(Socket, Buffer, 0, (PSOCKADDR)&Endpoint->Remote, 0, NULL, Irp);
}

NTSTATUS Receive(PWSK_SOCKET Socket, PWSK_BUF Buffer, PSOCKADDR From, PCALL Call, ULONG *Kind)
{
    UCHAR control[CMSG_SPACE(sizeof(IN6_PKTINFO))];
    ULONG length = sizeof control, flags = 0;
    NTSTATUS status =
        ((WSK_PROVIDER_DATAGRAM_DISPATCH *)Socket->Dispatch)
            ->WskReceiveFrom(Socket, Buffer, 0, From, &length, (PCMSGHDR)(PVOID)control, &flags, CallIrp(Call));

    if (status == STATUS_PENDING)
        status = CallWait(Call);
    *Kind = flags & (MSG_BCAST | MSG_MCAST | MSG_TRUNC | MSG_CTRUNC);
    return status;
}

NTSTATUS Enable(PWSK_SOCKET Socket, PSOCKADDR Remote, PIRP Irp)
{
    const WSK_PROVIDER_DATAGRAM_DISPATCH *table = (const WSK_PROVIDER_DATAGRAM_DISPATCH *)Socket->Dispatch;
    WSK_EVENT_CALLBACK_CONTROL control;
    ULONG exclusive = 1;
    NTSTATUS status;

    control.NpiId = &NPI_WSK_INTERFACE_ID;
    control.EventMask = WSK_EVENT_RECEIVE_FROM;
    status = table->WskControlSocket(Socket, WskSetOption, SO_EXCLUSIVEADDRUSE, SOL_SOCKET, sizeof exclusive,
                                     &exclusive, 0, NULL, NULL, NULL);
    if (NT_SUCCESS(status))
        status = table->WskControlSocket(Socket, WskSetOption, SO_WSK_EVENT_CALLBACK, SOL_SOCKET, sizeof control,
                                         &control, 0, NULL, NULL, NULL);
    if (!NT_SUCCESS(status))
        return status;
    return table->WskControlSocket(Socket, WskIoctl, SIO_WSK_SET_REMOTE_ADDRESS, 0, sizeof(SOCKADDR_IN), Remote, 0,
                                   NULL, NULL, Irp);
}

/* All control messages of a buffer. */
ULONG InterfaceOf(PCHAR Control, ULONG Length)
{
    WSAMSG message;
    PCMSGHDR each;

    RtlZeroMemory(&message, sizeof message);
    message.Control.buf = Control;
    message.Control.len = Length;
    for (each = CMSG_FIRSTHDR(&message); each; each = CMSG_NXTHDR(&message, each))
        if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_PKTINFO)
            return ((PIN_PKTINFO)(PVOID)WSA_CMSG_DATA(each))->ipi_ifindex;
    return 0;
}

NTSTATUS WSKAPI ReceiveFromEvent(PVOID SocketContext, ULONG Flags, PWSK_DATAGRAM_INDICATION DataIndication)
{
    PWSK_SOCKET socket = (PWSK_SOCKET)SocketContext;
    PWSK_DATAGRAM_INDICATION each;
    SIZE_T total = 0;

    if (!DataIndication)
        return STATUS_SUCCESS;
    for (each = DataIndication; each; each = each->Next)
        if (each->RemoteAddress->sa_family == AF_INET &&
            InterfaceOf((PCHAR)each->ControlInfo, each->ControlInfoLength) != 0)
            total += each->Buffer.Length - each->Buffer.Offset;
    if (!(Flags & WSK_FLAG_AT_DISPATCH_LEVEL) || !total)
        return STATUS_SUCCESS;
    (void)((WSK_PROVIDER_DATAGRAM_DISPATCH *)socket->Dispatch)->WskRelease(socket, DataIndication);
    return STATUS_PENDING;
}
