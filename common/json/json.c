/*
 * json.c - see json.h.
 */
#include "json.h"

#include <string.h>

static char *skip_space(char *at)
{
    return at + strspn(at, " \t\r\n");
}

int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Return the character meant by what follows a backslash, and put `*at` behind it; -1 when it is no escape. */
static int read_escape(char **at)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = *(*at)++;
    const char *found = c ? strchr(from, c) : NULL;
    if (found)
        return (unsigned char)to[found - from];
    if (c != 'u')
        return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(**at);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
        (*at)++;
    }
    return value >= 1 && value <= 0x7f ? value : -1; /* the line is ASCII, and a zero would cut the string */
}

/* Read the string whose opening quote is at `*at`. */
static const char *read_string(char **at, const char **string)
{
    char *from = *at + 1, *to = from;
    *string = to;
    while (*from != '"') {
        if ((unsigned char)*from < 0x20) /* the end of the line, too */
            return "a string is not closed";
        int c = (unsigned char)*from++;
        if (c == '\\') {
            c = read_escape(&from);
            if (c < 0)
                return "a string has an escape that is not allowed";
        }
        *to++ = (char)c;
    }
    *at = from + 1;
    *to = 0;
    return NULL;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *read_number(char **at, JSON_MEMBER *member)
{
    bool negative = **at == '-';
    member->kind = JSON_NUMBER;
    member->text = *at;
    *at += negative;
    if (!is_digit(**at))
        return "a value is neither string, whole number, true, false nor null";
    if (**at == '0' && is_digit((*at)[1]))
        return "a number begins with a zero";
    uint64_t value = 0, most = (uint64_t)INT64_MAX + negative;
    for (; is_digit(**at); ++*at) {
        uint64_t digit = (uint64_t)(**at - '0');
        if (value > (most - digit) / 10)
            return "a number is too big";
        value = value * 10 + digit;
    }
    if (**at == '.' || **at == 'e' || **at == 'E')
        return "a number is not whole";
    member->number = negative && value ? -(int64_t)(value - 1) - 1 : (int64_t)value;
    return NULL;
}

static const char *read_value(char **at, JSON_MEMBER *member)
{
    static const struct {
        const char *word;
        JSON_KIND kind;
    } words[] = {{"true", JSON_TRUE}, {"false", JSON_FALSE}, {"null", JSON_NULL}};

    if (**at == '"')
        return read_string(at, &member->text);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i].word);
        if (strncmp(*at, words[i].word, length) == 0) {
            *at += length;
            member->kind = words[i].kind;
            return NULL;
        }
    }
    return read_number(at, member);
}

static const char *read_member(char **at, JSON_OBJECT *object)
{
    JSON_MEMBER *member = &object->members[object->count];
    *member = (JSON_MEMBER){.kind = JSON_STRING};
    if (**at != '"')
        return "a member's name is missing";
    const char *error = read_string(at, &member->name);
    if (error)
        return error;
    if (json_find(object, member->name))
        return "a member is given twice";
    *at = skip_space(*at);
    if (**at != ':')
        return "a colon is missing";
    *at = skip_space(*at + 1);
    return read_value(at, member);
}

const char *json_read(char *line, JSON_OBJECT *object)
{
    object->count = 0;
    char *at = skip_space(line);
    if (*at != '{')
        return "not a JSON object";
    at = skip_space(at + 1);
    char after = *at == '}' ? '}' : ',';
    if (after == '}')
        at++;
    while (after == ',') {
        if (object->count == JSON_MEMBERS)
            return "too many members";
        const char *error = read_member(&at, object);
        if (error)
            return error;
        char *end = at;
        at = skip_space(at);
        after = *at;
        if (after != ',' && after != '}')
            return "a comma or the closing brace is missing";
        if (object->members[object->count].kind == JSON_NUMBER)
            *end = 0; /* the number's text ends where that character stood, or the space before it */
        object->count++;
        at = after == ',' ? skip_space(at + 1) : at + 1;
    }
    return *skip_space(at) ? "text behind the object" : NULL;
}

const JSON_MEMBER *json_find(const JSON_OBJECT *object, const char *name)
{
    for (size_t i = 0; i < object->count; i++) {
        if (strcmp(object->members[i].name, name) == 0)
            return &object->members[i];
    }
    return NULL;
}

const char *json_text(const JSON_OBJECT *object, const char *name)
{
    const JSON_MEMBER *member = json_find(object, name);
    return member && member->kind == JSON_STRING ? member->text : NULL;
}

bool json_number(const JSON_OBJECT *object, const char *name, int64_t *number)
{
    const JSON_MEMBER *member = json_find(object, name);
    if (!member || member->kind != JSON_NUMBER)
        return false;
    *number = member->number;
    return true;
}

size_t json_escape(char c, char escape[JSON_ESCAPE])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char value = (unsigned char)c;
    size_t length = 0;
    if (value < 0x20 || value > 0x7e) {
        memcpy(escape, "\\u00", 4);
        escape[4] = digits[value >> 4];
        escape[5] = digits[value & 15];
        return JSON_ESCAPE;
    }
    if (c == '"' || c == '\\')
        escape[length++] = '\\';
    escape[length++] = c;
    return length;
}
