/* In the style of C++ drivers: a call as a lambda, a socket as a class, the basic functions by the name that C++ gives them. */
#include "call.h"

namespace {

template <typename Function> NTSTATUS Call(PCALL call, Function &&function)
{
    NTSTATUS status = function(CallIrp(call));

    return status == STATUS_PENDING ? CallWait(call) : status;
}

class Connection {
public:
    explicit Connection(PWSK_SOCKET socket) : socket_(socket), call_() {}

    NTSTATUS SetBuffer(ULONG size)
    {
        return Dispatch()->Basic.WskControlSocket(socket_, WskSetOption, SO_RCVBUF, SOL_SOCKET, sizeof size, &size, 0, nullptr, nullptr,
                                                  nullptr);
    }

    NTSTATUS Receive(WSK_BUF &buffer)
    {
        return Call(&call_, [&](PIRP irp) { return Dispatch()->WskReceive(socket_, &buffer, 0, irp); });
    }

    NTSTATUS Close()
    {
        return Call(&call_, [this](PIRP irp) { return Dispatch()->WskCloseSocket(socket_, irp); });
    }

private:
    const WSK_PROVIDER_CONNECTION_DISPATCH *Dispatch() const
    {
        return static_cast<const WSK_PROVIDER_CONNECTION_DISPATCH *>(socket_->Dispatch);
    }

    PWSK_SOCKET socket_;
    CALL call_;
};

NTSTATUS WSKAPI OnDisconnect(PVOID context, ULONG flags)
{
    *static_cast<bool *>(context) = flags & WSK_FLAG_ABORTIVE;
    return STATUS_SUCCESS;
}

} // namespace

extern "C" const WSK_CLIENT_CONNECTION_DISPATCH Events = {nullptr, OnDisconnect, nullptr};

extern "C" NTSTATUS Use(PWSK_SOCKET socket, WSK_BUF *buffer)
{
    Connection connection(socket);
    SOCKADDR_IN6 any = {AF_INET6, RtlUshortByteSwap(7007), 0, IN6ADDR_ANY_INIT, {0}};
    const IPPROTO protocol = IPPROTO_TCP;
    NTSTATUS status = connection.SetBuffer(any.sin6_port + static_cast<ULONG>(protocol));

    if (NT_SUCCESS(status))
        status = connection.Receive(*buffer);
    return NT_SUCCESS(status) ? connection.Close() : status;
}
