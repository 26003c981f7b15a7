/* Flat JSON objects (RFC 8259): strings, integers, true, false and null; no nesting. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

enum { JSON_FIELDS = 24 };

enum json_kind { JSON_STRING, JSON_NUMBER, JSON_TRUE, JSON_FALSE, JSON_NULL };

struct json_field {
    const char *name;
    enum json_kind kind;
    const char *text; /* a string's characters, or a number as it was written */
    long long number;
};

struct json {
    size_t count;
    struct json_field fields[JSON_FIELDS];
};

/* Parse one line, which is changed and must outlive the object. Returns NULL, or what is wrong. */
const char *json_parse(char *line, struct json *object);

/* The field of this name, or NULL. */
const struct json_field *json_find(const struct json *object, const char *name);

/* Write text as a JSON string, quotes included, to standard output. */
void json_write_string(const char *text);

#endif
