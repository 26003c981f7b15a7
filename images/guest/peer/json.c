#include "json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void skip_blanks(char **at)
{
    *at += strspn(*at, " \t\r\n");
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What follows a backslash. \u is taken below 0x80 only: this protocol is ASCII. Returns -1 for anything else. */
static int escaped(char **at)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = *(*at)++;
    if (c == 'u') {
        int value = 0;
        for (int i = 0; i < 4; i++) {
            int digit = hex_digit(**at);
            if (digit < 0)
                return -1;
            value = value * 16 + digit;
            (*at)++;
        }
        return value > 0 && value < 0x80 ? value : -1;
    }
    const char *found = c ? strchr(from, c) : NULL;
    return found ? to[found - from] : -1;
}

/* A string; it is unescaped in its place. */
static const char *parse_string(char **at)
{
    if (**at != '"')
        return NULL;
    char *read = *at + 1, *write = read, *start = read;
    while (*read != '"') {
        int c = (unsigned char)*read;
        if (c < 0x20)
            return NULL;
        read++;
        if (c == '\\' && (c = escaped(&read)) < 0)
            return NULL;
        *write++ = (char)c;
    }
    *at = read + 1;
    *write = 0;
    return start;
}

static bool parse_word(char **at, struct json_field *field)
{
    static const struct {
        const char *word;
        enum json_kind kind;
    } words[] = {{"true", JSON_TRUE}, {"false", JSON_FALSE}, {"null", JSON_NULL}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i].word);
        if (!strncmp(*at, words[i].word, length)) {
            *at += length;
            field->kind = words[i].kind;
            field->text = words[i].word;
            return true;
        }
    }
    return false;
}

/* An integer. Its text ends where the next character, a comma or brace, is overwritten by the caller. */
static bool parse_number(char **at, struct json_field *field)
{
    char *end, *digits = *at + (**at == '-');
    if (*digits < '0' || *digits > '9' || (*digits == '0' && digits[1] >= '0' && digits[1] <= '9'))
        return false;
    errno = 0;
    field->kind = JSON_NUMBER;
    field->text = *at;
    field->number = strtoll(*at, &end, 10);
    *at = end;
    return errno == 0;
}

static const char *parse_value(char **at, struct json_field *field)
{
    if (**at == '"') {
        field->kind = JSON_STRING;
        field->text = parse_string(at);
        return field->text ? NULL : "a string is not closed or has a character that JSON or ASCII does not allow";
    }
    if (parse_word(at, field) || parse_number(at, field))
        return NULL;
    return "a value must be a string, a 64-bit integer, true, false or null";
}

const char *json_parse(char *line, struct json *object)
{
    char *at = line, after;
    object->count = 0;
    skip_blanks(&at);
    if (*at++ != '{')
        return "a request is a JSON object on one line";
    skip_blanks(&at);
    after = *at == '}' ? *at++ : ',';
    while (after == ',') {
        if (object->count == JSON_FIELDS)
            return "too many fields";
        struct json_field *field = &object->fields[object->count];
        *field = (struct json_field){0};
        skip_blanks(&at);
        field->name = parse_string(&at);
        if (!field->name)
            return "a field begins with its name in double quotes";
        if (json_find(object, field->name))
            return "a field is given twice";
        skip_blanks(&at);
        if (*at++ != ':')
            return "a colon must follow the name of a field";
        skip_blanks(&at);
        const char *wrong = parse_value(&at, field);
        if (wrong)
            return wrong;
        char *end = at;
        skip_blanks(&at);
        after = *at;
        if (after)
            at++;
        if (field->kind == JSON_NUMBER)
            *end = 0;
        object->count++;
    }
    skip_blanks(&at);
    return after == '}' && !*at ? NULL : "the object does not end with its brace";
}

const struct json_field *json_find(const struct json *object, const char *name)
{
    for (size_t i = 0; i < object->count; i++)
        if (!strcmp(object->fields[i].name, name))
            return &object->fields[i];
    return NULL;
}

void json_write_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c > 0x7e)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}
