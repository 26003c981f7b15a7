/* In the style of a library of blocking calls: one object for all kinds of socket, the tables in a union, names resolved by WSK. */
#include "call.h"

typedef struct _KSOCK {
    PWSK_SOCKET Socket;
    union {
        PVOID Table;
        PWSK_PROVIDER_CONNECTION_DISPATCH Connection;
        PWSK_PROVIDER_LISTEN_DISPATCH Listen;
        PWSK_PROVIDER_DATAGRAM_DISPATCH Datagram;
        PWSK_PROVIDER_STREAM_DISPATCH Stream;
    } u;
    CALL Call;
} KSOCK, *PKSOCK;

WSK_REGISTRATION Registration;
WSK_PROVIDER_NPI Provider;
WSK_CLIENT_DISPATCH ClientDispatch = {MAKE_WSK_VERSION(1, 0), 0, NULL};

NTSTATUS Resolve(PCALL Call, PUNICODE_STRING Node, PUNICODE_STRING Service, const struct addrinfo *Wanted,
                 PADDRINFOEXW *Result);
NTSTATUS Name(PCALL Call, PSOCKADDR Address, PUNICODE_STRING Node, PUNICODE_STRING Service);
NTSTATUS Open(PKSOCK Sock, IPPROTO Protocol, ULONG Flags);
NTSTATUS Bind(PKSOCK Sock);
NTSTATUS SetNoDelay(PKSOCK Sock);
NTSTATUS Close(PKSOCK Sock);
NTSTATUS Start(void);
void Stop(void);

NTSTATUS Start(void)
{
    WSK_CLIENT_NPI npi;
    WSK_PROVIDER_CHARACTERISTICS versions;
    NTSTATUS status;

    npi.ClientContext = NULL;
    npi.Dispatch = &ClientDispatch;
    status = WskRegister(&npi, &Registration);
    if (!NT_SUCCESS(status))
        return status;
    status = WskQueryProviderCharacteristics(&Registration, &versions);
    if (NT_SUCCESS(status) && WSK_MAJOR_VERSION(versions.HighestVersion) >= 1)
        status = WskCaptureProviderNPI(&Registration, WSK_INFINITE_WAIT, &Provider);
    return status;
}

void Stop(void)
{
    WskReleaseProviderNPI(&Registration);
    WskDeregister(&Registration);
}

NTSTATUS Resolve(PCALL Call, PUNICODE_STRING Node, PUNICODE_STRING Service, const struct addrinfo *Wanted,
                 PADDRINFOEXW *Result)
{
    ADDRINFOEXW hints;
    PADDRINFOEXW each;
    NTSTATUS status;

    RtlZeroMemory(&hints, sizeof hints);
    hints.ai_flags = (Wanted->ai_flags & ~AI_CANONNAME) | AI_NUMERICSERV | AI_ADDRCONFIG | AI_V4MAPPED;
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_protocol = IPPROTO_TCP;
    status = Provider.Dispatch->WskGetAddressInfo(Provider.Client, Node, Service, NS_ALL, NULL, &hints, Result, NULL,
                                                  NULL, CallIrp(Call));
    if (status == STATUS_PENDING)
        status = CallWait(Call);
    if (!NT_SUCCESS(status))
        return status;
    for (each = *Result; each; each = each->ai_next)
        if (each->ai_family == AF_INET6 && each->ai_addrlen == sizeof(SOCKADDR_IN6))
            return STATUS_SUCCESS;
    Provider.Dispatch->WskFreeAddressInfo(Provider.Client, *Result);
    return STATUS_NOT_FOUND;
}

NTSTATUS Name(PCALL Call, PSOCKADDR Address, PUNICODE_STRING Node, PUNICODE_STRING Service)
{
    ULONG size = Address->sa_family == AF_INET ? sizeof(SOCKADDR_IN) : sizeof(SOCKADDR_IN6);
    NTSTATUS status;

    status = Provider.Dispatch->WskGetNameInfo(Provider.Client, Address, size, Node, Service,
                                               NI_NUMERICHOST | NI_NUMERICSERV, NULL, NULL, CallIrp(Call));
    return status == STATUS_PENDING ? CallWait(Call) : status;
}

NTSTATUS Open(PKSOCK Sock, IPPROTO Protocol, ULONG Flags)
{
    NTSTATUS status = Provider.Dispatch->WskSocket(Provider.Client, AF_INET,
                                                   Flags == WSK_FLAG_DATAGRAM_SOCKET ? SOCK_DGRAM : SOCK_STREAM,
                                                   Protocol, Flags, NULL, NULL, NULL, NULL, NULL, CallIrp(&Sock->Call));

    if (status == STATUS_PENDING)
        status = CallWait(&Sock->Call);
    if (NT_SUCCESS(status)) {
        Sock->Socket = (PWSK_SOCKET)Sock->Call.Irp->IoStatus.Information;
        Sock->u.Table = (PVOID)Sock->Socket->Dispatch;
    }
    return status;
}

NTSTATUS Bind(PKSOCK Sock)
{
    SOCKADDR_IN any4 = {AF_INET, 0, IN4ADDR_ANY_INIT, {0}};
    SOCKADDR_IN6 any6 = {AF_INET6, 0, 0, IN6ADDR_ANY_INIT, {0}};
    IN6_ADDR loopback = IN6ADDR_LOOPBACK_INIT;
    SOCKADDR_STORAGE storage;
    NTSTATUS status;

    any4.sin_addr.s_addr = INADDR_ANY;
    any6.sin6_addr = IN6_IS_ADDR_UNSPECIFIED(&in6addr_any) ? in6addr_any : loopback;
    any6.sin6_scope_id = 0;
    RtlZeroMemory(&storage, sizeof storage);
    storage.ss_family = any6.sin6_family;
    status = Sock->u.Connection->WskBind(Sock->Socket, (PSOCKADDR)&any4, 0, CallIrp(&Sock->Call));
    if (CallWait(&Sock->Call) == STATUS_ADDRESS_ALREADY_EXISTS)
        status = Sock->u.Listen->WskBind(Sock->Socket, (PSOCKADDR)&storage, 0, CallIrp(&Sock->Call));
    return status;
}

NTSTATUS SetNoDelay(PKSOCK Sock)
{
    ULONG on = 1;

    /* The basic functions, without a name between. */
    return Sock->u.Connection->WskControlSocket(Sock->Socket, WskSetOption, TCP_NODELAY, IPPROTO_TCP, sizeof on, &on, 0,
                                                NULL, NULL, NULL);
}

NTSTATUS Close(PKSOCK Sock)
{
    NTSTATUS status = Sock->u.Listen->WskCloseSocket(Sock->Socket, CallIrp(&Sock->Call));

    if (status == STATUS_PENDING)
        status = CallWait(&Sock->Call);
    return status;
}
