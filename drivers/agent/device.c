/*
 * device.c - ioctl {device, code, in, out, timeout_ms} and close_device {device}.
 *
 * Device handles stay open. A call that does not complete in time is cancelled; if even that does not bring it
 * back, its buffers are left to it and the agent goes on (see also watch.c): a hung driver must not hang the lab.
 */
#include "device.h"
#include "watch.h"

#define DEVICES 8
#define IOCTL_MS 10000
#define CANCEL_MS 2000
#define STUCK_MS 1000 /* more than that over the time is no waiting, but a thread that is stuck */

typedef struct DEVICE {
    char name[128];
    HANDLE handle; /* NULL: unused */
} DEVICE;

typedef struct TRANSFER {
    OVERLAPPED overlapped;
    uint8_t in[DATA_BYTES];
    uint8_t out[DATA_BYTES];
} TRANSFER;

static DEVICE devices[DEVICES];
static TRANSFER *kept; /* used again by the next call, unless a driver still holds it */

static DEVICE *find(const char *name)
{
    for (size_t i = 0; i < DEVICES; i++) {
        if (devices[i].handle && strcmp(devices[i].name, name) == 0)
            return &devices[i];
    }
    return NULL;
}

static void close_one(DEVICE *device)
{
    CloseHandle(device->handle);
    device->handle = NULL;
}

void devices_close(void)
{
    for (size_t i = 0; i < DEVICES; i++) {
        if (devices[i].handle)
            close_one(&devices[i]);
    }
}

void devices_forget(void)
{
    kept = NULL;
    memset(devices, 0, sizeof devices);
}

static DWORD open_device(CALL *call, const char *name, DEVICE **opened)
{
    *opened = find(name);
    if (*opened)
        return ERROR_SUCCESS;
    for (size_t i = 0; i < DEVICES; i++) {
        if (devices[i].handle)
            continue;
        if (strlen(name) >= sizeof devices[i].name)
            return refuse(call, ERROR_INVALID_NAME, "the device's name is too long");
        HANDLE handle = CreateFileA(name, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                                    OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
        if (handle == INVALID_HANDLE_VALUE)
            return GetLastError();
        strcpy(devices[i].name, name);
        devices[i].handle = handle;
        *opened = &devices[i];
        return ERROR_SUCCESS;
    }
    return refuse(call, ERROR_TOO_MANY_OPEN_FILES, "too many devices are open");
}

static DWORD transfer(CALL *call, HANDLE device, TRANSFER *transfer, DWORD code, DWORD in, DWORD out, bool *back)
{
    DWORD got = 0;
    *back = true;
    if (!DeviceIoControl(device, code, transfer->in, in, transfer->out, out, NULL, &transfer->overlapped)) {
        DWORD error = GetLastError();
        if (error != ERROR_IO_PENDING)
            return error;
        if (WaitForSingleObject(transfer->overlapped.hEvent, timeout_of(call, IOCTL_MS)) != WAIT_OBJECT_0) {
            CancelIo(device);
            *back = WaitForSingleObject(transfer->overlapped.hEvent, CANCEL_MS) == WAIT_OBJECT_0;
            return refuse(call, ERROR_TIMEOUT, "the driver did not complete the ioctl in time");
        }
    }
    if (!GetOverlappedResult(device, &transfer->overlapped, &got, TRUE))
        return GetLastError();
    json_put_data(call->reply, "out", transfer->out, got);
    return ERROR_SUCCESS;
}

DWORD op_ioctl(CALL *call)
{
    const char *name = json_text(call->request, "device");
    const char *in_text = json_text(call->request, "in");
    int64_t code, out = 0;
    if (!name || !json_number(call->request, "code", &code))
        return refuse(call, ERROR_INVALID_PARAMETER, "ioctl needs a device and a code");
    (void)json_number(call->request, "out", &out);
    if (out < 0 || out > DATA_BYTES)
        return refuse(call, ERROR_INVALID_PARAMETER, "out is not a possible size");
    if (!kept) {
        kept = VirtualAlloc(NULL, sizeof *kept, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
        if (!kept)
            return ERROR_NOT_ENOUGH_MEMORY;
        kept->overlapped.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
    }
    ptrdiff_t in = in_text ? data_read(in_text, kept->in, sizeof kept->in) : 0;
    if (in < 0)
        return refuse(call, ERROR_INVALID_PARAMETER, "in is no data, or too long");
    DEVICE *device;
    watch_begin(timeout_of(call, IOCTL_MS) + CANCEL_MS + STUCK_MS);
    DWORD error = open_device(call, name, &device);
    bool back = true;
    if (!error)
        error = transfer(call, device->handle, kept, (DWORD)code, (DWORD)in, (DWORD)out, &back);
    watch_end();
    if (!back)
        kept = NULL;
    return error;
}

DWORD op_close_device(CALL *call)
{
    const char *name = json_text(call->request, "device");
    if (!name)
        return refuse(call, ERROR_INVALID_PARAMETER, "close_device needs a device");
    DEVICE *device = find(name);
    if (device)
        close_one(device);
    return ERROR_SUCCESS;
}
