/*
 * watch.c - a call that never returns must not end the agent.
 *
 * An overlapped ioctl returns at once on Windows, but in Wine not before the driver's dispatch routine does
 * (measured). So a second thread looks whether the call in progress is over its time; then it answers for the
 * stuck thread and serves in its place. A stuck thread that comes back after all finds itself replaced and ends.
 */
#include "watch.h"

#define LOOK_MS 200

static volatile LONG busy; /* 1: a call is in progress; who sets it back to 0 goes on serving */
static volatile LONG deadline; /* of GetTickCount, which starts over after 49 days: only differences count */

static void (*replacement)(void);

static DWORD WINAPI look(void *unused)
{
    (void)unused;
    for (;;) {
        Sleep(LOOK_MS); /* there is nothing to wait on: the one who could signal is stuck */
        if (busy && (LONG)(GetTickCount() - (DWORD)deadline) > 0 && InterlockedCompareExchange(&busy, 0, 1) == 1)
            break;
    }
    replacement();
    ExitProcess(1);
}

bool watch_start(void (*replace)(void))
{
    replacement = replace;
    HANDLE thread = CreateThread(NULL, 0, look, NULL, 0, NULL);
    if (thread)
        CloseHandle(thread);
    return thread != NULL;
}

void watch_begin(DWORD limit_ms)
{
    InterlockedExchange(&deadline, (LONG)(GetTickCount() + limit_ms));
    InterlockedExchange(&busy, 1);
}

void watch_end(void)
{
    if (InterlockedCompareExchange(&busy, 0, 1) != 1)
        ExitThread(0);
}
