/*
 * peer: the other end of the driver's connections. It does to TCP sockets what it is told, and says what it saw.
 *
 * Standard input takes one flat JSON object per line, standard output answers each with one line, in order:
 *
 *   {"hello":1,"pid":4711}                                                        first of all
 *   {"id":1,"do":"listen","port":0}           -> {"id":1,"ok":true,"port":40001,"t":1700000000000000000}
 *   {"id":2,"do":"receive","bytes":9}         -> {"id":2,"ok":false,"bytes":4,"sum":"7f9b12c0","error":"...","errno":104,"t":...}
 *
 * t is CLOCK_REALTIME in ns. Lines may be sent ahead: "accept" and "close" in one write close the connection
 * the moment it is there. Waiting requests take "timeout_ms" (5000); when it is over they fail with errno 110 (ETIMEDOUT).
 * SIGUSR1 ends the wait of the request that is under way as if its time were over; what is there already is still taken.
 * At the end of input the program exits; its sockets then close as the kernel closes them.
 *
 * Sockets have names: "sock" (a string or an integer) is "0" unless given, a listener's is "listener".
 *
 *   listen       family ipv4|ipv6, host, port, backlog                    -> port
 *   accept       from (listener), sock                                    -> host, port (of the other side)
 *   connect      host, port, local_port                                   -> port (own)
 *   send         bytes, seed | hex; full: stop when the buffer is full    -> bytes, sum
 *                  byte i is (seed + i) & 0xff; sum is FNV-1a, 32 bits
 *   receive      bytes: exactly so many | until: eof|now                  -> bytes, sum, eof, hex (up to 64 bytes)
 *   await        for: readable|eof|reset, reading nothing                 -> reset (errno); fails if it ends otherwise
 *   shutdown     how: read|write|both
 *   close        linger: seconds, or null for off                         any socket, listeners too
 *   option       linger, nodelay, cork, keepalive, keepidle, keepintvl, keepcnt, user_timeout_ms, rcvbuf, sndbuf,
 *                  quickack, linger2, window_clamp                        several at once
 *   state                                                                 -> state, unread, unsent, unacked, retransmits
 *   repair_close                                                          the kernel forgets the connection, silently
 *   destroy                                                               SOCK_DESTROY, what `ss -K` does
 *   accept_many  from, into, count; sockets INTO0, INTO1...               -> ports (of the other sides)
 *   connect_many host, port, into, count                                  -> ports (own)
 *   close_many   into, count, how: close|reset|mixed, seed: order         -> order (which of INTO0...), ports (of the
 *                                                                            other sides), resets (0|1): in that order
 *   sysctl       name, value                                              -> was
 *   exit         code       kill    stop                                  answered first; kill and stop are signals to itself
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "peer.h"

enum { LINE_SIZE = 1 << 20 };

static JSON_OBJECT request;
static struct {
    const char *wrong; /* name of the first wrong argument */
    const char *error;
    int number;
} trouble;

long long number(const char *name, long long otherwise, long long least, long long most)
{
    const JSON_MEMBER *field = json_find(&request, name);
    if (!field)
        return otherwise;
    if (field->kind == JSON_NUMBER && field->number >= least && field->number <= most)
        return field->number;
    trouble.wrong = name;
    return otherwise;
}

long long number_or_null(const char *name, long long least, long long most)
{
    const JSON_MEMBER *field = json_find(&request, name);
    return field && field->kind == JSON_NULL ? -1 : number(name, -1, least, most);
}

/* A name may be a number too: {"sock": 3}. */
const char *text(const char *name, const char *otherwise)
{
    const JSON_MEMBER *field = json_find(&request, name);
    if (!field)
        return otherwise;
    if (field->kind == JSON_STRING || field->kind == JSON_NUMBER)
        return field->text;
    trouble.wrong = name;
    return otherwise;
}

bool flag(const char *name)
{
    const JSON_MEMBER *field = json_find(&request, name);
    if (field && field->kind != JSON_TRUE && field->kind != JSON_FALSE)
        trouble.wrong = name;
    return field && field->kind == JSON_TRUE;
}

bool given(const char *name)
{
    return json_find(&request, name);
}

bool good(void)
{
    static char complaint[80];
    if (!trouble.wrong)
        return true;
    snprintf(complaint, sizeof complaint, "%s has a wrong type or value", trouble.wrong);
    fail(complaint);
    return false;
}

void fail(const char *why)
{
    fail_errno(why, 0);
}

void fail_errno(const char *what, int error)
{
    if (!trouble.error) {
        trouble.error = what;
        trouble.number = error;
    }
}

void put_number(const char *name, long long value)
{
    printf(",\"%s\":%lld", name, value);
}

void put_text(const char *name, const char *value)
{
    char escape[JSON_ESCAPE];
    printf(",\"%s\":\"", name);
    for (; *value; value++) {
        size_t length = json_escape(*value, escape);
        fwrite(escape, 1, length, stdout);
    }
    putchar('"');
}

void put_true(const char *name)
{
    printf(",\"%s\":true", name);
}

void put_array(const char *name, const int *values, size_t count)
{
    printf(",\"%s\":[", name);
    for (size_t i = 0; i < count; i++)
        printf("%s%d", i ? "," : "", values[i]);
    putchar(']');
}

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t deadline(void)
{
    return now_ms() + number("timeout_ms", 5000, 0, 3600000);
}

