/* The exports of netio.sys: registration, and the capture of the provider (R76 to R82). */
#include "standin.h"

#if defined(WSKLAB_NATIVE)
#define EXPORT __attribute__((visibility("default")))
#else
#define EXPORT
#endif

enum {
    LOWEST_VERSION = MAKE_WSK_VERSION(1, 0),
    HIGHEST_VERSION = MAKE_WSK_VERSION(1, 1),
    PATIENCE_MS = 5000,
    LATE_MS = 1500, /* after WskRegister, where the provider is to be late */
    WORK_ITEM_MS = 50
};

static struct client *client_of(PWSK_REGISTRATION registration)
{
    return registration->ReservedRegistrationContext;
}

EXPORT NTSTATUS NTAPI WskRegister(PWSK_CLIENT_NPI npi, PWSK_REGISTRATION registration)
{
    struct client *client;
    NTSTATUS status = STATUS_SUCCESS;

    if (!npi || !npi->Dispatch || !registration)
        return STATUS_INVALID_PARAMETER;
    if (strict_on(STRICT_MEMORY) && (os_on_stack(registration) || os_on_stack(npi->Dispatch)))
        REPORT("R76", "WskRegister is given a registration, or a table, that lies on the stack of its caller");
    if (irql_now() > PASSIVE_LEVEL)
        REPORT("R76", "WskRegister is called at %s", irql_name(irql_now()));
    client = scarce_fails(&SITE("WskRegister"), __builtin_return_address(0))
                 ? NULL
                 : ExAllocatePoolWithTag(NonPagedPool, sizeof *client, POOL_TAG);
    if (!client)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(client, sizeof *client);
    client->registration = registration;
    client->dispatch = npi->Dispatch;
    client->version = npi->Dispatch->Version;
    client->registered_at = os_milliseconds();
    InitializeListHead(&client->retained);

    lock_acquire(&provider.lock);
    while (provider.engine && provider.stop) /* another client's WskDeregister is stopping it */
        condition_wait(&provider.changed, &provider.lock, -1);
    if (!provider.engine)
        status = engine_start(&provider_upcalls);
    if (NT_SUCCESS(status)) {
        InsertTailList(&provider.clients, &client->link);
        registration->ReservedRegistrationContext = client;
    }
    lock_release(&provider.lock);
    witness(&(struct seen){.what = "call", .function = "WskRegister", .client = client, .status = status});
    if (!NT_SUCCESS(status))
        ExFreePoolWithTag(client, POOL_TAG);
    return status;
}

/*
 * Waits, with the lock held, for a provider that is not there yet; returns whether it is there. On Windows that is so while the
 * machine starts. The wait ends with the time that the driver gives it, or with WskDeregister (R81).
 */
static bool await_provider(struct client *client, ULONG wait_ms)
{
    enum provider_mode mode = strict_settings().provider;
    bool endless = wait_ms == WSK_INFINITE_WAIT, first = !client->captured;
    ULONGLONG ready_at = client->registered_at + LATE_MS, until = os_milliseconds() + (endless ? PATIENCE_MS : wait_ms);

    if (mode == PROVIDER_READY || mode == PROVIDER_REFUSES || (mode == PROVIDER_LEAVES && first))
        return true;
    if (mode == PROVIDER_LATE)
        until = ready_at < until ? ready_at : until;
    while (!client->leaving && os_milliseconds() < until)
        (void)condition_wait(&provider.changed, &provider.lock, (int)(until - os_milliseconds()) + 1);
    if (mode == PROVIDER_LATE && os_milliseconds() >= ready_at)
        return true;
    if (endless && !client->leaving)
        REPORT("R77", "WskCaptureProviderNPI with WSK_INFINITE_WAIT, and there is no provider: it would never return");
    return false;
}

