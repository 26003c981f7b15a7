/* Which checks are on: the kernel's command line. What the scenario asks for: a file that the lab writes. */
#include "strict.h"

static const char *settings_file = "/wine/drive_c/wsklab/strict.txt";

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

static ULONG number_of(const char *digits, ULONG otherwise)
{
    ULONG number = 0;

    if (!digits)
        return otherwise;
    for (; *digits >= '0' && *digits <= '9'; digits++)
        number = number * 10 + (ULONG)(*digits - '0');
    return number;
}

/* Which of these words it is; `otherwise` when it is none. */
static ULONG word_of(const char *word, const char *const words[], ULONG count, ULONG otherwise)
{
    for (ULONG i = 0; word && i < count; i++)
        if (begins(word, words[i]) && word_ends(word[strlen(words[i])]))
            return i;
    return otherwise;
}

void strict_parse_settings(const char *text, struct strict_settings *settings)
{
    static const char *const modes[] = {
        [IRQL_PASSIVE] = "passive", [IRQL_DISPATCH] = "dispatch", [IRQL_MIXED] = "mixed"};
    static const char *const providers[] = {[PROVIDER_READY] = "ready",
                                            [PROVIDER_LATE] = "late",
                                            [PROVIDER_ABSENT] = "absent",
                                            [PROVIDER_REFUSES] = "refuses",
                                            [PROVIDER_LEAVES] = "leaves"};
    const char *of = after(text, "of=");

    settings->quiet = after(text, "witness=off") != NULL;
    settings->irql = (enum irql_mode)word_of(after(text, "irql="), modes, RTL_NUMBER_OF(modes), settings->irql);
    settings->provider =
        (enum provider_mode)word_of(after(text, "provider="), providers, RTL_NUMBER_OF(providers), PROVIDER_READY);
    settings->seed = number_of(after(text, "seed="), settings->seed);
    settings->rare = after(text, "rare=on") != NULL;
    settings->concurrent = after(text, "concurrent=on") != NULL;
    settings->pend = number_of(after(text, "pend="), 0);
    settings->fail = number_of(after(text, "fail="), 0);
    RtlZeroMemory(settings->of, sizeof settings->of);
    for (ULONG i = 0; of && i < sizeof settings->of - 1 && !word_ends(of[i]); i++)
        settings->of[i] = of[i];
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
    return strict_pick(settings, socket, event, count, 2) != 0;
}

ULONG strict_pick(const struct strict_settings *settings, ULONG socket, ULONG event, ULONG count, ULONG below)
{
    return mix(mix(mix(mix(settings->seed) + socket) + event) + count) % below;
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

void strict_settings_from(const char *path)
{
    settings_file = path;
}

#endif

bool strict_on(ULONG wanted)
{
    return (__atomic_load_n(&checks, __ATOMIC_RELAXED) & wanted) != 0;
}

struct strict_settings strict_settings(void)
{
    struct strict_settings settings = {.irql = IRQL_PASSIVE};
    char text[256];

    if (strict_on(STRICT_IRQL | STRICT_MEMORY) && os_read_file(settings_file, text, sizeof text))
        strict_parse_settings(text, &settings);
    if (!strict_on(STRICT_IRQL))
        settings.irql = IRQL_PASSIVE;
    return settings;
}