static volatile sig_atomic_t hurried;

static void hurry(int signal)
{
    hurried = signal;
}

/* Blocked but while poll(2) waits, so that it cannot come between a look at `hurried` and the wait. */
static sigset_t only_hurry(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return set;
}

static void expect_hurry(void)
{
    sigset_t set = only_hurry();
    struct sigaction action = {.sa_handler = hurry};
    sigprocmask(SIG_BLOCK, &set, NULL);
    sigaction(SIGUSR1, &action, NULL);
}

/* A signal that was meant for the request before must not cut this one short. */
static void forget_hurry(void)
{
    static const struct timespec at_once;
    sigset_t set = only_hurry();
    while (sigtimedwait(&set, NULL, &at_once) > 0)
        ;
    hurried = 0;
}

int wait_for(int fd, int events, int64_t until)
{
    sigset_t none;
    sigemptyset(&none);
    for (;;) {
        struct pollfd poller = {.fd = fd, .events = (short)events};
        int64_t left = hurried ? 0 : until - now_ms();
        struct timespec most = {0};
        if (left > 0)
            most = (struct timespec){.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
        int ready = ppoll(&poller, 1, &most, &none);
        if (ready > 0)
            return poller.revents;
        if (ready == 0 && left <= 0)
            return 0;
    }
}

static void do_exit(void)
{
    number("code", 0, 0, 255);
    good();
}

static void do_nothing(void)
{
}

static const struct verb {
    const char *name;
    void (*act)(void);
    const char *fields; /* what may be given besides id and do */
} verbs[] = {
    {"listen", do_listen, " sock family host port backlog "},
    {"accept", do_accept, " from sock timeout_ms "},
    {"connect", do_connect, " sock host port local_port timeout_ms "},
    {"send", do_send, " sock bytes seed hex full timeout_ms "},
    {"receive", do_receive, " sock bytes until timeout_ms "},
    {"await", do_await, " sock for timeout_ms "},
    {"shutdown", do_shutdown, " sock how "},
    {"close", do_close, " sock linger "},
    {"option", do_option,
     " sock linger nodelay cork keepalive keepidle keepintvl keepcnt user_timeout_ms rcvbuf sndbuf"
     " quickack linger2 window_clamp "},
    {"state", do_state, " sock "},
    {"repair_close", do_repair_close, " sock "},
    {"destroy", do_destroy, " sock "},
    {"accept_many", do_accept_many, " from into count timeout_ms "},
    {"connect_many", do_connect_many, " host port into count timeout_ms "},
    {"close_many", do_close_many, " into count how seed "},
    {"sysctl", do_sysctl, " name value "},
    {"exit", do_exit, " code "},
    {"kill", do_nothing, ""},
    {"stop", do_nothing, ""},
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    fail("do must be one of the requests that this program knows");
    return NULL;
}

/* A misspelt field would otherwise leave a scenario silently different from what was meant. */
static bool knows_all_fields(const struct verb *verb)
{
    char padded[NAME_SIZE + 2];
    for (size_t i = 0; i < request.count; i++) {
        const char *name = request.members[i].name;
        if (!strcmp(name, "id") || !strcmp(name, "do"))
            continue;
        int length = snprintf(padded, sizeof padded, " %s ", name);
        if (length >= (int)sizeof padded || strchr(name, ' ') || !strstr(verb->fields, padded)) {
            fail("a field does not belong to this request");
            return false;
        }
    }
    return true;
}

static const struct verb *answer(char *line)
{
    struct timespec now;
    const struct verb *verb = NULL;
    memset(&trouble, 0, sizeof trouble);
    forget_hurry();
    const char *wrong = json_read(line, &request);
    if (wrong)
        request.count = 0;
    printf("{\"id\":");
    long long id = number("id", -1, 0, 1LL << 53);
    if (id < 0)
        printf("null");
    else
        printf("%lld", id);
    if (wrong)
        fail(wrong);
    else
        verb = find_verb(text("do", ""));
    if (verb && good() && knows_all_fields(verb))
        verb->act();
    printf(",\"ok\":%s", trouble.error ? "false" : "true");
    if (trouble.error)
        put_text("error", trouble.error);
    if (trouble.number)
        put_number("errno", trouble.number);
    clock_gettime(CLOCK_REALTIME, &now);
    put_number("t", now.tv_sec * 1000000000LL + now.tv_nsec);
    puts("}");
    fflush(stdout);
    return trouble.error ? NULL : verb;
}

/* What can only be done once the reply is out. */
static void act_on_itself(const struct verb *verb)
{
    if (!strcmp(verb->name, "exit"))
        exit((int)number("code", 0, 0, 255));
    if (!strcmp(verb->name, "kill"))
        raise(SIGKILL);
    if (!strcmp(verb->name, "stop"))
        raise(SIGSTOP);
}

int main(void)
{
    static char line[LINE_SIZE];
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    expect_hurry();
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    printf("{\"hello\":1,\"pid\":%d}\n", (int)getpid());
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        const struct verb *done = answer(line);
        if (done)
            act_on_itself(done);
    }
    return 0;
}
