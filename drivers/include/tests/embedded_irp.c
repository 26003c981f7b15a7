/* In the style of code that is written for -fms-extensions: an IRP within a context, as an unnamed member of a named type. */
#include "call.h"

typedef union _WSK_IRP {
    IRP Irp;
    UCHAR Room[sizeof(IRP) + sizeof(IO_STACK_LOCATION)];
} WSK_IRP;

typedef struct _SENDING {
    WSK_IRP;
    WSK_BUF Buffer;
    WSK_PROVIDER_BASIC_DISPATCH;
} SENDING, *PSENDING;

NTSTATUS Send(PWSK_SOCKET Socket, PSENDING Sending);

NTSTATUS Send(PWSK_SOCKET Socket, PSENDING Sending)
{
    static const WSK_CLIENT_DISPATCH client = {.Version = MAKE_WSK_VERSION(1, 0)};
    const WSK_PROVIDER_CONNECTION_DISPATCH *table = Socket->Dispatch;

    IoInitializeIrp(&Sending->Irp, sizeof Sending->Room, 1);
    Sending->WskCloseSocket = table->WskCloseSocket;
    return client.Reserved ? STATUS_UNSUCCESSFUL
                           : table->WskSend(Socket, &Sending->Buffer, WSK_FLAG_NODELAY, &Sending->Irp);
}
