/* In the style of a provider of its own (a transport that offers WSK's tables): the tables filled by position. */
#include "call.h"

static NTSTATUS Refuse(PIRP Irp)
{
    Irp->IoStatus.Status = STATUS_NOT_IMPLEMENTED;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return STATUS_NOT_IMPLEMENTED;
}

static NTSTATUS WSKAPI MyControlSocket(PWSK_SOCKET Socket, WSK_CONTROL_SOCKET_TYPE RequestType, ULONG ControlCode,
                                       ULONG Level, SIZE_T InputSize, PVOID InputBuffer, SIZE_T OutputSize,
                                       PVOID OutputBuffer, SIZE_T *OutputSizeReturned, PIRP Irp)
{
    (void)Socket, (void)RequestType, (void)ControlCode, (void)Level, (void)InputSize, (void)InputBuffer;
    (void)OutputSize, (void)OutputBuffer, (void)OutputSizeReturned;
    return Irp ? Refuse(Irp) : STATUS_NOT_IMPLEMENTED;
}

static NTSTATUS WSKAPI MyCloseSocket(PWSK_SOCKET Socket, PIRP Irp)
{
    UNREFERENCED_PARAMETER(Socket);
    return Refuse(Irp);
}

static NTSTATUS WSKAPI MyBind(PWSK_SOCKET Socket, PSOCKADDR LocalAddress, ULONG Flags, PIRP Irp)
{
    (void)Socket, (void)LocalAddress, (void)Flags;
    return Refuse(Irp);
}

/* The WDK's spelling. Here the basic functions stand in a union for both their names, and gcc would like to see its braces, too. */
#pragma GCC diagnostic ignored "-Wmissing-braces"

WSK_PROVIDER_BASIC_DISPATCH BasicTable = {MyControlSocket, MyCloseSocket};
WSK_PROVIDER_LISTEN_DISPATCH ListenTable = {{MyControlSocket, MyCloseSocket}, MyBind, NULL, NULL, NULL};
WSK_PROVIDER_STREAM_DISPATCH StreamTable = {
    {MyControlSocket, MyCloseSocket}, MyBind, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
