/* What WSK itself asks of a client: contexts, sockets, IRPs, events. */
#include "breaker.h"

BREACH(event_fails, "R10: WskDisconnectEvent returned c0000001")
{
    link->breach = IN_EVENT_FAIL;
}

BREACH(event_keeps_irql, "WskDisconnectEvent.*returns at IRQL 3, and was called at")
{
    link->breach = IN_EVENT_IRQL;
}

BREACH(event_keeps_lock, "WskDisconnectEvent.*returns with a spin lock held")
{
    link->breach = IN_EVENT_LOCK;
}

BREACH(never_closes, "breaker.sys, made by WskSocketConnect, was never closed")
{
    link->breach = NO_CLOSE;
}

BREACH(sends_when_closed, "R72: WskSend on a socket that is closed")
{
    link->breach = SEND_AFTER_CLOSE;
}

BREACH(context_on_stack, "R4: WskSocket is given a socket context that lies on the stack of its caller")
{
    TICKET ticket = {link};

    SocketWith(link, &ticket);
}

BREACH(context_that_is_freed, "R4: WskSocket is given a socket context that has been freed")
{
    PVOID block = Block(POOL, sizeof(TICKET));

    Free(block);
    SocketWith(link, block);
}

BREACH(context_in_paged_pool, "R42: WskSocket is given a socket context in paged pool")
{
    PVOID block = Block(PagedPool, sizeof(TICKET));

    SocketWith(link, block);
    Free(block);
}

BREACH(context_freed_too_soon, "R4: the context of a socket was freed before the socket was closed")
{
    Us.freed_of = link;
    Us.freed_ticket = link->ticket;
    Free(link->ticket);
}

/* Of a receive that is cancelled only when the socket closes, and that nobody waits for. */
BREACH(uses_irp_twice, "R84: WskReceive with an IRP that has not been completed yet")
{
    WSK_BUF buffer = {link->mdl, 0, PAGE_SIZE};

    (void)Of(link)->WskReceive(link->socket, &buffer, WSK_FLAG_WAITALL, Ready(link));
    (void)Of(link)->WskReceive(link->socket, &buffer, WSK_FLAG_WAITALL, link->irp);
    (void)Wait(link);
}

BREACH(irp_without_routine,
       "R83: WskReceive with an IRP whose completion routine is not set for success, error and cancel")
{
    WSK_BUF buffer = {link->mdl, 0, PAGE_SIZE};

    (void)Ready(link);
    IoSetCompletionRoutine(link->irp, Completed, &link->done, TRUE, TRUE, FALSE);
    (void)Of(link)->WskReceive(link->socket, &buffer, 0, link->irp);
    (void)Wait(link);
}

BREACH(releases_uncaptured, "R79: WskReleaseProviderNPI without a capture")
{
    UNUSED;
    WskReleaseProviderNPI(&Us.registration);
    WskReleaseProviderNPI(&Us.registration);
}

BREACH(captures_at_dispatch, "R77: WskCaptureProviderNPI may wait, and is called at DISPATCH_LEVEL")
{
    WSK_PROVIDER_NPI npi;
    KIRQL irql = Dispatch();

    UNUSED;
    if (NT_SUCCESS(WskCaptureProviderNPI(&Us.registration, 1000, &npi)))
        WskReleaseProviderNPI(&Us.registration);
    KeLowerIrql(irql);
}

BREACH(registers_on_stack, "R76: WskRegister is given a registration, or a table, that lies on the stack of its caller")
{
    WSK_CLIENT_DISPATCH table = {.Version = MAKE_WSK_VERSION(1, 0)};
    WSK_CLIENT_NPI npi = {NULL, &table};
    WSK_REGISTRATION registration;

    UNUSED;
    if (NT_SUCCESS(WskRegister(&npi, &registration)))
        WskDeregister(&registration);
}

BREACH(registers_at_dispatch, "R76: WskRegister is called at DISPATCH_LEVEL")
{
    static WSK_REGISTRATION registration;
    WSK_CLIENT_NPI npi = {NULL, &Table};
    KIRQL irql = Dispatch();
    NTSTATUS status = WskRegister(&npi, &registration);

    UNUSED;
    KeLowerIrql(irql);
    if (NT_SUCCESS(status))
        WskDeregister(&registration);
}

BREACH(frees_table, "R76: the client's table was freed before WskDeregister")
{
    static WSK_REGISTRATION registration;
    WSK_CLIENT_DISPATCH *table = Block(POOL, sizeof *table);
    WSK_CLIENT_NPI npi = {NULL, table};
    NTSTATUS status;

    UNUSED;
    *table = Table;
    status = WskRegister(&npi, &registration);
    Free(table);
    if (NT_SUCCESS(status))
        WskDeregister(&registration);
}

BREACH(deregisters_twice, "R82.*WskDeregister without a registration")
{
    UNUSED;
    Us.unload = UNLOAD_TWICE;
}

BREACH(calls_uncaptured, "R79: WskSocket without a captured provider")
{
    WskReleaseProviderNPI(&Us.registration);
    SocketWith(link, link->ticket);
}

BREACH(receives_without_irp, "R83: WskReceive without an IRP")
{
    WSK_BUF buffer = {link->mdl, 0, PAGE_SIZE};

    (void)Of(link)->WskReceive(link->socket, &buffer, 0, NULL);
}

BREACH(aborts_with_buffer, "R63: WskDisconnect with WSK_FLAG_ABORTIVE and a buffer")
{
    WSK_BUF buffer = {link->mdl, 0, 1};

    (void)Of(link)->WskDisconnect(link->socket, &buffer, WSK_FLAG_ABORTIVE, Ready(link));
    (void)Wait(link);
}

BREACH(static_events_late, "R36: static event callbacks set after the first socket")
{
    WSK_EVENT_CALLBACK_CONTROL control = {.NpiId = &NPI_WSK_INTERFACE_ID, .EventMask = WSK_EVENT_DISCONNECT};

    UNUSED;
    (void)Us.npi.Dispatch->WskControlClient(Us.npi.Client, WSK_SET_STATIC_EVENT_CALLBACKS, sizeof control, &control, 0,
                                            NULL, NULL, NULL);
}

BREACH(disconnects_unconnected, "R65: WskDisconnect on a socket that was never connected")
{
    link->breach = DISCONNECT_SECOND;
    SocketWith(link, link->ticket);
}

BREACH(deregisters_at_dispatch, "R80.*WskDeregister is called at DISPATCH_LEVEL")
{
    UNUSED;
    Us.unload = UNLOAD_AT_DISPATCH;
}

BREACH(stays_registered, "R82.*the driver was unloaded without WskDeregister")
{
    UNUSED;
    Us.unload = UNLOAD_REGISTERED;
}
