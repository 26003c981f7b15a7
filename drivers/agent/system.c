/*
 * system.c - ping {token} -> {token, time_ms}, versions -> {system, agent}, set_time {unix_ms}.
 */
#include "agent.h"

#include <stdio.h>

#define UNIX_EPOCH_MS 11644473600000ll /* since 1601, where Windows counts from */

static int64_t now_ms(void)
{
    FILETIME time;
    GetSystemTimePreciseAsFileTime(&time); /* the plain one may be old in a guest just restored */
    int64_t units = (int64_t)((uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime);
    return units / 10000 - UNIX_EPOCH_MS;
}

/* "wine 8.0" or "windows 10.0.19045". */
void system_text(char *text, size_t size)
{
    typedef const char *(__cdecl * WINE_VERSION)(void);
    typedef LONG(WINAPI * RTL_VERSION)(OSVERSIONINFOW *);
    HMODULE ntdll = GetModuleHandleA("ntdll.dll");
    WINE_VERSION wine = (WINE_VERSION)(void *)GetProcAddress(ntdll, "wine_get_version");
    RTL_VERSION windows = (RTL_VERSION)(void *)GetProcAddress(ntdll, "RtlGetVersion");
    OSVERSIONINFOW version = {.dwOSVersionInfoSize = sizeof version};
    if (wine)
        snprintf(text, size, "wine %s", wine());
    else if (windows && windows(&version) == 0)
        snprintf(text, size, "windows %lu.%lu.%lu", version.dwMajorVersion, version.dwMinorVersion,
                 version.dwBuildNumber);
    else
        snprintf(text, size, "unknown");
}

DWORD op_ping(CALL *call)
{
    const char *token = json_text(call->request, "token");
    json_put_text(call->reply, "token", token ? token : "");
    json_put_number(call->reply, "time_ms", now_ms());
    return ERROR_SUCCESS;
}

DWORD op_versions(CALL *call)
{
    char text[128];
    system_text(text, sizeof text);
    json_put_text(call->reply, "system", text);
    json_put_number(call->reply, "agent", AGENT_VERSION);
    return ERROR_SUCCESS;
}

DWORD op_set_time(CALL *call)
{
    int64_t unix_ms;
    if (!json_number(call->request, "unix_ms", &unix_ms) || unix_ms < 0)
        return refuse(call, ERROR_INVALID_PARAMETER, "set_time needs unix_ms");
    uint64_t units = (uint64_t)(unix_ms + UNIX_EPOCH_MS) * 10000;
    FILETIME time = {.dwLowDateTime = (DWORD)units, .dwHighDateTime = (DWORD)(units >> 32)};
    SYSTEMTIME system;
    if (!FileTimeToSystemTime(&time, &system) || !SetSystemTime(&system))
        return GetLastError();
    return ERROR_SUCCESS;
}
