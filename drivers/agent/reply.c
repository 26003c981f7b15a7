/*
 * reply.c - see reply.h.
 */
#include "reply.h"

#include <string.h>

static void put(JSON_WRITER *writer, const char *text, size_t length)
{
    if (writer->cut || length >= writer->size - writer->used) {
        writer->cut = true;
        return;
    }
    memcpy(writer->text + writer->used, text, length);
    writer->used += length;
    writer->text[writer->used] = 0;
}

static void put_char(JSON_WRITER *writer, char c)
{
    put(writer, &c, 1);
}

static void put_string(JSON_WRITER *writer, const char *text)
{
    char escape[JSON_ESCAPE];
    put_char(writer, '"');
    for (; *text; text++) {
        size_t length = json_escape(*text, escape);
        put(writer, escape, length);
    }
    put_char(writer, '"');
}

static void put_name(JSON_WRITER *writer, const char *name)
{
    if (writer->used > 1)
        put_char(writer, ',');
    put_string(writer, name);
    put_char(writer, ':');
}

void json_start(JSON_WRITER *writer, char *text, size_t size)
{
    *writer = (JSON_WRITER){.text = text, .size = size};
    put_char(writer, '{');
}

void json_put_text(JSON_WRITER *writer, const char *name, const char *text)
{
    put_name(writer, name);
    put_string(writer, text);
}

void json_put_number(JSON_WRITER *writer, const char *name, int64_t number)
{
    char digits[24];
    char *at = digits + sizeof digits;
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (number < 0)
        *--at = '-';
    put_name(writer, name);
    put(writer, at, (size_t)(digits + sizeof digits - at));
}

void json_put_bool(JSON_WRITER *writer, const char *name, bool value)
{
    put_name(writer, name);
    put(writer, value ? "true" : "false", value ? 4 : 5);
}

/* What may stand for itself: printable, but for the characters that JSON or we use otherwise. */
static bool stands_for_itself(uint8_t c)
{
    return c >= 0x20 && c <= 0x7d && c != '"' && c != '\\' && c != '%';
}

void json_put_data(JSON_WRITER *writer, const char *name, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "0123456789abcdef";
    put_name(writer, name);
    put_char(writer, '"');
    for (size_t i = 0, run; i < count; i += run) {
        uint8_t value = bytes[i];
        run = 1;
        if (stands_for_itself(value)) {
            put_char(writer, (char)value);
            continue;
        }
        while (!bytes[i] && run < 0xff && i + run < count && !bytes[i + run])
            run++;
        if (!bytes[i])
            value = (uint8_t)run;
        char code[] = {bytes[i] ? '%' : '~', digits[value >> 4], digits[value & 15]};
        put(writer, code, sizeof code);
    }
    put_char(writer, '"');
}

void json_end(JSON_WRITER *writer)
{
    put(writer, "}\n", 2);
}

ptrdiff_t data_read(const char *text, uint8_t *bytes, size_t size)
{
    size_t count = 0;
    while (*text) {
        char kind = *text++;
        if (stands_for_itself((uint8_t)kind)) {
            if (count == size)
                return -1;
            bytes[count++] = (uint8_t)kind;
            continue;
        }
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0 || (kind != '%' && kind != '~'))
            return -1;
        text += 2;
        size_t value = (size_t)(high << 4 | low), run = kind == '~' ? value : 1;
        if (run > size - count || run == 0)
            return -1;
        memset(bytes + count, kind == '~' ? 0 : (int)value, run);
        count += run;
    }
    return (ptrdiff_t)count;
}
