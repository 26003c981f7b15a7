/* Which checks are on: the kernel's command line. What the scenario asks for: a file that the lab writes. */
#include "strict.h"

#define SETTINGS_FILE "/wine/drive_c/wsklab/strict.txt"

static ULONG checks;

static bool begins(const char *text, const char *word)
{
    while (*word)
        if (*text++ != *word++)
            return false;
    return true;
}

/* The text behind `word`, which must begin a word of `text`; NULL when it is not there. */
static const char *after(const char *text, const char *word)
{
    for (bool start = true; *text; start = *text == ' ' || *text == ',', text++)
        if (start && begins(text, word))
            return text + strlen(word);
    return NULL;
}

static bool word_ends(char character)
{
    return character == 0 || character == ' ' || character == ',' || character == '\n';
}

static bool names(const char *list, const char *word)
{
    for (; !word_ends(*list) || *list == ','; list++)
        if (begins(list, word) && word_ends(list[strlen(word)]))
            return true;
    return false;
}

ULONG strict_parse_checks(const char *command_line)
{
    const char *list = after(command_line, "wsklab.strict");

    if (!list)
        return 0;
    if (*list != '=')
        return word_ends(*list) ? STRICT_IRQL | STRICT_MEMORY | STRICT_WITNESS : 0;
    list++;
    return (names(list, "irql") ? STRICT_IRQL : 0) | (names(list, "memory") ? STRICT_MEMORY : 0) |
           (names(list, "witness") ? STRICT_WITNESS : 0);
}

void strict_parse_settings(const char *text, struct strict_settings *settings)
{
    static const char *const modes[] = {
        [IRQL_PASSIVE] = "passive", [IRQL_DISPATCH] = "dispatch", [IRQL_MIXED] = "mixed"};
    const char *mode = after(text, "irql=");
    const char *seed = after(text, "seed=");

    settings->quiet = after(text, "witness=off") != NULL;
    for (ULONG i = 0; mode && i < RTL_NUMBER_OF(modes); i++)
        if (begins(mode, modes[i]) && word_ends(mode[strlen(modes[i])]))
            settings->irql = (enum irql_mode)i;
    if (!seed)
        return;
    settings->seed = 0;
    for (; *seed >= '0' && *seed <= '9'; seed++)
        settings->seed = settings->seed * 10 + (ULONG)(*seed - '0');
}

/* Mixes the bits of a word so that each depends on all: the finalizer of MurmurHash3, which is in the public domain. */
static ULONG mix(ULONG word)
{
    word = (word ^ word >> 16) * 0x85ebca6bu;
    word = (word ^ word >> 13) * 0xc2b2ae35u;
    return word ^ word >> 16;
}

bool strict_draw(const struct strict_settings *settings, ULONG socket, ULONG event, ULONG count)
{
    if (settings->irql != IRQL_MIXED)
        return settings->irql == IRQL_DISPATCH;
    return mix(mix(mix(mix(settings->seed) + socket) + event) + count) & 1;
}

void strict_start(void)
{
    static char text[2048];

    checks = os_read_file("/proc/cmdline", text, sizeof text) ? strict_parse_checks(text) : 0;
}

#if defined(WSKLAB_NATIVE)

void strict_turn_on(ULONG wanted)
{
    __atomic_store_n(&checks, wanted, __ATOMIC_RELAXED);
}

#endif

bool strict_on(ULONG wanted)
{
    return (__atomic_load_n(&checks, __ATOMIC_RELAXED) & wanted) != 0;
}

struct strict_settings strict_settings(void)
{
    struct strict_settings settings = {IRQL_PASSIVE, 0, false};
    char text[128];

    if (strict_on(STRICT_IRQL) && os_read_file(SETTINGS_FILE, text, sizeof text))
        strict_parse_settings(text, &settings);
    return settings;
}
