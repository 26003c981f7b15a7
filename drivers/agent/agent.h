/*
 * agent.h - wskagent.exe: the lab's hand inside the target, on Windows and in Wine.
 *
 * It answers one-line JSON requests on a serial line, one after the other, for ever:
 *   {"id":7,"op":"ping","token":"x"}  ->  {"id":7,"ok":true,"token":"x","time_ms":1700000000000}
 *   failure                           ->  {"id":7,"ok":false,"error":"what went wrong","code":2}
 * A request that comes twice is done once and answered twice. What was no whole request is answered with
 * {"damaged":1}, a piece of a long one with {"more":bytes so far} (frame.h).
 *
 *   agent.c    the requests and the table of operations
 *   frame.c    the lines in which requests come; common/json reads them
 *   reply.c    the answers, and data in strings
 *   line.c     the serial line
 *   device.c   ioctl, close_device
 *   service.c  service
 *   program.c  run
 *   file.c     get, put
 *   system.c   ping, versions, set_time
 *   watch.c    replaces a thread that is stuck in a driver
 *
 * An operation returns a Win32 error code, 0 for success, and may give the sentence for a failure itself.
 */
#ifndef WSKAGENT_H
#define WSKAGENT_H

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

#include "frame.h"
#include "reply.h"

#define AGENT_VERSION 2
#define LINE_BYTES (1024 * 1024)   /* the longest request */
#define DATA_BYTES (256 * 1024)    /* the most bytes in one answer or one block of a file */
#define REPLY_BYTES (3 * DATA_BYTES + 4096)

typedef struct CALL {
    const JSON_OBJECT *request;
    JSON_WRITER *reply;
    const char *error; /* NULL: the system's own text for the code */
} CALL;

typedef DWORD OPERATION_FUNCTION(CALL *call);

OPERATION_FUNCTION op_ping, op_versions, op_set_time;
OPERATION_FUNCTION op_ioctl, op_close_device;
OPERATION_FUNCTION op_service;
OPERATION_FUNCTION op_run;
OPERATION_FUNCTION op_get, op_put;

/* A failure with a sentence of ours. */
DWORD refuse(CALL *call, DWORD code, const char *error);

/* Requests with a bounded wait: `timeout_ms`, or `usual`. */
DWORD timeout_of(const CALL *call, DWORD usual);

/* line.c: `port` like "COM2". False with the reason in GetLastError. */
bool line_open(const char *port);
bool line_read(char *line, size_t size, bool *too_long); /* false: the line is gone */
bool line_write(const char *text, size_t length);

/* watch.c: between begin and end the thread is given up after `limit_ms`; end does not return to a thread given up. */
bool watch_start(void);
void watch_begin(DWORD limit_ms);
void watch_end(void);
void serve_after_timeout(
    void); /* agent.c: answers the request in progress, then serves; returns when the line is gone */

void devices_close(void);
void devices_forget(void); /* what a stuck call uses is left to it */
void system_text(char *text, size_t size);

#endif
