/*
 * frame.c - see frame.h.
 */
#include "frame.h"

#include <string.h>

static uint32_t crc32_of(const char *text, size_t count)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < count; i++) {
        crc ^= (unsigned char)text[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static int digit(char c, int base)
{
    int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : base;
    return value < base ? value : -1;
}

/* A number of at most `most` digits and a space after it. NULL, or what follows. */
static const char *number(const char *at, int base, int most, uint32_t *value)
{
    int count = 0;
    *value = 0;
    for (; digit(*at, base) >= 0 && count < most; at++, count++)
        *value = *value * (uint32_t)base + (uint32_t)digit(*at, base);
    return count && *at == ' ' ? at + 1 : NULL;
}

static bool append(FRAME *frame, const char *text)
{
    size_t count = strlen(text);
    if (count >= frame->size - frame->used)
        return false;
    memcpy(frame->text + frame->used, text, count + 1);
    frame->used += count;
    return true;
}

static FRAME_KIND damaged(FRAME *frame)
{
    frame->used = 0;
    return FRAME_DAMAGED;
}

FRAME_KIND frame_take(FRAME *frame, const char *line, bool cut)
{
    uint32_t value;
    const char *rest;
    if (!line[0] && !cut)
        return FRAME_NOTHING;
    frame->check = 0;
    if (cut)
        return damaged(frame);
    if (line[0] == '{' && !frame->checks) {
        frame->used = 0;
        return append(frame, line) ? (frame->used = 0, FRAME_REQUEST) : damaged(frame);
    }
    if (line[0] == '+') {
        rest = number(line + 1, 10, 9, &value);
        if (rest && value == 0)
            frame->used = 0; /* from its beginning: what was before has been given up */
        return rest && value == frame->used && append(frame, rest) ? FRAME_PIECE : damaged(frame);
    }
    rest = line[0] == '#' ? number(line + 1, 16, 8, &value) : NULL;
    if (!rest || rest != line + 10 || !append(frame, rest) || crc32_of(frame->text, frame->used) != value)
        return damaged(frame);
    frame->check = value;
    frame->checks = true;
    frame->used = 0;
    return FRAME_REQUEST;
}
