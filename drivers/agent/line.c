/*
 * line.c - the serial line: raw, 115200 8N1, read as soon as a byte is there.
 */
#include "line.h"

#define QUEUE_BYTES (64 * 1024) /* serial.sys has 4096 unless it is asked for more; what does not fit is lost */

static HANDLE port_handle = INVALID_HANDLE_VALUE;
static char pending[16 * 1024]; /* read and not yet handed out */
static DWORD pending_at, pending_end;

bool line_open(const char *port)
{
    char path[64];
    if (strlen(port) > sizeof path - 5) {
        SetLastError(ERROR_INVALID_NAME);
        return false;
    }
    strcpy(path, "\\\\.\\");
    strcat(path, port);
    port_handle = CreateFileA(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    if (port_handle == INVALID_HANDLE_VALUE)
        return false;

    (void)SetupComm(port_handle, QUEUE_BYTES, QUEUE_BYTES); /* a wish: requests come in pieces that need less */
    DCB state = {.DCBlength = sizeof state};
    if (!GetCommState(port_handle, &state)) /* for what is not named below: a zero XonChar and XoffChar are refused */
        return false;
    state.BaudRate = CBR_115200;
    state.ByteSize = 8;
    state.Parity = NOPARITY;
    state.StopBits = ONESTOPBIT;
    state.fBinary = TRUE;
    state.fParity = state.fNull = state.fErrorChar = state.fAbortOnError = FALSE;
    state.fOutX = state.fInX = state.fOutxCtsFlow = state.fOutxDsrFlow = state.fDsrSensitivity = FALSE;
    state.fDtrControl = DTR_CONTROL_ENABLE;
    state.fRtsControl = RTS_CONTROL_ENABLE;
    COMMTIMEOUTS waits = {0}; /* a read waits until it has all it asked for */
    return SetCommState(port_handle, &state) && SetCommTimeouts(port_handle, &waits);
}

/*
 * Waits for one byte, then takes what else has come. The time-outs documented for "return with what there is,
 * but wait for the first byte" would do this in one call, but Wine waits for the whole buffer then (measured).
 */
static bool fill(void)
{
    COMSTAT queue = {0};
    DWORD errors, more = 0;
    pending_at = pending_end = 0;
    if (!ReadFile(port_handle, pending, 1, &pending_end, NULL) || pending_end == 0)
        return false;
    if (ClearCommError(port_handle, &errors, &queue) && queue.cbInQue) {
        DWORD want = queue.cbInQue < sizeof pending - 1 ? queue.cbInQue : sizeof pending - 1;
        if (ReadFile(port_handle, pending + 1, want, &more, NULL))
            pending_end += more;
    }
    return true;
}

/* One line without its end, as a string. A line that does not fit is read to its end and given up. */
bool line_read(char *line, size_t size, bool *too_long)
{
    size_t used = 0;
    *too_long = false;
    for (;;) {
        if (pending_at == pending_end && !fill())
            return false;
        char c = pending[pending_at++];
        if (c == '\n')
            break;
        if (used + 1 < size)
            line[used++] = c;
        else
            *too_long = true;
    }
    line[used] = 0;
    return true;
}

bool line_write(const char *text, size_t length)
{
    while (length) {
        DWORD written;
        if (!WriteFile(port_handle, text, (DWORD)length, &written, NULL))
            return false;
        text += written;
        length -= written;
    }
    return true;
}
