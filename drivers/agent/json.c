/*
 * json.c - see json.h.
 */
#include "json.h"

#include <string.h>

static char *skip_space(char *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')
        at++;
    return at;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* After the backslash: the character meant, and `*at` behind the escape; -1 when it is none. */
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

/* `at` stands on the opening quote. The string ends up where it began, one place to the left. */
static const char *read_string(char **at, const char **string)
{
    char *from = *at + 1, *to = *at;
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

static const char *read_number(char **at, int64_t *number)
{
    bool negative = **at == '-';
    if (negative)
        ++*at;
    if (**at < '0' || **at > '9')
        return "a value is neither string, whole number, true, false nor null";
    uint64_t value = 0;
    for (; **at >= '0' && **at <= '9'; ++*at) {
        if (value > (INT64_MAX - 9) / 10)
            return "a number is too big";
        value = value * 10 + (uint64_t)(**at - '0');
    }
    if (**at == '.' || **at == 'e' || **at == 'E')
        return "a number is not whole";
    *number = negative ? -(int64_t)value : (int64_t)value;
    return NULL;
}

static const char *read_value(char **at, JSON_MEMBER *member)
{
    static const struct {
        const char *word;
        int64_t number;
    } words[] = {{"true", 1}, {"false", 0}, {"null", 0}};

    if (**at == '"')
        return read_string(at, &member->text);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i].word);
        if (strncmp(*at, words[i].word, length) == 0) {
            *at += length;
            member->number = words[i].number;
            return NULL;
        }
    }
    member->whole = true;
    return read_number(at, &member->number);
}

static const char *read_member(char **at, JSON_MEMBER *member)
{
    memset(member, 0, sizeof *member);
    if (**at != '"')
        return "a member's name is missing";
    const char *error = read_string(at, &member->name);
    if (error)
        return error;
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
    bool first = true;
    while (*at != '}') {
        if (!first) {
            if (*at != ',')
                return "a comma or the closing brace is missing";
            at = skip_space(at + 1);
        }
        first = false;
        if (object->count == JSON_MEMBERS)
            return "too many members";
        const char *error = read_member(&at, &object->members[object->count]);
        if (error)
            return error;
        object->count++;
        at = skip_space(at);
    }
    return *skip_space(at + 1) ? "text behind the object" : NULL;
}

static const JSON_MEMBER *find(const JSON_OBJECT *object, const char *name)
{
    for (size_t i = 0; i < object->count; i++) {
        if (strcmp(object->members[i].name, name) == 0)
            return &object->members[i];
    }
    return NULL;
}

const char *json_text(const JSON_OBJECT *object, const char *name)
{
    const JSON_MEMBER *member = find(object, name);
    return member ? member->text : NULL;
}

bool json_number(const JSON_OBJECT *object, const char *name, int64_t *number)
{
    const JSON_MEMBER *member = find(object, name);
    if (!member || !member->whole)
        return false;
    *number = member->number;
    return true;
}

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
    static const char digits[] = "0123456789abcdef";
    put_char(writer, '"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            put_char(writer, '\\');
            put_char(writer, (char)c);
        } else if (c >= 0x20 && c < 0x7f) {
            put_char(writer, (char)c);
        } else {
            char escape[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
            put(writer, escape, sizeof escape);
        }
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
