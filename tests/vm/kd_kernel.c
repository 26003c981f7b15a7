/*
 * The smallest kernel that speaks KD on COM1, for tests of the debug line on a real UART: it prints numbered lines, and
 * runs into a breakpoint every fifth one. 32 bits, booted by QEMU itself (Multiboot). It never gives its debugger up.
 */
#include <stddef.h>
#include <stdint.h>

enum { ACK = 4, RESEND = 5, RESET = 6, MANIPULATE = 2, DEBUG_IO = 3, STATE_CHANGE = 7 };
enum { TIMEOUT = -1, AGAIN = -2, COM1 = 0x3F8, POLLS = 60000 };
#define FIRST 0x80800000u
#define SYNC 0x800u
#define PC 0x80405060u
#define BREAK_IN_PC 0x80406070u
#define KERNEL_HALF 0xFFFFFFFFu

__attribute__((section(".multiboot"), used)) static const uint32_t multiboot[] = {0x1BADB002, 0, 0xE4524FFE};

typedef struct {
    uint32_t leader;
    uint16_t kind, count;
    uint32_t id, sum;
} PACKET;

static uint32_t own = FIRST | SYNC, expected = FIRST, pc, argument;
static uint8_t payload[4096], state[244], context[0x2CC];
static int break_in;

static void out(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static uint8_t in(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void copy(void *to, const void *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
}

static void put(size_t at, uint32_t value)
{
    copy(state + at, &value, 4);
}

static int byte(void)
{
    for (int i = 0; i < POLLS; i++)
        if (in(COM1 + 5) & 1)
            return in(COM1);
    return TIMEOUT;
}

static int take(void *to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int one = byte();
        if (one < 0)
            return TIMEOUT;
        ((uint8_t *)to)[i] = (uint8_t)one;
    }
    return 0;
}

static void say(const void *data, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        while (!(in(COM1 + 5) & 0x20))
            ;
        out(COM1, ((const uint8_t *)data)[i]);
    }
}

static void control(uint16_t kind, uint32_t id)
{
    PACKET packet = {0x69696969, kind, 0, id, 0};
    say(&packet, sizeof packet);
}

static uint32_t sum(const uint8_t *data, size_t count)
{
    uint32_t total = 0;
    while (count--)
        total += *data++;
    return total;
}

static int receive(int wanted)
{
    for (;;) {
        PACKET packet;
        int previous = -1, same = 0;
        while (same < 4) {
            int one = byte();
            if (one < 0)
                return TIMEOUT;
            break_in |= one == 'b' && same == 0;
            same = one != '0' && one != 'i' ? 0 : one == previous ? same + 1 : 1;
            previous = one;
        }
        if (take(&packet.kind, 12) < 0)
            return TIMEOUT;
        if (previous == 'i') {
            if (packet.kind == RESET) {
                own = expected = FIRST;
                control(RESET, 0);
                return AGAIN;
            }
            if (packet.kind == RESEND)
                return AGAIN;
            if (packet.kind == ACK && wanted == ACK && packet.id == (own & ~SYNC)) {
                own = packet.id ^ 1;
                return 0;
            }
            continue;
        }
        if (wanted == ACK && packet.id != expected) {
            control(ACK, packet.id);
            continue;
        }
        if (wanted == ACK) {
            control(RESEND, 0);
            own = (own & ~SYNC) ^ 1;
            return 0;
        }
        uint8_t trailer;
        if (packet.count > sizeof payload || take(payload, packet.count) < 0 || take(&trailer, 1) < 0 ||
            trailer != 0xAA || sum(payload, packet.count) != packet.sum) {
            control(RESEND, 0);
            continue;
        }
        control(ACK, packet.id);
        if (packet.id != expected || packet.kind != wanted)
            continue;
        expected ^= 1;
        return packet.count;
    }
}

static void transmit(uint16_t kind, const uint8_t *data, uint16_t count)
{
    int got;
    do {
        PACKET packet = {0x30303030, kind, count, own, sum(data, count)};
        say(&packet, sizeof packet);
        say(data, count);
        say("\xAA", 1);
        got = receive(ACK);
    } while (got < 0);
}

static int answer(void) /* 1: it was a Continue */
{
    static uint8_t reply[56 + sizeof context];
    uint32_t api, status = 0;
    uint16_t count = 56;
    copy(&api, payload, 4);
    if (api == 0x3136 || api == 0x313C)
        return 1;
    copy(reply, payload, 56);
    if (api == 0x3132) {
        copy(context + 0xB0, &argument, 4);
        copy(context + 0xB8, &pc, 4);
        copy(reply + 56, context, sizeof context);
        count += sizeof context;
    } else if (api == 0x3133) {
        copy(&pc, payload + 56 + 0xB8, 4);
    } else {
        status = 0xC0000001;
    }
    copy(reply + 8, &status, 4);
    transmit(MANIPULATE, reply, count);
    return 0;
}

static void stop(uint32_t at, uint32_t why)
{
    static const uint8_t stream[] = {2, 0, 3, 0, 0xCC, 0xC3};
    pc = at;
    argument = why;
    while (pc == at) {
        put(0, 0x3030);
        put(4, 6);
        put(8, 1);
        put(16, 0x80001000);
        put(20, KERNEL_HALF);
        put(24, pc);
        put(28, KERNEL_HALF);
        put(32, 0x80000003);
        put(48, pc);
        put(52, KERNEL_HALF);
        put(184, 1);
        copy(state + 200, stream, sizeof stream);
        int done = 0;
        while (!done) {
            transmit(STATE_CHANGE, state, sizeof state);
            int got = 0;
            while (!done && got != AGAIN)
                if ((got = receive(MANIPULATE)) >= 56)
                    done = answer();
        }
    }
}

static void print(uint32_t number)
{
    static uint8_t data[16 + 16] = {0x30, 0x32, 0, 0, 6, 0, 0, 0, 12};
    copy(data + 16, "line 000000\n", 12);
    for (size_t at = 16 + 10; number; number /= 10, at--)
        data[at] = (uint8_t)('0' + number % 10);
    transmit(DEBUG_IO, data, 16 + 12);
}

__attribute__((used)) static void run(void)
{
    out(COM1 + 3, 3);
    out(COM1 + 2, 7);
    out(COM1 + 4, 3);
    for (uint32_t number = 1;; number++) {
        print(number);
        if (number % 5 == 0)
            stop(PC, 0);
        while (in(COM1 + 5) & 1) /* as the clock's interrupt does */
            break_in |= in(COM1) == 'b';
        if (break_in) {
            break_in = 0;
            stop(BREAK_IN_PC, 1);
        }
    }
}

__asm__(".globl _start\n_start: cli\n mov $stack + 16384, %esp\n call run\n");
__attribute__((used, aligned(16))) static uint8_t stack[16384];
