/*
 * driver.c - load and unload, and the device \\.\wsklab with its three ioctls.
 */
#include "account.h"
#include "closing.h"
#include "commands.h"
#include "connection.h"
#include "log.h"
#include "worker.h"

#define CAPTURE_MS 5000u /* for WSK to come up; never without an end in DriverEntry (R77) */

DRIVER wsklab;

static UNICODE_STRING device_name = RTL_CONSTANT_STRING(L"\\Device\\wsklab");
static UNICODE_STRING link_name = RTL_CONSTANT_STRING(L"\\DosDevices\\wsklab");

/* Resident until WskDeregister, like the registration (R76). WSK 1.0 defines no client event. */
static const WSK_CLIENT_DISPATCH client_dispatch = {.Version = MAKE_WSK_VERSION(1, 0)};

static NTSTATUS complete(PIRP irp, NTSTATUS status, ULONG_PTR information)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI on_open_or_close(PDEVICE_OBJECT device, PIRP irp)
{
    UNREFERENCED_PARAMETER(device);
    return complete(irp, STATUS_SUCCESS, 0);
}

/* `buffer` holds the commands and gets their statuses: each is read before its place is written. */
static NTSTATUS execute_batch(PVOID buffer, uint32_t in, uint32_t out, uint32_t *written)
{
    uint32_t count = in / sizeof(WSKLAB_COMMAND);
    if (count == 0 || count > WSKLAB_BATCH || in % sizeof(WSKLAB_COMMAND))
        return STATUS_INVALID_BUFFER_SIZE;
    const WSKLAB_COMMAND *commands = buffer;
    uint32_t *statuses = buffer;
    for (uint32_t i = 0; i < count; i++) {
        WSKLAB_COMMAND command = commands[i];
        NTSTATUS status = command_execute(&command);
        if ((i + 1) * sizeof *statuses <= out) {
            statuses[i] = (uint32_t)status;
            *written = (i + 1) * sizeof *statuses;
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS read_ring(PVOID buffer, uint32_t in, uint32_t out, uint32_t *written)
{
    if (in < sizeof(WSKLAB_RING_REQUEST) || out < sizeof(WSKLAB_RING_REPLY))
        return STATUS_BUFFER_TOO_SMALL;
    WSKLAB_RING_REQUEST request = *(const WSKLAB_RING_REQUEST *)buffer;
    *written = log_read(&request, buffer, out);
    return STATUS_SUCCESS;
}

static NTSTATUS read_state(PVOID buffer, uint32_t out, uint32_t *written)
{
    WSKLAB_STATE *state = buffer;
    if (out < sizeof *state)
        return STATUS_BUFFER_TOO_SMALL;
    *state = (WSKLAB_STATE){
        .size = sizeof *state,
        .version = WSKLAB_PROTOCOL,
        .next_seq = log_next(),
        .sockets = (uint32_t)ReadAcquire(&wsklab.sockets),
        .irps = (uint32_t)ReadAcquire(&wsklab.irps),
        .indications = (uint32_t)ReadAcquire(&wsklab.indications),
        .callbacks = (uint32_t)ReadAcquire(&wsklab.callbacks),
        .connections = (uint32_t)ReadAcquire(&wsklab.connections),
        .allocations = (uint32_t)ReadAcquire(&wsklab.allocations),
        .cleaning = (uint32_t)ReadAcquire(&wsklab.cleaning),
        .ring = log_capacity(),
    };
    const char *build = log_build();
    for (uint32_t i = 0; i < sizeof state->build - 1 && build[i]; i++)
        state->build[i] = build[i];
    *written = sizeof *state;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI on_control(PDEVICE_OBJECT device, PIRP irp)
{
    UNREFERENCED_PARAMETER(device);
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    PVOID buffer = irp->AssociatedIrp.SystemBuffer;
    uint32_t in = stack->Parameters.DeviceIoControl.InputBufferLength;
    uint32_t out = stack->Parameters.DeviceIoControl.OutputBufferLength;
    uint32_t written = 0;
    NTSTATUS status = STATUS_INVALID_DEVICE_REQUEST;

    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case WSKLAB_IOCTL_COMMAND:
        status = execute_batch(buffer, in, out, &written);
        break;
    case WSKLAB_IOCTL_RING:
        status = read_ring(buffer, in, out, &written);
        break;
    case WSKLAB_IOCTL_STATE:
        status = read_state(buffer, out, &written);
        break;
    }
    return complete(irp, status, written);
}

PAGED_FUNCTION static void undo(BOOLEAN registered)
{
    worker_stop();
    if (registered)
        WskDeregister(&wsklab.registration);
    if (wsklab.device) {
        (void)IoDeleteSymbolicLink(&link_name);
        IoDeleteDevice(wsklab.device);
    }
}

/* Windows calls this when no handle is open any more. */
PAGED_FUNCTION static VOID NTAPI on_unload(PDRIVER_OBJECT driver)
{
    UNREFERENCED_PARAMETER(driver);
    if (TWIN(UNLOADS_IN_CALLBACK) && ReadAcquire(&wsklab.callbacks))
        return; /* wrong: the code goes away under the callback */
    if (!TWIN(UNLOADS_OPEN)) {
        close_all(0);
        wait_until_clean(); /* R80: WskDeregister would wait for the sockets, but in silence */
    }
    while (TWIN(HANGS_IN_UNLOAD))
        sleep_ms(1000);
    WskReleaseProviderNPI(&wsklab.registration); /* R79: one for the capture */
    undo(!TWIN(NEVER_DEREGISTERS));              /* R82: deregistered before this returns */
    connections_stop();
    log_line(0, "ev=unload sockets=%u irps=%u indications=%u allocs=%u", (uint32_t)ReadAcquire(&wsklab.sockets),
             (uint32_t)ReadAcquire(&wsklab.irps), (uint32_t)ReadAcquire(&wsklab.indications),
             (uint32_t)ReadAcquire(&wsklab.allocations));
    log_stop();
}

/*
 * IoSetCompletionRoutineEx, bound at run time: Wine exports the name, too, but ends the process of whoever calls it. Wine
 * is known by a name that no other kernel exports.
 */
INIT_CODE static SET_COMPLETION find_set_completion(void)
{
    UNICODE_STRING wine = RTL_CONSTANT_STRING(L"wine_ntoskrnl_main_loop");
    UNICODE_STRING wanted = RTL_CONSTANT_STRING(L"IoSetCompletionRoutineEx");
    if (MmGetSystemRoutineAddress(&wine))
        return NULL;
    return (SET_COMPLETION)(ULONG_PTR)MmGetSystemRoutineAddress(&wanted);
}

INIT_CODE static NTSTATUS create_device(PDRIVER_OBJECT driver)
{
    NTSTATUS status =
        IoCreateDevice(driver, 0, &device_name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &wsklab.device);
    if (!NT_SUCCESS(status))
        return status;
    return IoCreateSymbolicLink(&link_name, &device_name);
}

INIT_CODE NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path)
{
    UNREFERENCED_PARAMETER(registry_path);
    WSK_CLIENT_NPI client = {.ClientContext = NULL, .Dispatch = &client_dispatch};
    BOOLEAN registered = FALSE;

    KeInitializeEvent(&wsklab.clean, NotificationEvent, FALSE);
    wsklab.set_completion = find_set_completion();
    connections_start();
    NTSTATUS status = log_start();
    if (!NT_SUCCESS(status))
        return status;
    status = worker_start();
    if (NT_SUCCESS(status))
        status = create_device(driver);
    if (NT_SUCCESS(status)) {
        status = WskRegister(&client, &wsklab.registration);
        registered = NT_SUCCESS(status);
    }
    if (NT_SUCCESS(status))
        status = WskCaptureProviderNPI(&wsklab.registration, TWIN(WAITS_FOR_PROVIDER) ? WSK_INFINITE_WAIT : CAPTURE_MS,
                                       &wsklab.provider);
    if (!NT_SUCCESS(status)) {
        undo(registered);
        log_stop();
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = on_open_or_close;
    driver->MajorFunction[IRP_MJ_CLOSE] = on_open_or_close;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = on_control;
    driver->DriverUnload = on_unload;
    wsklab.base = (ULONG_PTR)driver->DriverStart;
    log_line(0, "ev=load ver=%u build=%s", WSKLAB_PROTOCOL, log_build());
    return STATUS_SUCCESS;
}
