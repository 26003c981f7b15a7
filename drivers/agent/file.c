/*
 * file.c - get {path, offset, length} -> {data, size} and put {path, offset, data} -> {size}.
 *
 * Data (see reply.h) is at most DATA_BYTES at a time. put with offset 0 makes the file anew.
 */
#include "file.h"

static uint8_t block[DATA_BYTES];

static DWORD seek(HANDLE file, int64_t offset, int64_t *size)
{
    LARGE_INTEGER position = {.QuadPart = offset}, length;
    if (!GetFileSizeEx(file, &length) || !SetFilePointerEx(file, position, NULL, FILE_BEGIN))
        return GetLastError();
    *size = length.QuadPart;
    return ERROR_SUCCESS;
}

DWORD op_get(CALL *call)
{
    const char *path = json_text(call->request, "path");
    int64_t offset = 0, length = DATA_BYTES, size = 0;
    (void)json_number(call->request, "offset", &offset);
    (void)json_number(call->request, "length", &length);
    if (!path || offset < 0 || length < 0)
        return refuse(call, ERROR_INVALID_PARAMETER, "get needs a path, an offset and a length");
    if (length > DATA_BYTES)
        length = DATA_BYTES;
    HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                              OPEN_EXISTING, 0, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return GetLastError();
    DWORD got = 0;
    DWORD error = seek(file, offset, &size);
    if (!error && !ReadFile(file, block, (DWORD)length, &got, NULL))
        error = GetLastError();
    CloseHandle(file);
    if (!error) {
        json_put_number(call->reply, "size", size);
        json_put_data(call->reply, "data", block, got);
    }
    return error;
}

DWORD op_put(CALL *call)
{
    const char *path = json_text(call->request, "path");
    const char *data = json_text(call->request, "data");
    int64_t offset = 0, size = 0;
    (void)json_number(call->request, "offset", &offset);
    ptrdiff_t count = data ? data_read(data, block, sizeof block) : -1;
    if (!path || offset < 0 || count < 0)
        return refuse(call, ERROR_INVALID_PARAMETER, "put needs a path, an offset and data that is not too long");
    HANDLE file =
        CreateFileA(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, offset ? OPEN_ALWAYS : CREATE_ALWAYS, 0, NULL);
    if (file == INVALID_HANDLE_VALUE)
        return GetLastError();
    DWORD written = 0;
    DWORD error = seek(file, offset, &size);
    if (!error && !WriteFile(file, block, (DWORD)count, &written, NULL))
        error = GetLastError();
    if (!error)
        error = seek(file, 0, &size);
    CloseHandle(file);
    if (!error)
        json_put_number(call->reply, "size", size);
    return error;
}
