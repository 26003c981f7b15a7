/*
 * system.c - ping {token} -> {token, time_ms}, versions -> {system, agent}, set_time {unix_ms} -> {time_ms}.
 */
#include "system.h"

#include <stdio.h>

#define UNIX_EPOCH_MS 11644473600000ll /* since 1601, where Windows counts from */

typedef VOID(WINAPI *SYSTEM_TIME)(FILETIME *);

static int64_t now_ms(void)
{
    static SYSTEM_TIME system_time;
    FILETIME time;
    if (!system_time) { /* the plain one may be old in a guest just restored; systems before Windows 8 have no other */
        HMODULE kernel = GetModuleHandleA("kernel32.dll");
        system_time = (SYSTEM_TIME)(void *)GetProcAddress(kernel, "GetSystemTimePreciseAsFileTime");
        if (!system_time)
            system_time = GetSystemTimeAsFileTime;
    }
    system_time(&time);
    int64_t units = (int64_t)((uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime);
    return units / 10000 - UNIX_EPOCH_MS;
}

typedef const char *(__cdecl *WINE_VERSION)(void);

/* NULL on Windows. */
static WINE_VERSION wine_version(void)
{
    return (WINE_VERSION)(void *)GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version");
}

/* "wine 8.0" or "windows 10.0.19045". */
void system_text(char *text, size_t size)
{
    typedef LONG(WINAPI * RTL_VERSION)(OSVERSIONINFOW *);
    HMODULE ntdll = GetModuleHandleA("ntdll.dll");
    WINE_VERSION wine = wine_version();
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

/* Wine sets no clock (ERROR_PRIVILEGE_NOT_HELD, whoever asks); the Linux under it does: clock_settime(2). */
static bool set_linux_time(int64_t unix_ms)
{
#ifndef __x86_64__
    (void)unix_ms; /* our Wine is of 64 bits */
    return false;
#else
    enum { SYS_clock_settime = 227, LX_CLOCK_REALTIME = 0 };
    int64_t time[2] = {unix_ms / 1000, unix_ms % 1000 * 1000000}; /* struct timespec */
    int64_t result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((int64_t)SYS_clock_settime), "D"((int64_t)LX_CLOCK_REALTIME), "S"(time)
                     : "rcx", "r11", "memory");
    return result == 0;
#endif
}

DWORD op_set_time(CALL *call)
{
    int64_t unix_ms;
    if (!json_number(call->request, "unix_ms", &unix_ms) || unix_ms < 0)
        return refuse(call, ERROR_INVALID_PARAMETER, "set_time needs unix_ms");
    uint64_t units = (uint64_t)(unix_ms + UNIX_EPOCH_MS) * 10000;
    FILETIME time = {.dwLowDateTime = (DWORD)units, .dwHighDateTime = (DWORD)(units >> 32)};
    SYSTEMTIME system;
    bool set =
        wine_version() ? set_linux_time(unix_ms) : FileTimeToSystemTime(&time, &system) && SetSystemTime(&system);
    if (!set)
        return wine_version() ? refuse(call, ERROR_PRIVILEGE_NOT_HELD, "Linux did not set its clock") : GetLastError();
    json_put_number(call->reply, "time_ms", now_ms());
    return ERROR_SUCCESS;
}
