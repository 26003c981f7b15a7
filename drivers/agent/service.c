/*
 * service.c - service {action: create|start|stop|delete|query, name, path, timeout_ms} -> {state, pid}.
 *
 * Start and stop call the driver's own entry and unload routines and may never return, so they run in a
 * thread that is given up after its time: the agent stays alive to report a driver that hangs.
 */
#include "service.h"
#include "device.h"

#define SERVICE_MS 30000

typedef struct JOB {
    char action[16];
    char name[64];
    char path[MAX_PATH];
    DWORD error;
    SERVICE_STATUS_PROCESS status;
} JOB;

static DWORD wait_for(SC_HANDLE service, DWORD pending, SERVICE_STATUS_PROCESS *status)
{
    DWORD needed;
    for (;;) { /* the service manager has nothing to wait on; the thread's own time limit ends this */
        if (!QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)status, sizeof *status, &needed))
            return GetLastError();
        if (status->dwCurrentState != pending)
            return ERROR_SUCCESS;
        Sleep(10);
    }
}

static DWORD create(SC_HANDLE manager, const JOB *job)
{
    SC_HANDLE service =
        CreateServiceA(manager, job->name, job->name, SERVICE_ALL_ACCESS, SERVICE_KERNEL_DRIVER, SERVICE_DEMAND_START,
                       SERVICE_ERROR_NORMAL, job->path, NULL, NULL, NULL, NULL, NULL);
    if (!service)
        return GetLastError();
    CloseServiceHandle(service);
    return ERROR_SUCCESS;
}

static DWORD act(SC_HANDLE service, JOB *job)
{
    SERVICE_STATUS ignored;
    if (strcmp(job->action, "start") == 0) {
        if (!StartServiceA(service, 0, NULL))
            return GetLastError();
        return wait_for(service, SERVICE_START_PENDING, &job->status);
    }
    if (strcmp(job->action, "stop") == 0) {
        if (!ControlService(service, SERVICE_CONTROL_STOP, &ignored))
            return GetLastError();
        return wait_for(service, SERVICE_STOP_PENDING, &job->status);
    }
    if (strcmp(job->action, "delete") == 0)
        return DeleteService(service) ? ERROR_SUCCESS : GetLastError();
    if (strcmp(job->action, "query") == 0)
        return wait_for(service, 0, &job->status);
    return ERROR_INVALID_PARAMETER;
}

static DWORD WINAPI work(void *argument)
{
    JOB *job = argument;
    SC_HANDLE manager = OpenSCManagerA(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    if (!manager) {
        job->error = GetLastError();
        return 0;
    }
    if (strcmp(job->action, "create") == 0) {
        job->error = create(manager, job);
    } else {
        SC_HANDLE service = OpenServiceA(manager, job->name, SERVICE_ALL_ACCESS);
        job->error = service ? act(service, job) : GetLastError();
        if (service)
            CloseServiceHandle(service);
    }
    CloseServiceHandle(manager);
    return 0;
}

static const char *state_name(DWORD state)
{
    static const char *const names[] = {"stopped", "stopped",          "start_pending", "stop_pending",
                                        "running", "continue_pending", "pause_pending", "paused"};
    return state < sizeof names / sizeof *names ? names[state] : "unknown";
}

/* False when the text is missing or too long. */
static bool take(const CALL *call, const char *name, char *to, size_t size)
{
    const char *text = json_text(call->request, name);
    if (!text || strlen(text) >= size)
        return false;
    strcpy(to, text);
    return true;
}

DWORD op_service(CALL *call)
{
    JOB *job = HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, sizeof *job);
    if (!job)
        return ERROR_NOT_ENOUGH_MEMORY;
    if (!take(call, "action", job->action, sizeof job->action) || !take(call, "name", job->name, sizeof job->name) ||
        (strcmp(job->action, "create") == 0 && !take(call, "path", job->path, sizeof job->path))) {
        HeapFree(GetProcessHeap(), 0, job);
        return refuse(call, ERROR_INVALID_PARAMETER, "service needs an action, a name and, to create, a path");
    }
    if (strcmp(job->action, "stop") == 0)
        devices_close(); /* Windows unloads no driver whose device is open */
    HANDLE thread = CreateThread(NULL, 0, work, job, 0, NULL);
    if (!thread) {
        HeapFree(GetProcessHeap(), 0, job);
        return ERROR_NOT_ENOUGH_MEMORY;
    }
    DWORD waited = WaitForSingleObject(thread, timeout_of(call, SERVICE_MS));
    CloseHandle(thread);
    if (waited != WAIT_OBJECT_0)
        return refuse(call, ERROR_TIMEOUT, "the service did not do it in time"); /* the thread keeps the job */
    DWORD error = job->error;
    if (!error) {
        json_put_text(call->reply, "state", state_name(job->status.dwCurrentState));
        json_put_number(call->reply, "pid", job->status.dwProcessId);
    }
    HeapFree(GetProcessHeap(), 0, job);
    return error;
}
