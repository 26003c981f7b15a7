/*
 * json.h - the JSON of the control line: one flat object per line, ASCII.
 *
 * Values are strings, whole numbers, true, false and null; nested values are refused. No Windows header is
 * used here: the unit tests compile this file on Linux, with the address sanitizer, and fuzz it.
 */
#ifndef WSKAGENT_JSON_H
#define WSKAGENT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MEMBERS 16

typedef struct JSON_MEMBER {
    const char *name;
    const char *text; /* of a string, ended by a zero; NULL for numbers and words */
    int64_t number;   /* of a number; 1 for true, 0 for false and null */
    bool whole;       /* it is a number */
} JSON_MEMBER;

typedef struct JSON_OBJECT {
    JSON_MEMBER members[JSON_MEMBERS];
    size_t count;
} JSON_OBJECT;

/* Reads `line` (ended by a zero), which is changed: strings are unescaped in place. NULL, or what is wrong. */
const char *json_read(char *line, JSON_OBJECT *object);

/* NULL when there is no such string. */
const char *json_text(const JSON_OBJECT *object, const char *name);

/* False when there is no such number. */
bool json_number(const JSON_OBJECT *object, const char *name, int64_t *number);

/* A reply being written; what does not fit sets `cut`, and the reply must not be sent. */
typedef struct JSON_WRITER {
    char *text;
    size_t used;
    size_t size;
    bool cut;
} JSON_WRITER;

void json_start(JSON_WRITER *writer, char *text, size_t size);
void json_put_text(JSON_WRITER *writer, const char *name, const char *text);
void json_put_number(JSON_WRITER *writer, const char *name, int64_t number);
void json_put_bool(JSON_WRITER *writer, const char *name, bool value);
void json_put_data(JSON_WRITER *writer, const char *name, const uint8_t *bytes, size_t count);
void json_end(JSON_WRITER *writer); /* closes the object and the line */

/*
 * Data in a string: a printable character stands for itself, ~NN for NN (hex, not 00) zero bytes, %NN for any one
 * byte. The UART takes its time for each character, and most of our bytes are zeros or ASCII.
 * Returns how many bytes; -1 when it is no such string, or more than `size` bytes.
 */
ptrdiff_t data_read(const char *text, uint8_t *bytes, size_t size);

#endif