EXPORT NTSTATUS NTAPI WskCaptureProviderNPI(PWSK_REGISTRATION registration, ULONG wait_ms, PWSK_PROVIDER_NPI npi)
{
    struct client *client = client_of(registration);
    NTSTATUS status = STATUS_SUCCESS;
    bool there;

    if (!client || !npi)
        return STATUS_INVALID_PARAMETER;
    if (wait_ms != WSK_NO_WAIT && irql_now() > PASSIVE_LEVEL)
        REPORT("R77", "WskCaptureProviderNPI may wait, and is called at %s", irql_name(irql_now()));
    lock_acquire(&provider.lock);
    client->requests++; /* WskDeregister waits for it */
    there = await_provider(client, wait_ms);
    if (client->leaving || !there)
        status = STATUS_DEVICE_NOT_READY; /* R78, R81 */
    else if (strict_settings().provider == PROVIDER_REFUSES || client->version < LOWEST_VERSION ||
             client->version > HIGHEST_VERSION)
        status = STATUS_NOINTERFACE; /* R78 */
    else
        client->captures++, client->captured = true;
    lock_release(&provider.lock);
    witness(&(struct seen){.what = "call", .function = "WskCaptureProviderNPI", .client = client, .status = status});
    if (NT_SUCCESS(status)) {
        npi->Client = client;
        npi->Dispatch = &provider_dispatch;
    }
    lock_acquire(&provider.lock);
    client->requests--;
    condition_broadcast(&provider.changed);
    lock_release(&provider.lock);
    return status;
}

EXPORT VOID NTAPI WskReleaseProviderNPI(PWSK_REGISTRATION registration)
{
    struct client *client = client_of(registration);
    bool captured;

    witness(&(struct seen){.what = "call", .function = "WskReleaseProviderNPI", .client = client});
    lock_acquire(&provider.lock);
    captured = client->captures > 0;
    if (captured)
        client->captures--;
    condition_broadcast(&provider.changed);
    lock_release(&provider.lock);
    if (!captured)
        REPORT("R79", "WskReleaseProviderNPI without a capture");
}

EXPORT NTSTATUS NTAPI WskQueryProviderCharacteristics(PWSK_REGISTRATION registration,
                                                      PWSK_PROVIDER_CHARACTERISTICS characteristics)
{
    (void)registration;
    characteristics->HighestVersion = HIGHEST_VERSION;
    characteristics->LowestVersion = LOWEST_VERSION;
    return STATUS_SUCCESS;
}

/*
 * Windows keeps a driver's image as long as one of its work items runs: IoQueueWorkItem refers to the device, and that to the
 * driver. Wine unmaps it as soon as DriverUnload returns, while the work item that has closed the last socket and woken
 * DriverUnload may still be on its way out. It gets a moment for it.
 */
static void let_work_items_return(void)
{
    LARGE_INTEGER moment = {.QuadPart = -10000LL * WORK_ITEM_MS};

    (void)KeDelayExecutionThread(KernelMode, FALSE, &moment);
}

/* Blocks until the client has given everything back (R80); says every five seconds for what it waits. */
EXPORT VOID NTAPI WskDeregister(PWSK_REGISTRATION registration)
{
    struct client *client = client_of(registration);
    ULONGLONG report_at = os_milliseconds() + PATIENCE_MS;

    if (!client) {
        REPORT("R82", "WskDeregister without a registration");
        return;
    }
    witness(&(struct seen){.what = "call", .function = "WskDeregister", .client = client});
    if (pool_owns(client->dispatch) && !pool_is_live(client->dispatch))
        REPORT("R76", "the client's table was freed before WskDeregister");
    if (irql_now() > PASSIVE_LEVEL)
        REPORT("R80", "WskDeregister is called at %s", irql_name(irql_now()));
    if (in_engine())
        REPORT("R80", "WskDeregister called from a callback or completion routine: it can never return");
    lock_acquire(&provider.lock);
    client->leaving = true;
    condition_broadcast(&provider.changed); /* a capture that waits (R81) */
    while (client->captures || client->sockets || client->requests) {
        LONGLONG left = (LONGLONG)(report_at - os_milliseconds());

        if (left <= 0) {
            ULONG sockets = client->sockets, captures = client->captures, requests = client->requests;

            lock_release(&provider.lock);
            REPORT("R80", "WskDeregister waits: sockets=%u captures=%u requests=%u", (unsigned)sockets,
                   (unsigned)captures, (unsigned)requests);
            report_at = os_milliseconds() + PATIENCE_MS;
            lock_acquire(&provider.lock);
        } else
            condition_wait(&provider.changed, &provider.lock, (int)left);
    }
    RemoveEntryList(&client->link);
    if (IsListEmpty(&provider.clients)) {
        engine_stop();
        graveyard_clear();
    }
    lock_release(&provider.lock);

    events_free_retained(client);
    registration->ReservedRegistrationContext = NULL;
    ExFreePoolWithTag(client, POOL_TAG);
    let_work_items_return();
}

