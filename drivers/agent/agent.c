/*
 * agent.c - wskagent.exe: the lab's hand inside the target, on Windows and in Wine.
 * Usage: wskagent.exe [PORT], where PORT is COM2 unless given.
 *
 * It answers one-line JSON requests on a serial line, one after the other, for ever:
 *   {"id":7,"op":"ping","token":"x"}  ->  {"id":7,"ok":true,"token":"x","time_ms":1700000000000}
 *   failure                           ->  {"id":7,"ok":false,"error":"what went wrong","code":2}
 * A request that comes twice is done once and answered twice. What was no whole request is answered with
 * {"damaged":1}, a piece of a long one with {"more":bytes so far} (frame.h).
 *
 *   agent.c    the requests and the table of operations; includes all others, and no other includes it
 *   call.c     what the operations share
 *   frame.c    the lines in which requests come; common/json reads them
 *   reply.c    the answers, and data in strings
 *   line.c     the serial line
 *   device.c   ioctl, close_device
 *   service.c  service
 *   program.c  run
 *   file.c     get, put
 *   system.c   ping, versions, set_time
 *   watch.c    replaces a thread that is stuck in a driver
 */
#include "device.h"
#include "file.h"
#include "frame.h"
#include "line.h"
#include "program.h"
#include "service.h"
#include "system.h"
#include "watch.h"

#include <stdio.h>

#define LINE_BYTES (1024 * 1024) /* the longest request */
#define REPLY_BYTES (3 * DATA_BYTES + 4096)

static char line[LINE_BYTES];
static char request_text[LINE_BYTES];
static FRAME frame = {.text = request_text, .size = sizeof request_text};
static char reply_text[REPLY_BYTES];
static size_t reply_used;      /* bytes of the last answer, kept for a request that comes again */
static int64_t current_id;     /* of the request in progress, or of the last one */
static uint32_t current_check; /* 0: it had none, and is never taken for another */

static const struct {
    const char *name;
    OPERATION_FUNCTION *function;
} operations[] = {
    {"ping", op_ping},         {"versions", op_versions}, {"ioctl", op_ioctl}, {"close_device", op_close_device},
    {"service", op_service},   {"run", op_run},           {"get", op_get},     {"put", op_put},
    {"set_time", op_set_time},
};

static DWORD execute(CALL *call)
{
    const char *name = json_text(call->request, "op");
    if (!name)
        return refuse(call, ERROR_INVALID_PARAMETER, "the request has no op");
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (strcmp(name, operations[i].name) == 0)
            return operations[i].function(call);
    }
    return refuse(call, ERROR_CALL_NOT_IMPLEMENTED, "no such op");
}

static void start_reply(JSON_WRITER *reply, int64_t id, bool ok)
{
    json_start(reply, reply_text, sizeof reply_text);
    json_put_number(reply, "id", id);
    json_put_bool(reply, "ok", ok);
}

static void put_error(JSON_WRITER *reply, DWORD code, const char *error)
{
    char text[256] = "";
    if (!error) {
        DWORD length = FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, code, 0, text,
                                      sizeof text, NULL);
        while (length && (unsigned char)text[length - 1] <= ' ')
            text[--length] = 0;
        error = length ? text : "the system gives no text for this code";
    }
    json_put_text(reply, "error", error);
    json_put_number(reply, "code", code);
}

static bool send_reply(const JSON_WRITER *reply)
{
    reply_used = reply->used;
    return line_write(reply_text, reply_used);
}

static bool answer_failure(DWORD code, const char *error)
{
    JSON_WRITER reply;
    start_reply(&reply, current_id, false);
    put_error(&reply, code, error);
    json_end(&reply);
    return send_reply(&reply);
}

static bool answer(void)
{
    JSON_OBJECT request = {.count = 0};
    JSON_WRITER reply;
    CALL call = {.request = &request, .reply = &reply};
    int64_t id = 0;
    const char *wrong = json_read(request_text, &request);
    (void)json_number(&request, "id", &id);
    if (!wrong && frame.check && frame.check == current_check && id == current_id)
        return line_write(reply_text, reply_used);
    current_id = wrong ? 0 : id;
    current_check = wrong ? 0 : frame.check;
    if (wrong)
        return answer_failure(ERROR_INVALID_DATA, wrong);

    start_reply(&reply, current_id, true);
    DWORD code = execute(&call);
    if (code)
        return answer_failure(code, call.error);
    json_end(&reply);
    if (reply.cut)
        return answer_failure(ERROR_INSUFFICIENT_BUFFER, "the answer is too long");
    return send_reply(&reply);
}

static bool confirm_piece(void)
{
    char text[32];
    return line_write(text, (size_t)snprintf(text, sizeof text, "{\"more\":%u}\n", (unsigned)frame.used));
}

static void serve(void)
{
    static const char damaged[] = "{\"damaged\":1}\n";
    bool going = true, too_long;
    while (going && line_read(line, sizeof line, &too_long)) {
        switch (frame_take(&frame, line, too_long)) {
        case FRAME_NOTHING:
            break;
        case FRAME_PIECE:
            going = confirm_piece();
            break;
        case FRAME_REQUEST:
            going = answer();
            break;
        case FRAME_DAMAGED:
            going = line_write(damaged, sizeof damaged - 1);
            break;
        }
    }
    fprintf(stderr, "wskagent: the serial line is gone: error %lu\n", GetLastError());
}

/* In place of a thread that is stuck in a driver: answers the request in progress, then serves. */
static void serve_after_timeout(void)
{
    devices_forget();
    if (watch_start(serve_after_timeout) &&
        answer_failure(ERROR_TIMEOUT, "the driver did not return from the ioctl in time"))
        serve();
}

static bool hello(void)
{
    char text[192], system[128];
    system_text(system, sizeof system);
    int length = snprintf(text, sizeof text, "{\"hello\":{\"agent\":%d,\"system\":\"%s\",\"pid\":%lu}}\n",
                          AGENT_VERSION, system, GetCurrentProcessId());
    return line_write(text, (size_t)length);
}

int main(int argc, char **argv)
{
    const char *port = argc > 1 ? argv[1] : "COM2";
    if (!line_open(port)) {
        fprintf(stderr, "wskagent: cannot open %s: error %lu\n", port, GetLastError());
        return 1;
    }
    if (watch_start(serve_after_timeout) && hello())
        serve();
    return 1;
}
