/*
 * json.h - one flat JSON object (RFC 8259) on one line, as the agent and the peer program are asked with.
 *
 * Values are strings, 64-bit integers, true, false and null; nested values are refused, and so is a \u above 007f.
 * No header of one system is used here: both programs are built with it, and the unit tests fuzz it under sanitizers.
 */
#ifndef WSKLAB_JSON_H
#define WSKLAB_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_MEMBERS 24
#define JSON_ESCAPE 6 /* the most characters that stand for one */

typedef enum JSON_KIND { JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_NULL } JSON_KIND;

typedef struct JSON_MEMBER {
    const char *name;
    JSON_KIND kind;
    const char *text; /* a string's characters, or a number as it was written, ended by a zero; else NULL */
    int64_t number;   /* of a number */
} JSON_MEMBER;

typedef struct JSON_OBJECT {
    JSON_MEMBER members[JSON_MEMBERS];
    size_t count;
} JSON_OBJECT;

/*
 * Read `line`, which ends with a zero, is changed (strings are unescaped in their places) and must outlive the object.
 * Return NULL, or what is wrong; the object then holds the members before it.
 */
const char *json_read(char *line, JSON_OBJECT *object);

/* Return the member of this name, or NULL. */
const JSON_MEMBER *json_find(const JSON_OBJECT *object, const char *name);

/* Return the string of this name; NULL when there is no such string. */
const char *json_text(const JSON_OBJECT *object, const char *name);

/* Read the number of this name; return false when there is no such number. */
bool json_number(const JSON_OBJECT *object, const char *name, int64_t *number);

/* Write one byte as it stands within a JSON string, ASCII only; return how many characters it took. */
size_t json_escape(char c, char escape[JSON_ESCAPE]);

/* Return what a hexadecimal digit stands for; -1 when it is none. */
int hex_digit(char c);

#endif