#if !defined(WSKLAB_NATIVE)

/* ntdll's notifications about images, which the driver headers do not declare. */
enum { IMAGE_LOADED = 1, IMAGE_UNLOADED = 2 };

struct image_notice {
    ULONG flags;
    PCUNICODE_STRING path, name;
    PVOID base;
    ULONG size;
};

NTSYSAPI NTSTATUS NTAPI LdrRegisterDllNotification(ULONG flags,
                                                   VOID(NTAPI *notify)(ULONG, const struct image_notice *, PVOID),
                                                   PVOID context, PVOID *cookie);
NTSYSAPI NTSTATUS NTAPI LdrUnregisterDllNotification(PVOID cookie);

static bool lies_in(const struct image_notice *image, const void *address)
{
    return (ULONG_PTR)address - (ULONG_PTR)image->base < image->size;
}

/* No instruction of it has run: a driver's imports can still be made to lead to the strict mode's routines. */
static void image_loaded(const struct image_notice *image)
{
    image_set_cookie(image->base);
    if (!strict_on(STRICT_IRQL | STRICT_MEMORY))
        return;
    strict_image_loaded(image->name->Buffer, image->name->Length, image->base, image->size);
    strict_interpose(image->base);
}

static void handles_check(const struct image_notice *image)
{
    struct site opened;
    char at[64];
    ULONG left = handles_left(image->base, image->size, &opened);

    if (!left)
        return;
    strict_place(opened.caller, at, sizeof at);
    REPORT("ZwClose",
           "the driver was unloaded with %u handles open, which nobody can close any more; one is of %s at %s",
           (unsigned)left, opened.routine, at);
}

/* A driver's image goes. What it has registered from there must be gone before (R82); sockets and IRPs can only be left alone. */
static VOID NTAPI on_image(ULONG reason, const struct image_notice *image, PVOID context)
{
    struct client *found = NULL;

    (void)context;
    if (reason == IMAGE_LOADED) {
        image_loaded(image);
        return;
    }
    if (strict_on(STRICT_MEMORY))
        objects_check_image(image->base, image->size);
    if (strict_on(STRICT_MEMORY))
        pool_check_leaks(image->base, image->size, "driver");
    if (strict_on(STRICT_MEMORY))
        handles_check(image);
    strict_image_gone(image->base);
    lock_acquire(&provider.lock);
    for (LIST_ENTRY *entry = provider.clients.Flink; provider.engine && entry != &provider.clients && !found;
         entry = entry->Flink) {
        struct client *client = CONTAINING_RECORD(entry, struct client, link);

        if (lies_in(image, client->registration) || lies_in(image, client->dispatch))
            found = client;
    }
    if (found)
        RemoveEntryList(&found->link);
    lock_release(&provider.lock);
    if (found)
        REPORT("R82", "the driver was unloaded without WskDeregister: sockets=%u captures=%u requests=%u",
               (unsigned)found->sockets, (unsigned)found->captures, (unsigned)found->requests);
}

/* The image is loaded as a DLL, by the first driver that imports from it, and goes with the last. */
int NTAPI NetioEntry(PVOID image, ULONG reason, PVOID reserved);

int NTAPI NetioEntry(PVOID image, ULONG reason, PVOID reserved)
{
    enum { DETACHED, ATTACHED };
    static PVOID notices;

    (void)image, (void)reserved;
    if (reason == ATTACHED) {
        strict_start();
        faults_start();
        (void)LdrRegisterDllNotification(0, on_image, NULL, &notices);
    } else if (reason == DETACHED && notices) {
        (void)LdrUnregisterDllNotification(notices);
        faults_stop();
    }
    return 1;
}

#endif
