/*
 * program.c - run {command, timeout_ms} -> {exit, output}: output (see reply.h) is the last 64 KiB of both streams.
 */
#include "program.h"

#define RUN_MS 30000
#define OUTPUT_BYTES (64 * 1024)
#define DRAIN_MS 1000 /* for output on its way when the program is gone; its children may keep the pipe open */

typedef struct OUTPUT {
    CRITICAL_SECTION lock;
    HANDLE pipe;
    uint8_t ring[OUTPUT_BYTES];
    uint64_t total;
    volatile LONG references; /* the reader's and the caller's */
} OUTPUT;

static void drop(OUTPUT *output)
{
    if (InterlockedDecrement(&output->references) != 0)
        return;
    CloseHandle(output->pipe);
    DeleteCriticalSection(&output->lock);
    HeapFree(GetProcessHeap(), 0, output);
}

static DWORD WINAPI read_output(void *argument)
{
    OUTPUT *output = argument;
    uint8_t block[4096];
    DWORD got;
    while (ReadFile(output->pipe, block, sizeof block, &got, NULL) && got) {
        EnterCriticalSection(&output->lock);
        for (DWORD i = 0; i < got; i++)
            output->ring[output->total++ % OUTPUT_BYTES] = block[i];
        LeaveCriticalSection(&output->lock);
    }
    drop(output);
    return 0;
}

static void put_output(CALL *call, OUTPUT *output)
{
    static uint8_t tail[OUTPUT_BYTES];
    EnterCriticalSection(&output->lock);
    uint64_t count = output->total < OUTPUT_BYTES ? output->total : OUTPUT_BYTES;
    for (uint64_t i = 0; i < count; i++)
        tail[i] = output->ring[(output->total - count + i) % OUTPUT_BYTES];
    LeaveCriticalSection(&output->lock);
    json_put_data(call->reply, "output", tail, (size_t)count);
}

/* Starts the program with `pipe` as its output. */
static DWORD start(const char *command, HANDLE pipe, HANDLE *process)
{
    static char editable[8192]; /* CreateProcess may write into it */
    if (strlen(command) >= sizeof editable)
        return ERROR_FILENAME_EXCED_RANGE;
    strcpy(editable, command);
    STARTUPINFOA startup = {
        .cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES, .hStdOutput = pipe, .hStdError = pipe};
    PROCESS_INFORMATION information;
    if (!CreateProcessA(NULL, editable, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, NULL, &startup, &information))
        return GetLastError();
    CloseHandle(information.hThread);
    *process = information.hProcess;
    return ERROR_SUCCESS;
}

DWORD op_run(CALL *call)
{
    const char *command = json_text(call->request, "command");
    if (!command)
        return refuse(call, ERROR_INVALID_PARAMETER, "run needs a command");
    SECURITY_ATTRIBUTES inherit = {.nLength = sizeof inherit, .bInheritHandle = TRUE};
    HANDLE write_end, process = NULL;
    OUTPUT *output = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof *output);
    if (!output)
        return ERROR_NOT_ENOUGH_MEMORY;
    if (!CreatePipe(&output->pipe, &write_end, &inherit, 0)) {
        DWORD code = GetLastError();
        HeapFree(GetProcessHeap(), 0, output);
        return code;
    }
    SetHandleInformation(output->pipe, HANDLE_FLAG_INHERIT, 0);
    InitializeCriticalSection(&output->lock);
    output->references = 2;
    DWORD error = start(command, write_end, &process);
    CloseHandle(write_end); /* so that reading ends with the program */
    HANDLE reader = CreateThread(NULL, 0, read_output, output, 0, NULL);
    if (!reader)
        drop(output);

    if (!error) {
        DWORD code = 0;
        bool ended = WaitForSingleObject(process, timeout_of(call, RUN_MS)) == WAIT_OBJECT_0;
        if (!ended) {
            TerminateProcess(process, ERROR_TIMEOUT);
            error = refuse(call, ERROR_TIMEOUT, "the program did not end in time and was stopped");
        }
        if (reader)
            WaitForSingleObject(reader, DRAIN_MS);
        if (ended && GetExitCodeProcess(process, &code)) {
            json_put_number(call->reply, "exit", (int32_t)code);
            put_output(call, output);
        }
        CloseHandle(process);
    }
    if (reader)
        CloseHandle(reader);
    drop(output);
    return error;
}
